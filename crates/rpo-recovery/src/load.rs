//! The catalogue of a real repository: its checkpoints and its archived log, from one copy alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _};
use rpo_checkpoint::{
    Cancel, CheckpointError, CheckpointInfo, CheckpointOptions, Checkpointer, LeftOut, Lost, Progress,
};
use rpo_core::ports::Restorer;
use rpo_core::target::{Bound, RestorePoint, Target};
use rpo_core::{CheckpointId, Epoch, ErrorKind, Lsn, SourceId, StreamId};
use rpo_replication::{Archive, Leg};
use rpo_repository::Repository;

use crate::catalogue::{Base, Catalogue, Entries, History, Range};
use crate::execute::{Bases, Outcome, execute};
use crate::locate::{locate, named_points};
use crate::pieces::{pieces, ranges};
use crate::plan::{Plan, PlanOptions, shown};
use crate::{RecoveryError, Refusal};

/// What one copy can restore of one thing.
#[derive(Debug)]
pub struct Recovery {
    catalogue: Catalogue,
    log: Log,
    checkpoints: Checkpoints,
    /// Checkpoints that are there and cannot be read, with what is wrong.
    unreadable: Vec<(CheckpointId, String)>,
    /// What partial checkpoints lack.
    left_out: BTreeMap<CheckpointId, Vec<Lost>>,
}

/// The archived log of one history; without one, nothing.
#[derive(Debug)]
struct Log {
    ranges: Vec<Range>,
    archive: Option<(Archive, Found)>,
}

/// A history, and the pieces of it that are there.
#[derive(Debug)]
struct Found {
    history: rpo_replication::History,
    pieces: Vec<Leg>,
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
    /// As [`load`](Self::load); `NoHistory` if no history ends with that epoch.
    pub async fn load_history(
        repository: &Repository,
        source: &SourceId,
        stream: Option<&StreamId>,
        epoch: Option<Epoch>,
    ) -> Result<Self, RecoveryError> {
        let checkpointer = Checkpointer::new(repository.clone(), CheckpointOptions::default());
        let survey = checkpointer.survey(source).await?;
        let unreadable = survey.unreadable.into_iter().map(|(id, error)| (id, error.to_string())).collect();
        let archive = match stream {
            Some(stream) => history(repository, stream, epoch).await?,
            None => None,
        };
        let left_out = survey.checkpoints.iter().filter(|info| !info.lost.is_empty());
        let left_out = left_out.map(|info| (info.id.clone(), info.lost.clone())).collect();
        let ranges = archive.as_ref().map(|(_, found)| ranges(&found.pieces)).unwrap_or_default();
        let catalogue = Catalogue::new(bases(survey.checkpoints), ranges.clone());
        Ok(Self {
            catalogue,
            log: Log { ranges, archive },
            checkpoints: Checkpoints(checkpointer),
            unreadable,
            left_out,
        })
    }

    /// What can be restored.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Checkpoints that are there and cannot be read, each with what is wrong.
    pub fn unreadable(&self) -> &[(CheckpointId, String)] {
        &self.unreadable
    }

    /// Moments somebody named in the log, oldest first.
    ///
    /// # Errors
    /// The archive cannot be read.
    pub async fn named_points(&self) -> Result<Vec<RestorePoint>, RecoveryError> {
        named_points(&self.catalogue, &self.log).await
    }

    /// What a restore to `target` would do, and exactly where it would end.
    ///
    /// # Errors
    /// [`crate::Refusal`] with the nearest points that can be restored.
    pub async fn plan(
        &self,
        target: &Target,
        bound: Bound,
        options: PlanOptions,
    ) -> Result<Plan, RecoveryError> {
        self.check_readable(target).await?;
        let located = locate(&self.catalogue, &self.log, target, bound).await?;
        let mut plan = self.catalogue.plan(&shown(target, bound), &located, options)?;
        let mut passed_over = self.passed_over(&plan, target);
        if let Some(broken) = self.log.archive.as_ref().and_then(|(_, found)| found.history.broken.as_ref()) {
            let (epoch, number, why) = (broken.epoch, broken.number, &broken.why);
            passed_over.push(format!(
                "the log goes on with object {number} of epoch {epoch}, which cannot be read: {why}"
            ));
        }
        // Stopping short of the newest state is no success: whoever wants the one before it says so.
        if *target == Target::Latest && !passed_over.is_empty() {
            let reason = format!("there is a newer state than can be read: {}", passed_over.join("; "));
            let nearest_before = Some(Box::new(plan.reached));
            return Err(Refusal { target: plan.target, reason, nearest_before, nearest_after: None }.into());
        }
        if options.skip_damaged {
            let without_log = self.log.archive.is_none() && plan.replay.is_none();
            if !without_log || plan.base.as_ref().is_some_and(|base| base.position.is_some()) {
                return Err(RecoveryError::Unsupported(
                    "what has a log is restored whole or not at all: commits were made on all of it"
                        .to_owned(),
                ));
            }
            plan.skip_damaged = true;
        }
        plan.notes.extend(passed_over);
        plan.notes.extend(self.after_the_last(target));
        let base = plan.base.as_ref().and_then(|base| self.left_out.get(&base.id));
        plan.left_out = base.cloned().unwrap_or_default();
        Ok(plan)
    }

    /// That nothing is known of the time asked for: the newest checkpoint was complete before it, and no log goes on.
    fn after_the_last(&self, target: &Target) -> Option<String> {
        let Target::Time(time) = target else { return None };
        let newest = self.catalogue.bases().iter().map(|base| base.finished).max()?;
        (!self.catalogue.has_log() && *time > newest).then(|| {
            format!("the newest checkpoint was complete at {newest}: what changed between that and the target is in none")
        })
    }

    /// Checkpoints that might have been a better base than the plan's, and cannot be read. A log makes up for them.
    fn passed_over(&self, plan: &Plan, target: &Target) -> Vec<String> {
        let by_log = self.catalogue.has_log() && *target == Target::Latest && plan.replay.is_some();
        let begins = plan.base.as_ref().map_or(0, |base| base.state);
        let newer = self.unreadable.iter().filter(|(id, _)| id.number > begins && !by_log);
        newer.map(|(id, why)| format!("checkpoint {id} cannot be read: {why}")).collect()
    }

    /// A checkpoint asked for by id that is there and damaged is not "no such checkpoint".
    async fn check_readable(&self, target: &Target) -> Result<(), RecoveryError> {
        if let Target::Checkpoint(id) = target
            && self.unreadable.iter().any(|(damaged, _)| damaged == id)
        {
            self.checkpoints.0.show(id).await?;
        }
        Ok(())
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
        execute(plan, &self.checkpoints, &self.log, restorer, progress, cancel).await
    }
}

fn bases(infos: Vec<CheckpointInfo>) -> Vec<Base> {
    let origins: BTreeMap<u64, u64> =
        infos.iter().filter_map(|info| Some((info.id.number, info.origin.as_ref()?.number))).collect();
    let state_of = |number: u64| {
        let mut state = number;
        // Origins have smaller numbers; a manifest that says otherwise must not turn us round for ever.
        while let Some(origin) = origins.get(&state).filter(|origin| **origin < state) {
            state = *origin;
        }
        state
    };
    let base = |info: CheckpointInfo| Base {
        state: state_of(info.id.number),
        started: info.started,
        finished: info.finished,
        position: info.position,
        bytes: info.statistics.bytes,
        entries: info.statistics.entries,
        left_out: info.statistics.lost,
        names: info.tags.iter().filter_map(|tag| tag.parse().ok()).collect(),
        id: info.id,
    };
    infos.into_iter().map(base).collect()
}

async fn history(
    repository: &Repository,
    stream: &StreamId,
    epoch: Option<Epoch>,
) -> Result<Option<(Archive, Found)>, RecoveryError> {
    let archive = Archive::of(repository.clone(), stream.clone());
    let coverage = match archive.coverage().await {
        Ok(coverage) => coverage,
        Err(error) if error.kind() == ErrorKind::NotFound && epoch.is_none() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let chosen = match epoch {
        Some(epoch) => coverage.of_epoch(epoch).ok_or_else(|| {
            let known = coverage.histories.iter().map(|history| history.tip.to_string()).collect::<Vec<_>>();
            RecoveryError::NoHistory { stream: stream.clone(), epoch, known: known.join(", ") }
        })?,
        None => coverage.current(),
    };
    let mut found = Found { history: chosen.clone(), pieces: Vec::new() };
    for leg in &chosen.legs {
        found.pieces.extend(pieces(repository, stream, leg).await?);
    }
    Ok(Some((archive, found)))
}

#[async_trait]
impl History for Log {
    fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    async fn entries(&self, from: Lsn, to: Lsn) -> Result<Entries<'_>, RecoveryError> {
        let Some((archive, found)) = &self.archive else { return Ok(Box::pin(futures::stream::empty())) };
        // Only the pieces in question: the archive is never asked to look into a gap.
        let touched = |leg: &&Leg| leg.to.lsn > from && leg.from.lsn < to;
        let legs: Vec<_> = found.pieces.iter().filter(touched).cloned().collect();
        if legs.is_empty() {
            return Ok(Box::pin(futures::stream::empty()));
        }
        let history = rpo_replication::History { legs, ..found.history.clone() };
        let entries = archive.entries(&history, from, Some(to)).await?;
        Ok(entries.map_err(RecoveryError::from).boxed())
    }
}

#[async_trait]
impl Bases for Checkpoints {
    async fn restore(
        &self,
        id: &CheckpointId,
        into: Arc<dyn Restorer>,
        skip_damaged: bool,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<Vec<LeftOut>, RecoveryError> {
        let restored = match skip_damaged {
            true => self.0.restore_what_is_whole(id, into, progress, cancel).await,
            false => self.0.restore(id, into, progress, cancel).await,
        };
        match restored {
            Ok(summary) => Ok(summary.left_out),
            Err(CheckpointError::Cancelled) => Err(RecoveryError::Cancelled),
            Err(error) => Err(error.into()),
        }
    }

    async fn kind(&self, id: &CheckpointId) -> Result<String, RecoveryError> {
        Ok(self.0.show(id).await?.source_kind)
    }
}
