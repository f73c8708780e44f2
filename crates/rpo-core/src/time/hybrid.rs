//! The clock that commits are stamped with: the wall clock, as far as the steady one bears it out.

use std::time::Duration;

use super::{ClockAnomaly, Monotonic, Timestamp};

/// A step of the wall clock must last this part of its own size before it is believed.
const BELIEF_PART: u32 = 32;
/// A clock that is steered gains or loses at most this part of the time.
const DRIFT_PART: u32 = 1000;

/// Stamps commits: follows the wall clock, never steps back, and reports steps beyond the allowed skew.
///
/// A wall clock that moves otherwise than the steady one, by more than the allowed skew, is not followed at once: stamps go
/// on by the steady clock from the last good reading. The step is believed once the wall clock has kept to it for a
/// thirty-second part of its size (15 minutes for 8 hours, 4 months for 10 years). So a clock that is wrong for a while
/// leaves commit times as they should be; one that was set right is followed soon. After a restart there is no steady
/// reading to compare with: the first wall clock is believed, but nothing is stamped before the floor. Where the wall clock
/// is behind what was given out, stamps go on at half speed until it has caught up, so they converge and stay in order.
/// (Hybrid clocks: Kulkarni et al., *Logical Physical Clocks*, 2014.)
#[derive(Debug, Clone)]
pub struct HybridClock {
    skew_max: Duration,
    last: Timestamp,
    last_steady: Monotonic,
    /// What the wall clock should say: believed.
    anchor: Option<Course>,
    /// What it says since it stepped: not believed yet.
    doubted: Option<Course>,
}

/// A wall clock that runs beside the steady one.
#[derive(Debug, Clone, Copy)]
struct Course {
    wall: Timestamp,
    steady: Monotonic,
}

impl Course {
    fn at(self, steady: Monotonic) -> Timestamp {
        self.wall.saturating_add(steady.since(self.steady))
    }
}

fn apart(one: Timestamp, other: Timestamp) -> Duration {
    one.since(other).max(other.since(one))
}

impl HybridClock {
    /// A clock whose next stamp is at least `floor` (the last commit time found in the log).
    pub fn new(floor: Timestamp, skew_max: Duration) -> Self {
        Self { skew_max, last: floor, last_steady: Monotonic::default(), anchor: None, doubted: None }
    }

    /// The commit time for now, and the anomaly if the wall clock stepped since the last call.
    pub fn stamp(&mut self, wall: Timestamp, steady: Monotonic) -> (Timestamp, Option<ClockAnomaly>) {
        let first = self.anchor.is_none();
        let (now, anomaly) = self.judge(wall, steady);
        if now >= self.last {
            self.last = now;
        } else if !first {
            self.last = self.last.saturating_add(steady.since(self.last_steady) / 2);
        }
        self.last_steady = steady;
        (self.last, anomaly)
    }

    /// What time it is, as far as it is believed.
    fn judge(&mut self, wall: Timestamp, steady: Monotonic) -> (Timestamp, Option<ClockAnomaly>) {
        let Some(anchor) = self.anchor else {
            self.anchor = Some(Course { wall, steady });
            return (wall, None);
        };
        let expected = anchor.at(steady);
        let off = apart(wall, expected);
        if off <= self.skew_max {
            // Steered clocks drift: the anchor follows, but not faster than a clock is steered, or many small steps
            // would be a large one that nobody has seen.
            let most = steady.since(anchor.steady) / DRIFT_PART;
            let drifted = wall.max(expected.saturating_sub(most)).min(expected.saturating_add(most));
            self.anchor = Some(Course { wall: drifted, steady });
            let back =
                self.doubted.take().map(|doubted| ClockAnomaly { expected: doubted.at(steady), found: wall });
            return (wall, back.filter(|step| apart(step.expected, step.found) > self.skew_max));
        }
        let kept = self.doubted.filter(|doubted| apart(wall, doubted.at(steady)) <= self.skew_max);
        let Some(doubted) = kept else {
            let expected_of_wall = self.doubted.map_or(expected, |doubted| doubted.at(steady));
            self.doubted = Some(Course { wall, steady });
            return (expected, Some(ClockAnomaly { expected: expected_of_wall, found: wall }));
        };
        if steady.since(doubted.steady) < off / BELIEF_PART {
            return (expected, None);
        }
        self.anchor = Some(Course { wall, steady });
        self.doubted = None;
        (wall, None)
    }

    /// The last stamp given out.
    pub fn last(&self) -> Timestamp {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn steady(seconds: u64) -> Monotonic {
        Monotonic::new(Duration::from_secs(seconds))
    }

    fn clock() -> HybridClock {
        let mut clock = HybridClock::new(at(0), Duration::from_secs(1));
        assert_eq!(clock.stamp(at(100), steady(0)), (at(100), None));
        clock
    }

    const HOUR: i64 = 3600;
    const YEARS: i64 = 10 * 365 * 86_400;

    #[test]
    fn commit_times_never_step_back_and_steps_are_reported() {
        let mut clock = clock();

        let (stamp, anomaly) = clock.stamp(at(40), steady(10)); // two steps: 10 s on, 70 s back

        assert_eq!(stamp, at(110), "the steady clock carries on");
        assert_eq!(anomaly, Some(ClockAnomaly { expected: at(110), found: at(40) }));
        let (stamp, anomaly) = clock.stamp(at(50), steady(20));
        assert_eq!((stamp, anomaly), (at(115), None), "believed: at half speed until it has caught up");
        assert_eq!(clock.stamp(at(200), steady(170)), (at(200), None), "the wall clock has caught up");
    }

    #[test]
    fn a_clock_that_is_ten_years_ahead_for_an_hour_moves_no_stamp() {
        let mut clock = clock();
        let mut steps = Vec::new();
        for second in 1..2 * HOUR {
            let wrong = if (60..60 + HOUR).contains(&second) { YEARS } else { 0 };
            let (stamp, anomaly) = clock.stamp(at(100 + second + wrong), steady(second as u64));
            assert_eq!(stamp, at(100 + second));
            steps.extend(anomaly);
        }
        let there = ClockAnomaly { expected: at(160), found: at(160 + YEARS) };
        let back = ClockAnomaly { expected: at(160 + HOUR + YEARS), found: at(160 + HOUR) };
        assert_eq!(steps, [there, back]);
    }

    #[test]
    fn a_clock_that_was_set_right_is_followed_after_a_part_of_the_step() {
        let mut clock = clock();
        let right = 8 * HOUR;
        let stamps: Vec<_> = (1..1000)
            .map(|s| clock.stamp(at(100 + s + right), steady(s as u64)).0.since(at(100 + s)))
            .collect();
        let believed = stamps.iter().position(|ahead| !ahead.is_zero()).unwrap() as i64;
        assert!((right / 32 - 2..=right / 32 + 2).contains(&believed), "{believed}");
        assert!(stamps[believed as usize..].iter().all(|ahead| ahead.as_secs() as i64 == right));
    }

    #[test]
    fn many_small_steps_are_seen_for_the_large_one_they_are() {
        let mut clock = clock();
        let mut steps = 0;
        let mut last = at(0);
        for n in 1..=1000 {
            // Each step is within the skew, all together are 900 s.
            let wall = Timestamp::from_micros(at(100).as_micros() + n * (100_000 - 900_000));
            let (stamp, anomaly) = clock.stamp(wall, Monotonic::new(Duration::from_millis(100 * n as u64)));
            assert!(stamp >= last);
            last = stamp;
            steps += u32::from(anomaly.is_some());
        }
        assert!(steps > 100, "{steps}");
    }

    #[test]
    fn a_steered_clock_is_no_step() {
        let mut clock = clock();
        for n in 1..100_000 {
            // 400 parts in a million fast: 40 s in all.
            let wall = at(100).as_micros() + n * 1_000_400;
            let (stamp, anomaly) = clock.stamp(Timestamp::from_micros(wall), steady(n as u64));
            assert_eq!((stamp.as_micros(), anomaly), (wall, None));
        }
    }
}
