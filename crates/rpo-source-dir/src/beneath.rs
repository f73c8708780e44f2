//! Opening names below a directory without ever leaving it: no symbolic link is followed and no `..` is taken.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::{Errno, Result};

/// A directory, to list it or to change its attributes; `open` of a symbolic link fails.
pub(crate) const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

/// A directory, only as the place that names are looked up in.
pub(crate) const PLACE: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The system takes paths below 4,096 bytes; longer ones are walked in hops of at most this.
const HOP_BYTES_MAX: usize = 4_000;

/// How a hop is resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The kernel keeps the promise (`openat2`, Linux 5.6).
    Kernel,
    /// One `openat` that follows nothing per component: for kernels and sandboxes without `openat2`.
    Steps,
}

/// Opens `path` (components joined by `/`; empty for `top` itself) below `top`.
///
/// # Errors
/// `LOOP` or `NOTDIR` if a component is a symbolic link; otherwise those of the system.
pub(crate) fn open(top: BorrowedFd<'_>, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd> {
    match open_by(Way::Kernel, top, path, flags, mode) {
        // A sandbox may answer PERM to calls it does not know; with NOATIME it can be about the owner instead.
        Err(Errno::NOSYS | Errno::AGAIN) => open_by(Way::Steps, top, path, flags, mode),
        Err(Errno::PERM) if !flags.contains(OFlags::NOATIME) => open_by(Way::Steps, top, path, flags, mode),
        done => done,
    }
}

fn open_by(way: Way, top: BorrowedFd<'_>, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd> {
    let mut place: Option<OwnedFd> = None;
    let mut rest = path;
    while let Some((hop, further)) = split_hop(rest)? {
        let from = place.as_ref().map_or(top, AsFd::as_fd);
        place = Some(resolve(way, from, hop, PLACE, Mode::empty())?);
        rest = further;
    }
    resolve(way, place.as_ref().map_or(top, AsFd::as_fd), rest, flags, mode)
}

/// Splits off the components that fit into one hop; `None` if all of `path` fits.
fn split_hop(path: &[u8]) -> Result<Option<(&[u8], &[u8])>> {
    if path.len() <= HOP_BYTES_MAX {
        return Ok(None);
    }
    match path[..HOP_BYTES_MAX].iter().rposition(|b| *b == b'/') {
        Some(cut) => Ok(Some((&path[..cut], &path[cut + 1..]))),
        None => Err(Errno::NAMETOOLONG),
    }
}

fn resolve(way: Way, from: BorrowedFd<'_>, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if way == Way::Kernel {
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        return openat2(from, path, flags, mode, inside);
    }
    let mut place: Option<OwnedFd> = None;
    let mut components = path.split(|b| *b == b'/').peekable();
    while let Some(component) = components.next() {
        let from = place.as_ref().map_or(from, AsFd::as_fd);
        if component == b".." || component.is_empty() {
            return Err(Errno::XDEV); // as the kernel answers for what would leave
        }
        if components.peek().is_none() {
            return openat(from, component, flags, mode);
        }
        place = Some(openat(from, component, PLACE, Mode::empty())?);
    }
    Err(Errno::INVAL) // not reached: splitting yields at least one component
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn neither_way_leaves_the_directory() {
        let scratch = tempfile::tempdir().unwrap();
        let top = scratch.path().join("top");
        fs::create_dir_all(top.join("a/b")).unwrap();
        fs::write(scratch.path().join("secret"), "x").unwrap();
        fs::write(top.join("a/b/file"), "x").unwrap();
        symlink("..", top.join("up")).unwrap();
        symlink("a", top.join("inside")).unwrap();
        symlink(scratch.path().join("secret"), top.join("a/out")).unwrap();
        let fd = openat(rustix::fs::CWD, &top, DIRECTORY, Mode::empty()).unwrap();

        for way in [Way::Kernel, Way::Steps] {
            let open = |path: &str| open_by(way, fd.as_fd(), path.as_bytes(), OFlags::RDONLY, Mode::empty());
            assert!(open("").is_ok() && open("a/b/file").is_ok(), "{way:?}");
            for outside in ["up", "up/secret", "inside/b/file", "a/out", "../secret", "a/../../secret"] {
                assert!(open(outside).is_err(), "{way:?} opened {outside}");
            }
        }
    }
}
