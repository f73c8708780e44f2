//! Those who wait without a thread: futures and callbacks, in the order of their places in the log.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use rpo_core::Lsn;

use crate::engine::Appended;
use crate::error::WalError;
use crate::state::Accepted;

/// What is called once it is known what became of a commit.
pub(crate) type Completion = Box<dyn FnOnce(Result<Appended, WalError>) + Send>;

enum How {
    Wake(Waker),
    Call(Accepted, Completion),
}

struct Sleeper {
    end: Lsn,
    how: How,
}

impl fmt::Debug for Sleeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleeper").field("end", &self.end).finish_non_exhaustive()
    }
}

/// Whoever waits for the log to reach a place.
#[derive(Debug, Default)]
pub(crate) struct Sleepers(VecDeque<Sleeper>); // by end

impl Sleepers {
    /// `waker` is woken once the log has reached `end`; it replaces the one that waits for the same.
    pub(crate) fn wake_at(&mut self, end: Lsn, waker: &Waker) {
        let at = self.0.partition_point(|s| s.end < end);
        match self.0.get_mut(at) {
            Some(Sleeper { end: found, how: How::Wake(held) }) if *found == end => held.clone_from(waker),
            _ => self.0.insert(at, Sleeper { end, how: How::Wake(waker.clone()) }),
        }
    }

    /// Nobody waits for `end` any more.
    pub(crate) fn forget(&mut self, end: Lsn) {
        let at = self.0.partition_point(|s| s.end < end);
        if self.0.get(at).is_some_and(|s| s.end == end && matches!(s.how, How::Wake(_))) {
            self.0.remove(at);
        }
    }

    /// `call` is called with what became of `accepted`.
    pub(crate) fn call_at(&mut self, accepted: Accepted, call: Completion) {
        let end = accepted.end.lsn;
        let at = self.0.partition_point(|s| s.end < end);
        self.0.insert(at, Sleeper { end, how: How::Call(accepted, call) });
    }

    /// Those who waited for a place up to `reached`.
    pub(crate) fn release(&mut self, reached: Lsn, into: &mut Released) {
        let count = self.0.partition_point(|s| s.end <= reached);
        into.0.extend(self.0.drain(..count));
    }

    /// All of them: nothing will be reached any more.
    pub(crate) fn release_all(&mut self, into: &mut Released) {
        into.0.extend(self.0.drain(..));
    }
}

/// Those who are to be told, once no lock is held.
#[derive(Debug, Default)]
#[must_use = "they wait until they are told"]
pub(crate) struct Released(Vec<Sleeper>);

impl Released {
    /// Tells them. `outcome` says what became of a commit. A callback that panics is its owner's fault and stops nobody.
    pub(crate) fn tell(self, outcome: impl Fn(&Accepted) -> Result<Appended, WalError>) {
        for sleeper in self.0 {
            match sleeper.how {
                How::Wake(waker) => waker.wake(),
                How::Call(accepted, call) => {
                    let told = outcome(&accepted);
                    if catch_unwind(AssertUnwindSafe(|| call(told))).is_err() {
                        tracing::error!(lsn = %accepted.lsn, "the callback of an append panicked");
                    }
                }
            }
        }
    }
}
