//! The words of rpo: positions, times, objectives, loss windows, frames, errors, and the ports.
//!
//! - **Promises**: everything here is pure. Arithmetic never wraps silently; bytes from outside give errors, never panics.
//! - **Knows nothing of** files, sockets, threads, wall clocks: those come in through [`ports`].
//! - **Start at** [`Position`], then [`window`] for the number this project is named for, [`frame`] for the bytes.
//! - **Units**: LSNs are byte positions in a stream's own record bytes, times microseconds UTC, sizes bytes,
//!   ranges half-open.

pub mod codec;
pub mod error;
pub mod frame;
pub mod ids;
pub mod objective;
pub mod ports;
pub mod position;
pub mod record;
pub mod target;
pub mod time;
pub mod window;

pub use error::{ConfigError, ErrorKind, Problem};
pub use ids::{CheckpointId, CopyName, LogId, PointName, RepositoryId, SourceId, StreamId, TransactionId};
pub use ports::{Clock, Disk, DiskFile, Entropy, Gate, Restorer, Source};
pub use position::{Epoch, Lsn, LsnRange, Position, Sequence};
pub use record::{Commit, LogEntry, Marker, MarkerKind, Record};
pub use time::{ByteSize, HumanDuration, Monotonic, Timestamp};
