//! Stories about one journal: recording, coverage, reading, replay.
#![allow(clippy::unwrap_used, reason = "it is all for tests")]

mod scene;

use std::sync::Arc;
use std::time::Duration;

use rpo_core::frame::CommitDraft;
use rpo_core::{AckLevel, Bound, Clock as _, ErrorKind, Lsn, TransactionId};
use rpo_journal::{
    Asked, Base, Change, Journal, JournalError, JournalEvent, JournalParts, LogUse, LossReason, Overrun,
    Transaction,
};
use rpo_testkit::sim::block_on;
use rpo_wal::Drive;
use scene::{Scene, change, changes, ids, record, shop};

#[test]
fn the_changes_of_a_transaction_are_one_commit_and_come_back_as_they_were() {
    let scene = Scene::new();
    let journal = scene.open();
    let told = [
        change(1),
        Change::update(&shop(), "stock", "apple", Some("12".into()), "10"),
        Change::delete(&shop(), "carts", "c1", None),
        Change::truncate(&shop(), "tmp"),
        Change::schema(&shop(), "orders", Some("ALTER TABLE orders ADD x".into())),
    ];
    let transaction = Transaction::of(told.clone()).with_transaction(TransactionId(77)).with_context("alice");

    let receipt = record(&journal, transaction);
    let journal = scene.reopen(journal);

    let events: Vec<_> = journal.since(Asked::Start).unwrap().map(Result::unwrap).collect();
    assert_eq!(events.iter().map(|e| e.change.clone()).collect::<Vec<_>>(), told);
    assert!(events.iter().zip(1..).all(|(e, n)| (e.id, e.part, e.parts) == (u64::from(n), n, 5)));
    assert!(events.iter().all(|e| e.transaction == Some(TransactionId(77)) && e.position == receipt.end));
    assert!(events.iter().all(|e| e.context.as_deref() == Some(b"alice") && e.time == receipt.time));
    assert_eq!(receipt.end.sequence.unwrap().get(), 1, "one commit");
    assert_eq!(journal.log().find_transaction(TransactionId(77)).unwrap(), Some(receipt.end));
}

#[test]
fn what_cannot_be_recorded_leaves_no_trace() {
    let scene = Scene::new().limits(3600, 10);
    let journal = scene.open();
    let empty_name = Change::insert(&shop(), "", "k", "v");

    let empty = journal.record(Transaction::default(), AckLevel::Durable).unwrap_err();
    let many = journal.record(changes(1..12), AckLevel::Durable).unwrap_err();
    let wrong = journal.record(Transaction::of([change(1), empty_name]), AckLevel::Durable).unwrap_err();
    let level = AckLevel::Protected(rpo_core::Domain::Machine);
    let level = journal.record(change(1), level).unwrap_err();

    assert!(matches!(empty, JournalError::Size { found: 0, .. }));
    assert!(matches!(many, JournalError::Size { found: 11, limit: 10 }));
    assert!(matches!(wrong, JournalError::Change { part: 2, .. }), "{wrong}");
    assert_eq!(level.kind(), ErrorKind::Unsupported);
    assert_eq!(record(&journal, change(1)).first, 1);
}

#[test]
fn a_full_window_says_so_and_a_restart_does_not_forget_it() {
    let scene = Scene::new().limits(3600, 10);
    let journal = scene.open();
    for n in 0..10 {
        record(&journal, change(n));
        scene.pass(1);
    }
    assert_eq!((journal.coverage().lost, scene.heard()), (None, vec![]));

    record(&journal, changes(10..13));

    let coverage = journal.coverage();
    let lost = coverage.lost.expect("lost coverage");
    assert_eq!((lost.events, lost.last, lost.reason), (3, 3, LossReason::Overrun));
    assert!(coverage.is_short);
    assert_eq!((coverage.from.unwrap().event, coverage.to.unwrap().event, coverage.events), (4, 13, 10));
    let heard = scene.heard();
    assert!(matches!(heard[..], [JournalEvent::CoverageLost { events: 3, lost: told, .. }] if told == lost));
    assert_eq!(journal.stats().lost, 3);

    let journal = scene.reopen(journal);

    assert_eq!(journal.coverage(), coverage);
    for asked in [Asked::Event(3), Asked::Position(Lsn::ZERO), Asked::Time(lost.last_time)] {
        let error = journal.since(asked).unwrap_err();
        let JournalError::Uncovered { nearest: Some(nearest), .. } = &error else { panic!("{error}") };
        assert_eq!((nearest.event, error.kind()), (4, ErrorKind::NotFound));
        assert!(error.to_string().contains("the nearest is event 4"), "{error}");
    }

    scene.pass(3600);
    record(&journal, change(13));
    assert!(!journal.coverage().is_short);
    assert!(matches!(scene.heard()[..], [JournalEvent::CoverageWhole { lost: told }] if told == lost));
    assert_eq!(journal.coverage().lost, Some(lost), "what was lost stays counted");
}

#[test]
fn a_full_journal_may_refuse_instead_and_goes_on_by_itself() {
    let mut scene = Scene::new().limits(60, 3);
    scene.config.overrun = Overrun::Refuse;
    let journal = scene.open();
    record(&journal, changes(1..3));
    scene.pass(1);
    record(&journal, change(3));

    for _ in 0..2 {
        let error = journal.record(change(4), AckLevel::Durable).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    }
    assert!(matches!(scene.heard()[..], [JournalEvent::RecordRefused { limit: 3, .. }]), "told once");
    assert_eq!((journal.stats().refused, journal.coverage().lost), (2, None));

    scene.pass(60);
    assert_eq!(record(&journal, change(4)).first, 4);
    assert_eq!(journal.coverage().from.unwrap().event, 3);
}

#[test]
fn trimming_releases_whole_segments_and_never_the_numbers() {
    let scene = Scene::new().limits(60, 100_000);
    let journal = scene.open();
    for n in 1..=400 {
        record(&journal, change(n));
    }
    scene.pass(61);

    let report = journal.trim().unwrap();

    assert_eq!((report.expired, report.lost), (400, 0));
    assert!(report.segments_released > 2, "{report:?}");
    let coverage = journal.coverage();
    assert_eq!((coverage.from, coverage.events, coverage.lost), (None, 0, None));
    let mut journal = journal;
    for _ in 0..3 {
        journal = scene.reopen(journal); // each opening begins a new segment
        journal.trim().unwrap();
    }
    assert_eq!(journal.coverage().dropped.unwrap().event, 400);
    assert_eq!(record(&journal, change(401)).first, 401);
    assert_eq!(ids(&journal, Asked::Start).unwrap(), [401]);
}

#[test]
fn a_wall_clock_that_jumps_ahead_makes_nothing_give_way() {
    let scene = Scene::new().limits(60, 100);
    let journal = scene.open();
    record(&journal, changes(1..4));

    scene.clock.step_wall(Duration::from_secs(7200));
    journal.trim().unwrap();

    assert_eq!(journal.coverage().events, 3);
    scene.pass(61);
    journal.trim().unwrap();
    assert_eq!(journal.coverage().events, 0, "but time that passed counts");
}

#[test]
fn on_a_shared_log_the_commits_of_others_are_passed_over_and_nothing_is_released() {
    let mut scene = Scene::new().limits(60, 100_000);
    scene.config.log_use = LogUse::Shared;
    let journal = scene.open();
    for n in 1..=200 {
        journal.log().append(CommitDraft::one(format!("another's {n}")), AckLevel::Durable).unwrap();
        record(&journal, change(n));
    }
    let journal = scene.reopen(journal);
    assert_eq!(ids(&journal, Asked::Event(150)).unwrap(), (150..=200).collect::<Vec<_>>());

    scene.pass(61);
    let report = journal.trim().unwrap();

    assert_eq!((report.expired, report.segments_released), (200, 0));
    assert!(report.needed_from > Lsn::ZERO);
    assert_eq!(journal.log().start().lsn, Lsn::ZERO);
}

#[test]
fn what_somebody_else_released_is_lost_coverage() {
    let scene = Scene::new().limits(3600, 100_000);
    let journal = scene.open();
    for n in 1..=300 {
        record(&journal, change(n));
    }
    let at = journal.since(Asked::Event(200)).unwrap().next().unwrap().unwrap().position.lsn;
    assert!(journal.log().release(at).unwrap() > 0);

    let journal = scene.reopen(journal);

    let coverage = journal.coverage();
    let (from, lost) = (coverage.from.unwrap().event, coverage.lost.unwrap());
    assert_eq!((lost.reason, lost.events), (LossReason::Released, from - 1));
    assert!(from > 1 && from <= 200 && coverage.is_short);
    assert!(matches!(scene.heard()[..], [JournalEvent::CoverageLost { .. }]));
    assert_eq!(scene.reopen(journal).coverage(), coverage);
}

#[test]
fn a_log_that_forgot_the_numbers_is_refused_until_told_where_to_begin() {
    let scene = Scene::new();
    let (log, _) = scene.open_log().unwrap();
    for n in 0..300 {
        log.append(CommitDraft::one(vec![b'x'; 200 + n]), AckLevel::Durable).unwrap();
    }
    log.release(log.durable().lsn).unwrap();
    drop(log);

    let error = scene.try_open().unwrap_err();
    assert!(matches!(error, JournalError::Forgotten { .. }), "{error}");

    let (log, report) = scene.open_log().unwrap();
    let clock = Arc::clone(&scene.clock);
    let parts =
        JournalParts { begin_at: Some(5000), ..JournalParts::new(log, &report, Drive::Manual, clock) };
    let journal = Journal::open(parts, scene.config.clone(), None).unwrap();
    assert_eq!(record(&journal, change(1)).first, 5000);
    assert_eq!(scene.reopen(journal).coverage().lost.unwrap().reason, LossReason::NotNumbered);
}

#[test]
fn a_recording_may_be_awaited() {
    let scene = Scene::new();
    let journal = scene.open();
    let future = journal.record_async(change(1), AckLevel::Durable);
    assert_eq!(journal.next_event(), 1, "nothing is recorded before it is polled");
    drop(future);
    let other = journal.clone();
    let log = journal.log().clone();
    let mut future = Box::pin(journal.record_async(changes(1..3), AckLevel::Durable));
    assert!(block_on(std::future::poll_fn(|cx| {
        std::task::Poll::Ready(future.as_mut().poll(cx).is_pending())
    })));
    log.sync().ok();
    while matches!(log.step(), rpo_wal::Step::Flushed | rpo_wal::Step::Kept) {}
    assert_eq!(block_on(future).unwrap().last, 2);
    assert_eq!(ids(&other, Asked::Start).unwrap(), [1, 2]);
}

/// Ten commits, one each second; returns where and when each ended.
fn ten(scene: &Scene, journal: &Journal) -> Vec<Base> {
    let mut bases = vec![Base::empty()];
    for n in 1..=10 {
        let receipt = record(journal, changes(2 * n..2 * n + 2));
        bases.push(Base { checkpoint: None, position: receipt.end, time: receipt.time });
        scene.pass(1);
    }
    bases
}

fn replay(
    journal: &Journal,
    target: Asked,
    bound: Bound,
    bases: &[Base],
) -> Result<(Base, Vec<u64>), JournalError> {
    let mut seen = Vec::new();
    let done = journal.replay_to(target, bound, bases, |event| {
        seen.push(event.id);
        Ok(())
    })?;
    assert_eq!(done.events, seen.len() as u64);
    Ok((done.base, seen))
}

#[test]
fn a_replay_begins_at_the_last_base_at_or_before_the_target_not_at_the_newest() {
    let scene = Scene::new();
    let journal = scene.open();
    let at = ten(&scene, &journal);
    let bases = [at[8].clone(), at[2].clone(), at[5].clone()]; // in any order

    let time = Asked::Time(at[7].time);
    assert_eq!(
        replay(&journal, time, Bound::Inclusive, &bases).unwrap(),
        (at[5].clone(), vec![11, 12, 13, 14])
    );
    assert_eq!(replay(&journal, time, Bound::Exclusive, &bases).unwrap(), (at[5].clone(), vec![11, 12]));
    let time = Asked::Time(at[5].time);
    assert_eq!(replay(&journal, time, Bound::Inclusive, &bases).unwrap(), (at[5].clone(), vec![]));
    assert_eq!(replay(&journal, time, Bound::Exclusive, &bases).unwrap(), (at[2].clone(), vec![5, 6, 7, 8]));
    let lsn = Asked::Position(at[6].position.lsn);
    assert_eq!(replay(&journal, lsn, Bound::Inclusive, &bases).unwrap(), (at[5].clone(), vec![11, 12]));
    // A transaction is never halved.
    for event in [11, 12] {
        let event = Asked::Event(event);
        assert_eq!(replay(&journal, event, Bound::Inclusive, &bases).unwrap().1, [11, 12]);
        assert_eq!(replay(&journal, event, Bound::Exclusive, &bases).unwrap().1, []);
    }
    let error = replay(&journal, Asked::Time(at[1].time), Bound::Inclusive, &bases).unwrap_err();
    assert!(
        matches!(error, JournalError::NoBase { earliest: Some(time), .. } if time == at[2].time),
        "{error}"
    );
}

#[test]
fn a_base_that_claims_to_be_older_than_it_is_is_not_taken() {
    let scene = Scene::new();
    let journal = scene.open();
    let at = ten(&scene, &journal);
    let liar = Base { time: at[1].time, ..at[8].clone() };

    let (base, seen) =
        replay(&journal, Asked::Time(at[3].time), Bound::Inclusive, &[liar, at[2].clone()]).unwrap();

    assert_eq!((base, seen), (at[2].clone(), vec![5, 6]));
}

#[test]
fn stopping_short_of_the_target_is_never_success() {
    let scene = Scene::new().limits(3600, 20);
    let journal = scene.open();
    let at = ten(&scene, &journal);
    let bases = [Base::empty()];
    let now = scene.clock.wall();

    // What has not come yet.
    for target in
        [Asked::Time(now.saturating_add(Duration::from_secs(1))), Asked::Time(now), Asked::Event(21)]
    {
        let error = replay(&journal, target, Bound::Inclusive, &bases).unwrap_err();
        assert!(matches!(error, JournalError::Ahead { last: 20, .. }), "{error}");
    }
    // What cannot be applied.
    let mut applied = 0;
    let error = journal.replay_to(Asked::Event(20), Bound::Inclusive, &bases, |event| {
        if event.id == 7 {
            return Err("disk full".into());
        }
        applied += 1;
        Ok(())
    });
    let error = error.unwrap_err();
    assert!(matches!(error, JournalError::Callback { event: 7, applied: 6, .. }), "{error}");
    assert_eq!((applied, error.kind()), (6, ErrorKind::Unknown));
    // What is gone.
    record(&journal, changes(21..25));
    let error = replay(&journal, Asked::Event(20), Bound::Inclusive, &bases).unwrap_err();
    assert!(matches!(error, JournalError::Uncovered { nearest: Some(n), .. } if n.event == 5), "{error}");
    assert_eq!(replay(&journal, Asked::Event(20), Bound::Inclusive, &at[2..3]).unwrap().1.len(), 16);
}
