//! What is measured, how often and how long.

use std::collections::BTreeMap;

use rpo_benches::wal::{Case, Engine, Place, Scale, Work};

use crate::Options;
use crate::goals::{Goal, goals};

/// Writers and sizes of the matrix.
pub(crate) const WRITERS: [u32; 3] = [1, 8, 64];
/// Sizes of the matrix, bytes.
pub(crate) const SIZES: [u32; 3] = [100, 1024, 16 << 10];
/// Engines of the matrix, in the order they are shown.
pub(crate) const MATRIX: [Engine; 8] = [
    Engine::BareGrowing,
    Engine::BarePrewritten,
    Engine::Batch,
    Engine::Group,
    Engine::Rpo,
    Engine::RaftEngine,
    Engine::Okaywal,
    Engine::WalDb,
];

const FULL: Scale = Scale {
    warm_ms: 600,
    run_ms: 1500,
    segment_mib: 64,
    prewritten_mib: 256,
    burst_mib: 64,
    bursts: 6,
    replay_mib: 1024,
    ship_ms: 200,
};
const QUICK: Scale = Scale {
    warm_ms: 20,
    run_ms: 60,
    segment_mib: 8,
    prewritten_mib: 32,
    burst_mib: 4,
    bursts: 2,
    replay_mib: 32,
    ship_ms: 100,
};
/// The matrix shows the lie of the land; the goals are measured longer, and in every round.
const MATRIX_MS: (u64, u64) = (80, 250);
const MATRIX_ROUNDS: usize = 1;
const ROUNDS: usize = 5;
/// Time for the archive to show how far behind it is.
const ARCHIVE_MS: (u64, u64) = (600, 3000);
const ARCHIVE_QUICK_MS: (u64, u64) = (100, 500);

/// What is to be done.
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) goals: Vec<Goal>,
    pub(crate) matrix: bool,
    pub(crate) realtime: bool,
    pub(crate) quick: bool,
    /// Each case with the row it is measured next to, how often, and how long.
    pub(crate) cases: BTreeMap<Case, Turn>,
    /// What engines replay, written once.
    pub(crate) prepare: Vec<(Case, Scale)>,
}

/// When and how a case is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    /// Cases of one block are measured one after the other, so that they find the same host.
    pub(crate) block: u32,
    pub(crate) rounds: usize,
    pub(crate) scale: Scale,
}

impl Plan {
    pub(crate) fn new(options: &Options) -> Self {
        let wanted = |row: &str| options.only.is_empty() || options.only.iter().any(|only| only == row);
        let rounds = options.rounds.unwrap_or(if options.quick { 1 } else { ROUNDS }).max(1);
        let goals: Vec<Goal> = goals().into_iter().filter(|goal| wanted(goal.row)).collect();
        let matrix = wanted("matrix");
        let mut cases = BTreeMap::new();
        for (block, row) in crate::goals::ROWS.iter().enumerate() {
            for case in goals.iter().filter(|goal| goal.row == *row).flat_map(Goal::cases) {
                let turn = Turn { block: block as u32, rounds, scale: scale(&case, options.quick) };
                cases.entry(case).or_insert(turn);
            }
        }
        if matrix {
            for case in matrix_cases(options.quick) {
                let mut scale = scale(&case, options.quick);
                if !options.quick {
                    (scale.warm_ms, scale.run_ms) = MATRIX_MS;
                }
                let block = 100 + case.writers * 100_000 + case.record_bytes + (case.place as u32) * 50_000;
                cases.entry(case).or_insert(Turn { block, rounds: rounds.min(MATRIX_ROUNDS), scale });
            }
        }
        let replays = cases.iter().filter(|(case, _)| case.work == Work::Replay);
        let prepare =
            replays.map(|(case, turn)| (Case { work: Work::Prepare, ..*case }, turn.scale)).collect();
        let (realtime, quick) = (options.realtime, options.quick);
        Self { rounds, goals, matrix, realtime, quick, cases, prepare }
    }

    /// The cases of one round, block by block; the blocks and what is in them in an order drawn from the round's number.
    pub(crate) fn round(&self, round: usize) -> Vec<(Case, Scale)> {
        let mut drawn: Vec<_> = self.cases.iter().filter(|(_, turn)| round < turn.rounds).collect();
        let draw = |n: u64| {
            let mut z = (round as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
                ^ n.wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 30)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        let numbers: BTreeMap<Case, u64> = self.cases.keys().copied().zip(0..).collect();
        drawn.sort_by_key(|(case, turn)| {
            (draw(u64::from(turn.block) << 32), turn.block, draw(numbers[*case]))
        });
        drawn.into_iter().map(|(case, turn)| (*case, turn.scale)).collect()
    }
}

fn scale(case: &Case, quick: bool) -> Scale {
    let mut scale = if quick { QUICK } else { FULL };
    if matches!(case.work, Work::Paced { .. } | Work::Saturated) {
        (scale.warm_ms, scale.run_ms) = if quick { ARCHIVE_QUICK_MS } else { ARCHIVE_MS };
    }
    scale
}

fn matrix_cases(quick: bool) -> Vec<Case> {
    let mut cases = Vec::new();
    for place in [Place::Disk, Place::FixedSync] {
        for writers in WRITERS {
            for bytes in SIZES {
                if quick && (writers, bytes) != (8, 1024) {
                    continue;
                }
                let engines = MATRIX.iter().filter(|engine| in_matrix(**engine, place, writers));
                cases.extend(engines.map(|engine| Case::durable(*engine, place, writers, bytes)));
            }
        }
    }
    cases
}

/// A bare loop has one writer; a batch of one is the bare loop; and in memory files that grow are like the others.
pub(crate) fn in_matrix(engine: Engine, place: Place, writers: u32) -> bool {
    match engine {
        Engine::BareGrowing => writers == 1 && place == Place::Disk,
        Engine::BarePrewritten => writers == 1,
        Engine::Batch => writers > 1,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(only: &[&str]) -> Plan {
        Plan::new(&Options {
            quick: false,
            rounds: None,
            only: only.iter().map(|row| (*row).to_owned()).collect(),
            json: false,
            realtime: false,
            dir: "disk".into(),
            peers: "peers".into(),
            shim: "shim".into(),
        })
    }

    #[test]
    fn what_is_compared_is_measured_one_after_the_other_in_an_order_that_changes() {
        let plan = plan(&["one-writer", "async"]);
        let orders: Vec<Vec<Case>> =
            (0..5).map(|round| plan.round(round).into_iter().map(|(case, _)| case).collect()).collect();
        for order in &orders {
            assert_eq!(order.len(), plan.cases.len());
            let blocks: Vec<_> = order.iter().map(|case| plan.cases[case].block).collect();
            let changes = blocks.windows(2).filter(|pair| pair[0] != pair[1]).count();
            assert_eq!(changes, 1, "two rows are two blocks: {blocks:?}");
        }
        assert!(orders.iter().any(|order| *order != orders[0]), "the order is the same in every round");
    }

    #[test]
    fn a_row_alone_brings_all_it_is_compared_with() {
        let plan = plan(&["buffered"]);
        assert!(plan.cases.keys().any(|case| case.engine == Engine::WalDb));
        assert!(plan.cases.keys().all(|case| case.work == Work::Buffered));
    }
}
