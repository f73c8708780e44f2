//! Finding a time, a transaction or a named moment in a history.

use rpo_core::{Commit, LogEntry, MarkerKind, Position, Timestamp, TransactionId};

use super::entries::open_frames;
use super::{Archive, History, Leg};
use crate::ReplicationError;
use crate::batch::BatchHead;
use crate::frames::names_a_moment;

/// A marker that names a moment: a restore point, a checkpoint, a clock anomaly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivePoint {
    /// What it says.
    pub kind: MarkerKind,
    /// Where the history stands once it is included.
    pub position: Position,
    /// When it was written.
    pub time: Timestamp,
}

/// Where a transaction stands in a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundTransaction {
    /// Just before it.
    pub before: Position,
    /// Once it is included.
    pub after: Position,
    /// Its commit time.
    pub time: Timestamp,
}

impl Archive {
    /// The last position of `history` up to which every entry has a time at or before `time` (before it, if `exclusive`);
    /// `None` if the first entry kept is later already.
    ///
    /// # Errors
    /// `InsideGap` if what is lost may hold commits up to that time that are not before it; what is wrong with an object
    /// that must be read.
    pub async fn find_time(
        &self,
        history: &History,
        time: Timestamp,
        exclusive: bool,
    ) -> Result<Option<Position>, ReplicationError> {
        let within = |found: Timestamp| if exclusive { found < time } else { found <= time };
        let mut found = None;
        for leg in &history.legs {
            if !within(leg.first_time) {
                break;
            }
            found = self.last_within(leg, &within).await?.or(found);
            if found.is_none_or(|position| position.lsn < leg.to.lsn) {
                break; // a later leg may begin at an earlier time; what lies between must not be passed over
            }
        }
        Ok(found)
    }

    async fn last_within(
        &self,
        leg: &Leg,
        within: &impl Fn(Timestamp) -> bool,
    ) -> Result<Option<Position>, ReplicationError> {
        let (mut low, mut high) = (leg.first, leg.last);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if within(self.known_head(leg.epoch, middle).await?.first_time) {
                low = middle
            } else {
                high = middle - 1
            }
        }
        let batch = self.batch(leg.epoch, low, None).await?;
        if batch.head.is_gap() && batch.head.from.lsn < leg.to.lsn {
            return Err(self.inside_gap(&batch)); // when, in what is lost, nobody knows
        }
        let (entries, _) = open_frames(self, &batch)?;
        let inside = |entry: &&LogEntry| entry.position().lsn <= leg.to.lsn && within(entry.time());
        let last = entries.iter().take_while(inside).last().map(LogEntry::position);
        Ok(last.or_else(|| within(batch.head.first_time).then_some(batch.head.from)))
    }

    /// Where transaction `id` stands; the first, should a program have used its number twice.
    ///
    /// # Errors
    /// `InsideGap` if it is not found and something is lost: it may have been there; what is wrong with an object that must
    /// be read.
    pub async fn find_transaction(
        &self,
        history: &History,
        id: TransactionId,
    ) -> Result<Option<FoundTransaction>, ReplicationError> {
        let holds = |head: &BatchHead| head.transactions.is_some_and(|(low, high)| low <= id && id <= high);
        let take = |entry: LogEntry| match entry {
            LogEntry::Commit(commit) if commit.transaction == Some(id) => Some(found(&commit)),
            _ => None,
        };
        let found = self.scan(history, holds, take, true).await?.into_iter().next();
        match history.gaps.first() {
            Some(gap) if found.is_none() => {
                Err(ReplicationError::InsideGap { stream: self.stream().clone(), gap: Box::new(gap.clone()) })
            }
            _ => Ok(found),
        }
    }

    /// Every marker of `history` that names a moment, in order.
    ///
    /// # Errors
    /// What is wrong with an object that must be read.
    pub async fn points(&self, history: &History) -> Result<Vec<ArchivePoint>, ReplicationError> {
        let take = |entry: LogEntry| match entry {
            LogEntry::Marker(marker) if names_a_moment(&marker.kind) => {
                Some(ArchivePoint { position: marker.position(), time: marker.time, kind: marker.kind })
            }
            _ => None,
        };
        self.scan(history, |head| head.points > 0, take, false).await
    }

    /// Looks through the heads of a history and into the batches that may hold something.
    async fn scan<T>(
        &self,
        history: &History,
        holds: impl Fn(&BatchHead) -> bool,
        take: impl Fn(LogEntry) -> Option<T>,
        first_only: bool,
    ) -> Result<Vec<T>, ReplicationError> {
        let mut all = Vec::new();
        for leg in &history.legs {
            for number in leg.first..=leg.last {
                if !holds(&self.known_head(leg.epoch, number).await?) {
                    continue;
                }
                let batch = self.batch(leg.epoch, number, None).await?;
                let (entries, _) = open_frames(self, &batch)?;
                let inside = entries.into_iter().filter(|entry| entry.position().lsn <= leg.to.lsn);
                all.extend(inside.filter_map(&take));
                if first_only && !all.is_empty() {
                    return Ok(all);
                }
            }
        }
        Ok(all)
    }
}

fn found(commit: &Commit) -> FoundTransaction {
    let sequence = rpo_core::Sequence::new(commit.sequence.get().saturating_sub(1));
    let before = Position { epoch: commit.epoch, lsn: commit.lsn, sequence: Some(sequence) };
    FoundTransaction { before, after: commit.position(), time: commit.time }
}
