//! The spool: sealed batches on the local disk until enough copies have them.
//!
//! A batch is in the spool, durably, before the first copy sees a byte of it; the newest one stays until a newer one is
//! durable. So a restarted shipper sends the same bytes under the same numbers.

mod origin;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rpo_core::ports::{Access, DiskLock, FileKind};
use rpo_core::{Disk, Epoch, Position, StreamId, Timestamp};
use rpo_crypto::KeyRing;

pub use self::origin::Origin;
use crate::ReplicationError;
use crate::batch::{BatchHead, Digest};
use crate::names::hex_number;
use crate::object::{ArchiveObject, OBJECT_BYTES_MAX, Place, open_object};

const ORIGIN: &str = "origin";
const BATCH_SUFFIX: &str = ".batch";
const TEMPORARY: &str = "tmp-";

/// What the shipper must know of the last batch to make the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tip {
    /// Its number; 0 if there is none yet.
    pub number: u64,
    /// SHA-256 of it as stored.
    pub digest: Digest,
    /// Where its frames end.
    pub position: Position,
    /// Chain value of its last frame.
    pub chain: u32,
    /// Commit time of its last frame; the earliest there is if that binds nothing.
    pub time: Timestamp,
    /// Number of the newest gap up to here in this epoch; 0 if there is none.
    pub newest_gap: u64,
}

impl Tip {
    /// What a batch with this head and digest leaves behind. An epoch start binds times as well: a new log is opened with
    /// the time of the last frame taken over as its floor, so that commit times never step back along a history.
    pub fn of(head: &BatchHead, digest: Digest) -> Self {
        Self {
            number: head.number,
            digest,
            position: head.to,
            chain: head.last_chain,
            time: head.last_time,
            newest_gap: head.newest_gap(),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Spooled {
    len: u64,
    tip: Tip,
}

#[derive(Debug, Default)]
struct State {
    origin: Option<Origin>,
    files: BTreeMap<u64, Spooled>,
    bytes: u64,
    /// The newest batch as it was made durable: most copies want just this one, and need not read it back.
    newest: Option<(u64, Bytes)>,
    /// A sync failed: what is durable is unknown until the directory is opened again.
    poisoned: bool,
}

/// One writer's spool, locked against a second one.
#[derive(Debug)]
pub struct Spool {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    state: Mutex<State>,
    _lock: Box<dyn DiskLock>,
}

impl Spool {
    /// Opens (creates, if need be) the spool of `stream` and `epoch` below `root`, whose parent must exist; checks every
    /// file, and writes the newest again so that it is durable whatever the last process saw.
    ///
    /// # Errors
    /// `Spool` of the device, kind `Busy` if another process has it; `SpoolDamaged` if a file is not what was written.
    pub fn open(
        disk: Arc<dyn Disk>,
        root: &Path,
        stream: &StreamId,
        epoch: Epoch,
        keys: &KeyRing,
    ) -> Result<Self, ReplicationError> {
        let dir = root.join(stream.as_str()).join(format!("{:08x}", epoch.get()));
        for path in [root, &root.join(stream.as_str()), &dir] {
            make_dir(&*disk, path)?;
        }
        let lock_path = dir.join("lock");
        let lock = disk.lock(&lock_path).map_err(|source| fault(&lock_path, "lock", source))?;
        let spool = Self { disk, dir, state: Mutex::default(), _lock: lock };
        spool.load(stream, epoch, keys)?;
        spool.settle_newest()?;
        Ok(spool)
    }

    fn load(&self, stream: &StreamId, epoch: Epoch, keys: &KeyRing) -> Result<(), ReplicationError> {
        let mut state = State::default();
        let entries = self.disk.list(&self.dir).map_err(|source| fault(&self.dir, "list", source))?;
        for entry in entries.iter().filter(|entry| entry.kind == FileKind::File) {
            let Some(name) = entry.name.to_str() else { continue };
            let path = self.dir.join(name);
            if name == ORIGIN {
                state.origin = Some(self.load_origin(&path, stream, epoch)?);
            } else if name.starts_with(TEMPORARY) {
                self.disk.remove(&path).map_err(|source| fault(&path, "remove", source))?;
            } else if let Some(number) = name.strip_suffix(BATCH_SUFFIX).and_then(|hex| hex_number(hex, 16)) {
                let spooled = self.load_batch(&path, Place { stream, epoch, number }, keys)?;
                state.files.insert(number, spooled);
            }
        }
        self.drop_leftovers(&mut state)?;
        *self.state() = state;
        Ok(())
    }

    fn load_origin(&self, path: &Path, stream: &StreamId, epoch: Epoch) -> Result<Origin, ReplicationError> {
        let damaged = |why: String| ReplicationError::SpoolDamaged { path: path.to_owned(), why };
        let origin = Origin::decode(&self.read_file(path)?).map_err(damaged)?;
        if origin.stream != *stream || origin.epoch != epoch {
            return Err(damaged(format!("it is of stream {}, epoch {}", origin.stream, origin.epoch)));
        }
        Ok(origin)
    }

    fn load_batch(&self, path: &Path, place: Place<'_>, keys: &KeyRing) -> Result<Spooled, ReplicationError> {
        let bytes = self.read_file(path)?;
        let damaged = |why: String| ReplicationError::SpoolDamaged { path: path.to_owned(), why };
        match open_object(keys, place, &bytes) {
            Ok(ArchiveObject::Batch(batch)) => {
                Ok(Spooled { len: bytes.len() as u64, tip: Tip::of(&batch.head, batch.digest) })
            }
            Ok(ArchiveObject::Fence(_)) => Err(damaged("it is a fence".to_owned())),
            Err(error) => Err(damaged(error.to_string())),
        }
    }

    /// The files up to the newest without a break; what stands before a break was released and came back in a crash, in
    /// which the removal of others was kept.
    fn drop_leftovers(&self, state: &mut State) -> Result<(), ReplicationError> {
        let Some((&newest, _)) = state.files.last_key_value() else { return Ok(()) };
        if state.origin.is_none() {
            let why = "it is missing while batches are there".to_owned();
            return Err(ReplicationError::SpoolDamaged { path: self.dir.join(ORIGIN), why });
        }
        let first =
            (1..=newest).rev().take_while(|number| state.files.contains_key(number)).last().unwrap_or(newest);
        let kept = state.files.split_off(&first);
        for number in std::mem::replace(&mut state.files, kept).into_keys() {
            let path = self.dir.join(file_name(number));
            self.disk.remove(&path).map_err(|source| fault(&path, "remove", source))?;
        }
        state.bytes = state.files.values().map(|spooled| spooled.len).sum();
        Ok(())
    }

    /// Writes the newest file again, under the same name: a restart may have read bytes that only the cache had.
    fn settle_newest(&self) -> Result<(), ReplicationError> {
        let newest = self.state().files.last_key_value().map(|(number, _)| *number);
        if let Some(number) = newest {
            let bytes = self.read_file(&self.dir.join(file_name(number)))?;
            self.write_file(&file_name(number), &bytes, true)?;
        }
        Ok(())
    }

    /// Where this spool's numbering begins; `None` before [`begin`](Self::begin).
    pub fn origin(&self) -> Option<Origin> {
        self.state().origin.clone()
    }

    /// Fixes where the numbering begins; durable on `Ok`.
    ///
    /// # Errors
    /// `Spool` of the device.
    pub fn begin(&self, origin: Origin) -> Result<(), ReplicationError> {
        self.write_file(ORIGIN, &origin.encode()?, true)?;
        self.state().origin = Some(origin);
        Ok(())
    }

    /// The newest batch made, or where the numbering begins.
    pub fn tip(&self) -> Option<Tip> {
        let state = self.state();
        let newest = state.files.last_key_value().map(|(_, spooled)| spooled.tip);
        newest.or_else(|| state.origin.as_ref().map(|origin| origin.tip))
    }

    /// What is known of batch `number`, if it is here.
    pub fn tip_of(&self, number: u64) -> Option<Tip> {
        self.state().files.get(&number).map(|spooled| spooled.tip)
    }

    /// Numbers here, and their bytes in all.
    pub fn extent(&self) -> (Option<std::ops::RangeInclusive<u64>>, u64) {
        let state = self.state();
        let ends = state.files.first_key_value().zip(state.files.last_key_value());
        (ends.map(|((first, _), (last, _))| *first..=*last), state.bytes)
    }

    /// Number and bytes of the newest batch here.
    pub(crate) fn newest(&self) -> Option<(u64, u64)> {
        self.state().files.last_key_value().map(|(number, spooled)| (*number, spooled.len))
    }

    /// Keeps a sealed batch; durable on `Ok`, and only then may a copy see it.
    ///
    /// # Errors
    /// `Spool` of the device; after a failed sync every call fails until the spool is opened again.
    pub fn append(&self, tip: Tip, bytes: &Bytes) -> Result<(), ReplicationError> {
        self.keep(tip, bytes, true)
    }

    /// As [`append`](Self::append); not `durable` is for tests of the tests alone.
    pub(crate) fn keep(&self, tip: Tip, bytes: &Bytes, durable: bool) -> Result<(), ReplicationError> {
        self.write_file(&file_name(tip.number), bytes, durable)?;
        let mut state = self.state();
        let len = bytes.len() as u64;
        state.files.insert(tip.number, Spooled { len, tip });
        state.bytes += len;
        state.newest = Some((tip.number, bytes.clone()));
        Ok(())
    }

    /// The sealed bytes of batch `number`; `None` if it is not here any more.
    ///
    /// # Errors
    /// `Spool` of the device; `SpoolDamaged` if the file is not what was written.
    pub fn read(&self, number: u64) -> Result<Option<Bytes>, ReplicationError> {
        let Some(spooled) = self.state().files.get(&number).copied() else { return Ok(None) };
        if let Some((_, bytes)) = self.state().newest.as_ref().filter(|(newest, _)| *newest == number) {
            return Ok(Some(bytes.clone()));
        }
        let path = self.dir.join(file_name(number));
        let bytes = match self.read_file(&path) {
            Ok(bytes) => bytes,
            // Released between the look and the read: the copies have it.
            Err(_) if !self.state().files.contains_key(&number) => return Ok(None),
            Err(error) => return Err(error),
        };
        if Digest::of(&bytes) != spooled.tip.digest {
            return Err(ReplicationError::SpoolDamaged { path, why: "its SHA-256 changed".to_owned() });
        }
        Ok(Some(bytes))
    }

    /// Removes batches up to `through`, oldest first, but never the newest; stops early once `enough(bytes)` says so.
    ///
    /// # Errors
    /// `Spool` of the device; what was removed before stays removed.
    pub fn release(&self, through: u64, enough: impl Fn(u64) -> bool) -> Result<(), ReplicationError> {
        loop {
            let number = {
                let state = self.state();
                match state.files.first_key_value() {
                    Some((&first, _))
                        if first <= through && state.files.len() > 1 && !enough(state.bytes) =>
                    {
                        first
                    }
                    _ => return Ok(()),
                }
            };
            let path = self.dir.join(file_name(number));
            self.disk.remove(&path).map_err(|source| fault(&path, "remove", source))?;
            let mut state = self.state();
            if let Some(spooled) = state.files.remove(&number) {
                state.bytes -= spooled.len;
            }
        }
    }

    /// Temporary file, sync, rename, sync of the directory.
    fn write_file(&self, name: &str, bytes: &[u8], durable: bool) -> Result<(), ReplicationError> {
        if self.state().poisoned {
            let source = io::Error::other(
                "an earlier sync failed; what is durable is unknown until the spool is opened again",
            );
            return Err(fault(&self.dir, "write", source));
        }
        let temporary = self.dir.join(format!("{TEMPORARY}{name}"));
        match self.disk.remove(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(fault(&temporary, "remove", error));
            }
            _ => {}
        }
        let file = self.disk.create_new(&temporary).map_err(|source| fault(&temporary, "create", source))?;
        file.write_at(bytes, 0).map_err(|source| fault(&temporary, "write", source))?;
        if durable {
            file.sync().map_err(|source| self.poison(&temporary, source))?;
        }
        let path = self.dir.join(name);
        self.disk.rename(&temporary, &path).map_err(|source| fault(&path, "rename", source))?;
        if durable {
            self.disk.sync_dir(&self.dir).map_err(|source| self.poison(&self.dir, source))?;
        }
        Ok(())
    }

    fn poison(&self, path: &Path, source: io::Error) -> ReplicationError {
        self.state().poisoned = true;
        fault(path, "sync", source)
    }

    fn read_file(&self, path: &Path) -> Result<Bytes, ReplicationError> {
        let file = self.disk.open(path, Access::Read).map_err(|source| fault(path, "open", source))?;
        let len = file.len().map_err(|source| fault(path, "measure", source))?;
        let too_long =
            || ReplicationError::SpoolDamaged { path: path.to_owned(), why: format!("it has {len} bytes") };
        if len > OBJECT_BYTES_MAX {
            return Err(too_long());
        }
        let mut bytes = vec![0; usize::try_from(len).map_err(|_| too_long())?];
        let read = file.read_at(&mut bytes, 0).map_err(|source| fault(path, "read", source))?;
        bytes.truncate(read);
        Ok(Bytes::from(bytes))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is complete before the guard is dropped: a panic elsewhere leaves no half of one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A directory that is there already may have been made just before a crash: its name is made durable all the same.
fn make_dir(disk: &dyn Disk, path: &Path) -> Result<(), ReplicationError> {
    match disk.create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(fault(path, "create", error));
        }
        _ => {}
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.map_or(Ok(()), |parent| disk.sync_dir(parent)).map_err(|source| fault(path, "sync", source))
}

fn file_name(number: u64) -> String {
    format!("{number:016x}{BATCH_SUFFIX}")
}

fn fault(path: &Path, op: &'static str, source: io::Error) -> ReplicationError {
    ReplicationError::Spool { path: path.to_owned(), op, source }
}
