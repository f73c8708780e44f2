//! Reading frames out of a segment file: in order, each checked against what must come next.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rpo_core::frame::{Frame, FrameError, FrameHead, FrameRef, HEAD_BYTES};
use rpo_core::{DiskFile, Epoch, Lsn, Sequence, Timestamp};

use crate::segment::FRAMES_OFFSET;

/// Small enough to stay in the processor's cache between being read and being checked.
const WINDOW_BYTES: usize = 256 << 10;
const PAGE_BYTES: usize = 4096;
const SEARCH_BYTES: usize = 1 << 20;

/// Reads a file through one buffer, so that small reads in order cost one system call for many, and nothing is read twice.
///
/// Whole pages are read to places that begin pages: where the two are a few bytes apart instead, the system's copies were seen
/// to take five times as long.
#[derive(Debug)]
pub(crate) struct Window {
    file: Arc<dyn DiskFile>,
    /// Where in the file the held bytes begin: at a page.
    at: u64,
    buffer: Bytes,
    /// Where in the buffer they begin: at a page of memory.
    pad: usize,
    held: usize,
}

impl Window {
    pub(crate) fn new(file: Arc<dyn DiskFile>) -> Self {
        Self { file, at: 0, buffer: Bytes::new(), pad: 0, held: 0 }
    }

    /// Goes on with another file, in the same buffer.
    pub(crate) fn turn_to(&mut self, file: Arc<dyn DiskFile>) {
        (self.file, self.at, self.held) = (file, 0, 0);
    }

    /// Where in the held bytes `offset` is, if it is at their end at most.
    fn skip_to(&self, offset: u64) -> Option<usize> {
        let skip = usize::try_from(offset.checked_sub(self.at)?).ok()?;
        (skip <= self.held).then_some(skip)
    }

    /// The bytes from `offset`, as far as the file reaches, at most `len`.
    pub(crate) fn read(&mut self, offset: u64, len: usize) -> io::Result<Bytes> {
        let base = offset - offset % PAGE_BYTES as u64;
        let lead = (offset - base) as usize; // less than a page
        let held = self.skip_to(offset).is_some_and(|skip| skip.saturating_add(len) <= self.held);
        if !held {
            let kept = self.skip_to(base).map_or(0..0, |from| from..self.held);
            let (want, have) = ((lead + len).next_multiple_of(PAGE_BYTES).max(WINDOW_BYTES), kept.len());
            let mut buffer = self.room(want, kept);
            let into = &mut buffer[self.pad + have..self.pad + want];
            let read = self.file.read_at(into, base + have as u64);
            self.buffer = buffer.freeze();
            (self.at, self.held) = (base, have + read?);
        }
        let from = self.skip_to(offset).unwrap_or(self.held);
        let to = from.saturating_add(len).min(self.held);
        Ok(self.buffer.slice(self.pad + from..self.pad + to))
    }

    /// A buffer for at least `len` that begins with what is `kept` of the old one: the old one itself if nobody else has it.
    fn room(&mut self, len: usize, kept: Range<usize>) -> BytesMut {
        let old = std::mem::take(&mut self.buffer);
        self.held = 0;
        let kept = self.pad + kept.start..self.pad + kept.end;
        match old.try_into_mut() {
            Ok(mut buffer) if buffer.len() >= self.pad + len => {
                if kept.start > self.pad {
                    buffer.copy_within(kept, self.pad);
                }
                buffer
            }
            Ok(buffer) => self.grown(&buffer[kept], len),
            Err(shared) => self.grown(&shared[kept], len),
        }
    }

    fn grown(&mut self, kept: &[u8], len: usize) -> BytesMut {
        let mut buffer = BytesMut::zeroed(len.max(kept.len()) + PAGE_BYTES);
        self.pad = buffer.as_ptr().align_offset(PAGE_BYTES).min(PAGE_BYTES);
        buffer[self.pad..self.pad + kept.len()].copy_from_slice(kept);
        buffer
    }
}

/// What the next frame of a segment must say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expect {
    pub(crate) offset: u64,
    pub(crate) lsn: Lsn,
    pub(crate) seq: Sequence,
    pub(crate) chain: u32,
    pub(crate) time: Timestamp,
    pub(crate) epoch: Epoch,
    pub(crate) salt: u32,
}

impl Expect {
    /// The place after `head`.
    pub(crate) fn after(&self, head: &FrameHead) -> Self {
        self.after_chained(head, head.chain())
    }

    /// The place after `frame`.
    pub(crate) fn after_frame(&self, frame: &FrameRef<'_>) -> Self {
        self.after_chained(frame.head(), frame.chain())
    }

    fn after_chained(&self, head: &FrameHead, chain: u32) -> Self {
        Self {
            offset: self.offset + head.frame_len() as u64,
            lsn: head.end_lsn(),
            seq: head.end_seq(),
            chain,
            time: head.commit_time,
            ..*self
        }
    }

    /// Whether the frame of `head` may stand here, in a segment of this capacity.
    pub(crate) fn is_met_by(&self, head: &FrameHead, capacity: u64) -> bool {
        let fits = self.offset.saturating_add(head.frame_len() as u64) <= capacity;
        fits && self.mismatch(head).is_none()
    }

    /// What `head` says other than it must, if anything.
    pub(crate) fn mismatch(&self, head: &FrameHead) -> Option<&'static str> {
        let rules = [
            (head.salt == self.salt, "a valid frame of another segment"),
            (head.epoch == self.epoch, "a valid frame of another epoch"),
            (head.base_lsn == self.lsn, "a valid frame of another LSN"),
            (head.base_seq == self.seq, "a valid frame of another sequence"),
            (head.prev_chain == self.chain, "a valid frame that follows another one"),
            (head.commit_time >= self.time, "a valid frame whose commit time steps back"),
        ];
        rules.into_iter().find(|(holds, _)| !holds).map(|(_, what)| what)
    }
}

/// What stands where the next frame must be.
#[derive(Debug)]
pub(crate) enum Next {
    /// The next frame.
    Frame(Frame),
    /// A zero head, or the end of the segment.
    Unwritten,
    /// A valid frame that must not be here.
    Misplaced(&'static str),
    /// The head is valid and right; the rest is not.
    BadBody(FrameHead, FrameError),
    /// The head is not valid.
    BadHead(FrameError),
}

/// Reads what stands at `expect`; frames end at `capacity`.
pub(crate) fn next(window: &mut Window, expect: &Expect, capacity: u64) -> io::Result<Next> {
    if expect.offset.saturating_add(HEAD_BYTES as u64) > capacity {
        return Ok(Next::Unwritten); // no room for a head: nothing can have been written here
    }
    let head = {
        let bytes = window.read(expect.offset, HEAD_BYTES)?; // let go of before more is read, so that the buffer is free
        match bytes.first_chunk::<HEAD_BYTES>() {
            Some(head) => *head,
            None => {
                return Ok(Next::BadHead(FrameError::Short { needed: HEAD_BYTES, found: bytes.len() }));
            }
        }
    };
    let head = match FrameHead::decode(&head) {
        Ok(head) => head,
        Err(FrameError::Unwritten) => return Ok(Next::Unwritten),
        Err(error) => return Ok(Next::BadHead(error)),
    };
    if let Some(what) = expect.mismatch(&head) {
        return Ok(Next::Misplaced(what));
    }
    if expect.offset.saturating_add(head.frame_len() as u64) > capacity {
        return Ok(Next::Misplaced("a frame that reaches past the end of its segment"));
    }
    let bytes = window.read(expect.offset, head.frame_len())?;
    Ok(match Frame::decode(&bytes) {
        Ok((frame, _)) => Next::Frame(frame),
        Err(error) => Next::BadBody(head, error),
    })
}

/// What lies past the first thing that is no frame.
#[derive(Debug, Default)]
pub(crate) struct Beyond {
    /// Valid frame heads with the right salt, at or past the LSN.
    pub(crate) frames: u64,
    /// The highest `durable_lsn` among them.
    pub(crate) durable: Option<Lsn>,
    /// Offset of the last byte that is not zero, plus one; `from` if there is none.
    pub(crate) written_to: u64,
}

/// Searches past `from`, up to `capacity`, at every frame boundary for heads with this salt and a base at or past `lsn`.
pub(crate) fn search(
    file: &dyn DiskFile,
    from: u64,
    capacity: u64,
    salt: u32,
    lsn: Lsn,
) -> io::Result<Beyond> {
    let mut beyond = Beyond { written_to: from, ..Beyond::default() };
    let room = usize::try_from(capacity.saturating_sub(from)).unwrap_or(usize::MAX);
    let mut buffer = vec![0; room.min(SEARCH_BYTES + HEAD_BYTES)];
    let mut at = from;
    while at < capacity {
        let want = buffer.len().min(usize::try_from(capacity - at).unwrap_or(usize::MAX));
        let read = file.read_at(&mut buffer[..want], at)?;
        if read == 0 {
            break;
        }
        let window = &buffer[..read];
        if let Some(last) = last_written(window) {
            beyond.written_to = beyond.written_to.max(at + last as u64 + 1);
            let skip = if at == from { 8 } else { 0 }; // what stands at `from` is not later than itself
            look(&window[skip.min(read)..], SEARCH_BYTES - skip, salt, lsn, &mut beyond);
        }
        at += SEARCH_BYTES as u64; // windows overlap by a head; a multiple of 8 keeps the boundary
    }
    Ok(beyond)
}

/// Where the last byte is that is not zero.
fn last_written(window: &[u8]) -> Option<usize> {
    const ZEROS: [u8; 4096] = [0; 4096];
    let whole = window.len() - window.len() % ZEROS.len();
    let in_block = |from: usize, block: &[u8]| block.iter().rposition(|b| *b != 0).map(|at| from + at);
    let tail = in_block(whole, &window[whole..]);
    tail.or_else(|| {
        let blocks = window[..whole].chunks_exact(ZEROS.len()).enumerate().rev();
        blocks
            .filter(|(_, block)| *block != ZEROS)
            .find_map(|(number, block)| in_block(number * ZEROS.len(), block))
    })
}

fn look(window: &[u8], starts: usize, salt: u32, lsn: Lsn, beyond: &mut Beyond) {
    for start in (0..window.len().min(starts)).step_by(8) {
        let Some(head) = window[start..].first_chunk::<HEAD_BYTES>() else { break };
        if head[..4] == [0; 4] {
            continue; // quick: a head begins with its magic
        }
        if let Ok(head) = FrameHead::decode(head)
            && head.salt == salt
            && head.base_lsn >= lsn
        {
            beyond.frames += 1;
            beyond.durable = beyond.durable.max(Some(head.durable_lsn));
        }
    }
}

/// Whether a 512-byte sector of `range`, as far as it lies in the range, is still zero.
pub(crate) fn has_zero_sector(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<bool> {
    const SECTOR: u64 = 512;
    let mut at = from;
    let mut buffer = [0; SECTOR as usize];
    while at < to {
        let end = (at / SECTOR + 1) * SECTOR;
        let part = &mut buffer[..usize::try_from(end.min(to) - at).unwrap_or(SECTOR as usize)];
        let read = file.read_at(part, at)?;
        if part[..read].iter().all(|b| *b == 0) {
            return Ok(true);
        }
        at = end;
    }
    Ok(false)
}

/// Where a segment's frames begin.
pub(crate) fn first(bound: &crate::segment::Bound, time: Timestamp) -> Expect {
    Expect {
        offset: FRAMES_OFFSET,
        lsn: bound.base_lsn,
        seq: bound.base_seq,
        chain: bound.prev_chain.unwrap_or(0),
        time,
        epoch: bound.epoch,
        salt: bound.salt as u32, // the low half, by the format
    }
}
