//! Reading one segment past what is damaged in it.

use std::io;
use std::sync::Arc;

use rpo_core::frame::{Frame, FrameHead, HEAD_BYTES};
use rpo_core::{Lsn, Timestamp};

use super::chain::Chain;
use super::condition::Run;
use super::files::Candidate;
use crate::scan::{self, Expect, Next, Window};
use crate::segment::FRAMES_OFFSET;

/// Where walking a file stopped.
#[derive(Debug)]
pub(super) struct Stop {
    /// What is readable, if anything is.
    pub(super) run: Option<Run>,
    /// Where it stopped.
    pub(super) at: Expect,
    /// What stands there; none at the limit.
    pub(super) next: Option<Next>,
    /// The highest `durable_lsn` of the frames read.
    pub(super) durable: Lsn,
}

pub(super) fn expect(place: &Chain, offset: u64, salt: u32) -> Expect {
    let chain = place.chain.unwrap_or(0);
    let (lsn, seq, time, epoch) = (place.lsn, place.sequence, place.time, place.epoch);
    Expect { offset, lsn, seq, chain, time, epoch, salt }
}

pub(super) fn place(at: &Expect) -> Chain {
    Chain { epoch: at.epoch, lsn: at.lsn, sequence: at.seq, chain: Some(at.chain), time: at.time }
}

/// Reads frames from `from` on, each checked against the one before, up to `limit`.
pub(super) fn walk(candidate: &Candidate, from: Expect, limit: Option<Lsn>) -> io::Result<Stop> {
    let mut window = Window::new(Arc::clone(&candidate.file));
    let (mut at, mut durable, mut run) = (from, Lsn::ZERO, None::<Run>);
    let next = loop {
        if limit.is_some_and(|limit| at.lsn >= limit) {
            break None;
        }
        match scan::next(&mut window, &at, candidate.capacity)? {
            Next::Frame(frame) => {
                let head = frame.head();
                durable = durable.max(head.durable_lsn);
                at = at.after(head);
                let run = run.get_or_insert_with(|| Run::begin(candidate, &from, head.commit_time));
                run.add(head, place(&at));
            }
            other => break Some(other),
        }
    };
    Ok(Stop { run, at, next, durable })
}

/// The next whole frame of this segment at or past `lsn`, looked for at every frame boundary after `from`.
pub(super) fn resume(candidate: &Candidate, from: u64, lsn: Lsn) -> io::Result<Option<Expect>> {
    const STRIDE: usize = 1 << 20;
    let mut buffer = vec![0; STRIDE + HEAD_BYTES];
    let mut at = from.max(FRAMES_OFFSET);
    while at < candidate.capacity {
        let want = buffer.len().min(usize::try_from(candidate.capacity - at).unwrap_or(usize::MAX));
        let read = candidate.file.read_at(&mut buffer[..want], at)?;
        for start in (0..read.min(STRIDE)).step_by(8) {
            let Some(head) = buffer[start..read].first_chunk::<HEAD_BYTES>() else { break };
            if head[..4] == [0; 4] {
                continue; // quick: a head begins with its magic
            }
            let Ok(head) = FrameHead::decode(head) else { continue };
            let fits = candidate.salt.is_none_or(|salt| salt == head.salt)
                && head.epoch == candidate.epoch
                && head.base_lsn >= lsn;
            if fits && whole(candidate, at + start as u64, &head)? {
                return Ok(Some(before(&head, at + start as u64)));
            }
        }
        if read < want {
            break;
        }
        at += STRIDE as u64; // windows overlap by a head; a multiple of 8 keeps the boundary
    }
    Ok(None)
}

/// What comes before a frame, as it says itself.
fn before(head: &FrameHead, offset: u64) -> Expect {
    Expect {
        offset,
        lsn: head.base_lsn,
        seq: head.base_seq,
        chain: head.prev_chain,
        time: Timestamp::from_micros(i64::MIN),
        epoch: head.epoch,
        salt: head.salt,
    }
}

fn whole(candidate: &Candidate, offset: u64, head: &FrameHead) -> io::Result<bool> {
    if offset.saturating_add(head.frame_len() as u64) > candidate.capacity {
        return Ok(false);
    }
    let bytes = Window::new(Arc::clone(&candidate.file)).read(offset, head.frame_len())?;
    Ok(Frame::decode(&bytes).is_ok())
}
