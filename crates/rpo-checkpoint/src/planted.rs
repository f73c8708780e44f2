//! Bugs that tests switch on to show that they would be found. Never part of a release: the feature is off by default.

use std::sync::atomic::{AtomicU8, Ordering};

/// One known way to be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// An incremental manifest does not say what is gone.
    ForgetsRemovals = 1,
    /// Chunks of a session that never committed are used without listing their packs: mirrors never get them.
    UsesPacksOfNobody = 2,
    /// A file that changed while it was read is stored as if it had held still.
    HidesChanges = 3,
    /// Zeros stand in for a chunk that cannot be read.
    SubstitutesZeros = 4,
}

static ON: AtomicU8 = AtomicU8::new(0);

/// Switches one bug on for the whole process, or all off.
pub fn plant(bug: Option<Bug>) {
    ON.store(bug.map_or(0, |bug| bug as u8), Ordering::SeqCst);
}

pub(crate) fn is_on(bug: Bug) -> bool {
    ON.load(Ordering::SeqCst) == bug as u8
}
