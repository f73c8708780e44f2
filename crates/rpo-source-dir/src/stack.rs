//! The directories from the top of a tree down to where a walk is, with a bounded number of them held open.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Dir, Mode, OFlags, Stat, fstat, openat};
use rustix::io::{Errno, Result};

use crate::beneath::{self, DIRECTORY};

/// Where a walk stands. The top and the deepest few directories stay open; one that was closed on the way down is
/// opened again on the way up, and only accepted if it is the same directory as before.
#[derive(Debug)]
pub(crate) struct DirStack {
    levels: Vec<Level>,
    /// Levels `1..=closed` have no descriptor.
    closed: usize,
    open_max: usize,
}

#[derive(Debug)]
struct Level {
    name: Vec<u8>,
    fd: Option<OwnedFd>,
    device: u64,
    inode: u64,
}

impl DirStack {
    /// Stands in `top`; holds at most `open_max` (at least 2) directories open besides it.
    pub(crate) fn new(top: OwnedFd, open_max: usize) -> Result<Self> {
        let stat = fstat(&top)?;
        let level = Level { name: Vec::new(), fd: Some(top), device: stat.st_dev, inode: stat.st_ino };
        Ok(Self { levels: vec![level], closed: 0, open_max: open_max.max(2) })
    }

    /// How many directories below the top it stands.
    pub(crate) fn depth(&self) -> usize {
        self.levels.len() - 1
    }

    /// The name of the directory it stands in, below the one above.
    pub(crate) fn name(&self) -> &[u8] {
        self.levels.last().map_or(&[], |level| &level.name)
    }

    /// The directory it stands in.
    ///
    /// # Errors
    /// `STALE` if it was moved away while the walk was below it.
    pub(crate) fn here(&self) -> Result<BorrowedFd<'_>> {
        self.levels.last().and_then(|level| level.fd.as_ref()).map(AsFd::as_fd).ok_or(Errno::STALE)
    }

    /// Goes into the child `name`, which must be a directory and not a link to one.
    pub(crate) fn enter(&mut self, name: &[u8]) -> Result<Stat> {
        let fd = open_quietly(self.here()?, name)?;
        let stat = fstat(&fd)?;
        self.levels.push(Level {
            name: name.to_vec(),
            fd: Some(fd),
            device: stat.st_dev,
            inode: stat.st_ino,
        });
        if self.depth() - self.closed > self.open_max {
            self.closed += 1;
            self.levels[self.closed].fd = None;
        }
        Ok(stat)
    }

    /// Goes back to the directory above.
    ///
    /// # Errors
    /// That directory was moved away meanwhile: [`here`](Self::here) fails until the walk leaves it as well.
    pub(crate) fn leave(&mut self) -> Result<()> {
        if self.levels.len() < 2 {
            return Err(Errno::INVAL);
        }
        let Some(child) = self.levels.pop() else { return Err(Errno::INVAL) };
        self.closed = self.closed.min(self.depth());
        let depth = self.depth();
        if depth == 0 || depth > self.closed {
            return Ok(()); // it is still open
        }
        self.closed -= 1;
        let reopened = self.reopen(child.fd.as_ref())?;
        self.levels[depth].fd = Some(reopened);
        Ok(())
    }

    fn reopen(&self, child: Option<&OwnedFd>) -> Result<OwnedFd> {
        let wanted = self.levels.last().ok_or(Errno::INVAL)?;
        let same = |fd: OwnedFd| {
            let stat = fstat(&fd)?;
            if (stat.st_dev, stat.st_ino) == (wanted.device, wanted.inode) {
                Ok(fd)
            } else {
                Err(Errno::STALE)
            }
        };
        // `..` is safe here because what it leads to is compared with where the walk came from.
        if let Some(child) = child
            && let Ok(fd) = openat(child, c"..", DIRECTORY, Mode::empty()).and_then(same)
        {
            return Ok(fd);
        }
        let names: Vec<&[u8]> = self.levels[1..].iter().map(|level| level.name.as_slice()).collect();
        let top = self.levels[0].fd.as_ref().ok_or(Errno::STALE)?;
        beneath::open(top.as_fd(), &names.join(&b'/'), DIRECTORY, Mode::empty()).and_then(same)
    }

    /// Descriptors held open now.
    #[cfg(test)]
    fn open_count(&self) -> usize {
        self.levels.iter().filter(|level| level.fd.is_some()).count()
    }
}

/// Opens a directory without leaving a trace in its access time, where the system lets us.
fn open_quietly(from: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    match openat(from, name, DIRECTORY | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => openat(from, name, DIRECTORY, Mode::empty()),
        done => done,
    }
}

/// The names in a directory, sorted by bytes, each once; and the error that ended the listing early, if any.
pub(crate) fn names(dir: BorrowedFd<'_>) -> (Vec<CString>, Option<Errno>) {
    let mut names = Vec::new();
    let listing = match Dir::read_from(dir) {
        Ok(listing) => listing,
        Err(error) => return (names, Some(error)),
    };
    let mut failed = None;
    for entry in listing {
        match entry {
            Ok(entry) if matches!(entry.file_name().to_bytes(), b"." | b"..") => {}
            Ok(entry) => names.push(entry.file_name().to_owned()),
            Err(error) => failed = Some(error),
        }
    }
    names.sort_unstable();
    names.dedup(); // a directory that changes while it is read may name an entry twice
    (names, failed)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn descriptors_stay_bounded_and_the_way_back_is_found() {
        let scratch = tempfile::tempdir().unwrap();
        fs::create_dir_all(scratch.path().join("a/b/c/d/e/f/g/h")).unwrap();
        let top = openat(rustix::fs::CWD, scratch.path(), DIRECTORY, Mode::empty()).unwrap();
        let mut stack = DirStack::new(top, 3).unwrap();
        for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
            stack.enter(name.as_bytes()).unwrap();
            assert!(stack.open_count() <= 4);
        }
        for name in ["g", "f", "e", "d", "c", "b", "a"] {
            stack.leave().unwrap();
            assert_eq!((stack.name(), stack.here().is_ok()), (name.as_bytes(), true));
            assert!(stack.open_count() <= 4);
        }
    }

    #[test]
    fn a_directory_that_was_moved_away_is_not_taken_for_another() {
        let scratch = tempfile::tempdir().unwrap();
        fs::create_dir_all(scratch.path().join("a/b/c/d/e")).unwrap();
        let top = openat(rustix::fs::CWD, scratch.path(), DIRECTORY, Mode::empty()).unwrap();
        let mut stack = DirStack::new(top, 2).unwrap();
        for name in ["a", "b", "c", "d", "e"] {
            stack.enter(name.as_bytes()).unwrap();
        }
        fs::rename(scratch.path().join("a/b/c/d"), scratch.path().join("stray")).unwrap();
        fs::remove_dir(scratch.path().join("a/b/c")).unwrap();

        stack.leave().unwrap(); // `d` is still open
        assert!(stack.leave().is_err(), "`c` is gone, and `..` of `d` is the top now");
        assert!(stack.here().is_err());
        stack.leave().unwrap();
        assert_eq!(stack.name(), b"b");
    }
}
