//! The end of a dense sequence of names, found by asking for numbers, never by listing.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use rpo_storage::Key;

use crate::RepositoryError;
use crate::store::Store;

/// What was last seen of each sequence: a lower bound, since numbers are never given up.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<HashMap<String, u64>>);

impl Seen {
    fn of(&self, sequence: &str) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(sequence).copied().unwrap_or(0)
    }

    pub(crate) fn note(&self, sequence: &str, number: u64) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = seen.entry(sequence.to_owned()).or_default();
        *entry = number.max(*entry);
    }

    /// The last number of a sequence that is dense from 1, or 0 if it is empty; about 2 log2(n) requests the first
    /// time, one when nothing was added since.
    pub(crate) async fn last(
        &self,
        store: &Store,
        sequence: &str,
        key_of: impl Fn(u64) -> Key,
    ) -> Result<u64, RepositoryError> {
        let mut there = self.of(sequence);
        let mut step = 1;
        let mut absent = loop {
            let number = there.saturating_add(step);
            if !store.exists(&key_of(number)).await? {
                break number;
            }
            there = number;
            step = step.saturating_mul(2);
        };
        while absent - there > 1 {
            let middle = there + (absent - there) / 2;
            if store.exists(&key_of(middle)).await? { there = middle } else { absent = middle }
        }
        self.note(sequence, there);
        Ok(there)
    }
}
