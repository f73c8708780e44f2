//! What can be restored: the bases and the log of one protected thing, in one history.

use std::pin::Pin;

use futures::Stream;
use rpo_core::target::RestorePoint;
use rpo_core::{CheckpointId, Epoch, LogEntry, Lsn, PointName, Position, Timestamp};
use serde::Serialize;

use crate::RecoveryError;

/// A checkpoint that a restore can begin with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Base {
    /// Its id.
    pub id: CheckpointId,
    /// Number of the checkpoint whose state it is: its own, or for a snapshot its origin's. Grows as states get newer,
    /// whatever the wall clock did.
    pub state: u64,
    /// When its capture began: everything older is in it.
    pub started: Timestamp,
    /// When its capture ended: nothing younger is in it.
    pub finished: Timestamp,
    /// Where its state stands in the log; none for things without one.
    pub position: Option<Position>,
    /// Bytes of content that a restore writes.
    pub bytes: u64,
    /// Entries that a restore makes.
    pub entries: u64,
    /// Entries that should be in it and could not be read when it was made: it is partial if there are any.
    pub left_out: u64,
    /// Names somebody gave to this moment.
    pub names: Vec<PointName>,
}

/// One immutable range of the archived log, within the chosen history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Range {
    /// The writer's generation.
    pub epoch: Epoch,
    /// Where it begins.
    pub from: Position,
    /// Where it ends, as far as it belongs to this history.
    pub to: Position,
    /// Commit time of its first entry.
    pub first_time: Timestamp,
    /// Commit time of its last entry.
    pub last_time: Timestamp,
}

/// Log entries in LSN order, each checked.
pub type Entries<'a> = Pin<Box<dyn Stream<Item = Result<LogEntry, RecoveryError>> + Send + 'a>>;

/// The archived log of one history, as recovery reads it.
#[async_trait::async_trait]
pub trait History: Send + Sync {
    /// Its ranges in LSN order; where one does not begin at the end of the one before, there is a gap.
    fn ranges(&self) -> &[Range];
    /// The entries that begin at or after `from` and end at or before `to`, within one stretch without a gap.
    ///
    /// # Errors
    /// They cannot be read, or are not what was written.
    async fn entries(&self, from: Lsn, to: Lsn) -> Result<Entries<'_>, RecoveryError>;
}

/// A stretch of the log without a gap, and when it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Coverage {
    /// Where it begins.
    pub from: Position,
    /// Where it ends.
    pub to: Position,
    /// Commit time of its first entry.
    pub first_time: Timestamp,
    /// Commit time of its last entry.
    pub last_time: Timestamp,
}

/// The bases and the ranges of one history. Pure: knows no store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Catalogue {
    bases: Vec<Base>,
    ranges: Vec<Range>,
}

impl Catalogue {
    /// A catalogue of `bases` and the `ranges` of one history; bases of other histories are left out.
    pub fn new(mut bases: Vec<Base>, ranges: Vec<Range>) -> Self {
        bases.retain(|base| ranges.is_empty() || base.position.is_none_or(|p| belongs(&ranges, p)));
        bases.sort_by(|a, b| {
            (a.position, a.finished, a.id.number).cmp(&(b.position, b.finished, b.id.number))
        });
        Self { bases, ranges }
    }

    /// All checkpoints of this history, oldest first.
    pub fn bases(&self) -> &[Base] {
        &self.bases
    }

    /// The archived ranges of this history, in LSN order.
    pub fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// Whether the thing has a log, be any of it here or not: then a target is a position, else a checkpoint.
    pub fn has_log(&self) -> bool {
        !self.ranges.is_empty() || self.bases.iter().any(|base| base.position.is_some())
    }

    /// Stretches of the log without a gap. Their times never decrease, also where a writer's clock was behind that of the
    /// writer before it: an entry counts as no earlier than anything before it.
    pub fn coverage(&self) -> Vec<Coverage> {
        let mut stretches: Vec<Coverage> = Vec::new();
        for range in &self.ranges {
            let earliest = stretches.last().map_or(range.first_time, |last| last.last_time);
            let last_time = range.last_time.max(earliest);
            match stretches.last_mut() {
                Some(last) if last.to.lsn == range.from.lsn => {
                    last.to = range.to;
                    last.last_time = last_time;
                }
                _ => stretches.push(Coverage {
                    from: range.from,
                    to: range.to,
                    first_time: range.first_time.max(earliest),
                    last_time,
                }),
            }
        }
        stretches
    }

    /// What lies between the stretches and is in no object: from where, and up to where.
    pub fn gaps(&self) -> Vec<(Position, Position)> {
        self.coverage().windows(2).map(|pair| (pair[0].to, pair[1].from)).collect()
    }

    /// How far anything here reaches, restorable or not.
    pub(crate) fn end(&self) -> Option<Position> {
        let log = self.ranges.last().map(|range| range.to);
        let base = self.bases.iter().filter_map(|base| base.position).max_by_key(|p| p.lsn);
        log.into_iter().chain(base).max_by_key(|p| p.lsn)
    }

    /// The stretches that something can be restored in: those that begin with the stream or under a checkpoint.
    /// Each begins where the first base of it stands.
    pub fn restorable(&self) -> Vec<Coverage> {
        let begins = |stretch: Coverage| {
            let start = self.base_at_or_before(stretch.to.lsn, stretch.from.lsn, true)?;
            match start {
                None => Some(stretch), // from the beginning of the stream
                Some(base) => {
                    let from = base.position?;
                    Some(Coverage { from, first_time: base.finished, ..stretch })
                }
            }
        };
        self.coverage().into_iter().filter_map(begins).collect()
    }

    /// The base for a state at `lsn` replayed over a stretch that begins at `from`: the newest (or with `oldest`, the
    /// oldest) checkpoint within; `Some(None)` is the empty beginning of the stream; `None` is no way.
    pub(crate) fn base_at_or_before(&self, lsn: Lsn, from: Lsn, oldest: bool) -> Option<Option<&Base>> {
        #[cfg(feature = "planted-bugs")]
        let lsn = if crate::planted::is(crate::planted::PlantedBug::BasePastTarget) {
            Lsn::new(u64::MAX)
        } else {
            lsn
        };
        let within = |base: &&Base| base.position.is_some_and(|p| p.lsn <= lsn && p.lsn >= from);
        if oldest && from == Lsn::ZERO {
            return Some(None);
        }
        let mut candidates = self.bases.iter().filter(within);
        let found = if oldest { candidates.next() } else { candidates.next_back() };
        match found {
            Some(base) => Some(Some(base)),
            None if from == Lsn::ZERO => Some(None),
            None => None,
        }
    }

    /// Every checkpoint, and the two ends of every restorable stretch of the log, in order.
    pub fn points(&self) -> Vec<RestorePoint> {
        let mut points: Vec<RestorePoint> = self.bases.iter().map(Base::reached).collect();
        for stretch in self.restorable() {
            let end = |position, time| RestorePoint::at(time, Some(position));
            points.push(end(stretch.from, stretch.first_time));
            points.push(end(stretch.to, stretch.last_time));
        }
        points.sort_by(|a, b| (a.position.map(|p| p.lsn), a.time).cmp(&(b.position.map(|p| p.lsn), b.time)));
        points.dedup_by(|a, b| a.position.is_some() && a.position == b.position && a.checkpoint.is_none());
        points
    }
}

impl Base {
    /// The point it is.
    pub fn reached(&self) -> RestorePoint {
        let point = RestorePoint::at(self.finished, self.position).of_checkpoint(self.id.clone());
        match self.names.first() {
            Some(name) => point.named(name.clone()),
            None => point,
        }
    }
}

/// Whether `position` lies in this history: its epoch is one of the history's, and it is not past that epoch's fork.
fn belongs(ranges: &[Range], position: Position) -> bool {
    let end_of_epoch = ranges.iter().filter(|r| r.epoch == position.epoch).map(|r| r.to.lsn).max();
    match end_of_epoch {
        Some(end) => {
            let is_newest = ranges.last().is_some_and(|last| last.epoch == position.epoch);
            is_newest || position.lsn <= end
        }
        // A base older than what is left of the log still belongs, if no earlier epoch contradicts it.
        None => {
            ranges.first().is_none_or(|first| position.epoch < first.epoch && position.lsn <= first.from.lsn)
        }
    }
}
