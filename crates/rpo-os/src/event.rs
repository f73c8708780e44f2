//! An event count: many threads wait for something, one tells them, and nobody queues for a lock to hear it.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[cfg(feature = "shuttle")]
use shuttle::sync::atomic::AtomicU32;
#[cfg(not(feature = "shuttle"))]
use std::sync::atomic::AtomicU32;

/// Wakes threads that wait for a condition which is kept elsewhere (an event count: D. Reed, R. Kanodia, CACM 22(2), 1979).
///
/// Whoever waits reads [`seen`](EventCount::seen), looks at the condition, then calls [`wait`](EventCount::wait) with what was
/// read: a notification in between makes that return at once, so none is missed if the condition is changed *before* the
/// notification. Waiting may end for no reason; the condition is looked at again.
///
/// On Linux one system call (`futex`) wakes all, and they wake without taking any lock; elsewhere a mutex and a condition
/// variable do the same.
#[derive(Default)]
pub struct EventCount {
    count: AtomicU32,
    waiting: AtomicU32,
    parking: imp::Parking,
}

impl EventCount {
    /// One that nobody waits for.
    pub fn new() -> Self {
        Self::default()
    }

    /// What to give to [`wait`](EventCount::wait).
    pub fn seen(&self) -> u32 {
        self.count.load(Ordering::SeqCst)
    }

    /// Waits until something is told after `seen` was read, or for `timeout`.
    pub fn wait(&self, seen: u32, timeout: Option<Duration>) {
        // Counted before the count is compared: whoever notifies and sees nobody waiting has changed the count before that.
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.parking.wait(&self.count, seen, timeout);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    /// Wakes all who wait.
    pub fn notify_all(&self) {
        self.notify(u32::MAX >> 1);
    }

    /// Wakes one who waits; others who are just about to wait look again.
    pub fn notify_one(&self) {
        self.notify(1);
    }

    fn notify(&self, threads: u32) {
        self.count.fetch_add(1, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.parking.wake(&self.count, threads);
        }
    }
}

impl fmt::Debug for EventCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.waiting.load(Ordering::Relaxed);
        f.debug_struct("EventCount").field("count", &self.seen()).field("waiting", &waiting).finish()
    }
}

#[cfg(all(any(target_os = "linux", target_os = "android"), not(feature = "shuttle")))]
mod imp {
    use std::sync::atomic::AtomicU32;
    use std::time::Duration;

    use rustix::thread::futex::{self, Flags, Timespec};

    #[derive(Default)]
    pub(super) struct Parking;

    impl Parking {
        #[expect(clippy::unused_self, reason = "the same interface on every system")]
        pub(super) fn wait(&self, count: &AtomicU32, seen: u32, timeout: Option<Duration>) {
            let timeout = timeout.and_then(|t| Timespec::try_from(t).ok()); // too long for the system: for ever
            // An error says that the count moved on, the time is over or a signal came: in each case the caller looks again.
            let _ = futex::wait(count, Flags::PRIVATE, seen, timeout.as_ref());
        }

        #[expect(clippy::unused_self, reason = "the same interface on every system")]
        pub(super) fn wake(&self, count: &AtomicU32, threads: u32) {
            let _ = futex::wake(count, Flags::PRIVATE, threads); // it fails for bad addresses only
        }
    }
}

#[cfg(any(feature = "shuttle", not(any(target_os = "linux", target_os = "android"))))]
mod imp {
    use std::sync::PoisonError;
    use std::sync::atomic::Ordering;
    #[cfg(not(feature = "shuttle"))]
    use std::sync::{Condvar, Mutex};
    use std::time::Duration;

    #[cfg(feature = "shuttle")]
    use shuttle::sync::{Condvar, Mutex};

    use super::AtomicU32;

    #[derive(Default)]
    pub(super) struct Parking {
        gate: Mutex<()>,
        told: Condvar,
    }

    impl Parking {
        pub(super) fn wait(&self, count: &AtomicU32, seen: u32, timeout: Option<Duration>) {
            let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
            if count.load(Ordering::SeqCst) != seen {
                return;
            }
            match timeout {
                #[cfg(feature = "shuttle")]
                Some(_) => {
                    drop(gate);
                    shuttle::thread::yield_now(); // it ends at once, in any order with what others do
                }
                #[cfg(not(feature = "shuttle"))]
                Some(timeout) => drop(self.told.wait_timeout(gate, timeout)),
                None => drop(self.told.wait(gate)),
            }
        }

        pub(super) fn wake(&self, _count: &AtomicU32, threads: u32) {
            let _gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
            if threads == 1 { self.told.notify_one() } else { self.told.notify_all() }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn what_is_told_before_waiting_is_not_missed() {
        let event = EventCount::new();
        let seen = event.seen();
        event.notify_all();
        event.wait(seen, None); // would never return if it were
    }

    #[test]
    fn waiting_ends_after_its_time() {
        let event = EventCount::new();
        event.wait(event.seen(), Some(Duration::from_millis(1)));
    }

    #[test]
    fn all_who_wait_are_woken_once_the_condition_holds() {
        let (event, done) = (Arc::new(EventCount::new()), Arc::new(AtomicBool::new(false)));
        let threads: Vec<_> = (0..16)
            .map(|_| {
                let (event, done) = (Arc::clone(&event), Arc::clone(&done));
                std::thread::spawn(move || {
                    loop {
                        let seen = event.seen();
                        if done.load(Ordering::SeqCst) {
                            return;
                        }
                        event.wait(seen, None);
                    }
                })
            })
            .collect();
        done.store(true, Ordering::SeqCst);
        event.notify_all();
        for thread in threads {
            thread.join().unwrap();
        }
    }
}
