//! Stories of mirroring: a mirror never claims a checkpoint before it has everything that belongs to it.

use std::sync::Arc;

use crate::support::{Break, Site};
use futures::FutureExt;
use rpo_core::{Clock, ErrorKind, SourceId};
use rpo_crypto::ObjectType;
use rpo_replication::{Mirror, MirrorConfig, ReplicationError};
use rpo_repository::{Bill, Receipt, Session, layout};

fn docs() -> SourceId {
    SourceId::new("docs").unwrap()
}

async fn pack(site: &Site, text: &str) -> Receipt {
    let home = &site.specs[0].repository;
    let key = layout::pack(&home.random_id().unwrap());
    home.put(ObjectType::Pack, &key, &[text.as_bytes()]).await.unwrap()
}

async fn bill(site: &Site, session: &Session, objects: Vec<Receipt>) -> u64 {
    let home = &site.specs[0].repository;
    let (source, number) = (session.source().clone(), session.number());
    let bill = Bill { source, session: number, part: 1, objects, commit_key: session.commit_key() };
    home.put_bill(bill).await.unwrap()
}

async fn begin(site: &Site) -> Session {
    site.specs[0].repository.begin_session(&docs(), "test").await.unwrap()
}

/// A committed checkpoint of one pack.
async fn checkpoint(site: &Site, text: &str) -> u64 {
    let session = begin(site).await;
    let receipt = pack(site, text).await;
    bill(site, &session, vec![receipt]).await;
    session.commit(&[b"manifest"]).await.unwrap();
    session.number()
}

fn mirror(site: &Site) -> Mirror {
    let (home, copy) = (site.specs[0].clone(), site.specs[1].clone());
    Mirror::new(home, copy, site.clock.clone(), MirrorConfig::default()).unwrap()
}

async fn same_objects(site: &Site) {
    for prefix in ["bills/", "packs/", "sessions/", "checkpoints/", "config/"] {
        let keys = site.stores[0].keys(prefix).await;
        assert_eq!(keys, site.stores[1].keys(prefix).await);
        for key in keys {
            assert_eq!(site.stores[0].bytes(&key).await, site.stores[1].bytes(&key).await, "{key}");
        }
    }
}

#[tokio::test]
async fn a_mirror_ends_with_the_same_objects_and_says_what_it_protects() {
    let site = Site::new(&["eu", "us"], "none").await;
    let mut mirror = mirror(&site);
    checkpoint(&site, "one").await;
    let newest = checkpoint(&site, "two").await;

    let step = mirror.step().await.unwrap();

    assert!(step.caught_up, "{step:?}");
    assert_eq!((step.objects, step.published.len(), step.cursor.bills), (2, 2, 2));
    assert_eq!(step.cursor.newest, [(docs(), newest)]);
    same_objects(&site).await;
    let again = mirror.step().await.unwrap();
    assert_eq!((again.objects, again.published.len()), (0, 0));
}

#[tokio::test]
async fn an_open_session_holds_up_nobody_and_its_bill_waits() {
    let site = Site::new(&["eu", "us"], "none").await;
    let mut mirror = mirror(&site);
    let open = begin(&site).await;
    let early = pack(&site, "early").await;
    let waiting = bill(&site, &open, vec![early]).await;
    let done = checkpoint(&site, "done").await;

    let step = mirror.step().await.unwrap();
    assert_eq!(step.cursor.newest, [(docs(), done)]);
    assert_eq!(site.stores[1].keys("bills/").await, [layout::bill(2).to_string()]);
    assert_eq!(step.cursor.lag_objects, 0, "its objects are here all the same");

    open.commit(&[b"late manifest"]).await.unwrap();
    mirror.step().await.unwrap();
    assert!(site.stores[1].keys("bills/").await.contains(&layout::bill(waiting).to_string()));
    same_objects(&site).await;
}

#[tokio::test]
async fn a_manifest_waits_for_every_object_billed_before_it() {
    // The second session reuses what the first has billed and not committed; only the first's pack is broken at home.
    let site = Site::new(&["eu", "us"], "none").await;
    let mut mirror = mirror(&site);
    let open = begin(&site).await;
    let shared = pack(&site, "shared").await;
    let key = shared.key.to_string();
    bill(&site, &open, vec![shared]).await;
    checkpoint(&site, "second").await;
    open.commit(&[b"first"]).await.unwrap();
    let good = site.stores[0].bytes(&key).await;
    site.stores[0].replace(&key, |bytes| bytes[50] ^= 1).await;

    let error = mirror.step().await.unwrap_err();
    assert!(matches!(error, ReplicationError::MirrorDigest { .. }), "{error}");
    assert!(error.to_string().contains(&key) && error.to_string().contains("do not use"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(site.stores[1].keys("checkpoints/").await.is_empty(), "nothing is claimed");
    assert!(!site.stores[1].keys("packs/").await.contains(&key), "nothing wrong is stored");

    site.stores[0].remove(&key).await;
    site.stores[0].put(&key, good).await;
    mirror.step().await.unwrap();
    same_objects(&site).await;
}

#[tokio::test]
async fn a_mirror_killed_in_any_call_resumes() {
    let scene = async || {
        let site = Site::new(&["eu", "us"], "none").await;
        checkpoint(&site, "one").await;
        begin(&site).await;
        checkpoint(&site, "three").await;
        site.specs[0].repository.fence_session(&docs(), 2).await.unwrap();
        site
    };
    let calls = {
        let site = scene().await;
        site.stores[1].set(Break::Nothing);
        mirror(&site).step().await.unwrap();
        site.stores[1].calls()
    };
    for at in 1..=calls {
        for how in [Break::DieBefore(at), Break::DieAfter(at)] {
            let site = scene().await;
            site.stores[1].set(how);
            assert!(mirror(&site).step().now_or_never().is_none(), "{how:?}: the call was met");
            site.stores[1].set(Break::Nothing);

            let step = mirror(&site).step().await.unwrap();

            assert!(step.caught_up, "{how:?}: {step:?}");
            assert_eq!(step.cursor.newest, [(docs(), 3)], "{how:?}");
            same_objects(&site).await;
        }
    }
}

#[tokio::test]
async fn lost_answers_mirror_once() {
    let site = Site::new(&["eu", "us"], "none").await;
    checkpoint(&site, "one").await;
    site.stores[1].set(Break::LoseAnswers);

    assert!(mirror(&site).step().await.unwrap().caught_up);
    same_objects(&site).await;
}

#[tokio::test]
async fn lag_is_told_in_objects_bytes_and_time() {
    let site = Site::new(&["eu", "us"], "none").await;
    let mut mirror = mirror(&site);
    let session = begin(&site).await;
    let receipt = pack(&site, "big").await;
    let len = receipt.len;
    site.stores[0].remove(receipt.key.as_str()).await; // as if home were slow to give it
    bill(&site, &session, vec![receipt]).await;
    session.commit(&[b"manifest"]).await.unwrap();

    let error = mirror.step().await.unwrap_err();
    site.clock.pass(std::time::Duration::from_secs(7));

    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let cursor = mirror.cursor();
    assert_eq!((cursor.lag_objects, cursor.lag_bytes, cursor.lag_time.as_secs()), (1, len, 7));
    assert!(cursor.newest.is_empty());
}

#[tokio::test]
async fn what_home_has_collected_of_a_session_given_up_holds_up_nobody() {
    let site = Site::new(&["eu", "us"], "none").await;
    let session = begin(&site).await;
    let receipt = pack(&site, "given up").await;
    let key = receipt.key.to_string();
    bill(&site, &session, vec![receipt]).await;
    site.specs[0].repository.fence_session(&docs(), session.number()).await.unwrap();
    site.stores[0].remove(&key).await;
    let newest = checkpoint(&site, "next").await;

    let step = mirror(&site).step().await.unwrap();

    assert_eq!(step.cursor.newest, [(docs(), newest)]);
}

#[tokio::test]
async fn other_bytes_under_a_name_of_home_are_refused() {
    let site = Site::new(&["eu", "us"], "none").await;
    checkpoint(&site, "one").await;
    site.stores[1].put(layout::checkpoint(&docs(), 1).as_str(), bytes::Bytes::from_static(b"else")).await;

    let error = mirror(&site).step().await.unwrap_err();

    assert!(matches!(error, ReplicationError::Conflict { .. }), "{error}");
}

#[tokio::test]
async fn copies_of_different_repositories_do_not_mirror_each_other() {
    let one = Site::new(&["eu"], "none").await;
    let other = Site::with_entropy_of(&one, &["us"]).await;
    let clock: Arc<dyn Clock> = one.clock.clone();

    let error = Mirror::new(one.specs[0].clone(), other.specs[0].clone(), clock, MirrorConfig::default())
        .unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("two copies of one repository"), "{error}");
}

#[tokio::test]
async fn what_a_mirror_has_lost_is_sent_again() {
    let site = Site::new(&["eu", "us"], "none").await;
    let mut mirror = mirror(&site);
    let session = begin(&site).await;
    let receipt = pack(&site, "one").await;
    bill(&site, &session, vec![receipt.clone()]).await;
    session.commit(&[b"manifest"]).await.unwrap();
    let newest = checkpoint(&site, "two").await;
    mirror.step().await.unwrap();
    for prefix in ["sessions/", "bills/", "checkpoints/"] {
        let keys = site.stores[1].keys(prefix).await;
        site.stores[1].remove(keys.last().unwrap()).await;
    }
    site.stores[1].remove(receipt.key.as_str()).await;
    assert_eq!(mirror.step().await.unwrap().objects, 0, "a step alone asks for nothing twice");

    assert_eq!(mirror.recheck().await.unwrap(), 3);
    assert_eq!(mirror.cursor().newest, [(docs(), 1)], "what is gone is not claimed");
    assert_eq!(mirror.resend(std::slice::from_ref(&receipt)).await.unwrap(), 1);
    let step = mirror.step().await.unwrap();

    assert_eq!(step.cursor.newest, [(docs(), newest)]);
    same_objects(&site).await;
    assert_eq!((mirror.recheck().await.unwrap(), mirror.resend(&[receipt]).await.unwrap()), (0, 0));
}
