//! The limit for one domain, and the marks below it at which people are told.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::HumanDuration;
use crate::time::TimeError;

/// A mark below the limit: a share of it (`"60%"`) or a time of its own (`"3s"`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Threshold {
    /// Whole percent of the limit; fits every domain, whatever its limit.
    Percent(u16),
    /// This long, whatever the limit.
    Time(HumanDuration),
}

impl Threshold {
    /// The time at which a limit reaches this mark.
    pub fn of(self, limit: Duration) -> Duration {
        match self {
            Self::Percent(percent) => {
                let micros = limit.as_micros().saturating_mul(u128::from(percent)) / 100;
                Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
            }
            Self::Time(time) => time.get(),
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => f.pad(&format!("{percent}%")),
            Self::Time(time) => time.fmt(f),
        }
    }
}

impl FromStr for Threshold {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        match text.strip_suffix('%').map(|number| number.trim().parse()) {
            Some(Ok(percent)) => Ok(Self::Percent(percent)),
            _ => text.parse().map(Self::Time),
        }
    }
}

impl TryFrom<String> for Threshold {
    type Error = TimeError;

    fn try_from(text: String) -> Result<Self, TimeError> {
        text.parse()
    }
}

impl From<Threshold> for String {
    fn from(threshold: Threshold) -> String {
        threshold.to_string()
    }
}

/// What a loss window is judged against: the most that is allowed, and the two marks below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Limit {
    /// Above this a window is at least a warning.
    pub alert: HumanDuration,
    /// Above this it is critical.
    pub critical: HumanDuration,
    /// Above this it is a breach. Zero: no acknowledged commit may be unprotected at all.
    pub most: HumanDuration,
}

impl Limit {
    /// A limit with the usual marks: warning above 50 %, critical above 80 %.
    pub fn new(most: Duration) -> Self {
        Self::marked(most, Threshold::Percent(50), Threshold::Percent(80))
    }

    /// A limit with marks of its own.
    pub fn marked(most: Duration, alert: Threshold, critical: Threshold) -> Self {
        Self { alert: alert.of(most).into(), critical: critical.of(most).into(), most: most.into() }
    }

    /// True if nothing at all may be lost: then no ratio exists.
    pub fn is_zero(&self) -> bool {
        self.most == HumanDuration::ZERO
    }
}
