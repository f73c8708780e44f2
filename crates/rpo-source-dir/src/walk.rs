//! The walk: what is in the tree, in path order, with what the system says about each name.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::CString;
use std::os::fd::OwnedFd;

use rpo_core::ports::{EntryPath, Skipped};
use rustix::fs::{AtFlags, FileType, Stat, fstat, statat};
use rustix::io::Errno;

use crate::attributes::Place;
use crate::stack::{DirStack, names};

/// Something that is there.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) path: EntryPath,
    name: CString,
    pub(crate) stat: Stat,
    /// False for directories that could not be opened, and for everything that is none.
    entered: bool,
}

impl Found {
    pub(crate) fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}

/// One step of the walk.
#[derive(Debug)]
pub(crate) enum Step {
    Found(Found),
    Skipped(Skipped),
}

/// Walks a tree by directory descriptors.
#[derive(Debug)]
pub(crate) struct Walk {
    stack: DirStack,
    levels: Vec<Listing>,
    /// A directory that was entered and is to be listed next.
    enter: Option<EntryPath>,
    skipped: VecDeque<Skipped>,
    exclude: BTreeSet<EntryPath>,
    /// Stay on this device.
    device: Option<u64>,
    started: bool,
}

#[derive(Debug)]
struct Listing {
    path: EntryPath,
    names: std::vec::IntoIter<CString>,
}

impl Walk {
    pub(crate) fn new(
        root: OwnedFd,
        open_max: usize,
        exclude: BTreeSet<EntryPath>,
        one_file_system: bool,
    ) -> Result<Self, Errno> {
        let device = if one_file_system { Some(fstat(&root)?.st_dev) } else { None };
        let stack = DirStack::new(root, open_max)?;
        let (levels, skipped) = (Vec::new(), VecDeque::new());
        Ok(Self { stack, levels, enter: None, skipped, exclude, device, started: false })
    }

    /// The next step; `None` at the end.
    ///
    /// # Errors
    /// Only what concerns the walk as a whole, such as a lack of descriptors.
    pub(crate) fn next(&mut self) -> Result<Option<Step>, Errno> {
        if !self.started {
            self.started = true;
            self.enter = Some(EntryPath::root());
            let stat = fstat(self.stack.here()?)?;
            let (path, name) = (EntryPath::root(), CString::default());
            return Ok(Some(Step::Found(Found { path, name, stat, entered: true })));
        }
        loop {
            if let Some(skipped) = self.skipped.pop_front() {
                return Ok(Some(Step::Skipped(skipped)));
            }
            if let Some(path) = self.enter.take() {
                self.list(path)?;
                continue;
            }
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            let Some(name) = level.names.next() else {
                self.leave();
                continue;
            };
            match level.path.join(name.to_bytes()) {
                Ok(path) => {
                    if let Some(found) = self.look(path, name)? {
                        return Ok(Some(Step::Found(found)));
                    }
                }
                Err(error) => {
                    let (path, reason) =
                        (level.path.clone(), format!("an entry in it was left out: {error}"));
                    return Ok(Some(Step::Skipped(Skipped { path, reason, loss: true })));
                }
            }
        }
    }

    /// Where the extended attributes of what was found last are; only before the next step.
    pub(crate) fn place<'a>(&'a self, found: &'a Found) -> Result<Place<'a>, Errno> {
        let here = self.stack.here()?;
        Ok(if found.entered { Place::Open(here) } else { Place::Name(here, &found.name) })
    }

    fn list(&mut self, path: EntryPath) -> Result<(), Errno> {
        let (names, failed) = names(self.stack.here()?);
        match failed {
            None => {}
            Some(error) if is_ours(error) => return Err(error),
            Some(error) => self.lose(path.clone(), format!("it could not be listed to the end: {error}")),
        }
        self.levels.push(Listing { path, names: names.into_iter() });
        Ok(())
    }

    fn leave(&mut self) {
        self.levels.pop();
        if self.levels.is_empty() || self.stack.leave().is_ok() {
            return;
        }
        if let Some(above) = self.levels.last_mut() {
            above.names = Vec::new().into_iter();
            let path = above.path.clone();
            self.lose(
                path,
                "it was moved away while it was walked: the rest of it was not found again".to_owned(),
            );
        }
    }

    /// What `name` stands for; `None` if it is gone, or left out.
    fn look(&mut self, path: EntryPath, name: CString) -> Result<Option<Found>, Errno> {
        if self.exclude.contains(&path) {
            self.skipped.push_back(Skipped {
                path,
                reason: "left out as configured".to_owned(),
                loss: false,
            });
            return Ok(None);
        }
        // What is replaced between being looked at and being entered is looked at again, a few times.
        for _ in 0..4 {
            let stat = match statat(self.stack.here()?, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => return Ok(None),
                Err(error) if is_ours(error) => return Err(error),
                Err(error) => {
                    self.lose(path, format!("the system does not tell what it is: {error}"));
                    return Ok(None);
                }
            };
            if self.device.is_some_and(|device| device != stat.st_dev) {
                return Ok(self.another_file_system(path, name, stat));
            }
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                return Ok(Some(Found { path, name, stat, entered: false }));
            }
            match self.stack.enter(name.to_bytes()) {
                Ok(stat) if self.device.is_none_or(|device| device == stat.st_dev) => {
                    self.enter = Some(path.clone());
                    return Ok(Some(Found { path, name, stat, entered: true }));
                }
                Ok(_) => self.stack.leave()?, // mounted over in this instant
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) if is_ours(error) => return Err(error),
                Err(error) => {
                    self.lose(path.clone(), format!("what is in it could not be read: {error}"));
                    return Ok(Some(Found { path, name, stat, entered: false }));
                }
            }
        }
        self.lose(path, "it is being replaced all the time".to_owned());
        Ok(None)
    }

    fn another_file_system(&mut self, path: EntryPath, name: CString, stat: Stat) -> Option<Found> {
        let reason = "another file system is mounted here".to_owned();
        self.skipped.push_back(Skipped { path: path.clone(), reason, loss: false });
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        is_directory.then_some(Found { path, name, stat, entered: false })
    }

    fn lose(&mut self, path: EntryPath, reason: String) {
        self.skipped.push_back(Skipped { path, reason, loss: true });
    }
}

/// Whether the error is about this process or machine rather than about one name.
fn is_ours(error: Errno) -> bool {
    matches!(error, Errno::MFILE | Errno::NFILE | Errno::NOMEM)
}
