//! What a run counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use rpo_core::ports::{EntryKind, EntryPath};

use crate::info::{LOST_NAMED_MAX, Lost, Statistics};
use crate::manifest::StoredEntry;

/// Counters that all workers add to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    entries: AtomicU64,
    files: AtomicU64,
    bytes: AtomicU64,
    unchanged: AtomicU64,
    changed: AtomicU64,
    removed: AtomicU64,
    skipped: AtomicU64,
    lost: AtomicU64,
    vanished: AtomicU64,
    changed_while_read: AtomicU64,
    read_bytes: AtomicU64,
    added_chunks: AtomicU64,
    added_raw_bytes: AtomicU64,
    lost_named: Mutex<Vec<Lost>>,
}

impl Tally {
    /// An entry that is new or changed.
    pub(super) fn stored(&self, stored: &StoredEntry) {
        self.changed.fetch_add(1, Relaxed);
        self.present(stored);
    }

    /// An entry taken from the parent as it is.
    pub(super) fn unchanged(&self, stored: &StoredEntry) {
        self.unchanged.fetch_add(1, Relaxed);
        self.present(stored);
    }

    fn present(&self, stored: &StoredEntry) {
        self.entries.fetch_add(1, Relaxed);
        if stored.entry.kind == EntryKind::File {
            self.files.fetch_add(1, Relaxed);
            self.bytes.fetch_add(stored.entry.extents.iter().map(|extent| extent.len).sum(), Relaxed);
        }
    }

    pub(super) fn removed(&self) {
        self.removed.fetch_add(1, Relaxed);
    }

    pub(super) fn skipped(&self) {
        self.skipped.fetch_add(1, Relaxed);
    }

    pub(super) fn vanished(&self) {
        self.vanished.fetch_add(1, Relaxed);
    }

    pub(super) fn changed_while_read(&self) {
        self.changed_while_read.fetch_add(1, Relaxed);
    }

    pub(super) fn lost(&self, path: &EntryPath, reason: String) {
        self.lost.fetch_add(1, Relaxed);
        let mut named = self.lost_named.lock().unwrap_or_else(PoisonError::into_inner);
        if named.len() < LOST_NAMED_MAX {
            named.push(Lost { path: path.to_string(), reason });
        }
    }

    pub(super) fn read(&self, bytes: u64) {
        self.read_bytes.fetch_add(bytes, Relaxed);
    }

    pub(super) fn added(&self, bytes: usize) {
        self.added_chunks.fetch_add(1, Relaxed);
        self.added_raw_bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// Entries handled and bytes read so far.
    pub(super) fn so_far(&self) -> (u64, u64) {
        (self.entries.load(Relaxed), self.read_bytes.load(Relaxed))
    }

    /// The counts, and the lost entries that are named, sorted.
    pub(super) fn finish(&self) -> (Statistics, Vec<Lost>) {
        let statistics = Statistics {
            entries: self.entries.load(Relaxed),
            files: self.files.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            unchanged: self.unchanged.load(Relaxed),
            changed: self.changed.load(Relaxed),
            removed: self.removed.load(Relaxed),
            skipped: self.skipped.load(Relaxed),
            lost: self.lost.load(Relaxed),
            vanished: self.vanished.load(Relaxed),
            changed_while_read: self.changed_while_read.load(Relaxed),
            read_bytes: self.read_bytes.load(Relaxed),
            added_chunks: self.added_chunks.load(Relaxed),
            added_raw_bytes: self.added_raw_bytes.load(Relaxed),
            added_bytes: 0,
            added_objects: 0,
        };
        let mut lost = std::mem::take(&mut *self.lost_named.lock().unwrap_or_else(PoisonError::into_inner));
        lost.sort_by(|a, b| a.path.cmp(&b.path));
        (statistics, lost)
    }
}
