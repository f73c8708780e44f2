//! Putting what was built in place: each step leaves either the old state, which refuses to open, or the new one.

use std::io;
use std::path::{Path, PathBuf};

use rpo_core::ports::DiskLock;
use rpo_core::{Disk, Epoch, LogId, Lsn, Position};

use super::build::SegmentSpec;
use crate::control::{self, Control, ControlFile, ControlFound};
use crate::error::WalError;
use crate::segment::LOCK_NAME;

/// A log's directory, locked for a repair.
#[derive(Debug)]
pub struct Workshop<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    _lock: Box<dyn DiskLock>,
}

/// What the control file is to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewControl {
    /// Identity of the log.
    pub log: LogId,
    /// Where the local log begins.
    pub start: Position,
    /// Epoch it took over from.
    pub parent: Option<Epoch>,
    /// Everything before it is durable.
    pub durable: Lsn,
}

impl<'a> Workshop<'a> {
    /// Locks the directory, as opening the log does.
    ///
    /// # Errors
    /// `Busy` if the log is open.
    pub fn enter(disk: &'a dyn Disk, dir: &'a Path) -> Result<Self, WalError> {
        let lock = disk.lock(&dir.join(LOCK_NAME)).map_err(|e| match e.kind() {
            io::ErrorKind::WouldBlock => WalError::Busy { dir: dir.to_owned() },
            _ => WalError::io("lock", dir, e),
        })?;
        Ok(Self { disk, dir, _lock: lock })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        self.dir
    }

    /// The disk it lies on.
    pub fn disk(&self) -> &dyn Disk {
        self.disk
    }

    /// Makes names durable.
    ///
    /// # Errors
    /// `Io`: which of them are durable is not known.
    pub fn sync_names(&self) -> Result<(), WalError> {
        self.disk.sync_dir(self.dir).map_err(|e| WalError::io("sync of the directory", self.dir, e))
    }

    /// A name for `path` as evidence that is not taken yet.
    fn evidence_name(&self, path: &Path) -> Result<PathBuf, WalError> {
        let names = self.disk.list(self.dir).map_err(|e| WalError::io("list", self.dir, e))?;
        let stem = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let free = (1u64..).map(|n| format!("{stem}.damaged-{n}"));
        let mut free = free.filter(|name| names.iter().all(|entry| entry.name.to_string_lossy() != *name));
        Ok(self.dir.join(free.next().unwrap_or_else(|| format!("{stem}.damaged-0"))))
    }

    /// Gives a built segment its name, durably. A damaged one that has that name already keeps a second one as evidence,
    /// which is returned.
    ///
    /// # Errors
    /// `Io`: the name stands for the old file or for the new one, both whole as they were.
    pub fn put_in_place(&self, spec: &SegmentSpec) -> Result<Option<PathBuf>, WalError> {
        let (making, path) = (self.dir.join(spec.making_name()), self.dir.join(spec.file_name()));
        let taken = match self.disk.open(&path, rpo_core::ports::Access::Read) {
            Ok(_) => true,
            Err(e) if e.kind() == io::ErrorKind::NotFound => false,
            Err(e) => return Err(WalError::io("open", path, e)),
        };
        let mut evidence = None;
        if taken {
            evidence = self.keep_evidence(&path)?;
        }
        self.disk.rename(&making, &path).map_err(|e| WalError::io("rename", &*path, e))?;
        self.sync_names()?;
        Ok(evidence)
    }

    /// A second name for what is about to be replaced.
    fn keep_evidence(&self, path: &Path) -> Result<Option<PathBuf>, WalError> {
        #[cfg(feature = "planted-bugs")]
        if super::planted::is(super::planted::RepairBug::EvidenceRemoved) {
            return Ok(None);
        }
        #[cfg(feature = "planted-bugs")]
        if super::planted::is(super::planted::RepairBug::MovedAwayFirst) {
            return self.set_aside(path).map(Some);
        }
        let name = self.evidence_name(path)?;
        match self.disk.link(path, &name) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            linked => linked.map_err(|e| WalError::io("link", &*name, e))?,
        }
        self.sync_names()?;
        Ok(Some(name))
    }

    /// Gives a file that is not to be read any more a name as evidence, durably.
    ///
    /// # Errors
    /// `Io`: it has the old name or the new one.
    pub fn set_aside(&self, path: &Path) -> Result<PathBuf, WalError> {
        let name = self.evidence_name(path)?;
        self.disk.rename(path, &name).map_err(|e| WalError::io("rename", path, e))?;
        self.sync_names()?;
        Ok(name)
    }

    /// Makes the control file say that the log is not closed, durably, as opening the log does: what it says of the end does
    /// not hold for what is about to be built.
    ///
    /// # Errors
    /// `Io`: it says the one or the other, and nothing else changed.
    pub fn open_control(&self) -> Result<(), WalError> {
        #[cfg(feature = "planted-bugs")]
        if super::planted::is(super::planted::RepairBug::ControlStaysClosed) {
            return Ok(());
        }
        match control::read(self.disk, self.dir)? {
            ControlFound::Valid(last, _) if last.closed => {
                ControlFile::reopen(self.disk, self.dir, last)?.update(|_| ())
            }
            _ => Ok(()),
        }
    }

    /// Removes segments that earlier repairs did not finish: they never had a name that anything reads.
    ///
    /// # Errors
    /// `Io`: some of them are still there, and harm nothing.
    pub fn remove_unfinished(&self) -> Result<(), WalError> {
        for entry in self.disk.list(self.dir).map_err(|e| WalError::io("list", self.dir, e))? {
            if entry.name.to_str().is_some_and(super::build::is_making_name) {
                let path = self.dir.join(&entry.name);
                self.disk.remove(&path).map_err(|e| WalError::io("remove", path, e))?;
            }
        }
        Ok(())
    }

    /// Replaces the control file; the old one stays as evidence if it could not be read.
    ///
    /// # Errors
    /// `Io`: the old one stands, or the new one.
    pub fn write_control(&self, new: NewControl) -> Result<Option<PathBuf>, WalError> {
        let counter = match control::read(self.disk, self.dir)? {
            ControlFound::Valid(old, _) => old.counter + 1,
            _ => 1,
        };
        let path = self.dir.join(control::FILE_NAME);
        let kept = self.keep_evidence(&path)?;
        // Slots are written in turn, the first one for odd counters.
        let counter = if counter % 2 == 0 { counter + 1 } else { counter };
        let NewControl { log, start, parent, durable } = new;
        let first = Control { counter, log, start, parent, durable, closed: false };
        ControlFile::create(self.disk, self.dir, first, || self.sync_names())?;
        Ok(kept)
    }
}
