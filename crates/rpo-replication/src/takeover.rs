//! Taking a stream over: fencing the old writer in enough copies, finding where its history ends, beginning a new epoch.
//!
//! 1. In every copy the next number of the newest epoch becomes a fence, created if absent: batch or fence, never both.
//!    Who placed n − k + 1 fences itself, and more than half, may begin the next epoch; who finds too many of another claim
//!    takes that one's epoch for the newest, and fences it in turn. (n − k + 1 stops the old writer. If k is more than half
//!    of n, two takeovers could each have that many in different copies: hence more than half.)
//! 2. With fences in n − k + 1 of the copies that count, the old writer cannot reach its k any more. What it was ever told
//!    to be protected is in k copies, so at least one of the fenced ones has it.
//! 3. The history ends with the highest object that any fenced copy has; it must be readable, and chained.
//! 4. Number 1 of the new epoch, sealed once, names that object. Placing it in as many copies makes the epoch ours: who
//!    finds something else there has lost, and can be fenced in turn. An epoch that holds nothing but its beginning was
//!    told nothing: whoever comes next continues the one before it.
//! 5. Copies that lagged get what they lack under `healed/`.

mod fork;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::future::join_all;
use rpo_core::{Clock, CopyName, Entropy, Epoch, Lsn, Position, Sequence, StreamId, Timestamp};

use crate::batch::{BatchCodec, BatchHead, Digest, ParentLink};
use crate::copies::{Copies, CopySpec};
use crate::heal::{Claim, bring_up, fence_copy};
use crate::names::batch_key;
use crate::object::seal_batch;
use crate::spool::Tip;
use crate::store::Placed;
use crate::{ReplicationError, SyncPolicy};

/// Where the new epoch leaves the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fork {
    /// At the highest position that the copies hold: nothing that any of them has is left behind.
    #[default]
    Highest,
    /// At this position, which lies before that: the source was found there (a rewind). What the copies hold past it
    /// becomes another history, kept and readable by its epoch.
    At(Position),
}

/// How to take over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TakeoverOptions {
    /// Who takes over and why; stands in the fences.
    pub note: String,
    /// Copies that an operator has declared lost: they leave n. An audited act, because what only they held is lost.
    pub lost: Vec<CopyName>,
    /// Where the new epoch begins.
    pub fork: Fork,
}

/// A takeover that succeeded: the new epoch is ours.
#[derive(Debug, Clone)]
pub struct Takeover {
    /// Which stream.
    pub stream: StreamId,
    /// The new generation.
    pub epoch: Epoch,
    /// Where the old one ends within this history.
    pub parent: ParentLink,
    /// Commit time of the last frame taken over: a new log should stamp nothing earlier.
    pub last_time: Timestamp,
    /// What the first object of the epoch leaves behind.
    pub first: Tip,
    /// That object, sealed: every copy gets these bytes.
    pub first_object: Bytes,
    /// The number at which the parent was fenced, per copy.
    pub fenced: BTreeMap<CopyName, u64>,
    /// Objects given to copies that lagged.
    pub healed: BTreeMap<CopyName, u64>,
    /// Copies that did not take part, or could not be completed yet, each with the reason. The shipper completes them.
    pub pending: BTreeMap<CopyName, String>,
}

impl Takeover {
    /// Where the new log begins: the parent's position, in the new epoch.
    pub fn start(&self) -> Position {
        Position { epoch: self.epoch, ..self.parent.fork }
    }
}

struct Round<'a> {
    stream: &'a StreamId,
    alive: Vec<CopySpec>,
    policy: &'a SyncPolicy,
    options: &'a TakeoverOptions,
    clock: &'a dyn Clock,
    entropy: &'a dyn Entropy,
    claim: [u8; 16],
    pending: BTreeMap<CopyName, String>,
    fenced: BTreeMap<Epoch, Fenced>,
}

/// What fencing an epoch brought to light.
struct Fenced {
    /// Where the fence stands, per copy.
    at: BTreeMap<CopyName, u64>,
    /// False for an epoch of which no copy has more than its beginning.
    holds_data: bool,
}

/// How often one call makes way for other takeovers before it gives up.
const ROUNDS_MAX: u32 = 16;

/// Takes `stream` over from whoever writes it.
///
/// On `Ok` the old writer can get nothing more protected, and [`Takeover::start`] is where a new log begins. On `Err` fences
/// may stand already: the old writer is then stopped, and the call can be made again.
///
/// # Errors
/// `TooFewCopies`: n − k + 1, or more than half, did not take part. `Contended`: another takeover was quicker. `NotFound`: there is no such
/// stream. `Gap`, `ChainBroken`, `Envelope`, `Format`: the end of the old history cannot be read in any copy. `Invalid`: the
/// fork lies past what the copies hold.
pub async fn take_over(
    copies: &Copies,
    stream: &StreamId,
    options: &TakeoverOptions,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<Takeover, ReplicationError> {
    let alive: Vec<_> =
        copies.all().iter().filter(|copy| !options.lost.contains(&copy.name)).cloned().collect();
    let mut claim = [0; 16];
    entropy.fill(&mut claim).map_err(|error| ReplicationError::Log {
        stream: stream.clone(),
        why: format!("no randomness for the claim: {error}"),
        kind: rpo_core::ErrorKind::Retry,
    })?;
    let (pending, fenced) = (BTreeMap::new(), BTreeMap::new());
    let policy = copies.policy();
    let mut round = Round { stream, alive, policy, options, clock, entropy, claim, pending, fenced };
    let top = round.fence_all().await?;
    let (parent, last_time) = round.fork(top).await?;
    let epoch = next_epoch(top)?;
    round.begin(epoch, parent, last_time).await
}

fn next_epoch(epoch: Epoch) -> Result<Epoch, ReplicationError> {
    epoch.next().ok_or_else(|| ReplicationError::Invalid("the numbers of epochs are used up".to_owned()))
}

impl Round<'_> {
    /// Fences the newest epoch and every older one down to the newest that holds data; returns the newest.
    async fn fence_all(&mut self) -> Result<Epoch, ReplicationError> {
        let mut epochs = self.discover().await?;
        let none = || ReplicationError::NotFound(format!("no copy holds anything of {}", self.stream));
        let mut top = epochs.last().copied().ok_or_else(none)?;
        for _ in 0..ROUNDS_MAX {
            let Some(claimed) = self.fence_epoch(top, next_epoch(top)?, true).await? else {
                while let Some(open) = self.next_to_fence(&epochs) {
                    self.fence_epoch(open, next_epoch(top)?, false).await?;
                }
                return Ok(top);
            };
            epochs.insert(claimed); // somebody else's, who may come back
            top = claimed;
        }
        Err(self.contended(top, &self.alive[0]))
    }

    fn contended(&self, epoch: Epoch, copy: &CopySpec) -> ReplicationError {
        ReplicationError::Contended { stream: self.stream.clone(), epoch, copy: copy.name.clone() }
    }

    /// Every epoch that any copy lists, and those that follow by name.
    async fn discover(&mut self) -> Result<BTreeSet<Epoch>, ReplicationError> {
        let found = join_all(self.alive.iter().map(|copy| copy.epochs(self.stream))).await;
        let mut all = BTreeSet::new();
        for (copy, found) in self.alive.iter().zip(found) {
            match found {
                Ok(epochs) => all.extend(epochs),
                Err(error) => {
                    self.pending.insert(copy.name.clone(), error.to_string());
                }
            }
        }
        if all.is_empty() && !self.pending.is_empty() {
            return Err(self.too_few(0, 1));
        }
        Ok(all)
    }

    /// Fences one epoch in enough copies. To `own` the next epoch enough of the fences must be of this claim, and none may
    /// name a later one: else returns the generation that somebody else is about to begin.
    async fn fence_epoch(
        &mut self,
        epoch: Epoch,
        by: Epoch,
        own: bool,
    ) -> Result<Option<Epoch>, ReplicationError> {
        let (time, note) = (self.clock.wall(), self.options.note.as_str());
        let claim = Claim { by, id: self.claim, time, note, entropy: self.entropy };
        let stream = self.stream;
        let results = join_all(self.alive.iter().map(|copy| fence_copy(copy, stream, epoch, &claim))).await;
        let mut fences = BTreeMap::new();
        for (copy, result) in self.alive.iter().zip(results) {
            match result {
                Ok(fence) => {
                    fences.insert(copy.name.clone(), fence);
                }
                Err(error) => {
                    self.pending.insert(copy.name.clone(), error.to_string());
                }
            }
        }
        let (reached, stop, make) = self.counted(fences.keys());
        let needed = if own { make } else { stop };
        if reached < needed {
            return Err(self.too_few(reached, needed));
        }
        let holds_data = self.holds_data(epoch, &fences).await?;
        let at = fences.iter().map(|(name, fence)| (name.clone(), fence.number)).collect();
        self.fenced.insert(epoch, Fenced { at, holds_data });
        let ours = fences.iter().filter(|(_, fence)| fence.claim == self.claim).map(|(name, _)| name);
        let (ours, ..) = self.counted(ours);
        let theirs = fences.values().filter(|fence| fence.claim != self.claim).map(|fence| fence.by).max();
        Ok(theirs.filter(|theirs| own && *theirs > epoch && (*theirs > by || ours < make)))
    }

    /// How many of these copies count; how many stop the old writer, and how many make a new one.
    fn counted<'b>(&self, names: impl Iterator<Item = &'b CopyName>) -> (usize, usize, usize) {
        let counts = |name: &&CopyName| self.policy.counts(name);
        let n = self.alive.iter().map(|copy| &copy.name).filter(counts).count();
        let stop = self.policy.fence_quorum(n);
        // Without any copy that counts, none is still too few.
        (names.filter(counts).count(), stop, stop.max(n / 2 + 1))
    }

    fn too_few(&self, reached: usize, needed: usize) -> ReplicationError {
        let texts: Vec<_> = self.pending.iter().map(|(name, why)| format!("{name}: {why}")).collect();
        let missing = if texts.is_empty() { "no other copy counts".to_owned() } else { texts.join("; ") };
        ReplicationError::TooFewCopies { stream: self.stream.clone(), needed, reached, missing }
    }

    /// Seals the epoch's first object, places it, completes the copies that lagged.
    async fn begin(
        mut self,
        epoch: Epoch,
        parent: ParentLink,
        last_time: Timestamp,
    ) -> Result<Takeover, ReplicationError> {
        let from = Position { epoch, ..parent.fork };
        let head = BatchHead {
            stream: self.stream.clone(),
            number: 1,
            previous: Digest::NONE,
            from,
            to: from,
            first_time: last_time,
            last_time,
            codec: BatchCodec::None,
            plain_bytes: 0,
            frames: 0,
            points: 0,
            transactions: None,
            prev_chain: 0,
            last_chain: 0,
            sealed_at: self.clock.wall(),
            writer: self.claim,
            parent: Some(parent),
            gap_before: 0,
        };
        let keys = self.alive[0].repository.keys();
        let first_object = seal_batch(keys, self.entropy, &head, &[])?;
        let first = Tip::of(&head, Digest::of(&first_object));
        self.place_first(epoch, &first_object).await?;
        let healed = self.complete(epoch, &parent).await;
        let fenced = self.fenced.remove(&parent.epoch).map(|fenced| fenced.at).unwrap_or_default();
        let (stream, pending) = (self.stream.clone(), self.pending);
        Ok(Takeover {
            stream,
            epoch,
            parent,
            last_time: head.last_time,
            first,
            first_object,
            fenced,
            healed,
            pending,
        })
    }

    async fn place_first(&mut self, epoch: Epoch, object: &Bytes) -> Result<(), ReplicationError> {
        let key = batch_key(self.stream, epoch, 1);
        let results = join_all(self.alive.iter().map(|copy| copy.place(&key, object))).await;
        let mut ours = Vec::new();
        for (copy, result) in self.alive.iter().zip(results) {
            match result {
                Ok(Placed::Ours) => ours.push(copy.name.clone()),
                Ok(Placed::Taken(_)) => return Err(self.contended(epoch, copy)),
                Err(error) => {
                    self.pending.insert(copy.name.clone(), error.to_string());
                }
            }
        }
        let (reached, _, needed) = self.counted(ours.iter());
        if reached < needed { Err(self.too_few(reached, needed)) } else { Ok(()) }
    }

    async fn complete(&mut self, epoch: Epoch, parent: &ParentLink) -> BTreeMap<CopyName, u64> {
        let (time, note) = (self.clock.wall(), self.options.note.as_str());
        let claim = Claim { by: epoch, id: self.claim, time, note, entropy: self.entropy };
        let (alive, stream) = (&self.alive, self.stream);
        let results = join_all(alive.iter().map(|copy| {
            let claim = &claim;
            async move {
                let peers: Vec<_> = alive.iter().filter(|peer| peer.name != copy.name).cloned().collect();
                bring_up(copy, &peers, stream, parent, claim).await
            }
        }))
        .await;
        let mut healed = BTreeMap::new();
        for (copy, result) in self.alive.iter().zip(results) {
            match result {
                Ok(0) => {}
                Ok(given) => {
                    healed.insert(copy.name.clone(), given);
                }
                Err(error) => {
                    self.pending.insert(copy.name.clone(), error.to_string());
                }
            }
        }
        healed
    }
}

/// Where a stream without any object begins.
fn beginning(epoch: Epoch) -> Position {
    Position { epoch, lsn: Lsn::ZERO, sequence: Some(Sequence::ZERO) }
}
