//! Protecting a directory: checkpoints at intervals, each remembered with the moment its scan began.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rpo_checkpoint::{
    Cancel, CheckpointError, CheckpointInfo, CheckpointKind, Checkpointer, NoProgress, Survey,
};
use rpo_core::event::EventKind;
use rpo_core::objective::Objective;
use rpo_core::ports::Source;
use rpo_core::window::{Moment, PolledTimeline, SavedScans};
use rpo_core::{CheckpointId, SourceId};
use tokio::sync::watch;

use super::builder::ManagerParts;
use super::system::{Measure, State, System};
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
    pub(super) fn directory(directory: &DirectorySystem, parts: &ManagerParts) -> Result<Self, Error> {
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
    match directory.checkpointer.survey(&directory.name).await {
        Ok(found) => {
            let known = &found.checkpoints;
            last_full = known.iter().rfind(|info| info.kind.is_self_contained()).map(|info| info.started);
            let mut state = lock(&system.state);
            if let Some(newest) = known.last() {
                state.is_newest(newest);
            }
            state.unreadable = unreadable(&found);
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
    tracing::debug!(checkpoint = %info.id, kind = %info.kind, entries = counts.entries, bytes_added = counts.added_bytes,
        "checkpoint done");
    let incomplete = partial(&info).is_some() || damaged.is_some();
    let mut state = lock(&system.state);
    state.is_newest(&info);
    state.trouble = damaged
        .map(|damage| format!("{}: the one before it is damaged ({damage}); next: rpo verify", info.id));
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

/// What a checkpoint lacks of what it should hold; none if it is whole.
pub(crate) fn partial(info: &CheckpointInfo) -> Option<String> {
    let counts = &info.statistics;
    if counts.lost == 0 && counts.changed_while_read == 0 {
        return None;
    }
    let mut wrong = Vec::new();
    if counts.lost > 0 {
        let entries = if counts.lost == 1 { "entry" } else { "entries" };
        let example = info.lost.first().map(|lost| format!(", e.g. {}: {}", lost.path, lost.reason));
        wrong.push(format!("{} {entries} left out{}", counts.lost, example.unwrap_or_default()));
    }
    if counts.changed_while_read > 0 {
        wrong.push(format!("{} changed while read", counts.changed_while_read));
    }
    Some(format!("{} is partial: {}", info.id, wrong.join("; ")))
}

/// The checkpoints that are there and cannot be read; none if all can.
pub(crate) fn unreadable(found: &Survey) -> Option<String> {
    let (newest, error) = found.unreadable.last()?;
    let more = match found.unreadable.len() - 1 {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    Some(format!("{newest} cannot be read{more}: {error}; next: rpo verify names what that costs"))
}

fn failed(shared: &Shared, system: &System, checkpoint: CheckpointId, error: &CheckpointError) {
    let reason = error.to_string();
    tracing::warn!(%checkpoint, %reason, "no checkpoint was made");
    lock(&system.state).trouble = Some(reason.clone());
    shared.teller.tell(Some(&system.name), EventKind::BackupFailed { checkpoint, reason });
}
