//! Faults of a repair that tests switch on to see that they are caught. Never in a release.

use std::cell::Cell;

/// A fault that would make a repair do harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepairBug {
    /// Frames are taken whatever they follow on.
    ChainUnchecked,
    /// What was damaged is removed instead of kept.
    EvidenceRemoved,
    /// What was damaged is moved away before what replaces it has its name.
    MovedAwayFirst,
    /// The control file goes on saying that the log was closed.
    ControlStaysClosed,
}

thread_local! {
    static PLANTED: Cell<Option<RepairBug>> = const { Cell::new(None) };
}

/// Runs `body` on this thread with `bug` planted; it is gone afterwards, also when `body` panics.
pub fn with<T>(bug: RepairBug, body: impl FnOnce() -> T) -> T {
    struct Remove;
    impl Drop for Remove {
        fn drop(&mut self) {
            PLANTED.set(None);
        }
    }
    let _remove = Remove;
    PLANTED.set(Some(bug));
    body()
}

pub(super) fn is(bug: RepairBug) -> bool {
    PLANTED.get() == Some(bug)
}
