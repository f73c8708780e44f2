//! Runs of log frames: what is checked before they are sealed, and again when they are read back.

use bytes::Bytes;
use rpo_core::frame::{Frame, FrameError};
use rpo_core::{Epoch, LogEntry, MarkerKind, Position, Timestamp, TransactionId};

/// What a run of whole frames holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunSummary {
    pub(crate) from: Position,
    pub(crate) to: Position,
    pub(crate) first_time: Timestamp,
    pub(crate) last_time: Timestamp,
    pub(crate) frames: u32,
    pub(crate) points: u32,
    pub(crate) transactions: Option<(TransactionId, TransactionId)>,
    pub(crate) prev_chain: u32,
    pub(crate) last_chain: u32,
}

impl RunSummary {
    /// What the head of a batch says that its frames hold.
    pub(crate) fn told(head: &crate::BatchHead) -> Self {
        Self {
            from: head.from,
            to: head.to,
            first_time: head.first_time,
            last_time: head.last_time,
            frames: head.frames,
            points: head.points,
            transactions: head.transactions,
            prev_chain: head.prev_chain,
            last_chain: head.last_chain,
        }
    }
}

/// Why bytes are no run of frames.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RunError {
    #[error("frame {index}: {source}")]
    Frame { index: u32, source: FrameError },
    #[error("frame {index} at {at} does not follow on {end}: {rule}")]
    Order { index: u32, at: Position, end: Position, rule: &'static str },
    #[error("no frames")]
    Empty,
}

/// The frames of a run, each checked by itself and against the one before.
pub(crate) fn decode_run(bytes: &Bytes, epoch: Epoch) -> Result<Vec<Frame>, RunError> {
    let mut frames: Vec<Frame> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let index = u32::try_from(frames.len()).unwrap_or(u32::MAX);
        let (frame, length) =
            Frame::decode(&bytes.slice(at..)).map_err(|source| RunError::Frame { index, source })?;
        let head = frame.head();
        let order = |end, rule| Err(RunError::Order { index, at: head.start(), end, rule });
        if head.epoch != epoch {
            return order(head.start(), "it is of another epoch");
        }
        if let Some(last) = frames.last().map(Frame::head) {
            if head.start() != last.end() {
                return order(last.end(), "positions are contiguous");
            }
            if head.commit_time < last.commit_time {
                return order(last.end(), "times do not decrease");
            }
            if head.prev_chain != last.chain() {
                return order(last.end(), "each names the head before it");
            }
        }
        frames.push(frame);
        at += length;
    }
    Ok(frames)
}

/// Checks a run and tells what it holds.
pub(crate) fn summarize(bytes: &Bytes, epoch: Epoch) -> Result<RunSummary, RunError> {
    let frames = decode_run(bytes, epoch)?;
    let (first, last) = frames.first().zip(frames.last()).ok_or(RunError::Empty)?;
    let mut summary = RunSummary {
        from: first.head().start(),
        to: last.head().end(),
        first_time: first.head().commit_time,
        last_time: last.head().commit_time,
        frames: u32::try_from(frames.len()).unwrap_or(u32::MAX),
        points: 0,
        transactions: None,
        prev_chain: first.head().prev_chain,
        last_chain: last.head().chain(),
    };
    for entry in frames.iter().flat_map(Frame::entries) {
        match entry {
            LogEntry::Commit(commit) => {
                if let Some(id) = commit.transaction {
                    let (low, high) = summary.transactions.unwrap_or((id, id));
                    summary.transactions = Some((low.min(id), high.max(id)));
                }
            }
            LogEntry::Marker(marker) => summary.points += u32::from(names_a_moment(&marker.kind)),
        }
    }
    Ok(summary)
}

/// Whether a marker is worth finding by itself.
pub(crate) fn names_a_moment(kind: &MarkerKind) -> bool {
    matches!(kind, MarkerKind::RestorePoint(_) | MarkerKind::Checkpoint(_) | MarkerKind::ClockAnomaly(_))
}
