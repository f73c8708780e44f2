//! Stories of shipping: every copy gets the same bytes, in order, whatever happens to the shipper or to other copies.

use std::task::Poll;
use std::time::Duration;

use crate::support::{Break, Site, name, numbered};
use futures::FutureExt;
use rpo_core::{ErrorKind, Lsn};
use rpo_replication::{Health, Start};

/// Polls once: a call that hangs leaves the step where it is, as a kill does.
fn once<T>(future: impl Future<Output = T>) -> Poll<T> {
    future.now_or_never().map_or(Poll::Pending, Poll::Ready)
}

#[tokio::test]
async fn every_copy_gets_the_same_bytes() {
    let site = Site::new(&["eu", "us"], "any 2 of (eu, us)").await.small_batches();
    let mut shipper = site.shipper();
    let end = site.log.commits(numbered(0..10));

    let step = shipper.step().await.unwrap();

    assert!(step.sealed > 2, "{step:?}");
    assert_eq!(step.sealed_to, end);
    assert_eq!(shipper.view().protected(), Some(end));
    assert!(shipper.is_caught_up());
    let keys = site.stores[0].keys("logs/").await;
    assert_eq!(keys[0], "logs/orders/00000001/0000000000000001");
    assert_eq!(keys, site.stores[1].keys("logs/").await);
    for key in keys {
        assert_eq!(site.stores[0].bytes(&key).await, site.stores[1].bytes(&key).await);
    }
    assert_eq!(site.read(&[1]).await.unwrap(), numbered(0..10));
}

#[tokio::test]
async fn nothing_new_writes_nothing_and_still_gives_fresh_evidence() {
    let site = Site::new(&["eu"], "none").await;
    let mut shipper = site.shipper();
    site.log.commit("one");
    shipper.step().await.unwrap();
    let before = shipper.view().states()[0].log.evidence.unwrap();

    for _ in 0..9 {
        site.clock.pass(Duration::from_secs(1));
        let step = shipper.step().await.unwrap();
        assert_eq!((step.sealed, step.heartbeat), (0, false));
    }

    assert_eq!(site.stores[0].keys("logs/").await.len(), 1);
    let after = shipper.view().states()[0].log.evidence.unwrap();
    assert_eq!(after.steady.since(before.steady), Duration::from_secs(9));
    // The marker that proves the whole pipe comes with every tenth idle round, through the log itself.
    shipper.step().await.unwrap();
    let step = shipper.step().await.unwrap();
    assert!(step.heartbeat);
    assert_eq!(site.stores[0].keys("logs/").await.len(), 2);
}

#[tokio::test]
async fn what_becomes_durable_while_the_log_is_read_is_shipped_with_the_rest() {
    let site = Site::new(&["eu"], "none").await;
    let mut shipper = site.shipper();
    site.log.commit("one");
    site.log.goes_on_while_read(3);

    shipper.step().await.unwrap();

    assert_eq!(
        shipper.view().states()[0].log.position,
        Some(rpo_replication::FrameSource::durable(&*site.log))
    );
}

#[tokio::test]
async fn a_dead_copy_delays_nobody_and_is_caught_up_later() {
    let site = Site::new(&["eu", "us"], "any 1 of (eu, us)").await.small_batches();
    let mut shipper = site.shipper();
    shipper.step().await.unwrap();
    site.stores[1].set(Break::Down);
    let end = site.log.commits(numbered(0..6));

    shipper.step().await.unwrap();

    let states = shipper.view().states();
    assert_eq!(states[0].log.position, Some(end));
    assert!(matches!(states[1].log.health, Health::Failing { .. }), "{states:?}");
    assert_eq!(shipper.view().protected(), Some(end), "one copy is enough by policy");
    site.stores[1].set(Break::Nothing);
    shipper.step().await.unwrap();
    assert_eq!(site.stores[1].keys("logs/").await, site.stores[0].keys("logs/").await);
    assert_eq!(shipper.view().states()[1].log.health, Health::Good);
}

#[tokio::test]
async fn a_copy_that_never_answers_delays_neither_the_others_nor_new_batches() {
    let site = Site::new(&["eu", "us"], "none").await;
    let mut shipper = site.shipper();
    site.log.commit("one");
    shipper.step().await.unwrap();
    site.stores[1].set(Break::Hang);

    for n in 0..3 {
        let end = site.log.commit(&format!("more {n}"));
        let step = shipper.step_until(std::future::ready(())).await.unwrap();
        assert_eq!((step.sealed, step.in_flight), (1, 1));
        assert_eq!(shipper.view().states()[0].log.position, Some(end));
    }
}

#[tokio::test]
async fn a_shipper_killed_in_any_call_resumes_with_the_same_bytes() {
    let calls = {
        let site = Site::new(&["eu", "us"], "none").await.small_batches();
        site.log.commits(numbered(0..6));
        site.stores[0].set(Break::Nothing);
        site.shipper().step().await.unwrap();
        site.stores[0].calls()
    };
    assert!(calls > 4, "the story needs calls to be killed in");
    for at in 1..=calls {
        for how in [Break::DieBefore(at), Break::DieAfter(at)] {
            let site = Site::new(&["eu", "us"], "none").await.small_batches();
            site.log.commits(numbered(0..6));
            let mut first = site.shipper();
            site.stores[0].set(how);

            assert!(once(first.step()).is_pending(), "{how:?}: the call was met");
            drop(first);
            site.stores[0].set(Break::Nothing);
            site.log.commits(numbered(6..8));
            let mut second = site.shipper();
            second.step().await.unwrap();

            assert!(second.is_caught_up(), "{how:?}: {:?}", second.view().states());
            let keys = site.stores[0].keys("logs/").await;
            assert_eq!(keys, site.stores[1].keys("logs/").await, "{how:?}");
            for key in keys {
                assert_eq!(
                    site.stores[0].bytes(&key).await,
                    site.stores[1].bytes(&key).await,
                    "{how:?}: {key}"
                );
            }
            assert_eq!(site.read(&[0]).await.unwrap(), numbered(0..8), "{how:?}");
        }
    }
}

#[tokio::test]
async fn lost_answers_ship_once() {
    let site = Site::new(&["eu"], "none").await.small_batches();
    let mut shipper = site.shipper();
    site.stores[0].set(Break::LoseAnswers);
    let end = site.log.commits(numbered(0..6));

    shipper.step().await.unwrap();

    assert_eq!(shipper.view().protected(), Some(end));
    assert_eq!(site.read(&[0]).await.unwrap(), numbered(0..6));
}

#[tokio::test]
async fn a_full_spool_blocks_says_so_and_drops_nothing() {
    let mut site = Site::new(&["eu"], "none").await.small_batches();
    site.config.spool_bytes_max = "4KiB".parse().unwrap();
    site.config.codec = rpo_replication::BatchCodec::None;
    let mut shipper = site.shipper();
    site.stores[0].set(Break::Down);
    let end = site.log.commits(numbered(0..20));

    // The first step asks the copy where to begin; while that fails nothing is sealed.
    assert_eq!(shipper.step().await.unwrap_err().kind(), ErrorKind::Retry);
    site.stores[0].set(Break::Nothing);
    shipper.set_paused(&name("eu"), true).unwrap();
    let step = shipper.step().await.unwrap();
    assert!(step.blocked && step.sealed_to.lsn < end.lsn, "{step:?}");

    shipper.set_paused(&name("eu"), false).unwrap();
    for _ in 0..20 {
        shipper.step().await.unwrap();
    }
    assert_eq!(site.read(&[0]).await.unwrap(), numbered(0..20));
}

#[tokio::test]
async fn under_pressure_the_spool_forgets_what_enough_copies_keep_and_a_lagging_copy_gets_it_from_them() {
    let mut site = Site::new(&["eu", "us"], "any 1 of (eu, us)").await.small_batches();
    site.config.spool_bytes_max = "4KiB".parse().unwrap();
    site.config.codec = rpo_replication::BatchCodec::None;
    let mut shipper = site.shipper();
    site.log.commit("one");
    shipper.step().await.unwrap();
    site.stores[1].set(Break::Down);

    let end = site.log.commits(numbered(0..12));
    for _ in 0..12 {
        shipper.step().await.unwrap();
    }
    assert_eq!(shipper.view().states()[0].log.position, Some(end), "the healthy copy has everything");

    site.stores[1].set(Break::Nothing);
    shipper.step().await.unwrap();
    assert_eq!(site.stores[1].keys("logs/").await, site.stores[0].keys("logs/").await);
    assert_eq!(site.read(&[1]).await.unwrap().len(), 13);
}

#[tokio::test]
async fn a_copy_added_later_gets_everything_from_the_others() {
    let mut site = Site::new(&["eu"], "none").await.small_batches();
    site.log.commits(numbered(0..8));
    site.shipper().step().await.unwrap();

    site.add_copy("us").await;
    let mut shipper = site.shipper();
    shipper.step().await.unwrap();

    assert_eq!(site.read(&[1]).await.unwrap(), numbered(0..8));
    assert!(shipper.is_caught_up());
}

#[tokio::test]
async fn without_its_spool_a_shipper_goes_on_from_what_the_copies_hold() {
    let site = Site::new(&["eu", "us"], "none").await.small_batches();
    site.log.commits(numbered(0..8));
    site.shipper().step().await.unwrap();
    site.log.commits(numbered(8..10));
    let spool = tempfile::tempdir().unwrap();

    let mut shipper = site.shipper_with(site.log.clone(), spool.path(), Start::Continue);
    site.stores[1].set(Break::Down);
    let error = shipper.step().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry, "a copy that is away may hold the newest batch: {error}");
    site.stores[1].set(Break::Nothing);
    shipper.step().await.unwrap();

    assert_eq!(site.read(&[1]).await.unwrap(), numbered(0..10));
}

#[tokio::test]
async fn a_log_behind_its_archive_is_a_rewind() {
    let site = Site::new(&["eu"], "none").await;
    site.log.commit("kept");
    let kept = site.log.commit("kept too").lsn;
    site.log.commit("shipped, and lost by a disk that lied");
    site.shipper().step().await.unwrap();

    site.log.cut(kept);
    let error = site.shipper().step().await.unwrap_err();

    assert!(error.to_string().contains("lost what was shipped"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Refused);
}

#[tokio::test]
async fn a_log_that_was_put_back_and_written_anew_is_not_mixed_with_what_was_shipped() {
    let site = Site::new(&["eu"], "none").await;
    let kept = site.log.commit("kept").lsn;
    site.log.commit("shipped, then put back");
    site.shipper().step().await.unwrap();

    site.log.cut(kept);
    site.log.commit("another");
    site.log.commits(numbered(0..2));
    let error = site.shipper().step().await.unwrap_err();

    assert!(error.to_string().contains("log was replaced"), "{error}");
    assert_eq!(site.read(&[0]).await.unwrap(), ["kept", "shipped, then put back"]);
}

#[tokio::test]
async fn a_copy_that_loses_its_last_batch_is_found_out_and_filled_again() {
    let site = Site::new(&["eu", "us"], "any 2 of (eu, us)").await;
    let mut shipper = site.shipper();
    let end = site.log.commit("one");
    shipper.step().await.unwrap();
    assert_eq!(shipper.view().protected(), Some(end));

    site.stores[1].remove("logs/orders/00000001/0000000000000001").await;
    shipper.step().await.unwrap();
    assert_eq!(shipper.view().protected(), None, "no number moves without proof");
    shipper.step().await.unwrap();

    assert_eq!(shipper.view().protected(), Some(end));
}

#[tokio::test]
async fn what_is_damaged_in_the_log_is_not_shipped() {
    let site = Site::new(&["eu"], "none").await;
    let mut shipper = site.shipper();
    site.log.commit("one");
    shipper.step().await.unwrap();
    let protected = shipper.view().protected();
    site.log.rot(site.log.commit("two"));

    let error = shipper.step().await.unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert_eq!(shipper.view().protected(), protected);
    assert!(protected.unwrap().lsn > Lsn::ZERO);
}
