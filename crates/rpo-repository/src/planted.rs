//! Bugs that tests switch on to show that they would be found. Never part of a release: the feature is off by default.

use std::sync::atomic::{AtomicU8, Ordering};

/// One known way to be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// A lost answer is taken for done, without reading back.
    LostAnswerIsDone = 1,
}

static ON: AtomicU8 = AtomicU8::new(0);

/// Switches one bug on for the whole process, or all off.
pub fn plant(bug: Option<Bug>) {
    ON.store(bug.map_or(0, |bug| bug as u8), Ordering::SeqCst);
}

pub(crate) fn is_on(bug: Bug) -> bool {
    ON.load(Ordering::SeqCst) == bug as u8
}
