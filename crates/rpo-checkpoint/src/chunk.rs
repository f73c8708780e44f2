//! What contents consist of, and which chunks the repository holds already.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

pub use rpo_crypto::ChunkId;

/// Names `len` zero bytes, however many: never stored, never looked up. No hash is all zeros.
pub const ZERO_CHUNK: ChunkId = ChunkId([0; 32]);

/// One chunk of a content: contents are lists of these, in order, filling the entry's extents without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChunkRef {
    /// Keyed hash of its bytes, or [`ZERO_CHUNK`].
    pub id: ChunkId,
    /// Its bytes before compression.
    pub len: u32,
}

impl ChunkRef {
    /// Whether it stands for zero bytes.
    pub fn is_zero(&self) -> bool {
        self.id == ZERO_CHUNK
    }
}

/// Whether all of `bytes` are zero.
pub(crate) fn all_zero(bytes: &[u8]) -> bool {
    let (head, body) = bytes.split_at(bytes.len().min(64));
    // A slice is all zeros if its beginning is and each byte equals the one before it: one fast comparison.
    head.iter().all(|b| *b == 0) && (body.is_empty() || bytes[1..] == bytes[..bytes.len() - 1])
}

const SHARDS: usize = 4096;

/// A set of chunk ids that many threads add to: at most about 37 bytes of memory per id.
///
/// Sorted runs by the first 12 bits; a run grows by an eighth, so little of it is unused.
#[derive(Debug)]
pub(crate) struct ChunkSet {
    shards: Vec<Mutex<Vec<ChunkId>>>,
}

impl ChunkSet {
    pub(crate) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::new(Vec::new())).collect() }
    }

    fn shard(&self, id: &ChunkId) -> std::sync::MutexGuard<'_, Vec<ChunkId>> {
        let number = usize::from(id.0[0]) << 4 | usize::from(id.0[1] >> 4);
        // A panicking holder leaves the run sorted or shifted by one copy; the work as a whole has failed then.
        self.shards[number].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds `id`; false if it was there.
    pub(crate) fn insert(&self, id: ChunkId) -> bool {
        let mut run = self.shard(&id);
        match run.binary_search(&id) {
            Ok(_) => false,
            Err(at) => {
                if run.len() == run.capacity() {
                    let more = (run.len() / 8).max(4);
                    run.reserve_exact(more);
                }
                run.insert(at, id);
                true
            }
        }
    }

    /// Whether `id` is in it.
    pub(crate) fn contains(&self, id: &ChunkId) -> bool {
        self.shard(id).binary_search(id).is_ok()
    }

    #[cfg(test)]
    pub(crate) fn memory_bytes(&self) -> usize {
        let runs = self.shards.iter().map(|run| run.lock().unwrap().capacity() * size_of::<ChunkId>());
        runs.sum::<usize>() + SHARDS * size_of::<Mutex<Vec<ChunkId>>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> ChunkId {
        ChunkId(rpo_crypto::sha256(&number.to_le_bytes()))
    }

    #[test]
    fn a_known_chunk_costs_less_than_fifty_bytes() {
        let set = ChunkSet::new();
        for number in 0..200_000 {
            assert!(set.insert(id(number)));
        }
        assert!(!set.insert(id(0)) && !set.insert(id(199_999)) && set.insert(id(200_000)));
        let per_chunk = set.memory_bytes() as f64 / 200_001.0;
        assert!(per_chunk < 40.0, "{per_chunk}");
    }

    #[test]
    fn zeros_are_told_from_almost_zeros() {
        assert!(all_zero(&[]) && all_zero(&[0]) && all_zero(&[0; 1000]));
        for at in [0, 1, 63, 64, 65, 999] {
            let mut bytes = [0; 1000];
            bytes[at] = 1;
            assert!(!all_zero(&bytes), "{at}");
        }
    }
}
