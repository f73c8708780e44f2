//! Commits whose fate is not told yet: by ticket, by callback, by future; and readers that are half way through the log.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use rpo_core::Lsn;
use rpo_wal::{AppendFuture, Appended, Log, Replay, Ticket, WalError};

use super::script::Level;

pub(crate) type Outcome = Result<Appended, WalError>;

/// A commit that the log took.
pub(crate) struct Waiting {
    pub(crate) number: usize,
    pub(crate) level: Level,
    pub(crate) how: How,
}

pub(crate) enum How {
    Ticket(Ticket),
    Call(Called),
}

/// What a callback was called with, each time.
#[derive(Clone, Default)]
pub(crate) struct Called(Arc<Mutex<Vec<Outcome>>>);

impl Called {
    pub(crate) fn callback(&self) -> impl FnOnce(Outcome) + Send + 'static {
        let calls = Arc::clone(&self.0);
        move |outcome| calls.lock().expect("no panic").push(outcome)
    }

    /// Takes the answer, if there is one.
    pub(crate) fn take(&self) -> Option<Outcome> {
        self.0.lock().expect("no panic").pop()
    }
}

impl Waiting {
    pub(crate) fn poll(&self) -> Option<Outcome> {
        match &self.how {
            How::Ticket(ticket) => ticket.poll(),
            How::Call(called) => called.take(),
        }
    }
}

/// Whether a future was woken since it was polled last.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// An append as a future, polled only when it was woken.
pub(crate) struct Later {
    future: AppendFuture,
    woken: Arc<Woken>,
    pub(crate) records: Vec<Bytes>,
    pub(crate) level: Level,
    /// It is dropped as soon as it was polled once.
    pub(crate) dropped: bool,
    /// Once it was accepted.
    pub(crate) number: Option<usize>,
}

impl Later {
    pub(crate) fn new(future: AppendFuture, records: Vec<Bytes>, level: Level, dropped: bool) -> Self {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        Self { future, woken, records, level, dropped, number: None }
    }

    pub(crate) fn is_woken(&self) -> bool {
        self.woken.0.load(Ordering::SeqCst)
    }

    /// Polls it; says too whether it was accepted by this.
    pub(crate) fn poll(&mut self, log: &Log) -> (bool, Option<Outcome>) {
        self.woken.0.store(false, Ordering::SeqCst);
        let before = log.stats().commits;
        let waker = Waker::from(Arc::clone(&self.woken));
        let outcome = match Pin::new(&mut self.future).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(outcome) => Some(outcome),
            Poll::Pending => None,
        };
        (log.stats().commits > before, outcome)
    }
}

/// A reader that goes on while the log does.
pub(crate) struct Reader {
    pub(crate) replay: Replay,
    /// Where it is, and how many commits lie before that.
    pub(crate) at: (Lsn, usize),
    /// I/O errors before it was last known to read well.
    pub(crate) faults: u64,
}

/// All that is under way in one life.
#[derive(Default)]
pub(crate) struct Underway {
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) later: Vec<Later>,
    pub(crate) reader: Option<Reader>,
}
