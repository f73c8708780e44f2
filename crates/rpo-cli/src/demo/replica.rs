//! A copy of a tree with all its attributes, made without the code that captures and restores trees: what is restored is
//! compared with it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, lchown, symlink};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::fs::{
    AtFlags, CWD, Timespec, Timestamps, XattrFlags, lgetxattr, llistxattr, lsetxattr, utimensat,
};

use crate::failure::lacks_room;

/// Read and written at once; so long a run of zeros becomes a hole.
const BLOCK: usize = 64 << 10;

/// What is in a tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) entries: u64,
    pub(super) bytes: u64,
}

/// Counts what is below `root` but for the places in `except`.
pub(super) fn measure(root: &Path, except: &[PathBuf]) -> Size {
    let mut size = Size::default();
    let mut todo = vec![root.to_owned()];
    while let Some(dir) = todo.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| !except.contains(path))
        {
            let Ok(metadata) = path.symlink_metadata() else { continue };
            size.entries += 1;
            if metadata.is_file() {
                size.bytes += metadata.len();
            } else if metadata.is_dir() {
                todo.push(path);
            }
        }
    }
    size
}

/// Copies `from` to `to`, which must not exist, but for the places in `except`. Returns what could not be
/// taken along, each with the reason: what is unreadable, and what is neither file, directory nor symbolic link.
pub(super) fn copy(from: &Path, to: &Path, except: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let mut copying = Copying { except, links: HashMap::new(), left: Vec::new() };
    let metadata = from.symlink_metadata()?;
    copying.directory(from, to, &metadata).with_context(|| from.display().to_string())?;
    Ok(copying.left)
}

struct Copying<'a> {
    except: &'a [PathBuf],
    /// The first name of each file with several.
    links: HashMap<(u64, u64), PathBuf>,
    left: Vec<String>,
}

impl Copying<'_> {
    fn directory(&mut self, from: &Path, to: &Path, metadata: &Metadata) -> anyhow::Result<()> {
        fs::create_dir(to)?;
        let mut names =
            fs::read_dir(from)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
        names.sort();
        for name in names {
            let (from, to) = (from.join(&name), to.join(&name));
            if !self.except.contains(&from)
                && let Err(error) = self.one(&from, &to)
            {
                if lacks_room(&error) {
                    return Err(error.context(to.display().to_string())); // it is not the entry's fault
                }
                self.left.push(format!("{}: {error:#}", from.display()));
            }
        }
        Ok(attributes(from, to, metadata)?)
    }

    fn one(&mut self, from: &Path, to: &Path) -> anyhow::Result<()> {
        let metadata = from.symlink_metadata()?;
        if metadata.is_dir() {
            return self.directory(from, to, &metadata);
        }
        if metadata.nlink() > 1 {
            if let Some(first) = self.links.get(&(metadata.dev(), metadata.ino())) {
                return Ok(fs::hard_link(first, to)?);
            }
            self.links.insert((metadata.dev(), metadata.ino()), to.to_owned());
        }
        if metadata.is_symlink() {
            symlink(fs::read_link(from)?, to)?;
        } else if metadata.is_file() {
            contents(from, to)?;
        } else {
            anyhow::bail!("neither a file nor a directory nor a symbolic link");
        }
        Ok(attributes(from, to, &metadata)?)
    }
}

fn contents(from: &Path, to: &Path) -> io::Result<()> {
    let (mut from, mut to) = (File::open(from)?, File::create_new(to)?);
    let (mut block, zeros) = (vec![0; BLOCK], vec![0; BLOCK]);
    let mut len = 0;
    loop {
        let read = from.read(&mut block)?;
        if read == 0 {
            return to.set_len(len);
        }
        len += read as u64;
        if block[..read] == zeros[..read] {
            to.seek(SeekFrom::Start(len))?;
        } else {
            to.write_all(&block[..read])?;
        }
    }
}

/// Owner first (a change of it clears bits of the mode), times last (everything else changes them).
fn attributes(from: &Path, to: &Path, metadata: &Metadata) -> io::Result<()> {
    let made = to.symlink_metadata()?;
    if (made.uid(), made.gid()) != (metadata.uid(), metadata.gid()) {
        match lchown(to, Some(metadata.uid()), Some(metadata.gid())) {
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
            _ => {} // not ours to give: the copy is ours then
        }
    }
    extended_attributes(from, to)?;
    if !metadata.is_symlink() {
        fs::set_permissions(to, metadata.permissions())?;
    }
    let accessed = Timespec { tv_sec: metadata.atime(), tv_nsec: metadata.atime_nsec() };
    let modified = Timespec { tv_sec: metadata.mtime(), tv_nsec: metadata.mtime_nsec() };
    let times = Timestamps { last_access: accessed, last_modification: modified };
    Ok(utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn extended_attributes(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::io::Errno;
    let mut names = vec![0; 64 << 10];
    let len = match llistxattr(from, names.as_mut_slice()) {
        Ok(len) => len,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for name in names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 64 << 10];
        let len = lgetxattr(from, name, value.as_mut_slice())?;
        match lsetxattr(to, name, &value[..len], XattrFlags::empty()) {
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::ACCESS) => {} // not ours to set, or not kept there
            result => result?,
        }
    }
    Ok(())
}

/// Puts an extended attribute on a file; says whether such things are kept there.
pub(super) fn set_attribute(path: &Path, name: &OsStr, value: &[u8]) -> io::Result<bool> {
    match lsetxattr(path, name, value, XattrFlags::empty()) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
