use rpo_core::{Epoch, ErrorKind, Position, Timestamp};

use super::{Fork, Round, beginning};
use crate::ReplicationError;
use crate::batch::{Digest, ParentLink};
use crate::object::{ArchiveObject, OpenBatch, Place};
use crate::store::fetch_from_any;

impl Round<'_> {
    /// The newest epoch that is not fenced yet and lies above or at the newest one that holds anything.
    pub(super) async fn next_to_fence(&self, epochs: &[Epoch]) -> Result<Option<Epoch>, ReplicationError> {
        let mut sorted = epochs.to_vec();
        sorted.sort_unstable();
        for epoch in sorted.into_iter().rev() {
            let Some(fences) = self.fences.get(&epoch) else { return Ok(Some(epoch)) };
            if fences.values().any(|number| *number > 1) {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Where the history that goes on ends: the link, and the time of its last frame.
    pub(super) async fn fork(&self, top: Epoch) -> Result<(ParentLink, Timestamp), ReplicationError> {
        let with_data =
            self.fences.iter().rev().find(|(_, fences)| fences.values().any(|number| *number > 1));
        let lowest = self.fences.keys().next().copied().unwrap_or(top);
        let epoch = match self.options.fork {
            Fork::At(position) => position.epoch,
            Fork::Highest => with_data.map_or(lowest, |(epoch, _)| *epoch),
        };
        let last = self.last_number(epoch).await?;
        if last == 0 {
            return self.fork_at_nothing(epoch);
        }
        match self.options.fork {
            Fork::Highest => {
                let newest = self.checked_tail(epoch, last).await?;
                Ok(link_to(&newest, newest.head.to))
            }
            Fork::At(position) => self.fork_inside(position, last).await,
        }
    }

    /// The highest number before a fence in any copy; an epoch not fenced in this takeover was fenced before.
    async fn last_number(&self, epoch: Epoch) -> Result<u64, ReplicationError> {
        if let Some(fences) = self.fences.get(&epoch) {
            return Ok(fences.values().max().copied().unwrap_or(1) - 1);
        }
        let mut last = 0;
        for copy in &self.alive {
            if let Ok(next) = copy.next_number(self.stream, epoch).await {
                let place = Place { stream: self.stream, epoch, number: next.max(2) - 1 };
                let fence = matches!(copy.open(place).await, Ok(Some((ArchiveObject::Fence(_), _))));
                last = last.max(next - 1 - u64::from(fence));
            }
        }
        Ok(last)
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
    async fn checked_tail(&self, epoch: Epoch, last: u64) -> Result<OpenBatch, ReplicationError> {
        let fences = self.fences.get(&epoch);
        let lowest = fences.and_then(|fences| fences.values().min().copied()).unwrap_or(last).clamp(1, last);
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

    async fn readable(&self, epoch: Epoch, number: u64) -> Result<OpenBatch, ReplicationError> {
        let place = Place { stream: self.stream, epoch, number };
        match fetch_from_any(self.alive.iter(), place).await? {
            Some((ArchiveObject::Batch(batch), _)) => Ok(*batch),
            _ => Err(ReplicationError::Gap {
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
