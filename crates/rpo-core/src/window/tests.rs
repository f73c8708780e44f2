mod model;
mod properties;

use std::time::Duration;

use super::*;
use crate::objective::{Limit, Objective, Status};
use crate::{Domain, Epoch, HumanDuration, Lsn, Monotonic, Position, Sequence, Timestamp};

const FRESH: Duration = Duration::from_secs(10);

/// A moment at which both clocks say `seconds`.
fn at(seconds: u64) -> Moment {
    moment(seconds, seconds)
}

fn moment(wall: u64, steady: u64) -> Moment {
    Moment::new(
        Timestamp::from_micros(i64::try_from(wall).unwrap() * 1_000_000),
        Monotonic::new(Duration::from_secs(steady)),
    )
}

fn position(lsn: u64, sequence: u64) -> Position {
    Position { epoch: Epoch::FIRST, lsn: Lsn::new(lsn), sequence: Some(Sequence::new(sequence)) }
}

fn foreign(lsn: u64) -> Position {
    Position { sequence: None, ..position(lsn, 0) }
}

fn in_epoch(epoch: u32, lsn: u64) -> Position {
    Position { epoch: Epoch::new(epoch).unwrap(), ..foreign(lsn) }
}

fn proven(upto: Position, at: Moment) -> Option<Protected> {
    Some(Protected { upto, proven_at: Some(at), by: Vec::new() })
}

fn age(seconds: u64) -> Window {
    Window::Age(HumanDuration::from_secs(seconds))
}

fn unknown(seconds: u64) -> Window {
    Window::Unknown { bound: Some(HumanDuration::from_secs(seconds)) }
}

/// Three commits of 100 bytes, acknowledged at 10, 20 and 30 s.
fn three_commits() -> CommitTimeline {
    let mut timeline = CommitTimeline::new(Position::START, 16);
    for n in 1..=3 {
        timeline.record(position(100 * n, n), at(10 * n));
    }
    timeline
}

fn report(timeline: &CommitTimeline, protected: Option<Protected>, now: Moment) -> LossReport {
    Evidence::gather(Domain::Machine, timeline, now, protected, FRESH).report(now)
}

#[test]
fn the_window_is_the_age_of_the_first_unprotected_commit() {
    let timeline = three_commits();

    let report = report(&timeline, proven(position(100, 1), at(31)), at(32));

    assert_eq!(report.window, age(12), "the second commit waits since 20 s");
    assert_eq!((report.commits_at_risk, report.bytes_at_risk), (Some(2), Some(200)));
}

#[test]
fn an_idle_system_shows_none_however_old_the_last_commit_is() {
    let mut timeline = three_commits();
    timeline.advance(position(340, 3)); // a marker, not shipped yet
    let now = at(90_000);

    let report = report(&timeline, proven(position(300, 3), at(89_999)), now);

    assert_eq!(report.window, Window::None);
    assert_eq!((report.commits_at_risk, report.bytes_at_risk), (Some(0), Some(0)));
    assert_eq!(
        report.at_most(Duration::from_secs(3)),
        Some(Duration::from_secs(3)),
        "a report is a bound with a time"
    );
}

#[test]
fn without_recent_evidence_the_window_is_unknown_with_its_bound() {
    let timeline = three_commits();

    let stale_and_idle = report(&timeline, proven(position(300, 3), at(40)), at(100));
    let stale_and_behind = report(&timeline, proven(position(200, 2), at(40)), at(100));
    let never_proven = report(
        &timeline,
        Some(Protected { proven_at: None, ..Protected::locally(position(300, 3), at(0)) }),
        at(100),
    );

    assert_eq!(stale_and_idle.window, unknown(60), "now - last proof");
    assert_eq!(stale_and_behind.window, unknown(70), "now - the commit that was not proven safe");
    assert_eq!(never_proven.window, Window::Unknown { bound: None });
    assert_eq!((never_proven.at_most(Duration::ZERO), never_proven.evidence_age), (None, None));
    for report in [&stale_and_idle, &never_proven] {
        let json = serde_json::to_string(report).unwrap();
        assert_eq!(serde_json::from_str::<LossReport>(&json).unwrap(), *report, "{json}");
    }
    assert_eq!(judge(&stale_and_idle, &Limit::new(Duration::from_secs(3600))), Status::Unknown);
}

#[test]
fn a_head_that_was_not_looked_at_lately_is_no_evidence_either() {
    let timeline = three_commits();
    let evidence =
        Evidence::gather(Domain::Machine, &timeline, at(40), proven(position(300, 3), at(99)), FRESH);

    assert_eq!(evidence.report(at(45)).window, Window::None);
    assert_eq!(evidence.report(at(45)).taken_at, at(40).wall());
    assert_eq!(evidence.report(at(100)).window, unknown(60));
}

#[test]
fn with_nothing_protected_everything_since_the_first_commit_is_at_risk() {
    let report = report(&three_commits(), None, at(35));

    assert_eq!(report.window, age(25));
    assert_eq!((report.commits_at_risk, report.bytes_at_risk), (Some(3), Some(300)));
}

#[test]
fn counts_of_a_foreign_stream_are_absent_not_zero() {
    let mut timeline = CommitTimeline::new(foreign(0), 16);
    timeline.record(foreign(100), at(10));
    timeline.record(foreign(200), at(20));

    let behind = report(&timeline, proven(foreign(100), at(30)), at(30));
    let idle = report(&timeline, proven(foreign(200), at(30)), at(30));

    assert_eq!((behind.window, behind.commits_at_risk, behind.bytes_at_risk), (age(10), None, Some(100)));
    assert_eq!((idle.window, idle.commits_at_risk, idle.bytes_at_risk), (Window::None, None, Some(0)));
}

#[test]
fn a_timeline_that_began_later_never_calls_the_time_before_safe() {
    let timeline = CommitTimeline::new(position(300, 3), 16);

    assert_eq!(timeline.oldest_from(Some(position(200, 2))), Oldest::Undated);
    assert_eq!(timeline.oldest_from(None), Oldest::Undated);
    assert_eq!(
        timeline.oldest_from(Some(position(260, 3))),
        Oldest::None,
        "only markers in between: the counts say so"
    );
    assert_eq!(timeline.oldest_from(Some(foreign(260))), Oldest::Undated, "without counts nothing says so");
    assert_eq!(timeline.oldest_from(Some(position(300, 3))), Oldest::None);
}

#[test]
fn a_copy_that_is_lost_after_its_part_was_released_makes_the_window_larger() {
    let mut timeline = three_commits();
    timeline.release(position(200, 2));

    assert_eq!(timeline.oldest_from(Some(position(200, 2))), Oldest::Since(at(30)));
    assert_eq!(timeline.oldest_from(Some(position(100, 1))), Oldest::Since(at(10)), "coarser, never younger");
}

#[test]
fn a_restart_never_yields_a_false_zero() {
    let saved = three_commits().save(at(35));
    let back = moment(65, 5); // rebooted: the steady clock began anew, 30 s have passed

    let same = CommitTimeline::restore(&saved, position(300, 3), back, 16);
    let more = CommitTimeline::restore(&saved, position(500, 5), back, 16);

    assert_eq!(report(&same, proven(position(100, 1), back), back).window, age(45));
    assert_eq!(report(&same, proven(position(300, 3), back), back).window, Window::None);
    assert_eq!(
        report(&more, proven(position(300, 3), back), back).window,
        age(30),
        "made after the save: as old as it"
    );
    assert_eq!(
        report(&more, proven(position(100, 1), back), moment(9, 7)).window,
        age(47),
        "steps after it do not count"
    );
}

#[test]
fn a_wall_clock_set_back_across_a_restart_is_unknown_never_zero() {
    let saved = three_commits().save(at(35));
    let back = moment(34, 5);

    let timeline = CommitTimeline::restore(&saved, position(300, 3), back, 16);

    assert_eq!(
        report(&timeline, proven(position(100, 1), back), back).window,
        Window::Unknown { bound: None }
    );
    assert_eq!(
        report(&timeline, proven(position(300, 3), back), back).window,
        Window::None,
        "nothing after it at all"
    );
}

#[test]
fn a_wall_clock_that_steps_while_running_leaves_ages_alone() {
    let mut timeline = CommitTimeline::new(Position::START, 16);
    timeline.record(position(100, 1), moment(5_000, 10));
    let now = moment(1_000, 20); // set back by more than an hour

    assert_eq!(report(&timeline, None, now).window, age(10));
    let back = moment(1_030, 2);
    let restored = CommitTimeline::restore(&timeline.save(now), position(100, 1), back, 16);
    assert_eq!(report(&restored, None, back).window, age(40));
}

#[test]
fn a_rewound_or_forked_history_forgets_what_is_no_longer_in_it() {
    let saved = three_commits().save(at(35));
    let rewound = CommitTimeline::restore(&saved, position(200, 2), at(40), 16);
    assert_eq!(rewound.head(), position(200, 2));
    assert_eq!(rewound.oldest_from(Some(position(200, 2))), Oldest::None);

    let mut forked = three_commits();
    forked.fork(in_epoch(2, 150));
    assert_eq!(
        forked.oldest_from(Some(foreign(120))),
        Oldest::Since(at(20)),
        "part of a merged run may be before it"
    );
    assert_eq!(forked.oldest_from(Some(foreign(150))), Oldest::None);
}

#[test]
fn memory_stays_bounded_and_errs_towards_more() {
    let mut timeline = CommitTimeline::new(Position::START, 64);
    for n in 1..=100_000 {
        timeline.record(position(n, n), at(n));
    }

    assert!(timeline.save(at(100_000)).runs() <= 64);
    let Oldest::Since(since) = timeline.oldest_from(Some(position(70_000, 70_000))) else {
        panic!("a commit waits")
    };
    let error = at(70_001).since(since);
    assert!(since <= at(70_001) && error <= timeline.resolution(), "{error:?}");
    assert!(timeline.resolution() <= Duration::from_secs(4 * 100_000 / 64), "{:?}", timeline.resolution());

    timeline.release(position(100_000, 100_000));
    assert_eq!(timeline.resolution(), Duration::ZERO, "exact again once all is protected");
}

#[test]
fn a_saved_timeline_reads_back_as_written() {
    let saved = three_commits().save(at(35));
    let bytes = crate::codec::encode(&saved).unwrap();
    assert_eq!(crate::codec::decode::<SavedTimeline>(&bytes).unwrap(), saved);
    let json = serde_json::to_string(&saved).unwrap();
    assert_eq!(serde_json::from_str::<SavedTimeline>(&json).unwrap(), saved);
}

fn copy(name: &str, survives: &[Domain], base: Position, log_end: Position, seen: u64) -> CopyState {
    let log = vec![LogRun { from: Lsn::ZERO, to: log_end }];
    let name = crate::CopyName::new(name).unwrap();
    CopyState { name, survives: survives.to_vec(), bases: vec![base], log, proven_at: Some(at(seen)) }
}

#[test]
fn only_copies_that_survive_the_domain_count() {
    let history = History::single(Epoch::FIRST);
    let copies = [
        copy("disk", &[Domain::Machine], Position::START, position(300, 3), 5),
        copy("far", &[Domain::Machine, Domain::Region], Position::START, position(200, 2), 4),
    ];
    let reach = |k, lost| protected_position(&copies, k, lost, &history).map(|p| p.upto.lsn.get());

    assert_eq!(reach(1, Domain::Machine), Some(300));
    assert_eq!(reach(2, Domain::Machine), Some(200));
    assert_eq!(reach(1, Domain::Region), Some(200));
    assert_eq!(reach(2, Domain::Region), None);
    assert_eq!(reach(1, Domain::Operator), None);
    assert_eq!(reach(0, Domain::Region), Some(200), "0 is taken as 1");
    let both = protected_position(&copies, 2, Domain::Machine, &history).unwrap();
    assert_eq!(both.proven_at, Some(at(4)), "the older of the two proofs");
    assert_eq!(both.by.len(), 2);
}

#[test]
fn a_hole_in_the_log_or_a_missing_base_stops_the_chain() {
    let history = History::single(Epoch::FIRST);
    let mut state = copy("disk", &[Domain::Machine], position(50, 1), position(100, 2), 1);
    assert_eq!(state.reach(&history), Some(position(100, 2)));

    state.log.push(LogRun { from: Lsn::new(120), to: position(300, 5) });
    assert_eq!(state.reach(&history), Some(position(100, 2)), "100 to 120 is missing");

    state.bases.push(position(120, 3));
    assert_eq!(state.reach(&history), Some(position(300, 5)), "a base past the hole");

    state.log.remove(0);
    state.bases = vec![position(50, 1)];
    assert_eq!(state.reach(&history), Some(position(50, 1)), "the base alone");

    state.bases.clear();
    assert_eq!(state.reach(&history), None, "a log without a base restores nothing");
}

#[test]
fn what_a_fenced_writer_held_past_the_fork_is_not_protected() {
    let history = History::new([
        EpochStart { epoch: Epoch::FIRST, fork: None },
        EpochStart { epoch: Epoch::new(2).unwrap(), fork: Some(foreign(80)) },
        EpochStart { epoch: Epoch::new(3).unwrap(), fork: Some(foreign(60)) }, // epoch 2 was given up
    ])
    .unwrap();

    assert_eq!(history.shared(foreign(100)), Some(foreign(60)));
    assert_eq!(history.shared(foreign(40)), Some(foreign(40)));
    assert_eq!(history.shared(in_epoch(2, 200)), Some(foreign(60)), "a branch of its own parted at 60");
    assert_eq!(history.shared(in_epoch(3, 200)), Some(in_epoch(3, 200)));
    assert_eq!(history.shared(in_epoch(4, 200)), None, "nobody told of epoch 4");
    let lagging = copy("disk", &[Domain::Machine], foreign(0), foreign(100), 1);
    assert_eq!(lagging.reach(&history), Some(foreign(60)));
    let base_past_the_fork = CopyState { bases: vec![foreign(90)], ..lagging };
    assert_eq!(base_past_the_fork.reach(&history), None);
}

#[test]
fn epochs_that_make_no_tree_are_refused() {
    let start = |epoch, fork| EpochStart { epoch: Epoch::new(epoch).unwrap(), fork };
    assert_eq!(History::new([]).unwrap_err(), HistoryError::Empty);
    assert!(matches!(History::new([start(1, None), start(1, None)]), Err(HistoryError::Twice(_))));
    assert!(matches!(History::new([start(2, Some(in_epoch(1, 5)))]), Err(HistoryError::Orphan { .. })));
    assert!(matches!(History::new([start(1, Some(in_epoch(1, 5)))]), Err(HistoryError::Orphan { .. })));
}

#[test]
fn a_polled_source_counts_from_the_start_of_the_last_protected_scan() {
    let mut scans = PolledTimeline::new(8);
    scans.record(at(100), 1, 1_000);
    scans.record(at(200), 2, 50);
    let protected = |n, seen| Some(Protected { upto: n, proven_at: Some(at(seen)), by: Vec::new() });
    let report = |scans: &PolledTimeline, p: Option<Protected<u64>>, now| {
        scans.report(Domain::Machine, p.as_ref(), at(now), FRESH)
    };

    let behind = report(&scans, protected(1, 229), 230);
    assert_eq!((behind.window, behind.commits_at_risk, behind.bytes_at_risk), (age(130), None, Some(50)));
    let level = report(&scans, protected(2, 229), 230);
    assert_eq!(
        (level.window, level.bytes_at_risk),
        (age(30), Some(0)),
        "never zero: it was not looked at since"
    );
    scans.record(at(225), 2, 0); // a scan that found nothing new
    assert_eq!(report(&scans, protected(2, 229), 230).window, age(5));
    assert_eq!(
        report(&scans, protected(2, 229), 300).window,
        unknown(75),
        "the copy was not looked at for 71 s"
    );
    assert_eq!(report(&scans, None, 230).window, Window::Unknown { bound: None });
    assert_eq!(report(&scans, None, 230).bytes_at_risk, Some(1_050));
}

#[test]
fn a_polled_source_never_gets_younger_by_a_restart() {
    let mut scans = PolledTimeline::new(8);
    scans.record(at(100), 1, 1_000);
    let saved = scans.save(at(110));
    let protected = |at| Protected { upto: 1, proven_at: Some(at), by: Vec::new() };
    let window = |now: Moment| {
        PolledTimeline::restore(&saved, now, 8)
            .report(Domain::Machine, Some(&protected(now)), now, FRESH)
            .window
    };

    assert_eq!(window(moment(150, 3)), age(50));
    assert_eq!(window(moment(109, 3)), Window::Unknown { bound: None });
    assert_eq!(serde_json::from_str::<SavedScans>(&serde_json::to_string(&saved).unwrap()).unwrap(), saved);
}

#[test]
fn windows_are_judged_at_50_80_and_100_percent() {
    let limit = Limit::new(Duration::from_secs(10));
    let status = |millis| {
        let window = Window::Age(HumanDuration::from_millis(millis));
        let report = LossReport { window, ..report(&three_commits(), None, at(40)) };
        (judge(&report, &limit), limit.used_percent(window))
    };

    assert_eq!(status(5_000), (Status::Healthy, Some(50)));
    assert_eq!(status(5_001), (Status::Warning, Some(51)));
    assert_eq!(status(8_000), (Status::Warning, Some(80)));
    assert_eq!(status(8_001), (Status::Critical, Some(81)));
    assert_eq!(status(10_000), (Status::Critical, Some(100)));
    assert_eq!(status(10_001), (Status::Breached, Some(101)));
}

#[test]
fn where_nothing_may_be_lost_one_commit_is_a_breach() {
    let zero = Objective::zero().limit(Domain::Machine).unwrap();
    let timeline = three_commits();

    let just_acknowledged = report(&timeline, proven(position(200, 2), at(30)), at(30));
    assert_eq!(just_acknowledged.window, age(0));
    assert_eq!(judge(&just_acknowledged, &zero), Status::Breached, "even at age zero");
    assert_eq!(zero.used_percent(just_acknowledged.window), None, "level zero is no ratio");
    let safe = report(&timeline, proven(position(300, 3), at(30)), at(30));
    assert_eq!(judge(&safe, &zero), Status::Healthy);
    let stale = report(&timeline, proven(position(300, 3), at(30)), at(300));
    assert_eq!(judge(&stale, &zero), Status::Unknown);
}

#[test]
fn unknown_ranks_above_warning_and_below_critical() {
    let mut all = Status::ALL.to_vec();
    all.sort_by_key(|status| status.rank());
    use Status::*;
    assert_eq!(all, [Healthy, Paused, Pending, Warning, Unknown, Critical, Breached]);
}
