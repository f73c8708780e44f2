//! How long a group waits for the writers that were just released: they are about to come back, and one sync can carry all.
//!
//! Without it a closed loop of W writers settles at W/2 in each sync: while one half is synced, the other half waits for it.
//! The wait is bounded by the time of a sync, by bytes, and by its own success. Decides; does no I/O.

use std::time::Duration;

use rpo_core::Monotonic;

/// A group of so many bytes is worth a sync of its own: there bandwidth is the limit, not the number of syncs.
const BYTES_MAX: u64 = 256 << 10;
/// Below this share of waits that paid (of 256), most groups do not wait.
const PAID_LEAST: u32 = 96;
/// Where waiting does not pay, one group in so many tries again.
const PROBE_EVERY: u32 = 32;

/// Counts since the log was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CohortCounts {
    /// Groups that came to be complete.
    pub(crate) complete: u64,
    /// Groups that went without some they had waited for.
    pub(crate) expired: u64,
}

#[derive(Debug)]
pub(crate) struct Cohort {
    wait_max: Duration,
    /// Of a sync, a moving mean, nanoseconds.
    sync_nanos: u64,
    /// Entries that are expected in the group that gathers; at most 1 if none is waited for.
    expected: u32,
    released_at: Monotonic,
    /// Share of waits that paid, of 256: a moving mean.
    paid: u32,
    passed: u32,
    pub(crate) counts: CohortCounts,
}

impl Cohort {
    /// `wait_max` zero never waits.
    pub(crate) fn new(wait_max: Duration) -> Self {
        Self {
            wait_max,
            sync_nanos: 0,
            expected: 0,
            released_at: Monotonic::new(Duration::ZERO),
            paid: 256,
            passed: 0,
            counts: CohortCounts::default(),
        }
    }

    /// A group was synced: `released` of it may come back, `queued` wait already.
    pub(crate) fn released(&mut self, released: u32, queued: u32, took: Duration, now: Monotonic) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).min(10_000_000_000);
        self.sync_nanos = if self.sync_nanos == 0 { took } else { (self.sync_nanos * 7 + took) / 8 };
        self.released_at = now;
        self.expected = released.saturating_add(queued);
        if self.wait_max.is_zero() {
            self.expected = 0;
        } else if self.expected > 1 && self.paid < PAID_LEAST {
            self.passed += 1;
            if self.passed.is_multiple_of(PROBE_EVERY) {
                self.passed = 0;
            } else {
                self.expected = 0;
            }
        }
    }

    /// The first entry of a group came: whoever was released long ago does not come back.
    pub(crate) fn begins(&mut self, now: Monotonic) {
        if self.expected > 1 && now.since(self.released_at) > self.patience() * 2 + self.wait_max {
            self.expected = 0;
        }
    }

    /// Whether a group of so many entries need not wait.
    pub(crate) fn is_ready(&self, gathered: u32, bytes: u64) -> bool {
        self.expected <= 1 || gathered == 0 || gathered >= self.expected || bytes > BYTES_MAX
    }

    /// Whether some are expected to come back.
    pub(crate) fn is_awaited(&self) -> bool {
        self.expected > 1
    }

    /// How long nobody may come until the group goes without them.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_nanos(self.sync_nanos / 2).min(self.wait_max)
    }

    /// How long a group may wait as long as some keep coming.
    pub(crate) fn patience_in_all(&self) -> Duration {
        Duration::from_nanos(self.sync_nanos * 2).min(self.wait_max)
    }

    /// A group of so many goes.
    pub(crate) fn goes(&mut self, gathered: u32) {
        if self.expected > 1 && gathered > 0 {
            if gathered >= self.expected {
                self.counts.complete += 1;
            } else {
                self.counts.expired += 1;
            }
            let paid = if gathered >= self.expected - self.expected / 4 { 256 } else { 0 };
            self.paid = (self.paid * 15 + paid) / 16;
        }
        self.expected = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(millis: u64) -> Monotonic {
        Monotonic::new(MS * millis as u32)
    }

    fn after_a_group(of: u32, queued: u32) -> Cohort {
        let mut cohort = Cohort::new(MS * 2);
        cohort.released(of, queued, MS, at(1));
        cohort
    }

    #[test]
    fn one_writer_alone_never_waits() {
        assert!(after_a_group(1, 0).is_ready(1, 1000));
    }

    #[test]
    fn a_group_waits_for_those_released_and_those_queued_meanwhile() {
        let cohort = after_a_group(5, 3);
        assert!(!cohort.is_ready(7, 1000));
        assert!(cohort.is_ready(8, 1000));
        assert_eq!(cohort.patience(), MS / 2, "half a sync");
        assert_eq!(cohort.patience_in_all(), MS * 2);
    }

    #[test]
    fn many_bytes_do_not_wait() {
        assert!(after_a_group(64, 0).is_ready(20, BYTES_MAX + 1));
    }

    #[test]
    fn who_was_released_long_ago_is_not_waited_for() {
        let mut cohort = after_a_group(64, 0);
        cohort.begins(at(2));
        assert!(!cohort.is_ready(1, 1000));
        cohort.begins(at(100));
        assert!(cohort.is_ready(1, 1000));
    }

    #[test]
    fn where_waiting_does_not_pay_it_ends_and_is_tried_again_now_and_then() {
        let mut cohort = Cohort::new(MS * 2);
        let mut waited = Vec::new();
        for group in 0..500 {
            cohort.released(10, 0, MS, at(group));
            waited.push(!cohort.is_ready(1, 1000));
            cohort.goes(1); // nobody came back
        }
        assert!(waited[..10].iter().all(|w| *w));
        let late = waited[200..].iter().filter(|w| **w).count();
        assert!((5..20).contains(&late), "{late} of 300");

        for group in 500..2000 {
            cohort.released(10, 0, MS, at(group));
            cohort.goes(if cohort.is_ready(1, 1000) { 1 } else { 10 }); // now they do, whenever they are waited for
        }
        cohort.released(10, 0, MS, at(2000));
        assert!(!cohort.is_ready(1, 1000), "it pays again");
    }

    #[test]
    fn switched_off_it_never_waits() {
        let mut cohort = Cohort::new(Duration::ZERO);
        cohort.released(64, 0, MS, at(1));
        assert!(cohort.is_ready(1, 1000));
    }
}
