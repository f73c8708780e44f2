//! Frames read in pieces of a stated size: a seek reads no more than it needs, background reading never hogs.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use rpo_core::DiskFile;
use rpo_core::frame::{Frame, FrameError, FrameHead, HEAD_BYTES};

use crate::scan::{Expect, Next};

const LEAST: usize = 4 << 10;
const MOST: usize = 256 << 10;

/// Reads a file forward: the first piece is as long as was asked for, the next is short, and each after it twice as long.
#[derive(Debug)]
pub(crate) struct Pieces {
    file: Arc<dyn DiskFile>,
    at: u64,
    bytes: Bytes,
    piece: usize,
    next_piece: usize,
}

impl Pieces {
    pub(crate) fn new(file: Arc<dyn DiskFile>, first: u64) -> Self {
        let piece = usize::try_from(first).unwrap_or(MOST).clamp(HEAD_BYTES, MOST);
        Self { file, at: 0, bytes: Bytes::new(), piece, next_piece: LEAST }
    }

    /// In pieces that are all as long as is good for reading through.
    pub(crate) fn steady(file: Arc<dyn DiskFile>) -> Self {
        Self { file, at: 0, bytes: Bytes::new(), piece: MOST, next_piece: MOST }
    }

    fn read(&mut self, offset: u64, len: usize, capacity: u64) -> io::Result<Bytes> {
        let held = offset.checked_sub(self.at).and_then(|skip| usize::try_from(skip).ok());
        let held = held.filter(|skip| *skip <= self.bytes.len()).map(|skip| self.bytes.slice(skip..));
        if let Some(held) = held.as_ref().filter(|held| held.len() >= len) {
            return Ok(held.slice(..len));
        }
        let left = usize::try_from(capacity.saturating_sub(offset)).unwrap_or(usize::MAX);
        let want = left.min(self.piece.max(len));
        self.piece = self.next_piece;
        self.next_piece = (self.next_piece * 2).min(MOST);
        let mut buffer = vec![0; want];
        let held = held.unwrap_or_default(); // what is here is not read twice
        let have = held.len().min(want);
        buffer[..have].copy_from_slice(&held[..have]);
        let mut filled = have;
        while filled < want {
            match self.file.read_at(&mut buffer[filled..], offset + filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        buffer.truncate(filled);
        self.at = offset;
        self.bytes = buffer.into();
        Ok(self.bytes.slice(..len.min(filled)))
    }

    /// Reads what stands at `expect`, with every check; frames end at `capacity`.
    pub(crate) fn next(&mut self, expect: &Expect, capacity: u64) -> io::Result<Next> {
        if expect.offset.saturating_add(HEAD_BYTES as u64) > capacity {
            return Ok(Next::Unwritten);
        }
        let bytes = self.read(expect.offset, HEAD_BYTES, capacity)?;
        let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else {
            return Ok(Next::BadHead(FrameError::Short { needed: HEAD_BYTES, found: bytes.len() }));
        };
        let head = match FrameHead::decode(head) {
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
        let bytes = self.read(expect.offset, head.frame_len(), capacity)?;
        Ok(match Frame::decode(&bytes) {
            Ok((frame, _)) => Next::Frame(frame),
            Err(error) => Next::BadBody(head, error),
        })
    }
}
