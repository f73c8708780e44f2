//! What a capture consists of: entries, their paths and their metadata.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Path of an entry below the root of what is captured: bytes, `/` between components, the root itself is empty.
///
/// Ordered as a walk visits: a directory, then everything below it, then its next sibling.
#[derive(Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct EntryPath(Vec<u8>);

/// Longest path taken, bytes.
pub const PATH_BYTES_MAX: usize = 64 << 10;

/// Bytes that are no path inside a capture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no path inside a capture: {rule}", .path.escape_ascii())]
pub struct EntryPathError {
    path: Vec<u8>,
    rule: &'static str,
}

impl EntryPath {
    /// The top of what is captured.
    pub fn root() -> Self {
        Self::default()
    }

    /// Checks and takes the path.
    ///
    /// # Errors
    /// Refuses absolute paths, empty components, `.`, `..`, NUL bytes, and more than 64 KiB.
    pub fn new(path: impl Into<Vec<u8>>) -> Result<Self, EntryPathError> {
        let path = path.into();
        let refuse = |rule| EntryPathError { path: path[..path.len().min(256)].to_vec(), rule };
        if path.is_empty() {
            return Ok(Self(path));
        }
        if path.len() > PATH_BYTES_MAX {
            return Err(refuse("longer than 64 KiB"));
        }
        for component in path.split(|b| *b == b'/') {
            match component {
                b"" => return Err(refuse("it is absolute or has an empty component")),
                b"." | b".." => return Err(refuse("it has a component `.` or `..`")),
                _ if component.contains(&0) => return Err(refuse("it has a NUL byte")),
                _ => {}
            }
        }
        Ok(Self(path))
    }

    /// The path of the child `name`.
    ///
    /// # Errors
    /// `name` must be one plain component.
    pub fn join(&self, name: &[u8]) -> Result<Self, EntryPathError> {
        if name.contains(&b'/') || name.is_empty() {
            return Err(EntryPathError { path: name.to_vec(), rule: "not one component" });
        }
        let mut path = self.0.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        Self::new(path)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the top of what is captured.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Its components, from the top; none for the root.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|b| *b == b'/').filter(|c| !c.is_empty())
    }

    /// The directory it is in; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let cut = self.0.iter().rposition(|b| *b == b'/').unwrap_or(0);
        Some(Self(self.0[..cut].to_vec()))
    }

    /// Whether it is `ancestor` or lies below it.
    pub fn is_within(&self, ancestor: &Self) -> bool {
        ancestor.is_root()
            || self.0 == ancestor.0
            || (self.0.starts_with(&ancestor.0) && self.0.get(ancestor.0.len()) == Some(&b'/'))
    }
}

impl Ord for EntryPath {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        const STEP: usize = 32;
        // `/` sorts before every other byte, so that a directory's contents come before `dir-2` and `dir.x`.
        let rank = |b: &u8| if *b == b'/' { 0u16 } else { u16::from(*b) + 1 };
        // Neighbours in a deep tree share kilobytes: pass over those in steps that the processor compares at once.
        let (a, b) = (self.0.chunks_exact(STEP), other.0.chunks_exact(STEP));
        let same = a.zip(b).take_while(|(a, b)| a == b).count() * STEP;
        self.0[same..].iter().map(rank).cmp(other.0[same..].iter().map(rank))
    }
}

impl PartialOrd for EntryPath {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        match std::str::from_utf8(&self.0) {
            Ok(text) if !text.chars().any(char::is_control) => f.write_str(text),
            _ => write!(f, "{}", self.0.escape_ascii()),
        }
    }
}

impl fmt::Debug for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryPath({self})")
    }
}

impl TryFrom<Vec<u8>> for EntryPath {
    type Error = EntryPathError;

    fn try_from(path: Vec<u8>) -> Result<Self, EntryPathError> {
        Self::new(path)
    }
}

impl From<EntryPath> for Vec<u8> {
    fn from(path: EntryPath) -> Vec<u8> {
        path.0
    }
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A file, or a named stream of a program's state: it has content.
    File,
    /// A symbolic link; the target is bytes and is never followed.
    Symlink {
        /// Where it points.
        target: Vec<u8>,
    },
    /// A further name of a file that came earlier in path order.
    HardLink {
        /// The first name of the same file.
        to: EntryPath,
    },
}

/// A moment of a file system: seconds since 1970 (may be negative) and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct FileTime {
    /// Whole seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds after that, below 1,000,000,000.
    pub nanos: u32,
}

/// What is restored besides the content.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Metadata {
    /// Permission bits, with set-uid, set-gid and sticky; no type bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change of the content.
    pub mtime: FileTime,
    /// Extended attributes, sorted by name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A run of bytes of a file, half-open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Extent {
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub len: u64,
}

impl Extent {
    /// One past the last byte.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.len)
    }
}

/// How an unchanged file is recognised without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Length, bytes.
    pub len: u64,
    /// Last change of the content.
    pub mtime: FileTime,
    /// Last change of content or metadata; programs cannot set it.
    pub ctime: FileTime,
    /// Number of the file within its file system.
    pub inode: u64,
    /// False if the file changed so close to the capture that the next one must not believe this fingerprint.
    pub trusted: bool,
}

/// One file, directory, link or named stream, as captured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where it is below the root.
    pub path: EntryPath,
    /// What it is.
    pub kind: EntryKind,
    /// What is restored besides the content.
    pub metadata: Metadata,
    /// Length of the content, bytes, holes included; 0 for what has none.
    pub len: u64,
    /// Where the content has data, sorted; between them are holes, which are restored as holes.
    pub extents: Vec<Extent>,
    /// How the next capture recognises it.
    pub fingerprint: Option<Fingerprint>,
    /// True if it changed while it was read: the content is a mixture of moments.
    pub changed_while_read: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_leave_the_capture() {
        for bad in ["/etc", "a//b", "a/", "../x", "a/..", ".", "a/./b", "a\0b"] {
            assert!(EntryPath::new(bad).is_err(), "{bad:?}");
        }
        assert!(EntryPath::new([0xff, 0xfe]).is_ok());
    }

    #[test]
    fn paths_sort_as_a_walk_visits_them() {
        let mut paths: Vec<_> =
            ["a.b", "a", "a/z", "", "a-b", "a/b/c", "a/b"].map(|p| EntryPath::new(p).unwrap()).into();
        paths.sort();
        let texts: Vec<_> =
            paths.iter().map(|p| String::from_utf8_lossy(p.as_bytes()).into_owned()).collect();
        assert_eq!(texts, ["", "a", "a/b", "a/b/c", "a/z", "a-b", "a.b"]);
        for shared in [1, 31, 32, 33, 64, 100] {
            let path = |end: &str| EntryPath::new("x".repeat(shared) + end).unwrap();
            assert!(path("") < path("/a") && path("/a") < path("-") && path("-/z") < path("."), "{shared}");
        }
    }

    #[test]
    fn within_means_below_and_not_merely_a_common_prefix() {
        let path = |p: &str| EntryPath::new(p).unwrap();
        assert!(path("a/b").is_within(&path("a")));
        assert!(!path("ab").is_within(&path("a")));
        assert!(path("ab").is_within(&EntryPath::root()));
    }
}
