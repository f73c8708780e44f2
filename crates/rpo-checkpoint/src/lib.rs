//! Images of state: cut into chunks, deduplicated, compressed, sealed into packs, listed in manifests, chained.
//!
//! - **Promises**: a checkpoint exists once its manifest does, and everything it needs is durable before; what
//!   [`Checkpointer::restore`] hands out was decrypted, decompressed and hashed again first, so it is what was captured,
//!   or an error names the object and the files it hits. Memory is bounded by options, not by the data.
//! - **Knows nothing of** logs, schedules, retention, what a source is (`rpo-replication`, `rpo`, `rpo-source-*`).
//! - **Start at** [`Checkpointer`]; [`mod@pack`], [`mod@index`], [`mod@manifest`] and [`mod@cutter`] say what the bytes are.
//! - **Units**: sizes bytes, ranges half-open, times UTC. **Needs** a tokio runtime; works on threads of its own.
//!
//! Known limits: the chunk list of one file is in memory while that file is handled (36 bytes per chunk: 144 MiB for one
//! file of 1 TiB); a restore holds about 80 bytes per chunk it writes. Whatever reads indexes reads all of them.
//!
//! ```
//! use std::sync::Arc;
//! use rpo_checkpoint::{Cancel, CheckpointKind, CheckpointOptions, Checkpointer, NoProgress};
//! use rpo_core::{Restorer, SourceId};
//! use rpo_os::{OsClock, OsEntropy};
//! use rpo_repository::{InitOptions, Repository, RepositoryParts};
//! use rpo_source_dir::{DirectoryOptions, DirectoryRestorer, DirectorySource, RestoreOptions};
//! use rpo_storage::MemoryStorage;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let scratch = tempfile::tempdir()?;
//! # let (folder, copy) = (scratch.path().join("docs"), scratch.path().join("copy"));
//! # std::fs::create_dir(&folder)?;
//! # std::fs::write(folder.join("letter"), "Dear Ada")?;
//! let (clock, entropy) = (Arc::new(OsClock::new()), Arc::new(OsEntropy::new()));
//! let parts = RepositoryParts { storage: Arc::new(MemoryStorage::new()), clock: clock.clone(), entropy: entropy.clone() };
//! let repository = Repository::init(parts, InitOptions::unencrypted()).await?; // or `encrypted(secret)`
//! let checkpointer = Checkpointer::new(repository, CheckpointOptions::default());
//! let (docs, cancel) = (SourceId::new("docs")?, Cancel::new());
//! let source = Arc::new(DirectorySource::new(&folder, clock, DirectoryOptions::default()));
//!
//! let made = checkpointer.checkpoint(&docs, source, CheckpointKind::Incremental, &NoProgress, &cancel).await?;
//! assert_eq!(made.info.kind, CheckpointKind::Full, "the first one has no parent");
//!
//! let into = Arc::new(DirectoryRestorer::new(&copy, &*entropy, RestoreOptions::default())?);
//! checkpointer.restore(made.id(), into.clone(), &NoProgress, &cancel).await?;
//! into.finish_base(made.info.position)?;
//! into.publish()?;
//! assert_eq!(std::fs::read_to_string(copy.join("letter"))?, "Dear Ada");
//! # Ok(())
//! # }
//! ```

mod board;
mod checkpointer;
mod chunk;
pub mod compress;
pub mod cutter;
mod damage;
mod error;
pub mod index;
mod info;
mod job;
mod known;
mod locate;
pub mod manifest;
mod options;
pub mod pack;
mod pipeline;
#[cfg(feature = "planted-bugs")]
pub mod planted;
mod presence;
mod progress;
mod rebuild;
mod restore;
mod session;
mod snapshot;
mod store;
mod stream;
mod units;
mod verify;

pub use checkpointer::{CheckpointSummary, Checkpointer, Survey};
pub use chunk::{ChunkId, ChunkRef, ZERO_CHUNK};
pub use compress::Compression;
pub use cutter::CutterName;
pub use damage::{AFFECTED_NAMED_MAX, AffectedFile, Damage, DamagedObject, LeftOut};
pub use error::CheckpointError;
pub use info::{CheckpointInfo, CheckpointKind, LOST_NAMED_MAX, Lost, Statistics};
pub use options::{CheckpointOptions, Labels};
pub use presence::Presence;
pub use progress::{Cancel, NoProgress, Phase, Progress, Progressed};
pub use rebuild::RebuildSummary;
pub use restore::RestoreSummary;
pub use verify::{Depth, VerifyReport};
