//! One target's way through the journal: read a batch, apply it, move the cursor. A step function; who drives it is not
//! its business.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::Duration;

use rpo_core::{Entropy, Monotonic, SourceId};

use crate::config::FanoutConfig;
use crate::cursor::CursorFile;
use crate::error::{Asked, JournalError};
use crate::event::ChangeEvent;
use crate::journal::{Journal, locked};
use crate::notice::JournalEvent;
use crate::read::{Reader, Recorded};
use crate::target::{Target, TargetError, TargetState, TargetStatus, TargetStep};

/// What others see of a target while it works.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) state: TargetState,
    pub(crate) applied: u64,
    events: u64,
    batches: u64,
    failures: u64,
    is_lagging: bool,
}

/// A target, its cursor, and the batch it is at. Locked while it applies.
pub(crate) struct Worker {
    pub(crate) target: Box<dyn Target>,
    pub(crate) cursor: CursorFile,
    reader: Option<Reader>,
    /// Read, and too much for the batch before.
    held: Option<Recorded>,
    batch: Vec<ChangeEvent>,
    attempts: u32,
    retry_at: Option<Monotonic>,
}

pub(crate) struct Lane {
    pub(crate) name: SourceId,
    pub(crate) worker: Mutex<Worker>,
    pub(crate) standing: Mutex<Standing>,
}

impl Worker {
    /// Forgets what was read: the next step begins after the cursor.
    pub(crate) fn start_over(&mut self) {
        (self.reader, self.held, self.attempts, self.retry_at) = (None, None, 0, None);
        self.batch.clear();
    }

    /// Fills the batch with whole transactions after the cursor.
    fn fill(&mut self, journal: &Journal, config: &FanoutConfig) -> Result<(), JournalError> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => none.insert(Reader::since(journal, Asked::Event(self.cursor.last.event + 1))?),
        };
        let (mut bytes, limit) = (0, config.batch_bytes.get());
        let done = self.cursor.last.event;
        loop {
            let next = match self.held.take() {
                Some(held) => Some(held),
                None => reader.next()?,
            };
            let Some(next) = next else { return Ok(()) };
            bytes += next.events.iter().map(size).sum::<u64>();
            let events = self.batch.len() + next.events.len();
            if !self.batch.is_empty() && (events > config.batch_events as usize || bytes > limit) {
                self.held = Some(next);
                return Ok(());
            }
            // A cursor that was set within a transaction is honoured.
            self.batch.extend(next.events.into_iter().filter(|event| event.id > done));
        }
    }
}

fn size(event: &ChangeEvent) -> u64 {
    let of = |part: &Option<bytes::Bytes>| part.as_ref().map_or(0, bytes::Bytes::len);
    let change = &event.change;
    (change.key.len() + of(&change.before) + of(&change.after) + of(&event.context)) as u64
}

/// What every step needs beside the lane.
pub(crate) struct Surroundings<'a> {
    pub(crate) journal: &'a Journal,
    pub(crate) config: &'a FanoutConfig,
    pub(crate) entropy: &'a dyn Entropy,
}

impl Surroundings<'_> {
    fn tell(&self, event: JournalEvent) {
        self.journal.inner.listeners.tell(&[event]);
    }

    fn monotonic(&self) -> Monotonic {
        self.journal.inner.clock.monotonic()
    }
}

impl Lane {
    pub(crate) fn new(name: SourceId, target: Box<dyn Target>, cursor: CursorFile) -> Self {
        let state = if cursor.last.paused { TargetState::Paused } else { TargetState::Running };
        let applied = cursor.last.event;
        let standing = Standing { state, applied, events: 0, batches: 0, failures: 0, is_lagging: false };
        let (reader, held, batch, attempts, retry_at) = (None, None, Vec::new(), 0, None);
        let worker = Worker { target, cursor, reader, held, batch, attempts, retry_at };
        Self { name, worker: Mutex::new(worker), standing: Mutex::new(standing) }
    }

    fn is_halted(&self) -> bool {
        matches!(locked(&self.standing).state, TargetState::Paused | TargetState::Failed { .. })
    }

    /// Does one thing: applies one batch, or says why not.
    pub(crate) fn step(&self, around: &Surroundings<'_>) -> TargetStep {
        let mut worker = locked(&self.worker);
        if self.is_halted() {
            return TargetStep::Halted;
        }
        if let Some(at) = worker.retry_at {
            let left = at.since(around.monotonic());
            if !left.is_zero() {
                return TargetStep::Waiting(left);
            }
            worker.retry_at = None;
        }
        if worker.batch.is_empty()
            && let Err(error) = worker.fill(around.journal, around.config)
        {
            worker.start_over();
            return self.fail(around, error.to_string());
        }
        let Some(last) = worker.batch.last().map(|event| event.id) else { return TargetStep::Idle };
        #[cfg(feature = "planted-bugs")]
        if crate::planted::has(crate::planted::Bug::CursorFirst)
            && let Err(error) = worker.cursor.update(last, false)
        {
            return self.fail(around, error.to_string());
        }
        let Worker { target, batch, .. } = &mut *worker;
        let applied = catch_unwind(AssertUnwindSafe(|| target.apply(batch)));
        match applied.unwrap_or_else(|_| Err(TargetError::Unrecoverable("it panicked".to_owned()))) {
            Ok(()) => self.applied(around, &mut worker, last),
            Err(TargetError::Recoverable(reason)) => self.retry(around, &mut worker, reason),
            Err(TargetError::Unrecoverable(reason)) => {
                locked(&self.standing).failures += 1;
                worker.start_over();
                self.fail(around, reason)
            }
        }
    }

    fn applied(&self, around: &Surroundings<'_>, worker: &mut Worker, last: u64) -> TargetStep {
        let paused = locked(&self.standing).state == TargetState::Paused;
        if let Err(error) = worker.cursor.update(last, paused) {
            worker.start_over();
            return self.fail(around, format!("applied up to event {last}, but not noted: {error}"));
        }
        let events = worker.batch.len();
        worker.batch.clear();
        worker.attempts = 0;
        let mut standing = locked(&self.standing);
        standing.applied = last;
        standing.events += events as u64;
        standing.batches += 1;
        if matches!(standing.state, TargetState::Retrying { .. }) {
            standing.state = TargetState::Running;
        }
        TargetStep::Applied(events)
    }

    fn retry(&self, around: &Surroundings<'_>, worker: &mut Worker, reason: String) -> TargetStep {
        worker.attempts += 1;
        let attempts = worker.attempts;
        locked(&self.standing).failures += 1;
        if attempts >= around.config.attempts_max {
            worker.start_over();
            return self.fail(around, format!("{reason} ({attempts} attempts)"));
        }
        let after = wait_before(attempts, around.config, around.entropy);
        worker.retry_at = Some(around.monotonic().plus(after));
        let mut standing = locked(&self.standing);
        if standing.state != TargetState::Paused {
            standing.state = TargetState::Retrying { attempts, reason: reason.clone() };
        }
        drop(standing);
        around.tell(JournalEvent::TargetRetries { target: self.name.to_string(), attempts, after, reason });
        TargetStep::Waiting(after)
    }

    fn fail(&self, around: &Surroundings<'_>, reason: String) -> TargetStep {
        let mut standing = locked(&self.standing);
        standing.state = TargetState::Failed { reason: reason.clone() };
        let applied = standing.applied;
        drop(standing);
        around.tell(JournalEvent::TargetFailed { target: self.name.to_string(), applied, reason });
        TargetStep::Halted
    }

    /// How it stands; never waits for the target.
    pub(crate) fn status(&self, around: &Surroundings<'_>) -> TargetStatus {
        let applied = locked(&self.standing).applied;
        let (lag_events, oldest) = around.journal.behind(applied);
        let now = around.journal.now();
        let lag = oldest.map_or(Duration::ZERO, |oldest| now.since(oldest));
        let standing = locked(&self.standing);
        TargetStatus {
            name: self.name.to_string(),
            state: standing.state.clone(),
            applied: standing.applied,
            lag_events,
            lag,
            is_lagging: standing.is_lagging,
            events: standing.events,
            batches: standing.batches,
            failures: standing.failures,
        }
    }

    /// Tells, once each, when the target falls behind and when it has caught up; never waits for the target.
    pub(crate) fn watch(&self, around: &Surroundings<'_>) {
        let status = self.status(around);
        let lagging = status.lag > around.config.lag_max.get();
        let was = std::mem::replace(&mut locked(&self.standing).is_lagging, lagging);
        let (target, lag, events) = (status.name, status.lag, status.lag_events);
        match (was, lagging) {
            (false, true) => around.tell(JournalEvent::TargetLags { target, lag, events }),
            (true, false) => around.tell(JournalEvent::TargetCaughtUp { target, lag }),
            _ => {}
        }
    }
}

/// The wait after so many failed attempts: doubled each time up to a limit, the second half of it drawn at random, so
/// that targets that failed together do not come back together.
pub(crate) fn wait_before(attempts: u32, config: &FanoutConfig, entropy: &dyn Entropy) -> Duration {
    let doubled = config.retry_after.get().saturating_mul(1 << (attempts - 1).min(30));
    let half = doubled.min(config.retry_after_max.get()) / 2;
    let mut drawn = [0; 4];
    // Without entropy the waits are even: no promise hangs on them.
    let drawn = entropy.fill(&mut drawn).map_or(u32::MAX, |()| u32::from_le_bytes(drawn));
    half + half.mul_f64(f64::from(drawn) / f64::from(u32::MAX))
}
