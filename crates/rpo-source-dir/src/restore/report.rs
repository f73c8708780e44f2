//! What was restored, in numbers, and what could not be kept exactly.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rpo_core::ports::{EntryPath, RestoreReport};

use super::lock;

/// Notes kept in full; of further ones only the number is told.
const NOTES_MAX: usize = 1_000;

/// Counts while a restore goes on, from any thread.
#[derive(Debug, Default)]
pub(super) struct Tally {
    entries: AtomicU64,
    bytes: AtomicU64,
    files: AtomicU64,
    files_len: AtomicU64,
    symlinks: AtomicU64,
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    texts: Vec<String>,
    more: u64,
}

impl Tally {
    pub(super) fn add_entry(&self) {
        self.entries.fetch_add(1, Relaxed);
    }

    pub(super) fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Relaxed);
    }

    pub(super) fn add_file(&self, len: u64) {
        self.files.fetch_add(1, Relaxed);
        self.files_len.fetch_add(len, Relaxed);
    }

    /// A file that was counted, with this many names in all, is not there after all.
    pub(super) fn take_back(&self, names: u64, len: u64, written: u64) {
        self.entries.fetch_sub(names, Relaxed);
        self.files.fetch_sub(1, Relaxed);
        self.files_len.fetch_sub(len, Relaxed);
        self.bytes.fetch_sub(written, Relaxed);
    }

    pub(super) fn add_symlink(&self) {
        self.symlinks.fetch_add(1, Relaxed);
    }

    /// A further name that was made does not change these: it is no file of its own.
    pub(super) fn files(&self) -> (u64, u64) {
        (self.files.load(Relaxed), self.files_len.load(Relaxed))
    }

    pub(super) fn symlinks(&self) -> u64 {
        self.symlinks.load(Relaxed)
    }

    /// Notes that something of `path` is not exactly as it was.
    pub(super) fn note(&self, path: &EntryPath, what: impl std::fmt::Display) {
        tracing::debug!(%path, %what, "restored approximately");
        let mut notes = lock(&self.notes);
        if notes.texts.len() < NOTES_MAX {
            notes.texts.push(format!("{path}: {what}"));
        } else {
            notes.more += 1;
        }
    }

    pub(super) fn report(&self) -> RestoreReport {
        let notes = lock(&self.notes);
        let mut approximated = notes.texts.clone();
        if notes.more > 0 {
            approximated.push(format!("and {} more", notes.more));
        }
        RestoreReport {
            entries: self.entries.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            commits: 0,
            approximated,
        }
    }
}
