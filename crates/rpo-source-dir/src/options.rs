//! How a directory is captured and restored.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rpo_core::ports::EntryPath;

/// What to make of a file whose size and modification time are as before and whose change time is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChangeTime {
    /// Read it again. Safe whatever programs do to modification times; a recursive `chmod` makes everything be read.
    #[default]
    Reread,
    /// Believe the modification time: take the new metadata, keep the content. A program that changes a file and sets
    /// its modification time back goes unseen.
    MetadataOnly,
}

/// How a directory is captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryOptions {
    /// Left out, with everything below; each is told once as skipped without loss. The root cannot be left out.
    pub exclude: BTreeSet<EntryPath>,
    /// Stay on the root's file system: directories where another is mounted are captured empty.
    pub one_file_system: bool,
    /// What a changed change time alone means.
    pub change_time: ChangeTime,
    /// Coarsest time stamp of the file system, plus the skew between its clock and ours. A file that changed later than
    /// this before a capture is read again by the next one. The default of 2 s covers FAT; network file systems whose
    /// server's clock is off need more.
    pub granularity: Duration,
    /// Directories held open while walking, at least 2. More costs descriptors; fewer costs a call per directory of
    /// trees that are deeper than this.
    pub open_dirs_max: usize,
    /// A fault on purpose.
    #[cfg(feature = "planted-bugs")]
    pub planted: Option<PlantedBug>,
}

impl Default for DirectoryOptions {
    fn default() -> Self {
        Self {
            exclude: BTreeSet::new(),
            one_file_system: false,
            change_time: ChangeTime::default(),
            granularity: Duration::from_secs(2),
            open_dirs_max: 64,
            #[cfg(feature = "planted-bugs")]
            planted: None,
        }
    }
}

impl DirectoryOptions {
    /// Leaves out `what` if it lies below `root` (links resolved); says whether it does. For a repository that is kept
    /// inside what it protects.
    ///
    /// # Errors
    /// One of the two is not there. `InvalidInput` if `what` is the root itself.
    pub fn leave_out(&mut self, root: &Path, what: &Path) -> io::Result<bool> {
        let (root, what) = (root.canonicalize()?, what.canonicalize()?);
        let Ok(below) = what.strip_prefix(&root) else { return Ok(false) };
        if below.as_os_str().is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the whole source would be left out"));
        }
        let path = EntryPath::new(below.as_os_str().as_bytes());
        self.exclude.insert(path.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?);
        Ok(true)
    }
}

/// How a restored tree is made durable before it is put in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// One `syncfs` at the end: fastest for many files; waits for everything else that is being written to the same
    /// file system too. Write errors are reported by it since Linux 5.8.
    #[default]
    FileSystem,
    /// `fsync` of each file when it is closed and of each directory at the end: nothing but the restored tree is
    /// waited for, at the cost of a device round trip per file.
    EachFile,
}

/// How a directory is restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreOptions {
    /// How the tree is made durable.
    pub durability: Durability,
    /// Files held open at once, at least 1. Files that wait for more content are closed and opened again above this.
    pub open_files_max: usize,
    /// A fault on purpose.
    #[cfg(feature = "planted-bugs")]
    pub planted: Option<PlantedBug>,
}

impl Default for RestoreOptions {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            open_files_max: 256,
            #[cfg(feature = "planted-bugs")]
            planted: None,
        }
    }
}

/// Faults that the safety tests must notice when they are switched on.
#[cfg(feature = "planted-bugs")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlantedBug {
    /// Fingerprints of files that changed just before the capture are trusted.
    TrustRacyFiles,
    /// Contents are never compared with what they were when they were opened.
    NoSecondLook,
    /// The restorer follows symbolic links that it restored itself.
    FollowLinks,
}
