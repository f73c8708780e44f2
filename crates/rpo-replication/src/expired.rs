#![doc = include_str!("expired.md")]

use std::ops::Range;

use bytes::Bytes;
use rpo_core::{Entropy, Epoch, Lsn, Position, Sequence, StreamId, Timestamp};
use rpo_crypto::{KeyRing, ObjectType};
use rpo_storage::Key;

use crate::ReplicationError;
use crate::batch::{Digest, FormatError, VERSION_NUMBER, epoch_field, field, require};
use crate::bytes::{Fields, array, i64_at, stream_at, u16_at, u64_at};
use crate::names::expired_key;
use crate::object::format_error;

/// Length of a note, bytes.
pub const NOTE_BYTES: usize = 184;

const MAGIC_TEXT: &[u8; 8] = b"RPOEXPIR";
const MAGIC: Range<usize> = 0..8;
const VERSION: Range<usize> = 8..10;
const FLAGS: usize = 10;
const STREAM_LENGTH: usize = 11;
const EPOCH: Range<usize> = 12..16;
const NUMBER: Range<usize> = 16..24;
const FIRST_KEPT: Range<usize> = 24..32;
const MERGED_KEPT: Range<usize> = 32..40;
const FROM_LSN: Range<usize> = 40..48;
const FROM_SEQUENCE: Range<usize> = 48..56;
const LAST_TIME: Range<usize> = 56..64;
const NOTED_AT: Range<usize> = 64..72;
const BEFORE: Range<usize> = 72..104;
const DECISION: Range<usize> = 104..120;
const STREAM: Range<usize> = 120..183;
const RESERVED: usize = 183;

/// What retention takes from an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpiryNote {
    /// Whose history.
    pub stream: StreamId,
    /// Its place among the notes of the epoch, from 1.
    pub number: u64,
    /// Batches and gaps below this number go.
    pub first_kept: u64,
    /// Merged objects below this number go.
    pub merged_kept: u64,
    /// Where the first object that is kept begins; holds the epoch.
    pub from: Position,
    /// Commit time of the last frame that goes.
    pub last_time: Timestamp,
    /// Wall clock of whoever decided.
    pub noted_at: Timestamp,
    /// SHA-256 of the object before the first that is kept.
    pub before: Digest,
    /// Drawn at random for each note.
    pub decision: [u8; 16],
}

impl ExpiryNote {
    /// The generation it speaks of.
    pub fn epoch(&self) -> Epoch {
        self.from.epoch
    }

    /// The note's bytes.
    pub fn encode(&self) -> [u8; NOTE_BYTES] {
        let mut fields = Fields::<NOTE_BYTES>::new();
        fields.put(MAGIC, MAGIC_TEXT);
        fields.put(VERSION, &VERSION_NUMBER.to_le_bytes());
        fields.0[FLAGS] = u8::from(self.from.sequence.is_some());
        fields.put(EPOCH, &self.epoch().get().to_le_bytes());
        fields.put(NUMBER, &self.number.to_le_bytes());
        fields.put(FIRST_KEPT, &self.first_kept.to_le_bytes());
        fields.put(MERGED_KEPT, &self.merged_kept.to_le_bytes());
        fields.put(FROM_LSN, &self.from.lsn.get().to_le_bytes());
        fields.put(FROM_SEQUENCE, &self.from.sequence.unwrap_or_default().get().to_le_bytes());
        fields.put(LAST_TIME, &self.last_time.as_micros().to_le_bytes());
        fields.put(NOTED_AT, &self.noted_at.as_micros().to_le_bytes());
        fields.put(BEFORE, &self.before.0);
        fields.put(DECISION, &self.decision);
        let name = self.stream.as_str().as_bytes();
        fields.0[STREAM_LENGTH] = u8::try_from(name.len()).expect("stream names have at most 63 bytes");
        fields.put(STREAM, name);
        fields.0
    }

    /// Reads a note: identity, version, then every field against its limits. Never panics, whatever the bytes.
    ///
    /// # Errors
    /// [`FormatError`], which names the field.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        if bytes.len() != NOTE_BYTES {
            let found = bytes.len() as u64;
            return Err(FormatError::Length { what: "expiry note", expected: NOTE_BYTES as u64, found });
        }
        if bytes[MAGIC] != MAGIC_TEXT[..] {
            return Err(FormatError::Magic("an expiry note"));
        }
        let version = u16_at(bytes, VERSION);
        if version != VERSION_NUMBER {
            return Err(FormatError::Version { what: "expiry note", found: version });
        }
        require(bytes[FLAGS] <= 1, "flags", bytes[FLAGS], "only bit 0 is known")?;
        let sequence = u64_at(bytes, FROM_SEQUENCE);
        require(bytes[FLAGS] == 1 || sequence == 0, "from_sequence", sequence, "zero unless flagged")?;
        let from = Position {
            epoch: epoch_field(bytes, EPOCH, "epoch")?,
            lsn: Lsn::new(u64_at(bytes, FROM_LSN)),
            sequence: (bytes[FLAGS] == 1).then(|| Sequence::new(sequence)),
        };
        let note = Self {
            stream: stream_at(bytes[STREAM_LENGTH], &bytes[STREAM])
                .ok_or_else(|| field("stream", bytes[STREAM_LENGTH], "a stream name, then zeros"))?,
            number: u64_at(bytes, NUMBER),
            first_kept: u64_at(bytes, FIRST_KEPT),
            merged_kept: u64_at(bytes, MERGED_KEPT),
            from,
            last_time: Timestamp::from_micros(i64_at(bytes, LAST_TIME)),
            noted_at: Timestamp::from_micros(i64_at(bytes, NOTED_AT)),
            before: Digest(array(bytes, BEFORE)),
            decision: array(bytes, DECISION),
        };
        require(note.number > 0, "number", note.number, "numbers begin at 1")?;
        require(note.first_kept > 1, "first_kept", note.first_kept, "at least 2: a note takes something")?;
        require(note.merged_kept > 0, "merged_kept", note.merged_kept, "numbers begin at 1")?;
        require(note.before != Digest::NONE, "before", note.before, "the digest of an object")?;
        require(bytes[RESERVED] == 0, "reserved", bytes[RESERVED], "zero")?;
        Ok(note)
    }

    /// Seals the note for its key.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn seal(&self, keys: &KeyRing, entropy: &dyn Entropy) -> Result<Bytes, ReplicationError> {
        let key = expired_key(&self.stream, self.epoch(), self.number);
        rpo_crypto::seal(keys, ObjectType::Head, key.as_str(), &[&self.encode()], entropy)
            .map_err(|source| ReplicationError::Envelope { key: key.to_string(), source })
    }

    /// Opens the note that stands under `key`.
    ///
    /// # Errors
    /// `Envelope`, `Format` or `Misplaced`.
    pub fn open(keys: &KeyRing, key: &Key, bytes: &Bytes) -> Result<Self, ReplicationError> {
        let frames = rpo_crypto::open(keys, ObjectType::Head, key.as_str(), bytes)
            .map_err(|source| ReplicationError::Envelope { key: key.to_string(), source })?;
        let [only] = &frames[..] else {
            let found = frames.len() as u64;
            let source = FormatError::Length { what: "expiry note frames", expected: 1, found };
            return Err(format_error(key, source));
        };
        let note = Self::decode(only).map_err(|source| format_error(key, source))?;
        if expired_key(&note.stream, note.epoch(), note.number) != *key {
            let why = format!("the note says it is {} of epoch {}", note.number, note.epoch());
            return Err(ReplicationError::Misplaced { key: key.clone(), why });
        }
        Ok(note)
    }
}

#[cfg(test)]
#[path = "expired_tests.rs"]
mod tests;
