//! What is claimed, as ratios: each names the cases it is computed from, and the bound it has to meet.

use std::collections::BTreeSet;

use rpo_benches::wal::{Case, Engine, Measured, Place, Work};

use crate::rounds::Results;

/// Rows that `--only` can pick; `matrix` is all engines at all sizes, without goals.
pub(crate) const ROWS: [&str; 9] =
    ["one-writer", "group", "fixed-8", "fixed-64", "async", "buffered", "replay", "archive", "matrix"];

/// One claim.
#[derive(Debug, Clone)]
pub(crate) struct Goal {
    pub(crate) row: &'static str,
    pub(crate) claim: &'static str,
    value: Value,
    pub(crate) bound: Bound,
}

#[derive(Debug, Clone)]
enum Value {
    /// Rate of one over the highest rate of the others.
    Rate(Case, Vec<Case>),
    /// p99 of one over p99 of the other.
    Slowest(Case, Case),
    /// A number of one alone.
    Alone(Case, fn(&Measured) -> Option<f64>),
}

/// What the value has to meet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
    /// Told, not judged.
    None,
}

/// A claim and what came of it.
#[derive(Debug, Clone)]
pub(crate) struct Verdict {
    /// Median of the rounds.
    pub(crate) median: f64,
    /// From the best of each side, whatever the round.
    pub(crate) best: f64,
    pub(crate) rounds: usize,
    /// None where nothing is judged.
    pub(crate) holds: Option<bool>,
}

const KIB: u32 = 1 << 10;
/// Records of the archive's measurements.
const ARCHIVED: (u32, u32) = (8, 4 * KIB);

fn disk(engine: Engine, writers: u32) -> Case {
    Case::durable(engine, Place::Disk, writers, KIB)
}

fn fixed(engine: Engine, writers: u32) -> Case {
    Case::durable(engine, Place::FixedSync, writers, KIB)
}

fn buffered(engine: Engine, record_bytes: u32) -> Case {
    Case { engine, work: Work::Buffered, place: Place::Memory, writers: 1, record_bytes }
}

fn replay(engine: Engine) -> Case {
    Case { engine, work: Work::Replay, place: Place::Disk, writers: 1, record_bytes: KIB }
}

fn archived(work: Work) -> Case {
    let (writers, record_bytes) = ARCHIVED;
    Case { engine: Engine::Rpo, work, place: Place::Disk, writers, record_bytes }
}

/// All claims, in the order they are told.
pub(crate) fn goals() -> Vec<Goal> {
    [durable(), appends(), replays(), archive()].concat()
}

fn rate(row: &'static str, claim: &'static str, of: Case, to: &[Case], bound: Bound) -> Goal {
    Goal { row, claim, value: Value::Rate(of, to.to_vec()), bound }
}

fn alone(
    row: &'static str,
    claim: &'static str,
    of: Case,
    number: fn(&Measured) -> Option<f64>,
    bound: Bound,
) -> Goal {
    Goal { row, claim, value: Value::Alone(of, number), bound }
}

fn durable() -> Vec<Goal> {
    use Bound::AtLeast;
    use Engine::{
        BareGrowing, BarePrewritten, Batch, Group, Okaywal, RaftEngine, RaftEnginePrefilled, Rpo, WalDb,
    };
    let (one, many) = (disk(Rpo, 1), disk(Rpo, 64));
    let peers = |case: fn(Engine, u32) -> Case, writers| Engine::PEERS.map(|peer| case(peer, writers));
    vec![
        rate(
            "one-writer",
            "1 writer, 1 KiB, disk: of the bare pre-written loop",
            one,
            &[disk(BarePrewritten, 1)],
            AtLeast(0.95),
        ),
        rate("one-writer", "… of the bare growing loop", one, &[disk(BareGrowing, 1)], Bound::None),
        rate("one-writer", "… of the best peer", one, &peers(disk, 1), Bound::None),
        rate(
            "group",
            "64 writers, 1 KiB, disk: of the reference group commit",
            many,
            &[disk(Group, 64)],
            AtLeast(1.25),
        ),
        rate("group", "… of raft-engine", many, &[disk(RaftEngine, 64)], AtLeast(2.0)),
        rate("group", "… of raft-engine, prefilled", many, &[disk(RaftEnginePrefilled, 64)], Bound::None),
        rate("group", "… of okaywal and wal-db", many, &[disk(Okaywal, 64), disk(WalDb, 64)], Bound::None),
        rate(
            "group",
            "the yardstick: reference group commit of the batch limit",
            disk(Group, 64),
            &[disk(Batch, 64)],
            AtLeast(0.30),
        ),
        rate(
            "fixed-8",
            "8 writers, 1 KiB, sync of 1 ms: of the batch limit",
            fixed(Rpo, 8),
            &[fixed(Batch, 8)],
            AtLeast(0.90),
        ),
        rate("fixed-8", "… of the reference group commit", fixed(Rpo, 8), &[fixed(Group, 8)], Bound::None),
        rate("fixed-8", "… of the best peer", fixed(Rpo, 8), &peers(fixed, 8), Bound::None),
        rate(
            "fixed-64",
            "64 writers, 1 KiB, sync of 1 ms: of the batch limit",
            fixed(Rpo, 64),
            &[fixed(Batch, 64)],
            AtLeast(0.84),
        ),
        rate("fixed-64", "… of the reference group commit", fixed(Rpo, 64), &[fixed(Group, 64)], Bound::None),
        rate("fixed-64", "… of the best peer", fixed(Rpo, 64), &peers(fixed, 64), Bound::None),
    ]
}

fn appends() -> Vec<Goal> {
    use Bound::{AtLeast, AtMost};
    use Engine::{Batch, RaftEngine, Rpo, UserBuffer, WalDb};
    let futures = Case { work: Work::Async, ..disk(Rpo, 64) };
    let burst = |claim, size, to: &[Engine], bound| {
        let to: Vec<_> = to.iter().map(|engine| buffered(*engine, size)).collect();
        rate("buffered", claim, buffered(Rpo, size), &to, bound)
    };
    vec![
        rate(
            "async",
            "64 async appenders on one thread, 1 KiB, disk: of the batch limit",
            futures,
            &[disk(Batch, 64)],
            AtLeast(0.6),
        ),
        alone(
            "async",
            "… processor time per record, µs",
            futures,
            |m| Some(m.cpu_us_per_record),
            AtMost(2.0),
        ),
        burst("buffered append, 100 B: of the best peer", 100, &[RaftEngine, WalDb], AtLeast(5.0)),
        burst("… of the user buffer limit", 100, &[UserBuffer], Bound::None),
        burst("buffered append, 1 KiB: of the best peer", KIB, &[RaftEngine, WalDb], AtLeast(2.0)),
        burst("… of the user buffer limit", KIB, &[UserBuffer], Bound::None),
    ]
}

fn replays() -> Vec<Goal> {
    use Bound::{AtLeast, AtMost};
    let ours = replay(Engine::Rpo);
    vec![
        rate(
            "replay",
            "open + replay of 1 KiB records, warm: of a bare read with CRC32C",
            ours,
            &[replay(Engine::BareRead)],
            AtLeast(0.8),
        ),
        alone("replay", "… bytes read per byte of payload: one pass", ours, |m| m.passes, AtMost(1.1)),
        rate("replay", "… of the best peer", ours, &Engine::PEERS.map(replay), Bound::None),
    ]
}

fn archive() -> Vec<Goal> {
    use Bound::AtMost;
    let (off, on) = (archived(Work::Paced { archive: false }), archived(Work::Paced { archive: true }));
    let (free, full) = (archived(Work::Durable), archived(Work::Saturated));
    let slowest = |of, to| Value::Slowest(of, to);
    vec![
        Goal {
            row: "archive",
            claim: "20 MB/s offered: p99 of a commit, archive on over off",
            value: slowest(on, off),
            bound: AtMost(1.10),
        },
        alone(
            "archive",
            "… longest time until P reaches H, in ship intervals",
            on,
            |m| m.lag_intervals,
            AtMost(2.0),
        ),
        alone("archive", "… of the 20 MB/s, taken with the archive on, MB/s", on, payload_mb_s, Bound::None),
        alone("archive", "… steps of the shipper that failed", on, failures, AtMost(0.0)),
        rate("archive", "saturated: rate of commits, archive on of off", full, &[free], Bound::None),
        alone("archive", "… committed with the archive on, MB/s", full, payload_mb_s, Bound::None),
        alone("archive", "… of these the archive gets, MB/s", full, |m| m.shipped_mb_s, Bound::None),
    ]
}

fn failures(measured: &Measured) -> Option<f64> {
    measured.ship_failures.map(f64::from)
}

fn payload_mb_s(measured: &Measured) -> Option<f64> {
    Some(measured.rate() * f64::from(ARCHIVED.1) / 1e6)
}

impl Goal {
    /// What has to be measured.
    pub(crate) fn cases(&self) -> Vec<Case> {
        match &self.value {
            Value::Rate(of, to) => std::iter::once(of).chain(to).copied().collect(),
            Value::Slowest(of, to) => vec![*of, *to],
            Value::Alone(of, _) => vec![*of],
        }
    }

    /// None if something it needs was not measured.
    pub(crate) fn judge(&self, results: &Results) -> Option<Verdict> {
        let rounds: BTreeSet<usize> = self
            .cases()
            .iter()
            .filter_map(|c| results.measured.get(c))
            .flat_map(|m| m.keys().copied())
            .collect();
        let mut values: Vec<f64> = rounds.iter().filter_map(|round| self.value_in(results, *round)).collect();
        if values.is_empty() {
            return None;
        }
        values.sort_by(f64::total_cmp);
        let median = median(&values);
        let best = self.best(results)?;
        let holds = match self.bound {
            Bound::AtLeast(least) => Some(median >= least),
            Bound::AtMost(most) => Some(median <= most),
            Bound::None => None,
        };
        Some(Verdict { median, best, rounds: values.len(), holds })
    }

    fn value_in(&self, results: &Results, round: usize) -> Option<f64> {
        let get = |case: &Case| results.measured.get(case)?.get(&round);
        let of = |number: &dyn Fn(&Measured) -> Option<f64>, case: &Case| get(case).and_then(number);
        self.combine(of)
    }

    fn best(&self, results: &Results) -> Option<f64> {
        let least = matches!(self.bound, Bound::AtMost(_));
        self.combine(|number, case| {
            let rounds = results.measured.get(case)?.values();
            let all = rounds.filter_map(number);
            if least { all.reduce(f64::min) } else { all.reduce(f64::max) }
        })
    }

    /// The value, from whatever `of` takes each number of a case from. The other side may be partly missing, not wholly.
    fn combine(&self, of: impl Fn(&dyn Fn(&Measured) -> Option<f64>, &Case) -> Option<f64>) -> Option<f64> {
        match &self.value {
            Value::Rate(mine, others) => {
                let rate = |m: &Measured| Some(m.rate());
                let other = others
                    .iter()
                    .filter_map(|case| of(&rate, case))
                    .reduce(f64::max)
                    .filter(|rate| *rate > 0.0)?;
                Some(of(&rate, mine)? / other)
            }
            Value::Slowest(mine, other) => {
                let p99 = |m: &Measured| Some(m.p99_us);
                Some(of(&p99, mine)? / of(&p99, other)?)
            }
            Value::Alone(mine, number) => of(number, mine),
        }
    }
}

/// The middle one, or the mean of the two in the middle. Of sorted values.
pub(crate) fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(rates: &[(Case, &[f64])]) -> Results {
        let mut results = Results::default();
        for (case, rates) in rates {
            for (round, rate) in rates.iter().enumerate() {
                let measured = Measured { records: *rate as u64, seconds: 1.0, ..Measured::default() };
                results.measured.entry(*case).or_default().insert(round, measured);
            }
        }
        results
    }

    #[test]
    fn a_ratio_is_taken_within_the_round_and_the_median_round_counts() {
        let (ours, theirs) = (disk(Engine::Rpo, 64), disk(Engine::Group, 64));
        let goal = rate("group", "", ours, &[theirs], Bound::AtLeast(1.25));
        // The host is ten times slower in the second round, for both.
        let results = results(&[(ours, &[2000.0, 130.0, 1500.0]), (theirs, &[1000.0, 100.0, 1000.0])]);
        let verdict = goal.judge(&results).unwrap();
        assert_eq!((verdict.median, verdict.best, verdict.holds), (1.5, 2.0, Some(true)));
    }

    #[test]
    fn the_best_peer_of_each_round_is_the_one_to_beat() {
        let [a, b] = [Engine::RaftEngine, Engine::WalDb].map(|peer| buffered(peer, 100));
        let ours = buffered(Engine::Rpo, 100);
        let goal = rate("buffered", "", ours, &[a, b], Bound::AtLeast(5.0));
        let verdict = goal.judge(&results(&[(ours, &[400.0]), (a, &[10.0]), (b, &[100.0])])).unwrap();
        assert_eq!((verdict.median, verdict.holds), (4.0, Some(false)));
    }

    #[test]
    fn nothing_is_judged_without_the_other_side() {
        let (ours, theirs) = (disk(Engine::Rpo, 1), disk(Engine::BarePrewritten, 1));
        let goal = rate("one-writer", "", ours, &[theirs], Bound::AtLeast(0.95));
        assert!(goal.judge(&results(&[(ours, &[100.0])])).is_none());
    }

    #[test]
    fn every_row_but_the_matrix_has_a_goal_that_is_judged() {
        let all = goals();
        for row in ROWS.iter().filter(|row| **row != "matrix") {
            assert!(all.iter().any(|goal| goal.row == *row && goal.bound != Bound::None), "{row}");
        }
        assert!(all.iter().all(|goal| ROWS.contains(&goal.row)));
    }
}
