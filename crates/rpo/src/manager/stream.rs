//! Protecting a program that embeds the log: its log is shipped, its state checkpointed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rpo_checkpoint::{Cancel, CheckpointKind, Checkpointer, NoProgress};
use rpo_core::event::EventKind;
use rpo_core::objective::Objective;
use rpo_core::ports::Source;
use rpo_core::window::{CommitTimeline, EpochStart, History, Moment};
use rpo_core::{CheckpointId, MarkerKind, SourceId, StreamId};
use rpo_replication::{Copies, LogShipper, ReplicationError, ShipConfig, ShipperParts, Start};
use rpo_wal::Log;
use tokio::sync::watch;

use super::builder::ManagerParts;
use super::sample::note;
use super::system::{Measure, State, StreamMeasure, System};
use super::{Shared, lock};
use crate::Error;

/// Runs of commits remembered.
const RUNS: usize = 65_536;

/// Shortest and longest time between two shipments when the interval follows the objective.
const SHIP_MIN: Duration = Duration::from_millis(200);
const SHIP_MAX: Duration = Duration::from_secs(10);

/// A program that embeds the log.
#[derive(Debug, Clone)]
pub struct StreamSystem {
    /// Its name, also the source its checkpoints belong to.
    pub name: SourceId,
    /// The stream its log holds.
    pub stream: StreamId,
    /// Its log.
    pub log: Log,
    /// How the archive goes on: with the same writer, or with one that took over.
    pub start: Start,
    /// The epochs of the stream that are known; empty for a stream that only ever had this writer.
    pub epochs: Vec<EpochStart>,
    /// Its state, checkpointed so that a restore need not replay everything.
    pub state: Option<Arc<dyn Source>>,
    /// Makes the checkpoints, in home.
    pub checkpointer: Checkpointer,
    /// Time between two checkpoints.
    pub checkpoint_every: Duration,
    /// Time between two shipments. Default: a quarter of the tightest promise, 200 ms to 10 s.
    pub ship_every: Option<Duration>,
    /// What was promised.
    pub objective: Option<Objective>,
}

impl StreamSystem {
    fn ship_interval(&self) -> Duration {
        let tightest = self.objective.as_ref().and_then(Objective::tightest);
        self.ship_every
            .unwrap_or_else(|| tightest.map_or(SHIP_MAX, |most| most / 4).clamp(SHIP_MIN, SHIP_MAX))
    }
}

/// Opens the shipper and what measures it.
pub(super) fn open(
    stream: &StreamSystem,
    parts: &ManagerParts,
    copies: &Copies,
) -> Result<(Arc<System>, LogShipper), Error> {
    let shipper_parts = ShipperParts {
        source: Arc::new(stream.log.clone()),
        copies: copies.clone(),
        disk: parts.disk.clone(),
        clock: parts.clock.clone(),
        entropy: parts.entropy.clone(),
    };
    let spool = parts.state_dir.join("spool");
    let shipper = LogShipper::open(
        shipper_parts,
        stream.stream.clone(),
        &spool,
        ShipConfig::default(),
        stream.start.clone(),
    )?;
    let now = Moment::now(parts.clock.as_ref());
    // What the log holds already was acknowledged some time before now, nobody here knows when: it is dated by the
    // commit time of its first record that the copies lack, or it counts as undated.
    let timeline = Arc::new(Mutex::new(CommitTimeline::new(stream.log.head(), RUNS)));
    let told = timeline.clone();
    stream.log.on_durable(Box::new(move |position, wall, steady| {
        note(&mut lock(&told), position, Moment::new(wall, steady));
    }));
    let history = match stream.epochs.as_slice() {
        [] => History::single(stream.log.head().epoch),
        epochs => History::new(epochs.iter().copied()).map_err(|e| Error::Unsupported(e.to_string()))?,
    };
    let measure = StreamMeasure {
        log: stream.log.clone(),
        timeline,
        view: shipper.view(),
        history,
        needed: copies.policy().needed(),
        looked: Mutex::new(now),
    };
    let system = System {
        name: stream.name.clone(),
        kind: stream.state.as_ref().map_or("stream", |state| state.kind()).to_owned(),
        objective: stream.objective.clone(),
        state: Mutex::new(State::default()),
        measure: Measure::Stream(Box::new(measure)),
        protected: watch::Sender::default(),
        first_round: watch::Sender::new(false),
    };
    Ok((Arc::new(system), shipper))
}

/// Ships until it is told to stop, then until every copy that answers has everything, or the writer is fenced.
pub(super) async fn ship(
    shared: Arc<Shared>,
    system: Arc<System>,
    mut shipper: LogShipper,
    stream: StreamSystem,
    mut stopping: watch::Receiver<bool>,
) {
    let every = stream.ship_interval();
    let mut drains = 0;
    loop {
        let stop = *stopping.borrow();
        match shipper.step_until(tokio::time::sleep(every)).await {
            Ok(step) => {
                lock(&system.state).trouble =
                    step.blocked.then(|| "the spool is full: shipping waits for a copy".to_owned());
                system.first_round.send_if_modified(|done| !std::mem::replace(done, true));
            }
            Err(error) if ends(&error) => {
                ended(&shared, &system, &error);
                return;
            }
            Err(error) => lock(&system.state).trouble = Some(error.to_string()),
        }
        if let Measure::Stream(measure) = &system.measure {
            shared.publish_protection(&system, measure);
        }
        if stop {
            drains += 1;
            let shipped = shipper.tip().is_some_and(|tip| tip.position.lsn >= stream.log.durable().lsn);
            if (shipped && shipper.is_caught_up()) || drains > 20 {
                return;
            }
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            _ = stopping.wait_for(|stop| *stop) => {}
        }
    }
}

/// Whether nothing more will come of this shipper.
fn ends(error: &ReplicationError) -> bool {
    matches!(error.kind(), rpo_core::ErrorKind::Fenced) || matches!(error, ReplicationError::Rewound { .. })
}

fn ended(shared: &Shared, system: &System, error: &ReplicationError) {
    let reason = error.to_string();
    tracing::error!(system = %system.name, %reason, "this writer ships no more");
    lock(&system.state).trouble = Some(reason.clone());
    system.protected.send_modify(|known| known.ended = Some(reason));
    system.first_round.send_replace(true);
    if let ReplicationError::Fenced { epoch, by, .. } = error {
        shared.teller.tell(Some(&system.name), EventKind::ReplicationFenced { epoch: *epoch, by: *by });
    }
}

/// Checkpoints the program's state at intervals, each marked in the log.
pub(super) async fn checkpoints(
    shared: Arc<Shared>,
    system: Arc<System>,
    stream: StreamSystem,
    mut stopping: watch::Receiver<bool>,
) {
    let Some(source) = stream.state.clone() else { return };
    match stream.checkpointer.list(&stream.name).await {
        Ok(known) => known.last().into_iter().for_each(|newest| lock(&system.state).is_newest(newest)),
        Err(error) => tracing::error!(%error, "checkpoints cannot be listed"),
    }
    loop {
        tokio::select! {
            () = tokio::time::sleep(stream.checkpoint_every) => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
        let next = lock(&system.state).newest.unwrap_or(0) + 1;
        let expected = CheckpointId { source: stream.name.clone(), number: next };
        let begin = shared.now();
        shared.teller.tell(Some(&system.name), EventKind::BackupStarted { checkpoint: expected.clone() });
        let kind = CheckpointKind::Full; // streams of a program's state: all are looked at, equal chunks are not stored twice
        let made = stream
            .checkpointer
            .checkpoint(&stream.name, source.clone(), kind, &NoProgress, &Cancel::new())
            .await;
        match made {
            Ok(summary) => {
                let info = summary.info;
                lock(&system.state).is_newest(&info);
                tracing::debug!(checkpoint = %info.id, bytes_added = info.statistics.added_bytes, "checkpoint done");
                if let Err(error) = stream.log.mark(&MarkerKind::Checkpoint(info.id.clone())) {
                    tracing::error!(%error, "the checkpoint could not be marked in the log");
                }
                let took = shared.now().since(begin).into();
                let bytes_added = info.statistics.added_bytes;
                let kind = EventKind::BackupCompleted { checkpoint: info.id, bytes_added, took };
                shared.teller.tell(Some(&system.name), kind);
            }
            Err(error) => {
                let reason = error.to_string();
                tracing::warn!(checkpoint = %expected, %reason, "no checkpoint was made");
                shared
                    .teller
                    .tell(Some(&system.name), EventKind::BackupFailed { checkpoint: expected, reason });
            }
        }
    }
}
