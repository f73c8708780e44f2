//! Reading frames.

use std::ops::Range;

use bytes::Bytes;

use super::record::{self, KIND_DATA, RawRecord, Trust};
use super::{FrameError, FrameHead, HEAD_BYTES};
use crate::record::{Commit, LogEntry, Marker, MarkerKind, Record};
use crate::{Epoch, Lsn, Position, Sequence, Timestamp, TransactionId};

/// A checked frame in somebody else's buffer: every checksum held and every rule of the format was kept.
#[derive(Debug, Clone, Copy)]
pub struct FrameRef<'a> {
    head: FrameHead,
    bytes: &'a [u8], // head, body, padding
}

impl<'a> FrameRef<'a> {
    /// Checks the frame that `bytes` begin with; also returns its length in `bytes`.
    ///
    /// Each byte is looked at once: the checksums of the records cover every byte of a body, so that of the body as a whole
    /// is compared only to say what is wrong.
    ///
    /// # Errors
    /// As [`Frame::decode`].
    pub fn decode(bytes: &'a [u8]) -> Result<(Self, usize), FrameError> {
        let short = |needed| FrameError::Short { needed, found: bytes.len() };
        let head = bytes.first_chunk::<HEAD_BYTES>().ok_or_else(|| short(HEAD_BYTES))?;
        let head = FrameHead::decode(head)?;
        let len = head.frame_len();
        let frame = Self { head, bytes: bytes.get(..len).ok_or_else(|| short(len))? };
        frame.check_records().map_err(|error| frame.body_error(error))?;
        if frame.bytes[HEAD_BYTES + head.body_len as usize..].iter().any(|b| *b != 0) {
            return Err(FrameError::Malformed { rule: "padding is zero" });
        }
        Ok((frame, len))
    }

    /// What is wrong with the whole, if it is not only one record.
    fn body_error(&self, error: FrameError) -> FrameError {
        let (expected, found) = (self.head.body_crc, crc32c::crc32c(self.body()));
        if found == expected { error } else { FrameError::BodyCrc { expected, found } }
    }

    fn check_records(&self) -> Result<(), FrameError> {
        let (mut records, mut commits) = (0u32, 0u32);
        let mut walk = Walk { body: self.body(), at: 0, trust: Trust::Check };
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

    /// [`FrameHead::chain`], from the bytes as they stand here.
    #[inline]
    pub fn chain(&self) -> u32 {
        crc32c::crc32c(&self.bytes[..HEAD_BYTES]) // every byte of a head is one of its fields
    }

    /// The records, without head and padding.
    fn body(&self) -> &'a [u8] {
        &self.bytes[HEAD_BYTES..HEAD_BYTES + self.head.body_len as usize]
    }

    /// Its commits and markers in LSN order; nothing is copied.
    pub fn entries(&self) -> EntryRefs<'a> {
        let walk = Walk { body: self.body(), at: 0, trust: Trust::Checked };
        EntryRefs { head: self.head, walk, sequence: self.head.base_seq }
    }
}

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
        let (frame, len) = FrameRef::decode(bytes)?;
        Ok((Self { head: frame.head, bytes: bytes.slice(..len) }, len))
    }

    /// The head.
    pub fn head(&self) -> &FrameHead {
        &self.head
    }

    /// The whole frame as it stands in the file: head, body, padding.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The same frame, borrowed.
    pub fn borrowed(&self) -> FrameRef<'_> {
        FrameRef { head: self.head, bytes: &self.bytes }
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

#[derive(Debug, Clone)]
struct Walk<'a> {
    body: &'a [u8],
    at: usize,
    trust: Trust,
}

impl Walk<'_> {
    #[inline]
    fn next_entry(&mut self) -> Result<Option<RawEntry>, FrameError> {
        let malformed = |rule| Err(FrameError::Malformed { rule });
        if self.at == self.body.len() {
            return Ok(None);
        }
        let start = self.at;
        let first = record::parse(self.body, start, self.trust)?;
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
            let record = record::parse(self.body, self.at, self.trust)?;
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

/// A commit or marker in somebody else's buffer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum EntryRef<'a> {
    /// Records that belong together.
    Commit(CommitRef<'a>),
    /// A record about the log itself.
    Marker(Marker),
}

impl EntryRef<'_> {
    /// Where it begins.
    pub fn lsn(&self) -> Lsn {
        match self {
            Self::Commit(commit) => commit.lsn,
            Self::Marker(marker) => marker.lsn,
        }
    }

    /// Where the history stands once it is included.
    pub fn position(&self) -> Position {
        match self {
            Self::Commit(commit) => commit.position(),
            Self::Marker(marker) => marker.position(),
        }
    }
}

/// A commit in somebody else's buffer; as [`Commit`], and nothing is copied.
#[derive(Debug, Clone)]
pub struct CommitRef<'a> {
    /// The writer's generation.
    pub epoch: Epoch,
    /// Where its first record begins.
    pub lsn: Lsn,
    /// Where its last record ends (excluded).
    pub end: Lsn,
    /// Its dense number, from 1.
    pub sequence: Sequence,
    /// When it was committed; never decreasing along LSNs.
    pub time: Timestamp,
    /// The program's own transaction number, if it gave one.
    pub transaction: Option<TransactionId>,
    /// Who or what caused it, if the program said so.
    pub context: Option<&'a [u8]>,
    records: &'a [u8], // encoded, checked
}

impl<'a> CommitRef<'a> {
    /// Where the history stands once this commit is included.
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, lsn: self.end, sequence: Some(self.sequence) }
    }

    /// The payloads of its records, in order; at least one.
    #[inline]
    pub fn payloads(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (bytes, mut at) = (self.records, 0);
        std::iter::from_fn(move || {
            if at >= bytes.len() {
                return None;
            }
            let record = record::parse(bytes, at, Trust::Checked).ok()?;
            at = record.end;
            Some(&bytes[record.payload])
        })
    }
}

fn lsn_at(head: &FrameHead, offset: usize) -> Lsn {
    Lsn::new(head.base_lsn.get().saturating_add(offset as u64)) // the head's end was checked
}

/// The commits and markers of a [`FrameRef`].
#[derive(Debug, Clone)]
pub struct EntryRefs<'a> {
    head: FrameHead,
    walk: Walk<'a>,
    sequence: Sequence,
}

impl<'a> Iterator for EntryRefs<'a> {
    type Item = EntryRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<EntryRef<'a>> {
        // The same bytes were walked with the same functions when the frame was taken: an error cannot come up here.
        let found = self.walk.next_entry().ok().flatten()?;
        let (head, body) = (&self.head, self.walk.body);
        Some(match found {
            RawEntry::Commit { first, start, end, .. } => {
                self.sequence = self.sequence.checked_add(1)?;
                EntryRef::Commit(CommitRef {
                    epoch: head.epoch,
                    lsn: lsn_at(head, start),
                    end: lsn_at(head, end),
                    sequence: self.sequence,
                    time: head.commit_time,
                    transaction: first.transaction.map(TransactionId),
                    context: first.context.map(|range| &body[range]),
                    records: &body[start..end],
                })
            }
            RawEntry::Marker { kind, payload, start, end } => EntryRef::Marker(Marker {
                epoch: head.epoch,
                lsn: lsn_at(head, start),
                end: lsn_at(head, end),
                sequence: self.sequence,
                time: head.commit_time,
                kind: marker_kind(kind, &body[payload])?,
            }),
        })
    }
}

fn marker_kind(kind: u8, payload: &[u8]) -> Option<MarkerKind> {
    record::decode_marker(kind, payload).ok() // done before, when the frame was taken
}

/// The commits and markers of a [`Frame`].
#[derive(Debug, Clone)]
pub struct Entries {
    frame: Frame,
    at: usize,
    sequence: Sequence,
}

impl Entries {
    fn body(&self) -> &[u8] {
        &self.frame.bytes[HEAD_BYTES..HEAD_BYTES + self.frame.head.body_len as usize]
    }

    fn slice(&self, range: Range<usize>) -> Bytes {
        self.frame.bytes.slice(HEAD_BYTES + range.start..HEAD_BYTES + range.end)
    }

    fn record(&self, at: usize, payload: Range<usize>) -> Record {
        Record { lsn: lsn_at(&self.frame.head, at), payload: self.slice(payload) }
    }

    fn commit(&mut self, first: RawRecord, start: usize, end: usize, count: u32) -> Option<Commit> {
        let mut records = Vec::with_capacity(count as usize); // counted, each of 16 bytes at least
        let mut at = first.end;
        records.push(self.record(start, first.payload.clone()));
        while at < end {
            let record = record::parse(self.body(), at, Trust::Checked).ok()?;
            records.push(self.record(at, record.payload));
            at = record.end;
        }
        self.sequence = self.sequence.checked_add(1)?;
        let head = &self.frame.head;
        Some(Commit {
            epoch: head.epoch,
            lsn: lsn_at(head, start),
            end: lsn_at(head, end),
            sequence: self.sequence,
            time: head.commit_time,
            transaction: first.transaction.map(TransactionId),
            context: first.context.map(|range| self.slice(range)),
            records,
        })
    }
}

impl Iterator for Entries {
    type Item = LogEntry;

    fn next(&mut self) -> Option<LogEntry> {
        let mut walk = Walk { body: self.body(), at: self.at, trust: Trust::Checked };
        // `Frame::decode` has walked the same bytes with the same functions: an error cannot come up here.
        let found = walk.next_entry().ok().flatten()?;
        self.at = walk.at;
        Some(match found {
            RawEntry::Commit { first, start, end, count } => {
                LogEntry::Commit(self.commit(first, start, end, count)?)
            }
            RawEntry::Marker { kind, payload, start, end } => LogEntry::Marker(Marker {
                epoch: self.frame.head.epoch,
                lsn: lsn_at(&self.frame.head, start),
                end: lsn_at(&self.frame.head, end),
                sequence: self.sequence,
                time: self.frame.head.commit_time,
                kind: marker_kind(kind, &self.body()[payload])?,
            }),
        })
    }
}
