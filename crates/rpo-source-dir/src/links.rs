//! Files with several names: the first in path order is the file, the others refer to it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rpo_core::ports::EntryPath;

/// A file by device and inode number.
pub(crate) type FileId = (u64, u64);

/// Which name stands for which file. Shared by the walk, which adds, and the readers, which may find that a name no
/// longer stands for its file. Holds one path per file with several names, until the capture ends.
#[derive(Debug, Default)]
pub(crate) struct Links(Mutex<Names>);

#[derive(Debug, Default)]
struct Names {
    first: HashMap<FileId, EntryPath>,
    file: HashMap<EntryPath, FileId>,
}

impl Links {
    /// The first name of the file, if one was seen.
    pub(crate) fn first_name(&self, file: FileId) -> Option<EntryPath> {
        self.lock().first.get(&file).cloned()
    }

    /// Notes that `path` is the first name of the file.
    pub(crate) fn remember(&self, file: FileId, path: &EntryPath) {
        let mut names = self.lock();
        names.first.insert(file, path.clone());
        names.file.insert(path.clone(), file);
    }

    /// Notes that `path` no longer leads to its file, so that the next name found becomes the first. Says whether other
    /// names may refer to it.
    pub(crate) fn forget(&self, path: &EntryPath) -> bool {
        let mut names = self.lock();
        match names.file.remove(path) {
            Some(file) => {
                names.first.remove(&file);
                true
            }
            None => false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Names> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
