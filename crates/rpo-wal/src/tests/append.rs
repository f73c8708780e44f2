use bytes::Bytes;
use futures::Future as _;
use futures::executor::block_on;
use rpo_core::ports::Disk;
use rpo_core::time::ClockAnomaly;
use rpo_core::{ErrorKind, MarkerKind, PointName, Position, Sequence, TransactionId};

use super::*;
use crate::{Step, Tail};

#[test]
fn what_is_acknowledged_is_read_back_after_a_power_cut() {
    let site = Site::new();
    let log = site.open();
    append_all(&log, 0..20);
    drop(log);

    site.disk.power_cut(|_, _| false);
    let (log, report) = site.try_open().unwrap();

    assert_eq!(payloads(&log).unwrap(), expected(0..20));
    assert_eq!(report.commits, 20, "{report:#?}");
    assert_eq!(report.end.sequence, Some(Sequence::new(20)));
}

#[test]
fn positions_are_dense_and_the_clock_stamps_them() {
    let site = Site::new();
    let log = site.open();
    assert_eq!(log.durable(), Position::START);

    let first = append(&log, 1);
    site.clock.advance(Duration::from_secs(2));
    let second = append(&log, 2);

    assert_eq!((first.lsn, first.end.sequence), (Lsn::ZERO, Some(Sequence::new(1))));
    assert_eq!(second.lsn, first.end.lsn);
    assert_eq!(second.end, log.head());
    assert_eq!(second.time.since(first.time), Duration::from_secs(2));
    assert_eq!(log.seek_time(first.time).unwrap(), Some(first.end));
    assert_eq!(log.seek_time(second.time).unwrap(), Some(second.end));
    assert_eq!(log.seek_time(Timestamp::EPOCH).unwrap(), None);
}

#[test]
fn commits_submitted_together_share_one_write_and_one_sync() {
    let site = Site::new();
    let log = site.open();
    settle(&log);
    let (before, syncs) = (log.stats(), site.disk.syncs());
    let tickets: Vec<_> = (0..10).map(|n| log.submit(CommitDraft::one(payload(n))).unwrap()).collect();
    assert!(tickets.iter().all(|t| t.poll().is_none()), "nothing is told before it is durable");

    assert_eq!(log.step(), Step::Flushed);

    let after = log.stats();
    assert_eq!((after.syncs - before.syncs, after.writes - before.writes), (1, 1));
    assert_eq!(site.disk.syncs() - syncs, 1, "the disk says so too");
    let times: Vec<_> = tickets.iter().map(|t| t.poll().unwrap().unwrap().time).collect();
    assert!(times.iter().all(|t| *t == times[0]), "one frame, one commit time");
}

#[test]
fn a_commit_of_several_records_is_whole_or_absent() {
    let site = Site::new();
    let log = site.open();
    append_all(&log, 0..3);
    settle(&log);
    let records = (0..5).map(|n| Bytes::from(vec![b'a' + n; 700]));
    let draft = CommitDraft::many(records).with_transaction(TransactionId(9)).with_context("import");
    log.submit(draft).unwrap();
    let file = site.disk.copy();
    log.step();
    let whole = site.disk.copy();
    drop(log);

    // Of the frame's sectors, any subset may have reached the disk when the power went.
    for lost in 0..16 {
        let site = Site { disk: Arc::new(whole.copy()), ..Site::new() };
        let path = site.newest_segment();
        let old = file.bytes(Path::new(DIR).join("0000000000000000-00000001.rwal").as_path());
        let at = 8192 + lost * disk::SECTOR;
        site.disk.tamper(&path, |b| b[at..at + disk::SECTOR].copy_from_slice(&old[at..at + disk::SECTOR]));
        let Ok((log, report)) = site.try_open() else { panic!("sector {lost}: a torn write opens") };
        let commits = report.commits;
        assert!(commits == 3 || commits == 4, "sector {lost}: {report:#?}");
        assert_eq!(payloads(&log).unwrap().len(), if commits == 3 { 3 } else { 8 });
        if commits == 4 {
            assert!(log.find_transaction(TransactionId(9)).unwrap().is_some());
        }
    }
}

#[test]
fn a_second_opener_is_told_that_it_is_busy() {
    let site = Site::new();
    let _log = site.open();
    let error = site.try_open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.to_string().contains("already open elsewhere"), "{error}");
}

#[test]
fn markers_take_an_lsn_and_no_sequence() {
    let site = Site::new();
    let log = site.open();
    append(&log, 1);
    let name = PointName::new("before-migration").unwrap();

    let tagged = log.tag(name.clone()).unwrap();
    let beat = log.heartbeat().unwrap();

    assert_eq!(tagged.end.sequence, Some(Sequence::new(1)));
    assert_eq!(beat.end.sequence, Some(Sequence::new(1)));
    assert_eq!(log.find_point(&name).unwrap(), Some(tagged.end));
    assert_eq!(append(&log, 2).end.sequence, Some(Sequence::new(2)));
}

#[test]
fn the_wall_clock_may_step_and_commit_times_do_not() {
    let site = Site::new();
    let log = site.open();
    let first = append(&log, 1);
    site.clock.advance(Duration::from_secs(10));
    let back = first.time.saturating_sub(Duration::from_secs(3600));
    site.clock.step_wall(back);

    let second = append(&log, 2);

    assert_eq!(second.time.since(first.time), Duration::from_secs(10), "the steady clock carries on");
    let anomalies: Vec<_> = anomalies(&log);
    assert_eq!(anomalies, [ClockAnomaly { expected: second.time, found: back }]);
}

#[test]
fn a_clock_that_went_back_while_nothing_ran_is_recorded_too() {
    let site = Site::new();
    let log = site.open();
    let first = append(&log, 1);
    log.close().unwrap();
    let back = first.time.saturating_sub(Duration::from_secs(60));
    site.clock.step_wall(back);

    let log = site.open();
    let second = append(&log, 2);

    assert!(second.time >= first.time);
    assert_eq!(anomalies(&log), [ClockAnomaly { expected: first.time, found: back }]);
}

fn anomalies(log: &Log) -> Vec<ClockAnomaly> {
    let kind = |entry: LogEntry| match entry {
        LogEntry::Marker(marker) => Some(marker.kind),
        LogEntry::Commit(_) => None,
    };
    let markers = log.replay(Lsn::ZERO).filter_map(|entry| kind(entry.unwrap()));
    markers
        .map(|kind| if let MarkerKind::ClockAnomaly(anomaly) = kind { anomaly } else { panic!("{kind:?}") })
        .collect()
}

#[test]
fn lower_levels_wait_for_less_and_the_delay_bounds_what_they_risk() {
    let mut config = small();
    config.sync_delay_max = HumanDuration::from_millis(10);
    let site = Site::with(config);
    let log = site.open();

    settle(&log);
    let buffered = log.append(CommitDraft::one("b"), AckLevel::Buffered).unwrap();
    assert_eq!((log.head(), log.durable()), (buffered.end, Position::START));
    settle(&log); // a spare was promised: another one is prepared
    assert_eq!((log.step(), log.stats().writes), (Step::Idle, 0), "the delay is not used up");
    let os = log.append(CommitDraft::one("o"), AckLevel::Os).unwrap();
    assert_eq!((log.head(), log.durable()), (os.end, Position::START));
    site.clock.advance(Duration::from_millis(9));
    assert_eq!(log.step(), Step::Idle);
    assert_eq!(log.uncommitted_age(), Some(Duration::from_millis(9)));
    site.clock.advance(Duration::from_millis(1));
    assert_eq!(log.step(), Step::Flushed);
    assert_eq!(log.durable(), os.end);
    assert_eq!(log.uncommitted_age(), None);
    assert_eq!(
        log.seek_time(buffered.time).unwrap(),
        Some(os.end),
        "nothing moved the clock between the two"
    );

    let error = log
        .append(CommitDraft::one("p"), AckLevel::Protected(rpo_core::objective::Domain::Machine))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn sync_makes_everything_accepted_durable() {
    let mut config = small();
    config.sync_delay_max = HumanDuration::from_secs(60);
    let site = Site::with(config);
    let log = site.open();
    for n in 0..4 {
        log.append(CommitDraft::one(payload(n)), AckLevel::Buffered).unwrap();
    }
    let last = log.append(CommitDraft::one(payload(4)), AckLevel::Buffered).unwrap();

    assert_eq!(log.sync().unwrap(), last.end);
    assert_eq!(log.durable(), last.end);
    assert_eq!(log.sync().unwrap(), last.end, "nothing left to do");
    drop(log);
    site.disk.power_cut(|_, _| false);
    assert_eq!(payloads(&site.open()).unwrap(), expected(0..5));
}

#[test]
fn a_future_needs_no_runtime() {
    let mut site = Site::new();
    site.drive = Drive::Thread;
    let log = site.open();
    let all = (0..200).map(|n| log.append_async(CommitDraft::one(payload(n)), AckLevel::Durable));
    let done = block_on(futures::future::join_all(all));
    assert_eq!(done.len(), 200);
    assert!(done.into_iter().all(|r| r.unwrap().end.lsn <= lsn(&log)));
    let mut found = payloads(&log).unwrap();
    found.sort(); // one that had to wait for a segment may be passed by the next
    assert_eq!(found, expected(0..200));
    assert_eq!(block_on(log.durable_past(Lsn::ZERO)).unwrap(), log.durable());
}

#[test]
fn an_event_loop_flushes_its_own_appenders_and_blocking_ones_beside_it() {
    let mut site = Site::new();
    site.drive = Drive::Loop;
    let log = site.open();
    let mut futures: Vec<_> =
        (0..4).map(|n| Box::pin(log.append_async(CommitDraft::one(payload(n)), AckLevel::Durable))).collect();
    let waker = futures::task::noop_waker();
    let mut cx = std::task::Context::from_waker(&waker);
    let mut poll = |f: &mut std::pin::Pin<Box<crate::AppendFuture>>| f.as_mut().poll(&mut cx).is_ready();
    assert!(!futures.iter_mut().any(&mut poll), "nothing is durable yet");
    let syncs = log.stats().syncs;

    assert_eq!(log.step(), Step::Flushed);

    assert!(futures.iter_mut().all(&mut poll));
    assert_eq!(log.stats().syncs, syncs + 1, "one group");
    append_all(&log, 4..20); // over several segments: the keeper's thread prepares them
    log.close().unwrap();
    assert_eq!(payloads(&site.open()).unwrap(), expected(0..20));
}

#[test]
fn a_callback_is_told_what_became_of_its_commit() {
    let mut site = Site::new();
    site.drive = Drive::Thread;
    let log = site.open();
    let (told, heard) = std::sync::mpsc::channel();
    for n in 0..50 {
        let told = told.clone();
        let submit = || {
            let told = told.clone();
            let done = move |done: Result<Appended, WalError>| told.send(done.unwrap().end.lsn).unwrap();
            log.append_then(CommitDraft::one(payload(n)), AckLevel::Durable, done)
        };
        while matches!(submit(), Err(error) if error.kind() == ErrorKind::Retry) {
            std::thread::yield_now(); // the next segment is being prepared
        }
    }
    drop(told);
    let ends: Vec<_> = heard.iter().take(50).collect();
    assert!(ends.windows(2).all(|pair| pair[0] < pair[1]), "in the order of the log: {ends:?}");
    assert_eq!(*ends.last().unwrap(), lsn(&log));
}

#[test]
fn callbacks_and_futures_of_a_poisoned_log_are_told_too() {
    let site = Site::new();
    let log = site.open();
    append(&log, 0);
    let (told, heard) = std::sync::mpsc::channel();
    log.append_then(CommitDraft::one("x"), AckLevel::Durable, move |done| told.send(done).unwrap()).unwrap();
    site.disk.fail(disk::Op::Sync, 0);
    log.step();
    assert_eq!(heard.try_recv().unwrap().unwrap_err().kind(), ErrorKind::Unknown);
}

#[test]
fn threads_share_groups_and_each_gets_its_own_place() {
    let mut site = Site::new();
    site.drive = Drive::Thread;
    let log = site.open();
    let ends: Vec<_> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8u64)
            .map(|writer| {
                let log = log.clone();
                scope.spawn(move || (0..50).map(|n| append(&log, writer * 1000 + n).lsn).collect::<Vec<_>>())
            })
            .collect();
        writers.into_iter().flat_map(|w| w.join().unwrap()).collect()
    });
    let distinct: std::collections::BTreeSet<_> = ends.iter().collect();
    assert_eq!(distinct.len(), 400);
    assert_eq!(log.durable().sequence, Some(Sequence::new(400)));
    log.close().unwrap();
    assert_eq!(payloads(&site.open()).unwrap().len(), 400);
}

#[test]
fn with_a_flusher_in_real_time_it_alone_carries_groups_out() {
    let mut config = small();
    config.realtime_priority = 1; // where the system refuses that, at normal priority
    let mut site = Site::with(config);
    site.drive = Drive::Thread;
    let log = site.open();
    std::thread::scope(|scope| {
        for writer in 0..4u64 {
            let log = log.clone();
            scope.spawn(move || append_all(&log, writer * 100..writer * 100 + 30));
        }
    });
    log.close().unwrap();
    assert_eq!(payloads(&site.open()).unwrap().len(), 120);
}

#[test]
fn a_closed_log_takes_nothing_and_opens_without_copying() {
    let site = Site::new();
    let log = site.open();
    append_all(&log, 0..3);
    let other = log.clone();
    log.close().unwrap();

    assert_eq!(
        other.append(CommitDraft::one("x"), AckLevel::Durable).unwrap_err().kind(),
        ErrorKind::Refused
    );
    assert_eq!(payloads(&other).unwrap(), expected(0..3), "it still reads");
    let (_log, report) = site.try_open().unwrap();
    assert_eq!((report.repersisted_bytes, &report.tail), (0, &Tail::Clean));
}

#[test]
fn what_cannot_be_written_is_refused_with_its_limit() {
    let site = Site::new();
    let log = site.open();
    let error = log.append(CommitDraft::one(vec![1; 9000]), AckLevel::Durable).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("raise segment-bytes"), "{error}");
    assert_eq!(log.append(CommitDraft::default(), AckLevel::Durable).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(append(&log, 1).lsn, Lsn::ZERO, "a refused commit takes no LSN");
    assert!(site.disk.list(Path::new("/nowhere")).is_err());
}

#[test]
fn too_much_at_once_is_refused_and_nothing_is_dropped() {
    let site = Site::new();
    let log = site.open();
    let mut accepted = 0;
    let refused = loop {
        match log.submit(CommitDraft::one(vec![b'x'; 3000])) {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind(), ErrorKind::Retry);
    log.append(CommitDraft::one("waits until there is room"), AckLevel::Durable).unwrap();
    assert_eq!(payloads(&log).unwrap().len(), accepted + 1);
}
