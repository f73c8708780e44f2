//! Stories of retention: a note first, then deletion; what is kept can be read, and nobody takes a deleted number for free.

use crate::merging::{merge_all, shipped};
use crate::support::{Break, Site, numbered};
use futures::FutureExt;
use rpo_core::{Epoch, Lsn};
use rpo_replication::{KeepFrom, ReplicationError, Retention, RetentionStep, TakeoverOptions};

fn retention(site: &Site) -> Retention {
    Retention::new(site.copies(), site.stream.clone(), site.clock.clone(), site.entropy.clone())
}

/// Keeps everything from `from` on in the history of `epoch`, and deletes what may go.
async fn keep_from(site: &Site, epoch: u32, from: Lsn) -> Result<RetentionStep, ReplicationError> {
    let archive = site.archive(&[0]);
    let coverage = archive.coverage().await?;
    let keep = [KeepFrom { epoch: Epoch::new(epoch).unwrap(), from }];
    let plan = archive.plan_expiry(&coverage, &keep).await?;
    let retention = retention(site);
    retention.note(&plan).await?;
    retention.step().await
}

/// Where each commit of `shipped` ends.
async fn ends(site: &Site) -> Vec<Lsn> {
    use futures::TryStreamExt;
    let archive = site.archive(&[0]);
    let coverage = archive.coverage().await.unwrap();
    let entries = archive.entries(coverage.current(), Lsn::ZERO, None).await.unwrap();
    entries.map_ok(|entry| entry.position().lsn).try_collect().await.unwrap()
}

#[tokio::test]
async fn what_is_kept_begins_at_a_batch_at_or_before_the_decision() {
    let site = shipped(&["eu", "us"], "any 2 of (eu, us)").await;
    let ends = ends(&site).await;

    let done = keep_from(&site, 1, ends[20]).await.unwrap();

    assert_eq!((done.deleted, done.noted, done.held), (20, 1, 0), "{done:?}");
    for copy in [0, 1] {
        assert_eq!(site.read(&[copy]).await.unwrap(), numbered(20..40));
        let coverage = site.archive(&[copy]).coverage().await.unwrap();
        assert_eq!(coverage.current().legs[0].first, 11);
        let error = site.archive(&[copy]).entries(coverage.current(), Lsn::ZERO, None).await.err().unwrap();
        assert!(matches!(error, ReplicationError::BeginsAfter { .. }), "{error}");
    }
}

#[tokio::test]
async fn merged_objects_go_whole_or_not_at_all() {
    let site = shipped(&["eu", "us"], "any 2 of (eu, us)").await;
    site.log.commits(numbered(40..130));
    site.shipper().step().await.unwrap();
    let ends = ends(&site).await;
    merge_all(&site).await;
    let before = site.stores[1].keys("logs/orders/00000001/merged/").await.len();

    let done = keep_from(&site, 1, ends[100]).await.unwrap();

    assert!(done.deleted >= 2, "{done:?}");
    assert!(site.stores[1].keys("logs/orders/00000001/merged/").await.len() < before);
    for copy in [0, 1] {
        let kept = site.read(&[copy]).await.unwrap();
        let all = numbered(0..130);
        assert!(kept.len() >= 29 && kept.len() < 130 && all.ends_with(&kept), "{} kept", kept.len());
    }
    site.log.commits(numbered(130..140));
    site.shipper().step().await.unwrap();
    merge_all(&site).await;
    assert!(site.read(&[1]).await.unwrap().ends_with(&numbered(101..140)));
}

#[tokio::test]
async fn a_decision_in_a_later_epoch_takes_the_earlier_ones_and_leaves_fences_and_beginnings() {
    let site = shipped(&["eu", "us"], "any 2 of (eu, us)").await;
    let takeover = site.take_over(&TakeoverOptions::default()).await.unwrap();
    let (log, mut shipper, _spool) = site.successor(takeover);
    log.commits(numbered(40..60));
    shipper.step().await.unwrap();
    let ends = ends(&site).await;

    keep_from(&site, 2, ends[50]).await.unwrap();

    let keys = site.stores[0].keys("logs/orders/").await;
    assert!(keys.contains(&"logs/orders/00000001/0000000000000015".to_owned()), "the fence stays: {keys:#?}");
    assert!(keys.contains(&"logs/orders/00000002/0000000000000001".to_owned()), "the beginning stays");
    let kept = site.read(&[0]).await.unwrap();
    assert!(kept.ends_with(&numbered(51..60)) && kept.len() < 12, "{}", kept.len());
    log.commits(numbered(60..64));
    shipper.step().await.unwrap();
    let takeover = site.take_over(&TakeoverOptions::default()).await.unwrap();
    assert_eq!(takeover.epoch.get(), 3);
    assert!(site.read(&[1]).await.unwrap().ends_with(&numbered(60..64)));
}

#[tokio::test]
async fn another_history_that_no_decision_names_keeps_everything() {
    let site = Site::new(&["eu"], "none").await.small_batches();
    let mut cuts = Vec::new();
    for payload in numbered(0..20) {
        cuts.push(site.log.commit(&payload));
    }
    site.shipper().step().await.unwrap();
    let options = TakeoverOptions { fork: rpo_replication::Fork::At(cuts[9]), ..TakeoverOptions::default() };
    let takeover = site.take_over(&options).await.unwrap();
    let (log, mut shipper, _spool) = site.successor(takeover);
    log.commits(numbered(100..120));
    shipper.step().await.unwrap();
    let end = rpo_replication::FrameSource::durable(&*log).lsn;
    let before = site.stores[0].keys("logs/orders/00000001/").await;

    keep_from(&site, 2, end).await.unwrap();

    assert_eq!(site.stores[0].keys("logs/orders/00000001/").await, before);
    assert_eq!(site.archive(&[0]).coverage().await.unwrap().histories.len(), 2);
}

#[tokio::test]
async fn retention_that_dies_in_any_call_is_finished_by_the_next() {
    let calls = {
        let site = shipped(&["eu", "us"], "any 2 of (eu, us)").await;
        let ends = ends(&site).await;
        site.stores[0].set(Break::Nothing);
        keep_from(&site, 1, ends[20]).await.unwrap();
        site.stores[0].calls()
    };
    for call in (1..=calls).step_by(5) {
        for how in [Break::DieBefore(call), Break::DieAfter(call)] {
            let site = shipped(&["eu", "us"], "any 2 of (eu, us)").await;
            let ends = ends(&site).await;
            site.stores[0].set(how);
            assert!(keep_from(&site, 1, ends[20]).now_or_never().is_none(), "it dies in call {call}");
            site.stores[0].set(Break::Nothing);
            for copy in [0, 1] {
                let kept = site.read(&[copy]).await.unwrap();
                assert!(kept.ends_with(&numbered(20..40)), "{how:?}: {} kept", kept.len());
            }
            keep_from(&site, 1, ends[20]).await.unwrap();
            for copy in [0, 1] {
                assert_eq!(site.read(&[copy]).await.unwrap(), numbered(20..40));
                assert_eq!(site.stores[copy].keys("logs/orders/00000001/0").await.len(), 10);
            }
        }
    }
}

#[tokio::test]
async fn a_store_that_lets_nothing_go_is_told_as_such_and_nothing_is_lost_track_of() {
    let site = shipped(&["eu", "us"], "any 2 of (eu, us)").await;
    let ends = ends(&site).await;
    site.stores[0].set(Break::WriteOnce);

    let done = keep_from(&site, 1, ends[20]).await.unwrap();

    assert_eq!((done.held, done.deleted), (10, 10), "{done:?}");
    assert_eq!(site.read(&[0]).await.unwrap(), numbered(20..40), "what is noted is not offered any more");
    site.stores[0].set(Break::Nothing); // the locks are over
    let done = retention(&site).step().await.unwrap();
    assert_eq!((done.held, done.deleted), (0, 10));
}

#[tokio::test]
async fn the_writer_restarts_without_its_spool_after_everything_but_the_end_is_expired() {
    let mut site = shipped(&["eu", "us"], "any 2 of (eu, us)").await;
    let ends = ends(&site).await;
    keep_from(&site, 1, ends[39]).await.unwrap();
    site.spool = tempfile::tempdir().unwrap();
    site.log.commits(numbered(40..44));

    site.shipper().step().await.unwrap();

    assert_eq!(site.read(&[1]).await.unwrap(), numbered(38..44));
    site.add_copy("ap").await;
    site.log.commits(numbered(44..46));
    site.shipper().step().await.unwrap();
    assert_eq!(site.read(&[2]).await.unwrap(), numbered(38..46));
}

#[tokio::test]
async fn decisions_that_make_no_sense_are_refused() {
    let site = shipped(&["eu"], "none").await;
    for (epoch, from) in [(7, Lsn::ZERO), (1, Lsn::new(u64::MAX))] {
        let error = keep_from(&site, epoch, from).await.unwrap_err();
        assert!(matches!(error, ReplicationError::Invalid(_)), "{error}");
    }
    assert_eq!(keep_from(&site, 1, Lsn::ZERO).await.unwrap(), RetentionStep::default());
}

#[tokio::test]
async fn a_copy_that_lags_behind_retention_does_not_stop_a_takeover() {
    let site = Site::new(&["eu", "us", "ap"], "any 2 of (eu, us, ap)").await.small_batches();
    site.log.commits(numbered(0..4));
    let mut old = site.shipper();
    old.step().await.unwrap();
    site.stores[2].set(Break::Down);
    site.log.commits(numbered(4..40));
    old.step().await.unwrap();
    let ends = ends(&site).await;
    let done = keep_from(&site, 1, ends[30]).await.unwrap();
    assert!(done.deleted >= 20 && done.waiting.len() == 1, "{done:?}");
    site.stores[2].set(Break::Nothing);

    let takeover = site.take_over(&TakeoverOptions::default()).await.unwrap();
    let (log, mut shipper, _spool) = site.successor(takeover);
    log.commit("after");
    shipper.step().await.unwrap();

    let kept = site.read(&[0, 1]).await.unwrap();
    assert!(kept.len() < 14 && kept.last().is_some_and(|last| last == "after"), "{}", kept.len());
}
