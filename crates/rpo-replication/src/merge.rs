//! Merging: runs of batches become one larger object, and go once that object is durable in the same copy.
//!
//! Home decides: a merged object is put there first, if absent, and every other copy gets the same bytes, like batches; so
//! two that merge at once agree, any copy completes any other, and rot shows by comparing. A copy gets it once it has all of
//! its parts itself. Its parts go when the object was read back *in that copy* and the grace time is over: the first is the
//! safety, by order; the second only patience with readers who have just looked. Everything is looked up anew in each step, so
//! a step may die anywhere, and several may run at once.

mod clean;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use rpo_core::error::Problems;
use rpo_core::{ByteSize, Clock, ConfigError, CopyName, Entropy, Epoch, HumanDuration, StreamId};
use serde::{Deserialize, Serialize};

pub(crate) use self::clean::Gone;
use self::plan::{Candidate, plan_merge};
use crate::ReplicationError;
use crate::archive::read_head;
use crate::batch::BatchHead;
use crate::copies::{Copies, CopySpec};
use crate::merged::{open_merged, seal_merged};
use crate::names::merged_key;
use crate::object::{ArchiveObject, OpenBatch, Place};
use crate::store::{Placed, fetch_from_any};

/// When batches are merged, and when they go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct MergeConfig {
    /// A run is merged once it holds this many bytes of log, before compression. 64 KiB to 64 MiB; larger means fewer
    /// objects, and more memory while one is made (about three times this).
    pub target_bytes: ByteSize,
    /// A run that has waited for `patience` is merged from this many batches on. 2 to 16,383.
    pub parts_min: u32,
    /// How long the oldest batch of a run waits for the run to become large.
    pub patience: HumanDuration,
    /// How long batches stay beside the merged object that took their place.
    pub grace: HumanDuration,
    /// Makes merging break its promises, for tests of the tests.
    #[cfg(feature = "planted-bugs")]
    #[serde(skip)]
    pub planted: Option<crate::PlantedBug>,
}

impl Default for MergeConfig {
    /// Runs of 32 MiB of log (some 8 to 32 MiB as stored), or of 16 batches after an hour; batches stay for a day.
    fn default() -> Self {
        Self {
            target_bytes: ByteSize::mib(32),
            parts_min: 16,
            patience: HumanDuration::from_secs(3600),
            grace: HumanDuration::from_secs(24 * 3600),
            #[cfg(feature = "planted-bugs")]
            planted: None,
        }
    }
}

impl MergeConfig {
    /// Reports all broken rules together.
    ///
    /// # Errors
    /// Each with field, value and bound.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::new();
        let target = self.target_bytes;
        let fits = (64 << 10..=64 << 20).contains(&target.get());
        problems.require(fits, "target-bytes", target, "64KiB to 64MiB");
        let parts = self.parts_min;
        problems.require((2..=16_383).contains(&parts), "parts-min", parts, "2 to 16383");
        problems.finish()
    }

    #[cfg(feature = "planted-bugs")]
    fn has(&self, bug: crate::PlantedBug) -> bool {
        self.planted == Some(bug)
    }
}

/// What one step did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MergeStep {
    /// The merged object that was put at home: epoch, number, first and last part.
    pub merged: Option<(Epoch, u64, u64, u64)>,
    /// Merged objects that reached other copies.
    pub mirrored: u64,
    /// Batches deleted, over all copies.
    pub deleted: u64,
    /// Batches that a store does not let go yet: a lock, or a store that deletes nothing. They are asked for again.
    pub held: u64,
    /// Copies that could not be dealt with, each with the reason; the next step tries again.
    pub waiting: BTreeMap<CopyName, String>,
}

/// Merges one stream's archive. Driven by calling [`step`](Self::step); may be dropped and made anew at any moment.
pub struct Merger {
    copies: Copies,
    stream: StreamId,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    config: MergeConfig,
    /// Heads of batches at home that wait to be merged.
    heads: BTreeMap<(Epoch, u64), BatchHead>,
    /// Up to which merged object the parts are gone.
    cleaned: BTreeMap<(CopyName, Epoch), u64>,
    /// Merged objects that were read back whole.
    verified: BTreeSet<(CopyName, Epoch, u64)>,
}

impl fmt::Debug for Merger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Merger")
            .field("stream", &self.stream)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Merger {
    /// Merges the archive of `stream` in `copies`. Asks nothing yet.
    ///
    /// # Errors
    /// `Invalid` for settings that cannot work.
    pub fn new(
        copies: Copies,
        stream: StreamId,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        config: MergeConfig,
    ) -> Result<Self, ReplicationError> {
        config.validate().map_err(|error| ReplicationError::Invalid(error.to_string()))?;
        let (heads, cleaned, verified) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Ok(Self { copies, stream, clock, entropy, config, heads, cleaned, verified })
    }

    /// Merges at most one run at home, brings merged objects to the other copies, deletes the parts that may go.
    ///
    /// # Errors
    /// What home said, or that its batches cannot be read in any copy. Failures of other copies are no errors here: they are
    /// in [`MergeStep::waiting`].
    pub async fn step(&mut self) -> Result<MergeStep, ReplicationError> {
        let mut done = MergeStep::default();
        let epochs = self.copies.home().epochs(&self.stream).await?;
        for epoch in &epochs {
            if done.merged.is_none() {
                done.merged = self.merge_one(*epoch).await?;
            }
        }
        for copy in self.copies.all().to_vec() {
            for epoch in &epochs {
                if let Err(error) = self.follow(&copy, *epoch, &mut done).await {
                    tracing::debug!(copy = %copy.name, stream = %self.stream, %error, "merging waits");
                    done.waiting.insert(copy.name.clone(), error.to_string());
                }
            }
        }
        Ok(done)
    }

    async fn follow(
        &mut self,
        copy: &CopySpec,
        epoch: Epoch,
        done: &mut MergeStep,
    ) -> Result<(), ReplicationError> {
        let brought =
            if copy.name == self.copies.home().name { Ok(0) } else { self.bring(copy, epoch).await };
        self.clean(copy, epoch, done).await?; // what is there may make room even where nothing more can be put
        done.mirrored += brought?;
        Ok(())
    }

    /// Plans a run of one epoch at home, and puts it there as one object.
    async fn merge_one(&mut self, epoch: Epoch) -> Result<Option<(Epoch, u64, u64, u64)>, ReplicationError> {
        let home = self.copies.home().clone();
        let line = home.line(&self.stream, epoch).await?;
        if line.last > line.own {
            return Ok(None); // fenced while it lagged: what it has of this epoch came healed
        }
        let (next, fence) = home.end(&self.stream, epoch).await?;
        let newest = next - 1 - u64::from(fence.is_some());
        let covered = home.covered(&self.stream, epoch).await?;
        let candidates = self.candidates(&home, epoch, covered + 1, newest).await?;
        let Some(run) = plan_merge(&candidates, newest, self.clock.wall(), &self.config) else {
            return Ok(None);
        };
        let (first, last) = (*run.start(), *run.end());
        let mut parts = Vec::new();
        for number in run {
            parts.push(self.part(epoch, number).await?);
        }
        #[cfg(feature = "planted-bugs")]
        if self.config.has(crate::PlantedBug::MergeDropsLastFrame) {
            plan::drop_last_frame(&mut parts);
        }
        let number = line.own + 1;
        let keys = home.repository.keys();
        let sealed = seal_merged(keys, &*self.entropy, self.clock.wall(), number, &parts)?;
        let placed = home.place(&merged_key(&self.stream, epoch, number), &sealed).await?;
        self.heads = self.heads.split_off(&(epoch, last + 1));
        match placed {
            Placed::Ours => Ok(Some((epoch, number, first, last))),
            Placed::Taken(_) => Ok(None), // somebody else merges too: the next step sees what
        }
    }

    /// The batches from `first` to `newest` as they stand at home under their own names.
    async fn candidates(
        &mut self,
        home: &CopySpec,
        epoch: Epoch,
        first: u64,
        newest: u64,
    ) -> Result<Vec<Candidate>, ReplicationError> {
        let mut candidates = Vec::new();
        for number in first..=newest {
            let place = Place { stream: &self.stream, epoch, number };
            let known = self.heads.get(&(epoch, number)).cloned();
            let head = match known {
                Some(head) => Some(head),
                None => read_head(home, place, &place.key()).await?,
            };
            candidates.push(Candidate::of(number, head.as_ref()));
            if let Some(head) = head {
                self.heads.insert((epoch, number), head);
            }
        }
        Ok(candidates)
    }

    /// A part from home, or from another copy should it be damaged there: the same bytes everywhere.
    async fn part(&self, epoch: Epoch, number: u64) -> Result<OpenBatch, ReplicationError> {
        let place = Place { stream: &self.stream, epoch, number };
        let home = self.copies.home();
        let others = self.copies.all().iter().filter(|copy| copy.name != home.name);
        match fetch_from_any(std::iter::once(home).chain(others), place).await? {
            Some((ArchiveObject::Batch(batch), _)) => Ok(*batch),
            _ => Err(ReplicationError::Gap {
                stream: self.stream.clone(),
                epoch,
                number,
                hint: "it was about to be merged and is not there any more",
            }),
        }
    }

    /// Merged objects that home has and this copy lacks, byte for byte, in order.
    async fn bring(&self, copy: &CopySpec, epoch: Epoch) -> Result<u64, ReplicationError> {
        let (stream, home) = (&self.stream, self.copies.home());
        let (theirs, ours) = (home.line(stream, epoch).await?, copy.line(stream, epoch).await?);
        if ours.last > ours.own || theirs.own <= ours.own {
            return Ok(0);
        }
        if theirs.first > ours.own + 1 {
            return Err(ReplicationError::NotFound(format!(
                "copy {}: merged objects before {} of epoch {epoch} are expired at home; it waits for the notes",
                copy.name, theirs.first
            )));
        }
        let (next, fence) = copy.end(stream, epoch).await?;
        let held = next - 1 - u64::from(fence.is_some());
        let mut brought = 0;
        for number in ours.own + 1..=theirs.own {
            let key = merged_key(stream, epoch, number);
            let Some(bytes) = home.fetch(&key).await? else { break };
            let (head, _) = open_merged(copy.repository.keys(), &key, &bytes)?;
            if head.last > held {
                break; // it gets the parts first
            }
            if let Placed::Taken(_) = copy.place(&key, &bytes).await? {
                return Err(ReplicationError::Conflict { copy: copy.name.clone(), key });
            }
            brought += 1;
        }
        Ok(brought)
    }
}
