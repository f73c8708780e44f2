//! Directory trees: capture one, restore one, compare two.
//!
//! - **Promises**: a capture names everything in the tree, in path order, each name once: as an entry, or as left out with
//!   the reason. A file is read only if size, times or inode say that it may have changed, and what changes while it is
//!   read is told. A restore stays inside its target, touches nothing that is there, and is in place as a whole and
//!   durably, or not at all.
//! - **Kept**: names and link targets as bytes, mode, owner, modification time to the nanosecond, extended attributes
//!   (access lists and capabilities among them), holes, which names are one file. **Not kept**: access and change times,
//!   inode flags, sockets; FIFOs and devices are not supported yet and are told as lost.
//! - **Knows nothing of** chunks, manifests, stores.
//! - **Start at** [`DirectorySource`] and [`DirectoryRestorer`]; [`compare_trees`] judges both and shares nothing with
//!   them.
//! - **Units**: bytes; times as the file system has them. **Needs** Linux with `/proc`; `openat2` (5.6) is used where it
//!   is there, and `syncfs` reports write errors since 5.8.
//!
//! Known limits: a file that is changed within one tick of the kernel's clock (at most 10 ms; gone since Linux 6.13) of
//! its last change, while it is read, is not seen as changed then, but is read again by the next capture. Memory mapped
//! writes count when the kernel updates the modification time. Names of a file with several names that were found
//! before its first name vanished are left without their file in that capture.
//!
//! ```
//! use std::sync::Arc;
//!
//! use rpo_core::ports::{Captured, EntryKind, Restorer, Source};
//! use rpo_os::{OsClock, OsEntropy};
//! use rpo_source_dir::{DirectoryOptions, DirectoryRestorer, DirectorySource, RestoreOptions, compare_trees};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let scratch = tempfile::tempdir()?;
//! let (from, to) = (scratch.path().join("docs"), scratch.path().join("copy"));
//! std::fs::create_dir(&from)?;
//! std::fs::write(from.join("letter"), "Dear Ada,")?;
//!
//! let source = DirectorySource::new(&from, Arc::new(OsClock), DirectoryOptions::default());
//! let mut capture = source.capture(None)?;
//! let restorer = DirectoryRestorer::new(&to, &OsEntropy::new(), RestoreOptions::default())?;
//! let reader = capture.reader();
//! while let Some(captured) = capture.next()? {
//!     let Captured::Entry(entry, _change) = captured else { continue };
//!     if entry.kind != EntryKind::File {
//!         restorer.entry(&entry)?;
//!         continue;
//!     }
//!     let mut content = reader.open(&entry)?;
//!     let entry = content.entry().clone(); // as it is now
//!     restorer.entry(&entry)?;
//!     for extent in &entry.extents {
//!         let mut bytes = vec![0; extent.len as usize];
//!         content.read_at(extent.offset, &mut bytes)?;
//!         restorer.extent(&entry.path, extent.offset, &bytes)?;
//!     }
//!     restorer.close(&entry.path)?;
//! }
//! assert_eq!(capture.finish()?.lost, 0);
//! restorer.finish_base(None)?;
//! restorer.publish()?;
//!
//! assert_eq!(compare_trees(&from, &to), []);
//! # Ok(())
//! # }
//! ```

mod attributes;
mod beneath;
mod capture;
mod compare;
mod content;
mod links;
mod options;
mod parent;
mod restore;
mod stack;
mod walk;

pub use capture::DirectorySource;
pub use compare::{Difference, compare_trees};
#[cfg(feature = "planted-bugs")]
pub use options::PlantedBug;
pub use options::{ChangeTime, DirectoryOptions, Durability, RestoreOptions};
pub use restore::{DirectoryRestorer, check_target, incomplete_marker, partials_beside, remove_partial};

/// The kind of source that manifests name for directories.
pub const KIND: &str = "directory";
