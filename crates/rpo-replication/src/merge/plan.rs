//! Which run of batches is merged next: a pure decision.

use std::ops::RangeInclusive;

use rpo_core::Timestamp;

use super::MergeConfig;
use crate::batch::{BatchHead, PLAIN_BYTES_MAX};
use crate::merged::PARTS_MAX;

/// A number of an epoch as home has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) number: u64,
    pub(super) plain_bytes: u64,
    pub(super) sealed_at: Timestamp,
    /// False for what no merged object takes: an epoch start, a gap, a number that is not there.
    pub(super) batch: bool,
}

impl Candidate {
    pub(super) fn of(number: u64, head: Option<&BatchHead>) -> Self {
        let batch = head.filter(|head| head.frames > 0);
        Self {
            number,
            plain_bytes: batch.map_or(0, |head| head.plain_bytes),
            sealed_at: batch.map_or(Timestamp::EPOCH, |head| head.sealed_at),
            batch: batch.is_some(),
        }
    }
}

/// The first run that is large enough, or has waited long enough, or can grow no more. Never across what is no batch, and
/// never the newest.
pub(super) fn plan_merge(
    candidates: &[Candidate],
    newest: u64,
    now: Timestamp,
    config: &MergeConfig,
) -> Option<RangeInclusive<u64>> {
    let target = config.target_bytes.get();
    let mut run: Vec<&Candidate> = Vec::new();
    let mut bytes = 0;
    for candidate in candidates {
        let last = candidate.number >= newest;
        let small = candidate.batch && candidate.plain_bytes < target;
        let full = bytes + candidate.plain_bytes > PLAIN_BYTES_MAX;
        if !small || last || full {
            let old = run.first().is_some_and(|first| {
                first.sealed_at.saturating_add(config.patience.get()) <= now
                    && run.len() >= config.parts_min as usize
            });
            // What cannot grow any more is merged as it is; what ends at the newest batch may grow yet.
            if run.len() >= 2 && (!last || old) {
                return span(&run);
            }
            run.clear();
            bytes = 0;
        }
        if last {
            return None;
        }
        if small {
            run.push(candidate);
            bytes += candidate.plain_bytes;
        }
        if run.len() >= 2 && (bytes >= target || run.len() as u64 >= PARTS_MAX) {
            return span(&run);
        }
    }
    None
}

fn span(run: &[&Candidate]) -> Option<RangeInclusive<u64>> {
    Some(run.first()?.number..=run.last()?.number)
}

/// Planted: the last part loses its last frame, and its head agrees.
#[cfg(feature = "planted-bugs")]
pub(super) fn drop_last_frame(parts: &mut [crate::object::OpenBatch]) {
    use crate::frames::{decode_run, summarize};

    let Some(part) = parts.iter_mut().rev().find(|part| part.head.frames > 1) else { return };
    let frames = part.frames().expect("it was opened");
    let last = decode_run(&frames, part.head.epoch()).expect("it was checked").pop().expect("two frames");
    let mut kept = frames.len();
    while let Ok((frame, length)) = rpo_core::frame::Frame::decode(&frames.slice(frames.len() - kept..)) {
        if frame.head().start() == last.head().start() {
            break;
        }
        kept -= length;
    }
    let body = frames.slice(..frames.len() - kept);
    let run = summarize(&body, part.head.epoch()).expect("whole frames");
    part.head.codec = crate::BatchCodec::None;
    part.head.plain_bytes = body.len() as u64;
    part.body = body;
    (part.head.to, part.head.frames, part.head.points) = (run.to, run.frames, run.points);
    (part.head.last_time, part.head.last_chain) = (run.last_time, run.last_chain);
    part.head.transactions = run.transactions;
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
