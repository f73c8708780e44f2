//! What the exchanges with the copies have learnt, for whoever measures or waits.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rpo_core::{ByteSize, Clock, CopyName, Epoch, Monotonic, Position, StreamId, Timestamp};
use tokio::sync::watch;

use super::bucket::Bucket;
use super::config::SpoolFull;
use super::stats::{CopyStats, SpoolStats};
use crate::copies::{Copies, CopyState, Health, LogCursor, Seen};
use crate::{ReplicationError, SyncPolicy};

/// What ends a writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Incident {
    Fenced { copy: CopyName, by: Epoch, number: u64 },
    Rewound { archive: Position },
}

#[derive(Debug, Default)]
struct State {
    copies: BTreeMap<CopyName, Entry>,
    incident: Option<Incident>,
    spool: SpoolStats,
    /// The shipper is gone.
    stopped: bool,
}

#[derive(Debug)]
struct Entry {
    stats: CopyStats,
    state: CopyState,
    /// The number it gets next, once that is known.
    next: Option<u64>,
    paused: bool,
    bucket: Bucket,
}

/// What all exchanges write down and all readers look at.
#[derive(Debug)]
pub(crate) struct Board {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

/// What was learnt of a copy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Learnt {
    pub(crate) next: u64,
    pub(crate) position: Option<Position>,
    pub(crate) time: Option<Timestamp>,
    pub(crate) seen: Seen,
}

impl Board {
    pub(crate) fn new(stream: &StreamId, copies: &Copies, bandwidth_max: Option<ByteSize>) -> Self {
        let entry = |copy: &crate::CopySpec| {
            let (name, domain) = (copy.name.clone(), copy.domain.clone());
            let log = LogCursor::unknown();
            let state =
                CopyState { name: name.clone(), domain, role: copy.role, stream: stream.clone(), log };
            let bucket = Bucket::new(bandwidth_max);
            (name, Entry { stats: CopyStats::default(), state, next: None, paused: false, bucket })
        };
        let copies = copies.all().iter().map(entry).collect();
        let state = State { copies, ..State::default() };
        Self { state: Mutex::new(state), changed: watch::Sender::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is a plain assignment: a panic elsewhere leaves no half of one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, copy: &CopyName, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.state().copies.get_mut(copy) {
            change(entry);
        }
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(crate) fn learnt(&self, copy: &CopyName, learnt: Learnt) {
        self.change(copy, |entry| {
            let log = &mut entry.state.log;
            entry.next = Some(learnt.next);
            log.number = learnt.next - 1;
            log.position = learnt.position;
            log.time = learnt.time;
            log.evidence = Some(learnt.seen);
        });
    }

    pub(crate) fn placed(&self, copy: &CopyName, bytes: u64, seen: Seen) {
        self.change(copy, |entry| entry.stats.placed(bytes, seen));
    }

    pub(crate) fn failed(&self, copy: &CopyName, error: String, seen: Seen) {
        self.change(copy, |entry| entry.stats.failed(error, seen));
    }

    pub(crate) fn change_spool(&self, change: impl FnOnce(&mut SpoolStats)) {
        change(&mut self.state().spool);
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Nobody waits for a shipper that is gone.
    pub(crate) fn stop(&self) {
        self.state().stopped = true;
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The copy was seen, and is as it was.
    pub(crate) fn proved(&self, copy: &CopyName, seen: Seen) {
        self.change(copy, |entry| entry.state.log.evidence = Some(seen));
    }

    /// What was known of the copy no longer holds.
    pub(crate) fn forget(&self, copy: &CopyName) {
        self.change(copy, |entry| {
            entry.next = None;
            entry.state.log = LogCursor { health: entry.state.log.health.clone(), ..LogCursor::unknown() };
        });
    }

    pub(crate) fn set_health(&self, copy: &CopyName, health: Health) {
        self.change(copy, |entry| {
            let log = &mut entry.state.log;
            log.health = match (&log.health, health) {
                (Health::Failing { since, .. }, Health::Failing { kind, error, .. }) => {
                    Health::Failing { since: *since, kind, error }
                }
                (_, health) => health,
            };
        });
    }

    pub(crate) fn set_paused(&self, copy: &CopyName, paused: bool) -> Result<(), ReplicationError> {
        let known = self.state().copies.contains_key(copy);
        if !known {
            return Err(ReplicationError::NotFound(format!("there is no copy {copy}")));
        }
        self.change(copy, |entry| {
            entry.paused = paused;
            entry.state.log.health = if paused { Health::Paused } else { Health::Unknown };
        });
        Ok(())
    }

    pub(crate) fn is_paused(&self, copy: &CopyName) -> bool {
        self.state().copies.get(copy).is_some_and(|entry| entry.paused)
    }

    /// False while the copy has to pay for what it was sent before.
    pub(crate) fn may_send(&self, copy: &CopyName, now: Monotonic) -> bool {
        self.state().copies.get_mut(copy).is_none_or(|entry| entry.bucket.is_open(now))
    }

    /// So many bytes go to the copy now, taken there or not.
    pub(crate) fn sends(&self, copy: &CopyName, bytes: u64, now: Monotonic) {
        self.change(copy, |entry| {
            entry.stats.attempts += 1;
            entry.bucket.take(bytes, now);
        });
    }

    /// The first incident stands: what follows from it says less.
    pub(crate) fn report(&self, incident: Incident) {
        let mut state = self.state();
        state.incident.get_or_insert(incident);
        drop(state);
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(crate) fn incident(&self) -> Option<Incident> {
        self.state().incident.clone()
    }

    pub(crate) fn states(&self) -> Vec<CopyState> {
        self.state().copies.values().map(|entry| entry.state.clone()).collect()
    }

    pub(crate) fn next_numbers(&self) -> Vec<(CopyName, Option<u64>)> {
        self.state().copies.iter().map(|(name, entry)| (name.clone(), entry.next)).collect()
    }
}

/// What a shipper knows of the copies, for whoever measures or waits.
#[derive(Debug, Clone)]
pub struct ShipView {
    board: Arc<Board>,
    policy: SyncPolicy,
    gate: Gate,
    clock: Arc<dyn Clock>,
}

/// What [`ShipView::admit`] goes by.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    pub(crate) stream: StreamId,
    pub(crate) when_full: SpoolFull,
    pub(crate) bytes_max: u64,
}

impl ShipView {
    pub(crate) fn new(board: Arc<Board>, policy: SyncPolicy, gate: Gate, clock: Arc<dyn Clock>) -> Self {
        Self { board, policy, gate, clock }
    }

    /// Bounds the bytes of batches per second that `copy` is sent, from now on; `None` lifts the bound. Lost when the
    /// shipper is opened again: what `bandwidth-max` says holds then.
    ///
    /// # Errors
    /// `NotFound` if there is no such copy, `Invalid` below 1 KiB per second.
    pub fn set_bandwidth_max(&self, copy: &CopyName, rate: Option<ByteSize>) -> Result<(), ReplicationError> {
        if let Some(small) = rate.filter(|rate| rate.get() < 1 << 10) {
            let why = format!("bandwidth-max of copy {copy} is {small} per second: at least 1KiB");
            return Err(ReplicationError::Invalid(why));
        }
        let now = self.clock.monotonic();
        let mut state = self.board.state();
        let unknown = || ReplicationError::NotFound(format!("there is no copy {copy}"));
        state.copies.get_mut(copy).ok_or_else(unknown)?.bucket.set_rate(rate, now);
        Ok(())
    }

    /// What `copy` took; `None` if there is no such copy.
    pub fn stats(&self, copy: &CopyName) -> Option<CopyStats> {
        self.board.state().copies.get(copy).map(|entry| entry.stats.clone())
    }

    /// The spool as of the last step.
    pub fn spool(&self) -> SpoolStats {
        self.board.state().spool
    }

    /// To be asked before an append by a program that wants the bound of the spool to bound its log too: returns at once
    /// while there is room. While there is none it waits (`spool-full = "block"`) or fails (`"refuse"`). The shipper never
    /// holds the log by itself, and what was appended stays in the log until it is shipped.
    ///
    /// # Errors
    /// `SpoolFull`, kind `Busy`; with `block` only if the spool is full and the shipper is gone or met what ends it.
    pub async fn admit(&self) -> Result<(), ReplicationError> {
        let mut changes = self.changes();
        loop {
            changes.mark_unchanged();
            let (spool, over) = {
                let state = self.board.state();
                (state.spool, state.stopped || state.incident.is_some())
            };
            if spool.full_since.is_none() {
                return Ok(());
            }
            let lost = over || self.gate.when_full == SpoolFull::Refuse || changes.changed().await.is_err();
            if lost {
                let Gate { stream, bytes_max, .. } = self.gate.clone();
                return Err(ReplicationError::SpoolFull { stream, bytes: spool.bytes, bytes_max });
            }
        }
    }

    /// Each copy's log cursor with its evidence.
    pub fn states(&self) -> Vec<CopyState> {
        self.board.states()
    }

    /// Everything before this is durable in as many copies as the sync policy asks for; `None` until that is known.
    pub fn protected(&self) -> Option<Position> {
        let counted =
            |state: CopyState| if self.policy.counts(&state.name) { state.log.position } else { None };
        let mut positions: Vec<Position> = self.states().into_iter().filter_map(counted).collect();
        positions.sort_unstable_by_key(|position| Reverse(position.lsn));
        positions.get(self.policy.needed() - 1).copied()
    }

    /// True once a newer writer was met: nothing will be protected any more.
    pub fn is_fenced(&self) -> bool {
        matches!(self.board.incident(), Some(Incident::Fenced { .. }))
    }

    /// Wakes whenever anything here may have changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.board.changed.subscribe()
    }
}
