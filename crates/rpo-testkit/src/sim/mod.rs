//! The simulator: machines with disks, clocks and entropy, and stores, all from one seed, on one thread.
//!
//! - **Promises**: the same seed gives the same run, call by call ([`World::trace`]); the disk keeps after a power cut
//!   what was synced, names after `sync_dir` included, and any part of the rest; a store keeps what it acknowledged.
//! - **Knows nothing of** what it drives: logs, archives and oracles are the scenario's, in `tests/` of their crates.
//! - **Start at** [`World`], then [`run_seeds`]; [`FaultPlan`] says what goes wrong.
//!
//! `RPO_SIM_SEED`, `RPO_SIM_SEEDS` choose the seeds, `RPO_SIM_LINES` how many calls are shown with a failure.
//! Threads and timers of a runtime are outside of it: drive step functions, and block on futures with [`block_on`].

mod disk;
mod files;
mod image;
mod machine;
mod names;
mod plan;
mod rng;
mod runner;
mod statistics;
mod store;
mod trace;
mod world;

pub use disk::SimDisk;
pub use futures::executor::block_on;
pub use image::SECTOR_BYTES;
pub use machine::{Machine, SimClock, SimEntropy};
pub use plan::{FaultKind, FaultPlan};
pub use rng::Rng;
pub use runner::{Case, Failure, assert_seen, hunt, run_seeds, seeds};
pub use statistics::Statistics;
pub use store::SimStore;
pub use world::{Crashed, World};

#[cfg(test)]
mod tests;
