//! Completing the tree once all entries came: open files, further names, directories from the bottom up, durability;
//! and the count that checks it.

use std::collections::HashSet;
use std::os::fd::AsFd;

use rpo_core::ports::{EntryPath, RestoreError, Validation};
use rustix::fs::{AtFlags, FileType, Mode, fsync, linkat, statat, syncfs};
use rustix::io::Errno;

use super::attributes::Handle;
use super::{DirectoryRestorer, io_error, lock};
use crate::beneath::{self, DIRECTORY};
use crate::options::Durability;
use crate::stack::{DirStack, names};

/// Directories held open while the tree is completed or counted.
pub(super) const OPEN_MAX: usize = 64;

impl DirectoryRestorer {
    /// Completes files that need no content and were never closed; the others are an error.
    pub(super) fn finish_files(&self) -> Result<(), RestoreError> {
        let mut unclosed = 0_u64;
        let mut first = None;
        for (path, pending) in self.files.take_all() {
            if pending.needs_nothing() {
                self.complete(&path, &pending)?;
            } else {
                unclosed += 1;
                first.get_or_insert(path);
            }
            self.files.let_go(&pending);
        }
        match first {
            None => Ok(()),
            Some(path) => Err(RestoreError::Invalid(format!(
                "{unclosed} files were never closed, the first is `{path}`"
            ))),
        }
    }

    /// Makes the further names; those whose file was not restored are noted.
    pub(super) fn finish_links(&self) -> Result<(), RestoreError> {
        let mut links = lock(&self.links);
        links.sort_unstable();
        let mut left_out = Vec::new();
        for (path, to) in links.drain(..) {
            if let Err(why) = self.link(&path, &to)? {
                self.tally.note(&path, format_args!("left out: it is a further name of `{to}`, {why}"));
                left_out.push((path, to));
            }
        }
        *links = left_out;
        Ok(())
    }

    /// The inner error is why this one name is left out.
    fn link(&self, path: &EntryPath, to: &EntryPath) -> Result<Result<(), String>, RestoreError> {
        const MISSING: &str = "which was not restored";
        if to.parent().is_none_or(|parent| !self.places.is_made(&parent)) {
            return Ok(Err(MISSING.to_owned()));
        }
        let (to_dir, to_name) = self.places.parent(self.top.as_fd(), to)?;
        match statat(&*to_dir, to_name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                return Err(RestoreError::Invalid(format!(
                    "`{path}` is a further name of `{to}`, which is a directory"
                )));
            }
            Ok(_) => {}
            Err(Errno::NOENT) => return Ok(Err(MISSING.to_owned())),
            Err(error) => return Err(io_error(to, "stat", error)),
        }
        let (dir, name) = self.places.parent(self.top.as_fd(), path)?;
        match linkat(&*to_dir, to_name, &*dir, name, AtFlags::empty()) {
            Ok(()) => Ok(Ok(())),
            Err(error @ (Errno::MLINK | Errno::PERM | Errno::OPNOTSUPP)) => {
                Ok(Err(format!("which cannot have it: {error}")))
            }
            Err(error) => Err(super::taken(path, "make hard link", error)),
        }
    }

    /// Sets the metadata of directories, each after all that is in it, and makes the tree durable.
    pub(super) fn finish_directories(&self) -> Result<(), RestoreError> {
        let mut at: Vec<(EntryPath, _)> = Vec::new();
        let mut stack = self.descend()?;
        for (path, metadata) in self.places.in_order() {
            while let Some((above, _)) = at.last()
                && !path.is_within(above)
            {
                self.finish_directory(&mut stack, &mut at)?;
            }
            if let Some(name) = path.components().next_back() {
                stack.enter(name).map_err(|error| io_error(&path, "open directory", error))?;
            }
            at.push((path, metadata));
        }
        while !at.is_empty() {
            self.finish_directory(&mut stack, &mut at)?;
        }
        if self.options.durability == Durability::FileSystem {
            let failed = |error| io_error(self.staging.path().display(), "sync of the file system", error);
            syncfs(&self.top).map_err(failed)?;
        }
        Ok(())
    }

    fn finish_directory(
        &self,
        stack: &mut DirStack,
        at: &mut Vec<(EntryPath, Option<rpo_core::ports::Metadata>)>,
    ) -> Result<(), RestoreError> {
        let Some((path, metadata)) = at.pop() else { return Ok(()) };
        let here = stack.here().map_err(|error| io_error(&path, "open directory", error))?;
        match metadata {
            Some(metadata) => self.applier.apply(Handle::Open(here), &path, &metadata, &self.tally)?,
            None => {
                self.tally.note(&path, "a directory that had no entry of its own: made for what is in it")
            }
        }
        if self.options.durability == Durability::EachFile {
            fsync(here).map_err(|error| io_error(&path, "sync", error))?;
        }
        if at.is_empty() {
            return Ok(()); // the top
        }
        stack.leave().map_err(|error| io_error(&path, "leave directory", error))
    }

    fn descend(&self) -> Result<DirStack, RestoreError> {
        let path = EntryPath::root();
        let top = beneath::open(self.top.as_fd(), b"", DIRECTORY, Mode::empty());
        let stack = top.and_then(|top| DirStack::new(top, OPEN_MAX));
        stack.map_err(|error| io_error(&path, "open directory", error))
    }

    /// Counts what is in the tree and compares it with what was given.
    pub(super) fn check_structure(&self) -> Result<Validation, RestoreError> {
        let (found, unseen) = self.count()?;
        let (files, files_len) = self.tally.files();
        let left_out = lock(&self.links);
        let compare = |name: &str, found: u64, given: u64| {
            let wrong = (found != given).then(|| format!("{given} were restored, {found} are there"));
            (name.to_owned(), wrong)
        };
        let links = left_out.first().map(|(path, to)| {
            format!("{} further names were left out, the first is `{path}` of `{to}`", left_out.len())
        });
        // What a closed directory holds was checked when it was written; its owner alone cannot count it again.
        if let Some(closed) = unseen {
            tracing::warn!(path = %closed, "this directory lets nobody in: what is in it was not counted again");
            return Ok(Validation { checks: vec![("links".to_owned(), links)] });
        }
        Ok(Validation {
            checks: vec![
                compare("directories", found.directories, self.places.count()),
                compare("files", found.files, files),
                compare("bytes of files", found.bytes, files_len),
                compare("symbolic links", found.symlinks, self.tally.symlinks()),
                ("links".to_owned(), links),
            ],
        })
    }

    /// What is in the tree, and the first directory that could not be entered.
    fn count(&self) -> Result<(Count, Option<EntryPath>), RestoreError> {
        let mut stack = self.descend()?;
        let mut count = Count { directories: 1, ..Count::default() };
        let mut seen = HashSet::new(); // files with several names count once
        let mut unseen = None;
        let mut at = vec![(EntryPath::root(), list(&stack, &EntryPath::root())?)];
        while let Some((path, names)) = at.last_mut() {
            let Some(name) = names.next() else {
                at.pop();
                if let Some((path, _)) = at.last() {
                    stack.leave().map_err(|error| io_error(path, "leave directory", error))?;
                }
                continue;
            };
            let path =
                path.join(name.to_bytes()).map_err(|error| RestoreError::Invalid(error.to_string()))?;
            let here = stack.here().map_err(|error| io_error(&path, "open directory", error))?;
            let stat = match statat(here, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::ACCESS) => {
                    unseen.get_or_insert(path);
                    continue;
                }
                Err(error) => return Err(io_error(&path, "stat", error)),
            };
            let again = stat.st_nlink > 1 && !seen.insert(stat.st_ino);
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    count.directories += 1;
                    match stack.enter(name.to_bytes()) {
                        Ok(_) => {
                            let names = list(&stack, &path)?;
                            at.push((path, names));
                        }
                        Err(Errno::ACCESS) => _ = unseen.get_or_insert(path),
                        Err(error) => return Err(io_error(&path, "open directory", error)),
                    }
                }
                _ if again => {}
                FileType::RegularFile => {
                    count.files += 1;
                    count.bytes += crate::attributes::len(&stat);
                }
                FileType::Symlink => count.symlinks += 1,
                _ => {}
            }
        }
        Ok((count, unseen))
    }
}

#[derive(Debug, Default)]
struct Count {
    directories: u64,
    files: u64,
    bytes: u64,
    symlinks: u64,
}

fn list(stack: &DirStack, path: &EntryPath) -> Result<std::vec::IntoIter<std::ffi::CString>, RestoreError> {
    let here = stack.here().map_err(|error| io_error(path, "open directory", error))?;
    match names(here) {
        (names, None) => Ok(names.into_iter()),
        (_, Some(error)) => Err(io_error(path, "list directory", error)),
    }
}
