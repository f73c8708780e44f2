//! Copies of a log and of objects: shipping, taking over, mirroring, and reading the archive they make.
//!
//! - **Promises**: a batch is sealed once, spooled durably, and every copy gets the same bytes in order, whatever the others
//!   do ([`LogShipper`]). After [`take_over`] the old writer can get nothing more protected, and whatever it was told to be
//!   protected is in the history that goes on. [`Archive`] yields exactly what was shipped, every check done, or an error
//!   that names the object; a gap is never passed over. A [`Merger`] and [`Retention`] delete nothing that is not in a merged
//!   object of the same copy, or named in a note, before. A [`Mirror`] never claims a checkpoint before it has everything
//!   that was billed before it. No number moves without proof from the copy itself.
//! - **Knows nothing of** what is in an object or a commit, nor who decides: judging a loss window is `rpo-core`'s, choosing a
//!   point and replaying it `rpo-recovery`'s, when to step is the manager's.
//! - **Start at** [`Copies`], then [`LogShipper::step`]; [`mod@batch`], [`mod@merged`], [`mod@gap`], [`mod@fence`] and
//!   [`mod@expired`] are the bytes.
//! - **Units**: sizes bytes, positions exclusive ends, ranges half-open, numbers of objects dense from 1. Everything is
//!   driven by calls; no runtime is needed beyond what a store needs. **Features**: `planted-bugs`, for tests of the tests.
//!
//! ```
//! use std::sync::Arc;
//!
//! use futures::TryStreamExt;
//! use rpo_core::frame::CommitDraft;
//! use rpo_core::objective::AckLevel;
//! use rpo_core::{CopyName, LogEntry, StreamId};
//! use rpo_os::{OsClock, OsDisk, OsEntropy};
//! use rpo_replication::*;
//! use rpo_repository::{InitOptions, Repository, RepositoryParts};
//! use rpo_storage::MemoryStorage;
//! use rpo_wal::{Drive, Log, LogParts, OpenAs, WalConfig};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let scratch = tempfile::tempdir()?;
//! # let scratch = scratch.path();
//! let (clock, entropy) = (Arc::new(OsClock::new()), Arc::new(OsEntropy::new()));
//! let storage = Arc::new(MemoryStorage::named("eu")); // in a program: somewhere else
//! let parts = RepositoryParts { storage, clock: clock.clone(), entropy: entropy.clone() };
//! let repository = Repository::init(parts, InitOptions::unencrypted()).await?;
//! let eu = CopySpec {
//!     name: CopyName::new("eu")?,
//!     domain: CopyDomain { region: Some("eu-west".to_owned()), ..CopyDomain::default() },
//!     url: "memory://eu".to_owned(),
//!     role: Role::Home,
//!     repository,
//! };
//! let copies = Copies::new(vec![eu.clone()], "any 1 of (eu)".parse()?)?;
//!
//! # let mut config = WalConfig::zero_loss();
//! # config.segment_bytes = "64KiB".parse()?;
//! # #[cfg(any())]
//! let config = WalConfig::zero_loss();
//! let (log, _) = Log::open(&scratch.join("log"), config, LogParts::os(), Drive::Thread, OpenAs::Continue)?;
//! log.append(CommitDraft::one("order 1: two apples"), AckLevel::Durable)?;
//!
//! let stream = StreamId::new("orders")?;
//! let disk = Arc::new(OsDisk::new());
//! let parts = ShipperParts { source: Arc::new(log.clone()), copies, disk, clock, entropy };
//! let spool = scratch.join("spool");
//! let mut shipper = LogShipper::open(parts, stream.clone(), &spool, ShipConfig::default(), Start::Continue)?;
//! shipper.step().await?; // in a program: every interval
//! assert_eq!(shipper.view().protected(), Some(log.durable())); // it survives the loss of this machine from here on
//!
//! let archive = Archive::new(vec![eu], stream)?;
//! let coverage = archive.coverage().await?;
//! let history = coverage.current();
//! let mut entries = archive.entries(history, history.from().lsn, None).await?;
//! while let Some(entry) = entries.try_next().await? {
//!     if let LogEntry::Commit(commit) = entry {
//!         assert_eq!(commit.records[0].payload, "order 1: two apples");
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod adopt;
mod archive;
pub mod batch;
mod bytes;
mod copies;
mod decide;
mod error;
pub mod expired;
pub mod fence;
mod frames;
pub mod gap;
mod heal;
mod merge;
pub mod merged;
mod mirror;
mod names;
pub mod object;
mod policy;
mod retention;
mod shipper;
mod source;
mod spool;
mod store;
mod takeover;

pub use archive::{
    Archive, ArchivePoint, Break, Coverage, EntryStream, FoundTransaction, FrameStream, History, Leg,
};
pub use batch::{BatchCodec, BatchHead, Digest, ParentLink};
pub use copies::{Copies, CopyDomain, CopySpec, CopyState, Health, LogCursor, ObjectCursor, Role, Seen};
pub use error::ReplicationError;
pub use fence::Fence;
pub use gap::{GapCause, GapRecord, GapSpan};
pub use merge::{MergeConfig, MergeStep, Merger};
pub use mirror::{Mirror, MirrorConfig, MirrorStep};
pub use names::{
    batch_key, epoch_prefix, expired_key, healed_key, healed_merged_key, merged_key, stream_prefix,
};
pub use object::{ArchiveObject, OpenBatch, open_object};
pub use policy::{PolicyError, SyncPolicy};
pub use retention::{EpochExpiry, ExpiryPlan, KeepFrom, Retention, RetentionStep};
pub use shipper::{
    CopyStats, LogShipper, RATE_WINDOW, ShipConfig, ShipStep, ShipView, ShipperParts, SpoolFull, SpoolStats,
    Start,
};
pub use source::{FrameSource, SourceFault};
pub use spool::{Origin, Spool, Tip};
pub use takeover::{Fork, Takeover, TakeoverOptions, take_over};

/// Promises that a test breaks on purpose, to see that the suite notices.
#[cfg(feature = "planted-bugs")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlantedBug {
    /// The shipper goes on past a fence as if its batch had been taken.
    FenceIgnored,
    /// Parts are deleted before the merged object was seen to be in that copy.
    PartsBeforeMerged,
    /// A merged object leaves the last frame of its last part out.
    MergeDropsLastFrame,
    /// A reader goes on behind a gap as if nothing were missing.
    GapPassedOver,
    /// A batch that was refused because something has its name counts as sent, whatever stands there.
    TakenIsOurs,
    /// A batch is written to the spool without any sync before copies see it.
    SentBeforeSpooled,
    /// The spool lets a batch go as soon as one copy has it, whatever the sync policy asks for.
    ReleasedTooSoon,
}
