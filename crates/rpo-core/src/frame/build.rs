//! Making frames.

use bytes::Bytes;

use super::record::{self, FLAG_CONTEXT, FLAG_LAST, FLAG_TXID, KIND_DATA};
use super::{
    BODY_BYTES_MAX, CONTEXT_BYTES_MAX, FrameError, FrameHead, HEAD_BYTES, PAYLOAD_BYTES_MAX,
    RECORD_HEAD_BYTES, padded,
};
use crate::{Epoch, Lsn, MarkerKind, Sequence, Timestamp, TransactionId};

/// A commit to be appended: its records become visible together or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommitDraft {
    /// The program's own bytes; at least one record, each at most 16 MiB, all together at most 64 MiB with their heads.
    pub records: Vec<Bytes>,
    /// The program's own transaction number.
    pub transaction: Option<TransactionId>,
    /// Who or what caused it; at most 65,535 bytes.
    pub context: Option<Bytes>,
}

impl CommitDraft {
    /// A commit of one record.
    pub fn one(payload: impl Into<Bytes>) -> Self {
        Self { records: vec![payload.into()], ..Self::default() }
    }

    /// A commit of several records.
    pub fn many(records: impl IntoIterator<Item = Bytes>) -> Self {
        Self { records: records.into_iter().collect(), ..Self::default() }
    }

    /// The same commit with the program's own transaction number.
    pub fn with_transaction(mut self, id: TransactionId) -> Self {
        self.transaction = Some(id);
        self
    }

    /// The same commit with a note of who or what caused it.
    pub fn with_context(mut self, context: impl Into<Bytes>) -> Self {
        self.context = Some(context.into());
        self
    }
}

fn limit(what: &'static str, found: usize, limit: usize) -> Result<(), FrameError> {
    if found > limit { Err(FrameError::TooLarge { what, found, limit }) } else { Ok(()) }
}

/// A commit or marker as bytes, checksums done: what can be prepared outside any lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedEntry {
    bytes: Vec<u8>,
    records: u16,
    commits: u16,
}

impl EncodedEntry {
    /// Encodes a commit.
    ///
    /// # Errors
    /// [`FrameError::NoRecords`], or [`FrameError::TooLarge`] naming the limit.
    pub fn commit(draft: &CommitDraft) -> Result<Self, FrameError> {
        let count = draft.records.len();
        if count == 0 {
            return Err(FrameError::NoRecords);
        }
        limit("number of records in a commit", count, usize::from(u16::MAX))?;
        let context = draft.context.as_deref();
        limit("context of a commit", context.map_or(0, <[u8]>::len), CONTEXT_BYTES_MAX)?;
        let mut total = context.map_or(0, |c| c.len() + 2) + draft.transaction.map_or(0, |_| 8);
        for payload in &draft.records {
            limit("payload of a record", payload.len(), PAYLOAD_BYTES_MAX)?;
            total += payload.len() + super::RECORD_HEAD_BYTES;
        }
        limit("commit with its record heads", total, BODY_BYTES_MAX)?;

        let mut bytes = Vec::with_capacity(total);
        let txid = draft.transaction.map(|id| id.0.to_le_bytes());
        let context_len = context.map(|c| u16::try_from(c.len()).unwrap_or(u16::MAX).to_le_bytes()); // limited above
        for (index, payload) in draft.records.iter().enumerate() {
            let mut flags = if index + 1 == count { FLAG_LAST } else { 0 };
            let mut content: [&[u8]; 4] = [&[], &[], &[], payload];
            if let (0, Some(txid)) = (index, &txid) {
                flags |= FLAG_TXID;
                content[0] = txid;
            }
            if let (0, Some(len), Some(context)) = (index, &context_len, context) {
                flags |= FLAG_CONTEXT;
                content[1] = len;
                content[2] = context;
            }
            record::append(&mut bytes, KIND_DATA, flags, &content);
        }
        let records = u16::try_from(count).unwrap_or(u16::MAX); // limited above
        Ok(Self { bytes, records, commits: 1 })
    }

    /// Encodes a marker.
    ///
    /// # Errors
    /// None for markers that the types of this crate allow.
    pub fn marker(kind: &MarkerKind) -> Result<Self, FrameError> {
        let (number, payload) = record::encode_marker(kind)?;
        let mut bytes = Vec::with_capacity(super::RECORD_HEAD_BYTES + payload.len());
        record::append(&mut bytes, number, 0, &[&payload]);
        Ok(Self { bytes, records: 1, commits: 0 })
    }

    /// Bytes it takes in a body: how far it moves the LSN.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never true: an entry has at least a record head.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Commits in it: 1, or 0 for a marker.
    pub fn commits(&self) -> u16 {
        self.commits
    }
}

/// A commit of one record, without transaction or context: its head is made, its payload not copied yet.
#[derive(Debug, Clone, Copy)]
pub struct EncodedRecord<'a> {
    head: [u8; RECORD_HEAD_BYTES],
    payload: &'a [u8],
}

impl<'a> EncodedRecord<'a> {
    /// Encodes a commit of this one payload; allocates nothing.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] naming the limit.
    pub fn commit(payload: &'a [u8]) -> Result<Self, FrameError> {
        limit("payload of a record", payload.len(), PAYLOAD_BYTES_MAX)?;
        Ok(Self { head: record::head_of(KIND_DATA, FLAG_LAST, payload), payload })
    }
}

/// What a [`FrameBuilder`] takes: [`EncodedEntry`] or [`EncodedRecord`].
pub trait Encoded {
    /// Its bytes, in two parts of which either may be empty.
    fn parts(&self) -> [&[u8]; 2];
    /// Records in it.
    fn records(&self) -> u16;
    /// Commits in it: 1, or 0 for a marker.
    fn commits(&self) -> u16;
    /// Bytes it takes in a body: how far it moves the LSN.
    fn bytes(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }
}

impl Encoded for EncodedRecord<'_> {
    fn parts(&self) -> [&[u8]; 2] {
        [&self.head, self.payload]
    }

    fn records(&self) -> u16 {
        1
    }

    fn commits(&self) -> u16 {
        1
    }
}

impl Encoded for EncodedEntry {
    fn parts(&self) -> [&[u8]; 2] {
        [&self.bytes, &[]]
    }

    fn records(&self) -> u16 {
        self.records
    }

    fn commits(&self) -> u16 {
        self.commits
    }
}

/// What a frame's head says beyond what its body gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameFields {
    /// LSN of the first record.
    pub base_lsn: Lsn,
    /// Commits before the frame.
    pub base_seq: Sequence,
    /// The writer's generation.
    pub epoch: Epoch,
    /// Everything before it is known to be durable now; at most `base_lsn`.
    pub durable_lsn: Lsn,
    /// When its commits are committed.
    pub commit_time: Timestamp,
    /// [`FrameHead::chain`] of the frame before; 0 for the first of a log.
    pub prev_chain: u32,
    /// Low 32 bits of the segment's salt.
    pub salt: u32,
}

/// Collects commits and markers into one frame.
#[derive(Debug, Clone)]
pub struct FrameBuilder {
    buffer: Vec<u8>, // begins with room for the head
    records: u16,
    commits: u16,
}

impl Default for FrameBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameBuilder {
    /// An empty frame.
    pub fn new() -> Self {
        Self::reusing(Vec::new())
    }

    /// An empty frame that is built in `buffer`, whose content goes and whose room stays.
    pub fn reusing(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.resize(HEAD_BYTES, 0);
        Self { buffer, records: 0, commits: 0 }
    }

    /// Whether nothing was pushed yet; an empty frame cannot be finished.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Bytes of records so far: the LSN of the next one is the base plus this.
    pub fn body_len(&self) -> usize {
        self.buffer.len() - HEAD_BYTES
    }

    /// Bytes the frame would take in a file: head, body, padding.
    pub fn frame_len(&self) -> usize {
        HEAD_BYTES + padded(self.body_len())
    }

    /// Records so far, markers included.
    pub fn records(&self) -> u16 {
        self.records
    }

    /// Commits so far.
    pub fn commits(&self) -> u16 {
        self.commits
    }

    /// Whether `entry` still fits under the limits of the format.
    pub fn fits(&self, entry: &impl Encoded) -> bool {
        self.body_len() + entry.bytes() <= BODY_BYTES_MAX
            && self.records.checked_add(entry.records()).is_some()
    }

    /// Adds an encoded entry; returns its offset in the body.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] if it does not fit; the frame is as it was.
    pub fn push(&mut self, entry: &impl Encoded) -> Result<usize, FrameError> {
        let at = self.body_len();
        limit("frame body", at + entry.bytes(), BODY_BYTES_MAX)?;
        let records = usize::from(self.records) + usize::from(entry.records());
        limit("number of records in a frame", records, usize::from(u16::MAX))?;
        for part in entry.parts() {
            self.buffer.extend_from_slice(part);
        }
        self.records += entry.records();
        self.commits += entry.commits();
        Ok(at)
    }

    /// Encodes and adds a commit; returns its offset in the body.
    ///
    /// # Errors
    /// As [`EncodedEntry::commit`] and [`FrameBuilder::push`].
    pub fn push_commit(&mut self, draft: &CommitDraft) -> Result<usize, FrameError> {
        self.push(&EncodedEntry::commit(draft)?)
    }

    /// Encodes and adds a marker; returns its offset in the body.
    ///
    /// # Errors
    /// As [`EncodedEntry::marker`] and [`FrameBuilder::push`].
    pub fn push_marker(&mut self, kind: &MarkerKind) -> Result<usize, FrameError> {
        self.push(&EncodedEntry::marker(kind)?)
    }

    /// The whole frame: head, body, padding.
    ///
    /// # Errors
    /// [`FrameError::Malformed`] if nothing was pushed, or the fields break a rule of the format.
    pub fn finish(mut self, fields: &FrameFields) -> Result<(FrameHead, Vec<u8>), FrameError> {
        let body = &self.buffer[HEAD_BYTES..];
        let head = FrameHead {
            body_len: u32::try_from(body.len()).unwrap_or(u32::MAX), // push keeps it below
            body_crc: crc32c::crc32c(body),
            base_lsn: fields.base_lsn,
            base_seq: fields.base_seq,
            record_count: self.records,
            commit_count: self.commits,
            epoch: fields.epoch,
            durable_lsn: fields.durable_lsn,
            commit_time: fields.commit_time,
            prev_chain: fields.prev_chain,
            salt: fields.salt,
        };
        head.check()?;
        self.buffer.resize(head.frame_len(), 0);
        self.buffer[..HEAD_BYTES].copy_from_slice(&head.encode());
        Ok((head, self.buffer))
    }
}
