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
        Engine::outcome(&locked(&self.engine.state), &self.accepted)
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
        // Registered before anything is looked at, so that no change in between is missed.
        let waiter = register(&this.engine, &mut this.waiter, cx);
        let result = loop {
            match &mut this.stage {
                Stage::Refused(error) => break error.take().map_or(Err(WalError::Closed), Err),
                Stage::Encoded(entry, want) => match this.engine.admit(entry, *want) {
                    Ok(accepted) => this.stage = Stage::Accepted(accepted),
                    Err(WalError::Full { .. } | WalError::NotReady) => return Poll::Pending,
                    Err(error) => break Err(error),
                },
                Stage::Accepted(accepted) => {
                    match Engine::outcome(&locked(&this.engine.state), accepted) {
                        Some(outcome) => break outcome,
                        None => return Poll::Pending,
                    };
                }
            }
        };
        locked(&this.engine.state).forget(waiter);
        Poll::Ready(result)
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
