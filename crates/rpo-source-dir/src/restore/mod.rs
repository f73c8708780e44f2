//! Restoring: the tree is built beside its target, completed, made durable, and put in place by one rename.

mod attributes;
mod files;
mod finish;
mod places;
mod report;
mod staging;

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rpo_core::ports::{
    Entry, EntryKind, EntryPath, Metadata, RestoreError, RestoreReport, Restorer, Validation,
};
use rpo_core::{Commit, Entropy, Position};
use rustix::fs::{AtFlags, Mode, OFlags, fstat, ftruncate, openat, symlinkat, unlinkat};
use rustix::io::Errno;

pub use staging::{check_target, incomplete_marker, partials_beside, remove_partial};

use self::attributes::{Applier, Handle};
use self::files::{OpenFiles, Pending};
use self::places::Places;
use self::report::Tally;
use self::staging::Staging;
use crate::options::{Durability, RestoreOptions};

/// Rebuilds a directory tree next to where it shall be and puts it there by one rename.
///
/// - Entries, extents and closes may come from many threads; parents may come after their children. An entry's path
///   must be free: what comes twice is refused, and so is a child of anything but a directory.
/// - Every extent that an entry names must have been written when the file is closed; files without extents need no
///   close.
/// - What could not be kept exactly (an owner that only root may set, …) is in
///   [`RestoreReport::approximated`], and so are further names whose file was not restored; the latter also fail the
///   `links` check of [`validate`](Restorer::validate).
/// - Files that are taken back ([`discard`](Restorer::discard)) are named, with the reasons, in a text beside the target
///   ([`incomplete_marker`](crate::incomplete_marker)), which is there before the target is.
/// - Dropping it leaves what was built where it is; [`abandon`](Restorer::abandon) removes it, and
///   [`partials_beside`](crate::partials_beside) finds what a killed process left behind.
#[derive(Debug)]
pub struct DirectoryRestorer {
    staging: Staging,
    top: OwnedFd,
    applier: Applier,
    options: RestoreOptions,
    places: Places,
    files: OpenFiles,
    /// Further names and the first names they refer to; made at the end, when all files are there.
    links: Mutex<Vec<(EntryPath, EntryPath)>>,
    tally: Tally,
    /// Names left out because their content cannot be had, each with the reason.
    discarded: Mutex<Vec<(EntryPath, String)>>,
    phase: Mutex<Phase>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Takes entries.
    Building,
    /// The base was being finished and that failed: only `abandon` helps.
    Broken,
    /// Complete and durable, not yet in place.
    Complete,
    /// In place.
    Published,
    /// Removed.
    Abandoned,
}

impl DirectoryRestorer {
    /// Prepares to restore to `target`, which must not exist or be an empty directory; its parent must exist. Makes the
    /// directory `.<name>.rpo-partial-<8 hex>` beside it, to build in.
    ///
    /// # Errors
    /// `Target` if the target is in use or has no name of its own; nothing was made.
    pub fn new(
        target: impl AsRef<Path>,
        entropy: &dyn Entropy,
        options: RestoreOptions,
    ) -> Result<Self, RestoreError> {
        let (staging, top) = Staging::create(target.as_ref(), entropy)?;
        let stat = fstat(&top).map_err(|error| io_error(staging.path().display(), "stat", error))?;
        #[cfg(feature = "planted-bugs")]
        let places = Places::new(options.planted == Some(crate::PlantedBug::FollowLinks));
        #[cfg(not(feature = "planted-bugs"))]
        let places = Places::new();
        Ok(Self {
            staging,
            top,
            applier: Applier::new(&stat),
            places,
            files: OpenFiles::new(options.open_files_max),
            options,
            links: Mutex::default(),
            tally: Tally::default(),
            discarded: Mutex::default(),
            phase: Mutex::new(Phase::Building),
        })
    }

    /// Where the tree is being built; gone once it is published or abandoned.
    pub fn building_in(&self) -> PathBuf {
        self.staging.path()
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        lock(&self.phase)
    }

    fn must_be(&self, wanted: Phase, what: &str) -> Result<(), RestoreError> {
        let now = *self.phase();
        if now == wanted {
            return Ok(());
        }
        Err(RestoreError::Invalid(format!(
            "{what} makes no sense for a restore that is {now:?}, only while {wanted:?}"
        )))
    }

    fn directory(&self, path: &EntryPath, metadata: &Metadata) -> Result<(), RestoreError> {
        check_metadata(path, metadata)?;
        self.places.give(self.top.as_fd(), path, metadata)
    }

    fn file(&self, entry: &Entry) -> Result<(), RestoreError> {
        let path = &entry.path;
        check_metadata(path, &entry.metadata)?;
        check_extents(entry)?;
        let (dir, name) = self.places.parent(self.top.as_fd(), path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let fd = openat(&*dir, name, flags, mode).map_err(|error| taken(path, "create", error))?;
        if entry.len > entry.extents.last().map_or(0, |last| last.end()) {
            ftruncate(&fd, entry.len).map_err(|error| io_error(path, "set length", error))?; // a hole at the end
        }
        self.tally.add_file(entry.len);
        self.files.add(path.clone(), Pending::of(entry), fd);
        Ok(())
    }

    fn symlink(&self, entry: &Entry, target: &[u8]) -> Result<(), RestoreError> {
        let path = &entry.path;
        check_metadata(path, &entry.metadata)?;
        let (dir, name) = self.places.parent(self.top.as_fd(), path)?;
        symlinkat(target, &*dir, name).map_err(|error| taken(path, "make symbolic link", error))?;
        self.applier.apply(Handle::Link(dir.as_fd(), name), path, &entry.metadata, &self.tally)?;
        self.tally.add_symlink();
        Ok(())
    }

    /// Completes a file whose content is there.
    fn complete(&self, path: &EntryPath, pending: &Arc<Pending>) -> Result<(), RestoreError> {
        if let Some(gap) = pending.first_gap() {
            let (from, to) = (gap.offset, gap.end());
            return Err(RestoreError::Invalid(format!(
                "`{path}`: bytes {from} to {to} of its content never came"
            )));
        }
        let fd = self.files.descriptor(self.top.as_fd(), path, pending)?;
        self.applier.apply(Handle::Open(fd.as_fd()), path, &pending.metadata, &self.tally)?;
        if self.options.durability == Durability::EachFile {
            rustix::fs::fsync(&*fd).map_err(|error| io_error(path, "sync", error))?;
        }
        Ok(())
    }
}

impl Restorer for DirectoryRestorer {
    fn kind(&self) -> &str {
        crate::KIND
    }

    fn entry(&self, entry: &Entry) -> Result<(), RestoreError> {
        self.must_be(Phase::Building, "an entry")?;
        let path = &entry.path;
        if path.is_root() && entry.kind != EntryKind::Directory {
            return Err(RestoreError::Invalid("the top of the checkpoint is no directory".to_owned()));
        }
        match &entry.kind {
            EntryKind::Directory => self.directory(path, &entry.metadata)?,
            EntryKind::File => self.file(entry)?,
            EntryKind::Symlink { target } => self.symlink(entry, target)?,
            EntryKind::HardLink { to } => lock(&self.links).push((path.clone(), to.clone())),
            other => {
                return Err(RestoreError::Unsupported(format!("`{path}` is an entry of kind {other:?}")));
            }
        }
        self.tally.add_entry();
        Ok(())
    }

    fn extent(&self, path: &EntryPath, offset: u64, bytes: &[u8]) -> Result<(), RestoreError> {
        self.must_be(Phase::Building, "content")?;
        let pending = self.files.find(path).ok_or_else(|| not_open(path))?;
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= pending.len);
        if end.is_none() {
            let (len, bytes) = (pending.len, bytes.len());
            let text = format!("`{path}`: {bytes} bytes at {offset} lie outside its {len} bytes");
            return Err(RestoreError::Invalid(text));
        }
        let fd = self.files.descriptor(self.top.as_fd(), path, &pending)?;
        files::write_all_at(&fd, bytes, offset).map_err(|error| io_error(path, "write", error))?;
        pending.written(offset, bytes.len() as u64);
        self.tally.add_bytes(bytes.len() as u64);
        Ok(())
    }

    fn close(&self, path: &EntryPath) -> Result<(), RestoreError> {
        self.must_be(Phase::Building, "closing a file")?;
        let pending = self.files.take(path).ok_or_else(|| not_open(path))?;
        let done = self.complete(path, &pending);
        self.files.let_go(&pending);
        done
    }

    fn discard(&self, path: &EntryPath, why: &str) -> Result<Vec<EntryPath>, RestoreError> {
        self.must_be(Phase::Building, "taking a file back")?;
        let pending = self.files.take(path).ok_or_else(|| not_open(path))?;
        self.files.let_go(&pending);
        let (dir, name) = self.places.parent(self.top.as_fd(), path)?;
        unlinkat(&*dir, name, AtFlags::empty()).map_err(|error| io_error(path, "remove", error))?;
        let mut links = lock(&self.links);
        let (gone, kept) = std::mem::take(&mut *links).into_iter().partition(|(_, to)| to == path);
        *links = kept;
        drop(links);
        let further: Vec<EntryPath> = Vec::into_iter(gone).map(|(name, _)| name).collect();
        self.tally.take_back(1 + further.len() as u64, pending.len, pending.written_bytes());
        let mut discarded = lock(&self.discarded);
        discarded.push((path.clone(), why.to_owned()));
        discarded.extend(further.iter().map(|name| (name.clone(), format!("a further name of `{path}`"))));
        Ok(further)
    }

    fn finish_base(&self, _position: Option<Position>) -> Result<(), RestoreError> {
        self.must_be(Phase::Building, "finishing")?;
        *self.phase() = Phase::Broken; // until all of it is done
        self.finish_files()?;
        self.finish_links()?;
        self.finish_directories()?;
        *self.phase() = Phase::Complete;
        Ok(())
    }

    fn apply(&self, _commit: &Commit) -> Result<(), RestoreError> {
        Err(RestoreError::Unsupported("a directory has no log to apply".to_owned()))
    }

    fn position(&self) -> Option<Position> {
        None
    }

    fn validate(&self) -> Result<Validation, RestoreError> {
        self.must_be(Phase::Complete, "validating")?;
        self.check_structure()
    }

    fn publish(&self) -> Result<RestoreReport, RestoreError> {
        self.must_be(Phase::Complete, "publishing")?;
        let mut discarded = lock(&self.discarded);
        discarded.sort_unstable();
        if discarded.is_empty() {
            self.staging.publish()?;
        } else {
            self.staging.publish_incomplete(&discarded)?;
        }
        drop(discarded);
        *self.phase() = Phase::Published;
        Ok(self.tally.report())
    }

    fn abandon(&self) -> Result<(), RestoreError> {
        let mut phase = self.phase();
        match *phase {
            Phase::Abandoned => return Ok(()),
            Phase::Published => {
                return Err(RestoreError::Invalid(
                    "the restored tree is in place: nothing is left to abandon".to_owned(),
                ));
            }
            Phase::Building | Phase::Broken | Phase::Complete => {}
        }
        *phase = Phase::Broken;
        self.files.let_all_go();
        self.places.let_all_go();
        self.staging.remove()?;
        *phase = Phase::Abandoned;
        Ok(())
    }
}

fn check_metadata(path: &EntryPath, metadata: &Metadata) -> Result<(), RestoreError> {
    if metadata.mtime.nanos >= 1_000_000_000 {
        return Err(RestoreError::Invalid(format!(
            "`{path}`: its modification time has more than 10^9 nanoseconds"
        )));
    }
    Ok(())
}

fn check_extents(entry: &Entry) -> Result<(), RestoreError> {
    let mut end = 0;
    for extent in &entry.extents {
        let fits = extent.offset.checked_add(extent.len).is_some_and(|to| to <= entry.len);
        if extent.len == 0 || extent.offset < end || !fits {
            let text = format!("`{}`: its extents are not sorted runs within its length", entry.path);
            return Err(RestoreError::Invalid(text));
        }
        end = extent.end();
    }
    Ok(())
}

fn not_open(path: &EntryPath) -> RestoreError {
    RestoreError::Invalid(format!("`{path}` is no file that was given and not yet closed"))
}

/// A name that could not be made, most likely because it is there already.
fn taken(path: &EntryPath, op: &'static str, error: Errno) -> RestoreError {
    match error {
        Errno::EXIST => {
            RestoreError::Invalid(format!("`{path}` came twice, or something below it came before it"))
        }
        error => io_error(path, op, error),
    }
}

fn io_error(path: impl std::fmt::Display, op: &'static str, error: Errno) -> RestoreError {
    RestoreError::Io { path: path.to_string(), op, source: error.into() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
