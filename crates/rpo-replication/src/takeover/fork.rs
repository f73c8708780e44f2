//! Where a new epoch leaves the old one, worked out from what the copies hold.

use std::collections::{BTreeMap, BTreeSet};

use rpo_core::{CopyName, Epoch, ErrorKind, Position, Timestamp};

use super::{Fork, Round, beginning};
use crate::ReplicationError;
use crate::batch::{Digest, ParentLink};
use crate::fence::Fence;
use crate::object::{ArchiveObject, OpenBatch, Place};
use crate::store::open_from_any;

impl Round<'_> {
    /// The newest epoch that is not fenced yet and lies above the newest one that holds data, or is that one.
    pub(super) fn next_to_fence(&self, epochs: &BTreeSet<Epoch>) -> Option<Epoch> {
        for epoch in epochs.iter().rev() {
            match self.fenced.get(epoch) {
                None => return Some(*epoch),
                Some(fenced) if fenced.holds_data => return None,
                Some(_) => {}
            }
        }
        None
    }

    /// Whether any copy has more of an epoch than the object that says which one it continues.
    pub(super) async fn holds_data(
        &self,
        epoch: Epoch,
        fences: &BTreeMap<CopyName, Fence>,
    ) -> Result<bool, ReplicationError> {
        for copy in &self.alive {
            match fences.get(&copy.name).map(|fence| fence.number) {
                None | Some(1) => {}
                Some(2) => match copy.open(Place { stream: self.stream, epoch, number: 1 }).await {
                    Ok(Some((ArchiveObject::Batch(batch), _))) if batch.head.parent.is_some() => {}
                    Err(ReplicationError::Storage { copy, source }) => {
                        return Err(ReplicationError::Storage { copy, source });
                    }
                    _ => return Ok(true), // data, or so damaged that it may have been
                },
                Some(_) => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Where the history that goes on ends: the link, and the time of its last frame.
    pub(super) async fn fork(&self, top: Epoch) -> Result<(ParentLink, Timestamp), ReplicationError> {
        let with_data = self.fenced.iter().rev().find(|(_, fenced)| fenced.holds_data);
        let lowest = self.fenced.keys().next().copied().unwrap_or(top);
        let epoch = match self.options.fork {
            Fork::At(position) => position.epoch,
            Fork::Highest => with_data.map_or(lowest, |(epoch, _)| *epoch),
        };
        let ends = self.ends(epoch).await?;
        let last = ends.values().max().copied().unwrap_or(0);
        if last == 0 {
            return self.fork_at_nothing(epoch);
        }
        match self.options.fork {
            Fork::Highest => {
                self.require_one_line(epoch, &ends).await?;
                let newest = self.checked_tail(epoch, &ends, last).await?;
                Ok(link_to(&newest, newest.head.to))
            }
            Fork::At(position) => self.fork_inside(position, last).await,
        }
    }

    /// The highest number before its fence, or healed after it, that each copy has of an epoch.
    async fn ends(&self, epoch: Epoch) -> Result<BTreeMap<CopyName, u64>, ReplicationError> {
        let mut ends = BTreeMap::new();
        for copy in &self.alive {
            let known = self.fenced.get(&epoch).and_then(|fenced| fenced.at.get(&copy.name)).copied();
            let mut last = match known {
                Some(fence) => fence - 1,
                None if self.fenced.contains_key(&epoch) => continue, // did not answer
                None => match copy.end(self.stream, epoch).await {
                    Ok((next, fence)) => next - 1 - u64::from(fence.is_some()),
                    Err(_) => continue,
                },
            };
            last = copy.healed_end(self.stream, epoch, last).await?;
            ends.insert(copy.name.clone(), last);
        }
        Ok(ends)
    }

    /// One epoch is one line: where copies have different objects under one number, two writers were at work in it, and
    /// which of them was told that something is protected cannot be seen from here.
    async fn require_one_line(
        &self,
        epoch: Epoch,
        ends: &BTreeMap<CopyName, u64>,
    ) -> Result<(), ReplicationError> {
        let Some(number) = ends.values().copied().filter(|end| *end > 0).min() else { return Ok(()) };
        let place = Place { stream: self.stream, epoch, number };
        let mut seen: Option<Digest> = None;
        for copy in self.alive.iter().filter(|copy| ends.get(&copy.name).is_some_and(|end| *end >= number)) {
            let found = match copy.open(place).await {
                Ok(Some((ArchiveObject::Batch(batch), _))) => batch.digest,
                Err(ReplicationError::Storage { copy, source }) => {
                    return Err(ReplicationError::Storage { copy, source });
                }
                _ => continue, // healed, expired or damaged here: another copy speaks for it
            };
            if seen.is_some_and(|seen| seen != found) {
                return Err(ReplicationError::Conflict { copy: copy.name.clone(), key: place.key() });
            }
            seen = Some(found);
        }
        Ok(())
    }

    fn fork_at_nothing(&self, epoch: Epoch) -> Result<(ParentLink, Timestamp), ReplicationError> {
        let fork = match self.options.fork {
            Fork::At(position) if position.lsn > beginning(epoch).lsn => {
                return Err(past_end(position, beginning(epoch)));
            }
            _ => beginning(epoch),
        };
        let link = ParentLink { epoch, number: 0, fork, digest: Digest::NONE };
        Ok((link, self.clock.wall()))
    }

    /// The last object of the history, after checking that every object which some fenced copy lacks can be read from
    /// another, each naming the one before.
    async fn checked_tail(
        &self,
        epoch: Epoch,
        ends: &BTreeMap<CopyName, u64>,
        last: u64,
    ) -> Result<OpenBatch, ReplicationError> {
        let lowest = ends.values().min().copied().unwrap_or(last).max(self.expired(epoch).await);
        let lowest = lowest.clamp(1, last);
        let newest = self.readable(epoch, last).await?;
        let mut named = newest.head.previous;
        for number in (lowest..last).rev() {
            let batch = self.readable(epoch, number).await?;
            if batch.digest != named {
                let key = Place { stream: self.stream, epoch, number: number + 1 }.key();
                return Err(ReplicationError::ChainBroken { key, named, found: batch.digest });
            }
            named = batch.head.previous;
        }
        Ok(newest)
    }

    /// The first number that retention has left of an epoch, as any copy's note says: what a copy lacks before that, nobody
    /// needs. 0 without any note.
    async fn expired(&self, epoch: Epoch) -> u64 {
        let mut first_kept = 0;
        for copy in &self.alive {
            if let Ok(Some(note)) = copy.newest_note(self.stream, epoch).await {
                first_kept = first_kept.max(note.first_kept);
            }
        }
        first_kept
    }

    async fn readable(&self, epoch: Epoch, number: u64) -> Result<OpenBatch, ReplicationError> {
        let place = Place { stream: self.stream, epoch, number };
        match open_from_any(&self.alive, place).await? {
            Some(batch) => Ok(batch),
            None => Err(ReplicationError::Gap {
                stream: self.stream.clone(),
                epoch,
                number,
                hint: "it belongs to the history that is to be taken over; bring a copy back that has it",
            }),
        }
    }

    /// The object that holds the last byte before `position`; what comes after it need not be readable.
    async fn fork_inside(
        &self,
        position: Position,
        last: u64,
    ) -> Result<(ParentLink, Timestamp), ReplicationError> {
        let mut above: Option<ReplicationError> = None;
        let mut readable = false;
        for number in (1..=last).rev() {
            let batch = match self.readable(position.epoch, number).await {
                Ok(batch) => batch,
                Err(error) if !readable && error.kind() == ErrorKind::Corrupt => {
                    above = Some(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            readable = true;
            if position.lsn > batch.head.to.lsn {
                return Err(above.unwrap_or_else(|| past_end(position, batch.head.to)));
            }
            let starts_here = batch.head.parent.is_some() && position.lsn == batch.head.from.lsn;
            if position.lsn > batch.head.from.lsn || starts_here {
                return Ok(link_to(&batch, position));
            }
            above = None;
        }
        self.fork_at_nothing(position.epoch)
    }
}

fn link_to(batch: &OpenBatch, fork: Position) -> (ParentLink, Timestamp) {
    let link =
        ParentLink { epoch: batch.head.epoch(), number: batch.head.number, fork, digest: batch.digest };
    (link, batch.head.last_time)
}

fn past_end(fork: Position, end: Position) -> ReplicationError {
    ReplicationError::Invalid(format!(
        "the fork {fork} lies past {end}, where the copies end: what is between would be in no copy; ship it first, or fork at the end"
    ))
}
