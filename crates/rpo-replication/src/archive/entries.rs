//! Reading a history: its entries in LSN order, every link of the chain checked before one is given out.

use std::collections::VecDeque;
use std::pin::Pin;

use futures::{Stream, StreamExt, stream};
use rpo_core::{LogEntry, Lsn, Position, StreamId, Timestamp};

use super::{Archive, Break, History, Leg};
use crate::ReplicationError;
use crate::batch::Digest;
use crate::frames::{RunSummary, decode_run, summarize};
use crate::object::{OpenBatch, format_error};

/// Entries of a history in order; ends after the last one asked for, or with the first error.
pub type EntryStream = Pin<Box<dyn Stream<Item = Result<LogEntry, ReplicationError>> + Send>>;

struct Walk {
    archive: Archive,
    legs: VecDeque<Leg>,
    number: u64,
    from: Lsn,
    to: Lsn,
    /// What the object before the next one was, once one was read.
    before: Option<Before>,
    ready: VecDeque<LogEntry>,
    /// What to say at the end.
    broken: Option<ReplicationError>,
}

struct Before {
    digest: Digest,
    end: Lsn,
    time: Timestamp,
}

impl Archive {
    /// Everything of `history` in `from..to` (to its end without `to`), in order, every check done: envelope, place, chain
    /// of digests, contiguity, frames and records. Holds one batch in memory.
    ///
    /// Both ends must lie between entries. Without `to`, a history that is [`broken`](History::broken) ends with that error
    /// after its last readable entry: stopping short is never silent.
    ///
    /// # Errors
    /// At once: `BeginsAfter`, `EndsBefore`. In the stream, as its last item: `CutShort`, `Gap`, `ChainBroken`, `Misplaced`,
    /// `Envelope`, `Format`, `Storage`, or `Invalid` for an end inside an entry.
    pub async fn entries(
        &self,
        history: &History,
        from: Lsn,
        to: Option<Lsn>,
    ) -> Result<EntryStream, ReplicationError> {
        let (start, end) = (history.from(), history.to());
        let stream = || self.stream().clone();
        let broken =
            history.broken.as_ref().filter(|_| to.is_none()).map(|broken| cut_short(stream(), end, broken));
        let to = to.unwrap_or(end.lsn);
        if from < start.lsn {
            return Err(ReplicationError::BeginsAfter { stream: stream(), start, asked: from });
        }
        if let Some(asked) = [from, to].into_iter().find(|lsn| *lsn > end.lsn) {
            return Err(ReplicationError::EndsBefore { stream: stream(), end, asked });
        }
        let mut legs: VecDeque<Leg> = history.legs.iter().cloned().collect();
        while legs.len() > 1 && legs.front().is_some_and(|leg| leg.to.lsn <= from) {
            legs.pop_front();
        }
        let number = match legs.front() {
            Some(leg) => self.number_at(leg, from).await?,
            None => 0,
        };
        let (before, ready) = (None, VecDeque::new());
        let walk = Walk { archive: self.clone(), legs, number, from, to, before, ready, broken };
        Ok(stream::try_unfold(walk, Walk::next).boxed())
    }

    /// The last object of a leg that begins at or before `lsn`.
    pub(crate) async fn number_at(&self, leg: &Leg, lsn: Lsn) -> Result<u64, ReplicationError> {
        let (mut low, mut high) = (leg.first, leg.last);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if self.known_head(leg.epoch, middle).await?.from.lsn <= lsn {
                low = middle
            } else {
                high = middle - 1
            }
        }
        Ok(low)
    }
}

impl Walk {
    async fn next(mut self) -> Result<Option<(LogEntry, Self)>, ReplicationError> {
        loop {
            if let Some(entry) = self.ready.pop_front() {
                return Ok(Some((entry, self)));
            }
            let done =
                self.before.as_ref().is_some_and(|before| before.end >= self.to) || self.from >= self.to;
            let Some(leg) = self.legs.front().filter(|_| !done).cloned() else {
                return self.broken.take().map_or(Ok(None), Err);
            };
            self.read(&leg).await?;
            if self.number < leg.last {
                self.number += 1;
            } else {
                self.legs.pop_front();
                self.number = self.legs.front().map_or(0, |leg| leg.first);
            }
        }
    }

    async fn read(&mut self, leg: &Leg) -> Result<(), ReplicationError> {
        let first_of_epoch = self.number == 1;
        let previous = self.before.as_ref().filter(|_| !first_of_epoch).map(|before| before.digest);
        let batch = self.archive.batch(leg.epoch, self.number, previous).await?;
        self.check(leg, &batch)?;
        if batch.head.is_gap() {
            return self.meet_gap(leg, &batch);
        }
        let (entries, summary) = open_frames(&self.archive, &batch)?;
        let end = batch.head.to.lsn.min(leg.to.lsn);
        let (from, to) = (self.from, self.to.min(end));
        for entry in entries {
            let (begins, ends) = (entry.lsn(), entry.position().lsn);
            if begins >= from && ends <= to {
                self.ready.push_back(entry);
            } else if begins < from && from < ends || begins < to && to < ends {
                let asked = if begins < from { from } else { to };
                return Err(ReplicationError::Invalid(format!(
                    "lsn {asked} lies inside the entry from {begins} to {ends}"
                )));
            }
        }
        let time = summary.map_or(batch.head.last_time, |summary| summary.last_time);
        self.before = Some(Before { digest: batch.digest, end, time });
        Ok(())
    }

    /// Nothing that was asked for may lie in a gap; what lies before or after may be had.
    fn meet_gap(&mut self, leg: &Leg, batch: &OpenBatch) -> Result<(), ReplicationError> {
        let end = batch.head.to.lsn.min(leg.to.lsn);
        let reaches_in = self.from < end && self.to > batch.head.from.lsn;
        if reaches_in && !self.archive.passes_over_gaps() {
            return Err(self.archive.inside_gap(batch));
        }
        self.before = Some(Before { digest: batch.digest, end, time: batch.head.last_time });
        Ok(())
    }

    /// Order and chain: what only shows beside the object before.
    fn check(&self, leg: &Leg, batch: &OpenBatch) -> Result<(), ReplicationError> {
        let Some(before) = &self.before else { return Ok(()) };
        let key = || self.archive.place(leg.epoch, self.number).key();
        let misplaced = |why: String| Err(ReplicationError::Misplaced { key: key(), why });
        if batch.head.from.lsn != before.end {
            return misplaced(format!(
                "it begins at {}, the object before ends at {}",
                batch.head.from, before.end
            ));
        }
        if let Some(link) = &batch.head.parent {
            if link.digest != before.digest {
                return Err(ReplicationError::ChainBroken {
                    key: key(),
                    named: link.digest,
                    found: before.digest,
                });
            }
        } else if batch.head.first_time < before.time {
            return misplaced(format!(
                "its times begin at {}, before {}",
                batch.head.first_time, before.time
            ));
        }
        Ok(())
    }
}

fn cut_short(stream: StreamId, end: Position, broken: &Break) -> ReplicationError {
    let Break { epoch, number, why } = broken.clone();
    ReplicationError::CutShort { stream, end, epoch, number, why }
}

/// The entries of a batch, after checking that the frames are what the head says; no summary for an epoch start.
pub(super) fn open_frames(
    archive: &Archive,
    batch: &OpenBatch,
) -> Result<(Vec<LogEntry>, Option<RunSummary>), ReplicationError> {
    let head = &batch.head;
    let key = archive.place(head.epoch(), head.number).key();
    if head.frames == 0 {
        return Ok((Vec::new(), None));
    }
    let bytes = batch.frames().map_err(|source| format_error(&key, source))?;
    let misplaced = |why: String| ReplicationError::Misplaced { key: key.clone(), why };
    let summary = summarize(&bytes, head.epoch()).map_err(|error| misplaced(error.to_string()))?;
    let told = RunSummary::told(head);
    if summary != told {
        return Err(misplaced(format!("its frames hold {summary:?}, its head says {told:?}")));
    }
    let frames = decode_run(&bytes, head.epoch()).map_err(|error| misplaced(error.to_string()))?;
    Ok((frames.iter().flat_map(rpo_core::frame::Frame::entries).collect(), Some(summary)))
}
