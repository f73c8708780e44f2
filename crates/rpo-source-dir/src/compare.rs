//! Comparing two trees, byte for byte and attribute for attribute, with nothing in common with the code that captures
//! and restores them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Something in which two trees differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where, below both roots; empty for the roots themselves.
    pub path: PathBuf,
    /// What: the first tree's side before the second's.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display().to_string().escape_debug(), self.what)
    }
}

/// All differences between the trees `a` and `b`, in path order; empty if they are the same.
///
/// Compared are names, types, lengths, content, link targets, mode, owner, group, modification time to the nanosecond,
/// extended attributes, device numbers, and which names are the same file. Not compared are holes, access and change
/// times. What cannot be read in either tree is a difference. Symbolic links are never followed, except in `a` and `b`.
pub fn compare_trees(a: impl AsRef<Path>, b: impl AsRef<Path>) -> Vec<Difference> {
    let mut comparison = Comparison::default();
    let roots = File::open(a.as_ref()).and_then(|a| Ok((a, File::open(b.as_ref())?)));
    match roots {
        Ok((a, b)) => comparison.trees(&a, &b),
        Err(error) => comparison.note(Path::new(""), format!("cannot be opened: {error}")),
    }
    comparison.differences.sort_by(|x, y| x.path.cmp(&y.path));
    comparison.differences
}

#[derive(Default)]
struct Comparison {
    differences: Vec<Difference>,
    /// First names of files with several, on either side.
    links: [HashMap<(u64, u64), PathBuf>; 2],
}

/// Longest path given to the system at once.
const STEP_BYTES: usize = 2_000;

impl Comparison {
    fn note(&mut self, path: &Path, what: impl Into<String>) {
        self.differences.push(Difference { path: path.to_owned(), what: what.into() });
    }

    fn trees(&mut self, a: &File, b: &File) {
        let mut todo = vec![PathBuf::new()];
        let roots = a.metadata().and_then(|x| Ok((x, b.metadata()?)));
        match roots {
            Ok((x, y)) => self.attributes(
                Path::new(""),
                [&x, &y],
                [&below(a, Path::new(".")), &below(b, Path::new("."))],
            ),
            Err(error) => return self.note(Path::new(""), format!("cannot be looked at: {error}")),
        }
        while let Some(dir) = todo.pop() {
            match (descend(a, &dir), descend(b, &dir)) {
                (Ok(a), Ok(b)) => self.directory(&dir, &a, &b, &mut todo),
                (Err(error), _) => self.note(&dir, format!("cannot be opened in the first: {error}")),
                (_, Err(error)) => self.note(&dir, format!("cannot be opened in the second: {error}")),
            }
        }
    }

    fn directory(&mut self, dir: &Path, a: &File, b: &File, todo: &mut Vec<PathBuf>) {
        let (names_a, names_b) = match (list(a), list(b)) {
            (Ok(a), Ok(b)) => (a, b),
            (Err(error), _) | (_, Err(error)) => return self.note(dir, format!("cannot be listed: {error}")),
        };
        for name in names_a.union(&names_b) {
            let path = dir.join(name);
            if !names_b.contains(name) {
                self.note(&path, "only in the first");
            } else if !names_a.contains(name) {
                self.note(&path, "only in the second");
            } else {
                let places = [below(a, Path::new(name)), below(b, Path::new(name))];
                match fs::symlink_metadata(&places[0])
                    .and_then(|x| Ok((x, fs::symlink_metadata(&places[1])?)))
                {
                    Err(error) => self.note(&path, format!("cannot be looked at: {error}")),
                    Ok((x, y)) => {
                        self.one(&path, [&x, &y], [&places[0], &places[1]]);
                        if x.is_dir() && y.is_dir() {
                            todo.push(path);
                        }
                    }
                }
            }
        }
    }

    fn one(&mut self, path: &Path, meta: [&Metadata; 2], place: [&Path; 2]) {
        let types = meta.map(type_name);
        if types[0] != types[1] {
            return self.note(path, format!("{} / {}", types[0], types[1]));
        }
        self.attributes(path, meta, place);
        self.link_group(path, meta);
        if meta[0].is_symlink() {
            match fs::read_link(place[0]).and_then(|x| Ok((x, fs::read_link(place[1])?))) {
                Ok((x, y)) if x == y => {}
                Ok((x, y)) => self.note(path, format!("points to {x:?} / {y:?}")),
                Err(error) => self.note(path, format!("link cannot be read: {error}")),
            }
        } else if meta[0].is_file() {
            if meta[0].len() != meta[1].len() {
                return self.note(path, format!("{} bytes / {} bytes", meta[0].len(), meta[1].len()));
            }
            match first_difference(place) {
                Ok(None) => {}
                Ok(Some(at)) => self.note(path, format!("content differs from byte {at} on")),
                Err(error) => self.note(path, format!("content cannot be read: {error}")),
            }
        } else if meta[0].rdev() != meta[1].rdev() {
            self.note(path, "stands for another device");
        }
    }

    fn attributes(&mut self, path: &Path, meta: [&Metadata; 2], place: [&Path; 2]) {
        let [x, y] = meta;
        if x.mode() != y.mode() {
            self.note(path, format!("mode {:o} / {:o}", x.mode() & 0o7777, y.mode() & 0o7777));
        }
        if (x.uid(), x.gid()) != (y.uid(), y.gid()) {
            self.note(path, format!("owner {}:{} / {}:{}", x.uid(), x.gid(), y.uid(), y.gid()));
        }
        if (x.mtime(), x.mtime_nsec()) != (y.mtime(), y.mtime_nsec()) {
            let time = |m: &Metadata| format!("{} s {} ns", m.mtime(), m.mtime_nsec());
            self.note(path, format!("changed at {} / {}", time(x), time(y)));
        }
        match xattrs(place[0]).and_then(|x| Ok((x, xattrs(place[1])?))) {
            Ok((x, y)) => {
                for name in x.keys().chain(y.keys()).collect::<BTreeSet<_>>() {
                    if x.get(name) != y.get(name) {
                        self.note(
                            path,
                            format!("extended attribute {:?} differs", String::from_utf8_lossy(name)),
                        );
                    }
                }
            }
            Err(error) => self.note(path, format!("extended attributes cannot be read: {error}")),
        }
    }

    /// Compares which name seen before is the same file, on either side.
    fn link_group(&mut self, path: &Path, meta: [&Metadata; 2]) {
        if meta[0].is_dir() || (meta[0].nlink() < 2 && meta[1].nlink() < 2) {
            return;
        }
        let mut earlier = [None, None];
        for side in 0..2 {
            let file = (meta[side].dev(), meta[side].ino());
            let first = self.links[side].entry(file).or_insert_with(|| path.to_owned());
            earlier[side] = (first != path).then(|| first.clone());
        }
        if earlier[0] != earlier[1] {
            self.note(path, format!("same file as {:?} / {:?}", earlier[0], earlier[1]));
        }
    }
}

/// A path to `name` in an open directory, short however deep the directory is.
fn below(dir: &File, name: &Path) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name)
}

/// Opens the directory at `path` below `root`, a few components at a time.
fn descend(root: &File, path: &Path) -> io::Result<File> {
    let mut at = File::open(below(root, Path::new(".")))?;
    let mut step = PathBuf::new();
    for component in path.components() {
        if step.as_os_str().len() > STEP_BYTES {
            at = File::open(below(&at, &std::mem::take(&mut step)))?;
        }
        step.push(component);
    }
    if step.as_os_str().is_empty() { Ok(at) } else { File::open(below(&at, &step)) }
}

fn list(dir: &File) -> io::Result<BTreeSet<OsString>> {
    fs::read_dir(below(dir, Path::new(".")))?.map(|entry| Ok(entry?.file_name())).collect()
}

fn type_name(meta: &Metadata) -> &'static str {
    let kind = meta.file_type();
    match () {
        () if kind.is_dir() => "directory",
        () if kind.is_file() => "file",
        () if kind.is_symlink() => "symbolic link",
        () if kind.is_fifo() => "FIFO",
        () if kind.is_socket() => "socket",
        () if kind.is_block_device() => "block device",
        () => "character device",
    }
}

/// Where the contents begin to differ.
fn first_difference(place: [&Path; 2]) -> io::Result<Option<u64>> {
    let mut files = [File::open(place[0])?, File::open(place[1])?];
    let mut buffers = [vec![0; 256 << 10], vec![0; 256 << 10]];
    let mut at = 0;
    loop {
        let mut lens = [0; 2];
        for side in 0..2 {
            while lens[side] < buffers[side].len() {
                match files[side].read(&mut buffers[side][lens[side]..])? {
                    0 => break,
                    read => lens[side] += read,
                }
            }
        }
        let [x, y] = [&buffers[0][..lens[0]], &buffers[1][..lens[1]]];
        if x != y {
            let same = x.iter().zip(y).take_while(|(x, y)| x == y).count();
            return Ok(Some(at + same as u64));
        }
        if x.is_empty() {
            return Ok(None);
        }
        at += x.len() as u64;
    }
}

/// Extended attributes by name; the standard library has no call for these.
fn xattrs(place: &Path) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut list = vec![0; 64 << 10];
    let len = match rustix::fs::llistxattr(place, list.as_mut_slice()) {
        Ok(len) => len,
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        Err(error) => return Err(error.into()),
    };
    let mut found = BTreeMap::new();
    for name in list[..len].split(|b| *b == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 64 << 10];
        let len = rustix::fs::lgetxattr(place, name, value.as_mut_slice())?;
        value.truncate(len);
        found.insert(name.to_vec(), value);
    }
    Ok(found)
}
