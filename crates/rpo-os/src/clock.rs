//! The system's clocks.

use std::time::{Duration, SystemTime};

use rpo_core::{Clock, Monotonic, Timestamp};
use rustix::time::{ClockId, clock_gettime};

/// The system's wall clock and its steady clock.
///
/// The steady one counts the time a machine sleeps (`CLOCK_BOOTTIME` on Linux): data does not get younger in suspend.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsClock;

impl OsClock {
    /// The system's clocks.
    pub const fn new() -> Self {
        Self
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
const STEADY: ClockId = ClockId::Boottime;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const STEADY: ClockId = ClockId::Monotonic;

impl Clock for OsClock {
    #[expect(clippy::disallowed_methods, reason = "this is the port behind which the ambient clock lives")]
    fn wall(&self) -> Timestamp {
        let now = SystemTime::now();
        let micros = |d: Duration| i64::try_from(d.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(match now.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => micros(after),
            Err(before) => -micros(before.duration()), // a clock set before 1970 is still a clock
        })
    }

    fn monotonic(&self) -> Monotonic {
        let now = clock_gettime(STEADY);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let nanos = u32::try_from(now.tv_nsec).unwrap_or(0);
        Monotonic::new(Duration::new(seconds, nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steady_clock_never_steps_back() {
        let clock = OsClock::new();
        let mut last = clock.monotonic();
        for _ in 0..1000 {
            let now = clock.monotonic();
            assert!(now >= last);
            last = now;
        }
    }
}
