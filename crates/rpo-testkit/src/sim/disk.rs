//! A disk that tells *written* from *durable*, for bytes and for names.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rpo_core::ports::{Access, DiskEntry, DiskLock, FileKind};
use rpo_core::{Disk, DiskFile};

use super::files::{DiskState, EIO, ENOSPC, errno};
use super::names::Node;
use super::world::{Call, Core, State};
use super::{Crashed, FaultKind, Machine};

/// The disk of a [`Machine`], with the durability that POSIX promises and not more.
#[derive(Debug, Clone)]
pub struct SimDisk {
    machine: Machine,
}

impl SimDisk {
    pub(super) fn new(machine: Machine) -> Self {
        Self { machine }
    }

    /// Limits the disk to this many bytes; `None` lifts the limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.peek(|disk| disk.capacity = bytes);
    }

    /// Bit rot: flips the bits of `mask` in the byte at `offset`, without anybody being told.
    ///
    /// # Errors
    /// There is no such file, or it ends before `offset`.
    pub fn rot(&self, path: &Path, offset: u64, mask: u8) -> io::Result<()> {
        self.peek(|disk| {
            let node = disk.file(path)?;
            let offset = usize::try_from(offset).unwrap_or(usize::MAX);
            if disk.image(node).rot(offset, mask) { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
        })
    }

    /// What would be read back if exactly the synced bytes survived. For oracles: no call, no fault.
    ///
    /// # Errors
    /// There is no such file.
    pub fn durable_bytes(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.peek(|disk| disk.file(path).map(|node| disk.image(node).durable().to_vec()))
    }

    /// What a reader sees now. For oracles: no call, no fault.
    ///
    /// # Errors
    /// There is no such file.
    pub fn cached_bytes(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.peek(|disk| disk.file(path).map(|node| disk.image(node).cached().to_vec()))
    }

    /// Creates a directory and its parents, durably and without a fault: for setting a scene.
    ///
    /// # Errors
    /// A file is in the way.
    pub fn set_up_dir(&self, path: &Path) -> io::Result<()> {
        self.peek(|disk| {
            let mut sofar = PathBuf::from("/");
            for part in path.components().filter(|part| matches!(part, Component::Normal(_))) {
                let parent = disk.directory(&sofar)?;
                sofar.push(part);
                if let Ok(name) = disk.free_name(&sofar) {
                    let node = disk.fresh_node();
                    disk.names.add(name, node);
                    disk.names.sync(parent);
                }
            }
            disk.directory(path).map(|_| ())
        })
    }

    fn peek<T>(&self, look: impl FnOnce(&mut DiskState) -> T) -> T {
        look(&mut self.machine.world.lock().machine(&self.machine.name).disk)
    }

    fn call<T>(
        &self,
        call: &Call<'_>,
        body: impl FnOnce(&mut DiskState, &mut Core) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.machine.world.lock();
        let who = (&*self.machine.name, self.machine.life);
        state.call(
            who,
            call,
            || io::Error::other(Crashed),
            |state: &mut State| {
                let machine = state.machines.get_mut(who.0).expect("a call found it alive");
                body(&mut machine.disk, &mut state.core)
            },
        )
    }

    fn change<T>(
        &self,
        name: &'static str,
        path: &Path,
        body: impl FnOnce(&mut DiskState, &mut Core) -> io::Result<T>,
    ) -> io::Result<T> {
        let target = path.display();
        self.call(&Call { name, target: &target, at: 0, data: &[], step: true, micros: 20 }, body)
    }

    fn look<T>(
        &self,
        name: &'static str,
        path: &Path,
        body: impl FnOnce(&mut DiskState, &mut Core) -> io::Result<T>,
    ) -> io::Result<T> {
        let target = path.display();
        self.call(&Call { name, target: &target, at: 0, data: &[], step: false, micros: 3 }, body)
    }

    fn handle(&self, node: Node, path: &Path, access: Access) -> Arc<dyn DiskFile> {
        Arc::new(SimFile { disk: self.clone(), node, path: path.to_owned(), access })
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let node = self.look("open", path, |disk, _| disk.file(path))?;
        Ok(self.handle(node, path, access))
    }

    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let node = self.change("create", path, |disk, core| {
            let name = disk.free_name(path)?;
            if core.strikes(FaultKind::NoSpace) || disk.free() == Some(0) {
                return Err(errno(ENOSPC));
            }
            Ok(disk.create_file(name))
        })?;
        Ok(self.handle(node, path, Access::ReadWrite))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let target = dir.display();
        let call = Call { name: "sync-dir", target: &target, at: 0, data: &[], step: true, micros: 2_000 };
        self.call(&call, |disk, core| {
            let node = disk.directory(dir)?;
            if core.strikes(FaultKind::SyncDirError) {
                disk.names.sync_fails(node, &mut core.chaos);
                return Err(errno(EIO));
            }
            disk.names.sync(node);
            Ok(())
        })
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change("link", to, |disk, _| {
            let (node, name) = (disk.find(from)?, disk.free_name(to)?);
            if !disk.files.contains_key(&node) {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            disk.names.add(name, node);
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change("rename", to, |disk, _| {
            let (old, new) = disk.check_rename(from, to)?;
            let node = disk.names.get(&old).ok_or(io::ErrorKind::NotFound)?;
            if disk.names.get(&new) == Some(node) {
                return Ok(()); // two names of one file: POSIX does nothing
            }
            disk.names.rename(old, new, node);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change("remove", path, |disk, _| {
            disk.file(path)?;
            let name = disk.parent(path)?;
            disk.names.remove(name);
            Ok(())
        })
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.change("create-dir", path, |disk, _| {
            let name = disk.free_name(path)?;
            let node = disk.fresh_node();
            disk.names.add(name, node);
            Ok(())
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DiskEntry>> {
        self.look("list", dir, |disk, _| {
            let node = disk.directory(dir)?;
            let entry = |(name, node): (&OsString, Node)| match disk.files.get(&node) {
                Some(image) => {
                    DiskEntry { name: name.clone(), kind: FileKind::File, len: image.len() as u64 }
                }
                None => DiskEntry { name: name.clone(), kind: FileKind::Directory, len: 0 },
            };
            Ok(disk.names.list(node).map(entry).collect())
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let (node, token) = self.change("lock", path, |disk, _| {
            let node = match disk.file(path) {
                Ok(node) => node,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let name = disk.free_name(path)?;
                    disk.create_file(name)
                }
                Err(error) => return Err(error),
            };
            if disk.locks.contains_key(&node) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            disk.locks_taken += 1;
            disk.locks.insert(node, disk.locks_taken);
            Ok((node, disk.locks_taken))
        })?;
        Ok(Box::new(SimLock { disk: self.clone(), node, token }))
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<Option<u64>> {
        self.look("free", dir, |disk, _| disk.directory(dir).map(|_| disk.free()))
    }
}

struct SimFile {
    disk: SimDisk,
    node: Node,
    path: PathBuf,
    access: Access,
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFile")
            .field("path", &self.path)
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}

impl DiskFile for SimFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.access == Access::Read {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let target = self.path.display();
        let micros = 10 + bytes.len() as u64 / 1024;
        let call = Call { name: "write", target: &target, at: offset, data: bytes, step: true, micros };
        self.disk.call(&call, |disk, core| disk.write(core, self.node, bytes, offset))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let target = self.path.display();
        let call = Call { name: "read", target: &target, at: offset, data: &[], step: false, micros: 5 };
        self.disk.call(&call, |disk, core| {
            if core.strikes(FaultKind::ReadError) {
                return Err(errno(EIO));
            }
            let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
            Ok(disk.image(self.node).read(buffer, offset))
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.disk.look("len", &self.path, |disk, _| Ok(disk.image(self.node).len() as u64))
    }

    fn sync(&self) -> io::Result<()> {
        let target = self.path.display();
        let call = Call { name: "sync", target: &target, at: 0, data: &[], step: true, micros: 2_000 };
        self.disk.call(&call, |disk, core| disk.sync(core, self.node))
    }
}

#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    node: Node,
    token: u64,
}

impl DiskLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.peek(|disk| {
            if disk.locks.get(&self.node) == Some(&self.token) {
                disk.locks.remove(&self.node);
            }
        });
    }
}
