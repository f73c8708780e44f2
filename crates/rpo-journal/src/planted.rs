//! Faults to be switched on in tests, so that a suite can show that it would catch them. Never in a release.

use std::cell::Cell;

/// A fault that a journal could have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// Coverage is kept in memory only: a restart forgets what was dropped.
    ForgetLoss = 1,
    /// Asked for what is gone, it answers with what is left.
    SilentGap = 2,
    /// A target's cursor moves before the events are applied.
    CursorFirst = 4,
    /// A replay to a time goes one commit too far.
    OneTooMany = 8,
}

thread_local! {
    static PLANTED: Cell<u8> = const { Cell::new(0) };
}

/// Plants `bug` in whatever this thread does from now on.
pub fn set(bug: Bug) {
    PLANTED.set(PLANTED.get() | bug as u8);
}

/// No planted bugs on this thread from now on.
pub fn clear() {
    PLANTED.set(0);
}

pub(crate) fn has(bug: Bug) -> bool {
    PLANTED.get() & bug as u8 != 0
}
