//! The real disk, clock and entropy behind the ports of `rpo-core`.
//!
//! - **Promises**: [`OsDisk`] passes every error of the system on, retries nothing but interrupts, and syncs what it says it
//!   syncs; [`OsClock`]'s steady clock goes on while the machine sleeps.
//! - **Knows nothing of** logs, stores, formats.
//! - **Start at** [`OsDisk`], [`OsClock`], [`OsEntropy`]: each has `new` and nothing to configure.
//! - **Units**: as in `rpo-core`. Files and directories are created for their owner only (`0600`, `0700`).
//!
//! ```
//! use rpo_core::{Clock, Disk};
//! use rpo_os::{OsClock, OsDisk};
//!
//! # fn main() -> std::io::Result<()> {
//! # let dir = tempfile::tempdir()?;
//! let disk = OsDisk::new();
//! let file = disk.create_new(&dir.path().join("a"))?;
//! file.write_at(b"kept", 0)?;
//! file.sync()?; // the bytes survive a power cut
//! disk.sync_dir(dir.path())?; // and so does the name
//! assert!(OsClock::new().wall() > rpo_core::Timestamp::EPOCH);
//! # Ok(())
//! # }
//! ```

mod clock;
mod disk;
mod entropy;
mod event;
mod thread;

pub use clock::OsClock;
pub use disk::OsDisk;
pub use entropy::OsEntropy;
pub use event::EventCount;
pub use thread::run_in_real_time;
