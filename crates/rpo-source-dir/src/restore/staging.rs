//! The place a tree is built in, beside its target: made, put in place, removed, found again.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rpo_core::Entropy;
use rpo_core::ports::{EntryPath, RestoreError};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, chmodat, fchmod, fremovexattr, fstat, fsync, mkdirat, openat,
    renameat, statat, unlinkat,
};
use rustix::io::Errno;

use super::files::write_all_at;
use super::io_error;
use crate::beneath::DIRECTORY;
use crate::stack::{DirStack, names};

/// Between the target's name and the random number in the name of a tree that is being built.
const MARK: &str = ".rpo-partial-";
/// Hexadecimal digits of the random number.
const NUMBER_LEN: usize = 8;
/// After the target's name in the name of the text that says what is missing from it.
const INCOMPLETE: &str = ".rpo-incomplete.txt";
/// Longest file name, bytes.
const NAME_BYTES_MAX: usize = 255;

/// A directory beside the target.
#[derive(Debug)]
pub(super) struct Staging {
    parent: OwnedFd,
    parent_path: PathBuf,
    /// Name of what is being built.
    name: OsString,
    /// Name it gets in the end.
    target: OsString,
}

impl Staging {
    /// Makes the directory to build in, and opens it.
    pub(super) fn create(target: &Path, entropy: &dyn Entropy) -> Result<(Self, OwnedFd), RestoreError> {
        let (parent_path, name) = split(target)?;
        let failed = |op, error: Errno| io_error(target.display(), op, error);
        let parent = open_parent(target, &parent_path)?;
        check_free(target, parent.as_fd(), name)?;
        for _ in 0..8 {
            let mut number = [0; NUMBER_LEN / 2];
            entropy.fill(&mut number).map_err(|source| RestoreError::Io {
                path: target.display().to_string(),
                op: "draw of a random name",
                source,
            })?;
            let partial = partial_name(name, u32::from_be_bytes(number));
            match mkdirat(&parent, &partial, Mode::RWXU) {
                Ok(()) => {}
                Err(Errno::EXIST) => continue,
                Err(error) => return Err(failed("make a directory beside it", error)),
            }
            let top =
                openat(&parent, &partial, DIRECTORY, Mode::empty()).map_err(|error| failed("open", error))?;
            for inherited in [c"system.posix_acl_default", c"system.posix_acl_access"] {
                match fremovexattr(&top, inherited) {
                    Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                    Err(error) => return Err(failed("remove inherited permissions", error)),
                }
            }
            return Ok((Self { parent, parent_path, name: partial, target: name.to_owned() }, top));
        }
        Err(failed("find of a free name beside it", Errno::EXIST))
    }

    /// Where the tree is being built.
    pub(super) fn path(&self) -> PathBuf {
        self.parent_path.join(&self.name)
    }

    /// Gives the tree its final name, in place of nothing or of an empty directory. The kernel refuses to replace
    /// anything else, so there is no moment between a check and the rename.
    pub(super) fn publish(&self) -> Result<(), RestoreError> {
        let target = self.parent_path.join(&self.target);
        renameat(&self.parent, &self.name, &self.parent, &self.target).map_err(|error| match error {
            Errno::NOTEMPTY | Errno::EXIST => refuse(&target, NOT_EMPTY),
            Errno::NOTDIR => refuse(&target, NO_DIRECTORY),
            Errno::BUSY => refuse(
                &target,
                "it is a mount point, which cannot be replaced: restore into a directory in it",
            ),
            error => io_error(target.display(), "rename", error),
        })?;
        fsync(&self.parent).map_err(|error| {
            // Not durable is not published: back to where it was, so that what we say is true.
            let undone = renameat(&self.parent, &self.target, &self.parent, &self.name);
            tracing::error!(target = %target.display(), ?undone, "the new name could not be made durable");
            io_error(self.parent_path.display(), "sync", error)
        })
    }

    /// As [`publish`](Self::publish), with a text beside the target that names what is missing. The text is there first:
    /// whoever finds the tree finds it too.
    pub(super) fn publish_incomplete(&self, missing: &[(EntryPath, String)]) -> Result<(), RestoreError> {
        let name = marker_name(&self.target);
        let path = self.parent_path.join(&name);
        let failed = |op: &'static str, error: Errno| io_error(path.display(), op, error);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
        let file = openat(&self.parent, &name, flags, mode).map_err(|error| failed("create", error))?;
        let written = write_all_at(&file, marker_text(missing).as_bytes(), 0).and_then(|()| fsync(&file));
        let published = written.map_err(|error| failed("write", error)).and_then(|()| self.publish());
        if published.is_err()
            && let Err(error) = unlinkat(&self.parent, &name, AtFlags::empty())
        {
            tracing::warn!(path = %path.display(), %error, "nothing was put in place, and this is left there");
        }
        published
    }

    /// Removes what was built.
    pub(super) fn remove(&self) -> Result<(), RestoreError> {
        remove_tree(self.parent.as_fd(), &self.name)
            .map_err(|error| io_error(self.path().display(), "remove", error))
    }
}

const NOT_EMPTY: &str =
    "it exists and is not empty: restore to a new or empty directory, or move this one away";
const NO_DIRECTORY: &str =
    "it exists and is no directory: restore to a new or empty directory, or move this one away";

fn refuse(target: &Path, why: &str) -> RestoreError {
    RestoreError::Target { path: target.display().to_string(), why: why.to_owned() }
}

fn split(target: &Path) -> Result<(PathBuf, &OsStr), RestoreError> {
    let name = target
        .file_name()
        .ok_or_else(|| refuse(target, "it ends in no name of its own: name the directory"))?;
    let parent = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    Ok((parent, name))
}

/// Where a restore to `target` says what is missing from it, if anything is.
pub fn incomplete_marker(target: impl AsRef<Path>) -> PathBuf {
    let target = target.as_ref();
    target.with_file_name(marker_name(target.file_name().unwrap_or_default()))
}

/// `<name>.rpo-incomplete.txt`, with the name cut where it would be too long.
fn marker_name(target: &OsStr) -> OsString {
    let target = target.as_bytes();
    let mut name = target[..target.len().min(NAME_BYTES_MAX - INCOMPLETE.len())].to_vec();
    name.extend_from_slice(INCOMPLETE.as_bytes());
    OsString::from_vec(name)
}

fn marker_text(missing: &[(EntryPath, String)]) -> String {
    let mut text = "This restore is incomplete: what the store holds of these is damaged or not there, and they were left \
                    out.\nEverything else was restored.\n\n"
        .to_owned();
    for (path, why) in missing {
        text.extend([&path.to_string(), ": ", why, "\n"]);
    }
    text
}

/// Refuses early what a restore to `target` would refuse: it must not exist or be an empty directory, and its parent must
/// exist. Makes nothing.
///
/// # Errors
/// `Target` if it is in use or has no name of its own.
pub fn check_target(target: impl AsRef<Path>) -> Result<(), RestoreError> {
    let target = target.as_ref();
    let (parent_path, name) = split(target)?;
    let parent = open_parent(target, &parent_path)?;
    check_free(target, parent.as_fd(), name)
}

fn open_parent(target: &Path, parent_path: &Path) -> Result<OwnedFd, RestoreError> {
    let parent = openat(CWD, parent_path, DIRECTORY.difference(OFlags::NOFOLLOW), Mode::empty());
    parent.map_err(|error| match error {
        Errno::NOENT => refuse(target, "the directory it would be in does not exist: create that first"),
        Errno::NOTDIR => refuse(target, "what it would be in is no directory"),
        error => io_error(parent_path.display(), "open", error),
    })
}

/// Refuses early what `publish` would refuse at the end.
fn check_free(target: &Path, parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), RestoreError> {
    let stat = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(io_error(target.display(), "stat", error)),
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(refuse(target, NO_DIRECTORY));
    }
    let dir = openat(parent, name, DIRECTORY, Mode::empty());
    match dir.map(|dir| names(dir.as_fd())) {
        Ok((names, None)) if names.is_empty() => Ok(()),
        Ok((_, None)) => Err(refuse(target, NOT_EMPTY)),
        Ok((_, Some(error))) | Err(error) => Err(io_error(target.display(), "list", error)),
    }
}

/// `.<name>.rpo-partial-<8 hex>`, with the name cut where it would be too long.
fn partial_name(target: &OsStr, number: u32) -> OsString {
    let room = NAME_BYTES_MAX - 1 - MARK.len() - NUMBER_LEN;
    let target = &target.as_bytes()[..target.len().min(room)];
    let mut name = vec![b'.'];
    name.extend_from_slice(target);
    name.extend_from_slice(format!("{MARK}{number:08x}").as_bytes());
    OsString::from_vec(name)
}

/// Whether `name` is one that [`partial_name`] makes for `target`, or for any target.
fn is_partial(name: &[u8], target: Option<&OsStr>) -> bool {
    let Some(cut) = name.len().checked_sub(NUMBER_LEN) else { return false };
    let (head, number) = name.split_at(cut);
    let number = std::str::from_utf8(number).ok().and_then(|text| u32::from_str_radix(text, 16).ok());
    match (number, target) {
        (None, _) => false,
        (Some(number), Some(target)) => partial_name(target, number).as_bytes() == name,
        (Some(_), None) => head.starts_with(b".") && head.ends_with(MARK.as_bytes()),
    }
}

/// Trees beside `target` that were begun and neither published nor abandoned, oldest name first. One of them may belong
/// to a restore that is still running.
///
/// # Errors
/// The directory that `target` is in cannot be listed.
pub fn partials_beside(target: impl AsRef<Path>) -> io::Result<Vec<PathBuf>> {
    let (parent, name) =
        split(target.as_ref()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&parent)? {
        let entry = entry?;
        if is_partial(entry.file_name().as_bytes(), Some(name)) && entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Removes a tree that [`partials_beside`] found; its restore must not be running any more.
///
/// # Errors
/// `InvalidInput` if the name is not that of such a tree: nothing is removed. Otherwise what could not be removed.
pub fn remove_partial(partial: impl AsRef<Path>) -> io::Result<()> {
    let wrong = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
    let (parent, name) = split(partial.as_ref()).map_err(wrong)?;
    if !is_partial(name.as_bytes(), None) {
        let partial = partial.as_ref().display().to_string();
        return Err(wrong(RestoreError::Target {
            path: partial,
            why: "this is no unfinished restore".to_owned(),
        }));
    }
    let parent = openat(CWD, &parent, DIRECTORY.difference(OFlags::NOFOLLOW), Mode::empty())?;
    Ok(remove_tree(parent.as_fd(), name)?)
}

/// Removes the directory `name` in `parent` and everything in it, following no link.
fn remove_tree(parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    let name = CString::new(name.as_bytes()).map_err(|_| Errno::INVAL)?;
    let top = match openat(parent, &name, DIRECTORY, Mode::empty()) {
        Ok(top) => top,
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ACCESS) => {
            chmodat(parent, &name, Mode::RWXU, AtFlags::empty())?;
            openat(parent, &name, DIRECTORY, Mode::empty())?
        }
        Err(error) => return Err(error),
    };
    fchmod(&top, Mode::RWXU)?;
    let mut stack = DirStack::new(top, super::finish::OPEN_MAX)?;
    let mut at = vec![list(&stack)?];
    while let Some(names) = at.last_mut() {
        match names.next() {
            None => {
                at.pop();
                if !at.is_empty() {
                    let emptied = stack.name().to_vec();
                    stack.leave()?;
                    unlinkat(stack.here()?, emptied.as_slice(), AtFlags::REMOVEDIR)?;
                }
            }
            Some(name) => {
                if enter(&mut stack, &name)? {
                    at.push(list(&stack)?);
                } else {
                    unlinkat(stack.here()?, &name, AtFlags::empty())?;
                }
            }
        }
    }
    unlinkat(parent, &name, AtFlags::REMOVEDIR)
}

/// Goes into `name` if it is a directory, and makes sure that what is in it can be removed.
fn enter(stack: &mut DirStack, name: &CString) -> Result<bool, Errno> {
    let stat = statat(stack.here()?, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(false);
    }
    match stack.enter(name.to_bytes()) {
        Err(Errno::ACCESS) => {
            chmodat(stack.here()?, name, Mode::RWXU, AtFlags::empty())?;
            stack.enter(name.to_bytes())?;
        }
        entered => _ = entered?,
    }
    if fstat(stack.here()?)?.st_mode & 0o700 != 0o700 {
        fchmod(stack.here()?, Mode::RWXU)?;
    }
    Ok(true)
}

fn list(stack: &DirStack) -> Result<std::vec::IntoIter<CString>, Errno> {
    match names(stack.here()?) {
        (names, None) => Ok(names.into_iter()),
        (_, Some(error)) => Err(error),
    }
}
