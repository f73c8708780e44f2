//! What a person or a program can ask for, with results as data: the command line only shows them.

mod checkpoint;
mod restore;
mod status;
mod verify;
mod wal;

pub use checkpoint::{CheckpointReport, CheckpointRequest, checkpoint};
pub use restore::{
    PointsReport, RestoreReport, RestoreRequest, Unreadable, leftovers, marker_of, plan, points, restore,
};
pub use status::{status, survey};
pub use verify::{CopyVerdict, Finding, VerifyOutcome, VerifyRequest, verify};
pub use wal::{wal_compare, wal_condition, wal_copies, wal_plan, wal_repair};
