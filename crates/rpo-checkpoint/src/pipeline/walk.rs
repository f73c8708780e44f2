//! The walk: takes the source's findings in path order, copies what is unchanged, hands out what must be read.

use rpo_core::ports::{Capture, Captured, Change, Entry, EntryKind, EntryPath};

use super::parent::Parent;
use super::worker::GROUPED_BYTES_MAX;
use super::{ReadEntry, Reads, Shared};
use crate::CheckpointError;
use crate::manifest::{ManifestItem, StoredEntry};

/// A batch of small files goes to one worker, so that neighbours share a group.
const BATCH_BYTES: u64 = 1 << 20;
const BATCH_ENTRIES: usize = 256;

pub(super) struct Walk<'a> {
    shared: &'a Shared,
    parent: Parent,
    /// Whether the manifest holds only what differs from the parent.
    only_changes: bool,
    batch: Reads,
    batch_bytes: u64,
    last: Option<EntryPath>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(shared: &'a Shared, parent: Parent, only_changes: bool) -> Self {
        Self { shared, parent, only_changes, batch: Reads::new(), batch_bytes: 0, last: None }
    }

    /// Takes all findings of the capture.
    pub(super) fn run(mut self, capture: &mut dyn Capture) -> Result<(), CheckpointError> {
        loop {
            self.shared.check()?;
            let Some(found) = capture.next().map_err(|error| self.explain(error))? else { break };
            match found {
                Captured::Entry(entry, change) => self.entry(entry, change)?,
                Captured::Removed(path) => {
                    if let Some(gone) = self.parent_at(&path)? {
                        self.gone(gone.entry.path)?;
                    }
                }
                Captured::Skipped(skipped) if skipped.loss => {
                    self.shared.tally.lost(&skipped.path, skipped.reason)
                }
                Captured::Skipped(_) => self.shared.tally.skipped(),
            }
        }
        // What the parent has and the source did not mention is gone.
        while let Some(stored) = self.parent.next_up_to(None)? {
            self.gone(stored.entry.path)?;
        }
        self.flush();
        Ok(())
    }

    /// A source that could not read its parent says so in words; the error itself is kept beside.
    fn explain(&self, error: rpo_core::ports::SourceError) -> CheckpointError {
        self.parent.take_failure().unwrap_or(CheckpointError::Source(error))
    }

    /// The parent's entry of this path; entries before it that nobody mentioned are gone.
    fn parent_at(&mut self, path: &EntryPath) -> Result<Option<StoredEntry>, CheckpointError> {
        while let Some(stored) = self.parent.next_up_to(Some(path))? {
            if stored.entry.path == *path {
                return Ok(Some(stored));
            }
            self.gone(stored.entry.path)?;
        }
        Ok(None)
    }

    fn gone(&mut self, path: EntryPath) -> Result<(), CheckpointError> {
        self.shared.tally.removed();
        #[cfg(feature = "planted-bugs")]
        if crate::planted::is_on(crate::planted::Bug::ForgetsRemovals) {
            return Ok(());
        }
        if self.only_changes { self.record(ManifestItem::Removed(path)) } else { Ok(()) }
    }

    fn entry(&mut self, entry: Entry, change: Change) -> Result<(), CheckpointError> {
        if self.last.as_ref().is_some_and(|last| *last >= entry.path) {
            let text = format!("`{}` comes twice or out of order", entry.path);
            return Err(CheckpointError::SourceContract(text));
        }
        self.last = Some(entry.path.clone());
        let before = self.parent_at(&entry.path)?;
        let is_file = entry.kind == EntryKind::File;
        let change = self.doubted(change, before.as_ref())?;
        match (change, before) {
            (Change::Unchanged, Some(before)) => {
                self.shared.tally.unchanged(&before);
                if self.only_changes { Ok(()) } else { self.record(ManifestItem::Entry(before)) }
            }
            (Change::Metadata, Some(before))
                if is_file && before.entry.kind == entry.kind && before.entry.len == entry.len =>
            {
                let extents = before.entry.extents;
                let changed_while_read = before.entry.changed_while_read;
                let entry = Entry { extents, changed_while_read, ..entry };
                self.stored(StoredEntry { entry, chunks: before.chunks })
            }
            (_, before) if is_file && (entry.len > 0 || change == Change::Content) => {
                self.read(entry, before.is_some())
            }
            (_, _) => self.stored(StoredEntry { entry, chunks: Vec::new() }),
        }
    }

    /// A manifest of every entry takes over no content that is gone from the store: the file is read again.
    fn doubted(&self, change: Change, before: Option<&StoredEntry>) -> Result<Change, CheckpointError> {
        let Some(before) = before.filter(|_| !self.only_changes && change != Change::Content) else {
            return Ok(change);
        };
        for chunk in before.chunks.iter().filter(|chunk| !chunk.is_zero()) {
            if !self.shared.known.is_there(&chunk.id)? {
                return Ok(Change::Content);
            }
        }
        Ok(change)
    }

    fn stored(&mut self, stored: StoredEntry) -> Result<(), CheckpointError> {
        self.shared.tally.stored(&stored);
        self.record(ManifestItem::Entry(stored))
    }

    fn record(&mut self, item: ManifestItem) -> Result<(), CheckpointError> {
        let slot = self.slot()?;
        self.shared.fill([(slot, Some(item))])
    }

    fn read(&mut self, entry: Entry, before: bool) -> Result<(), CheckpointError> {
        let slot = self.slot()?;
        let small = entry.len <= GROUPED_BYTES_MAX as u64;
        let bytes = entry.len;
        let read = ReadEntry { slot, in_parent: before && self.only_changes, entry };
        if !small {
            self.shared.queue.push_read(vec![read]);
            return Ok(());
        }
        self.batch.push(read);
        self.batch_bytes += bytes;
        if self.batch_bytes >= BATCH_BYTES || self.batch.len() >= BATCH_ENTRIES {
            self.flush();
        }
        Ok(())
    }

    fn flush(&mut self) {
        self.batch_bytes = 0;
        if !self.batch.is_empty() {
            self.shared.queue.push_read(std::mem::take(&mut self.batch));
        }
    }

    fn slot(&mut self) -> Result<u64, CheckpointError> {
        loop {
            if let Some(slot) = self.shared.assembly.slot() {
                return Ok(slot);
            }
            self.flush();
            self.shared.assembly.wait();
            self.shared.check()?;
        }
    }
}
