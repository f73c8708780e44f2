//! Recording: a transaction becomes one commit of the log, its numbers given in the order of the log.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use bytes::Bytes;
use rpo_core::frame::CommitDraft;
use rpo_core::objective::AckLevel;
use rpo_core::{ErrorKind, Lsn, Position, Timestamp, TransactionId};
use rpo_wal::{Appended, Drive, DurablePast, Step, Ticket};

use crate::config::Overrun;
use crate::error::JournalError;
use crate::event::{self, Change, Place};
use crate::journal::{EVENTS_PER_TRANSACTION_MAX, Inner, Journal, locked};
use crate::ledger::Mark;
use crate::notice::JournalEvent;
use crate::stamp::Stamp;

/// Changes that happened together: recorded all or none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transaction {
    /// What happened, in order; 1 to [`EVENTS_PER_TRANSACTION_MAX`].
    pub changes: Vec<Change>,
    /// The program's own transaction number: [`rpo_wal::Log::find_transaction`] finds it.
    pub transaction: Option<TransactionId>,
    /// Who or what caused it.
    pub context: Option<Bytes>,
}

impl Transaction {
    /// These changes together.
    pub fn of(changes: impl IntoIterator<Item = Change>) -> Self {
        Self { changes: changes.into_iter().collect(), ..Self::default() }
    }

    /// With the program's own number.
    #[must_use]
    pub fn with_transaction(mut self, id: TransactionId) -> Self {
        self.transaction = Some(id);
        self
    }

    /// With who or what caused it.
    #[must_use]
    pub fn with_context(mut self, context: impl Into<Bytes>) -> Self {
        self.context = Some(context.into());
        self
    }

    fn check(&self, events_max: u64) -> Result<(), JournalError> {
        let limit = events_max.min(EVENTS_PER_TRANSACTION_MAX.into());
        let found = self.changes.len();
        if found == 0 || found as u64 > limit {
            return Err(JournalError::Size { found, limit });
        }
        for (index, change) in self.changes.iter().enumerate() {
            event::check(change, self.context.as_ref())
                .map_err(|source| JournalError::Change { part: index + 1, source })?;
        }
        Ok(())
    }

    fn draft(&self, stamp: &Stamp) -> CommitDraft {
        let mut records = Vec::with_capacity(1 + self.changes.len());
        records.push(Bytes::copy_from_slice(&stamp.encode()));
        let (transaction, context) = (self.transaction, self.context.as_ref());
        for (part, change) in (1..=stamp.count).zip(&self.changes) {
            let id = stamp.first + u64::from(part) - 1;
            let place = Place { id, part, parts: stamp.count, transaction, context };
            records.push(event::encode(change, &place).into());
        }
        let mut draft = CommitDraft::many(records);
        draft.transaction = self.transaction;
        draft.context = self.context.clone();
        draft
    }
}

impl From<Change> for Transaction {
    fn from(change: Change) -> Self {
        Self::of([change])
    }
}

/// What was recorded, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Number of its first event.
    pub first: u64,
    /// Number of its last event.
    pub last: u64,
    /// Where its commit begins.
    pub lsn: Lsn,
    /// Where the history stands once it is included.
    pub end: Position,
    /// Its commit time.
    pub time: Timestamp,
}

/// Accepted by the log, without a verdict yet.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub(crate) ticket: Ticket,
    first: u64,
    count: u32,
}

impl Pending {
    pub(crate) fn mark(&self, appended: &Appended) -> Mark {
        let (lsn, end, time) = (appended.lsn, appended.end.lsn, appended.time);
        Mark { first: self.first, count: self.count, lsn, end, time }
    }

    fn receipt(&self, appended: &Appended) -> Receipt {
        let last = self.first + u64::from(self.count) - 1;
        Receipt { first: self.first, last, lsn: appended.lsn, end: appended.end, time: appended.time }
    }
}

impl Journal {
    /// Records a transaction, or one change, as one commit, and waits until it reached `level`. On `Ok` at
    /// [`AckLevel::Durable`] it survives a power cut, whole.
    ///
    /// # Errors
    /// Kind `Invalid`, `Refused`, `NoSpace`, `Unsupported`, `Retry`: certainly not recorded. `Unknown`: a write or sync
    /// failed, and it may or may not survive.
    pub fn record(
        &self,
        transaction: impl Into<Transaction>,
        level: AckLevel,
    ) -> Result<Receipt, JournalError> {
        let mut future = self.record_async(transaction, level);
        match self.inner.drive {
            Drive::Thread => wait_parked(future, || ()),
            Drive::Loop => wait_parked(future, || while self.inner.log.step() == Step::Flushed {}),
            Drive::Manual => {
                let mut context = Context::from_waker(Waker::noop());
                let mut idle = 0;
                loop {
                    if let Poll::Ready(result) = Pin::new(&mut future).poll(&mut context) {
                        return result;
                    }
                    let stepped = matches!(self.inner.log.step(), Step::Flushed | Step::Kept);
                    idle = if stepped { 0 } else { idle + 1 };
                    match &future.accepted {
                        None if idle > 2 => {
                            return Err(future.refusal.take().unwrap_or(JournalError::Writing));
                        }
                        Some(_) if idle == 2 => drop(self.inner.log.sync()), // the verdict tells
                        Some(pending) if idle > 3 => {
                            return Err(JournalError::Undecided { first: pending.first });
                        }
                        _ => {}
                    }
                }
            }
        }
    }

    /// [`Journal::record`] as a future; needs no runtime. Nothing is recorded before it is polled; dropping it does not
    /// take back what was.
    pub fn record_async(&self, transaction: impl Into<Transaction>, level: AckLevel) -> RecordFuture {
        let transaction = transaction.into();
        let invalid = transaction.check(self.inner.config.events_max).err();
        let inner = Arc::clone(&self.inner);
        RecordFuture { inner, transaction, level, invalid, accepted: None, refusal: None, news: None }
    }
}

/// A recording under way.
#[derive(Debug)]
#[must_use = "nothing is recorded before it is polled"]
pub struct RecordFuture {
    inner: Arc<Inner>,
    transaction: Transaction,
    level: AckLevel,
    invalid: Option<JournalError>,
    accepted: Option<Pending>,
    /// Why it was not accepted yet.
    refusal: Option<JournalError>,
    /// Wakes whenever the log has news.
    news: Option<DurablePast>,
}

impl Future for RecordFuture {
    type Output = Result<Receipt, JournalError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Some(invalid) = this.invalid.take() {
            return Poll::Ready(Err(invalid));
        }
        loop {
            // Registered before anything is looked at, so that no change in between is missed.
            let log = &this.inner.log;
            let news = this.news.get_or_insert_with(|| log.durable_past(log.durable().lsn));
            if Pin::new(news).poll(cx).is_ready() {
                this.news = None; // asked anew below, if there is still something to wait for
            }
            let outcome = match &this.accepted {
                Some(pending) => pending.ticket.poll().map(|verdict| match verdict {
                    Ok(appended) => Ok(pending.receipt(&appended)),
                    Err(error) => Err(error.into()),
                }),
                None => match this.inner.admit(&this.transaction, &this.level) {
                    Ok(pending) => {
                        this.accepted = Some(pending);
                        continue;
                    }
                    Err(error) if error.kind() == ErrorKind::Retry => {
                        this.refusal = Some(error);
                        None
                    }
                    Err(error) => Some(Err(error)),
                },
            };
            match outcome {
                Some(result) => {
                    locked(&this.inner.state).absorb();
                    return Poll::Ready(result);
                }
                None if this.news.is_some() => return Poll::Pending,
                None if this.inner.log.poisoned().is_some() => {
                    // No more news will come, and this was not accepted.
                    let cause = this.inner.log.poisoned().unwrap_or_default();
                    return Poll::Ready(Err(JournalError::Broken { cause }));
                }
                None => {}
            }
        }
    }
}

impl Inner {
    /// Gives the transaction its numbers and hands it to the log, if the limits and the log allow; never waits.
    fn admit(&self, transaction: &Transaction, level: &AckLevel) -> Result<Pending, JournalError> {
        let now = self.now();
        let mut events = Vec::new();
        let mut state = locked(&self.state);
        state.absorb();
        let result = if let Some(cause) = &state.broken {
            Err(JournalError::Broken { cause: cause.clone() })
        } else {
            self.admit_locked(&mut state, transaction, level, now, &mut events)
        };
        drop(state);
        self.listeners.tell(&events);
        result
    }

    fn admit_locked(
        &self,
        state: &mut crate::journal::State,
        transaction: &Transaction,
        level: &AckLevel,
        now: Timestamp,
        events: &mut Vec<JournalEvent>,
    ) -> Result<Pending, JournalError> {
        let count = u32::try_from(transaction.changes.len()).expect("checked against the most there can be");
        let plan = match state.ledger.plan(now, count.into(), &self.config) {
            Ok(plan) => plan,
            Err(error) => {
                if let JournalError::Full { limit, oldest, .. } = &error {
                    self.counters.refused.fetch_add(1, Ordering::Relaxed);
                    if !std::mem::replace(&mut state.refusing, true) {
                        events.push(JournalEvent::RecordRefused { limit: *limit, oldest: *oldest });
                    }
                }
                return Err(error);
            }
        };
        let first = state.ledger.next;
        let stamp = Stamp { first, count, dropped: plan.dropped, lost: plan.lost };
        let ticket = self.log.submit_at(transaction.draft(&stamp), *level)?;
        let pending = Pending { ticket, first, count };
        state.ledger.next += u64::from(count);
        state.pending.push_back(pending.clone());
        if self.config.overrun == Overrun::Refuse {
            state.refusing = false;
        }
        self.drop_planned(state, &plan, now, events);
        self.counters.transactions.fetch_add(1, Ordering::Relaxed);
        self.counters.recorded.fetch_add(count.into(), Ordering::Relaxed);
        Ok(pending)
    }
}

struct Parked(Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls until it is done; sleeps in between.
/// Polls until it is done; `idle` is done before each wait.
fn wait_parked<T>(mut future: impl Future<Output = T> + Unpin, idle: impl Fn()) -> T {
    let waker = Waker::from(Arc::new(Parked(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(result) = Pin::new(&mut future).poll(&mut context) {
            return result;
        }
        idle();
        std::thread::park_timeout(Duration::from_millis(50));
    }
}
