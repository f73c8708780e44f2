//! What events go out to, and how it stands.

use std::time::Duration;

use crate::event::ChangeEvent;

/// Something that takes events: a search index, a cache, a warehouse, a standby.
pub trait Target: Send {
    /// Applies `batch`: whole transactions, in order, each after all that came before.
    ///
    /// *At least once*: after a crash, or after an error, events that were applied may come again, with the same ids and
    /// in the same order, perhaps cut into batches otherwise. A target that keeps the id of the last event it applied, in
    /// the same transaction as its effect, can pass over what it has. What is `Ok` counts as applied for good.
    ///
    /// It may take its time: no other target waits. It should not block for ever: nothing can take it back.
    ///
    /// # Errors
    /// [`TargetError::Recoverable`]: the same batch comes again, later. [`TargetError::Unrecoverable`]: the target is given
    /// nothing more until somebody resumes it.
    fn apply(&mut self, batch: &[ChangeEvent]) -> Result<(), TargetError>;
}

/// Why a target did not take a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It may go better next time.
    #[error("{0}")]
    Recoverable(String),
    /// It will not.
    #[error("{0}")]
    Unrecoverable(String),
}

/// How a target stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TargetState {
    /// It is given events as they become durable.
    Running,
    /// It could not take a batch and will be asked again.
    Retrying {
        /// Attempts so far.
        attempts: u32,
        /// What it said.
        reason: String,
    },
    /// Somebody paused it; remembered across restarts.
    Paused,
    /// It is given nothing more until somebody resumes it; not remembered across restarts.
    Failed {
        /// Why.
        reason: String,
    },
}

/// How a target stands, and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TargetStatus {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub state: TargetState,
    /// Number of the last event applied, 0 for none.
    pub applied: u64,
    /// Durable events not applied.
    pub lag_events: u64,
    /// Age of the oldest of them; zero if there is none.
    pub lag: Duration,
    /// Whether it is further behind than `lag-max`.
    pub is_lagging: bool,
    /// Events applied since it was added.
    pub events: u64,
    /// Batches applied since it was added.
    pub batches: u64,
    /// Attempts that failed since it was added.
    pub failures: u64,
}

/// What a step of a target did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TargetStep {
    /// Applied so many events.
    Applied(usize),
    /// There is nothing to apply.
    Idle,
    /// It waits before it asks again.
    Waiting(Duration),
    /// It is paused or has failed.
    Halted,
}
