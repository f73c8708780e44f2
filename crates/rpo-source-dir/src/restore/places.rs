//! The directories of the tree being built: which there are, which metadata they get, and descriptors of some of them.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

use rpo_core::ports::{EntryPath, Metadata, RestoreError};
use rustix::fs::{Mode, mkdirat};
use rustix::io::Errno;

use super::{io_error, lock, taken};
use crate::beneath::{self, PLACE};

/// Directories held open as places to make names in.
const OPEN_MAX: usize = 128;

/// Directories made so far, with their metadata once their entry came; made early when a child comes first.
#[derive(Debug)]
pub(super) struct Places {
    made: Mutex<HashMap<EntryPath, Option<Metadata>>>,
    open: Mutex<Open>,
    #[cfg(feature = "planted-bugs")]
    follow_links: bool,
}

#[derive(Debug, Default)]
struct Open {
    by_path: HashMap<EntryPath, Arc<OwnedFd>>,
    oldest_first: VecDeque<EntryPath>,
}

impl Places {
    /// Only the top is there.
    pub(super) fn new(#[cfg(feature = "planted-bugs")] follow_links: bool) -> Self {
        Self {
            made: Mutex::new(HashMap::from([(EntryPath::root(), None)])),
            open: Mutex::default(),
            #[cfg(feature = "planted-bugs")]
            follow_links,
        }
    }

    /// Takes the metadata of the directory `path`; makes it unless a child of it came before.
    pub(super) fn give(
        &self,
        top: BorrowedFd<'_>,
        path: &EntryPath,
        metadata: &Metadata,
    ) -> Result<(), RestoreError> {
        if let Some(parent) = path.parent() {
            self.make(top, &parent)?;
        }
        let mut made = lock(&self.made);
        match made.get_mut(path) {
            Some(Some(_)) => Err(RestoreError::Invalid(format!("`{path}` came twice"))),
            Some(given) => {
                *given = Some(metadata.clone());
                Ok(())
            }
            None => {
                self.make_one(top, path)?;
                made.insert(path.clone(), Some(metadata.clone()));
                Ok(())
            }
        }
    }

    /// The directory that `path` is in, made if needed, and the name of `path` there.
    pub(super) fn parent<'p>(
        &self,
        top: BorrowedFd<'_>,
        path: &'p EntryPath,
    ) -> Result<(Arc<OwnedFd>, &'p [u8]), RestoreError> {
        let nameless = || RestoreError::Invalid("the top of a tree has no name in it".to_owned());
        let parent = path.parent().ok_or_else(nameless)?;
        let name = path.components().next_back().ok_or_else(nameless)?;
        if !lock(&self.made).contains_key(&parent) {
            self.make(top, &parent)?;
        }
        Ok((self.descriptor(top, &parent)?, name))
    }

    /// Whether the directory was made by us.
    pub(super) fn is_made(&self, path: &EntryPath) -> bool {
        lock(&self.made).contains_key(path)
    }

    /// All directories with what is known of their metadata, in path order.
    pub(super) fn in_order(&self) -> Vec<(EntryPath, Option<Metadata>)> {
        let mut all: Vec<_> =
            lock(&self.made).iter().map(|(path, given)| (path.clone(), given.clone())).collect();
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// How many directories there are, the top included.
    pub(super) fn count(&self) -> u64 {
        lock(&self.made).len() as u64
    }

    /// Closes all descriptors.
    pub(super) fn let_all_go(&self) {
        *lock(&self.open) = Open::default();
    }

    /// Makes `path` and what is missing above it.
    fn make(&self, top: BorrowedFd<'_>, path: &EntryPath) -> Result<(), RestoreError> {
        let mut made = lock(&self.made); // one maker at a time: what is in the way is then never another thread's
        let mut missing = Vec::new();
        let mut at = path.clone();
        while !made.contains_key(&at) {
            let above = at.parent().unwrap_or_default();
            missing.push(at);
            at = above;
        }
        while let Some(next) = missing.pop() {
            self.make_one(top, &next)?;
            made.insert(next, None);
        }
        Ok(())
    }

    /// Makes one directory whose parent was made; only its owner can enter it until the tree is complete.
    fn make_one(&self, top: BorrowedFd<'_>, path: &EntryPath) -> Result<(), RestoreError> {
        let parent = path.parent().unwrap_or_default();
        let dir = self.descriptor(top, &parent)?;
        let name = path.components().next_back().unwrap_or_default();
        match mkdirat(&*dir, name, Mode::RWXU) {
            Ok(()) => Ok(()),
            #[cfg(feature = "planted-bugs")]
            Err(Errno::EXIST) if self.follow_links => Ok(()),
            Err(error) => Err(taken(path, "make directory", error)),
        }
    }

    fn descriptor(&self, top: BorrowedFd<'_>, path: &EntryPath) -> Result<Arc<OwnedFd>, RestoreError> {
        if let Some(fd) = lock(&self.open).by_path.get(path) {
            return Ok(Arc::clone(fd));
        }
        // From the directory above if that is open, so that going down a deep tree costs one step each.
        let above = path.parent().and_then(|above| lock(&self.open).by_path.get(&above).cloned());
        let fd = match (above, path.components().next_back()) {
            (Some(above), Some(name)) => self.open(above.as_fd(), name),
            _ => self.open(top, path.as_bytes()),
        };
        let fd = Arc::new(fd.map_err(|error| io_error(path, "open directory", error))?);
        let mut open = lock(&self.open);
        if open.by_path.insert(path.clone(), Arc::clone(&fd)).is_none() {
            open.oldest_first.push_back(path.clone());
        }
        if open.by_path.len() > OPEN_MAX
            && let Some(oldest) = open.oldest_first.pop_front()
        {
            open.by_path.remove(&oldest);
        }
        Ok(fd)
    }

    fn open(&self, from: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
        #[cfg(feature = "planted-bugs")]
        if self.follow_links && !path.is_empty() {
            use rustix::fs::OFlags;
            return rustix::fs::openat(from, path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty());
        }
        beneath::open(from, path, PLACE, Mode::empty())
    }
}
