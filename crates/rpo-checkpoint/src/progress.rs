//! How long work tells where it is, and how it is stopped.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::CheckpointError;

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Walking the source, reading, storing. Counts entries.
    Capture,
    /// Storing what is left, the index and the manifest. Counts objects.
    Commit,
    /// Reading manifests. Counts entries.
    Plan,
    /// Reading packs and writing contents. Counts chunks.
    Restore,
    /// Applying what came after the checkpoint (recovery's part). Counts bytes.
    Replay,
    /// Checking objects. Counts objects.
    Verify,
    /// Reading the tables of packs. Counts packs.
    Rebuild,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Capture => "capture",
            Self::Commit => "commit",
            Self::Plan => "plan",
            Self::Restore => "restore",
            Self::Replay => "replay",
            Self::Verify => "verify",
            Self::Rebuild => "rebuild",
        })
    }
}

/// How far a phase has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progressed {
    /// What is being done.
    pub phase: Phase,
    /// Units done; what is counted depends on the phase.
    pub done: u64,
    /// Units there are, once that is known.
    pub total: Option<u64>,
    /// Bytes of content handled so far.
    pub bytes: u64,
}

/// Is told where long work stands. Called often and from several threads: implementations must be quick.
pub trait Progress: Send + Sync {
    /// Takes the news.
    fn update(&self, progressed: Progressed);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn update(&self, _progressed: Progressed) {}
}

/// Stops long work from another thread or a signal handler. Clones stop together.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Not asked to stop.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the work to stop; it ends with [`CheckpointError::Cancelled`] at the next safe moment.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// # Errors
    /// `Cancelled` once it was asked to stop.
    pub(crate) fn check(&self) -> Result<(), CheckpointError> {
        if self.is_cancelled() { Err(CheckpointError::Cancelled) } else { Ok(()) }
    }
}
