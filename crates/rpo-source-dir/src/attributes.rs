//! From what the system says about a name to the words of `rpo-core`: metadata, fingerprints, extended attributes.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rpo_core::Timestamp;
use rpo_core::ports::{FileTime, Fingerprint, Metadata};
use rustix::fs::{Stat, fgetxattr, flistxattr, lgetxattr, llistxattr};
use rustix::io::{Errno, Result};

/// An extended attribute's longest value, and the longest list of names, in Linux (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
const XATTR_BYTES_MAX: usize = 64 << 10;

/// Where extended attributes are read from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place<'a> {
    /// An open file or directory.
    Open(BorrowedFd<'a>),
    /// A name in an open directory, not followed and not opened.
    Name(BorrowedFd<'a>, &'a CStr),
}

/// Extended attributes, sorted by name, and one text for each that could not be read.
#[derive(Debug, Default)]
pub(crate) struct Xattrs {
    pub(crate) found: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) unreadable: Vec<String>,
}

/// Reads extended attributes; keeps the two buffers that takes.
#[derive(Debug)]
pub(crate) struct XattrReader {
    names: Vec<u8>,
    value: Vec<u8>,
}

impl XattrReader {
    pub(crate) fn new() -> Self {
        Self { names: vec![0; XATTR_BYTES_MAX], value: vec![0; XATTR_BYTES_MAX] }
    }

    /// All extended attributes that the system lets us see; none where the file system has none.
    pub(crate) fn read(&mut self, place: Place<'_>) -> Xattrs {
        let mut xattrs = Xattrs::default();
        let by_name = match place {
            Place::Open(_) => Vec::new(),
            Place::Name(dir, name) => through_proc(dir, name.to_bytes()),
        };
        let listed = match place {
            Place::Open(fd) => flistxattr(fd, self.names.as_mut_slice()),
            Place::Name(..) => llistxattr(by_name.as_slice(), self.names.as_mut_slice()),
        };
        let len = match listed {
            Ok(len) => len,
            Err(Errno::OPNOTSUPP | Errno::NOENT) => 0, // has none, or is gone: whoever opens it will tell
            Err(error) => {
                xattrs.unreadable.push(format!("its extended attributes could not be listed: {error}"));
                0
            }
        };
        for name in self.names[..len].split(|b| *b == 0).filter(|name| !name.is_empty()) {
            let got = match place {
                Place::Open(fd) => fgetxattr(fd, name, self.value.as_mut_slice()),
                Place::Name(..) => lgetxattr(by_name.as_slice(), name, self.value.as_mut_slice()),
            };
            match got {
                Ok(len) => xattrs.found.push((name.to_vec(), self.value[..len].to_vec())),
                Err(Errno::NODATA) => {} // removed since it was listed
                Err(error) => {
                    let name = name.escape_ascii();
                    xattrs
                        .unreadable
                        .push(format!("its extended attribute `{name}` could not be read: {error}"));
                }
            }
        }
        xattrs.found.sort_unstable();
        xattrs
    }
}

/// A path to `name` in the open directory `dir` for calls that take no directory; at most 300 bytes however deep it is.
pub(crate) fn through_proc(dir: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    path
}

/// Whether [`through_proc`] works here.
pub(crate) fn proc_is_mounted() -> Result<bool> {
    match rustix::fs::stat("/proc/self/fd") {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Last change of the content.
pub(crate) fn mtime(stat: &Stat) -> FileTime {
    file_time(stat.st_mtime, stat.st_mtime_nsec)
}

/// Last change of content or metadata.
pub(crate) fn ctime(stat: &Stat) -> FileTime {
    file_time(stat.st_ctime, stat.st_ctime_nsec)
}

fn file_time(seconds: impl TryInto<i64>, nanos: impl TryInto<u32>) -> FileTime {
    // The types differ between architectures; the kernel gives signed seconds and less than 10^9 nanoseconds.
    FileTime { seconds: seconds.try_into().unwrap_or(i64::MAX), nanos: nanos.try_into().unwrap_or(0) }
}

/// Length of a file or of a link's target, bytes.
pub(crate) fn len(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// Permission bits, owner, times.
pub(crate) fn metadata(stat: &Stat, xattrs: Vec<(Vec<u8>, Vec<u8>)>) -> Metadata {
    Metadata { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid, mtime: mtime(stat), xattrs }
}

/// How the next capture recognises it. Only what changed before `horizon` is trusted. Lengths of directories mean
/// nothing and are 0.
pub(crate) fn fingerprint(stat: &Stat, is_directory: bool, horizon: FileTime) -> Fingerprint {
    Fingerprint {
        len: if is_directory { 0 } else { len(stat) },
        mtime: mtime(stat),
        ctime: ctime(stat),
        inode: stat.st_ino,
        trusted: ctime(stat) < horizon,
    }
}

/// `time` as file systems write it.
pub(crate) fn as_file_time(time: Timestamp) -> FileTime {
    let micros = time.as_micros();
    let nanos = u32::try_from(micros.rem_euclid(1_000_000)).unwrap_or(0) * 1_000;
    FileTime { seconds: micros.div_euclid(1_000_000), nanos }
}
