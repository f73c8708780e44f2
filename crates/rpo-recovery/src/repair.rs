//! Mending a damaged local log from archive copies: the plan first, then carrying it out.
//!
//! - **Promises**: only frames that join what is there, link by link, are taken; nothing damaged is overwritten or removed;
//!   a crash at any step leaves a log that still refuses to open, or the mended one; no record is given up unless that is
//!   accepted, and then its exact positions are written down and the log goes on in a new epoch, so that no position is
//!   ever held twice.
//! - **Start at** [`ask`], then [`plan_repair`], which is pure, then [`execute_repair`].

mod ask;
mod compare;
mod error;
mod execute;
mod plan;
mod record;

pub use ask::{Answer, Asked, Fill, Part, RepairCopy, ask};
pub use compare::{Comparison, Difference, compare};
pub use error::RepairError;
pub use execute::{RepairOutcome, execute_repair};
pub use plan::{Loss, RepairPlan, SegmentPlan, SourcePart, plan_repair};
pub use record::{RECORD_NAME, pending_epoch};
