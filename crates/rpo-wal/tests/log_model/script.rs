//! What a program does with its log, drawn from a seed: several lives, each ended in its own way.

use rpo_core::ByteSize;
use rpo_testkit::sim::Rng;
use rpo_wal::WalConfig;

/// A level a local log gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Buffered,
    Os,
    Durable,
}

#[derive(Debug, Clone)]
pub(crate) enum Op {
    /// Sizes of the records of one commit.
    Commit {
        records: Vec<usize>,
        transaction: Option<u64>,
        level: Level,
    },
    /// The log's own thread gets its turn.
    Step,
    Sync,
    Tag,
    Heartbeat,
    PassMillis(u64),
}

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Close,
    Kill,
    PowerCut,
}

#[derive(Debug, Clone)]
pub(crate) struct Life {
    pub(crate) ops: Vec<Op>,
    pub(crate) end: End,
}

#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) config: WalConfig,
    pub(crate) lives: Vec<Life>,
}

impl Script {
    /// Small segments, so that rotation happens; sizes from nothing to most of a segment.
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let mut config = if rng.coin() { WalConfig::zero_loss() } else { WalConfig::group_commit() };
        config.segment_bytes = ByteSize::new([16, 16, 20, 32][rng.index(4)] << 10);
        config.frame_bytes_max = ByteSize::new(4 << 10);
        config.pending_bytes_max = ByteSize::new(64 << 10);
        config.spares = 1 + u32::try_from(rng.below(2)).expect("small");
        let lives = 2 + rng.below(3);
        Self { config, lives: (0..lives).map(|_| Life::draw(rng)).collect() }
    }
}

impl Life {
    fn draw(rng: &mut Rng) -> Self {
        let large = rng.chance(250);
        let steps = [100, 400, 800][rng.index(3)];
        let ops = (0..8 + rng.below(24)).map(|_| Op::draw(rng, large, steps)).collect();
        Self { ops, end: [End::Close, End::Kill, End::PowerCut, End::PowerCut][rng.index(4)] }
    }
}

impl Op {
    fn draw(rng: &mut Rng, large: bool, steps: u16) -> Self {
        if rng.chance(steps) {
            return Self::Step;
        }
        match rng.below(20) {
            0 => Self::Sync,
            1 => Self::Tag,
            2 => Self::Heartbeat,
            3 => Self::PassMillis(rng.below(1500)),
            _ => {
                let most = if large { 4000 } else { 700 };
                let count = if rng.chance(700) { 1 } else { 1 + rng.index(4) };
                let records = (0..count).map(|_| rng.index(most)).collect();
                let transaction = rng.coin().then(|| rng.below(100));
                let level = [Level::Buffered, Level::Os, Level::Durable, Level::Durable][rng.index(4)];
                Self::Commit { records, transaction, level }
            }
        }
    }
}
