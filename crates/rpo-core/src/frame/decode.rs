//! Reading frames.

use std::ops::Range;

use bytes::Bytes;

use super::record::{self, KIND_DATA, RawRecord};
use super::{FrameError, FrameHead, HEAD_BYTES};
use crate::record::{Commit, LogEntry, Marker, Record};
use crate::{Lsn, Sequence, TransactionId};

/// A checked frame: every checksum held and every rule of the format was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    head: FrameHead,
    bytes: Bytes, // head, body, padding
}

impl Frame {
    /// Checks and takes the frame that `bytes` begin with, without copying; also returns its length in `bytes`.
    ///
    /// Position, order and origin (LSN, chain, epoch, salt) are the caller's to check: only it knows what must come here.
    ///
    /// # Errors
    /// [`FrameError`], kind `Corrupt` or `Unsupported`; never panics, never allocates by an unchecked length.
    pub fn decode(bytes: &Bytes) -> Result<(Self, usize), FrameError> {
        let short = |needed| FrameError::Short { needed, found: bytes.len() };
        let head = bytes.first_chunk::<HEAD_BYTES>().ok_or_else(|| short(HEAD_BYTES))?;
        let head = FrameHead::decode(head)?;
        let len = head.frame_len();
        if bytes.len() < len {
            return Err(short(len));
        }
        let frame = Self { head, bytes: bytes.slice(..len) };
        let found = crc32c::crc32c(frame.body());
        if found != head.body_crc {
            return Err(FrameError::BodyCrc { expected: head.body_crc, found });
        }
        if frame.bytes[HEAD_BYTES + head.body_len as usize..].iter().any(|b| *b != 0) {
            return Err(FrameError::Malformed { rule: "padding is zero" });
        }
        frame.check_records()?;
        Ok((frame, len))
    }

    fn check_records(&self) -> Result<(), FrameError> {
        let (mut records, mut commits) = (0u32, 0u32);
        let mut walk = Walk { body: self.body(), at: 0 };
        while let Some(found) = walk.next_entry()? {
            match found {
                RawEntry::Commit { count, .. } => {
                    records += count;
                    commits += 1;
                }
                RawEntry::Marker { kind, payload, .. } => {
                    record::decode_marker(kind, &self.body()[payload])?;
                    records += 1;
                }
            }
        }
        if (records, commits) != (u32::from(self.head.record_count), u32::from(self.head.commit_count)) {
            return Err(FrameError::Malformed {
                rule: "the head counts the records and commits of its body",
            });
        }
        Ok(())
    }

    /// The head.
    pub fn head(&self) -> &FrameHead {
        &self.head
    }

    /// The whole frame as it stands in the file: head, body, padding.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The records, without head and padding.
    fn body(&self) -> &[u8] {
        &self.bytes[HEAD_BYTES..HEAD_BYTES + self.head.body_len as usize]
    }

    /// Its commits and markers in LSN order; payloads share the frame's bytes.
    pub fn entries(&self) -> Entries {
        Entries { frame: self.clone(), at: 0, sequence: self.head.base_seq }
    }
}

/// What the next bytes of a body are; ranges are within the body.
enum RawEntry {
    Commit { first: RawRecord, start: usize, end: usize, count: u32 },
    Marker { kind: u8, payload: Range<usize>, start: usize, end: usize },
}

struct Walk<'a> {
    body: &'a [u8],
    at: usize,
}

impl Walk<'_> {
    fn next_entry(&mut self) -> Result<Option<RawEntry>, FrameError> {
        let malformed = |rule| Err(FrameError::Malformed { rule });
        if self.at == self.body.len() {
            return Ok(None);
        }
        let start = self.at;
        let first = record::parse(self.body, start)?;
        self.at = first.end;
        if first.kind != KIND_DATA {
            if first.last || first.transaction.is_some() || first.context.is_some() {
                return malformed("markers have no flags");
            }
            let (kind, payload, end) = (first.kind, first.payload, first.end);
            return Ok(Some(RawEntry::Marker { kind, payload, start, end }));
        }
        let mut count = 1;
        let mut last = first.last;
        while !last {
            if self.at == self.body.len() {
                return malformed("a commit ends in its frame");
            }
            let record = record::parse(self.body, self.at)?;
            if record.kind != KIND_DATA {
                return malformed("no marker stands inside a commit");
            }
            if record.transaction.is_some() || record.context.is_some() {
                return malformed("only the first record of a commit has a transaction id or context");
            }
            self.at = record.end;
            last = record.last;
            count += 1;
        }
        Ok(Some(RawEntry::Commit { first, start, end: self.at, count }))
    }
}

/// The commits and markers of a [`Frame`].
#[derive(Debug, Clone)]
pub struct Entries {
    frame: Frame,
    at: usize,
    sequence: Sequence,
}

impl Entries {
    fn lsn(&self, offset: usize) -> Lsn {
        Lsn::new(self.frame.head.base_lsn.get().saturating_add(offset as u64)) // the head's end was checked
    }

    fn slice(&self, range: Range<usize>) -> Bytes {
        self.frame.bytes.slice(HEAD_BYTES + range.start..HEAD_BYTES + range.end)
    }

    fn commit(&mut self, first: RawRecord, start: usize, end: usize) -> Option<Commit> {
        let mut records = Vec::new();
        let mut at = start;
        while at < end {
            let record = record::parse(self.frame.body(), at).ok()?;
            records.push(Record { lsn: self.lsn(at), payload: self.slice(record.payload) });
            at = record.end;
        }
        self.sequence = self.sequence.checked_add(1)?;
        Some(Commit {
            epoch: self.frame.head.epoch,
            lsn: self.lsn(start),
            end: self.lsn(end),
            sequence: self.sequence,
            time: self.frame.head.commit_time,
            transaction: first.transaction.map(TransactionId),
            context: first.context.map(|range| self.slice(range)),
            records,
        })
    }
}

impl Iterator for Entries {
    type Item = LogEntry;

    fn next(&mut self) -> Option<LogEntry> {
        let mut walk = Walk { body: self.frame.body(), at: self.at };
        // `Frame::decode` has walked the same bytes with the same functions: an error cannot come up here.
        let found = walk.next_entry().ok().flatten()?;
        self.at = walk.at;
        Some(match found {
            RawEntry::Commit { first, start, end, .. } => LogEntry::Commit(self.commit(first, start, end)?),
            RawEntry::Marker { kind, payload, start, end } => LogEntry::Marker(Marker {
                epoch: self.frame.head.epoch,
                lsn: self.lsn(start),
                end: self.lsn(end),
                sequence: self.sequence,
                time: self.frame.head.commit_time,
                kind: record::decode_marker(kind, &self.frame.body()[payload]).ok()?,
            }),
        })
    }
}
