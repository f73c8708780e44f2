//! Mirroring: what home has of checkpoints is replayed into another copy, as opaque bytes, in an order that never lets the
//! mirror claim more than it has.
//!
//! Home writes objects, then their bill, then the manifest. The mirror first looks which sessions have ended at home,
//! *then* reads all bills up to the newest, copies their objects in order, then the ends of those sessions, and last the
//! bills. So a manifest stands in the mirror only after every object that any bill named before it: also those that a
//! checkpoint shares with others. Bills of sessions that have not ended wait aside and hold up nobody.

mod queue;
mod resend;
mod sessions;

use std::sync::Arc;

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt, TryStreamExt, stream};
use rpo_core::error::Problems;
use rpo_core::{ByteSize, CheckpointId, Clock, ConfigError, ErrorKind};
use rpo_crypto::ObjectType;
use rpo_crypto::envelope::ObjectHeader;
use rpo_repository::{Receipt, layout};
use rpo_storage::Key;
use serde::{Deserialize, Serialize};

use self::queue::{Queue, QueuedBill};
use self::sessions::Sessions;
use crate::ReplicationError;
use crate::batch::Digest;
use crate::copies::{CopySpec, ObjectCursor, Seen};
use crate::store::Placed;

/// Longest object that is mirrored, bytes; it is held in memory while it is copied.
const MIRRORED_BYTES_MAX: u64 = 512 << 20;

/// How fast a mirror follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct MirrorConfig {
    /// Objects copied at the same time. 1 to 64; memory used is this many packs.
    pub parallel_objects: usize,
    /// A step ends after about this many bytes, so that other work gets its turn.
    pub step_bytes: ByteSize,
}

impl Default for MirrorConfig {
    /// Four objects at a time, 256 MiB per step.
    fn default() -> Self {
        Self { parallel_objects: 4, step_bytes: ByteSize::mib(256) }
    }
}

impl MirrorConfig {
    /// Reports all broken rules together.
    ///
    /// # Errors
    /// Each with field, value and bound.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::new();
        let parallel = self.parallel_objects;
        problems.require((1..=64).contains(&parallel), "parallel-objects", parallel, "1 to 64");
        problems.require(self.step_bytes.get() > 0, "step-bytes", self.step_bytes, "more than nothing");
        problems.finish()
    }
}

/// What one step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorStep {
    /// Objects copied, and found to be what their bill says.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Checkpoints that are complete in the mirror since this step.
    pub published: Vec<CheckpointId>,
    /// How far the mirror is.
    pub cursor: ObjectCursor,
    /// Everything that home was seen to have when the step began is here.
    pub caught_up: bool,
}

/// Follows home into one mirror. Driven by calling [`step`](Self::step); may be dropped and made anew at any moment.
#[derive(Debug)]
pub struct Mirror {
    home: CopySpec,
    mirror: CopySpec,
    clock: Arc<dyn Clock>,
    config: MirrorConfig,
    queue: Queue,
    sessions: Sessions,
    evidence: Option<Seen>,
}

impl Mirror {
    /// Follows `home` into `mirror`. Asks neither anything yet.
    ///
    /// # Errors
    /// `Invalid`: the same copy twice, copies of different repositories, or settings that cannot work.
    pub fn new(
        home: CopySpec,
        mirror: CopySpec,
        clock: Arc<dyn Clock>,
        config: MirrorConfig,
    ) -> Result<Self, ReplicationError> {
        config.validate().map_err(|error| ReplicationError::Invalid(error.to_string()))?;
        let (from, to) = (&home.repository, &mirror.repository);
        if home.name == mirror.name || from.id() != to.id() {
            let why = format!(
                "copy {} cannot mirror {}: they must be two copies of one repository",
                mirror.name, home.name
            );
            return Err(ReplicationError::Invalid(why));
        }
        Ok(Self {
            home,
            mirror,
            clock,
            config,
            queue: Queue::default(),
            sessions: Sessions::default(),
            evidence: None,
        })
    }

    /// How far the mirror is, as of the last step.
    pub fn cursor(&self) -> ObjectCursor {
        let now = Seen::now(&*self.clock);
        ObjectCursor { newest: self.sessions.newest(), evidence: self.evidence, ..self.queue.cursor(now) }
    }

    /// Copies what home has and the mirror lacks, up to the configured bytes.
    ///
    /// # Errors
    /// `MirrorDigest`: an object at home is not what its bill says; nothing after it is claimed. `Conflict`: the mirror
    /// holds other bytes under a name of home's. Else what a store said; the next step goes on.
    pub async fn step(&mut self) -> Result<MirrorStep, ReplicationError> {
        let seen = Seen::now(&*self.clock);
        self.replay_config().await?;
        self.sessions.follow(&self.home, &self.mirror, self.queue.sources()).await?;
        let ended = self.sessions.newly_ended(&self.home).await?;
        self.queue.follow(&self.home, &self.mirror, seen).await?;
        self.sessions.require(ended, self.queue.newest());
        let (objects, bytes) = self.copy_objects().await?;
        let published = self.sessions.publish(&self.mirror, self.queue.complete()).await?;
        self.queue.settle(&self.home, &self.mirror, &self.sessions).await?;
        self.evidence = Some(seen);
        let cursor = self.cursor();
        let caught_up = cursor.lag_objects == 0 && !self.sessions.has_unpublished();
        Ok(MirrorStep { objects, bytes, published, cursor, caught_up })
    }

    /// Configuration objects are numbered and few: each that the mirror lacks is copied.
    async fn replay_config(&self) -> Result<(), ReplicationError> {
        for number in 1.. {
            let key = layout::config(number);
            if self.mirror.length(&key).await?.is_some() {
                continue;
            }
            let Some(bytes) = self.home.fetch(&key).await? else { break };
            place(&self.mirror, &key, &bytes).await?;
        }
        Ok(())
    }

    /// Copies objects bill by bill, in order; a bill is complete once all of its objects are here.
    async fn copy_objects(&mut self) -> Result<(u64, u64), ReplicationError> {
        let (mut objects, mut bytes) = (0, 0);
        while bytes < self.config.step_bytes.get() {
            let Some(bill) = self.queue.first_incomplete().cloned() else { break };
            match self.copy_bill(&bill).await {
                Ok((copied, length)) => {
                    objects += copied;
                    bytes += length;
                    self.queue.completed(bill.number);
                }
                Err(error) if error.kind() == ErrorKind::NotFound && !self.has_manifest(&bill).await? => {
                    // Given up at home, and its objects collected since: nothing can need them.
                    tracing::info!(bill = bill.number, %error, "home has collected what this bill names");
                    self.queue.abandoned(bill.number);
                }
                Err(error) => return Err(error),
            }
        }
        Ok((objects, bytes))
    }

    async fn has_manifest(&self, bill: &QueuedBill) -> Result<bool, ReplicationError> {
        let bytes = self.home.fetch(&bill.bill.commit_key).await?;
        Ok(bytes.is_some_and(|bytes| is_manifest(&bill.bill.commit_key, &bytes)))
    }

    async fn copy_bill(&self, bill: &QueuedBill) -> Result<(u64, u64), ReplicationError> {
        // Boxed, so that whoever drives a mirror may do so from any thread.
        let copies: Vec<_> =
            bill.bill.objects.iter().map(|receipt| self.copy_object(receipt).boxed()).collect();
        let copied: Vec<u64> =
            stream::iter(copies).buffered(self.config.parallel_objects).try_collect().await?;
        let new = copied.iter().filter(|length| **length > 0).count() as u64;
        Ok((new, copied.iter().sum()))
    }

    /// Copies one object unless the mirror has it; returns the bytes copied.
    async fn copy_object(&self, receipt: &Receipt) -> Result<u64, ReplicationError> {
        let Receipt { key, len, sha256 } = receipt;
        // Names of packs are random and creation is atomic: the length tells that it is there. Other names can be guessed.
        if self.mirror.length(key).await? == Some(*len) && key.as_str().starts_with("packs/") {
            return Ok(0);
        }
        if *len > MIRRORED_BYTES_MAX {
            let why = format!("{key} has {len} bytes; objects of up to {MIRRORED_BYTES_MAX} are mirrored");
            return Err(ReplicationError::Unsupported(why));
        }
        let bytes = self.home.fetch_up_to(key, MIRRORED_BYTES_MAX).await?.ok_or_else(|| {
            let copy = &self.home.name;
            ReplicationError::NotFound(format!(
                "copy {copy}: {key} is billed and not there: repair it from another copy"
            ))
        })?;
        let (found, expected) = (Digest::of(&bytes), Digest(*sha256));
        if bytes.len() as u64 != *len || found != expected {
            let (copy, key) = (self.home.name.clone(), key.clone());
            let why = format!(
                "has {} bytes with SHA-256 {found}, its bill says {len} bytes with {expected}",
                bytes.len()
            );
            return Err(ReplicationError::MirrorDigest { copy, key, why });
        }
        place(&self.mirror, key, &bytes).await?;
        Ok(*len)
    }
}

/// Creates `key` in the mirror, or finds it there with the same bytes.
async fn place(mirror: &CopySpec, key: &Key, bytes: &Bytes) -> Result<(), ReplicationError> {
    match mirror.place(key, bytes).await? {
        Placed::Ours => Ok(()),
        Placed::Taken(_) => Err(ReplicationError::Conflict { copy: mirror.name.clone(), key: key.clone() }),
    }
}

/// Whether an object says that it is a manifest; told from its clear header.
fn is_manifest(key: &Key, bytes: &[u8]) -> bool {
    ObjectHeader::decode(key.as_str(), bytes).is_ok_and(|header| header.object_type == ObjectType::Manifest)
}
