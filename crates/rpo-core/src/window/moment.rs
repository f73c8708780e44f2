//! A moment as the source saw it: on its steady clock, with the wall clock beside it.

use std::time::Duration;

use crate::{Clock, Monotonic, Timestamp};

/// A moment. Ages are differences on the steady clock of this run; the wall time is for people and for the next run.
///
/// Moments of earlier runs are placed on this run's axis by [`Moment::recalled`], so later steps of the wall clock
/// leave their ages alone. Ordered along the steady clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    steady_nanos: i128, // negative before the steady clock's origin
    wall: Timestamp,
}

impl Moment {
    /// The moment at which the two clocks said this.
    pub fn new(wall: Timestamp, steady: Monotonic) -> Self {
        Self { steady_nanos: nanos(steady.since_origin()), wall }
    }

    /// What the clocks say now.
    pub fn now(clock: &dyn Clock) -> Self {
        Self::new(clock.wall(), clock.monotonic())
    }

    /// The moment that an earlier run wrote down as `wall` ([`Moment::written`]), seen from `now`.
    ///
    /// None if the wall clock is behind it: it was set back, and the age of anything older is not known either.
    pub fn recalled(wall: Timestamp, now: Moment) -> Option<Self> {
        (wall <= now.wall)
            .then(|| Self { steady_nanos: now.steady_nanos - nanos(now.wall.since(wall)), wall })
    }

    /// This moment as the next run should read it, on the wall clock as it stands `now`: steps that the wall clock
    /// made in between do not count. Rounded towards the past.
    pub fn written(self, now: Moment) -> Timestamp {
        now.wall.saturating_sub(now.since(self).saturating_add(Duration::from_nanos(999)))
    }

    /// What the wall clock said.
    pub fn wall(self) -> Timestamp {
        self.wall
    }

    /// Time from `earlier` to here; zero if `earlier` is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        let nanos = u128::try_from(self.steady_nanos - earlier.steady_nanos).unwrap_or(0);
        let seconds = u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX);
        Duration::new(seconds, (nanos % 1_000_000_000) as u32) // below 10^9 by the remainder
    }
}

fn nanos(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX / 4)
}
