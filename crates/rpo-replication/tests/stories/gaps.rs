//! Stories of gaps: what was lost is recorded, told, and never passed over.

use crate::support::{Break, Site, numbered, payloads};
use futures::TryStreamExt;
use rpo_core::{Lsn, Position, Timestamp};
use rpo_replication::{FrameSource, GapCause, GapRecord, ReplicationError, TakeoverOptions};

fn record() -> GapRecord {
    GapRecord {
        cause: GapCause::Log,
        who: "ada".to_owned(),
        why: "two sectors of the log rotted before they were shipped".to_owned(),
        accepted_at: Timestamp::from_micros(1_700_000_000_000_000),
    }
}

struct Lossy {
    site: Site,
    /// Where each commit ended.
    ends: Vec<Position>,
}

/// Thirty commits, of which ten to nineteen never reached a copy.
async fn lossy(names: &[&str], policy: &str) -> Lossy {
    let site = Site::new(names, policy).await.small_batches();
    let mut ends: Vec<Position> = numbered(0..10).iter().map(|payload| site.log.commit(payload)).collect();
    let mut shipper = site.shipper();
    shipper.step().await.unwrap();
    ends.extend(numbered(10..20).iter().map(|payload| site.log.commit(payload)));
    shipper.record_gap(ends[19], record()).await.unwrap();
    ends.extend(numbered(20..30).iter().map(|payload| site.log.commit(payload)));
    shipper.step().await.unwrap();
    Lossy { site, ends }
}

fn is_the_gap(error: &ReplicationError, ends: &[Position]) -> bool {
    matches!(error, ReplicationError::InsideGap { gap, .. }
        if gap.from == ends[9] && gap.to == ends[19] && gap.record == record())
}

#[tokio::test]
async fn a_gap_is_told_and_what_lies_around_it_can_be_read() {
    let Lossy { site, ends } = lossy(&["eu", "us"], "any 2 of (eu, us)").await;
    for copy in [0, 1] {
        let archive = site.archive(&[copy]);
        let coverage = archive.coverage().await.unwrap();
        let history = coverage.current();

        assert_eq!(history.gaps.len(), 1);
        assert_eq!((history.gaps[0].from, history.gaps[0].to), (ends[9], ends[19]));
        assert_eq!(history.gaps[0].record, record());
        let read = async |from: Lsn, to: Lsn| {
            let stream = archive.entries(history, from, Some(to)).await?;
            Ok::<_, ReplicationError>(payloads(stream.try_collect().await?))
        };
        assert_eq!(read(Lsn::ZERO, ends[9].lsn).await.unwrap(), numbered(0..10));
        assert_eq!(read(ends[19].lsn, ends[29].lsn).await.unwrap(), numbered(20..30));
    }
}

#[tokio::test]
async fn whatever_reaches_into_a_gap_is_refused_by_name() {
    let Lossy { site, ends } = lossy(&["eu"], "none").await;
    let archive = site.archive(&[0]);
    let coverage = archive.coverage().await.unwrap();
    let history = coverage.current();

    let error = site.read(&[0]).await.unwrap_err();
    assert!(is_the_gap(&error, &ends), "{error}");
    let text = error.to_string();
    assert!(text.contains("ada accepted it") && text.contains("nearest points"), "{text}");
    for (from, to) in [(0, 10), (5, 29), (12, 15), (12, 29), (9, 20)] {
        let stream = archive.entries(history, ends[from].lsn, Some(ends[to].lsn)).await.unwrap();
        let error = stream.try_collect::<Vec<_>>().await.unwrap_err();
        assert!(is_the_gap(&error, &ends), "{from}..{to}: {error}");
    }
}

#[tokio::test]
async fn a_time_or_transaction_that_may_lie_in_a_gap_is_refused() {
    let Lossy { site, ends } = lossy(&["eu"], "none").await;
    let archive = site.archive(&[0]);
    let coverage = archive.coverage().await.unwrap();
    let history = coverage.current();
    // The test log stamps one millisecond per commit.
    let at = |commit: i64| Timestamp::from_micros(1_700_000_000_000_000 + (commit + 1) * 1000);

    assert_eq!(archive.find_time(history, at(8), false).await.unwrap(), Some(ends[8]));
    for commit in 10..20 {
        let error = archive.find_time(history, at(commit), false).await.unwrap_err();
        assert!(is_the_gap(&error, &ends), "{commit}: {error}");
    }
    assert_eq!(archive.find_time(history, at(25), false).await.unwrap(), Some(ends[25]));
    let error = archive.find_transaction(history, rpo_core::TransactionId(7)).await.unwrap_err();
    assert!(is_the_gap(&error, &ends), "{error}");
}

#[tokio::test]
async fn gaps_survive_merging_restarts_and_takeovers() {
    let Lossy { site, ends } = lossy(&["eu", "us"], "any 2 of (eu, us)").await;
    site.log.commits(numbered(30..34));
    site.shipper().step().await.unwrap(); // a new process
    crate::merging::merge_all(&site).await;
    let takeover = site.take_over(&TakeoverOptions::default()).await.unwrap();
    let (log, mut shipper, _spool) = site.successor(takeover);
    log.commits(numbered(34..36));
    shipper.step().await.unwrap();

    for copy in [0, 1] {
        let archive = site.archive(&[copy]);
        let coverage = archive.coverage().await.unwrap();
        assert_eq!(coverage.current().gaps.len(), 1);
        assert!(is_the_gap(&site.read(&[copy]).await.unwrap_err(), &ends));
        let stream = archive.entries(coverage.current(), ends[19].lsn, None).await.unwrap();
        assert_eq!(payloads(stream.try_collect().await.unwrap()), numbered(20..36));
    }
}

#[tokio::test]
async fn a_gap_object_that_is_taken_away_is_a_hole_and_not_passed_over() {
    let Lossy { site, .. } = lossy(&["eu"], "none").await;
    let archive = site.archive(&[0]);
    let number = archive.coverage().await.unwrap().current().gaps[0].number;
    site.stores[0].remove(&format!("logs/orders/00000001/{number:016x}")).await;

    let error = site.read(&[0]).await.unwrap_err();

    assert!(matches!(error, ReplicationError::Gap { .. }), "{error}");
}

#[tokio::test]
async fn a_gap_is_recorded_once_also_when_its_answer_is_lost_and_the_process_dies() {
    let site = Site::new(&["eu"], "none").await.small_batches();
    site.log.commits(numbered(0..4));
    let mut shipper = site.shipper();
    shipper.step().await.unwrap();
    site.log.commits(numbered(4..8));
    let to = site.log.durable();
    shipper.record_gap(to, record()).await.unwrap();
    let again = shipper.record_gap(to, record()).await.unwrap_err();
    assert!(matches!(again, ReplicationError::Invalid(_)), "{again}");
    drop(shipper); // before any copy has it
    site.stores[0].set(Break::LoseAnswers);
    site.log.commits(numbered(8..12));

    site.shipper().step().await.unwrap();

    site.stores[0].set(Break::Nothing);
    let coverage = site.archive(&[0]).coverage().await.unwrap();
    assert_eq!(coverage.current().gaps.len(), 1);
    assert_eq!(coverage.current().to(), site.log.durable());
}

#[tokio::test]
async fn a_gap_that_cannot_be_is_refused() {
    let site = Site::new(&["eu"], "none").await.small_batches();
    let middle = site.log.commits(numbered(0..4));
    let end = site.log.commits(numbered(4..8));
    let mut shipper = site.shipper();
    shipper.step().await.unwrap();

    let past = Position { lsn: Lsn::new(end.lsn.get() + 1), ..end };
    for to in [middle, end, past] {
        let error = shipper.record_gap(to, record()).await.unwrap_err();
        assert!(matches!(error, ReplicationError::Invalid(_)), "{error}");
    }
    let more = site.log.commits(numbered(8..9));
    let nobody = GapRecord { who: String::new(), ..record() };
    assert!(shipper.record_gap(more, nobody).await.is_err(), "somebody must have accepted it");
}
