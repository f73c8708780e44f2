//! Bugs a test can plant, to see that the stories of restores notice them. Never compiled into a release.

use std::cell::Cell;

/// A bug of the kind that point-in-time recoveries have had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlantedBug {
    /// `<` for `<=`: the commits of exactly the time asked for are left out.
    TimeLeftOut,
    /// The replay goes one commit past where it should end, and says that it did not.
    OneCommitTooMany,
    /// The newest checkpoint is taken, also one past the target.
    BasePastTarget,
    /// Retention keeps the newest base of a stretch instead of the one at or before the window's beginning.
    NewestBaseKept,
}

impl PlantedBug {
    /// All that a restore shows; what retention does wrong is its own tests' to catch.
    pub const ALL: &[Self] = &[Self::TimeLeftOut, Self::OneCommitTooMany, Self::BasePastTarget];
}

thread_local! {
    static PLANTED: Cell<Option<PlantedBug>> = const { Cell::new(None) };
}

/// Runs `body` on this thread with `bug` planted; it is gone afterwards, also when `body` panics.
pub fn with<T>(bug: PlantedBug, body: impl FnOnce() -> T) -> T {
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

pub(crate) fn is(bug: PlantedBug) -> bool {
    PLANTED.get() == Some(bug)
}
