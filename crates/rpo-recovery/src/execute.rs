//! Carrying a plan out: base, replay, checks, and one atomic step into place.

use std::sync::Arc;

use futures::TryStreamExt as _;
use rpo_checkpoint::{Cancel, LeftOut, Phase, Progress, Progressed};
use rpo_core::ports::{RestoreReport, Restorer, Validation};
use rpo_core::{CheckpointId, ErrorKind, LogEntry, Position};
use serde::Serialize;

use crate::RecoveryError;
use crate::catalogue::History;
use crate::plan::{Plan, Replay};

/// Gives the content of checkpoints.
#[async_trait::async_trait]
pub trait Bases: Send + Sync {
    /// Gives every entry and extent of `id` to `into`, each checked; neither finishes nor publishes. With `skip_damaged`,
    /// files that are damaged in the store are taken back and returned; without, none ever is.
    ///
    /// # Errors
    /// Something is missing or damaged; the error names the objects and the files.
    async fn restore(
        &self,
        id: &CheckpointId,
        into: Arc<dyn Restorer>,
        skip_damaged: bool,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<Vec<LeftOut>, RecoveryError>;
    /// What sort of source the checkpoint holds.
    ///
    /// # Errors
    /// It cannot be read.
    async fn kind(&self, id: &CheckpointId) -> Result<String, RecoveryError>;
}

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Outcome {
    /// Where the restored state stands in its log; none for things without one.
    pub position: Option<Position>,
    /// Entries put in place.
    pub entries: u64,
    /// Bytes of content written.
    pub bytes: u64,
    /// Commits replayed.
    pub commits: u64,
    /// Checks of the thing's own rules that passed.
    pub checks: Vec<String>,
    /// What could not be kept exactly, each with its path.
    pub approximated: Vec<String>,
    /// Files that are damaged in the store and were left out, because the plan said so.
    pub skipped: Vec<LeftOut>,
}

/// Carries `plan` out. The restored state is in place and durable on `Ok`; on any error nothing is in place and what was
/// built is removed.
///
/// # Errors
/// Whatever stopped it; stopping short of the plan's point is an error, never a success.
pub async fn execute(
    plan: &Plan,
    bases: &dyn Bases,
    history: &dyn History,
    restorer: Arc<dyn Restorer>,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Outcome, RecoveryError> {
    match build(plan, bases, history, &restorer, progress, cancel).await {
        Ok(Built { report, checks, position, skipped }) => Ok(Outcome {
            position,
            skipped,
            entries: report.entries,
            bytes: report.bytes,
            commits: report.commits,
            checks,
            approximated: report.approximated,
        }),
        Err(error) => {
            if let Err(leftover) = restorer.abandon() {
                tracing::warn!(error = %leftover, "what was built could not be removed");
            }
            Err(error)
        }
    }
}

/// What was built and put in place.
struct Built {
    report: RestoreReport,
    checks: Vec<String>,
    position: Option<Position>,
    skipped: Vec<LeftOut>,
}

async fn build(
    plan: &Plan,
    bases: &dyn Bases,
    history: &dyn History,
    restorer: &Arc<dyn Restorer>,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Built, RecoveryError> {
    let mut skipped = Vec::new();
    if let Some(base) = &plan.base {
        let found = bases.kind(&base.id).await?;
        if found != restorer.kind() {
            let (checkpoint, expected) = (base.id.to_string(), restorer.kind().to_owned());
            return Err(RecoveryError::WrongKind { checkpoint, found, expected });
        }
        skipped = bases.restore(&base.id, restorer.clone(), plan.skip_damaged, progress, cancel).await?;
    }
    stop_if(cancel)?;
    restorer.finish_base(plan.base.as_ref().and_then(|base| base.position))?;
    // Without a base nothing was given to the restorer: the beginning of the stream is ours to know.
    let mut at = if plan.base.is_some() { restorer.position() } else { Some(Position::START) };
    if let Some(replay) = &plan.replay {
        at = apply(replay, history, restorer, progress, cancel).await?;
    }
    check_reached(plan, at)?;
    let checks = passed(restorer.validate()?)?;
    stop_if(cancel)?;
    Ok(Built { report: restorer.publish()?, checks, position: at, skipped })
}

/// Applies the commits of the plan's part of the log, each exactly once and without a gap. Returns where the history
/// stands afterwards, markers included.
async fn apply(
    replay: &Replay,
    history: &dyn History,
    restorer: &Arc<dyn Restorer>,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Option<Position>, RecoveryError> {
    let total = replay.until.lsn.bytes_since(replay.from.lsn);
    let mut at = replay.from;
    let mut entries = history.entries(replay.from.lsn, replay.until.lsn).await?;
    #[cfg(feature = "planted-bugs")]
    if crate::planted::is(crate::planted::PlantedBug::OneCommitTooMany) {
        return one_too_many(replay, history, restorer).await;
    }
    let mut told = 0;
    while let Some(entry) = entries.try_next().await? {
        if entry.lsn() != at.lsn {
            let found = format!("lsn {}: the log goes on at {}", at.lsn, entry.lsn());
            return Err(RecoveryError::Short { planned: replay.until.to_string(), found });
        }
        if let LogEntry::Commit(commit) = &entry {
            restorer.apply(commit)?;
        }
        at = entry.position();
        let bytes = at.lsn.bytes_since(replay.from.lsn);
        if bytes - told >= 1 << 16 || bytes == total {
            stop_if(cancel)?;
            progress.update(Progressed { phase: Phase::Replay, done: bytes, total: Some(total), bytes });
            told = bytes;
        }
    }
    agree(restorer.position(), at)?;
    Ok(Some(at))
}

/// What the restorer says it holds must be what it was given.
fn agree(restored: Option<Position>, given: Position) -> Result<(), RecoveryError> {
    match restored.and_then(|at| at.sequence).zip(given.sequence) {
        Some((restored, given)) if restored != given => Err(RecoveryError::Short {
            planned: format!("{given} commits"),
            found: format!("{restored} commits, by the restorer's own count"),
        }),
        _ => Ok(()),
    }
}

#[cfg(feature = "planted-bugs")]
async fn one_too_many(
    replay: &Replay,
    history: &dyn History,
    restorer: &Arc<dyn Restorer>,
) -> Result<Option<Position>, RecoveryError> {
    let end = history.ranges().last().map_or(replay.until.lsn, |range| range.to.lsn);
    let mut entries = history.entries(replay.from.lsn, end).await?;
    while let Some(entry) = entries.try_next().await? {
        if let LogEntry::Commit(commit) = &entry {
            restorer.apply(commit)?;
            if commit.lsn >= replay.until.lsn {
                break;
            }
        }
    }
    Ok(Some(replay.until))
}

/// The state must stand exactly where the plan said.
fn check_reached(plan: &Plan, at: Option<Position>) -> Result<(), RecoveryError> {
    let Some(planned) = plan.reached.position else { return Ok(()) };
    let same = at.is_some_and(|at| at.lsn == planned.lsn && at.sequence == planned.sequence);
    if same {
        return Ok(());
    }
    let found = at.map_or_else(|| "no position".to_owned(), |at| at.to_string());
    Err(RecoveryError::Short { planned: planned.to_string(), found })
}

fn passed(validation: Validation) -> Result<Vec<String>, RecoveryError> {
    let wrong: Vec<_> = validation
        .checks
        .iter()
        .filter_map(|(name, wrong)| Some(format!("{name}: {}", wrong.as_ref()?)))
        .collect();
    if wrong.is_empty() {
        Ok(validation.checks.into_iter().map(|(name, _)| name).collect())
    } else {
        Err(RecoveryError::NotValid(wrong.join("; ")))
    }
}

fn stop_if(cancel: &Cancel) -> Result<(), RecoveryError> {
    if cancel.is_cancelled() { Err(RecoveryError::Cancelled) } else { Ok(()) }
}

impl RecoveryError {
    /// Whether the same restore may succeed if it is simply started again.
    pub fn is_transient(&self) -> bool {
        matches!(self.kind(), ErrorKind::Retry | ErrorKind::Unknown)
    }
}
