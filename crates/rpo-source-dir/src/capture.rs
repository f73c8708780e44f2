//! Capturing: the walk merged with the parent's entries, and what each difference means.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rpo_core::ports::{
    Capture, CaptureReport, Captured, Change, ContentReader, Entry, EntryKind, EntryStream, Extent, FileTime,
    Skipped, Source, SourceError,
};
use rpo_core::{Clock, Position};
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, accessat, openat, readlinkat};
use rustix::io::Errno;

use crate::attributes::{self, XattrReader, Xattrs};
use crate::beneath::DIRECTORY;
use crate::content::DirectoryReader;
use crate::links::Links;
use crate::options::{ChangeTime, DirectoryOptions};
use crate::parent::Parent;
use crate::walk::{Found, Step, Walk};

/// A directory tree that can be captured. Its kind is [`KIND`](crate::KIND).
///
/// Entries come with one extent over the whole file; where it really has data is known once its content is opened
/// ([`rpo_core::ports::Content::entry`]). Unchanged entries are the parent's, extents included.
#[derive(Debug)]
pub struct DirectorySource {
    root: PathBuf,
    clock: Arc<dyn Clock>,
    options: DirectoryOptions,
}

impl DirectorySource {
    /// The tree below `root`. A symbolic link in `root` itself is followed; none below it ever is.
    pub fn new(root: impl Into<PathBuf>, clock: Arc<dyn Clock>, options: DirectoryOptions) -> Self {
        Self { root: root.into(), clock, options }
    }

    /// Where it is.
    pub fn root(&self) -> &std::path::Path {
        &self.root
    }

    fn failed(&self, op: &'static str, error: Errno) -> SourceError {
        SourceError::Io { path: self.root.display().to_string(), op, source: error.into() }
    }

    /// Only what changed before this is trusted by the next capture.
    fn horizon(&self) -> FileTime {
        #[cfg(feature = "planted-bugs")]
        if self.options.planted == Some(crate::PlantedBug::TrustRacyFiles) {
            return FileTime { seconds: i64::MAX, nanos: 0 };
        }
        attributes::as_file_time(self.clock.wall().saturating_sub(self.options.granularity))
    }
}

impl DirectorySource {
    #[cfg(feature = "planted-bugs")]
    fn looks_again(&self) -> bool {
        self.options.planted != Some(crate::PlantedBug::NoSecondLook)
    }

    #[cfg(not(feature = "planted-bugs"))]
    fn looks_again(&self) -> bool {
        true
    }
}

impl Source for DirectorySource {
    fn kind(&self) -> &str {
        crate::KIND
    }

    fn capture(&self, parent: Option<Box<dyn EntryStream>>) -> Result<Box<dyn Capture>, SourceError> {
        let horizon = self.horizon(); // before anything is looked at
        if !attributes::proc_is_mounted().map_err(|error| self.failed("look at /proc", error))? {
            let why = "/proc is not mounted here, and extended attributes are read through it";
            return Err(SourceError::Unsupported(why.to_owned()));
        }
        let open = || openat(CWD, &self.root, DIRECTORY.difference(OFlags::NOFOLLOW), Mode::empty());
        let root = open().map_err(|error| self.failed("open", error))?;
        let for_reading = Arc::new(root.try_clone().map_err(|source| {
            let path = self.root.display().to_string();
            SourceError::Io { path, op: "open", source }
        })?);
        let options = &self.options;
        let walk = Walk::new(root, options.open_dirs_max, options.exclude.clone(), options.one_file_system);
        let links = Arc::new(Links::default());
        let shown = self.root.display().to_string();
        let reader = Arc::new(DirectoryReader {
            root: Arc::<OwnedFd>::clone(&for_reading),
            shown: shown.clone(),
            links: Arc::clone(&links),
            horizon,
            looks_again: self.looks_again(),
            xattrs: Mutex::new(XattrReader::new()),
        });
        Ok(Box::new(DirectoryCapture {
            walk: walk.map_err(|error| self.failed("stat", error))?,
            parent: Parent::new(parent)?,
            step: None,
            queue: VecDeque::new(),
            ended: false,
            report: CaptureReport::default(),
            change_time: options.change_time,
            xattrs: XattrReader::new(),
            shown,
            horizon,
            links,
            reader,
        }))
    }
}

/// A capture under way.
struct DirectoryCapture {
    walk: Walk,
    parent: Parent,
    /// The walk's next step, while the parent's removed entries before it are told.
    step: Option<Step>,
    queue: VecDeque<Captured>,
    ended: bool,
    report: CaptureReport,
    change_time: ChangeTime,
    xattrs: XattrReader,
    shown: String,
    horizon: FileTime,
    links: Arc<Links>,
    reader: Arc<DirectoryReader>,
}

impl Capture for DirectoryCapture {
    fn position(&self) -> Option<Position> {
        None // a directory has no log
    }

    fn next(&mut self) -> Result<Option<Captured>, SourceError> {
        if self.queue.is_empty() && !self.ended {
            self.advance()?;
        }
        let captured = self.queue.pop_front();
        match &captured {
            None | Some(Captured::Removed(_)) => {}
            Some(Captured::Entry(_, change)) => {
                self.report.entries += 1;
                self.report.unchanged += u64::from(*change == Change::Unchanged);
            }
            Some(Captured::Skipped(skipped)) => self.report.lost += u64::from(skipped.loss),
        }
        Ok(captured)
    }

    fn reader(&self) -> Arc<dyn ContentReader> {
        Arc::<DirectoryReader>::clone(&self.reader)
    }

    fn finish(self: Box<Self>) -> Result<CaptureReport, SourceError> {
        if self.ended && self.queue.is_empty() {
            return Ok(self.report);
        }
        let what = "the capture was ended before everything in it was found".to_owned();
        Err(SourceError::Gone { path: self.shown, what })
    }
}

impl DirectoryCapture {
    /// Puts at least one finding into the queue, or ends.
    fn advance(&mut self) -> Result<(), SourceError> {
        while self.queue.is_empty() {
            if self.step.is_none() {
                self.step = self.walk.next().map_err(|error| self.failed("walk", error))?;
            }
            let at = match &self.step {
                Some(Step::Found(found)) => Some(&found.path),
                Some(Step::Skipped(_)) => {
                    if let Some(Step::Skipped(skipped)) = self.step.take() {
                        self.queue.push_back(Captured::Skipped(skipped));
                    }
                    continue;
                }
                None => None,
            };
            match (at, self.parent.path()) {
                (None, None) => {
                    self.ended = true;
                    return Ok(());
                }
                (Some(at), Some(before)) if before == at => {
                    let before = self.parent.take()?;
                    self.compare(before)?;
                }
                (Some(at), Some(before)) if before > at => self.compare(None)?,
                (Some(_), None) => self.compare(None)?,
                (_, Some(_)) => {
                    if let Some(before) = self.parent.take()? {
                        self.queue.push_back(Captured::Removed(before.path));
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes what the walk found and says how it compares with what the parent had there.
    fn compare(&mut self, before: Option<Entry>) -> Result<(), SourceError> {
        let Some(Step::Found(found)) = self.step.take() else { return Ok(()) };
        let was_there = before.is_some();
        let result = match found.file_type() {
            FileType::Directory => self.directory(&found, before),
            FileType::RegularFile => self.file(&found, before),
            FileType::Symlink => self.symlink(&found, before),
            FileType::Socket => {
                Err(Left { why: "a socket: there is nothing in it to keep".into(), loss: false })
            }
            FileType::Fifo => Err(Left::not_kept("a FIFO (named pipe)")),
            FileType::CharacterDevice | FileType::BlockDevice => Err(Left::not_kept("a device")),
            FileType::Unknown => Err(Left::not_kept("of a type that the system does not name")),
        };
        match result {
            Ok((entry, change)) => self.queue.push_front(Captured::Entry(entry, change)),
            Err(left) => {
                self.queue.clear();
                self.links.forget(&found.path); // a later name of the same file is tried for itself
                if was_there {
                    self.queue.push_back(Captured::Removed(found.path.clone()));
                }
                self.skip(&found, left.why, left.loss);
            }
        }
        Ok(())
    }

    fn directory(&mut self, found: &Found, before: Option<Entry>) -> Result<(Entry, Change), Left> {
        let before = before.filter(|before| before.kind == EntryKind::Directory);
        if let Some(same) = before.as_ref().filter(|before| self.recognised(found, before)) {
            return Ok((same.clone(), Change::Unchanged));
        }
        let entry = self.entry(found, EntryKind::Directory, 0)?;
        let change = if before.is_some() { Change::Metadata } else { Change::Content };
        Ok((entry, change))
    }

    fn symlink(&mut self, found: &Found, before: Option<Entry>) -> Result<(Entry, Change), Left> {
        if let Some(link) = self.further_name(found, before.as_ref()) {
            return Ok(link);
        }
        let before = before.filter(|before| matches!(before.kind, EntryKind::Symlink { .. }));
        if let Some(same) = before.as_ref().filter(|before| self.recognised(found, before)) {
            return Ok((same.clone(), Change::Unchanged));
        }
        let place = self.walk.place(found).map_err(Left::error)?;
        let target = match place {
            attributes::Place::Name(dir, name) => {
                readlinkat(dir, name, Vec::new()).map_err(Left::error)?.into_bytes()
            }
            attributes::Place::Open(_) => return Err(Left::error(Errno::INVAL)), // links are never opened
        };
        let kind = EntryKind::Symlink { target };
        let change =
            if before.is_some_and(|before| before.kind == kind) { Change::Metadata } else { Change::Content };
        Ok((self.entry(found, kind, 0)?, change))
    }

    fn file(&mut self, found: &Found, before: Option<Entry>) -> Result<(Entry, Change), Left> {
        if let Some(link) = self.further_name(found, before.as_ref()) {
            return Ok(link);
        }
        let before = before.filter(|before| before.kind == EntryKind::File);
        if let Some(same) = before.as_ref().filter(|before| self.recognised(found, before)) {
            return Ok((same.clone(), Change::Unchanged));
        }
        let len = attributes::len(&found.stat);
        if let Some(before) = before.filter(|before| self.only_metadata_changed(found, before)) {
            let entry = Entry { extents: before.extents, ..self.entry(found, EntryKind::File, len)? };
            return Ok((entry, Change::Metadata));
        }
        self.readable(found)?;
        Ok((self.entry(found, EntryKind::File, len)?, Change::Content))
    }

    /// The entry for a name of a file that has an earlier name; remembers the file if it may have a later one.
    fn further_name(&mut self, found: &Found, before: Option<&Entry>) -> Option<(Entry, Change)> {
        if found.stat.st_nlink <= 1 {
            return None;
        }
        let file = (found.stat.st_dev, found.stat.st_ino);
        let Some(to) = self.links.first_name(file) else {
            self.links.remember(file, &found.path);
            return None;
        };
        let entry = Entry {
            path: found.path.clone(),
            kind: EntryKind::HardLink { to },
            metadata: Default::default(), // the file's, kept with its first name
            len: 0,
            extents: Vec::new(),
            fingerprint: None,
            changed_while_read: false,
        };
        let change = if before == Some(&entry) { Change::Unchanged } else { Change::Content };
        Some((entry, change))
    }

    /// Whether `before` is what was found, so that it need not be opened.
    fn recognised(&self, found: &Found, before: &Entry) -> bool {
        let now = attributes::fingerprint(&found.stat, before.kind == EntryKind::Directory, self.horizon);
        before.fingerprint.is_some_and(|then| {
            let same =
                (then.len, then.mtime, then.ctime, then.inode) == (now.len, now.mtime, now.ctime, now.inode);
            same && then.trusted && !before.changed_while_read
        })
    }

    fn only_metadata_changed(&self, found: &Found, before: &Entry) -> bool {
        let now = attributes::fingerprint(&found.stat, false, self.horizon);
        self.change_time == ChangeTime::MetadataOnly
            && !before.changed_while_read
            && before.fingerprint.is_some_and(|then| {
                then.trusted && (then.len, then.mtime, then.inode) == (now.len, now.mtime, now.inode)
            })
    }

    /// Asks before the file is announced, so that one that cannot be read is told as such and not as an entry.
    fn readable(&self, found: &Found) -> Result<(), Left> {
        let attributes::Place::Name(dir, name) = self.walk.place(found).map_err(Left::error)? else {
            return Ok(());
        };
        match accessat(dir, name, Access::READ_OK, AtFlags::EACCESS | AtFlags::SYMLINK_NOFOLLOW) {
            Err(error @ (Errno::ACCESS | Errno::PERM)) => Err(Left::error(error)),
            _ => Ok(()), // whatever else is wrong shows when it is opened
        }
    }

    fn entry(&mut self, found: &Found, kind: EntryKind, len: u64) -> Result<Entry, Left> {
        let xattrs = self.read_xattrs(found)?;
        Ok(Entry {
            path: found.path.clone(),
            metadata: attributes::metadata(&found.stat, xattrs.found),
            len,
            extents: if len == 0 { Vec::new() } else { vec![Extent { offset: 0, len }] },
            fingerprint: Some(attributes::fingerprint(
                &found.stat,
                kind == EntryKind::Directory,
                self.horizon,
            )),
            changed_while_read: false,
            kind,
        })
    }

    fn read_xattrs(&mut self, found: &Found) -> Result<Xattrs, Left> {
        let mut xattrs = self.xattrs.read(self.walk.place(found).map_err(Left::error)?);
        for why in std::mem::take(&mut xattrs.unreadable) {
            self.skip(found, why, true);
        }
        Ok(xattrs)
    }

    fn skip(&mut self, found: &Found, reason: String, loss: bool) {
        self.queue.push_back(Captured::Skipped(Skipped { path: found.path.clone(), reason, loss }));
    }

    fn failed(&self, op: &'static str, error: Errno) -> SourceError {
        SourceError::Io { path: self.shown.clone(), op, source: error.into() }
    }
}

/// Why a name that is there is no entry.
struct Left {
    why: String,
    loss: bool,
}

impl Left {
    /// A loss until somebody says that it is none: what is excluded is left out by intent.
    fn not_kept(what: &str) -> Self {
        let why = format!(
            "it is {what}, which cannot be kept, so this checkpoint is partial; list it in exclude = [...] of the source, and \
             checkpoints are whole"
        );
        Self { why, loss: true }
    }

    fn error(error: Errno) -> Self {
        Self { why: format!("it could not be read: {error}"), loss: true }
    }
}
