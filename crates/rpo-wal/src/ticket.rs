//! Waiting for an accepted commit: by asking, by blocking, or as a future that needs no runtime.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rpo_core::frame::EncodedEntry;
use rpo_core::{Lsn, Position};

use crate::engine::{Appended, Engine};
use crate::error::WalError;
use crate::state::{Accepted, Life, Want};
use crate::sync::locked;

/// A commit that was accepted: it has its place, and what becomes of it can be asked.
#[derive(Debug, Clone)]
pub struct Ticket {
    pub(crate) engine: Arc<Engine>,
    pub(crate) accepted: Accepted,
}

impl Ticket {
    /// Where its first record begins.
    pub fn lsn(&self) -> Lsn {
        self.accepted.lsn
    }

    /// Where the history stands once it is included.
    pub fn end(&self) -> Position {
        self.accepted.end
    }

    /// What became of it, or none if that is not known yet. On `Ok` it reached the level it was submitted at.
    pub fn poll(&self) -> Option<Result<Appended, WalError>> {
        self.engine.look(&self.accepted)
    }
}

/// An append under way. Dropping it does not take the commit back.
#[derive(Debug)]
#[must_use = "nothing is appended before it is polled"]
pub struct AppendFuture {
    engine: Arc<Engine>,
    stage: Stage,
    waiter: Option<u64>,
}

#[derive(Debug)]
enum Stage {
    Refused(Option<WalError>),
    Encoded(EncodedEntry, Want),
    Accepted(Accepted),
}

impl AppendFuture {
    pub(crate) fn new(engine: Arc<Engine>, encoded: Result<(EncodedEntry, Want), WalError>) -> Self {
        let stage = match encoded {
            Ok((entry, want)) => Stage::Encoded(entry, want),
            Err(error) => Stage::Refused(Some(error)),
        };
        Self { engine, stage, waiter: None }
    }
}

impl Future for AppendFuture {
    type Output = Result<Appended, WalError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Stage::Accepted(accepted) = &this.stage {
            return this.engine.poll_accepted(accepted, cx);
        }
        let stage = std::mem::replace(&mut this.stage, Stage::Refused(None));
        let (entry, want) = match stage {
            Stage::Encoded(entry, want) => (entry, want),
            Stage::Refused(error) => return Poll::Ready(Err(error.unwrap_or(WalError::Closed))),
            Stage::Accepted(_) => return Poll::Ready(Err(WalError::Closed)), // never: seen above
        };
        let waits = this.waiter.is_some();
        if waits {
            register(&this.engine, &mut this.waiter, cx); // before it is tried, so that no change in between is missed
        }
        let admitted = this.engine.admit_and(&entry, want, |state, accepted| {
            if let Some(queue) = state.queue_of(accepted.want) {
                queue.wake_at(accepted.end.lsn, cx.waker());
            }
        });
        match admitted {
            Ok(accepted) => {
                if let Some(waiter) = this.waiter.take() {
                    locked(&this.engine.state).forget(waiter);
                }
                let done = this.engine.look(&accepted);
                this.stage = Stage::Accepted(accepted);
                done.map_or(Poll::Pending, Poll::Ready)
            }
            Err(WalError::Full { .. } | WalError::NotReady) => {
                this.stage = Stage::Encoded(entry, want);
                if !waits {
                    register(&this.engine, &mut this.waiter, cx);
                    this.engine.upkeep.notify_one();
                    cx.waker().wake_by_ref(); // once more, now that no change is missed
                }
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl Engine {
    fn poll_accepted(&self, accepted: &Accepted, cx: &Context<'_>) -> Poll<Result<Appended, WalError>> {
        if let Some(done) = self.look(accepted) {
            return Poll::Ready(done);
        }
        let mut state = locked(&self.state);
        if let Some(done) = Self::outcome(&state, accepted) {
            return Poll::Ready(done);
        }
        if let Some(queue) = state.queue_of(accepted.want) {
            queue.wake_at(accepted.end.lsn, cx.waker());
        }
        Poll::Pending
    }
}

fn register(engine: &Engine, waiter: &mut Option<u64>, cx: &Context<'_>) -> u64 {
    let mut state = locked(&engine.state);
    let waiter = *waiter.get_or_insert_with(|| state.waiter());
    state.register(waiter, cx.waker());
    waiter
}

impl Drop for AppendFuture {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter {
            locked(&self.engine.state).forget(waiter);
        }
        if let Stage::Accepted(accepted) = &self.stage
            && self.engine.look(accepted).is_none()
            && let Some(queue) = locked(&self.engine.state).queue_of(accepted.want)
        {
            queue.forget(accepted.end.lsn);
        }
    }
}

/// Resolves once the log is durable past a position.
#[derive(Debug)]
#[must_use = "it waits only while it is polled"]
pub struct DurablePast {
    pub(crate) engine: Arc<Engine>,
    pub(crate) past: Lsn,
    pub(crate) waiter: Option<u64>,
}

impl Future for DurablePast {
    type Output = Result<Position, WalError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let waiter = register(&this.engine, &mut this.waiter, cx);
        let mut state = locked(&this.engine.state);
        let result = if state.durable.lsn > this.past {
            Ok(state.durable)
        } else {
            match &state.life {
                Life::Running | Life::Closing => return Poll::Pending,
                Life::Closed => Err(WalError::Closed),
                Life::Poisoned(cause) => Err(WalError::Poisoned { cause: cause.clone() }),
            }
        };
        state.forget(waiter);
        Poll::Ready(result)
    }
}

impl Drop for DurablePast {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter {
            locked(&self.engine.state).forget(waiter);
        }
    }
}
