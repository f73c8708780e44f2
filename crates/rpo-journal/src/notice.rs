//! What the journal tells by itself, and to whom.

use std::fmt;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use rpo_core::Timestamp;

use crate::stamp::{Dropped, Lost};

/// Something that somebody should know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum JournalEvent {
    /// Events within the window are no longer covered. Told when it begins, then whenever a hundredth of `events-max` more
    /// was lost; the exact count is always in [`Lost`] and in the statistics.
    CoverageLost {
        /// Events lost since this was told last.
        events: u64,
        /// All that was lost so far.
        lost: Lost,
        /// Where coverage ends now.
        dropped: Dropped,
    },
    /// The window is whole again.
    CoverageWhole {
        /// What was lost before.
        lost: Lost,
    },
    /// A full journal refused to record. Told once, until it takes something again.
    RecordRefused {
        /// `events-max`.
        limit: u64,
        /// The oldest event, which leaves first.
        oldest: Timestamp,
    },
    /// A target could not take a batch and will be asked again.
    TargetRetries {
        /// Its name.
        target: String,
        /// Attempts at this batch so far.
        attempts: u32,
        /// When it will be asked again.
        after: Duration,
        /// What it said.
        reason: String,
    },
    /// A target has failed: it is given nothing more until somebody says so.
    TargetFailed {
        /// Its name.
        target: String,
        /// The last event it applied.
        applied: u64,
        /// Why.
        reason: String,
    },
    /// A target is further behind than `lag-max`. Told once, until it has caught up.
    TargetLags {
        /// Its name.
        target: String,
        /// Age of the oldest event it has not applied.
        lag: Duration,
        /// Events it has not applied.
        events: u64,
    },
    /// It no longer is.
    TargetCaughtUp {
        /// Its name.
        target: String,
        /// Age of the oldest event it has not applied.
        lag: Duration,
    },
}

/// Hears what the journal tells. It must return soon and must not call the journal.
pub type Listener = Box<dyn Fn(&JournalEvent) + Send + Sync>;

/// Whoever listens.
#[derive(Default)]
pub(crate) struct Listeners(RwLock<Vec<Listener>>);

impl Listeners {
    pub(crate) fn add(&self, listener: Listener) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(listener);
    }

    /// Tells everybody; no lock of the journal is held meanwhile.
    pub(crate) fn tell(&self, events: &[JournalEvent]) {
        let listeners = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            tracing::debug!(?event, "journal");
            listeners.iter().for_each(|listener| listener(event));
        }
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listeners")
    }
}
