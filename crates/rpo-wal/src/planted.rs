//! Faults to be switched on in tests, so that a suite can show that it would catch them. Never in a release.

use std::cell::Cell;

macro_rules! bugs {
    ($($name:ident = $bit:literal, $caught_by:literal, $what:literal;)*) => {
        /// A fault of the log that once was somebody's real one.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Bug {
            $(#[doc = $what] $name = $bit,)*
        }

        impl Bug {
            /// All of them.
            pub const ALL: &'static [Bug] = &[$(Bug::$name,)*];

            /// What it breaks.
            pub const fn what(self) -> &'static str {
                match self { $(Self::$name => $what,)* }
            }

            /// The test target that catches it.
            pub const fn caught_by(self) -> &'static str {
                match self { $(Self::$name => $caught_by,)* }
            }
        }
    };
}

// Each has a number of its own: the place of its bit.
bugs! {
    AckBeforeSync = 0, "sim_planted", "Tells waiters that their group is durable before it is synced.";
    RetriedFsync = 1, "sim_planted", "Calls a failed sync again on the same file, and believes the second answer.";
    NoDirSync = 2, "sim_planted", "Leaves out the syncs of the directory.";
    AckOnFailedSync = 3, "sim_planted", "Tells waiters that all is well, then poisons the log because it is not.";
    ReusedSalt = 4, "sim_planted", "A segment that is used again keeps its salt.";
    NotZeroed = 5, "sim_planted", "A segment that is used again keeps what it held.";
    TornOffByOne = 6, "sim_planted", "Looks one sector too far for one that is zero, and so takes rot for a torn write.";
    SpareUnsynced = 7, "sim_planted", "Names a spare before it is synced.";
    BindBeforeSync = 8, "sim_planted", "Binds a segment before the last sync of the one before.";
    DurableLsnAhead = 9, "sim_planted", "A frame says that what was written before it is durable.";
    ControlAhead = 10, "sim_planted", "The control file says that what was accepted is durable.";
    NoRepersist = 11, "sim_planted", "Opening believes what it reads, proven or not.";
    Untold = 12, "sim_planted", "Futures and callbacks are not told.";
    SequenceReused = 13, "sim_planted", "Opening gives out the last number again.";
    RecycledBeforeDirSync = 14, "sim_planted", "Overwrites a released segment before its new name is durable.";
    ClosedFlagKept = 15, "sim_planted", "Opening leaves the control file saying that the log is closed.";
    ReleaseUnsaid = 16, "sim_planted", "Removes segments before the control file says that the log begins later.";
    ReleaseTooMuch = 17, "sim_planted", "Releases the segment that holds the limit.";
    TimeForgotten = 18, "sim_planted", "Opening forgets the time of the last commit.";
    ReleasedReadAsWritten = 19, "sim_planted", "A reader takes what a released segment holds now for damage.";
    LostWakeup = 20, "schedules", "Threads that wait for a group are not woken.";
    NoHandOver = 21, "schedules", "Who has flushed leaves the group that gathered meanwhile to nobody.";
    SealTrusted = 22, "seek", "Uses what a seal says without looking at the frame it points to.";
    SealOfAnother = 23, "seek", "Takes a seal for that of the segment beside it, whatever segment it was made of.";
    TimeOffByOne = 24, "seek", "Seeks a time with `<` where `<=` was asked for.";
}

thread_local! {
    static PLANTED: Cell<u64> = const { Cell::new(0) };
}

/// Plants `bug` in every log that this thread opens from now on.
pub fn set(bug: Bug) {
    PLANTED.set(PLANTED.get() | bit(bug));
}

/// Logs that this thread opens from now on have no planted bugs.
pub fn clear() {
    PLANTED.set(0);
}

/// What the log being opened by this thread gets.
pub(crate) fn planted() -> Planted {
    Planted(PLANTED.get())
}

/// What opening found, as a log with bugs takes it.
pub(crate) fn spoil(findings: &mut crate::recover::Findings) {
    if planted().has(Bug::NoRepersist) {
        findings.unproven = None;
    }
    if planted().has(Bug::SequenceReused) {
        findings.end.seq = rpo_core::Sequence::new(findings.end.seq.get().saturating_sub(1));
    }
}

fn bit(bug: Bug) -> u64 {
    1 << bug as u64
}

/// The faults of one log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Planted(u64);

impl Planted {
    pub(crate) fn has(self, bug: Bug) -> bool {
        self.0 & bit(bug) != 0
    }
}
