//! What threads meet at; and locks that go on after a panic elsewhere: what they guard is kept right by poisoning the log, not
//! the lock. With the feature `shuttle`, a scheduler that tries many orders of threads stands behind the same names.

#[cfg(not(feature = "shuttle"))]
mod imp {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64};
    pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, RwLock};
    pub(crate) use std::thread::{Builder, JoinHandle};
}

#[cfg(feature = "shuttle")]
mod imp {
    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64};
    pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard, RwLock};
    pub(crate) use shuttle::thread::{Builder, JoinHandle};
}

use std::sync::PoisonError;
use std::time::Duration;

pub(crate) use imp::{AtomicBool, AtomicU64, Builder, Condvar, JoinHandle, Mutex, MutexGuard, RwLock};

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until `told` is notified, at most for `timeout`; may end for no reason.
#[cfg(not(feature = "shuttle"))]
pub(crate) fn wait_for<'a, T>(
    told: &Condvar,
    guard: MutexGuard<'a, T>,
    _: &'a Mutex<T>,
    timeout: Duration,
) -> MutexGuard<'a, T> {
    told.wait_timeout(guard, timeout).unwrap_or_else(PoisonError::into_inner).0
}

/// A short wait ends at once, in any order with what others do; one of a second or more does not end by itself, so that it
/// does not hide that somebody was not told.
#[cfg(feature = "shuttle")]
pub(crate) fn wait_for<'a, T>(
    told: &Condvar,
    guard: MutexGuard<'a, T>,
    mutex: &'a Mutex<T>,
    timeout: Duration,
) -> MutexGuard<'a, T> {
    if timeout >= Duration::from_secs(1) {
        return told.wait(guard).unwrap_or_else(PoisonError::into_inner);
    }
    drop(guard);
    shuttle::thread::yield_now();
    locked(mutex)
}
