//! A token bucket for the bytes that one copy gets: what is too much is paid later, by waiting.

use std::time::Duration;

use rpo_core::{ByteSize, Monotonic};

/// How much may be saved up while nothing is sent, in seconds of the rate: bridges the time between two steps.
const SAVED_SECONDS: u64 = 10;

/// Bytes per second, and what was saved or is owed. Without a rate everything passes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bucket {
    rate: Option<ByteSize>,
    /// Bytes times microseconds per second; below zero is debt.
    level: i128,
    at: Option<Monotonic>,
}

impl Bucket {
    /// Full at first: one second's worth, so that a change of the rate gives nothing away.
    pub(crate) fn new(rate: Option<ByteSize>) -> Self {
        Self { rate, level: rate.map_or(0, |rate| scaled(rate.get())), at: None }
    }

    /// Sets another rate; what is owed stays owed, and is paid at the new rate.
    pub(crate) fn set_rate(&mut self, rate: Option<ByteSize>, now: Monotonic) {
        self.fill(now);
        self.rate = rate;
        self.level = self.level.min(rate.map_or(0, |rate| scaled(rate.get())));
    }

    /// Whether something may be sent now: nothing is owed. However large it is, it passes.
    pub(crate) fn is_open(&mut self, now: Monotonic) -> bool {
        self.fill(now);
        self.rate.is_none() || self.level > 0
    }

    /// So many bytes go out now.
    pub(crate) fn take(&mut self, bytes: u64, now: Monotonic) {
        self.fill(now);
        if self.rate.is_some() {
            self.level -= scaled(bytes);
        }
    }

    fn fill(&mut self, now: Monotonic) {
        let passed = self.at.map_or(Duration::ZERO, |at| now.since(at));
        self.at = Some(now);
        match self.rate {
            None => self.level = 0, // nothing is owed to a line without a bound
            Some(rate) => {
                let earned =
                    i128::from(rate.get()) * i128::try_from(passed.as_micros()).unwrap_or(i128::MAX >> 64);
                let most = scaled(rate.get()) * i128::from(SAVED_SECONDS);
                self.level = self.level.saturating_add(earned).min(most);
            }
        }
    }
}

fn scaled(bytes: u64) -> i128 {
    i128::from(bytes) * 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Monotonic {
        Monotonic::new(Duration::from_millis(millis))
    }

    #[test]
    fn what_is_larger_than_the_bucket_passes_once_and_is_paid_by_waiting() {
        let mut bucket = Bucket::new(Some(ByteSize::new(1000)));
        assert!(bucket.is_open(at(0)));
        bucket.take(5000, at(0));
        assert!(!bucket.is_open(at(4000)), "4000 of 4000 owed are paid, nothing is left over");
        assert!(bucket.is_open(at(4001)));
    }

    #[test]
    fn over_a_long_time_no_more_than_the_rate_and_what_was_saved_passes() {
        let mut bucket = Bucket::new(Some(ByteSize::new(1000)));
        let mut sent = 0;
        for step in 0..1000 {
            while bucket.is_open(at(step * 100)) {
                bucket.take(700, at(step * 100));
                sent += 700;
            }
        }
        assert!((99_000..=101_000 + 700).contains(&sent), "{sent} in 100 s");
        assert!(bucket.is_open(at(10_000_000)));
        bucket.take(10_001, at(10_000_000));
        assert!(!bucket.is_open(at(10_000_000)), "no more than ten seconds are saved up");
    }

    #[test]
    fn a_rate_that_is_lifted_or_set_holds_from_then_on() {
        let mut bucket = Bucket::new(Some(ByteSize::new(1000)));
        bucket.take(9000, at(0));
        assert!(!bucket.is_open(at(100)));
        bucket.set_rate(None, at(200));
        assert!(bucket.is_open(at(200)));
        bucket.take(1 << 40, at(300));
        bucket.set_rate(Some(ByteSize::new(10)), at(300));
        assert!(!bucket.is_open(at(300)), "begins empty: nothing was saved");
        assert!(bucket.is_open(at(400)));
    }
}
