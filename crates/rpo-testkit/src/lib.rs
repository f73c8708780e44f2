//! Conformance suites for backends, and a simulated machine with its disk, clocks and stores.
//!
//! - **Promises**: a run of the simulator is its seed and nothing else; a rule of a suite is one named test.
//! - **Knows nothing of** logs, repositories, archives: it stands on `rpo-core` and `rpo-storage` only.
//! - **Start at** [`sim::World`] to test under faults, at [`mod@storage`] to prove a backend.
//! - **Units**: sizes bytes, times as in `rpo-core`.
//!
//! What is written is not what is durable:
//!
//! ```
//! use std::path::Path;
//! use rpo_core::Disk;
//! use rpo_testkit::sim::{FaultPlan, World};
//!
//! let world = World::with_plan(1, FaultPlan::calm());
//! let machine = world.machine("a");
//! let file = machine.disk().create_new(Path::new("/log"))?;
//! file.write_at(b"synced", 0)?;
//! file.sync()?; // the bytes are durable, the name is not
//! machine.disk().sync_dir(Path::new("/"))?; // now it is
//! file.write_at(b"cached", 6)?;
//!
//! let machine = machine.power_cut();
//!
//! assert!(machine.disk().cached_bytes(Path::new("/log"))?.starts_with(b"synced"));
//! # Ok::<(), std::io::Error>(())
//! ```

pub mod sim;
pub mod storage;
