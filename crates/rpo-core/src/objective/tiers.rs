//! The tiers of the trade: business, SLA and recovery tiers, and the stages of a program's life.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::words::{WordError, words};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// How much a business hurts. Written as a number, 1 to 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum BusinessTier {
    /// Near zero: financial transactions.
    One,
    /// 15 minutes to an hour: customer databases.
    Two,
    /// 4 to 24 hours: internal applications.
    Three,
    /// One to three days: archives, logs.
    Four,
}

impl BusinessTier {
    /// All four, the dearest first.
    pub const ALL: &[Self] = &[Self::One, Self::Two, Self::Three, Self::Four];

    /// The data loss such systems are usually promised: from, to.
    pub const fn band(self) -> (Duration, Duration) {
        let (from, to) = match self {
            Self::One => (0, 1),
            Self::Two => (15 * MINUTE, HOUR),
            Self::Three => (4 * HOUR, 24 * HOUR),
            Self::Four => (24 * HOUR, 72 * HOUR),
        };
        (Duration::from_secs(from), Duration::from_secs(to))
    }

    /// How copies are usually kept for it.
    pub const fn mode(self) -> CopyMode {
        match self {
            Self::One => CopyMode::Synchronous,
            Self::Two => CopyMode::Asynchronous,
            Self::Three | Self::Four => CopyMode::Scheduled,
        }
    }

    /// What is usually in it.
    pub const fn examples(self) -> &'static str {
        match self {
            Self::One => "financial transactions",
            Self::Two => "customer databases",
            Self::Three => "internal applications",
            Self::Four => "archives, logs",
        }
    }
}

impl fmt::Display for BusinessTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        u8::from(*self).fmt(f)
    }
}

impl From<BusinessTier> for u8 {
    fn from(tier: BusinessTier) -> u8 {
        match tier {
            BusinessTier::One => 1,
            BusinessTier::Two => 2,
            BusinessTier::Three => 3,
            BusinessTier::Four => 4,
        }
    }
}

impl TryFrom<u8> for BusinessTier {
    type Error = WordError;

    fn try_from(number: u8) -> Result<Self, WordError> {
        let found = Self::ALL.iter().copied().find(|tier| u8::from(*tier) == number);
        found.ok_or_else(|| WordError::new("a business tier", &number.to_string(), "1, 2, 3, 4".to_owned()))
    }
}

words! {
    /// How copies are kept.
    CopyMode, "a way to keep copies" {
        /// A commit is acknowledged once the copies have it.
        Synchronous = "synchronous",
        /// The log is shipped behind the commits.
        Asynchronous = "asynchronous",
        /// Checkpoints on a schedule, no log.
        Scheduled = "scheduled",
    }
}

words! {
    /// Which stage of its life a program is in.
    Stage, "a stage" {
        /// People depend on it: at most 5 s lost, back within an hour, strict.
        Production = "production",
        /// It is being written: at most 5 min lost, nothing held.
        Development = "development",
        /// It is being tested: at most 1 s lost, everything quick.
        Test = "test",
    }
}

words! {
    /// What a service-level agreement promises.
    SlaTier, "an SLA tier" {
        /// Back in 15 min, at most 1 min lost.
        Critical = "critical",
        /// Back in 1 h, at most 5 min lost.
        High = "high",
        /// Back in 2 h, at most 15 min lost.
        Standard = "standard",
        /// Back in 24 h, at most 1 h lost.
        Lower = "lower",
    }
}

impl SlaTier {
    /// Most time until it serves again.
    pub const fn rto(self) -> Duration {
        Duration::from_secs(match self {
            Self::Critical => 15 * MINUTE,
            Self::High => HOUR,
            Self::Standard => 2 * HOUR,
            Self::Lower => 24 * HOUR,
        })
    }

    /// Most data loss.
    pub const fn rpo(self) -> Duration {
        Duration::from_secs(match self {
            Self::Critical => MINUTE,
            Self::High => 5 * MINUTE,
            Self::Standard => 15 * MINUTE,
            Self::Lower => HOUR,
        })
    }

    /// How copies are kept for it.
    pub const fn mode(self) -> CopyMode {
        match self {
            Self::Critical => CopyMode::Synchronous,
            Self::High | Self::Standard | Self::Lower => CopyMode::Asynchronous,
        }
    }
}

words! {
    /// What is recovered first.
    RecoveryTier, "a recovery tier" {
        /// Back in 1 h, at most 5 min lost, before all else.
        Critical = "critical",
        /// Back in 4 h, at most 1 h lost.
        Analytical = "analytical",
        /// Back in 24 h, at most 24 h lost, last.
        Archive = "archive",
    }
}

words! {
    /// Who goes first when not all can go at once.
    Priority, "a priority" {
        /// After the others.
        Low = "low",
        /// In between.
        Medium = "medium",
        /// Before the others.
        Highest = "highest",
    }
}

impl RecoveryTier {
    /// Most time until it serves again.
    pub const fn rto(self) -> Duration {
        Duration::from_secs(match self {
            Self::Critical => HOUR,
            Self::Analytical => 4 * HOUR,
            Self::Archive => 24 * HOUR,
        })
    }

    /// Most data loss.
    pub const fn rpo(self) -> Duration {
        Duration::from_secs(match self {
            Self::Critical => 5 * MINUTE,
            Self::Analytical => HOUR,
            Self::Archive => 24 * HOUR,
        })
    }

    /// Who goes first.
    pub const fn priority(self) -> Priority {
        match self {
            Self::Critical => Priority::Highest,
            Self::Analytical => Priority::Medium,
            Self::Archive => Priority::Low,
        }
    }

    /// What is usually in it.
    pub const fn components(self) -> &'static [&'static str] {
        match self {
            Self::Critical => &["authentication", "core data"],
            Self::Analytical => &["reporting", "auxiliary data"],
            Self::Archive => &["history", "logs"],
        }
    }

    /// What is watched while it runs.
    pub const fn watched(self) -> &'static [&'static str] {
        match self {
            Self::Critical => {
                &["loss window", "copy lag", "checkpoint age", "estimated restore time", "last drill"]
            }
            Self::Analytical => &["loss window", "checkpoint age", "last drill"],
            Self::Archive => &["checkpoint age", "storage use"],
        }
    }

    /// What is checked after it was recovered.
    pub const fn validated(self) -> &'static [&'static str] {
        match self {
            Self::Critical => {
                &["connects", "integrity", "row counts", "foreign keys", "transaction boundaries"]
            }
            Self::Analytical => &["connects", "integrity", "row counts"],
            Self::Archive => &["integrity", "checksums"],
        }
    }
}
