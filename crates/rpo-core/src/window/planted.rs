//! Bugs a test can plant, to see that the property tests notice them. Never compiled into a release.

use std::cell::Cell;

/// A bug of the kind that loss meters have had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlantedBug {
    /// The age is that of the last protected commit, not of the first unprotected one.
    AgeFromLastProtected,
    /// Merged runs keep the newer time.
    MergeKeepsNewer,
    /// What was released or came before a restart counts as safe.
    PastIsSafe,
    /// Copies that are lost with the domain are counted too.
    CountLostCopies,
    /// The newest log position counts, whatever is missing before it.
    IgnoreGaps,
    /// A fenced writer's records past the fork are taken for the current history.
    IgnoreForks,
}

impl PlantedBug {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::AgeFromLastProtected,
        Self::MergeKeepsNewer,
        Self::PastIsSafe,
        Self::CountLostCopies,
        Self::IgnoreGaps,
        Self::IgnoreForks,
    ];
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

pub(super) fn is(bug: PlantedBug) -> bool {
    PLANTED.get() == Some(bug)
}
