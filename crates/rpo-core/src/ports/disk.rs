//! The file system that the log and the local store stand on.

use std::ffi::OsString;
use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// How an existing file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// `write_at` will fail.
    Read,
    /// Reads and writes.
    ReadWrite,
}

/// What a name in a directory stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Anything else: nothing of ours.
    Other,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskEntry {
    /// The last component of its path.
    pub name: OsString,
    /// What it stands for.
    pub kind: FileKind,
    /// Length of a file, bytes.
    pub len: u64,
}

/// A file system with POSIX durability: what is not synced may be lost, torn or reordered by a crash, and a *name* is
/// durable only after [`Disk::sync_dir`] of its directory. The log and the local object store stand on this.
pub trait Disk: Debug + Send + Sync {
    /// Opens an existing file.
    ///
    /// # Errors
    /// `NotFound` if there is none.
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>>;
    /// Creates an empty file for reading and writing.
    ///
    /// # Errors
    /// `AlreadyExists` if the name is taken; what it names is untouched.
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Makes the names created, renamed and removed in `dir` durable.
    ///
    /// # Errors
    /// Never retry: a failed sync means the names may or may not be durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Gives the file at `from` the second name `to`.
    ///
    /// # Errors
    /// `AlreadyExists` if `to` is taken: this is how a file is published without replacing another.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Renames, replacing whatever file has the name `to`.
    ///
    /// # Errors
    /// Of the operating system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes the name of a file.
    ///
    /// # Errors
    /// `NotFound` if there is none.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Creates one directory; its parent must exist.
    ///
    /// # Errors
    /// `AlreadyExists` if the name is taken.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory, sorted by bytes.
    ///
    /// # Errors
    /// `NotFound` if there is no such directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<DiskEntry>>;
    /// Takes the exclusive lock on the file at `path` (created if absent) until the guard is dropped or the process dies.
    ///
    /// # Errors
    /// `WouldBlock` if another process or handle holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;
    /// Bytes that can still be written below `dir`, if the system can tell.
    ///
    /// # Errors
    /// Of the operating system.
    fn free_bytes(&self, dir: &Path) -> io::Result<Option<u64>>;
    /// Names the device that `path` lies on (`device 8:1`), if the system can tell: equal names share a fate.
    ///
    /// # Errors
    /// `NotFound` if there is nothing at `path`.
    fn device(&self, path: &Path) -> io::Result<Option<String>> {
        let _ = path;
        Ok(None)
    }
}

/// An open file. Positions are given with each call, so a handle may be shared between threads.
pub trait DiskFile: Debug + Send + Sync {
    /// Writes all of `bytes` at `offset`, extending the file if needed; short writes and interrupts are continued inside.
    ///
    /// # Errors
    /// Any part of the range may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Fills `buffer` from `offset`, as far as the file reaches; returns the bytes read.
    ///
    /// # Errors
    /// Of the device: never to be taken for the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Length in bytes.
    ///
    /// # Errors
    /// Of the operating system.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// Of the operating system.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Makes the file's bytes and length durable (`fdatasync`).
    ///
    /// # Errors
    /// Never retry on the same file: the kernel may have dropped the bytes and will report success the second time
    /// (*Can Applications Recover from fsync Failures?*, USENIX ATC 2020).
    fn sync(&self) -> io::Result<()>;
}

/// Holds a lock until dropped.
pub trait DiskLock: Debug + Send + Sync {}
