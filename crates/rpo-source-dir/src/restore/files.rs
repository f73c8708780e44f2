//! The files that wait for content: what is still missing, and a bounded number of them held open.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, Weak};

use rpo_core::ports::{Entry, EntryPath, Extent, Metadata, RestoreError};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{io_error, lock};
use crate::beneath;

/// A file that was given and not yet closed.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) metadata: Metadata,
    pub(super) len: u64,
    extents: Vec<Extent>,
    /// What was written: starts and ends of runs that neither overlap nor touch.
    covered: Mutex<BTreeMap<u64, u64>>,
    fd: Mutex<Option<Arc<OwnedFd>>>,
}

impl Pending {
    pub(super) fn of(entry: &Entry) -> Self {
        Self {
            metadata: entry.metadata.clone(),
            len: entry.len,
            extents: entry.extents.clone(),
            covered: Mutex::default(),
            fd: Mutex::default(),
        }
    }

    /// Notes that a run was written.
    pub(super) fn written(&self, offset: u64, len: u64) {
        if len == 0 {
            return;
        }
        let mut covered = lock(&self.covered);
        let (mut start, mut end) = (offset, offset + len);
        while let Some((&from, &to)) = covered.range(..=end).next_back()
            && to >= start
        {
            covered.remove(&from);
            start = start.min(from);
            end = end.max(to);
        }
        covered.insert(start, end);
    }

    /// How many bytes of it were written.
    pub(super) fn written_bytes(&self) -> u64 {
        lock(&self.covered).iter().map(|(from, to)| to - from).sum()
    }

    /// The first run of its extents that was not written.
    pub(super) fn first_gap(&self) -> Option<Extent> {
        let covered = lock(&self.covered);
        self.extents.iter().find_map(|extent| {
            let reached = covered.range(..=extent.offset).next_back().map_or(extent.offset, |(_, to)| *to);
            let from = reached.max(extent.offset);
            (from < extent.end()).then(|| Extent { offset: from, len: extent.end() - from })
        })
    }

    /// Whether no content is expected.
    pub(super) fn needs_nothing(&self) -> bool {
        self.extents.is_empty()
    }
}

/// All files that wait for content.
#[derive(Debug)]
pub(super) struct OpenFiles {
    pending: Mutex<HashMap<EntryPath, Arc<Pending>>>,
    open: Mutex<VecDeque<Weak<Pending>>>,
    open_max: usize,
}

impl OpenFiles {
    pub(super) fn new(open_max: usize) -> Self {
        Self { pending: Mutex::default(), open: Mutex::default(), open_max: open_max.max(1) }
    }

    /// Takes a new file with the descriptor it was made with.
    pub(super) fn add(&self, path: EntryPath, pending: Pending, fd: OwnedFd) {
        let pending = Arc::new(pending);
        *lock(&pending.fd) = Some(Arc::new(fd));
        self.bound(&pending);
        lock(&self.pending).insert(path, pending);
    }

    pub(super) fn find(&self, path: &EntryPath) -> Option<Arc<Pending>> {
        lock(&self.pending).get(path).cloned()
    }

    /// Takes a file out: nothing more comes for it.
    pub(super) fn take(&self, path: &EntryPath) -> Option<Arc<Pending>> {
        lock(&self.pending).remove(path)
    }

    /// Takes all files out, in path order.
    pub(super) fn take_all(&self) -> Vec<(EntryPath, Arc<Pending>)> {
        let mut all: Vec<_> = lock(&self.pending).drain().collect();
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// The file's descriptor, opened again if it had to be closed for others.
    pub(super) fn descriptor(
        &self,
        top: BorrowedFd<'_>,
        path: &EntryPath,
        pending: &Arc<Pending>,
    ) -> Result<Arc<OwnedFd>, RestoreError> {
        let mut slot = lock(&pending.fd);
        if let Some(fd) = &*slot {
            return Ok(Arc::clone(fd));
        }
        let fd = beneath::open(top, path.as_bytes(), OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty());
        let fd = Arc::new(fd.map_err(|error| io_error(path, "open", error))?);
        *slot = Some(Arc::clone(&fd));
        drop(slot);
        self.bound(pending);
        Ok(fd)
    }

    /// Closes the file's descriptor.
    pub(super) fn let_go(&self, pending: &Pending) {
        *lock(&pending.fd) = None;
    }

    /// Forgets all files and closes their descriptors.
    pub(super) fn let_all_go(&self) {
        lock(&self.pending).clear();
        lock(&self.open).clear();
    }

    /// Counts `pending` as open, and closes the ones opened longest ago if that makes too many.
    fn bound(&self, pending: &Arc<Pending>) {
        let mut open = lock(&self.open);
        open.push_back(Arc::downgrade(pending));
        while open.len() > self.open_max {
            if let Some(oldest) = open.pop_front().and_then(|oldest| oldest.upgrade()) {
                *lock(&oldest.fd) = None;
            }
        }
    }
}

/// Writes all of `bytes` at `offset`.
pub(super) fn write_all_at(fd: &OwnedFd, mut bytes: &[u8], mut offset: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(fd, bytes, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pending(extents: Vec<Extent>) -> Pending {
        let (metadata, covered, fd) = Default::default();
        Pending { metadata, len: 64, extents, covered, fd }
    }

    proptest! {
        #[test]
        fn a_gap_is_found_exactly_when_a_byte_is_missing(
            writes in prop::collection::vec((0u64..64, 0u64..16), 0..20),
            (offset, len) in (0u64..48, 1u64..16),
        ) {
            let file = pending(vec![Extent { offset, len }]);
            let mut model = [false; 96];
            for (at, len) in writes {
                file.written(at, len);
                model[at as usize..(at + len) as usize].fill(true);
            }
            let missing = (offset..offset + len).find(|at| !model[*at as usize]);
            prop_assert_eq!(file.first_gap().map(|gap| gap.offset), missing);
        }
    }
}
