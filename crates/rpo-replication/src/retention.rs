//! Deleting the beginning of an archive: decided above, said in a note, then done.
//!
//! What may go is a pure value from above: "of the history named by this epoch keep everything from here on". Only what no
//! history needs goes, from the front of each epoch, in whole objects; fences, epoch starts and the newest batch of an epoch
//! stay. A note says what goes before it goes, at home first, then in each copy: once objects are missing, the note
//! is what tells a number that was deleted from one that is free. Interrupted anywhere, the next step goes on.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rpo_core::{Clock, CopyName, Entropy, Epoch, ErrorKind, Lsn, Position, StreamId, Timestamp};
use rpo_storage::{Key, ListRequest};

use crate::ReplicationError;
use crate::archive::{Archive, Coverage, Leg, read_head};
use crate::batch::Digest;
use crate::copies::{Copies, CopySpec};
use crate::expired::ExpiryNote;
use crate::merge::Gone;
use crate::names::{epoch_prefix, expired_key, hex_number};
use crate::object::Place;
use crate::store::Placed;

/// A decision: of the history named by `epoch`, everything from `from` on is kept. Histories that no decision names keep all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeepFrom {
    /// The epoch that names the history: its last.
    pub epoch: Epoch,
    /// The first byte of the log that is kept.
    pub from: Lsn,
}

/// What goes from one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochExpiry {
    /// Batches and gaps of this epoch below this number go.
    pub first_kept: u64,
    /// Where that object begins; at or before what the decision says, and at the beginning of an object.
    pub from: Position,
    /// SHA-256 of the object before it.
    pub before: Digest,
    /// Commit time of the last frame that goes.
    pub last_time: Timestamp,
}

/// What goes, per epoch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExpiryPlan {
    /// Epochs from which something goes.
    pub epochs: BTreeMap<Epoch, EpochExpiry>,
}

impl Archive {
    /// Works out what may go under these decisions. Reads heads; changes nothing.
    ///
    /// # Errors
    /// `Invalid`: a decision for a history that is not there, past its end, or the same history twice. Else what is wrong
    /// with a head that must be read.
    pub async fn plan_expiry(
        &self,
        coverage: &Coverage,
        keep: &[KeepFrom],
    ) -> Result<ExpiryPlan, ReplicationError> {
        check_decisions(coverage, keep)?;
        let mut limits: BTreeMap<Epoch, (Leg, u64)> = BTreeMap::new();
        for history in &coverage.histories {
            let from = keep.iter().find(|keep| keep.epoch == history.tip).map(|keep| keep.from);
            for leg in &history.legs {
                let limit = match from {
                    None => leg.first,
                    Some(from) if from >= leg.to.lsn => u64::MAX,
                    Some(from) if from <= leg.from.lsn => leg.first,
                    Some(from) => self.number_at(leg, from).await?,
                };
                let known = limits.entry(leg.epoch).or_insert_with(|| (leg.clone(), u64::MAX));
                known.1 = known.1.min(limit);
                if leg.last > known.0.last {
                    known.0 = leg.clone();
                }
            }
        }
        let mut plan = ExpiryPlan::default();
        for (epoch, (leg, limit)) in limits {
            let first_kept = self.whole_objects(epoch, limit.min(leg.last)).await?;
            if first_kept <= leg.first.max(1) {
                continue;
            }
            let (kept, gone) =
                (self.known_head(epoch, first_kept).await?, self.known_head(epoch, first_kept - 1).await?);
            let (from, before, last_time) = (kept.from, kept.previous, gone.last_time);
            plan.epochs.insert(epoch, EpochExpiry { first_kept, from, before, last_time });
        }
        Ok(plan)
    }

    /// The beginning of the merged object that `number` is a part of in any copy, else itself.
    async fn whole_objects(&self, epoch: Epoch, number: u64) -> Result<u64, ReplicationError> {
        let mut first = number;
        for copy in self.copies() {
            let place = Place { stream: self.stream(), epoch, number };
            if let Some(index) = copy.merged_with(place).await? {
                first = first.min(index.head.first);
            }
        }
        Ok(first)
    }
}

fn check_decisions(coverage: &Coverage, keep: &[KeepFrom]) -> Result<(), ReplicationError> {
    for (index, decision) in keep.iter().enumerate() {
        let KeepFrom { epoch, from } = *decision;
        let Some(history) = coverage.of_epoch(epoch) else {
            return Err(ReplicationError::Invalid(format!("there is no history of epoch {epoch} to keep")));
        };
        if from > history.to().lsn {
            let why = format!("the history of epoch {epoch} ends at {}, before {from}", history.to());
            return Err(ReplicationError::Invalid(why));
        }
        if keep[..index].iter().any(|other| other.epoch == epoch) {
            return Err(ReplicationError::Invalid(format!("two decisions for the history of epoch {epoch}")));
        }
    }
    Ok(())
}

/// What one step did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RetentionStep {
    /// Notes that reached copies.
    pub noted: u64,
    /// Objects deleted, over all copies.
    pub deleted: u64,
    /// Objects that a store does not let go yet: a lock, or a store that deletes nothing. They are asked for again.
    pub held: u64,
    /// Copies that could not be dealt with, each with the reason; the next step tries again.
    pub waiting: BTreeMap<CopyName, String>,
}

/// Carries expiry out in every copy of one stream's archive. May be dropped and made anew at any moment.
pub struct Retention {
    copies: Copies,
    stream: StreamId,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl fmt::Debug for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retention").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl Retention {
    /// Retention of `stream` in `copies`. Asks nothing yet.
    pub fn new(copies: Copies, stream: StreamId, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { copies, stream, clock, entropy }
    }

    /// Says at home what goes. On `Ok` the notes are durable there, and the next [`step`](Self::step) deletes; there is no
    /// way back. Returns how many notes were written: what an earlier note says already needs none.
    ///
    /// # Errors
    /// `Contended` if somebody else decides at the same time; what home said.
    pub async fn note(&self, plan: &ExpiryPlan) -> Result<u64, ReplicationError> {
        let home = self.copies.home();
        let mut written = 0;
        for (epoch, expiry) in &plan.epochs {
            let line = home.line(&self.stream, *epoch).await?;
            let known = line.note.as_ref();
            if known.is_some_and(|note| note.first_kept >= expiry.first_kept) {
                continue;
            }
            let mut merged_kept = line.first;
            while merged_kept <= line.last
                && let Some(index) = home.merged(&self.stream, *epoch, merged_kept).await?
                && index.head.last < expiry.first_kept
            {
                merged_kept += 1;
            }
            let mut decision = [0; 16];
            self.entropy.fill(&mut decision).map_err(|error| ReplicationError::Log {
                stream: self.stream.clone(),
                why: format!("no randomness for an expiry note: {error}"),
                kind: ErrorKind::Retry,
            })?;
            let note = ExpiryNote {
                stream: self.stream.clone(),
                number: known.map_or(1, |note| note.number + 1),
                first_kept: expiry.first_kept,
                merged_kept,
                from: expiry.from,
                last_time: expiry.last_time,
                noted_at: self.clock.wall(),
                before: expiry.before,
                decision,
            };
            let key = expired_key(&self.stream, *epoch, note.number);
            let bytes = note.seal(home.repository.keys(), &*self.entropy)?;
            if let Placed::Taken(_) = home.place(&key, &bytes).await? {
                let (stream, copy) = (self.stream.clone(), home.name.clone());
                return Err(ReplicationError::Contended { stream, epoch: *epoch, copy });
            }
            written += 1;
        }
        Ok(written)
    }

    /// Brings home's notes to every copy, and deletes there what they name.
    ///
    /// # Errors
    /// None of single copies: they are in [`RetentionStep::waiting`]. If home does not answer, its failure.
    pub async fn step(&self) -> Result<RetentionStep, ReplicationError> {
        let mut done = RetentionStep::default();
        let epochs = self.copies.home().epochs(&self.stream).await?;
        for copy in self.copies.all() {
            for epoch in &epochs {
                if let Err(error) = self.follow(copy, *epoch, &mut done).await {
                    tracing::debug!(copy = %copy.name, stream = %self.stream, %error, "retention waits");
                    done.waiting.insert(copy.name.clone(), error.to_string());
                }
            }
        }
        Ok(done)
    }

    async fn follow(
        &self,
        copy: &CopySpec,
        epoch: Epoch,
        done: &mut RetentionStep,
    ) -> Result<(), ReplicationError> {
        if copy.name != self.copies.home().name {
            done.noted += self.bring(copy, epoch).await?;
        }
        let Some(note) = copy.newest_note(&self.stream, epoch).await? else { return Ok(()) };
        for key in self.listed(copy, epoch).await? {
            let Some(goes) = what_goes(&self.stream, &note, &key) else { continue };
            let gone = match goes {
                Goes::Merged => copy.let_go(&key).await?,
                Goes::Batch(number) if self.begins_an_epoch(copy, epoch, number, &key).await? => {
                    Gone::Nothing
                }
                Goes::Batch(_) => copy.let_batch_go(&key).await?,
            };
            match gone {
                Gone::Deleted => done.deleted += 1,
                Gone::Held => done.held += 1,
                Gone::Nothing => {}
            }
        }
        Ok(())
    }

    /// Notes that home has and this copy lacks, in order, each once the copy has the first object that it keeps.
    async fn bring(&self, copy: &CopySpec, epoch: Epoch) -> Result<u64, ReplicationError> {
        let (stream, home) = (&self.stream, self.copies.home());
        let Some(newest) = home.newest_note(stream, epoch).await? else { return Ok(0) };
        let ours = copy.newest_note(stream, epoch).await?.map_or(0, |note| note.number);
        if ours >= newest.number {
            return Ok(0);
        }
        let (next, fence) = copy.end(stream, epoch).await?;
        let held = copy.healed_end(stream, epoch, next - 1 - u64::from(fence.is_some())).await?;
        let mut brought = 0;
        for number in ours + 1..=newest.number {
            let key = expired_key(stream, epoch, number);
            let Some(bytes) = home.fetch(&key).await? else { break };
            let note = ExpiryNote::open(copy.repository.keys(), &key, &bytes)?;
            // A fence below what the note keeps would be hidden by it.
            if note.first_kept > held || fence.as_ref().is_some_and(|fence| fence.number <= note.first_kept) {
                break;
            }
            if let Placed::Taken(_) = copy.place(&key, &bytes).await? {
                return Err(ReplicationError::Conflict { copy: copy.name.clone(), key });
            }
            brought += 1;
        }
        Ok(brought)
    }

    async fn begins_an_epoch(
        &self,
        copy: &CopySpec,
        epoch: Epoch,
        number: u64,
        key: &Key,
    ) -> Result<bool, ReplicationError> {
        if number != 1 {
            return Ok(false);
        }
        let place = Place { stream: &self.stream, epoch, number };
        Ok(read_head(copy, place, key).await?.is_some_and(|head| head.parent.is_some()))
    }

    /// What is listed of an epoch. What a late list hides is deleted another time.
    async fn listed(&self, copy: &CopySpec, epoch: Epoch) -> Result<Vec<Key>, ReplicationError> {
        let prefix = epoch_prefix(&self.stream, epoch);
        let (mut keys, mut start_after) = (Vec::new(), None);
        loop {
            let request = ListRequest { prefix: prefix.clone(), start_after, limit: None };
            let page = copy.repository.storage().list(request).await.map_err(|error| copy.fault(error))?;
            keys.extend(page.objects.into_iter().map(|meta| meta.key));
            start_after = keys.last().cloned();
            if !page.more || start_after.is_none() {
                return Ok(keys);
            }
        }
    }
}

enum Goes {
    Batch(u64),
    Merged,
}

/// Whether this key is below what the note keeps.
fn what_goes(stream: &StreamId, note: &ExpiryNote, key: &Key) -> Option<Goes> {
    let name = key.as_str().strip_prefix(&epoch_prefix(stream, note.epoch()))?;
    let (folder, number) = name.rsplit_once('/').unwrap_or(("", name));
    let number = hex_number(number, 16)?;
    match folder {
        "" | "healed" if number < note.first_kept => Some(Goes::Batch(number)),
        "merged" | "healed/merged" if number < note.merged_kept => Some(Goes::Merged),
        _ => None,
    }
}
