//! The words of an objective: domains, levels, statuses, what is promised and what is done.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ErrorKind;

/// A text that is none of the words allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}: expected one of {allowed}")]
pub struct WordError {
    what: &'static str,
    text: String,
    allowed: String,
}

impl WordError {
    pub(super) fn new(what: &'static str, text: &str, allowed: String) -> Self {
        Self { what, text: text.to_owned(), allowed }
    }

    /// Always [`ErrorKind::Invalid`].
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

/// A closed list of words: an enum, its text forms, and an error that names them all.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$item_doc:meta])* $item:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name { $($(#[$item_doc])* $item),+ }

        impl $name {
            /// All of them, in order.
            pub const ALL: &[Self] = &[$(Self::$item),+];

            /// The word, as written in configuration and output.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$item => $text),+ }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::objective::WordError;

            fn from_str(text: &str) -> Result<Self, $crate::objective::WordError> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text).ok_or_else(|| {
                    let allowed = Self::ALL.iter().map(|word| word.as_str()).collect::<Vec<_>>().join(", ");
                    $crate::objective::WordError::new($what, text, allowed)
                })
            }
        }
    };
}
pub(super) use words;

words! {
    /// What is lost together. A later one usually takes the earlier ones with it; `operator` is another matter.
    Domain, "a failure domain" {
        /// The program is killed: what was synced here survives.
        Process = "process",
        /// The disk or the host is gone.
        Machine = "machine",
        /// The site is gone.
        Region = "region",
        /// Deletion, corruption, ransomware: survives only in history that the writer's credentials cannot delete.
        Operator = "operator",
    }
}

words! {
    /// How much loss is allowed, in steps.
    RpoLevel, "an RPO level" {
        /// None at all: one acknowledged unprotected commit is a breach.
        Zero = "zero",
        /// Up to one second.
        Minimal = "minimal",
        /// Up to five seconds.
        Low = "low",
        /// Up to thirty seconds.
        Medium = "medium",
        /// Up to five minutes.
        High = "high",
        /// As written, without a ceiling.
        Custom = "custom",
    }
}

impl RpoLevel {
    /// Most data loss the level allows; none for `custom`.
    pub const fn ceiling(self) -> Option<Duration> {
        match self {
            Self::Zero => Some(Duration::ZERO),
            Self::Minimal => Some(Duration::from_secs(1)),
            Self::Low => Some(Duration::from_secs(5)),
            Self::Medium => Some(Duration::from_secs(30)),
            Self::High => Some(Duration::from_secs(300)),
            Self::Custom => None,
        }
    }
}

words! {
    /// How a system stands against its objective.
    Status, "a status" {
        /// At most half of what is allowed.
        Healthy = "healthy",
        /// At most 80 % of what is allowed.
        Warning = "warning",
        /// At most what is allowed.
        Critical = "critical",
        /// More than is allowed.
        Breached = "breached",
        /// No recent evidence: neither good news nor bad.
        Unknown = "unknown",
        /// Not protected for the first time yet.
        Pending = "pending",
        /// Paused by an operator.
        Paused = "paused",
    }
}

words! {
    /// What is done about a threatened objective. Each includes those before it.
    Enforcement, "an enforcement mode" {
        /// Measure only.
        Observe = "observe",
        /// Tell people.
        Alert = "alert",
        /// Delay writes, from nothing at 50 % to fully at 100 %.
        Throttle = "throttle",
        /// Hold writes rather than pass the limit.
        Block = "block",
    }
}

words! {
    /// What becomes of a synchronous promise that cannot be kept now.
    OnLoss, "an on-loss policy" {
        /// Writes wait until it can.
        Block = "block",
        /// Writes go on; it is a breach, counted and alerted.
        Degrade = "degrade",
    }
}

/// What a caller is promised when its commit is acknowledged. Ordered: each includes those before it.
/// Written `buffered`, `os`, `durable`, `protected(region)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum AckLevel {
    /// In the program's memory: lost when it is killed.
    Buffered,
    /// With the operating system: survives the program, lost with the power.
    Os,
    /// Synced on the local disk.
    Durable,
    /// Durable in as many copies as the policy asks for that survive the loss of this domain.
    Protected(Domain),
}

impl fmt::Display for AckLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Buffered => f.pad("buffered"),
            Self::Os => f.pad("os"),
            Self::Durable => f.pad("durable"),
            Self::Protected(domain) => f.pad(&format!("protected({domain})")),
        }
    }
}

impl FromStr for AckLevel {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        match text {
            "buffered" => return Ok(Self::Buffered),
            "os" => return Ok(Self::Os),
            "durable" => return Ok(Self::Durable),
            _ => {}
        }
        let domain = text.strip_prefix("protected(").and_then(|rest| rest.strip_suffix(')'));
        domain.and_then(|name| name.parse().ok()).map(Self::Protected).ok_or_else(|| {
            let allowed = "buffered, os, durable, protected(process|machine|region|operator)";
            WordError::new("an acknowledgement level", text, allowed.to_owned())
        })
    }
}

impl TryFrom<String> for AckLevel {
    type Error = WordError;

    fn try_from(text: String) -> Result<Self, WordError> {
        text.parse()
    }
}

impl From<AckLevel> for String {
    fn from(level: AckLevel) -> String {
        level.to_string()
    }
}
