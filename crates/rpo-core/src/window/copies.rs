//! How far the copies reach: which positions survive the loss of a domain, with an unbroken chain from a base.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{Moment, bug};
use crate::{CopyName, Domain, Epoch, ErrorKind, Lsn, Position};

/// What one copy was last seen to hold of a stream, durable and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyState {
    /// Which copy.
    pub name: CopyName,
    /// The domains whose loss it survives.
    pub survives: Vec<Domain>,
    /// Positions of the states it can restore from; [`Position::START`] if the stream can be replayed from nothing.
    pub bases: Vec<Position>,
    /// The stretches of log it holds; what lies between two of them is missing.
    pub log: Vec<LogRun>,
    /// When it was last seen to hold this; none: not since the clocks can be trusted.
    pub proven_at: Option<Moment>,
}

/// An unbroken stretch of log: from `from` up to `to`, in the history that `to` ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogRun {
    /// Where it begins.
    pub from: Lsn,
    /// Where it ends (excluded).
    pub to: Position,
}

/// How far is protected, who proves it, and since when the proof stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protected<P = Position> {
    /// Everything before it is protected: a position, or the number of a checkpoint.
    pub upto: P,
    /// When the needed number of copies was last seen to reach it; none: unknown.
    pub proven_at: Option<Moment>,
    /// The copies that reach it.
    pub by: Vec<CopyName>,
}

impl Protected {
    /// What the local log alone proves: the position synced here, seen at `at`. This is P(process).
    pub fn locally(durable: Position, at: Moment) -> Self {
        Self { upto: durable, proven_at: Some(at), by: Vec::new() }
    }
}

/// How a writer's generation began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochStart {
    /// The generation.
    pub epoch: Epoch,
    /// Where it forks from its parent, as a position of the parent; none for the first of a stream.
    pub fork: Option<Position>,
}

/// Why epochs make no history.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// No epoch at all.
    #[error("a history needs at least one epoch")]
    Empty,
    /// An epoch was told twice.
    #[error("epoch {0} begins twice")]
    Twice(Epoch),
    /// An epoch forks from one that is not there, or not older.
    #[error("epoch {epoch} forks from epoch {parent}, which is not among the older ones")]
    Orphan {
        /// The epoch.
        epoch: Epoch,
        /// Its parent.
        parent: Epoch,
    },
}

impl HistoryError {
    /// Always [`ErrorKind::Invalid`].
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

/// The epochs of a stream and where they fork: what an old writer held past a fork is not in the current history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    forks: BTreeMap<Epoch, Option<Position>>,
    /// The current history: its epochs, each with its end (the fork of the next; none for the newest).
    ends: BTreeMap<Epoch, Option<Position>>,
}

impl History {
    /// A stream that only ever had this writer.
    pub fn single(epoch: Epoch) -> Self {
        Self { forks: BTreeMap::from([(epoch, None)]), ends: BTreeMap::from([(epoch, None)]) }
    }

    /// All epochs known of a stream, in any order; the largest owns it now.
    ///
    /// # Errors
    /// The epochs make no tree.
    pub fn new(epochs: impl IntoIterator<Item = EpochStart>) -> Result<Self, HistoryError> {
        let mut forks = BTreeMap::new();
        for start in epochs {
            if forks.insert(start.epoch, start.fork).is_some() {
                return Err(HistoryError::Twice(start.epoch));
            }
        }
        for (epoch, fork) in &forks {
            if let Some(fork) = fork.filter(|fork| fork.epoch >= *epoch || !forks.contains_key(&fork.epoch)) {
                return Err(HistoryError::Orphan { epoch: *epoch, parent: fork.epoch });
            }
        }
        let mut ends = BTreeMap::new();
        let mut end: Option<Position> = None;
        let mut at = *forks.keys().next_back().ok_or(HistoryError::Empty)?;
        loop {
            ends.insert(at, end);
            match forks[&at] {
                Some(fork) => {
                    // A writer may have forked below where its parent began: then the parent's parent ends there too.
                    let lowest = end.map_or(fork, |end| earlier(fork, end));
                    (at, end) = (fork.epoch, Some(Position { epoch: fork.epoch, ..lowest }));
                }
                None => return Ok(Self { forks, ends }),
            }
        }
    }

    /// The part of the current history that a holder of everything up to `position` (in that position's own history)
    /// holds: `position` itself, or where the two part. None for an epoch nobody told of.
    pub fn shared(&self, position: Position) -> Option<Position> {
        if bug!(IgnoreForks) {
            return Some(position);
        }
        let mut at = position;
        loop {
            if let Some(end) = self.ends.get(&at.epoch) {
                return Some(end.map_or(at, |end| earlier(at, end)));
            }
            let fork = (*self.forks.get(&at.epoch)?)?;
            at = if at.lsn < fork.lsn { Position { epoch: fork.epoch, ..at } } else { fork };
            // Epochs only shrink on the way up (checked in `new`), so this ends.
        }
    }
}

fn earlier(a: Position, b: Position) -> Position {
    if b.lsn < a.lsn { b } else { a }
}

impl CopyState {
    /// A copy that has shown nothing yet.
    pub fn empty(name: CopyName, survives: Vec<Domain>) -> Self {
        Self { name, survives, bases: Vec::new(), log: Vec::new(), proven_at: None }
    }

    /// How far the current history can be restored from this copy alone; none without a usable base.
    pub fn reach(&self, history: &History) -> Option<Position> {
        let shared = |run: &LogRun| Some((run.from, history.shared(run.to)?));
        let mut runs: Vec<(Lsn, Position)> = self.log.iter().filter_map(shared).collect();
        runs.sort_by_key(|(from, _)| *from);
        if bug!(IgnoreGaps) {
            return runs.iter().map(|(_, to)| *to).chain(self.bases.iter().copied()).max_by_key(|p| p.lsn);
        }
        // A base past a fork holds another history's commits and is no base of this one.
        let bases =
            self.bases.iter().filter(|base| history.shared(**base).is_some_and(|s| s.lsn == base.lsn));
        let reach_of = |base: &Position| {
            let mut reach = *base;
            for (from, to) in &runs {
                if *from <= reach.lsn && to.lsn > reach.lsn {
                    reach = *to;
                }
            }
            reach
        };
        bases.map(reach_of).max_by_key(|position| position.lsn)
    }
}

/// P(D): the highest position that at least `k` of the copies surviving the loss of `lost` can each restore.
///
/// None if fewer than `k` of them can restore anything. `k` is at least 1. For [`Domain::Process`] the local log alone
/// counts: use [`Protected::locally`].
pub fn protected_position(
    copies: &[CopyState],
    k: usize,
    lost: Domain,
    history: &History,
) -> Option<Protected> {
    let reaches = copies
        .iter()
        .filter(|copy| copy.survives.contains(&lost) || bug!(CountLostCopies))
        .filter_map(|copy| Some((copy.reach(history)?, &copy.name, copy.proven_at)));
    kth(k, reaches, |position| position.lsn)
}

/// What one copy was last seen to hold of a source's checkpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointCopy {
    /// Which copy.
    pub name: CopyName,
    /// The domains whose loss it survives.
    pub survives: Vec<Domain>,
    /// The newest checkpoint it holds with its whole chain; none yet.
    pub newest: Option<u64>,
    /// When it was last seen to hold it; none: not since the clocks can be trusted.
    pub proven_at: Option<Moment>,
}

/// The newest checkpoint that at least `k` of the copies surviving the loss of `lost` hold, chain and all.
pub fn protected_checkpoint(copies: &[CheckpointCopy], k: usize, lost: Domain) -> Option<Protected<u64>> {
    let reaches = copies
        .iter()
        .filter(|copy| copy.survives.contains(&lost) || bug!(CountLostCopies))
        .filter_map(|copy| Some((copy.newest?, &copy.name, copy.proven_at)));
    kth(k, reaches, |number| *number)
}

/// The `k`th best of what copies reach, all that reach it, and when `k` of these were last seen to.
fn kth<'a, P: Copy, K: Ord>(
    k: usize,
    reaches: impl Iterator<Item = (P, &'a CopyName, Option<Moment>)>,
    key: impl Fn(&P) -> K,
) -> Option<Protected<P>> {
    let k = k.max(1);
    let mut reaches: Vec<_> = reaches.collect();
    reaches.sort_by_key(|(reach, ..)| Reverse(key(reach)));
    let upto = reaches.get(k - 1)?.0;
    let reaching: Vec<_> = reaches.iter().filter(|(reach, ..)| key(reach) >= key(&upto)).collect();
    let mut proofs: Vec<Moment> = reaching.iter().filter_map(|(_, _, proven)| *proven).collect();
    proofs.sort();
    let proven_at = proofs.len().checked_sub(k).map(|at| proofs[at]);
    Some(Protected { upto, proven_at, by: reaching.iter().map(|(_, name, _)| (*name).clone()).collect() })
}
