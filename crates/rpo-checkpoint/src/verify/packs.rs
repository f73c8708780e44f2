//! Checking packs, each once: those that checkpoints need, and those on bills of committed sessions.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rpo_core::ErrorKind;
use rpo_crypto::ChunkId;
use tokio::runtime::Handle;

use super::Depth;
use super::ledger::Billed;
use crate::CheckpointError;
use crate::board::Board;
use crate::damage::Bad;
use crate::locate::Located;
use crate::pack::{PACK_BYTES_MAX, PackId};
use crate::progress::{Phase, Progressed};
use crate::store::{Store, unpack_frame};

/// What checking packs found.
#[derive(Default)]
pub(super) struct Found {
    /// Chunks that are bad.
    pub(super) chunks: HashMap<ChunkId, Arc<Bad>>,
    /// Packs that are bad, whoever needs them.
    pub(super) objects: Vec<Arc<Bad>>,
    pub(super) packs: u64,
    pub(super) read_bytes: u64,
}

/// One pack to be checked.
struct Task {
    id: PackId,
    billed: Option<Billed>,
    /// Where it is in [`Located::packs`], if a checkpoint needs it.
    located: Option<usize>,
    /// Needed chunks in it: positions in [`Located::needed`].
    chunks: Vec<u32>,
}

/// Checks packs on several threads.
pub(super) struct PackChecks<'a> {
    pub(super) store: &'a Store,
    pub(super) handle: &'a Handle,
    pub(super) board: &'a Board,
    pub(super) threads: usize,
    pub(super) depth: Depth,
    pub(super) located: &'a Located,
}

impl PackChecks<'_> {
    pub(super) fn run(&self, billed: &HashMap<PackId, Billed>) -> Result<Found, CheckpointError> {
        let tasks = self.tasks(billed);
        let next = AtomicUsize::new(0);
        let found = Mutex::new(Found { packs: tasks.len() as u64, ..Found::default() });
        let work = || -> Result<(), CheckpointError> {
            while let Some(task) = tasks.get(next.fetch_add(1, Relaxed)) {
                self.board.check()?;
                let of_pack = match self.depth {
                    Depth::Exists => self.stat(task)?,
                    Depth::ReadAll => self.read(task)?,
                };
                let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                found.chunks.extend(of_pack.chunks);
                found.objects.extend(of_pack.objects);
                found.read_bytes += of_pack.read_bytes;
                let (done, total) = (next.load(Relaxed).min(tasks.len()) as u64, Some(tasks.len() as u64));
                self.board.update(Progressed { phase: Phase::Verify, done, total, bytes: found.read_bytes });
            }
            Ok(())
        };
        let mut result = Ok(());
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads.min(tasks.len())).map(|_| scope.spawn(work)).collect();
            for thread in threads {
                let done =
                    thread.join().unwrap_or_else(|_| Err(CheckpointError::Worker("it panicked".to_owned())));
                if result.is_ok() {
                    result = done;
                }
            }
        });
        result?;
        Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn tasks(&self, billed: &HashMap<PackId, Billed>) -> Vec<Task> {
        let mut tasks: Vec<Task> = Vec::with_capacity(self.located.packs.len());
        for (at, pack) in self.located.packs.iter().enumerate() {
            let billed = billed.get(&pack.id).copied();
            tasks.push(Task { id: pack.id, billed, located: Some(at), chunks: Vec::new() });
        }
        for (at, place) in self.located.places.iter().enumerate() {
            if let Some(place) = place {
                tasks[place.pack as usize].chunks.push(at as u32);
            }
        }
        let needed: std::collections::HashSet<PackId> =
            self.located.packs.iter().map(|pack| pack.id).collect();
        let mut unneeded: Vec<_> = billed.iter().filter(|(id, _)| !needed.contains(*id)).collect();
        unneeded.sort_unstable_by_key(|(id, _)| **id);
        tasks.extend(unneeded.into_iter().map(|(id, billed)| Task {
            id: *id,
            billed: Some(*billed),
            located: None,
            chunks: Vec::new(),
        }));
        tasks
    }

    fn stat(&self, task: &Task) -> Result<Found, CheckpointError> {
        let key = task.id.key();
        match self.handle.block_on(self.store.repository.storage().stat(&key)) {
            Ok(meta) => {
                Ok(self.length(task, meta.len).map_or_else(Found::default, |bad| self.all(task, bad)))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(self.all(task, Bad::absent(&key))),
            Err(error) => Err(error.into()),
        }
    }

    fn length(&self, task: &Task, found: u64) -> Option<Bad> {
        let indexed = task.located.map(|at| self.located.packs[at].object_len);
        let mut stored = indexed.into_iter().chain(task.billed.map(|billed| billed.len));
        let stored = stored.find(|stored| *stored != found)?;
        let what = format!("it has {found} bytes, {stored} were stored");
        Some(Bad::new(task.id.key().as_str(), what, false))
    }

    /// Reads a pack whole; each frame that is needed is opened and each needed chunk hashed.
    fn read(&self, task: &Task) -> Result<Found, CheckpointError> {
        let key = task.id.key();
        let bytes = match self.handle.block_on(self.store.repository.get_bytes(&key, PACK_BYTES_MAX)) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(self.all(task, Bad::absent(&key))),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                return Ok(self.all(task, Bad::new(key.as_str(), error, false)));
            }
            Err(error) => return Err(error.into()),
        };
        let mut found = self.chunks(task, &bytes);
        found.read_bytes = bytes.len() as u64;
        // Rot in the table, in chunks nobody needs, or in the digest itself hits no file, and is told.
        let whole = match rpo_crypto::check_digest(key.as_str(), &bytes) {
            Err(error) => Some(Bad::new(key.as_str(), error, false)),
            Ok(sha256) => task
                .billed
                .filter(|billed| billed.sha256 != sha256)
                .map(|_| Bad::new(key.as_str(), "its SHA-256 is not the one on its bill", false)),
        };
        found.objects.extend(self.length(task, bytes.len() as u64).or(whole).map(Arc::new));
        Ok(found)
    }

    /// Opens what is needed of a pack.
    fn chunks(&self, task: &Task, bytes: &Bytes) -> Found {
        let key = task.id.key();
        let mut found = Found::default();
        let Some(pack) = task.located.map(|at| &self.located.packs[at]) else { return found };
        let opener = match self.store.opener(task.id, bytes) {
            Ok(opener) => opener,
            Err(error) => return self.all(task, Bad::of(key.as_str(), &error)),
        };
        let place =
            |at: &u32| self.located.places[*at as usize].map_or((0, 0), |place| (place.frame, place.offset));
        let mut chunks = task.chunks.clone();
        chunks.sort_by_key(place);
        let altered = Arc::new(Bad::new(key.as_str(), "a chunk in it is not what was stored", false));
        for same in chunks.chunk_by(|a, b| place(a).0 == place(b).0) {
            let spot = pack.frames[place(&same[0]).0 as usize];
            let sealed = bytes.get(spot.offset as usize..spot.range().end as usize);
            let cut_off = || CheckpointError::object(&key, "it is cut off");
            let frame =
                sealed.ok_or_else(cut_off).and_then(|sealed| unpack_frame(&opener, task.id, spot, sealed));
            let frame = frame.map_err(|error| Arc::new(Bad::of(key.as_str(), &error)));
            for at in same {
                let (id, len) = self.located.needed[*at as usize];
                let offset = place(at).1 as usize;
                let chunk = frame.as_ref().map(|frame| frame.get(offset..offset + len as usize));
                match chunk {
                    Ok(Some(chunk)) if self.store.chunk_id(chunk) == id => {}
                    Ok(_) => drop(found.chunks.insert(id, Arc::clone(&altered))),
                    Err(bad) => drop(found.chunks.insert(id, Arc::clone(bad))),
                }
            }
        }
        found
    }

    /// The pack is bad, and so is every chunk needed of it.
    fn all(&self, task: &Task, bad: Bad) -> Found {
        let bad = Arc::new(bad);
        let chunks = task.chunks.iter().map(|at| (self.located.needed[*at as usize].0, Arc::clone(&bad)));
        Found { chunks: chunks.collect(), objects: vec![bad], ..Found::default() }
    }
}
