//! Files that are not objects yet. Each process writes into a folder that it has locked; what lies in a folder that
//! nobody has locked was left by a dead process and is removed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rpo_core::ports::{Disk, DiskFile, DiskLock, FileKind};

/// Name of the folder below the root. No key begins with a dot, so no object is in it.
pub(super) const FOLDER: &str = ".rpo-tmp";

/// The folder of uploads: `slot-N/` holds the files of whoever has locked `slot-N.lock`. Locks are never removed.
pub(super) struct Slots {
    folder: PathBuf,
    ours: Mutex<Option<Slot>>,
    uploads: AtomicU64,
}

struct Slot {
    dir: PathBuf,
    _lock: Box<dyn DiskLock>,
}

impl Slots {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, ours: Mutex::new(None), uploads: AtomicU64::new(0) }
    }

    /// Removes what dead processes left. What cannot be removed now is left for the next time.
    pub(super) fn sweep(&self, disk: &dyn Disk) {
        let entries = disk.list(&self.folder).unwrap_or_default();
        for dir in entries.into_iter().filter(|e| e.kind == FileKind::Directory) {
            let dir = self.folder.join(dir.name);
            match disk.lock(&dir.with_extension("lock")) {
                Ok(_held) => empty(disk, &dir),
                Err(e) => tracing::debug!(dir = %dir.display(), error = %e, "uploads in use, not swept"),
            }
        }
    }

    /// A new empty file in our folder.
    pub(super) fn begin(&self, disk: &Arc<dyn Disk>) -> io::Result<Upload> {
        let dir = self.our_dir(disk.as_ref())?;
        let path = dir.join(format!("{:016x}", self.uploads.fetch_add(1, Ordering::Relaxed)));
        let file = disk.create_new(&path)?;
        Ok(Upload { disk: Arc::clone(disk), path, file, len: 0 })
    }

    /// Our folder is gone: the next upload takes another.
    pub(super) fn forget(&self) {
        *self.ours.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The folder that we have locked; takes the first free one.
    fn our_dir(&self, disk: &dyn Disk) -> io::Result<PathBuf> {
        let mut ours = self.ours.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = ours.as_ref() {
            return Ok(slot.dir.clone());
        }
        there_already(disk.create_dir(&self.folder))?;
        for number in 0..u32::MAX {
            let dir = self.folder.join(format!("slot-{number}"));
            let lock = match disk.lock(&dir.with_extension("lock")) {
                Ok(lock) => lock,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
                Err(e) => return Err(e),
            };
            there_already(disk.create_dir(&dir))?;
            empty(disk, &dir);
            *ours = Some(Slot { dir: dir.clone(), _lock: lock });
            return Ok(dir);
        }
        Err(io::Error::other("all upload folders are locked"))
    }
}

fn there_already(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Removes the files in an upload folder that we have locked.
fn empty(disk: &dyn Disk, dir: &Path) {
    for entry in disk.list(dir).unwrap_or_default() {
        let path = dir.join(entry.name);
        match disk.remove(&path) {
            Ok(()) => tracing::info!(path = %path.display(), "removed an upload that was never finished"),
            Err(e) => {
                tracing::warn!(path = %path.display(), error = %e, "an unfinished upload could not be removed")
            }
        }
    }
}

/// A file that is being written; its name goes when this is dropped.
pub(super) struct Upload {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    len: u64,
}

impl Upload {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn write(&mut self, part: &[u8]) -> io::Result<()> {
        self.file.write_at(part, self.len)?;
        self.len += part.len() as u64;
        Ok(())
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Err(e) = self.disk.remove(&self.path) {
            tracing::debug!(path = %self.path.display(), error = %e, "left for the next sweep");
        }
    }
}
