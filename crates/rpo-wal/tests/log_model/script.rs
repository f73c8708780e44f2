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
    /// A commit whose writer waits, of one record or of several.
    Append {
        records: Vec<usize>,
        level: Level,
    },
    /// A commit with a callback.
    Then {
        len: usize,
        level: Level,
    },
    /// A commit as a future, polled now and then; and dropped half way, if it says so.
    Future {
        len: usize,
        level: Level,
        dropped: bool,
    },
    /// The log's own thread gets its turn, so many times.
    Step(u64),
    /// What lies before this share (of 1000) of the durable part may go; more than 1000: all that may.
    Release(u64),
    /// A reader begins at the start of what is here, and reads a few entries now and then.
    Read,
    /// The disk has room for so many bytes more, or (none) as many as are wanted.
    Room(Option<u64>),
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
    /// It opens the log with a visitor, and says what was durable.
    pub(crate) replaying: bool,
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
        let busy = if rng.chance(250) { 60 } else { 24 };
        let ops = (0..8 + rng.below(busy)).map(|_| Op::draw(rng, large, steps)).collect();
        let end = [End::Close, End::Kill, End::PowerCut, End::PowerCut][rng.index(4)];
        Self { ops, end, replaying: rng.coin() }
    }
}

impl Op {
    fn draw(rng: &mut Rng, large: bool, steps: u16) -> Self {
        if rng.chance(steps) {
            return Self::Step(1);
        }
        let most = if large { 4000 } else { 700 };
        let level = [Level::Buffered, Level::Os, Level::Durable, Level::Durable][rng.index(4)];
        match rng.below(32) {
            0 => Self::Sync,
            1 => Self::Tag,
            2 => Self::Heartbeat,
            3 => Self::PassMillis(rng.below(1500)),
            4 | 5 => Self::Release(rng.below(1500)),
            6 => Self::Step(1 + rng.below(8)),
            7 => Self::Read,
            8 => Self::Room(rng.coin().then(|| rng.below(24 << 10))),
            9 | 10 => Self::Then { len: rng.index(most), level },
            11 | 12 => Self::Future { len: rng.index(most), level, dropped: rng.coin() },
            13..16 => Self::Append { records: sizes(rng, most), level },
            _ => {
                let transaction = rng.coin().then(|| rng.below(100));
                Self::Commit { records: sizes(rng, most), transaction, level }
            }
        }
    }
}

fn sizes(rng: &mut Rng, most: usize) -> Vec<usize> {
    let count = if rng.chance(700) { 1 } else { 1 + rng.index(4) };
    (0..count).map(|_| rng.index(most)).collect()
}
