//! Latencies, counted in buckets less than 1 % wide: a measuring loop must not allocate.

use std::time::Duration;

const SUB_BITS: u32 = 7;
const SUB: usize = 1 << SUB_BITS;
const BUCKETS: usize = SUB * (64 - SUB_BITS as usize + 1);

/// How often each latency was seen.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, max: 0 }
    }
}

/// Below 128 ns one bucket each; above, 128 for each doubling.
fn bucket(ns: u64) -> usize {
    let shift = (64 - SUB_BITS).saturating_sub((ns | 1).leading_zeros() + 1);
    (shift as usize) * SUB + (ns >> shift) as usize
}

/// The middle of a bucket.
fn value(bucket: usize) -> f64 {
    match (bucket / SUB, bucket % SUB) {
        (0, low) => low as f64,
        (doubling, low) => ((SUB + low) as f64 + 0.5) * (1u64 << (doubling - 1)) as f64,
    }
}

impl Histogram {
    /// Counts one.
    pub fn add(&mut self, latency: Duration) {
        self.add_many(latency, 1);
    }

    /// Counts `n` of the same.
    pub fn add_many(&mut self, latency: Duration, n: u64) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(ns)] += n;
        self.total += n;
        self.max = self.max.max(ns);
    }

    /// Takes in another.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// How many were counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The latency that this part of all does not exceed, microseconds; zero if there is none.
    pub fn quantile_us(&self, part: f64) -> f64 {
        let rank = (self.total as f64 * part).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return value(at) / 1e3;
            }
        }
        0.0
    }

    /// The longest, microseconds.
    pub fn max_us(&self) -> f64 {
        self.max as f64 / 1e3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_one_percent_from_nanoseconds_to_minutes() {
        for ns in [1u64, 100, 127, 128, 255, 256, 1000, 123_456, 9_999_999, 1_000_000_000, 60_000_000_000] {
            let mut histogram = Histogram::default();
            histogram.add_many(Duration::from_nanos(ns), 99);
            histogram.add(Duration::from_secs(100));
            let found = histogram.quantile_us(0.99) * 1e3;
            let error = (found - ns as f64).abs() / ns as f64;
            assert!(error <= 0.01 || (found - ns as f64).abs() <= 0.5, "{ns} ns is told as {found}");
        }
    }

    #[test]
    fn the_slowest_of_a_hundred_is_the_ninety_ninth() {
        let mut histogram = Histogram::default();
        for micros in 1..=100 {
            histogram.add(Duration::from_micros(micros));
        }
        let found = histogram.quantile_us(0.99);
        assert!((98.0..=100.0).contains(&found), "{found}");
        assert_eq!(histogram.max_us(), 100.0);
    }
}
