//! What can be asked of a log about positions: where a time, a number, a transaction or a name is.

use rpo_core::time::ClockAnomaly;
use rpo_core::{Bound, CheckpointId, Lsn, PointName, Position, Sequence, Timestamp, TransactionId};

use crate::error::WalError;
use crate::log::Log;
use crate::seal::SealStats;
use crate::seek::{self, LogPoint};
use crate::sync::locked;

impl Log {
    /// The last durable position with commit time at most `time`; none if what is here is all later. Reads about 64 KiB, as
    /// all seeks that are not said to read more.
    ///
    /// # Errors
    /// As [`Log::read_frames`].
    pub fn seek_time(&self, time: Timestamp) -> Result<Option<Position>, WalError> {
        seek::time(&self.engine, time, Bound::Inclusive)
    }

    /// [`Log::seek_time`]; exclusive, the last durable position with commit time before `time`.
    ///
    /// # Errors
    /// As [`Log::read_frames`].
    pub fn seek_time_bound(&self, time: Timestamp, bound: Bound) -> Result<Option<Position>, WalError> {
        seek::time(&self.engine, time, bound)
    }

    /// The position right after commit number `wanted`; none if it is not here. The number of commits before the log's
    /// start gives the start.
    ///
    /// # Errors
    /// As [`Log::read_frames`].
    pub fn seek_sequence(&self, wanted: Sequence) -> Result<Option<Position>, WalError> {
        seek::sequence(&self.engine, wanted)
    }

    /// The first boundary between entries at or after `wanted`, at most the durable end.
    ///
    /// # Errors
    /// As [`Log::read_frames`].
    pub fn seek_lsn(&self, wanted: Lsn) -> Result<Position, WalError> {
        seek::lsn(&self.engine, wanted)
    }

    /// Where the first commit of transaction `id` ends; none if it is not here. Reads the newest segment and those that are
    /// not sealed yet through, and of the others what may hold it.
    ///
    /// # Errors
    /// As [`Log::read_frames`].
    pub fn find_transaction(&self, id: TransactionId) -> Result<Option<Position>, WalError> {
        seek::transaction(&self.engine, id)
    }

    /// Where the first restore point called `name` is; none if it is not here. Reads the newest segment and those that are
    /// not sealed yet through.
    ///
    /// # Errors
    /// As [`Log::read_frames`].
    pub fn find_point(&self, name: &PointName) -> Result<Option<Position>, WalError> {
        seek::point_called(&self.engine, name)
    }

    /// All restore points that are here, in order. Reads as [`Log::find_point`] does, and the frame of each.
    ///
    /// # Errors
    /// As [`Log::read_frames`].
    pub fn points(&self) -> Result<Vec<LogPoint<PointName>>, WalError> {
        seek::points(&self.engine)
    }

    /// All checkpoints that were marked here, in order. Reads as [`Log::points`] does.
    ///
    /// # Errors
    /// As [`Log::read_frames`].
    pub fn checkpoints(&self) -> Result<Vec<LogPoint<CheckpointId>>, WalError> {
        seek::checkpoints(&self.engine)
    }

    /// All steps of the wall clock that were recorded here, in order. Reads as [`Log::points`] does.
    ///
    /// # Errors
    /// As [`Log::read_frames`].
    pub fn clock_anomalies(&self) -> Result<Vec<LogPoint<ClockAnomaly>>, WalError> {
        seek::anomalies(&self.engine)
    }

    /// What was done about seals since the log was opened, and the damage that the background found in finished segments.
    pub fn seals(&self) -> SealStats {
        locked(&self.engine.seals).clone()
    }

    /// As if no segment had ever been sealed.
    #[cfg(test)]
    pub(crate) fn forget_seals(&self) {
        let catalog = self.engine.catalog.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        catalog.segments.iter().for_each(|segment| segment.seal(None));
    }
}
