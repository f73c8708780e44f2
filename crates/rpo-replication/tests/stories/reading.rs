//! Stories of reading an archive: everything that was shipped, in order, or an error that names what is wrong.

use std::time::Duration;

use crate::support::{Break, Site, numbered, payloads};
use futures::TryStreamExt;
use rpo_core::{ErrorKind, Lsn, MarkerKind, Position, TransactionId};
use rpo_replication::{ReplicationError, TakeoverOptions};

const SECOND: &str = "logs/orders/00000001/0000000000000002";
const THIRD: &str = "logs/orders/00000001/0000000000000003";

/// Ten commits in five batches of two.
async fn shipped(names: &[&str]) -> Site {
    let site = Site::new(names, "none").await.small_batches();
    site.log.commits(numbered(0..10));
    site.shipper().step().await.unwrap();
    site
}

#[tokio::test]
async fn a_gap_is_refused_by_name() {
    let site = shipped(&["eu"]).await;
    site.stores[0].remove(THIRD).await;

    let error = site.read(&[0]).await.unwrap_err();

    assert!(matches!(error, ReplicationError::Gap { number: 3, .. }), "{error}");
    assert!(error.to_string().contains("object 3 of epoch 1 is missing while later ones exist"), "{error}");
}

#[tokio::test]
async fn what_one_copy_lacks_or_has_damaged_comes_from_another() {
    let site = shipped(&["eu", "us"]).await;
    site.stores[0].remove(THIRD).await;
    site.stores[0].replace(SECOND, |bytes| bytes[300] ^= 1).await;

    assert_eq!(site.read(&[0, 1]).await.unwrap(), numbered(0..10));
    site.stores[1].set(Break::Down);
    assert!(site.read(&[0, 1]).await.is_err(), "and is not made up when that one is away");
}

#[tokio::test]
async fn an_object_swapped_for_another_valid_one_breaks_the_chain() {
    // A second writer with the same keys and the same epoch, which fencing forbids: its batches are valid by themselves.
    let site = shipped(&["eu"]).await;
    let forged = {
        let mut other = Site::new(&["us"], "none").await.small_batches();
        other.specs[0].repository = site.specs[0].repository.clone();
        other.add_copy("forger").await;
        other.specs.remove(0);
        other.specs[0].role = rpo_replication::Role::Home;
        other.log.commits(numbered(20..30));
        other.shipper().step().await.unwrap();
        other.stores[1].bytes(SECOND).await
    };

    site.stores[0].remove(SECOND).await;
    site.stores[0].put(SECOND, forged).await;
    let error = site.read(&[0]).await.unwrap_err();

    assert!(matches!(error, ReplicationError::ChainBroken { .. }), "{error}");
    assert!(error.to_string().contains(SECOND), "{error}");
}

#[tokio::test]
async fn an_object_under_another_name_is_refused() {
    let site = shipped(&["eu"]).await;
    let third = site.stores[0].bytes(THIRD).await;
    site.stores[0].remove(SECOND).await;
    site.stores[0].put(SECOND, third).await;

    let error = site.read(&[0]).await.unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains(SECOND), "{error}");
}

#[tokio::test]
async fn a_range_is_read_exactly_and_never_short() {
    let site = Site::new(&["eu"], "none").await.small_batches();
    let ends: Vec<Position> = numbered(0..10).iter().map(|payload| site.log.commit(payload)).collect();
    site.shipper().step().await.unwrap();
    let archive = site.archive(&[0]);
    let coverage = archive.coverage().await.unwrap();
    let history = coverage.current();
    for from in 0..10 {
        for to in from..10 {
            let stream = archive.entries(history, ends[from].lsn, Some(ends[to].lsn)).await.unwrap();
            let found = payloads(stream.try_collect().await.unwrap());
            assert_eq!(found, numbered(from + 1..to + 1));
        }
    }

    let past = Lsn::new(ends[9].lsn.get() + 1);
    let error = archive.entries(history, Lsn::ZERO, Some(past)).await.err().unwrap();
    assert!(matches!(error, ReplicationError::EndsBefore { .. }), "{error}");
    let inside = Lsn::new(ends[3].lsn.get() + 5);
    let stream = archive.entries(history, Lsn::ZERO, Some(inside)).await.unwrap();
    let error = stream.try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}

#[tokio::test]
async fn once_retention_took_the_first_batches_coverage_begins_later() {
    let site = shipped(&["eu"]).await;
    site.stores[0].remove("logs/orders/00000001/0000000000000001").await;
    site.stores[0].remove(SECOND).await;
    let archive = site.archive(&[0]);
    let coverage = archive.coverage().await.unwrap();
    let history = coverage.current();

    assert_eq!(history.legs[0].first, 3);
    assert_eq!(site.read(&[0]).await.unwrap(), numbered(4..10));
    let error = archive.entries(history, Lsn::ZERO, None).await.err().unwrap();
    assert!(matches!(error, ReplicationError::BeginsAfter { .. }), "{error}");
}

#[tokio::test]
async fn a_time_resolves_to_exactly_the_commits_up_to_it() {
    let site = Site::new(&["eu"], "none").await.small_batches();
    let start = rpo_core::Clock::wall(&*site.clock);
    let mut stamped = Vec::new();
    for payload in numbered(0..12) {
        site.clock.pass(Duration::from_secs(1));
        let position = site.log.commit(&payload);
        stamped.push((rpo_core::Clock::wall(&*site.clock), position));
    }
    site.shipper().step().await.unwrap();
    let archive = site.archive(&[0]);
    let coverage = archive.coverage().await.unwrap();
    let history = coverage.current();

    assert_eq!(archive.find_time(history, start, false).await.unwrap(), None);
    for (index, (time, position)) in stamped.iter().enumerate() {
        assert_eq!(archive.find_time(history, *time, false).await.unwrap(), Some(*position));
        let between = time.saturating_add(Duration::from_millis(500));
        assert_eq!(archive.find_time(history, between, false).await.unwrap(), Some(*position));
        let before = archive.find_time(history, *time, true).await.unwrap();
        let expected = index.checked_sub(1).map(|index| stamped[index].1.lsn);
        assert_eq!(before.map(|position| position.lsn), expected);
    }
}

#[tokio::test]
async fn a_time_is_found_across_a_takeover() {
    let site = Site::new(&["eu"], "none").await;
    let one = site.log.commit("one");
    let time = rpo_core::Clock::wall(&*site.clock);
    site.shipper().step().await.unwrap();
    site.clock.pass(Duration::from_secs(9));
    let takeover = site.take_over(&TakeoverOptions::default()).await.unwrap();
    let (log, mut shipper, _spool) = site.successor(takeover);
    let two = log.commit("two");
    shipper.step().await.unwrap();
    let archive = site.archive(&[0]);
    let coverage = archive.coverage().await.unwrap();
    let history = coverage.current();

    let now = rpo_core::Clock::wall(&*site.clock);
    let found = archive.find_time(history, time, false).await.unwrap().unwrap();
    assert_eq!(found.lsn, one.lsn);
    assert_eq!(archive.find_time(history, now, false).await.unwrap(), Some(two));
}

#[tokio::test]
async fn transactions_and_named_points_are_found() {
    let site = Site::new(&["eu"], "none").await.small_batches();
    site.log.commits(numbered(0..4));
    let before = site.log.commit("before");
    let after = site.log.transaction(77, "the one");
    let tagged = site.log.tag("before-migration");
    site.log.commits(numbered(4..8));
    site.shipper().step().await.unwrap();
    let archive = site.archive(&[0]);
    let coverage = archive.coverage().await.unwrap();
    let history = coverage.current();

    let found = archive.find_transaction(history, TransactionId(77)).await.unwrap().unwrap();
    assert_eq!((found.before, found.after), (before, after));
    assert_eq!(archive.find_transaction(history, TransactionId(78)).await.unwrap(), None);
    let points = archive.points(history).await.unwrap();
    assert_eq!(points.len(), 1);
    assert!(matches!(&points[0].kind, MarkerKind::RestorePoint(name) if name.as_str() == "before-migration"));
    assert_eq!(points[0].position, tagged);
}

#[tokio::test]
async fn a_stream_without_objects_is_not_found() {
    let site = Site::new(&["eu"], "none").await;
    assert_eq!(site.archive(&[0]).coverage().await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_damaged_end_shortens_the_history_and_says_so() {
    let site = shipped(&["eu"]).await;
    let last = "logs/orders/00000001/0000000000000005";
    site.stores[0].replace(last, |bytes| bytes[200] ^= 1).await;
    let archive = site.archive(&[0]);
    let coverage = archive.coverage().await.unwrap();
    let history = coverage.current();

    let broken = history.broken.as_ref().unwrap();
    assert_eq!((broken.number, history.legs[0].last), (5, 4));
    let error = site.read(&[0]).await.unwrap_err();
    assert!(
        matches!(error, ReplicationError::CutShort { .. }) && error.to_string().contains(last),
        "{error}"
    );
    let stream = archive.entries(history, Lsn::ZERO, Some(history.to().lsn)).await.unwrap();
    assert_eq!(
        payloads(stream.try_collect().await.unwrap()),
        numbered(0..8),
        "asked for exactly, it is given"
    );
}

#[tokio::test]
async fn what_is_left_of_a_history_that_went_on_elsewhere_can_be_read() {
    let site = Site::new(&["eu", "us", "ap"], "any 2 of (eu, us, ap)").await;
    let mut old = site.shipper();
    site.log.commits(["one", "two"]);
    old.step().await.unwrap();
    site.stores[2].set(Break::Down);
    site.log.commit("three");
    old.step().await.unwrap();
    site.stores[2].set(Break::Nothing);
    let takeover = site.take_over(&TakeoverOptions::default()).await.unwrap();
    assert_eq!(takeover.parent.number, 2);
    for key in site.stores[2].keys("logs/orders/00000001/healed/").await {
        site.stores[2].remove(&key).await; // as if the fire had come before the copy was completed
    }

    let archive = site.archive(&[2]);
    let coverage = archive.coverage().await.unwrap();
    let history = coverage.current();

    assert!(history.broken.as_ref().is_some_and(|broken| (broken.epoch.get(), broken.number) == (1, 2)));
    let stream = archive.entries(history, Lsn::ZERO, Some(history.to().lsn)).await.unwrap();
    assert_eq!(payloads(stream.try_collect().await.unwrap()), ["one", "two"]);
    assert!(site.read(&[2]).await.is_err());
}
