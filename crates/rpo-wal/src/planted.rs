//! Faults to be switched on in tests, so that a suite can show that it would catch them. Never in a release.

use std::cell::Cell;

/// A fault of the log that once was somebody's real one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// Tells waiters that their group is durable before it is synced.
    AckBeforeSync = 1,
    /// Calls a failed sync again on the same file, and believes the second answer.
    RetriedFsync = 2,
    /// Leaves out the syncs of the directory.
    NoDirSync = 4,
    /// Uses what a seal says without looking at the frame it points to.
    SealTrusted = 8,
    /// Takes a seal for that of the segment beside it, whatever segment it was made of.
    SealOfAnother = 16,
    /// Seeks a time with `<` where `<=` was asked for.
    TimeOffByOne = 32,
}

thread_local! {
    static PLANTED: Cell<u32> = const { Cell::new(0) };
}

/// Plants `bug` in every log that this thread opens from now on.
pub fn set(bug: Bug) {
    PLANTED.set(PLANTED.get() | bug as u32);
}

/// Logs that this thread opens from now on have no planted bugs.
pub fn clear() {
    PLANTED.set(0);
}

/// What the log being opened by this thread gets.
pub(crate) fn planted() -> Planted {
    Planted(PLANTED.get())
}

/// The faults of one log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Planted(u32);

impl Planted {
    pub(crate) fn has(self, bug: Bug) -> bool {
        self.0 & bug as u32 != 0
    }
}
