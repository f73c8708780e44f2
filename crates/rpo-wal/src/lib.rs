//! Write-ahead log on the local disk: append commits durably, read them back in LSN order, know a torn write from rot.
//!
//! - **Promises**: [`Log::append`] returns once the commit reached the level asked for; what was acknowledged as durable is
//!   there after any crash, or opening says what is lost; replay yields a prefix of what was appended, without gaps or
//!   reordering, never half a commit. A failed write or sync is never retried: the log refuses writes until opened again.
//! - **Knows nothing of** object stores, networks, checkpoints: those read [`Log::read_frames`] and call [`Log::release`].
//! - **Start at** [`Log`]; then [`segment`] for the bytes and for how the end is judged, [`RecoveryReport`] for what opening
//!   found.
//! - **Units**: LSNs are byte positions in the stream's own records, sizes bytes, ranges half-open. **Features**:
//!   `planted-bugs` for tests of tests.
//!
//! ```
//! use rpo_core::Lsn;
//! use rpo_core::frame::CommitDraft;
//! use rpo_core::objective::AckLevel;
//! use rpo_wal::{Drive, Log, LogParts, OpenAs, WalConfig};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let scratch = tempfile::tempdir()?;
//! let dir = scratch.path().join("orders");
//! # let mut config = WalConfig::zero_loss();
//! # config.segment_bytes = "64KiB".parse()?;
//! # #[cfg(any())]
//! let config = WalConfig::zero_loss();
//! let (log, report) = Log::open(&dir, config, LogParts::os(), Drive::Thread, OpenAs::Continue)?;
//! assert!(report.fresh);
//!
//! let appended = log.append(CommitDraft::one("order 1: two apples"), AckLevel::Durable)?;
//! assert_eq!(log.durable(), appended.end); // it survives a power cut from here on
//!
//! for entry in log.replay(Lsn::ZERO) {
//!     println!("{:?}", entry?);
//! }
//! log.close()?;
//! # Ok(())
//! # }
//! ```

mod catalog;
mod cohort;
mod config;
pub mod control;
mod drive;
mod engine;
mod error;
mod event;
mod feed;
mod flush;
mod format;
mod gather;
mod inspect;
mod judge;
mod keep;
mod log;
mod open;
mod pieces;
#[cfg(feature = "planted-bugs")]
pub mod planted;
mod positions;
mod prepare;
mod read;
mod recover;
mod release;
pub mod repair;
mod repersist;
mod report;
mod scan;
pub mod seal;
mod seek;
pub mod segment;
mod sleepers;
mod state;
mod survey;
mod sync;
mod ticket;

pub use config::WalConfig;
pub use drive::Step;
pub use engine::{Appended, Drive, LogParts};
pub use error::{IoCause, WalError};
pub use event::WalEvent;
pub use format::FormatError;
pub use inspect::{DirReplay, inspect_segment, replay_dir};
pub use log::{Log, WalStats};
pub use open::OpenAs;
pub use read::{Follow, FrameRange, Replay};
pub use report::{RecoveryReport, Tail};
pub use seek::LogPoint;
pub use ticket::{AppendFuture, DurablePast, Ticket};

#[cfg(test)]
mod tests;
