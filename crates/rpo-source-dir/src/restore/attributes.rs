//! Metadata onto restored names: owner, extended attributes, mode, times, in this order.

use std::os::fd::BorrowedFd;

use rpo_core::ports::{EntryPath, FileTime, Metadata, RestoreError};
use rustix::fs::{
    AtFlags, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chownat, fchmod, fchown,
    fsetxattr, fstat, futimens, lsetxattr, statat, utimensat,
};
use rustix::io::Errno;

use super::io_error;
use super::report::Tally;
use crate::attributes::{mtime, through_proc};

/// What the metadata goes onto.
#[derive(Debug, Clone, Copy)]
pub(super) enum Handle<'a> {
    /// An open file or directory.
    Open(BorrowedFd<'a>),
    /// A symbolic link in an open directory.
    Link(BorrowedFd<'a>, &'a [u8]),
}

/// Sets metadata, leaving out calls that would change nothing.
#[derive(Debug)]
pub(super) struct Applier {
    /// Owner of everything made in the tree until it is given away: that of the tree's top.
    uid: u32,
    gid: u32,
}

/// The set-user-id and set-group-id bits.
const SET_ID: u32 = 0o6000;

impl Applier {
    pub(super) fn new(top: &Stat) -> Self {
        Self { uid: top.st_uid, gid: top.st_gid }
    }

    /// Sets all of `metadata`; what the system refuses is noted, what fails otherwise is an error.
    ///
    /// Changing the owner drops capabilities and set-id bits, so it comes first; a mode without write permission would
    /// keep us from setting user attributes, so it comes after those; everything else may change times.
    pub(super) fn apply(
        &self,
        handle: Handle<'_>,
        path: &EntryPath,
        metadata: &Metadata,
        tally: &Tally,
    ) -> Result<(), RestoreError> {
        let owned = self.set_owner(handle, path, metadata, tally)?;
        for (name, value) in &metadata.xattrs {
            set_xattr(handle, path, name, value, tally)?;
        }
        if let Handle::Open(fd) = handle {
            let mut mode = metadata.mode & 0o7777;
            if !owned && mode & SET_ID != 0 {
                tally.note(path, "set-id bits left out, because its owner could not be set");
                mode &= !SET_ID;
            }
            fchmod(fd, Mode::from_raw_mode(mode)).map_err(|error| io_error(path, "set mode", error))?;
        }
        set_mtime(handle, path, metadata.mtime, tally)
    }

    /// Whether the owner and group are now those wanted.
    fn set_owner(
        &self,
        handle: Handle<'_>,
        path: &EntryPath,
        metadata: &Metadata,
        tally: &Tally,
    ) -> Result<bool, RestoreError> {
        let (uid, gid) = (metadata.uid, metadata.gid);
        if (uid, gid) == (self.uid, self.gid) {
            return Ok(true);
        }
        if uid == u32::MAX || gid == u32::MAX {
            tally.note(path, "its owner is the number that means nobody at all, and was left out");
            return Ok(false);
        }
        let set = |uid: Option<u32>| {
            let (uid, gid) = (uid.map(Uid::from_raw), Some(Gid::from_raw(gid)));
            match handle {
                Handle::Open(fd) => fchown(fd, uid, gid),
                Handle::Link(dir, name) => chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW),
            }
        };
        match set(Some(uid)) {
            Ok(()) => Ok(true),
            Err(error @ (Errno::PERM | Errno::INVAL | Errno::OPNOTSUPP)) => {
                let group_set = set(None).is_ok();
                let what = if group_set { "owner" } else { "owner and group" };
                tally.note(path, format_args!("{what} {uid}:{gid} could not be set: {error}"));
                Ok(false)
            }
            Err(error) => Err(io_error(path, "set owner", error)),
        }
    }
}

fn set_xattr(
    handle: Handle<'_>,
    path: &EntryPath,
    name: &[u8],
    value: &[u8],
    tally: &Tally,
) -> Result<(), RestoreError> {
    let set = match handle {
        Handle::Open(fd) => fsetxattr(fd, name, value, XattrFlags::empty()),
        Handle::Link(dir, link) => {
            lsetxattr(through_proc(dir, link).as_slice(), name, value, XattrFlags::empty())
        }
    };
    match set {
        Ok(()) => Ok(()),
        // About this file system, this user or this attribute; a disk that is full shows elsewhere too.
        Err(
            error @ (Errno::PERM
            | Errno::ACCESS
            | Errno::OPNOTSUPP
            | Errno::INVAL
            | Errno::RANGE
            | Errno::TOOBIG
            | Errno::NOSPC
            | Errno::NOENT),
        ) => {
            let name = name.escape_ascii();
            tally.note(path, format_args!("extended attribute `{name}` could not be set: {error}"));
            Ok(())
        }
        Err(error) => Err(io_error(path, "set extended attribute", error)),
    }
}

fn set_mtime(
    handle: Handle<'_>,
    path: &EntryPath,
    wanted: FileTime,
    tally: &Tally,
) -> Result<(), RestoreError> {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: wanted.seconds, tv_nsec: wanted.nanos.into() },
    };
    let set = match handle {
        Handle::Open(fd) => futimens(fd, &times),
        Handle::Link(dir, name) => utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW),
    };
    set.map_err(|error| io_error(path, "set times", error))?;
    // The kernel clamps what a file system cannot hold, without a word.
    if i32::try_from(wanted.seconds).is_err() {
        let stat = match handle {
            Handle::Open(fd) => fstat(fd),
            Handle::Link(dir, name) => statat(dir, name, AtFlags::SYMLINK_NOFOLLOW),
        };
        if mtime(&stat.map_err(|error| io_error(path, "stat", error))?) != wanted {
            tally.note(
                path,
                format_args!("modification time {} s is outside what this file system holds", wanted.seconds),
            );
        }
    }
    Ok(())
}
