//! How eager alerts are: hysteresis and the least time between two notices.

use std::time::Duration;

use rpo_core::error::Problems;
use rpo_core::{ConfigError, HumanDuration};
use serde::{Deserialize, Serialize};

/// How many samples it takes to rise and to ease, and how often the same thing is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Settings {
    /// Samples in a row before an alert rises. More means fewer false alarms, told later.
    pub raise_after: u32,
    /// Samples in a row, each calmer by the margin, before it eases.
    pub clear_after: u32,
    /// How far below a mark counts as calmer, in points of the limit (percent): against flapping around a mark.
    pub margin_percent: u16,
    /// Least time between two notices of one alert, unless it rises; also how often a lasting one is repeated.
    pub repeat_min: HumanDuration,
    /// A rule without a sample for this long is unknown.
    pub stale_after: HumanDuration,
}

impl Default for Settings {
    /// Rise at the first sample, ease after three that are 10 points calmer, one notice a minute, unknown after two.
    fn default() -> Self {
        Self {
            raise_after: 1,
            clear_after: 3,
            margin_percent: 10,
            repeat_min: HumanDuration::from_secs(60),
            stale_after: HumanDuration::from_secs(120),
        }
    }
}

impl Settings {
    /// Whether the rules hold.
    ///
    /// # Errors
    /// All broken rules together.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::new();
        let one = "must be at least 1";
        problems.require(self.raise_after >= 1, "raise-after", self.raise_after, one);
        problems.require(self.clear_after >= 1, "clear-after", self.clear_after, one);
        let margin = "must be at most 40: above it nothing would ever be calm enough";
        problems.require(self.margin_percent <= 40, "margin-percent", self.margin_percent, margin);
        let some = "must be more than zero";
        problems.require(self.stale_after.get() > Duration::ZERO, "stale-after", self.stale_after, some);
        problems.finish()
    }
}
