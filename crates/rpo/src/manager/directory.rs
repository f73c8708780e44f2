//! Protecting a directory: checkpoints at intervals, each remembered with the moment its scan began.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rpo_checkpoint::{Cancel, CheckpointError, CheckpointInfo, CheckpointKind, Checkpointer, NoProgress};
use rpo_core::event::EventKind;
use rpo_core::objective::Objective;
use rpo_core::ports::Source;
use rpo_core::window::{Moment, PolledTimeline, SavedScans};
use rpo_core::{CheckpointId, SourceId};
use tokio::sync::watch;

use super::builder::ManagerParts;
use super::sample::{Measure, State, System};
use super::{Shared, files, lock};
use crate::Error;

/// Scans remembered: enough for a copy that lags a week behind checkpoints every five minutes.
const SCANS: usize = 4_096;

/// A directory, or anything else that is looked at now and then.
#[derive(Debug, Clone)]
pub struct DirectorySystem {
    /// Its name.
    pub name: SourceId,
    /// What is captured.
    pub source: Arc<dyn Source>,
    /// Makes the checkpoints, in home.
    pub checkpointer: Checkpointer,
    /// Time from the start of one checkpoint to the start of the next.
    pub every: Duration,
    /// A full one at least this often.
    pub full_every: Duration,
    /// What was promised.
    pub objective: Option<Objective>,
}

impl System {
    pub(super) fn directory(
        directory: &DirectorySystem,
        parts: &ManagerParts,
        declared: Vec<bool>,
    ) -> Result<Self, Error> {
        let path = files::memory_path(&parts.state_dir, &directory.name);
        let saved: Option<SavedScans> = files::read(parts.disk.as_ref(), &path)?;
        let now = Moment::now(parts.clock.as_ref());
        let timeline = match &saved {
            Some(saved) => PolledTimeline::restore(saved, now, SCANS),
            None => PolledTimeline::new(SCANS),
        };
        Ok(Self {
            name: directory.name.clone(),
            kind: directory.source.kind().to_owned(),
            objective: directory.objective.clone(),
            declared,
            state: Mutex::new(State::default()),
            measure: Measure::Polled(Mutex::new(timeline)),
            protected: watch::Sender::default(),
            first_round: watch::Sender::new(false),
        })
    }
}

/// Takes checkpoints until it is told to stop; one that is under way is finished.
pub(super) async fn run(
    shared: Arc<Shared>,
    system: Arc<System>,
    directory: DirectorySystem,
    mut stopping: watch::Receiver<bool>,
) {
    let mut last_full = None;
    match directory.checkpointer.list(&directory.name).await {
        Ok(known) => {
            lock(&system.state).newest = known.last().map(|info| info.id.number);
            last_full = known.iter().rfind(|info| info.kind.is_self_contained()).map(|info| info.started);
        }
        Err(error) => lock(&system.state).trouble = Some(error.to_string()),
    }
    while !*stopping.borrow() {
        let begin = shared.now();
        let due = last_full.is_none_or(|last| begin.wall().since(last) >= directory.full_every);
        let kind = if due { CheckpointKind::Full } else { CheckpointKind::Incremental };
        if let Some(info) = take(&shared, &system, &directory, kind).await
            && info.kind.is_self_contained()
        {
            last_full = Some(info.started);
        }
        system.first_round.send_replace(true);
        let took = shared.now().since(begin);
        tokio::select! {
            () = tokio::time::sleep(directory.every.saturating_sub(took)) => {}
            _ = stopping.wait_for(|stop| *stop) => {}
        }
    }
}

/// Takes one checkpoint, tells of it, and remembers when its scan began.
async fn take(
    shared: &Shared,
    system: &System,
    directory: &DirectorySystem,
    kind: CheckpointKind,
) -> Option<CheckpointInfo> {
    let begin = shared.now(); // before the scan: the window is measured from here
    let next = lock(&system.state).newest.unwrap_or(0) + 1;
    let expected = CheckpointId { source: system.name.clone(), number: next };
    shared.teller.tell(Some(&system.name), EventKind::BackupStarted { checkpoint: expected.clone() });
    let made = directory
        .checkpointer
        .checkpoint(&directory.name, directory.source.clone(), kind, &NoProgress, &Cancel::new())
        .await;
    let (info, damaged) = match made {
        Ok(summary) => (summary.info, summary.parent_unusable),
        Err(error) => {
            failed(shared, system, expected, &error);
            return None;
        }
    };
    let counts = &info.statistics;
    let kind = EventKind::BackupCompleted {
        checkpoint: info.id.clone(),
        bytes_added: counts.added_bytes,
        took: shared.now().since(begin).into(),
    };
    shared.teller.tell(Some(&system.name), kind);
    let incomplete = counts.lost > 0 || counts.changed_while_read > 0 || damaged.is_some();
    let mut state = lock(&system.state);
    state.newest = Some(info.id.number);
    state.trouble = incomplete.then(|| match damaged {
        Some(damage) => format!("{}: the one before it is damaged ({damage}); next: rpo verify", info.id),
        None => format!(
            "{}: {} could not be captured, {} changed while read",
            info.id, counts.lost, counts.changed_while_read
        ),
    });
    drop(state);
    // A scan that left out what it should have captured protects nothing that was not protected before.
    if let Measure::Polled(timeline) = &system.measure
        && !incomplete
    {
        lock(timeline).record(begin, info.id.number, counts.read_bytes);
        let saved = lock(timeline).save(shared.now());
        let path = files::memory_path(&shared.parts.state_dir, &system.name);
        if let Err(error) = files::replace(shared.parts.disk.as_ref(), &path, &saved) {
            tracing::error!(%error, "what was seen could not be kept: after a restart the window will be unknown for a while");
        }
    }
    Some(info)
}

fn failed(shared: &Shared, system: &System, checkpoint: CheckpointId, error: &CheckpointError) {
    let reason = error.to_string();
    lock(&system.state).trouble = Some(reason.clone());
    shared.teller.tell(Some(&system.name), EventKind::BackupFailed { checkpoint, reason });
}
