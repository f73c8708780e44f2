use super::*;
use rpo_core::HumanDuration;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn config(window: u64, events_max: u64, overrun: Overrun) -> JournalConfig {
    JournalConfig {
        window: HumanDuration::from_secs(window),
        events_max,
        overrun,
        ..JournalConfig::default()
    }
}

/// Commits of two events each, one per second from second 1 on.
fn ledger(commits: u64) -> Ledger {
    let mut ledger = Ledger::new(1 + 2 * commits, Lsn::new(100 * (commits + 1)));
    for n in 0..commits {
        let (lsn, end) = (Lsn::new(100 * (n + 1)), Lsn::new(100 * (n + 2)));
        ledger.marks.push_back(Mark { first: 1 + 2 * n, count: 2, lsn, end, time: at(1 + n as i64) });
    }
    ledger
}

#[test]
fn what_leaves_the_window_has_expired_and_is_not_lost() {
    let mut ledger = ledger(5);

    let plan = ledger.plan(at(13), 0, &config(10, 100, Overrun::DropOldest)).unwrap();
    ledger.apply(&plan);

    assert_eq!((plan.newly_expired, plan.newly_lost), (4, 0)); // exactly 10 s old is within
    let coverage = ledger.coverage(at(13), Lsn::MAX, &config(10, 100, Overrun::DropOldest));
    assert_eq!(coverage.from.unwrap().event, 5);
    assert_eq!((coverage.events, coverage.lost, coverage.is_short), (6, None, false));
}

#[test]
fn what_gives_way_within_the_window_is_lost_until_the_window_has_passed_over_it() {
    let config = config(10, 7, Overrun::DropOldest);
    let mut ledger = ledger(3);

    let plan = ledger.plan(at(3), 2, &config).unwrap();
    ledger.apply(&plan);

    let lost = ledger.lost.unwrap();
    assert_eq!((lost.events, lost.last, lost.last_time, lost.since), (2, 2, at(1), at(3)));
    assert!(ledger.coverage(at(11), Lsn::MAX, &config).is_short);
    assert!(!ledger.coverage(at(12), Lsn::MAX, &config).is_short);
}

#[test]
fn a_transaction_gives_way_whole() {
    let mut ledger = ledger(3);
    let plan = ledger.plan(at(3), 1, &config(10, 6, Overrun::DropOldest)).unwrap();
    ledger.apply(&plan);
    assert_eq!((plan.newly_lost, ledger.covered()), (2, 4));
}

#[test]
fn a_full_journal_that_refuses_drops_nothing() {
    let ledger = ledger(3);
    let error = ledger.plan(at(3), 1, &config(10, 6, Overrun::Refuse)).unwrap_err();
    assert!(
        matches!(error, JournalError::Full { events: 6, limit: 6, oldest } if oldest == at(1)),
        "{error}"
    );
    assert!(ledger.plan(at(12), 1, &config(10, 6, Overrun::Refuse)).unwrap().newly_expired == 2);
}

#[test]
fn events_still_being_written_cannot_give_way() {
    let mut ledger = Ledger::new(1, Lsn::ZERO);
    ledger.next = 7;
    let error = ledger.plan(at(3), 1, &config(10, 6, Overrun::DropOldest)).unwrap_err();
    assert!(matches!(error, JournalError::Writing));
}

#[test]
fn every_way_to_ask_begins_at_the_same_place_or_says_that_it_cannot() {
    let mut ledger = ledger(5);
    let plan = ledger.plan(at(13), 0, &config(10, 100, Overrun::DropOldest)).unwrap();
    ledger.apply(&plan); // events 1 to 4, up to second 2 and lsn 300
    let third = Begin { lsn: Lsn::new(300), event: 5 };
    for asked in [Asked::Start, Asked::Event(5), Asked::Position(Lsn::new(300)), Asked::Time(at(3))] {
        assert_eq!(ledger.begin(asked).unwrap(), third, "{asked}");
    }
    assert_eq!(ledger.begin(Asked::Event(6)).unwrap(), Begin { event: 6, ..third });
    assert_eq!(ledger.begin(Asked::Time(Timestamp::from_micros(2_000_001))).unwrap(), third);
    let end = Begin { lsn: Lsn::new(600), event: 11 };
    assert_eq!(ledger.begin(Asked::Event(11)).unwrap(), end);
    assert_eq!(ledger.begin(Asked::Time(at(99))).unwrap(), end);
    for asked in [Asked::Event(4), Asked::Event(0), Asked::Position(Lsn::new(299)), Asked::Time(at(2))] {
        let error = ledger.begin(asked).unwrap_err();
        let JournalError::Uncovered { nearest: Some(nearest), .. } = error else { panic!("{error}") };
        assert_eq!(nearest.event, 5, "{asked}");
    }
}

#[test]
fn what_the_log_no_longer_holds_is_lost() {
    let mut ledger = ledger(3);
    ledger.marks.pop_front();
    let plan = ledger.plan_released(at(5), &config(10, 100, Overrun::Refuse)).unwrap();
    assert_eq!((plan.newly_lost, plan.dropped.event), (2, 2));
    ledger.apply(&plan);
    assert!(ledger.plan_released(at(5), &config(10, 100, Overrun::Refuse)).is_none());
    assert!(matches!(ledger.begin(Asked::Time(at(2))), Err(JournalError::Uncovered { .. })));
}
