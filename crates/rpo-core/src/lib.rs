//! The words of rpo: positions, times, objectives, loss windows, frames, errors, and the ports.
//!
//! - **Promises**: everything here is pure. Arithmetic never wraps silently; bytes from outside give errors, never panics.
//! - **Knows nothing of** files, sockets, threads, wall clocks: those come in through [`ports`].
//! - **Start at** [`Position`], then [`window`] for the number this project is named for, [`frame`] for the bytes.
//! - **Units**: LSNs are byte positions in a stream's own record bytes, times microseconds UTC, sizes bytes,
//!   ranges half-open.
//!
//! ```
//! use std::time::Duration;
//!
//! use rpo_core::window::{CommitTimeline, Evidence, Moment, Protected, judge};
//! use rpo_core::{Domain, Limit, Lsn, Monotonic, Position, Sequence, Status, Timestamp, Window};
//!
//! let at = |s: u64| Moment::new(Timestamp::from_micros(s as i64 * 1_000_000), Monotonic::new(Duration::from_secs(s)));
//! let after = |n: u64| Position { lsn: Lsn::new(100 * n), sequence: Some(Sequence::new(n)), ..Position::START };
//!
//! // Three commits, acknowledged at 10, 20 and 30 seconds; a copy was seen to hold the first.
//! let mut timeline = CommitTimeline::new(Position::START, 1024);
//! (1..=3).for_each(|n| timeline.record(after(n), at(10 * n)));
//! let protected = Protected { upto: after(1), proven_at: Some(at(31)), by: vec![] };
//!
//! let fresh_within = Duration::from_secs(10);
//! let report = Evidence::gather(Domain::Machine, &timeline, at(32), Some(protected), fresh_within).report(at(32));
//!
//! assert_eq!(report.window, Window::Age(Duration::from_secs(12).into())); // the second waits since 20 s
//! assert_eq!(report.commits_at_risk, Some(2));
//! assert_eq!(judge(&report, &Limit::new(Duration::from_secs(15))), Status::Warning);
//! ```

pub mod codec;
pub mod error;
pub mod event;
pub mod frame;
pub mod ids;
pub mod objective;
pub mod ports;
pub mod position;
pub mod record;
pub mod target;
pub mod time;
pub mod window;

pub use codec::CodecError;
pub use error::{ConfigError, ErrorKind, Problem};
pub use event::{Event, EventKind};
pub use ids::{CheckpointId, CopyName, LogId, PointName, RepositoryId, SourceId, StreamId, TransactionId};
pub use objective::{AckLevel, Domain, Enforcement, Limit, Objective, OnLoss, RpoLevel, Status};
pub use ports::{Clock, Disk, DiskFile, Entropy, Gate, Restorer, Source};
pub use position::{Epoch, Lsn, LsnRange, Position, Sequence};
pub use record::{Commit, LogEntry, Marker, MarkerKind, Record};
pub use target::{Bound, RestorePoint, Target};
pub use time::{ByteSize, HumanDuration, Monotonic, Timestamp};
pub use window::{LossReport, Window};
