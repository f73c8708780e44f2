//! Reading contents: the file as it is when opened, where it has data, and whether it held still.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use rpo_core::ports::{
    Content, ContentReader, Entry, EntryKind, EntryPath, Extent, FileTime, Metadata, SourceError, Stability,
};
use rustix::fs::{FileType, Mode, OFlags, SeekFrom, Stat, fstat, seek};
use rustix::io::Errno;

use crate::attributes::{self, Place, XattrReader, ctime, len, mtime};
use crate::beneath;
use crate::links::Links;

/// Most runs of data kept apart in one file; holes after that many are read and restored as zeros.
pub(crate) const EXTENTS_MAX: usize = 65_536;

/// Opens the contents of one capture.
#[derive(Debug)]
pub(crate) struct DirectoryReader {
    pub(crate) root: Arc<OwnedFd>,
    pub(crate) shown: String,
    pub(crate) links: Arc<Links>,
    pub(crate) horizon: FileTime,
    /// Whether the file is compared at the end with what it was when it was opened. Always, but for a planted bug.
    pub(crate) looks_again: bool,
    pub(crate) xattrs: Mutex<XattrReader>,
}

impl DirectoryReader {
    fn show(&self, path: &EntryPath) -> String {
        format!("{}/{path}", self.shown)
    }

    fn failed(&self, path: &EntryPath, op: &'static str, error: Errno) -> SourceError {
        SourceError::Io { path: self.show(path), op, source: error.into() }
    }

    fn gone(&self, path: &EntryPath, what: &str) -> SourceError {
        self.links.forget(path);
        SourceError::Gone { path: self.show(path), what: what.to_owned() }
    }

    fn open_file(&self, path: &EntryPath) -> Result<File, SourceError> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY; // a FIFO in its place must not hold us up
        let open = |flags| beneath::open(self.root.as_fd(), path.as_bytes(), flags, Mode::empty());
        let opened = match open(flags | OFlags::NOATIME) {
            Err(Errno::PERM) => open(flags), // only the owner may leave access times alone
            done => done,
        };
        match opened {
            Ok(fd) => Ok(fd.into()),
            Err(Errno::NOENT) => Err(self.gone(path, "it vanished since it was found")),
            Err(Errno::LOOP | Errno::NOTDIR) => {
                Err(self.gone(path, "it or a directory above it is no longer what was found"))
            }
            Err(Errno::NXIO | Errno::NODEV) => Err(self.gone(path, "it is no file any more")),
            Err(error) => Err(self.failed(path, "open", error)),
        }
    }

    /// Metadata of the open file: the walk's, unless it changed since.
    fn metadata(&self, entry: &Entry, file: &File, stat: &Stat) -> Result<Metadata, SourceError> {
        let known =
            entry.fingerprint.is_some_and(|seen| seen.inode == stat.st_ino && seen.ctime == ctime(stat));
        if known {
            return Ok(entry.metadata.clone());
        }
        let mut reader = self.xattrs.lock().unwrap_or_else(PoisonError::into_inner);
        let xattrs = reader.read(Place::Open(file.as_fd()));
        match xattrs.unreadable.into_iter().next() {
            None => Ok(attributes::metadata(stat, xattrs.found)),
            Some(why) => Err(SourceError::Io {
                path: self.show(&entry.path),
                op: "read of extended attributes",
                source: std::io::Error::other(why),
            }),
        }
    }
}

impl ContentReader for DirectoryReader {
    fn open(&self, entry: &Entry) -> Result<Box<dyn Content>, SourceError> {
        let path = &entry.path;
        if entry.kind != EntryKind::File {
            return Err(SourceError::Unsupported(format!("`{path}` is no file: it has no content to read")));
        }
        let file = self.open_file(path)?;
        let stat = fstat(&file).map_err(|error| self.failed(path, "stat", error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(self.gone(path, "it is no file any more"));
        }
        // A file replaced by another (the usual way to save one) is taken as it is now; not so if other names refer to
        // this one, for they still mean the old file.
        let replaced = entry.fingerprint.is_some_and(|seen| seen.inode != stat.st_ino);
        if replaced && self.links.forget(path) {
            return Err(self.gone(path, "another file took the place of one with several names"));
        }
        let len = len(&stat);
        let found = Entry {
            path: path.clone(),
            kind: EntryKind::File,
            metadata: self.metadata(entry, &file, &stat)?,
            len,
            extents: extents(&file, len).map_err(|error| self.failed(path, "search for holes", error))?,
            fingerprint: Some(attributes::fingerprint(&stat, false, self.horizon)),
            changed_while_read: false,
        };
        let shown = self.show(path);
        let held_still = Moment::of(&stat);
        Ok(Box::new(DirectoryContent {
            entry: found,
            file,
            shown,
            held_still,
            looks_again: self.looks_again,
        }))
    }
}

/// What must be the same before and after reading.
#[derive(Debug, PartialEq, Eq)]
struct Moment {
    len: u64,
    mtime: FileTime,
    ctime: FileTime,
}

impl Moment {
    fn of(stat: &Stat) -> Self {
        Self { len: len(stat), mtime: mtime(stat), ctime: ctime(stat) }
    }
}

/// One open file.
#[derive(Debug)]
struct DirectoryContent {
    entry: Entry,
    file: File,
    shown: String,
    held_still: Moment,
    looks_again: bool,
}

impl Content for DirectoryContent {
    fn entry(&self) -> &Entry {
        &self.entry
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, SourceError> {
        // What is appended while we read is the next capture's: the entry says how long the content is.
        let left = self.entry.len.saturating_sub(offset);
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let mut filled = 0;
        while filled < wanted {
            match self.file.read_at(&mut buffer[filled..wanted], offset + filled as u64) {
                Ok(0) => break, // it became shorter: `finish` will see it
                Ok(read) => filled += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => return Err(SourceError::Io { path: self.shown.clone(), op: "read", source }),
            }
        }
        Ok(filled)
    }

    fn finish(self: Box<Self>) -> Result<Stability, SourceError> {
        let stat = fstat(&self.file);
        let stat =
            stat.map_err(|e| SourceError::Io { path: self.shown.clone(), op: "stat", source: e.into() })?;
        let same = Moment::of(&stat) == self.held_still || !self.looks_again;
        Ok(if same { Stability::Stable } else { Stability::Changed })
    }
}

/// Where the first `len` bytes of `file` have data.
fn extents(file: &File, len: u64) -> Result<Vec<Extent>, Errno> {
    let whole = || if len == 0 { Vec::new() } else { vec![Extent { offset: 0, len }] };
    match (len > 0).then(|| seek(file, SeekFrom::Hole(0))) {
        None => return Ok(Vec::new()),
        Some(Ok(hole)) if hole < len => {}
        // No hole, or shorter by now; or a file system that cannot tell.
        Some(Ok(_) | Err(Errno::NXIO | Errno::INVAL | Errno::OPNOTSUPP)) => return Ok(whole()),
        Some(Err(error)) => return Err(error),
    }
    let mut extents = Vec::new();
    let mut at = 0;
    while at < len {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) if start < len => start,
            Ok(_) | Err(Errno::NXIO) => break, // a hole up to the end
            Err(error) => return Err(error),
        };
        let end = if extents.len() + 1 == EXTENTS_MAX {
            len
        } else {
            match seek(file, SeekFrom::Hole(start)) {
                Ok(end) => end.min(len),
                Err(Errno::NXIO) => len,
                Err(error) => return Err(error),
            }
        };
        if end <= start {
            break; // it is being cut while we look
        }
        extents.push(Extent { offset: start, len: end - start });
        at = end;
    }
    Ok(extents)
}
