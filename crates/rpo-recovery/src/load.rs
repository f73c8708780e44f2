//! The catalogue of a real repository: its checkpoints and its archived log, from one copy alone.

use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _};
use rpo_checkpoint::{Cancel, CheckpointInfo, CheckpointOptions, Checkpointer, Progress};
use rpo_core::ports::Restorer;
use rpo_core::target::{Bound, RestorePoint, Target};
use rpo_core::{CheckpointId, Epoch, ErrorKind, Lsn, SourceId, StreamId};
use rpo_replication::Archive;
use rpo_repository::Repository;

use crate::catalogue::{Base, Catalogue, Entries, History, Range};
use crate::execute::{Bases, Outcome, execute};
use crate::locate::{locate, named_points};
use crate::plan::{Plan, PlanOptions};
use crate::RecoveryError;

/// What one copy can restore of one thing.
#[derive(Debug)]
pub struct Recovery {
    catalogue: Catalogue,
    log: Box<Log>,
    checkpoints: Checkpoints,
}

/// The archived log of one history; without one, nothing.
#[derive(Debug)]
struct Log {
    ranges: Vec<Range>,
    archive: Option<(Archive, rpo_replication::History)>,
}

#[derive(Debug)]
struct Checkpoints(Checkpointer);

impl Recovery {
    /// Reads what `repository` holds of `source`, and of its log `stream` if it has one: the history that goes on.
    ///
    /// # Errors
    /// The copy cannot be read. That there is nothing is no error: then everything is refused.
    pub async fn load(
        repository: &Repository,
        source: &SourceId,
        stream: Option<&StreamId>,
    ) -> Result<Self, RecoveryError> {
        Self::load_history(repository, source, stream, None).await
    }

    /// As [`load`](Self::load), but of the history that is named by `epoch`: also what a newer writer left behind.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub async fn load_history(
        repository: &Repository,
        source: &SourceId,
        stream: Option<&StreamId>,
        epoch: Option<Epoch>,
    ) -> Result<Self, RecoveryError> {
        let checkpointer = Checkpointer::new(repository.clone(), CheckpointOptions::default());
        let bases = checkpointer.list(source).await?.into_iter().map(base).collect();
        let archive = match stream {
            Some(stream) => history(Archive::of(repository.clone(), stream.clone()), epoch).await?,
            None => None,
        };
        let ranges: Vec<_> = archive.iter().flat_map(|(_, history)| ranges(history)).collect();
        let catalogue = Catalogue::new(bases, ranges.clone());
        Ok(Self { catalogue, log: Box::new(Log { ranges, archive }), checkpoints: Checkpoints(checkpointer) })
    }

    /// What can be restored.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Moments somebody named in the log, oldest first.
    ///
    /// # Errors
    /// The archive cannot be read.
    pub async fn named_points(&self) -> Result<Vec<RestorePoint>, RecoveryError> {
        named_points(&self.catalogue, self.log.as_ref()).await
    }

    /// What a restore to `target` would do, and exactly where it would end.
    ///
    /// # Errors
    /// [`crate::Refusal`] with the nearest points that can be restored.
    pub async fn plan(&self, target: &Target, bound: Bound, options: PlanOptions) -> Result<Plan, RecoveryError> {
        let located = locate(&self.catalogue, self.log.as_ref(), target, bound).await?;
        let text = match bound {
            Bound::Inclusive => target.to_string(),
            Bound::Exclusive => format!("{target} (exclusive)"),
        };
        Ok(self.catalogue.plan(&text, &located, options)?)
    }

    /// Carries `plan` out; see [`execute`].
    ///
    /// # Errors
    /// As [`execute`].
    pub async fn execute(
        &self,
        plan: &Plan,
        restorer: Arc<dyn Restorer>,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<Outcome, RecoveryError> {
        execute(plan, &self.checkpoints, self.log.as_ref(), restorer, progress, cancel).await
    }
}

fn base(info: CheckpointInfo) -> Base {
    Base {
        id: info.id,
        started: info.started,
        finished: info.finished,
        position: info.position,
        bytes: info.statistics.bytes,
        entries: info.statistics.entries,
        names: info.tags.iter().filter_map(|tag| tag.parse().ok()).collect(),
    }
}

async fn history(
    archive: Archive,
    epoch: Option<Epoch>,
) -> Result<Option<(Archive, rpo_replication::History)>, RecoveryError> {
    let coverage = match archive.coverage().await {
        Ok(coverage) => coverage,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let found = match epoch {
        Some(epoch) => coverage.of_epoch(epoch).cloned(),
        None => Some(coverage.current().clone()),
    };
    Ok(found.map(|history| (archive, history)))
}

fn ranges(history: &rpo_replication::History) -> Vec<Range> {
    let range = |leg: &rpo_replication::Leg| Range {
        epoch: leg.epoch,
        from: leg.from,
        to: leg.to,
        first_time: leg.first_time,
        last_time: leg.last_time,
    };
    history.legs.iter().map(range).collect()
}

#[async_trait]
impl History for Log {
    fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    async fn entries(&self, from: Lsn, to: Lsn) -> Result<Entries<'_>, RecoveryError> {
        let Some((archive, history)) = &self.archive else { return Ok(Box::pin(futures::stream::empty())) };
        let entries = archive.entries(history, from, Some(to)).await?;
        Ok(entries.map_err(RecoveryError::from).boxed())
    }
}

#[async_trait]
impl Bases for Checkpoints {
    async fn restore(
        &self,
        id: &CheckpointId,
        into: Arc<dyn Restorer>,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<(), RecoveryError> {
        self.0.restore(id, into, progress, cancel).await?;
        Ok(())
    }

    async fn kind(&self, id: &CheckpointId) -> Result<String, RecoveryError> {
        Ok(self.0.show(id).await?.source_kind)
    }
}
