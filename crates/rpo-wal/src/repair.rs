//! Mending a damaged log, as far as files go: what is readable around the damage, new segments beside the old ones, and
//! putting them in place so that a crash leaves the old state or the new.
//!
//! Nothing damaged is ever written to or removed: it is given a name that ends in `.damaged-N` and stays as evidence. Where
//! missing frames come from, and whether a loss may be accepted, is decided above (`rpo-recovery`).

mod build;
mod chain;
mod condition;
mod files;
mod look;
mod place;
#[cfg(feature = "planted-bugs")]
pub mod planted;
mod walk;

pub use build::{SegmentBuilder, SegmentSpec};
pub use chain::Chain;
pub use condition::{Condition, ControlState, FileState, Gap, GapEnd, Piece, Run, TailState, examine_dir};
pub use files::Use;
pub use place::{NewControl, Workshop};

/// Name of the file in which repairs are written down, in the directory of the log.
pub const RECORD_NAME: &str = "repairs.jsonl";
