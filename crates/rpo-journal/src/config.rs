//! The settings of a journal and of a fan-out: defaults and rules.

use rpo_core::error::Problems;
use rpo_core::{ByteSize, ConfigError, HumanDuration};
use serde::{Deserialize, Serialize};

use crate::journal::EVENTS_PER_TRANSACTION_MAX;

/// What happens when more events come than `events-max` holds, all of them within the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overrun {
    /// The oldest are no longer covered. That is lost coverage: counted, told, and kept in mind across restarts.
    #[default]
    DropOldest,
    /// Recording is refused until older events leave the window: nothing is lost, and the program must wait.
    Refuse,
}

/// Whose the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogUse {
    /// The journal's alone: trimming releases segments that hold nothing covered.
    #[default]
    Own,
    /// Others append to it or read it, too: trimming tells what the journal no longer needs and releases nothing.
    Shared,
}

/// How far back a journal reaches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct JournalConfig {
    /// Events older than this are no longer covered, as promised; 1 s to 10 years. Costs disk.
    pub window: HumanDuration,
    /// Events covered at most, 1 to 1,000,000,000. A full journal is lost coverage, or refuses, as `overrun` says. Costs at
    /// most 40 bytes of memory per event, and disk.
    pub events_max: u64,
    /// What happens when it is full.
    pub overrun: Overrun,
    /// Whether trimming may release segments of the log.
    pub log_use: LogUse,
}

impl Default for JournalConfig {
    /// A day, at most a million events; the oldest give way.
    fn default() -> Self {
        Self {
            window: HumanDuration::from_secs(24 * 3600),
            events_max: 1_000_000,
            overrun: Overrun::DropOldest,
            log_use: LogUse::Own,
        }
    }
}

impl JournalConfig {
    /// Checks every rule.
    ///
    /// # Errors
    /// All broken rules together, each with field, value and bound.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::new();
        let (least, most) = (HumanDuration::from_secs(1), HumanDuration::from_secs(3650 * 86_400));
        let fits = (least..=most).contains(&self.window);
        problems.require(fits, "window", self.window, format!("{least} to {most}"));
        let fits = (1..=1_000_000_000).contains(&self.events_max);
        problems.require(fits, "events-max", self.events_max, "1 to 1000000000");
        problems.finish()
    }
}

/// How events go out to targets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct FanoutConfig {
    /// A target whose oldest event not yet applied is older than this is told of, once; 1 ms to a day.
    pub lag_max: HumanDuration,
    /// Events handed over at once, but for a transaction that has more; 1 to 65534.
    pub batch_events: u32,
    /// Bytes of keys, befores and afters handed over at once, but for a transaction that has more; 1 KiB to 1 GiB. Memory
    /// per target.
    pub batch_bytes: ByteSize,
    /// Attempts at one batch before the target is given up as failed, the first included; 1 to 1000.
    pub attempts_max: u32,
    /// Wait before the second attempt; doubles from there, half of it drawn at random. 1 ms to an hour.
    pub retry_after: HumanDuration,
    /// Longest wait between two attempts; at least `retry-after`, at most a day.
    pub retry_after_max: HumanDuration,
}

impl Default for FanoutConfig {
    fn default() -> Self {
        Self {
            lag_max: HumanDuration::from_secs(5),
            batch_events: 1000,
            batch_bytes: ByteSize::mib(8),
            attempts_max: 10,
            retry_after: HumanDuration::from_millis(100),
            retry_after_max: HumanDuration::from_secs(30),
        }
    }
}

impl FanoutConfig {
    /// Checks every rule.
    ///
    /// # Errors
    /// All broken rules together, each with field, value and bound.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::new();
        let mut time = |field, value: HumanDuration, least: HumanDuration, most: HumanDuration| {
            problems.require((least..=most).contains(&value), field, value, format!("{least} to {most}"));
        };
        let (tick, hour, day) =
            (HumanDuration::from_millis(1), HumanDuration::from_secs(3600), HumanDuration::from_secs(86_400));
        time("lag-max", self.lag_max, tick, day);
        time("retry-after", self.retry_after, tick, hour);
        time("retry-after-max", self.retry_after_max, self.retry_after, day);
        let fits = (1..=EVENTS_PER_TRANSACTION_MAX).contains(&self.batch_events);
        let rule = format!("1 to {EVENTS_PER_TRANSACTION_MAX}");
        problems.require(fits, "batch-events", self.batch_events, rule);
        let fits = (1 << 10..=1 << 30).contains(&self.batch_bytes.get());
        problems.require(fits, "batch-bytes", self.batch_bytes, "1KiB to 1GiB");
        problems.require(
            (1..=1000).contains(&self.attempts_max),
            "attempts-max",
            self.attempts_max,
            "1 to 1000",
        );
        problems.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_keep_their_own_rules_and_are_what_was_promised() {
        JournalConfig::default().validate().unwrap();
        FanoutConfig::default().validate().unwrap();
        let text = "window = \"24h\"\nevents-max = 1000000\noverrun = \"drop-oldest\"\nlog-use = \"own\"";
        assert_eq!(toml::from_str::<JournalConfig>(text).unwrap(), JournalConfig::default());
        assert_eq!(toml::from_str::<FanoutConfig>("lag-max = \"5s\"").unwrap(), FanoutConfig::default());
        assert!(toml::from_str::<JournalConfig>("windows = \"1h\"").is_err());
    }

    #[test]
    fn all_broken_rules_are_named_with_value_and_bound() {
        let config = JournalConfig { window: HumanDuration::ZERO, events_max: 0, ..JournalConfig::default() };
        let text = config.validate().unwrap_err().to_string();
        assert!(text.contains("window = 0s: 1s to ") && text.contains("events-max = 0: 1 to"), "{text}");
        let config = FanoutConfig { attempts_max: 0, batch_events: 70_000, ..FanoutConfig::default() };
        let text = config.validate().unwrap_err().to_string();
        assert!(text.contains("attempts-max = 0") && text.contains("batch-events = 70000"), "{text}");
    }
}
