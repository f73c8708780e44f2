#![doc = include_str!("gap.md")]

use std::ops::Range;

use rpo_core::{Epoch, Position, Timestamp};

use crate::batch::{BatchHead, FormatError, VERSION_NUMBER, field, require};
use crate::bytes::{i64_at, u16_at};

/// Length of a record without its texts, bytes.
pub const FIXED_BYTES: usize = 24;
/// Longest name of who accepted a loss, bytes.
pub const WHO_BYTES_MAX: usize = 256;
/// Longest account of what happened, bytes.
pub const WHY_BYTES_MAX: usize = 1024;

const MAGIC_TEXT: &[u8; 8] = b"RPO-GAP!";
const MAGIC: Range<usize> = 0..8;
const VERSION: Range<usize> = 8..10;
const CAUSE: usize = 10;
const RESERVED: usize = 11;
const WHO_LENGTH: Range<usize> = 12..14;
const WHY_LENGTH: Range<usize> = 14..16;
const ACCEPTED_AT: Range<usize> = 16..24;

/// What lost a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapCause {
    /// The local log: a repair that accepted a loss.
    Log,
    /// The spool, before any copy had it.
    Spool,
    /// Something else; the text says what.
    Other,
}

/// Why a range is missing, and who accepted that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapRecord {
    /// What lost it.
    pub cause: GapCause,
    /// Who accepted the loss.
    pub who: String,
    /// What happened.
    pub why: String,
    /// When the loss was accepted.
    pub accepted_at: Timestamp,
}

/// A range of a history that no copy has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapSpan {
    /// The epoch it was recorded in.
    pub epoch: Epoch,
    /// Its number there.
    pub number: u64,
    /// Everything before this can be had: the nearest point before the gap.
    pub from: Position,
    /// Everything from here on can be had: the nearest point after the gap, for whoever has a base there.
    pub to: Position,
    /// Why, and who accepted it.
    pub record: GapRecord,
}

impl GapSpan {
    /// The gap that this object of an archive records.
    ///
    /// # Errors
    /// It is no gap, or its record is not in its format.
    pub fn of(head: &BatchHead, body: &[u8]) -> Result<Self, FormatError> {
        require(head.is_gap(), "kind", head.number, "3: a gap")?;
        let (expected, found) = (head.plain_bytes, body.len() as u64);
        if expected != found {
            return Err(FormatError::Length { what: "gap record", expected, found });
        }
        let record = GapRecord::decode(body)?;
        Ok(Self { epoch: head.epoch(), number: head.number, from: head.from, to: head.to, record })
    }
}

impl GapRecord {
    /// The record's bytes.
    ///
    /// # Errors
    /// A text that is empty or too long.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        let who = text_length(&self.who, "who", WHO_BYTES_MAX, "1 to 256 bytes")?;
        let why = text_length(&self.why, "why", WHY_BYTES_MAX, "1 to 1024 bytes")?;
        let mut bytes = vec![0; FIXED_BYTES];
        bytes[MAGIC].copy_from_slice(MAGIC_TEXT);
        bytes[VERSION].copy_from_slice(&VERSION_NUMBER.to_le_bytes());
        bytes[CAUSE] = match self.cause {
            GapCause::Log => 1,
            GapCause::Spool => 2,
            GapCause::Other => 3,
        };
        bytes[WHO_LENGTH].copy_from_slice(&who.to_le_bytes());
        bytes[WHY_LENGTH].copy_from_slice(&why.to_le_bytes());
        bytes[ACCEPTED_AT].copy_from_slice(&self.accepted_at.as_micros().to_le_bytes());
        bytes.extend_from_slice(self.who.as_bytes());
        bytes.extend_from_slice(self.why.as_bytes());
        Ok(bytes)
    }

    /// Reads a record. Never panics, whatever the bytes.
    ///
    /// # Errors
    /// [`FormatError`], which names the field.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let length = |expected: usize| FormatError::Length {
            what: "gap record",
            expected: expected as u64,
            found: bytes.len() as u64,
        };
        if bytes.len() < FIXED_BYTES {
            return Err(length(FIXED_BYTES));
        }
        if bytes[MAGIC] != MAGIC_TEXT[..] {
            return Err(FormatError::Magic("a gap record"));
        }
        let version = u16_at(bytes, VERSION);
        if version != VERSION_NUMBER {
            return Err(FormatError::Version { what: "gap record", found: version });
        }
        require(bytes[RESERVED] == 0, "reserved", bytes[RESERVED], "zero")?;
        let (who, why) = (usize::from(u16_at(bytes, WHO_LENGTH)), usize::from(u16_at(bytes, WHY_LENGTH)));
        require((1..=WHO_BYTES_MAX).contains(&who), "who_length", who, "1 to 256")?;
        require((1..=WHY_BYTES_MAX).contains(&why), "why_length", why, "1 to 1024")?;
        if bytes.len() != FIXED_BYTES + who + why {
            return Err(length(FIXED_BYTES + who + why));
        }
        let text = |at: Range<usize>, name| {
            String::from_utf8(bytes[at].to_vec()).map_err(|_| field(name, "bytes", "UTF-8"))
        };
        Ok(Self {
            cause: match bytes[CAUSE] {
                1 => GapCause::Log,
                2 => GapCause::Spool,
                3 => GapCause::Other,
                other => return Err(field("cause", other, "1, 2 or 3")),
            },
            who: text(FIXED_BYTES..FIXED_BYTES + who, "who")?,
            why: text(FIXED_BYTES + who..bytes.len(), "why")?,
            accepted_at: Timestamp::from_micros(i64_at(bytes, ACCEPTED_AT)),
        })
    }
}

fn text_length(text: &str, name: &'static str, max: usize, rule: &'static str) -> Result<u16, FormatError> {
    let length = u16::try_from(text.len()).ok().filter(|length| (1..=max).contains(&usize::from(*length)));
    length.ok_or_else(|| field(name, format_args!("{} bytes", text.len()), rule))
}

#[cfg(test)]
#[path = "gap_tests.rs"]
mod tests;
