//! Stories of merging: parts become one object, nothing of the history changes, and whoever dies in between harms nothing.

use std::time::Duration;

use crate::support::{Break, Site, numbered, payloads};
use futures::{FutureExt, TryStreamExt};
use rpo_core::{Epoch, Lsn, MarkerKind, Position, TransactionId};
use rpo_replication::{MergeConfig, MergeStep, Merger, TakeoverOptions, batch_key, merged_key};

pub(crate) fn config() -> MergeConfig {
    let mut config = MergeConfig::default();
    config.target_bytes = "64KiB".parse().unwrap();
    config.parts_min = 2;
    config.patience = "1s".parse().unwrap();
    config.grace = "1h".parse().unwrap();
    config
}

pub(crate) fn merger(site: &Site, config: MergeConfig) -> Merger {
    Merger::new(site.copies(), site.stream.clone(), site.clock.clone(), site.entropy.clone(), config).unwrap()
}

/// Merges until nothing changes, lets the grace time pass, and does so again.
pub(crate) async fn merge_all(site: &Site) -> MergeStep {
    let mut merger = merger(site, config());
    let mut total = MergeStep::default();
    for _ in 0..2 {
        site.clock.pass(Duration::from_secs(3601));
        loop {
            let step = merger.step().await.unwrap();
            total.deleted += step.deleted;
            total.mirrored += step.mirrored;
            total.held += step.held;
            total.waiting = step.waiting.clone();
            if step.merged.is_none() && step.deleted == 0 && step.mirrored == 0 {
                break;
            }
            total.merged = step.merged.or(total.merged);
        }
    }
    total
}

/// Forty commits in twenty batches, in every copy.
pub(crate) async fn shipped(names: &[&str], policy: &str) -> Site {
    let site = Site::new(names, policy).await.small_batches();
    site.log.commits(numbered(0..40));
    site.shipper().step().await.unwrap();
    site
}

fn own_batches(keys: &[String]) -> usize {
    keys.iter().filter(|key| key.trim_start_matches("logs/orders/00000001/").len() == 16).count()
}

#[tokio::test]
async fn merged_batches_read_back_as_they_were_and_their_parts_go() {
    let site = shipped(&["eu", "us"], "any 2 of (eu, us)").await;
    let before = site.read(&[0]).await.unwrap();

    let done = merge_all(&site).await;

    assert!(done.deleted >= 30 && done.mirrored >= 1, "{done:?}");
    for copy in [0, 1] {
        let keys = site.stores[copy].keys("logs/orders/00000001/").await;
        assert!(own_batches(&keys) <= 2, "{keys:#?}");
        assert_eq!(site.read(&[copy]).await.unwrap(), before);
    }
    let key = merged_key(&site.stream, Epoch::FIRST, 1).to_string();
    assert_eq!(
        site.stores[0].bytes(&key).await,
        site.stores[1].bytes(&key).await,
        "the same bytes everywhere"
    );
}

#[tokio::test]
async fn the_writer_goes_on_and_restarts_beside_merging() {
    let site = shipped(&["eu", "us"], "any 2 of (eu, us)").await;
    merge_all(&site).await;

    for round in 0..5 {
        site.log.commits(numbered(40 + round * 8..48 + round * 8));
        let mut shipper = site.shipper(); // each time a new process, which locates anew
        shipper.step().await.unwrap();
        assert_eq!(
            shipper.view().protected().map(|p| p.lsn),
            Some(rpo_replication::FrameSource::durable(&*site.log).lsn)
        );
        drop(shipper);
        merge_all(&site).await;
    }

    assert_eq!(site.read(&[0]).await.unwrap(), numbered(0..80));
    assert_eq!(site.read(&[1]).await.unwrap(), numbered(0..80));
}

#[tokio::test]
async fn every_commit_boundary_survives_merging() {
    let site = Site::new(&["eu"], "none").await.small_batches();
    let ends: Vec<Position> = numbered(0..30).iter().map(|payload| site.log.commit(payload)).collect();
    site.shipper().step().await.unwrap();
    merge_all(&site).await;
    let archive = site.archive(&[0]);
    let coverage = archive.coverage().await.unwrap();
    let history = coverage.current();

    assert_eq!((history.from().lsn, history.to().lsn), (Lsn::ZERO, ends[29].lsn));
    for from in 0..30 {
        for to in from..30 {
            let stream = archive.entries(history, ends[from].lsn, Some(ends[to].lsn)).await.unwrap();
            assert_eq!(payloads(stream.try_collect().await.unwrap()), numbered(from + 1..to + 1));
        }
    }
}

#[tokio::test]
async fn times_transactions_and_points_are_found_in_merged_batches() {
    let site = Site::new(&["eu"], "none").await.small_batches();
    let mut stamped = Vec::new();
    for payload in numbered(0..20) {
        site.clock.pass(Duration::from_secs(1));
        let position = site.log.commit(&payload);
        stamped.push((rpo_core::Clock::wall(&*site.clock), position));
    }
    let before = rpo_replication::FrameSource::durable(&*site.log);
    let after = site.log.transaction(77, "the one");
    let tagged = site.log.tag("before-migration");
    site.log.commits(numbered(20..40));
    site.shipper().step().await.unwrap();
    merge_all(&site).await;
    let archive = site.archive(&[0]);
    let coverage = archive.coverage().await.unwrap();
    let history = coverage.current();

    for (time, position) in &stamped {
        assert_eq!(archive.find_time(history, *time, false).await.unwrap(), Some(*position));
    }
    let found = archive.find_transaction(history, TransactionId(77)).await.unwrap().unwrap();
    assert_eq!((found.before, found.after), (before, after));
    let points = archive.points(history).await.unwrap();
    assert!(matches!(&points[0].kind, MarkerKind::RestorePoint(name) if name.as_str() == "before-migration"));
    assert_eq!(points[0].position, tagged);
}

#[tokio::test]
async fn parts_stay_for_the_grace_time() {
    let site = shipped(&["eu"], "none").await;
    let mut merger = merger(&site, config());
    site.clock.pass(Duration::from_secs(2));
    while merger.step().await.unwrap().merged.is_some() {}
    let before = site.stores[0].keys("logs/").await;
    site.clock.pass(Duration::from_secs(3590));
    assert_eq!(merger.step().await.unwrap().deleted, 0);
    assert_eq!(site.stores[0].keys("logs/").await, before);

    site.clock.pass(Duration::from_secs(11));
    assert!(merger.step().await.unwrap().deleted > 0);
    assert_eq!(site.read(&[0]).await.unwrap(), numbered(0..40));
}

#[tokio::test]
async fn a_merger_that_dies_in_any_call_harms_nothing_and_another_finishes() {
    let at_home = {
        let site = shipped(&["eu", "us"], "any 2 of (eu, us)").await;
        site.stores.iter().for_each(|store| store.set(Break::Nothing));
        merge_all(&site).await;
        [site.stores[0].calls(), site.stores[1].calls()]
    };
    for store in [0, 1] {
        for call in (1..=at_home[store]).step_by(11) {
            for how in [Break::DieBefore(call), Break::DieAfter(call)] {
                let site = shipped(&["eu", "us"], "any 2 of (eu, us)").await;
                site.stores[store].set(how);
                assert!(merge_all(&site).now_or_never().is_none(), "it dies in call {call}");
                site.stores[store].set(Break::Nothing);
                for copy in [0, 1] {
                    assert_eq!(
                        site.read(&[copy]).await.unwrap(),
                        numbered(0..40),
                        "{how:?} of store {store}"
                    );
                }
                merge_all(&site).await;
                for copy in [0, 1] {
                    assert_eq!(site.read(&[copy]).await.unwrap(), numbered(0..40));
                    assert!(own_batches(&site.stores[copy].keys("logs/").await) <= 2);
                }
            }
        }
    }
}

#[tokio::test]
async fn lost_answers_and_two_mergers_at_once_change_nothing() {
    let site = shipped(&["eu", "us"], "any 2 of (eu, us)").await;
    site.stores.iter().for_each(|store| store.set(Break::LoseAnswers));
    let (mut one, mut two) = (merger(&site, config()), merger(&site, config()));
    for _ in 0..8 {
        site.clock.pass(Duration::from_secs(1000));
        let (a, b) = futures::join!(one.step(), two.step());
        let _ = (a.unwrap(), b.unwrap());
    }
    site.stores.iter().for_each(|store| store.set(Break::Nothing));
    merge_all(&site).await;

    assert_eq!(site.read(&[0]).await.unwrap(), numbered(0..40));
    assert_eq!(site.read(&[1]).await.unwrap(), numbered(0..40));
}

#[tokio::test]
async fn a_takeover_after_merging_continues_the_history() {
    let site = shipped(&["eu", "us"], "any 2 of (eu, us)").await;
    merge_all(&site).await;

    let takeover = site.take_over(&TakeoverOptions::default()).await.unwrap();
    let (log, mut shipper, _spool) = site.successor(takeover);
    log.commit("after");
    shipper.step().await.unwrap();

    let mut expected = numbered(0..40);
    expected.push("after".to_owned());
    merge_all(&site).await;
    assert_eq!(site.read(&[0]).await.unwrap(), expected);
    assert_eq!(site.read(&[1]).await.unwrap(), expected);
}

#[tokio::test]
async fn a_fence_that_lands_where_a_part_was_deleted_stops_nobody_and_is_not_counted() {
    // The request for the fence was made when the copy ended before number 2; it lands after merging took that batch.
    let site = shipped(&["eu"], "none").await;
    merge_all(&site).await;
    let second = batch_key(&site.stream, Epoch::FIRST, 2);
    let fence = {
        let other = Site::new(&["eu"], "none").await.small_batches();
        other.log.commit("one");
        other.shipper().step().await.unwrap();
        other.take_over(&TakeoverOptions::default()).await.unwrap();
        other.stores[0].bytes(second.as_str()).await
    };
    site.stores[0].put(second.as_str(), fence).await;

    let takeover = site.take_over(&TakeoverOptions::default()).await.unwrap();

    assert_eq!(takeover.parent.fork.lsn, rpo_replication::FrameSource::durable(&*site.log).lsn);
    assert!(takeover.fenced.values().all(|number| *number > 20), "{:?}", takeover.fenced);
    assert_eq!(site.read(&[0]).await.unwrap(), numbered(0..40));
}

#[tokio::test]
async fn a_copy_that_was_away_gets_merged_objects_for_parts_that_are_gone() {
    let mut site = shipped(&["eu", "us"], "any 1 of (eu, us)").await;
    merge_all(&site).await;
    let spool = tempfile::tempdir().unwrap();
    site.spool = spool; // the writer's machine is new, too: nothing is left in a spool
    site.add_copy("ap").await;
    site.log.commits(numbered(40..44));

    let mut shipper = site.shipper();
    shipper.step().await.unwrap();

    assert_eq!(site.read(&[2]).await.unwrap(), numbered(0..44));
}

#[tokio::test]
async fn a_copy_that_was_away_during_a_takeover_is_completed_with_merged_objects() {
    let site = Site::new(&["eu", "us", "ap"], "any 2 of (eu, us, ap)").await.small_batches();
    site.log.commits(numbered(0..4));
    let mut old = site.shipper();
    old.step().await.unwrap();
    site.stores[2].set(Break::Down);
    site.log.commits(numbered(4..40));
    old.step().await.unwrap();
    let takeover = site.take_over(&TakeoverOptions::default()).await.unwrap();
    let (log, mut shipper, _spool) = site.successor(takeover);
    log.commit("after");
    shipper.step().await.unwrap();
    merge_all(&site).await;

    site.stores[2].set(Break::Nothing);
    shipper.step().await.unwrap();

    let mut expected = numbered(0..40);
    expected.push("after".to_owned());
    assert_eq!(site.read(&[2]).await.unwrap(), expected);
}

#[tokio::test]
async fn a_merged_object_that_is_damaged_comes_from_another_copy_or_is_named() {
    let site = shipped(&["eu", "us"], "any 2 of (eu, us)").await;
    merge_all(&site).await;
    let key = merged_key(&site.stream, Epoch::FIRST, 1).to_string();
    site.stores[0]
        .replace(&key, |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        })
        .await;

    assert_eq!(site.read(&[0, 1]).await.unwrap(), numbered(0..40));
    let error = site.read(&[0]).await.unwrap_err();
    assert!(error.to_string().contains(&key), "{error}");
}
