//! What the next frame must say, for frames that come from anywhere.

use rpo_core::frame::FrameHead;
use rpo_core::{Epoch, Lsn, Position, Sequence, Timestamp};
use serde::Serialize;

/// A place between two frames of a history: what the next one must follow on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Chain {
    /// Epoch of the frame before; the next one may be of a later one.
    pub epoch: Epoch,
    /// LSN of the next frame.
    pub lsn: Lsn,
    /// Commits before it.
    pub sequence: Sequence,
    /// Chain value of the frame before; none if it is not known.
    pub chain: Option<u32>,
    /// Commit time of the frame before; the smallest time if it is not known.
    pub time: Timestamp,
}

impl Chain {
    /// The place as a position.
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, lsn: self.lsn, sequence: Some(self.sequence) }
    }

    /// The place after a frame with this head.
    ///
    /// # Errors
    /// What the head says other than it must.
    pub fn after(&self, head: &FrameHead) -> Result<Self, &'static str> {
        #[cfg(feature = "planted-bugs")]
        if super::planted::is(super::planted::RepairBug::ChainUnchecked) {
            return Ok(Self::behind(head));
        }
        let rules = [
            (head.epoch >= self.epoch, "it is of an older epoch"),
            (head.base_lsn == self.lsn, "it has another lsn"),
            (head.base_seq == self.sequence, "it counts other commits before it"),
            (self.chain.is_none_or(|chain| head.prev_chain == chain), "it follows on another frame"),
            (head.commit_time >= self.time, "its commit time steps back"),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, what)) => Err(what),
            None => Ok(Self::behind(head)),
        }
    }

    /// The place behind a frame with this head.
    pub fn behind(head: &FrameHead) -> Self {
        Self {
            epoch: head.epoch,
            lsn: head.end_lsn(),
            sequence: head.end_seq(),
            chain: Some(head.chain()),
            time: head.commit_time,
        }
    }

    /// Whether what ends here is followed by what begins at `next`.
    pub fn joins(&self, next: &Self) -> bool {
        #[cfg(feature = "planted-bugs")]
        if super::planted::is(super::planted::RepairBug::ChainUnchecked) {
            return self.lsn == next.lsn;
        }
        let chains = self.chain.zip(next.chain).is_none_or(|(a, b)| a == b);
        self.lsn == next.lsn && self.sequence == next.sequence && chains
    }
}
