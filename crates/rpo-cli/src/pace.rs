//! How often a line is worth it where no terminal shows a bar.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rpo::core::{Clock, Monotonic};

/// Time between two lines, and before the first: work that is done sooner says nothing on the way.
const BETWEEN: Duration = Duration::from_secs(10);

/// Lets a line through now and then.
#[derive(Debug)]
pub(crate) struct Pace {
    clock: Arc<dyn Clock>,
    last: Mutex<Monotonic>,
}

impl Pace {
    /// The work begins now.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { last: Mutex::new(clock.monotonic()), clock }
    }

    /// Whether it is time for a line; if so, the next one is due as much later.
    pub(crate) fn is_due(&self) -> bool {
        let now = self.clock.monotonic();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let due = now.since(*last) >= BETWEEN;
        if due {
            *last = now;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use rpo::core::Timestamp;

    use super::*;

    #[derive(Debug, Default)]
    struct Seconds(AtomicU64);

    impl Clock for Seconds {
        fn wall(&self) -> Timestamp {
            Timestamp::from_micros(0)
        }

        fn monotonic(&self) -> Monotonic {
            Monotonic::new(Duration::from_secs(self.0.load(Ordering::SeqCst)))
        }
    }

    #[test]
    fn short_work_says_nothing_and_long_work_a_line_every_ten_seconds() {
        let clock = Arc::new(Seconds::default());
        let pace = Pace::new(clock.clone());
        let due: Vec<u64> = (0..35)
            .filter(|second| {
                clock.0.store(*second, Ordering::SeqCst);
                pace.is_due()
            })
            .collect();
        assert_eq!(due, [10, 20, 30]);
    }
}
