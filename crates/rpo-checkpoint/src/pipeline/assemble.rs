//! Workers finish entries in any order; the manifest takes them in path order.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};

use crate::CheckpointError;
use crate::manifest::{ManifestItem, PieceWriter};

/// Entries that may be under way before the one that is still missing.
const WINDOW: usize = 16_384;

/// Slots are given out in path order and filled in any order; pieces come out in path order.
pub(super) struct Assembly {
    state: Mutex<State>,
    moved: Condvar,
}

struct State {
    /// Slots from `first` on: `None` = under way, `Some(None)` = nothing to record.
    slots: VecDeque<Option<Option<ManifestItem>>>,
    first: u64,
    writer: PieceWriter,
    aborted: bool,
}

impl Assembly {
    pub(super) fn new() -> Self {
        let state = State { slots: VecDeque::new(), first: 0, writer: PieceWriter::new(), aborted: false };
        Self { state: Mutex::new(state), moved: Condvar::new() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next slot; `None` if too many are under way: hand out what is held back, then [`wait`](Self::wait).
    pub(super) fn slot(&self) -> Option<u64> {
        let mut state = self.lock();
        if state.slots.len() >= WINDOW {
            return None;
        }
        state.slots.push_back(None);
        Some(state.first + state.slots.len() as u64 - 1)
    }

    /// Waits until there is room for a slot.
    pub(super) fn wait(&self) {
        let mut state = self.lock();
        while state.slots.len() >= WINDOW && !state.aborted {
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets everybody who waits go on, to find out what failed.
    pub(super) fn abort(&self) {
        self.lock().aborted = true;
        self.moved.notify_all();
    }

    /// Fills slots; `piece` takes each piece that is complete.
    pub(super) fn fill(
        &self,
        filled: impl IntoIterator<Item = (u64, Option<ManifestItem>)>,
        mut piece: impl FnMut(Vec<u8>) -> Result<(), CheckpointError>,
    ) -> Result<(), CheckpointError> {
        let mut state = self.lock();
        for (slot, item) in filled {
            let at = (slot - state.first) as usize;
            state.slots[at] = Some(item);
        }
        while let Some(Some(_)) = state.slots.front() {
            let item = state.slots.pop_front().flatten().flatten();
            state.first += 1;
            if let Some(item) = item {
                state.writer.push(item, &mut piece)?;
            }
        }
        if state.slots.len() < WINDOW {
            self.moved.notify_all();
        }
        Ok(())
    }

    /// The last piece and the number of records. All slots must be filled.
    pub(super) fn finish(self) -> Result<(Option<Vec<u8>>, u64), CheckpointError> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        if !state.slots.is_empty() {
            return Err(CheckpointError::Worker(format!(
                "{} entries were never finished",
                state.slots.len()
            )));
        }
        let records = state.writer.total();
        Ok((state.writer.finish(), records))
    }
}
