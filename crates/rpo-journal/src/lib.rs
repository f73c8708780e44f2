//! A journal of change events on a write-ahead log: what changed, where, when, by whom; how it was and how it is.
//!
//! - **Promises**: the changes of a transaction are recorded all or none; what was recorded as durable is there after any
//!   crash. Events are numbered without gaps and read in order, or an error says what is missing. What is no longer
//!   covered is never silent: it is counted, told, kept in mind across restarts, and asking for it is an error that names
//!   the nearest point. A replay reaches its target or is an error. A target that fails, hangs or is slow holds up no other.
//! - **Knows nothing of** networks, object stores, checkpoints: those give it bases to replay from and implement [`Target`].
//! - **Start at** [`Journal`]; then [`Fanout`] for targets, [`mod@event`] and [`mod@stamp`] for the bytes.
//! - **Units**: LSNs are byte positions in the log, events are numbered from 1, times microseconds UTC.
//!   **Features**: `planted-bugs` for tests of tests.
//!
//! ```
//! use rpo_core::{AckLevel, Bound, SourceId};
//! use rpo_journal::{Asked, Base, Change, Journal, JournalConfig, JournalParts, Transaction};
//! use rpo_wal::{Drive, Log, LogParts, OpenAs, WalConfig};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let scratch = tempfile::tempdir()?;
//! let dir = scratch.path().join("changes");
//! # let mut config = WalConfig::zero_loss();
//! # config.segment_bytes = "64KiB".parse()?;
//! # #[cfg(any())]
//! let config = WalConfig::zero_loss();
//! let parts = LogParts::os();
//! let clock = parts.clock.clone();
//! let (log, report) = Log::open(&dir, config, parts, Drive::Thread, OpenAs::Continue)?;
//! let parts = JournalParts::new(log.clone(), &report, Drive::Thread, clock);
//! let journal = Journal::open(parts, JournalConfig::default(), None)?;
//!
//! let shop = SourceId::new("shop")?;
//! let order = Change::insert(&shop, "orders", "o-1", "two apples");
//! let stock = Change::update(&shop, "stock", "apple", Some("12".into()), "10");
//! let receipt = journal.record(Transaction::of([order, stock]).with_context("alice"), AckLevel::Durable)?;
//! assert_eq!((receipt.first, receipt.last), (1, 2)); // both survive a power cut from here on, or neither was there
//!
//! let mut seen = Vec::new();
//! let replayed = journal.replay_to(Asked::Event(2), Bound::Inclusive, &[Base::empty()], |event| {
//!     seen.push(format!("{} {}", event.change.operation, event.change.collection));
//!     Ok(())
//! })?;
//! assert_eq!((replayed.events, seen.join(", ")), (2, "insert orders, update stock".to_owned()));
//! log.close()?;
//! # Ok(())
//! # }
//! ```

pub mod config;
pub mod cursor;
pub mod error;
pub mod event;
mod fanout;
pub mod format;
mod journal;
mod ledger;
mod notice;
#[cfg(feature = "planted-bugs")]
pub mod planted;
mod read;
mod record;
mod replay;
pub mod stamp;
mod target;
mod worker;

pub use config::{FanoutConfig, JournalConfig, LogUse, Overrun};
pub use error::{Asked, JournalError};
pub use event::{Change, ChangeEvent, Operation};
pub use fanout::{Fanout, FanoutParts, Stopped};
pub use format::FormatError;
pub use journal::{EVENTS_PER_TRANSACTION_MAX, Journal, JournalParts, JournalStats, TrimReport};
pub use ledger::{Coverage, Edge};
pub use notice::{JournalEvent, Listener};
pub use read::{Events, Recorded};
pub use record::{Receipt, RecordFuture, Transaction};
pub use replay::{Base, Replayed};
pub use stamp::{Dropped, LossReason, Lost, Stamp};
pub use target::{Target, TargetError, TargetState, TargetStatus, TargetStep};
