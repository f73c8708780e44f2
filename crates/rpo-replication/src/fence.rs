#![doc = include_str!("fence.md")]

use std::ops::Range;

use rpo_core::{Epoch, StreamId, Timestamp};

use crate::batch::{FormatError, VERSION_NUMBER, epoch_field, field, require};
use crate::bytes::{Fields, array, i64_at, stream_at, u16_at, u32_at, u64_at};

/// Length of a fence without its note, bytes.
pub const FIXED_BYTES: usize = 120;
/// Longest note, bytes.
pub const NOTE_BYTES_MAX: usize = 512;

const MAGIC_TEXT: &[u8; 8] = b"RPOFENCE";
const MAGIC: Range<usize> = 0..8;
const VERSION: Range<usize> = 8..10;
const NOTE_LENGTH: Range<usize> = 10..12;
const EPOCH: Range<usize> = 12..16;
const NUMBER: Range<usize> = 16..24;
const BY_EPOCH: Range<usize> = 24..28;
const RESERVED: Range<usize> = 28..32;
const CLAIM: Range<usize> = 32..48;
const TIME: Range<usize> = 48..56;
const STREAM_LENGTH: usize = 56;
const STREAM: Range<usize> = 57..120;

/// The end of an epoch in one copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// Whose history it belongs to.
    pub stream: StreamId,
    /// The generation that ends.
    pub epoch: Epoch,
    /// Where it ends in this copy, from 1.
    pub number: u64,
    /// The generation that takes over.
    pub by: Epoch,
    /// Drawn at random by the takeover.
    pub claim: [u8; 16],
    /// Wall clock of whoever takes over.
    pub time: Timestamp,
    /// Who took over and why.
    pub note: String,
}

impl Fence {
    /// The fence's bytes; a note longer than [`NOTE_BYTES_MAX`] is cut at a character.
    pub fn encode(&self) -> Vec<u8> {
        let mut cut = self.note.len().min(NOTE_BYTES_MAX);
        while !self.note.is_char_boundary(cut) {
            cut -= 1;
        }
        let note = &self.note.as_bytes()[..cut];
        let mut fields = Fields::<FIXED_BYTES>::new();
        fields.put(MAGIC, MAGIC_TEXT);
        fields.put(VERSION, &VERSION_NUMBER.to_le_bytes());
        fields.put(NOTE_LENGTH, &u16::try_from(cut).expect("notes have at most 512 bytes").to_le_bytes());
        fields.put(EPOCH, &self.epoch.get().to_le_bytes());
        fields.put(NUMBER, &self.number.to_le_bytes());
        fields.put(BY_EPOCH, &self.by.get().to_le_bytes());
        fields.put(CLAIM, &self.claim);
        fields.put(TIME, &self.time.as_micros().to_le_bytes());
        let name = self.stream.as_str().as_bytes();
        fields.0[STREAM_LENGTH] = u8::try_from(name.len()).expect("stream names have at most 63 bytes");
        fields.put(STREAM, name);
        let mut bytes = fields.0.to_vec();
        bytes.extend_from_slice(note);
        bytes
    }

    /// Reads a fence. Never panics, whatever the bytes.
    ///
    /// # Errors
    /// [`FormatError`], which names the field.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let length = |expected: usize| FormatError::Length {
            what: "fence",
            expected: expected as u64,
            found: bytes.len() as u64,
        };
        if bytes.len() < FIXED_BYTES {
            return Err(length(FIXED_BYTES));
        }
        if bytes[MAGIC] != MAGIC_TEXT[..] {
            return Err(FormatError::Magic("a fence"));
        }
        let version = u16_at(bytes, VERSION);
        if version != VERSION_NUMBER {
            return Err(FormatError::Version { what: "fence", found: version });
        }
        let note_length = usize::from(u16_at(bytes, NOTE_LENGTH));
        require(note_length <= NOTE_BYTES_MAX, "note_length", note_length, "at most 512")?;
        if bytes.len() != FIXED_BYTES + note_length {
            return Err(length(FIXED_BYTES + note_length));
        }
        let fence = Self {
            stream: stream_at(bytes[STREAM_LENGTH], &bytes[STREAM])
                .ok_or_else(|| field("stream", bytes[STREAM_LENGTH], "a stream name, then zeros"))?,
            epoch: epoch_field(bytes, EPOCH, "epoch")?,
            number: u64_at(bytes, NUMBER),
            by: epoch_field(bytes, BY_EPOCH, "by_epoch")?,
            claim: array(bytes, CLAIM),
            time: Timestamp::from_micros(i64_at(bytes, TIME)),
            note: String::from_utf8(bytes[FIXED_BYTES..].to_vec())
                .map_err(|_| field("note", "bytes", "UTF-8"))?,
        };
        require(fence.number > 0, "number", fence.number, "numbers begin at 1")?;
        require(fence.by > fence.epoch, "by_epoch", fence.by, "larger than epoch")?;
        require(u32_at(bytes, RESERVED) == 0, "reserved", u32_at(bytes, RESERVED), "zero")?;
        Ok(fence)
    }
}

#[cfg(test)]
#[path = "fence_tests.rs"]
mod tests;
