//! Work for the workers: files to read, and frames to compress that a reading worker hands to an idle one.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What a worker is to do next.
#[derive(Debug)]
pub(super) enum Work<R, F> {
    /// Read entries.
    Read(R),
    /// Compress a frame.
    Frame(F),
}

#[derive(Debug)]
struct State<R, F> {
    reads: VecDeque<R>,
    frames: VecDeque<F>,
    idle: usize,
    closed: bool,
}

/// A bounded queue of both. Frames come first: they hold memory.
#[derive(Debug)]
pub(super) struct Queue<R, F> {
    state: Mutex<State<R, F>>,
    work: Condvar,
    room: Condvar,
    reads_max: usize,
}

impl<R, F> Queue<R, F> {
    pub(super) fn new(reads_max: usize) -> Self {
        let state = State { reads: VecDeque::new(), frames: VecDeque::new(), idle: 0, closed: false };
        Self { state: Mutex::new(state), work: Condvar::new(), room: Condvar::new(), reads_max }
    }

    fn lock(&self) -> MutexGuard<'_, State<R, F>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds entries to read; blocks while the queue is full. What comes after `close` is dropped.
    pub(super) fn push_read(&self, read: R) {
        let mut state = self.lock();
        while state.reads.len() >= self.reads_max && !state.closed {
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if !state.closed {
            state.reads.push_back(read);
            self.work.notify_one();
        }
    }

    /// Hands a frame to a worker that has nothing to do; gives it back if there is none.
    pub(super) fn offer_frame(&self, frame: F) -> Option<F> {
        let mut state = self.lock();
        if state.idle > state.frames.len() + state.reads.len() {
            state.frames.push_back(frame);
            self.work.notify_one();
            None
        } else {
            Some(frame)
        }
    }

    /// The next work; blocks until there is some. `None` once the queue is closed and empty.
    pub(super) fn next(&self) -> Option<Work<R, F>> {
        let mut state = self.lock();
        loop {
            if let Some(frame) = state.frames.pop_front() {
                return Some(Work::Frame(frame));
            }
            if let Some(read) = state.reads.pop_front() {
                self.room.notify_one();
                return Some(Work::Read(read));
            }
            if state.closed {
                return None;
            }
            state.idle += 1;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    /// No more reads follow; what is queued is still done.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.work.notify_all();
        self.room.notify_all();
    }

    /// Ends everything now: what is queued is dropped.
    pub(super) fn abort(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.reads.clear();
        state.frames.clear();
        drop(state);
        self.work.notify_all();
        self.room.notify_all();
    }
}
