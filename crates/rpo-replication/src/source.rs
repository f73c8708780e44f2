//! Where the shipper takes frames from: the durable prefix of a log.

use std::fmt::Debug;

use bytes::Bytes;
use rpo_core::{Epoch, ErrorKind, Lsn, Position};
use rpo_wal::{Log, WalError};

/// A log whose durable prefix can be read as whole frames. Calls may block on the local disk, never on a network.
pub trait FrameSource: Debug + Send + Sync {
    /// The generation it writes in.
    fn epoch(&self) -> Epoch;
    /// Where its first kept frame begins: where the archive of a log without one begins.
    fn first(&self) -> Position;
    /// Everything before this survives a power cut. Only this much is shipped.
    fn durable(&self) -> Position;
    /// Whole frames, byte for byte, from `from` on: at least one if any is durable there, else about `bytes_max` bytes at
    /// most; empty if nothing after `from` is durable.
    ///
    /// # Errors
    /// `from` is no frame boundary or is not kept any more, or the device failed.
    fn read_frames(&self, from: Lsn, bytes_max: usize) -> Result<Bytes, SourceFault>;
    /// Writes a marker that says nothing but "the pipe works"; it is shipped once it is durable.
    ///
    /// # Errors
    /// The log takes no more records.
    fn heartbeat(&self) -> Result<(), SourceFault>;
}

/// Why a log gave no frames.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SourceFault {
    /// What to do about it.
    pub kind: ErrorKind,
    /// What happened, for people.
    pub message: String,
}

impl From<WalError> for SourceFault {
    fn from(error: WalError) -> Self {
        Self { kind: error.kind(), message: error.to_string() }
    }
}

impl FrameSource for Log {
    fn epoch(&self) -> Epoch {
        self.head().epoch
    }

    fn first(&self) -> Position {
        self.start()
    }

    fn durable(&self) -> Position {
        Log::durable(self)
    }

    fn read_frames(&self, from: Lsn, bytes_max: usize) -> Result<Bytes, SourceFault> {
        Ok(Log::read_frames(self, from, bytes_max)?.bytes)
    }

    fn heartbeat(&self) -> Result<(), SourceFault> {
        Log::heartbeat(self)?;
        Ok(())
    }
}
