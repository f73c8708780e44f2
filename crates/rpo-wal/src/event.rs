//! What a person or a manager should know of at once.

use std::fmt;
use std::time::Duration;

use rpo_core::time::ClockAnomaly;

use crate::engine::Engine;

/// Something happened to the log that whoever watches it should know of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WalEvent {
    /// A write or sync has not come back for longer than `stall-after`: nothing is acknowledged meanwhile.
    Stalled {
        /// How long it has taken so far.
        elapsed: Duration,
    },
    /// A write or sync came back that had taken longer than `stall-after`.
    Resumed {
        /// How long it took.
        took: Duration,
    },
    /// A write or sync failed: the log refuses writes until it is opened again.
    Poisoned {
        /// What failed.
        cause: String,
    },
    /// No spare segment could be prepared: once the one in use is full, appends are refused.
    NoSpare {
        /// What the system said.
        cause: String,
    },
    /// Spare segments can be prepared again.
    SpareBack,
    /// The wall clock stepped by more than `clock-skew-max`; the log records it, and commit times do not step back.
    ClockStepped(ClockAnomaly),
    /// The control file cannot be written: rot of the last group may look like a torn write until the log is opened again.
    WitnessLost {
        /// What the system said.
        cause: String,
    },
}

impl fmt::Display for WalEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stalled { elapsed } => write!(f, "a write or sync has not come back for {elapsed:?}"),
            Self::Resumed { took } => write!(f, "a write or sync came back after {took:?}"),
            Self::Poisoned { cause } => write!(f, "the log refuses writes since a failure: {cause}"),
            Self::NoSpare { cause } => write!(f, "no spare segment could be prepared: {cause}"),
            Self::SpareBack => f.write_str("spare segments can be prepared again"),
            Self::ClockStepped(ClockAnomaly { expected, found }) => {
                write!(f, "the wall clock says {found}, expected was {expected}")
            }
            Self::WitnessLost { cause } => write!(f, "the control file cannot be written: {cause}"),
        }
    }
}

/// Who is told.
pub(crate) type EventListener = Box<dyn Fn(&WalEvent) + Send + Sync>;

impl Engine {
    /// Tells everybody who listens. No lock of the state is held.
    pub(crate) fn tell_event(&self, event: &WalEvent) {
        let listeners = self.event_listeners.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        for listener in listeners.iter() {
            listener(event);
        }
    }
}
