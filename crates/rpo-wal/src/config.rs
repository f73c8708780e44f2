//! The log's settings: presets and rules.

use rpo_core::error::Problems;
use rpo_core::{ByteSize, ConfigError, HumanDuration};
use serde::{Deserialize, Serialize};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// When a record counts as durable, how the log is cut into segments, and how much may be under way.
///
/// ```
/// let mut config = rpo_wal::WalConfig::zero_loss();
/// config.segment_bytes = "16MiB".parse()?;
/// config.validate()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct WalConfig {
    /// Size of a segment file, 16 KiB to 1 GiB. Larger means fewer files; no commit may be larger than what fits in one.
    pub segment_bytes: ByteSize,
    /// Longest time a record acknowledged as `buffered` or `os` may stay unsynced, at most a minute: this *is* the local
    /// loss window. Zero syncs before every acknowledgement, whatever level was asked for.
    pub sync_delay_max: HumanDuration,
    /// Segments kept prepared for use, 1 to 16: the disk space for so many is taken ahead.
    pub spares: u32,
    /// Bytes of commits accepted and not yet written, 64 KiB to 1 GiB; past it appenders wait.
    pub pending_bytes_max: ByteSize,
    /// A commit that would make a frame larger than this begins the next, 4 KiB to 16 MiB. (A larger commit gets a frame of
    /// its own.)
    pub frame_bytes_max: ByteSize,
    /// How long a group may wait for the writers that were just released, so that one sync carries them all: half a sync
    /// without anyone coming, two syncs in all, and never longer than this. Zero never waits; at most a second.
    pub cohort_wait_max: HumanDuration,
    /// Runs the flusher's thread in real time at this priority (1 to 99, `SCHED_RR`), and lets it alone carry groups out: for
    /// a busy host, where a wake-up waits for a time slice. Zero, the default, does not. Needs the right to do so; without
    /// it the log goes on at normal priority and says so.
    pub realtime_priority: u8,
    /// A write or sync that takes longer is told as a stall, from the clock and not from its end; zero never, at most an hour.
    pub stall_after: HumanDuration,
    /// A wall clock that moves otherwise than the steady one by more than this is recorded as an anomaly; 1 ms to an hour.
    pub clock_skew_max: HumanDuration,
    /// After so long without commits, a heartbeat and the control file carry out what is durable, so that rot of the last
    /// group can be told from a torn write; zero never does. At most an hour.
    pub heartbeat_after: HumanDuration,
}

impl Default for WalConfig {
    fn default() -> Self {
        Self::zero_loss()
    }
}

impl WalConfig {
    /// Acknowledges only what is durable. The default: safe first, fast by choice.
    pub fn zero_loss() -> Self {
        Self {
            segment_bytes: ByteSize::mib(64),
            sync_delay_max: HumanDuration::ZERO,
            spares: 2,
            pending_bytes_max: ByteSize::mib(64),
            frame_bytes_max: ByteSize::mib(1),
            cohort_wait_max: HumanDuration::from_millis(2),
            realtime_priority: 0,
            stall_after: HumanDuration::from_secs(1),
            clock_skew_max: HumanDuration::from_millis(500),
            heartbeat_after: HumanDuration::from_secs(1),
        }
    }

    /// Group commit by time: a power cut may lose the last 10 ms of records acknowledged below `durable`.
    pub fn group_commit() -> Self {
        Self { sync_delay_max: HumanDuration::from_millis(10), ..Self::zero_loss() }
    }

    /// Checks every rule.
    ///
    /// # Errors
    /// All broken rules together, each with field, value and bound.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::new();
        let mut size = |field, value: ByteSize, least: u64, most: u64| {
            let rule = format!("{} to {}", ByteSize::new(least), ByteSize::new(most));
            problems.require((least..=most).contains(&value.get()), field, value, rule);
        };
        size("segment-bytes", self.segment_bytes, 16 * KIB, 1024 * MIB);
        size("pending-bytes-max", self.pending_bytes_max, 64 * KIB, 1024 * MIB);
        size("frame-bytes-max", self.frame_bytes_max, 4 * KIB, 16 * MIB);
        let mut time = |field, value: HumanDuration, least: HumanDuration, most: HumanDuration| {
            problems.require((least..=most).contains(&value), field, value, format!("{least} to {most}"));
        };
        let hour = HumanDuration::from_secs(3600);
        time("sync-delay-max", self.sync_delay_max, HumanDuration::ZERO, HumanDuration::from_secs(60));
        time("cohort-wait-max", self.cohort_wait_max, HumanDuration::ZERO, HumanDuration::from_secs(1));
        time("clock-skew-max", self.clock_skew_max, HumanDuration::from_millis(1), hour);
        time("stall-after", self.stall_after, HumanDuration::ZERO, hour);
        time("heartbeat-after", self.heartbeat_after, HumanDuration::ZERO, hour);
        problems.require(
            self.realtime_priority <= 99,
            "realtime-priority",
            self.realtime_priority,
            "0 to 99",
        );
        problems.require((1..=16).contains(&self.spares), "spares", self.spares, "1 to 16");
        let aligned = self.segment_bytes.get().is_multiple_of(4096);
        problems.require(aligned, "segment-bytes", self.segment_bytes, "a multiple of 4KiB");
        problems.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_keep_their_own_rules() {
        WalConfig::zero_loss().validate().unwrap();
        WalConfig::group_commit().validate().unwrap();
    }

    #[test]
    fn all_broken_rules_are_named_with_value_and_bound() {
        let config = WalConfig {
            segment_bytes: ByteSize::new(100),
            spares: 0,
            sync_delay_max: HumanDuration::from_secs(61),
            ..WalConfig::default()
        };
        let text = config.validate().unwrap_err().to_string();
        assert_eq!(
            text,
            "segment-bytes = 100B: 16KiB to 1GiB; sync-delay-max = 1m1s: 0s to 1m; spares = 0: 1 to 16; \
             segment-bytes = 100B: a multiple of 4KiB"
        );
    }
}
