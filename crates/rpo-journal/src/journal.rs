//! The journal as programs see it: opened over a log, asked what it covers, trimmed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rpo_core::frame::CommitDraft;
use rpo_core::objective::AckLevel;
use rpo_core::{Clock, LogId, Lsn, Monotonic, Position, Timestamp};
use rpo_wal::{Drive, Log};

use crate::config::{JournalConfig, LogUse};
use crate::error::JournalError;
use crate::ledger::{Coverage, Ledger, Plan};
use crate::notice::{JournalEvent, Listener, Listeners};
use crate::record::Pending;
use crate::stamp::Stamp;

/// Changes a transaction may have: what fits in one commit of the log beside the stamp.
pub const EVENTS_PER_TRANSACTION_MAX: u32 = 65_534;

/// What a journal stands on, given in from outside.
#[derive(Debug)]
pub struct JournalParts {
    /// The log, open.
    pub log: Log,
    /// Its identity, as its `RecoveryReport` says: cursors of targets are bound to it.
    pub id: LogId,
    /// How the log is driven: with `Manual`, blocking calls of the journal step it.
    pub drive: Drive,
    /// What time it is; the same clock as the log's.
    pub clock: Arc<dyn Clock>,
    /// Number of the first event, if the log has lost its beginning and holds nothing of the journal. `None` refuses to
    /// open such a log: numbers already given would be given again.
    pub begin_at: Option<u64>,
}

impl JournalParts {
    /// A journal on `log`, opened with `report`.
    pub fn new(log: Log, report: &rpo_wal::RecoveryReport, drive: Drive, clock: Arc<dyn Clock>) -> Self {
        Self { log, id: report.log, drive, clock, begin_at: None }
    }
}

/// Counts since the journal was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct JournalStats {
    /// Transactions accepted.
    pub transactions: u64,
    /// Events accepted.
    pub recorded: u64,
    /// Transactions refused because the journal was full.
    pub refused: u64,
    /// Events that left the window.
    pub expired: u64,
    /// Events dropped within the window.
    pub lost: u64,
}

/// What a call of [`Journal::trim`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrimReport {
    /// Events that left the window.
    pub expired: u64,
    /// Events dropped within the window.
    pub lost: u64,
    /// The journal needs nothing of the log before this.
    pub needed_from: Lsn,
    /// Segments released; always 0 with `log-use = "shared"`.
    pub segments_released: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) transactions: AtomicU64,
    pub(crate) recorded: AtomicU64,
    pub(crate) refused: AtomicU64,
    expired: AtomicU64,
    lost: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) ledger: Ledger,
    /// Accepted by the log, without a verdict yet.
    pub(crate) pending: std::collections::VecDeque<Pending>,
    /// Where the newest stamp is: the log must keep it, because it holds the numbers.
    pub(crate) newest_stamp: Lsn,
    pub(crate) broken: Option<String>,
    pub(crate) refusing: bool,
    untold: u64,
    short: bool,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) log: Log,
    pub(crate) id: LogId,
    pub(crate) drive: Drive,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) config: JournalConfig,
    pub(crate) state: Mutex<State>,
    pub(crate) listeners: Listeners,
    pub(crate) counters: Counters,
    opened: (Timestamp, Monotonic),
}

/// A journal of change events over a log. Clones share it. One journal per log: two would give the same numbers.
///
/// It ends with the log: close that. Nothing of the journal is lost by not closing.
#[derive(Debug, Clone)]
pub struct Journal {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Journal {
    /// Opens the journal in the log: reads it through, finds the numbers and the coverage it had, and lets go what the
    /// limits no longer allow. `listener` hears of coverage lost from the first moment on.
    ///
    /// # Errors
    /// Kind `Invalid`: the configuration. `Refused`: the log has lost its beginning and holds nothing of the journal.
    /// `Corrupt`: the journal's commits are not what it wrote. Else as [`Log::replay`] and [`Log::append`].
    pub fn open(
        parts: JournalParts,
        config: JournalConfig,
        listener: Option<Listener>,
    ) -> Result<Self, JournalError> {
        config.validate()?;
        let (ledger, newest_stamp) = crate::read::survey(&parts)?;
        let state = State {
            ledger,
            pending: Default::default(),
            newest_stamp,
            broken: None,
            refusing: false,
            untold: 0,
            short: false,
        };
        let opened = (parts.clock.wall(), parts.clock.monotonic());
        let JournalParts { log, id, drive, clock, .. } = parts;
        let (state, counters, listeners) = (Mutex::new(state), Counters::default(), Listeners::default());
        let inner = Inner { log, id, drive, clock, config, state, listeners, counters, opened };
        let journal = Self { inner: Arc::new(inner) };
        if let Some(listener) = listener {
            journal.on_event(listener);
        }
        let now = journal.now();
        let mut events = Vec::new();
        let mut state = locked(&journal.inner.state);
        state.short = state.ledger.coverage(now, Lsn::MAX, &journal.inner.config).is_short;
        if let Some(plan) = state.ledger.plan_released(now, &journal.inner.config) {
            journal.inner.note(&mut state, &plan, now, &mut events)?;
        }
        drop(state);
        journal.inner.listeners.tell(&events);
        journal.trim()?;
        Ok(journal)
    }

    /// Has `listener` hear what the journal and its targets tell from now on.
    pub fn on_event(&self, listener: Listener) {
        self.inner.listeners.add(listener);
    }

    /// The time that limits are judged by: the wall clock, but not further on than the steady clock allows since the
    /// journal was opened, so that a wall clock that jumps ahead makes nothing give way.
    pub fn now(&self) -> Timestamp {
        self.inner.now()
    }

    /// What the journal covers now, of what is durable. What has left the window and was not trimmed yet is still covered.
    pub fn coverage(&self) -> Coverage {
        let now = self.now();
        let mut state = locked(&self.inner.state);
        state.absorb();
        state.ledger.coverage(now, self.inner.log.durable().lsn, &self.inner.config)
    }

    /// Number of the next event.
    pub fn next_event(&self) -> u64 {
        locked(&self.inner.state).ledger.next
    }

    /// Lets go what the limits no longer allow, and releases segments of the log that hold nothing needed, if the log is
    /// the journal's own. What is dropped is first made durable in a note, then told. Recording does the former too, and
    /// never the latter: call this every minute or so.
    ///
    /// # Errors
    /// As [`Log::append`] and [`Log::release`]. After an error nothing has become uncovered, but perhaps released.
    pub fn trim(&self) -> Result<TrimReport, JournalError> {
        let inner = &*self.inner;
        let now = self.now();
        let mut events = Vec::new();
        let mut state = locked(&inner.state);
        state.absorb();
        // Writing: what is to give way is not in the log yet, so next time will do. Nothing is incoming: never full.
        let plan = match state.ledger.plan(now, 0, &inner.config) {
            Err(JournalError::Writing) => None,
            other => Some(other?),
        };
        let (mut expired, mut lost) = (0, 0);
        if let Some(plan) = plan.filter(|plan| !plan.is_nothing()) {
            (expired, lost) = (plan.newly_expired, plan.newly_lost);
            inner.note(&mut state, &plan, now, &mut events)?;
        } else {
            inner.judge(&mut state, now, &mut events);
        }
        let needed_from =
            state.ledger.marks.front().map_or(state.newest_stamp, |mark| mark.lsn.min(state.newest_stamp));
        drop(state);
        inner.listeners.tell(&events);
        let segments_released =
            if inner.config.log_use == LogUse::Own { inner.log.release(needed_from)? } else { 0 };
        Ok(TrimReport { expired, lost, needed_from, segments_released })
    }

    /// Makes everything recorded so far durable; returns where that ends.
    ///
    /// # Errors
    /// As [`Log::sync`].
    pub fn sync(&self) -> Result<Position, JournalError> {
        Ok(self.inner.log.sync()?)
    }

    /// The log.
    pub fn log(&self) -> &Log {
        &self.inner.log
    }

    /// Counts since the journal was opened.
    pub fn stats(&self) -> JournalStats {
        let counters = &self.inner.counters;
        let read = |n: &AtomicU64| n.load(Ordering::Relaxed);
        JournalStats {
            transactions: read(&counters.transactions),
            recorded: read(&counters.recorded),
            refused: read(&counters.refused),
            expired: read(&counters.expired),
            lost: read(&counters.lost),
        }
    }

    /// Durable events after `event`: how many, and the commit time of the first.
    pub(crate) fn behind(&self, event: u64) -> (u64, Option<Timestamp>) {
        let mut state = locked(&self.inner.state);
        state.absorb();
        let ledger = &state.ledger;
        let coverage = ledger.coverage(Timestamp::EPOCH, self.inner.log.durable().lsn, &self.inner.config);
        let last = coverage.to.map_or(ledger.dropped.event, |to| to.event);
        let events = last.saturating_sub(event);
        let first = (event + 1).max(ledger.dropped.event + 1);
        let oldest = ledger.holding(first).filter(|_| events > 0).map(|mark| mark.time);
        (events, oldest)
    }
}

impl State {
    /// Takes the verdicts of the log that are there.
    pub(crate) fn absorb(&mut self) {
        while let Some((pending, verdict)) = self.pending.front().and_then(|p| Some((p, p.ticket.poll()?))) {
            match verdict {
                Ok(appended) => {
                    self.newest_stamp = appended.lsn;
                    self.ledger.tail = appended.end.lsn;
                    let mark = pending.mark(&appended);
                    self.ledger.marks.push_back(mark);
                    self.pending.pop_front();
                }
                Err(error) => {
                    self.broken.get_or_insert_with(|| error.to_string());
                    self.pending.clear();
                }
            }
        }
    }
}

impl Inner {
    pub(crate) fn now(&self) -> Timestamp {
        let (wall, steady) = self.opened;
        self.clock.wall().min(wall.saturating_add(self.clock.monotonic().since(steady)))
    }

    /// Makes a change of coverage durable, then true, then has it told.
    fn note(
        &self,
        state: &mut State,
        plan: &Plan,
        now: Timestamp,
        events: &mut Vec<JournalEvent>,
    ) -> Result<(), JournalError> {
        let stamp = Stamp { first: state.ledger.next, count: 0, dropped: plan.dropped, lost: plan.lost };
        let draft = CommitDraft::one(stamp.encode().to_vec());
        let appended = self.log.append(draft, AckLevel::Durable)?;
        state.absorb(); // what was accepted before it has its verdict now, and comes first
        self.drop_planned(state, plan, now, events);
        if state.pending.is_empty() {
            state.newest_stamp = appended.lsn;
            state.ledger.tail = state.ledger.tail.max(appended.end.lsn);
        }
        Ok(())
    }

    /// Drops what was planned, and adds what is to be told of it.
    pub(crate) fn drop_planned(
        &self,
        state: &mut State,
        plan: &Plan,
        now: Timestamp,
        events: &mut Vec<JournalEvent>,
    ) {
        state.ledger.apply(plan);
        self.counters.expired.fetch_add(plan.newly_expired, Ordering::Relaxed);
        self.counters.lost.fetch_add(plan.newly_lost, Ordering::Relaxed);
        state.untold += plan.newly_lost;
        self.judge(state, now, events);
    }

    /// Adds what is to be told of coverage: losses when they begin and from time to time, and when they are over.
    fn judge(&self, state: &mut State, now: Timestamp, events: &mut Vec<JournalEvent>) {
        let was_short = state.short;
        let Some(lost) = state.ledger.lost else { return };
        state.short = state.ledger.coverage(now, Lsn::MAX, &self.config).is_short;
        let often = (self.config.events_max / 100).max(1);
        if state.untold >= often || (state.untold > 0 && !was_short) {
            let dropped = state.ledger.dropped;
            events.push(JournalEvent::CoverageLost {
                events: std::mem::take(&mut state.untold),
                lost,
                dropped,
            });
        }
        if was_short && !state.short {
            events.push(JournalEvent::CoverageWhole { lost });
        }
    }
}
