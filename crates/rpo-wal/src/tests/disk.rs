//! A disk in memory that tells *written* from *durable*, fills up, and fails when told to.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rpo_core::ports::{Access, Disk, DiskEntry, DiskFile, DiskLock, FileKind};

pub(crate) const SECTOR: usize = 512;

#[derive(Debug, Clone, Default)]
struct Content {
    cached: Vec<u8>,
    durable: Vec<u8>,
}

type Shared = Arc<Mutex<Content>>;

/// What may be told to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Write,
    Sync,
    SyncDir,
}

/// Called by every sync, before it does anything.
pub(crate) type OnSync = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct World {
    on_sync: Option<OnSync>,
    names: BTreeMap<PathBuf, Shared>,
    durable_names: BTreeMap<PathBuf, Shared>,
    dirs: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
    limit: Option<usize>,
    fail: Option<(Op, u64)>, // the operation, and how many go well before it
    syncs: u64,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("names", &self.names.keys()).finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(crate) struct TestDisk(Arc<Mutex<World>>);

impl World {
    fn passes(&mut self, op: Op) -> io::Result<()> {
        match &mut self.fail {
            Some((wanted, 0)) if *wanted == op => {
                self.fail = None;
                Err(io::Error::other("injected failure"))
            }
            Some((wanted, left)) if *wanted == op => {
                *left -= 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn used(&self) -> usize {
        self.names.values().map(|f| f.lock().unwrap().cached.len()).sum()
    }
}

impl TestDisk {
    pub(crate) fn new() -> Self {
        let world = World { dirs: [PathBuf::from("/")].into(), ..World::default() };
        Self(Arc::new(Mutex::new(world)))
    }

    fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    /// The next but `after` operations of this kind fails.
    pub(crate) fn fail(&self, op: Op, after: u64) {
        self.world().fail = Some((op, after));
    }

    /// Nothing fails from now on.
    pub(crate) fn calm(&self) {
        self.world().fail = None;
    }

    pub(crate) fn limit(&self, bytes: Option<usize>) {
        self.world().limit = bytes;
    }

    /// `call` is called by every sync of a file from now on.
    pub(crate) fn on_sync(&self, call: Option<OnSync>) {
        self.world().on_sync = call;
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.world().syncs
    }

    /// The machine loses power: of what was not synced, only the sectors that `keep` picks (file, sector) are there.
    pub(crate) fn power_cut(&self, keep: impl Fn(&Path, usize) -> bool) {
        let mut world = self.world();
        world.names = world.durable_names.clone();
        world.locks.clear();
        for (path, file) in &world.names {
            let mut file = file.lock().unwrap();
            let mut after = file.durable.clone();
            for (sector, part) in file.cached.chunks(SECTOR).enumerate() {
                if keep(path, sector) {
                    let at = sector * SECTOR;
                    after.resize(after.len().max(at + part.len()), 0);
                    after[at..at + part.len()].copy_from_slice(part);
                }
            }
            *file = Content { cached: after.clone(), durable: after };
        }
    }

    /// The process is killed: what is in the cache stays there, synced or not.
    pub(crate) fn kill_process(&self) {
        self.world().locks.clear();
    }

    /// Bytes of a file, as a reader sees them.
    pub(crate) fn bytes(&self, path: &Path) -> Vec<u8> {
        self.world().names[path].lock().unwrap().cached.clone()
    }

    /// Changes bytes behind everybody's back, durably.
    pub(crate) fn tamper(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let file = Arc::clone(&self.world().names[path]);
        let mut file = file.lock().unwrap();
        let Content { cached, durable } = &mut *file;
        change(cached);
        durable.clone_from(cached);
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let world = self.world();
        world.names.keys().map(|p| p.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    }

    /// Another handle on the same disk.
    pub(crate) fn same(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    /// Whether the fault told of has come.
    pub(crate) fn fault_is_used(&self) -> bool {
        self.world().fail.is_none()
    }

    /// An independent copy with both what is cached and what is durable, with no locks and no faults.
    pub(crate) fn copy_durably(&self) -> Self {
        let world = self.world();
        let mut files: Vec<(Shared, Shared)> = Vec::new();
        let mut copy_of = |file: &Shared| match files.iter().find(|(old, _)| Arc::ptr_eq(old, file)) {
            Some((_, copy)) => Arc::clone(copy),
            None => {
                let copy = Arc::new(Mutex::new(file.lock().unwrap().clone()));
                files.push((Arc::clone(file), Arc::clone(&copy)));
                copy
            }
        };
        let names = world.names.iter().map(|(path, file)| (path.clone(), copy_of(file))).collect();
        let durable_names =
            world.durable_names.iter().map(|(path, file)| (path.clone(), copy_of(file))).collect();
        let copy = World { names, durable_names, dirs: world.dirs.clone(), ..World::default() };
        Self(Arc::new(Mutex::new(copy)))
    }

    /// An independent copy of everything, as cached, with no locks and no faults.
    pub(crate) fn copy(&self) -> Self {
        let world = self.world();
        let names: BTreeMap<_, _> = world
            .names
            .iter()
            .map(|(path, file)| {
                let cached = file.lock().unwrap().cached.clone();
                (path.clone(), Arc::new(Mutex::new(Content { durable: cached.clone(), cached })))
            })
            .collect();
        let copy =
            World { durable_names: names.clone(), names, dirs: world.dirs.clone(), ..World::default() };
        Self(Arc::new(Mutex::new(copy)))
    }
}

#[derive(Debug)]
struct TestFile {
    content: Shared,
    world: Arc<Mutex<World>>,
    access: Access,
}

impl Disk for TestDisk {
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let content = self.world().names.get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(TestFile { content, world: Arc::clone(&self.0), access }))
    }

    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.world();
        if world.names.contains_key(path) || world.dirs.contains(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let content = Shared::default();
        world.names.insert(path.to_owned(), Arc::clone(&content));
        Ok(Arc::new(TestFile { content, world: Arc::clone(&self.0), access: Access::ReadWrite }))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.passes(Op::SyncDir)?;
        let inside = |path: &PathBuf| path.parent() == Some(dir);
        world.durable_names.retain(|path, _| !inside(path));
        let now: Vec<_> =
            world.names.iter().filter(|(p, _)| inside(p)).map(|(p, f)| (p.clone(), f.clone())).collect();
        world.durable_names.extend(now);
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        let file = world.names.get(from).cloned().ok_or(io::ErrorKind::NotFound)?;
        if world.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        world.names.insert(to.to_owned(), file);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        let file = world.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        world.names.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.world().names.remove(path).map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        if self.world().dirs.insert(path.to_owned()) {
            Ok(())
        } else {
            Err(io::ErrorKind::AlreadyExists.into())
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DiskEntry>> {
        let world = self.world();
        if !world.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = world.names.iter().filter(|(path, _)| path.parent() == Some(dir));
        let entry = |(path, file): (&PathBuf, &Shared)| DiskEntry {
            name: path.file_name().unwrap().to_owned(),
            kind: FileKind::File,
            len: file.lock().unwrap().cached.len() as u64,
        };
        Ok(inside.map(entry).collect())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        if !self.world().locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(TestLock(path.to_owned(), Arc::clone(&self.0))))
    }

    fn free_bytes(&self, _: &Path) -> io::Result<Option<u64>> {
        let world = self.world();
        Ok(world.limit.map(|limit| limit.saturating_sub(world.used()) as u64))
    }
}

impl DiskFile for TestFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.access == Access::Read {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let end = usize::try_from(offset).unwrap() + bytes.len();
        let mut world = self.world.lock().unwrap();
        world.passes(Op::Write)?;
        let grows = end.saturating_sub(self.content.lock().unwrap().cached.len());
        if grows > 0 && world.limit.is_some_and(|limit| world.used() + grows > limit) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let cached = &mut self.content.lock().unwrap().cached;
        let len = cached.len().max(end);
        cached.resize(len, 0);
        cached[end - bytes.len()..end].copy_from_slice(bytes);
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = self.content.lock().unwrap();
        let rest = content.cached.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.content.lock().unwrap().cached.len() as u64)
    }

    fn sync(&self) -> io::Result<()> {
        let on_sync = self.world.lock().unwrap().on_sync.clone();
        if let Some(call) = on_sync {
            call(); // without the lock: it may take its time
        }
        let mut world = self.world.lock().unwrap();
        world.passes(Op::Sync)?; // a failed sync forgets that the pages are dirty: the next one succeeds and does nothing
        world.syncs += 1;
        let mut content = self.content.lock().unwrap();
        content.durable = content.cached.clone();
        Ok(())
    }
}

#[derive(Debug)]
struct TestLock(PathBuf, Arc<Mutex<World>>);

impl DiskLock for TestLock {}

impl Drop for TestLock {
    fn drop(&mut self) {
        self.1.lock().unwrap().locks.remove(&self.0);
    }
}
