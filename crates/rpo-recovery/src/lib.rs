//! Choosing and restoring: the catalogue of points, the plan, and carrying it out.
//!
//! - **Promises**: a plan says exactly what will be reached before anything moves; a restore reaches exactly that or
//!   returns an error with nothing in place; a target that cannot be reached is refused with the nearest that can.
//! - **Knows nothing of** who asked, when to ask, or what is in a thing: it gives entries, extents and commits to a
//!   [`Restorer`](rpo_core::Restorer).
//! - **Start at** [`Recovery`]; [`Catalogue`] and [`Plan`] are pure and can be used on their own:
//! - **Units**: positions are exclusive ends, times microseconds UTC. **Features**: `planted-bugs` for tests of tests.
//!
//! ```
//! use rpo_core::target::RestorePoint;
//! use rpo_core::{Epoch, Lsn, Position, Sequence, Timestamp};
//! use rpo_recovery::{Catalogue, Located, PlanOptions, Range};
//!
//! let at = |lsn, commits| Position { epoch: Epoch::FIRST, lsn: Lsn::new(lsn), sequence: Some(Sequence::new(commits)) };
//! let time = Timestamp::from_micros;
//! let range = Range { epoch: Epoch::FIRST, from: at(0, 0), to: at(400, 10), first_time: time(1), last_time: time(9) };
//! let catalogue = Catalogue::new(Vec::new(), vec![range]);
//!
//! let target = Located::Boundary(RestorePoint::at(time(5), Some(at(120, 3))));
//! let plan = catalogue.plan("seq:3", &target, PlanOptions::default())?;
//! assert_eq!(plan.commits_after, Some(7));
//!
//! let beyond = Located::Boundary(RestorePoint::at(time(99), Some(at(9_000, 90))));
//! let refusal = catalogue.plan("seq:90", &beyond, PlanOptions::default()).unwrap_err();
//! assert_eq!(refusal.nearest_before.unwrap().position, Some(at(400, 10)));
//! # Ok::<(), rpo_recovery::Refusal>(())
//! ```

mod catalogue;
mod error;
mod execute;
mod load;
mod locate;
mod pieces;
mod plan;
#[cfg(feature = "planted-bugs")]
pub mod planted;
pub mod repair;
pub mod retention;
#[cfg(test)]
mod tests;

pub use catalogue::{Base, Catalogue, Coverage, Entries, History, Range};
pub use error::{RecoveryError, Refusal};
pub use execute::{Bases, Outcome, execute};
pub use load::Recovery;
pub use locate::{locate, named_points};
pub use plan::{Located, Plan, PlanOptions, Replay};
