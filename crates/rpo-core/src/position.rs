//! Where a stream stands: LSN, sequence, epoch, and the three together.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A byte position in a stream's own record bytes; "up to `lsn`" excludes it.
///
/// Never reused, never renumbered by compression or archiving, so a lag in bytes is a subtraction.
/// Shown and read as a decimal number; `16/B374D848`, as PostgreSQL writes it, is read too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lsn(u64);

/// LSNs from `start` (included) to `end` (excluded).
pub type LsnRange = Range<Lsn>;

impl Lsn {
    /// Where every stream begins.
    pub const ZERO: Lsn = Lsn(0);
    /// Past every position a stream can reach.
    pub const MAX: Lsn = Lsn(u64::MAX);

    /// The position `bytes` after the beginning of the stream.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Bytes from the beginning of the stream.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position `bytes` further on; `None` past the end of the number range.
    pub fn checked_add(self, bytes: u64) -> Option<Self> {
        self.0.checked_add(bytes).map(Self)
    }

    /// Bytes from `earlier` to here; 0 if `earlier` is not earlier.
    pub const fn bytes_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Lsn {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || PositionError {
            what: "an LSN",
            text: text.to_owned(),
            hint: "a decimal number or HIGH/LOW in hex",
        };
        match text.split_once('/') {
            None => text.parse().map(Self).map_err(|_| bad()),
            Some((high, low)) => {
                let high = u32::from_str_radix(high, 16).map_err(|_| bad())?;
                let low = u32::from_str_radix(low, 16).map_err(|_| bad())?;
                Ok(Self(u64::from(high) << 32 | u64::from(low)))
            }
        }
    }
}

/// How many commits lie before a position: dense, so gaps are provable and a count at risk is a subtraction.
///
/// The first commit of a stream is number 1; a position just after it has sequence 1. Markers take none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sequence(u64);

impl Sequence {
    /// Before the first commit.
    pub const ZERO: Sequence = Sequence(0);

    /// The position after `count` commits.
    pub const fn new(count: u64) -> Self {
        Self(count)
    }

    /// Commits before this position.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position `count` commits further on; `None` past the end of the number range.
    pub fn checked_add(self, count: u64) -> Option<Self> {
        self.0.checked_add(count).map(Self)
    }

    /// Commits from `earlier` to here; 0 if `earlier` is not earlier.
    pub const fn commits_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Sequence {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = |_| PositionError {
            what: "a sequence",
            text: text.to_owned(),
            hint: "a decimal number of commits",
        };
        text.parse().map(Self).map_err(bad)
    }
}

/// A writer's generation in a stream; a larger one fences a smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Epoch(u32);

impl TryFrom<u32> for Epoch {
    type Error = PositionError;

    fn try_from(number: u32) -> Result<Self, PositionError> {
        let bad = || PositionError { what: "an epoch", text: number.to_string(), hint: "a number from 1" };
        Self::new(number).ok_or_else(bad)
    }
}

impl From<Epoch> for u32 {
    fn from(epoch: Epoch) -> u32 {
        epoch.0
    }
}

impl Epoch {
    /// The first writer's generation. Zero is never used: a zeroed field is no epoch.
    pub const FIRST: Epoch = Epoch(1);

    /// Generation `number`, from 1.
    pub const fn new(number: u32) -> Option<Self> {
        if number == 0 { None } else { Some(Self(number)) }
    }

    /// The generation's number, from 1.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The generation after this one; `None` once the numbers are used up.
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a history stands: an exclusive end. Ordered by epoch, then LSN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The writer's generation.
    pub epoch: Epoch,
    /// Everything before this byte is included.
    pub lsn: Lsn,
    /// How many commits that is; absent for foreign raw streams, whose counts are unknown rather than zero.
    pub sequence: Option<Sequence>,
}

impl Position {
    /// The beginning of a stream of our own.
    pub const START: Position =
        Position { epoch: Epoch::FIRST, lsn: Lsn::ZERO, sequence: Some(Sequence::ZERO) };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lsn {} (epoch {}", self.lsn, self.epoch)?;
        if let Some(sequence) = self.sequence {
            write!(f, ", {sequence} commits")?;
        }
        f.write_str(")")
    }
}

/// A text that names no position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}: expected {hint}")]
pub struct PositionError {
    what: &'static str,
    text: String,
    hint: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_a_subtraction_and_never_negative() {
        assert_eq!(Lsn::new(10).bytes_since(Lsn::new(4)), 6);
        assert_eq!(Lsn::new(4).bytes_since(Lsn::new(10)), 0);
        assert_eq!(Sequence::new(9).commits_since(Sequence::new(2)), 7);
    }

    #[test]
    fn both_notations_of_an_lsn_are_read() {
        assert_eq!("16/B374D848".parse::<Lsn>().unwrap(), Lsn::new(0x16_B374_D848));
        assert_eq!("42".parse::<Lsn>().unwrap(), Lsn::new(42));
        assert!("-1".parse::<Lsn>().is_err());
        assert!("1/2/3".parse::<Lsn>().is_err());
    }

    #[test]
    fn a_zeroed_field_is_no_epoch() {
        assert!(serde_json::from_str::<Epoch>("0").is_err());
        assert_eq!(serde_json::from_str::<Epoch>("7").unwrap().get(), 7);
    }

    #[test]
    fn a_larger_epoch_wins_whatever_the_lsn() {
        let old = Position { epoch: Epoch::FIRST, lsn: Lsn::new(100), sequence: None };
        let new = Position { epoch: Epoch::new(2).unwrap(), lsn: Lsn::new(1), sequence: None };
        assert!(new > old);
    }
}
