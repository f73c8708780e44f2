//! Plans against a brute-force oracle that knows only commits, bases and what is left of them.

use proptest::prelude::*;
use rpo_core::{CheckpointId, Epoch, HumanDuration, Lsn, Position, Sequence, SourceId, Timestamp};

use super::*;
use crate::{Base, Range};

const SECOND: i64 = 1_000_000;

fn at(lsn: u64) -> Position {
    Position { epoch: Epoch::FIRST, lsn: Lsn::new(lsn), sequence: Some(Sequence::new(lsn)) }
}

fn base(number: u64, lsn: u64, time: i64) -> Base {
    let id = CheckpointId { source: SourceId::new("bank").unwrap(), number };
    let time = Timestamp::from_micros(time);
    let (position, names) = (Some(at(lsn)), Vec::new());
    Base {
        id,
        state: number,
        started: time,
        finished: time,
        position,
        bytes: 0,
        entries: 0,
        left_out: 0,
        names,
    }
}

/// Commit n ends at LSN n and was committed at second n; ranges of `step`, from `first` on.
fn catalogue(first: u64, commits: u64, step: u64, bases: &[u64]) -> Catalogue {
    let range = |from: u64| {
        let to = (from + step).min(commits);
        let time = |n: u64| Timestamp::from_micros(n as i64 * SECOND);
        Range {
            epoch: Epoch::FIRST,
            from: at(from),
            to: at(to),
            first_time: time(from + 1),
            last_time: time(to),
        }
    };
    let ranges = (first..commits).step_by(usize::try_from(step).unwrap()).map(range).collect();
    let bases =
        bases.iter().enumerate().map(|(n, lsn)| base(n as u64 + 1, *lsn, *lsn as i64 * SECOND)).collect();
    Catalogue::new(bases, ranges)
}

fn config(window: u64, emergency: u64) -> RetentionConfig {
    let (window, emergency_window) = (HumanDuration::from_secs(window), HumanDuration::from_secs(emergency));
    RetentionConfig { window, emergency_window, bases_min: 1 }
}

/// Whether the state after `target` commits can be had from these bases and ranges: by trying every base.
fn restorable(bases: &[u64], ranges: &[(u64, u64)], target: u64) -> bool {
    let has = |n: u64| ranges.iter().any(|(from, to)| (*from..*to).contains(&n));
    let mut begins = bases.to_vec();
    begins.push(0);
    begins.into_iter().any(|base| base <= target && (base..target).all(has))
}

/// The first target inside the window that the plan takes away.
fn broken(catalogue: &Catalogue, plan: &RetentionPlan, now: u64, window: u64, commits: u64) -> Option<u64> {
    let lsn = |base: &Base| base.position.unwrap().lsn.get();
    let all: Vec<u64> = catalogue.bases().iter().map(lsn).collect();
    let every: Vec<(u64, u64)> =
        catalogue.ranges().iter().map(|r| (r.from.lsn.get(), r.to.lsn.get())).collect();
    let kept = catalogue.bases().iter().zip(&plan.bases).filter(|(_, v)| v.verdict != Verdict::Drop);
    let kept: Vec<u64> = kept.map(|(base, _)| lsn(base)).collect();
    let left: Vec<(u64, u64)> =
        every.iter().zip(&plan.log).filter(|(_, v)| v.verdict != Verdict::Drop).map(|(r, _)| *r).collect();
    let first = now.saturating_sub(window).min(commits);
    (first..=commits).find(|n| restorable(&all, &every, *n) && !restorable(&kept, &left, *n))
}

proptest! {
    #[test]
    fn every_target_inside_the_window_stays_restorable(
        first in 0u64..30, commits in 30u64..90, step in 1u64..12, mut bases in proptest::collection::vec(0u64..90, 0..6),
        later in 0u64..120, window in 0u64..80, more in 0u64..40, give_up: bool,
    ) {
        bases.retain(|lsn| *lsn <= commits && *lsn >= first);
        bases.sort_unstable();
        let catalogue = catalogue(first, commits, step, &bases);
        let now = commits + later;
        let time = Now::Confirmed(Timestamp::from_micros(now as i64 * SECOND));
        let emergency = if give_up { Emergency::GiveUp } else { Emergency::Keep };
        let plan = plan_retention(&catalogue, &config(window, window + more), time, emergency).unwrap();
        let reach = if give_up { window } else { window + more };
        prop_assert_eq!(broken(&catalogue, &plan, now, reach, commits), None, "{}", plan.simulate());
        prop_assert!(bases.is_empty() || plan.bases.iter().any(|b| b.verdict != Verdict::Drop));
    }
}

#[test]
fn what_is_old_goes_and_says_why() {
    let catalogue = catalogue(0, 100, 10, &[20, 50, 80, 95]);
    let now = Now::Confirmed(Timestamp::from_micros(100 * SECOND));
    let kept = plan_retention(&catalogue, &config(10, 45), now, Emergency::Keep).unwrap();
    let verdicts: Vec<_> = kept.bases.iter().map(|b| b.verdict).collect();
    assert_eq!(
        verdicts,
        [Verdict::Drop, Verdict::KeepForEmergency, Verdict::Keep, Verdict::Keep],
        "{}",
        kept.simulate()
    );
    assert_eq!(kept.keep_from, Some(KeepFrom { epoch: Epoch::FIRST, lsn: Lsn::new(50) }));
    let given_up = plan_retention(&catalogue, &config(10, 45), now, Emergency::GiveUp).unwrap();
    assert_eq!(given_up.keep_from, Some(KeepFrom { epoch: Epoch::FIRST, lsn: Lsn::new(80) }));
    assert!(given_up.simulate().contains("drop bank@2"), "{}", given_up.simulate());
}

#[test]
fn nothing_goes_by_a_clock_that_is_not_confirmed() {
    let catalogue = catalogue(0, 100, 10, &[20, 50, 80]);
    let now = Now::Unconfirmed(Timestamp::from_micros(1_000_000 * SECOND));
    let plan = plan_retention(&catalogue, &config(10, 20), now, Emergency::GiveUp).unwrap();
    assert_eq!((plan.dropped_bases().count(), plan.keep_from), (0, None), "{}", plan.simulate());
    assert!(plan.simulate().starts_with("nothing goes: the clock is not confirmed"));
}

#[cfg(feature = "planted-bugs")]
#[test]
fn the_oracle_catches_a_plan_that_keeps_the_newest_base_only() {
    let catalogue = catalogue(5, 100, 10, &[50, 85]);
    let now = Now::Confirmed(Timestamp::from_micros(100 * SECOND));
    let plan = || plan_retention(&catalogue, &config(30, 30), now, Emergency::GiveUp).unwrap();
    assert_eq!(broken(&catalogue, &plan(), 100, 30, 100), None);
    let bad = crate::planted::with(crate::planted::PlantedBug::NewestBaseKept, plan);
    assert!(broken(&catalogue, &bad, 100, 30, 100).is_some(), "{}", bad.simulate());
}
