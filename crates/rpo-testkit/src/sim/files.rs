//! All files and directories of one disk, and what its faults do to them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path};

use super::image::{FileImage, SECTOR_BYTES};
use super::names::{Name, Names, Node, ROOT};
use super::world::Core;
use super::{FaultKind, Rng, Statistics};

pub(super) const EIO: i32 = 5;
pub(super) const ENOSPC: i32 = 28;

pub(super) fn errno(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

#[derive(Debug)]
pub(super) struct DiskState {
    pub(super) names: Names,
    /// Every file there ever was: open handles outlive names. Directories are nodes without an image.
    pub(super) files: BTreeMap<Node, FileImage>,
    nodes: Node,
    pub(super) locks: BTreeMap<Node, u64>,
    pub(super) locks_taken: u64,
    pub(super) capacity: Option<u64>,
}

impl DiskState {
    pub(super) fn new() -> Self {
        Self {
            names: Names::default(),
            files: BTreeMap::new(),
            nodes: ROOT,
            locks: BTreeMap::new(),
            locks_taken: 0,
            capacity: None,
        }
    }

    pub(super) fn fresh_node(&mut self) -> Node {
        self.nodes += 1;
        self.nodes
    }

    /// The directory of a path and its last component.
    pub(super) fn parent(&self, path: &Path) -> io::Result<Name> {
        let mut parts = Vec::new();
        for part in path.components() {
            match part {
                Component::Normal(name) => parts.push(name.to_owned()),
                Component::RootDir | Component::CurDir => {}
                Component::ParentDir | Component::Prefix(_) => return Err(io::ErrorKind::InvalidInput.into()),
            }
        }
        let last = parts.pop().ok_or(io::ErrorKind::InvalidInput)?;
        let mut dir = ROOT;
        for part in parts {
            dir = self.names.get(&(dir, part)).ok_or(io::ErrorKind::NotFound)?;
            if self.files.contains_key(&dir) {
                return Err(io::ErrorKind::NotADirectory.into());
            }
        }
        Ok((dir, last))
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<Node> {
        if path.components().all(|part| matches!(part, Component::RootDir | Component::CurDir)) {
            return Ok(ROOT);
        }
        let name = self.parent(path)?;
        self.names.get(&name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn directory(&self, path: &Path) -> io::Result<Node> {
        let node = self.find(path)?;
        if self.files.contains_key(&node) { Err(io::ErrorKind::NotADirectory.into()) } else { Ok(node) }
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<Node> {
        let node = self.find(path)?;
        if self.files.contains_key(&node) { Ok(node) } else { Err(io::ErrorKind::IsADirectory.into()) }
    }

    pub(super) fn image(&mut self, node: Node) -> &mut FileImage {
        self.files.entry(node).or_default()
    }

    /// A name that is not taken yet.
    pub(super) fn free_name(&self, path: &Path) -> io::Result<Name> {
        let name = self.parent(path)?;
        if self.names.get(&name).is_some() { Err(io::ErrorKind::AlreadyExists.into()) } else { Ok(name) }
    }

    /// The names of a rename that POSIX allows.
    pub(super) fn check_rename(&self, from: &Path, to: &Path) -> io::Result<(Name, Name)> {
        let (old, new) = (self.parent(from)?, self.parent(to)?);
        let node = self.names.get(&old).ok_or(io::ErrorKind::NotFound)?;
        let is_dir = |node: &Node| !self.files.contains_key(node);
        let inside =
            |path: &Path, dir: Node| path.ancestors().skip(1).any(|above| self.find(above).ok() == Some(dir));
        if is_dir(&node) && inside(to, node) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        match self.names.get(&new) {
            Some(taken) if taken == node => {}
            Some(taken) if is_dir(&taken) && inside(from, taken) => {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            Some(taken) if is_dir(&taken) && !is_dir(&node) => return Err(io::ErrorKind::IsADirectory.into()),
            Some(taken) if is_dir(&node) && !is_dir(&taken) => {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            Some(taken) if is_dir(&taken) && self.names.list(taken).next().is_some() => {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            _ => {}
        }
        Ok((old, new))
    }

    pub(super) fn used(&self) -> u64 {
        let named = self.names.nodes();
        self.files.iter().filter(|(node, _)| named.contains(node)).map(|(_, image)| image.len() as u64).sum()
    }

    pub(super) fn free(&self) -> Option<u64> {
        self.capacity.map(|capacity| capacity.saturating_sub(self.used()))
    }

    pub(super) fn create_file(&mut self, name: Name) -> Node {
        let node = self.fresh_node();
        self.image(node);
        self.names.add(name, node);
        node
    }

    pub(super) fn write(&mut self, core: &mut Core, node: Node, bytes: &[u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        let end = offset.checked_add(bytes.len()).ok_or(io::ErrorKind::InvalidInput)?;
        // A hole takes no room.
        let growth = end - end.min(offset.max(self.image(node).len()));
        // What does not go through ends between two sectors of the file.
        let whole = |len: usize| ((offset + len) / SECTOR_BYTES * SECTOR_BYTES).saturating_sub(offset);
        let mut fits = bytes.len();
        if growth > 0 {
            let full = core.strikes(FaultKind::NoSpace);
            let room = self.free().map_or(growth as u64, |free| free.min(growth as u64));
            let room = if full { core.chaos.below(growth as u64) } else { room };
            fits -= growth - usize::try_from(room).expect("at most the growth");
        }
        if fits < bytes.len() {
            self.image(node).write(&bytes[..whole(fits)], offset);
            return Err(errno(ENOSPC));
        }
        if core.strikes(FaultKind::WriteError) {
            let part = whole(core.chaos.index(bytes.len() + 1));
            self.image(node).write(&bytes[..part], offset);
            return Err(errno(EIO));
        }
        if core.is_last() && core.chaos.coin() {
            let part = whole(core.chaos.index(bytes.len() + 1));
            self.image(node).write(&bytes[..part], offset);
            return Ok(()); // nobody hears of it
        }
        self.image(node).write(bytes, offset);
        if core.strikes(FaultKind::Writeback) {
            self.image(node).write_back(&mut core.chaos);
        }
        Ok(())
    }

    pub(super) fn sync(&mut self, core: &mut Core, node: Node) -> io::Result<()> {
        if core.strikes(FaultKind::SyncError) {
            self.image(node).sync_fails(&mut core.chaos);
            return Err(errno(EIO));
        }
        if core.strikes(FaultKind::SyncErrorNothing) {
            self.image(node).sync_gives_up();
            return Err(errno(EIO));
        }
        self.image(node).sync();
        if core.strikes(FaultKind::SyncErrorWhole) { Err(errno(EIO)) } else { Ok(()) }
    }

    pub(super) fn power_cut(&mut self, rng: &mut Rng, torn_per_mille: u16, seen: &mut Statistics) {
        self.locks.clear();
        let (kept, lost) = self.names.crash(rng);
        let named = self.names.nodes();
        self.files.retain(|node, _| named.contains(node));
        seen.add("crash: name kept", kept);
        seen.add("crash: name lost", lost);
        for image in self.files.values_mut() {
            let wreck = image.crash(rng, torn_per_mille);
            seen.add("crash: sector kept", wreck.kept);
            seen.add("crash: sector lost", wreck.lost);
            seen.add("crash: sector torn", wreck.torn);
        }
    }

    pub(super) fn kill(&mut self, evict: bool) {
        self.locks.clear();
        if evict {
            self.files.values_mut().for_each(|image| {
                image.evict();
            });
        }
    }
}
