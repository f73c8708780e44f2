//! The loss window: how much would be lost if a failure domain vanished now, as a bound with a time.
//!
//! Pure arithmetic. [`protected_position`] says how far the copies reach, [`CommitTimeline`] when the first commit past
//! it was acknowledged, [`Evidence`] puts the two together into a [`LossReport`], [`judge`] compares it with a limit.
//! Sources without commits are polled: [`PolledTimeline`]. Whatever is not known makes the answer larger or
//! [`Window::Unknown`], never smaller.

mod copies;
mod moment;
#[cfg(feature = "planted-bugs")]
pub mod planted;
mod polled;
mod report;
mod timeline;

#[cfg(test)]
mod tests;

pub use copies::{
    CheckpointCopy, CopyState, EpochStart, History, HistoryError, LogRun, Protected, protected_checkpoint,
    protected_position,
};
pub use moment::Moment;
pub use polled::{PolledTimeline, SavedScans};
pub use report::{Evidence, LossReport, Window, judge};
pub use timeline::{CommitTimeline, Oldest, SavedTimeline};

/// True while a test has planted `bug`; the product never asks.
#[cfg(feature = "planted-bugs")]
macro_rules! bug {
    ($bug:ident) => {
        $crate::window::planted::is(crate::window::planted::PlantedBug::$bug)
    };
}
#[cfg(not(feature = "planted-bugs"))]
macro_rules! bug {
    ($bug:ident) => {
        false
    };
}
use bug;
