#![doc = include_str!("stamp.md")]

use std::ops::Range;

use rpo_core::{Lsn, Timestamp};

use crate::format::{FormatError, get, put, seal, unseal};

const WHAT: &str = "stamp";
const MAGIC_BYTES: [u8; 8] = *b"RPOSTMP\n";
const REASON: usize = 10;
const RESERVED: usize = 11;
const FIRST: Range<usize> = 16..24;
const COUNT: Range<usize> = 24..28;
const RESERVED2: Range<usize> = 28..32;
const DROPPED_ID: Range<usize> = 32..40;
const DROPPED_END: Range<usize> = 40..48;
const DROPPED_TIME: Range<usize> = 48..56;
const LOST: Range<usize> = 56..64;
const LOST_ID: Range<usize> = 64..72;
const LOST_TIME: Range<usize> = 72..80;
const LOST_SINCE: Range<usize> = 80..88;
/// Length of a stamp.
pub const STAMP_BYTES: usize = 88;

/// Why events within the window are no longer covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LossReason {
    /// More events came than `events-max` holds.
    Overrun,
    /// The log no longer holds them: somebody else released it.
    Released,
    /// The journal was told to begin at a later number: what was before is not known.
    NotNumbered,
}

/// The end of what is no longer covered: everything up to and including this event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// Number of the last event dropped; 0: none ever was.
    pub event: u64,
    /// LSN where its commit ends.
    pub end: Lsn,
    /// Its commit time.
    pub time: Timestamp,
}

/// Events that the window should have covered, and that were dropped all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// How many, since the journal began.
    pub events: u64,
    /// Number of the last of them.
    pub last: u64,
    /// Its commit time.
    pub last_time: Timestamp,
    /// When the losing began that is going on, or that was the last.
    pub since: Timestamp,
    /// Why the last of them was lost.
    pub reason: LossReason,
}

/// What a commit of the journal says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Number of the first event that follows, or that would.
    pub first: u64,
    /// Events that follow in the same commit.
    pub count: u32,
    /// What is no longer covered as of this commit.
    pub dropped: Dropped,
    /// What of it should have been.
    pub lost: Option<Lost>,
}

impl Stamp {
    /// Whether this record is meant to be a stamp: its commit is the journal's.
    pub fn is_one(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC_BYTES)
    }

    /// The stamp's bytes.
    pub fn encode(&self) -> [u8; STAMP_BYTES] {
        let mut out = [0; STAMP_BYTES];
        out[REASON] = match self.lost.map(|lost| lost.reason) {
            None => 0,
            Some(LossReason::Overrun) => 1,
            Some(LossReason::Released) => 2,
            Some(LossReason::NotNumbered) => 3,
        };
        let time = |time: Timestamp| time.as_micros().to_le_bytes();
        put(&mut out, FIRST, &self.first.to_le_bytes());
        put(&mut out, COUNT, &self.count.to_le_bytes());
        put(&mut out, DROPPED_ID, &self.dropped.event.to_le_bytes());
        put(&mut out, DROPPED_END, &self.dropped.end.get().to_le_bytes());
        put(&mut out, DROPPED_TIME, &time(self.dropped.time));
        if let Some(lost) = &self.lost {
            put(&mut out, LOST, &lost.events.to_le_bytes());
            put(&mut out, LOST_ID, &lost.last.to_le_bytes());
            put(&mut out, LOST_TIME, &time(lost.last_time));
            put(&mut out, LOST_SINCE, &time(lost.since));
        }
        seal(&mut out, MAGIC_BYTES);
        out
    }

    /// Checks identity, integrity, version, meaning.
    ///
    /// # Errors
    /// [`FormatError`]; never panics, whatever the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        unseal(bytes, WHAT, MAGIC_BYTES, STAMP_BYTES)?;
        if bytes.len() != STAMP_BYTES {
            return Err(FormatError::Length { what: WHAT, expected: STAMP_BYTES, found: bytes.len() });
        }
        let number = |at: Range<usize>| u64::from_le_bytes(get(bytes, at));
        let time = |at: Range<usize>| Timestamp::from_micros(i64::from_le_bytes(get(bytes, at)));
        let rule = |rule| FormatError::Rule { what: WHAT, rule };
        let reason = match bytes[REASON] {
            0 => None,
            1 => Some(LossReason::Overrun),
            2 => Some(LossReason::Released),
            3 => Some(LossReason::NotNumbered),
            _ => return Err(rule("reasons are 0 to 3")),
        };
        let (events, last) = (number(LOST), number(LOST_ID));
        let lost = reason.map(|reason| Lost {
            events,
            last,
            last_time: time(LOST_TIME),
            since: time(LOST_SINCE),
            reason,
        });
        let stamp = Self {
            first: number(FIRST),
            count: u32::from_le_bytes(get(bytes, COUNT)),
            dropped: Dropped {
                event: number(DROPPED_ID),
                end: Lsn::new(number(DROPPED_END)),
                time: time(DROPPED_TIME),
            },
            lost,
        };
        let unused = lost.is_none() && bytes[LOST.start..LOST_SINCE.end].iter().any(|b| *b != 0);
        let rules = [
            (bytes[RESERVED] == 0 && bytes[RESERVED2] == [0; 4], "reserved bytes are zero"),
            (stamp.first > 0, "events count from 1"),
            (stamp.first.checked_add(u64::from(stamp.count)).is_some(), "numbers do not wrap"),
            (stamp.dropped.event < stamp.first, "what is dropped was recorded before"),
            (!unused, "without a reason nothing is lost"),
            (
                lost.is_none_or(|l| l.events > 0 && l.last <= stamp.dropped.event && l.events <= l.last),
                "what is lost was dropped",
            ),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, broken)) => Err(rule(broken)),
            None => Ok(stamp),
        }
    }
}

#[cfg(test)]
mod tests;
