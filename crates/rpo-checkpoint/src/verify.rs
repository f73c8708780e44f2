//! Verifying: does everything that checkpoints need exist, and is it what was stored?

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use rpo_core::ports::EntryKind;
use rpo_core::{CheckpointId, ErrorKind, SourceId};
use rpo_crypto::ChunkId;
use rpo_repository::layout;
use tokio::runtime::Handle;

use crate::CheckpointError;
use crate::board::Board;
use crate::checkpointer::Checkpointer;
use crate::damage::{Bad, Damage, DamageBook};
use crate::locate::Located;
use crate::manifest::{ManifestItem, ManifestRoot};
use crate::progress::{Cancel, Phase, Progress, Progressed};
use crate::store::{Store, unpack_frame};
use crate::stream::{ChainReader, ManifestReader};

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Depth {
    /// Manifests and indexes are read; packs are there, with the right length.
    Exists,
    /// Every pack is read whole, every chunk decrypted, decompressed and hashed again.
    ReadAll,
}

/// What verifying found.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Checkpoints looked at.
    pub checkpoints: u64,
    /// Different chunks they need, pieces of manifests included.
    pub chunks: u64,
    /// Packs that hold them.
    pub packs: u64,
    /// Bytes of packs read.
    pub read_bytes: u64,
    /// Each bad object with the files it hits.
    pub damage: Damage,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.damage.objects.is_empty()
    }
}

impl Checkpointer {
    /// Checks all checkpoints of `source`, or of every source. Stops at nothing: everything bad is in the report.
    ///
    /// # Errors
    /// Only where the store cannot be asked; what is missing or damaged is in the report.
    pub async fn verify(
        &self,
        source: Option<&SourceId>,
        depth: Depth,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<VerifyReport, CheckpointError> {
        let sources = match source {
            Some(source) => vec![source.clone()],
            None => self.sources().await?,
        };
        let mut roots = Vec::new();
        for source in &sources {
            roots.extend(self.roots(source).await?);
        }
        let board = Board::new(cancel);
        let verifier = Verifier {
            store: self.store.clone(),
            handle: Handle::current(),
            board: Arc::clone(&board),
            threads: self.options.worker_count(),
            damage: DamageBook::default(),
        };
        board.blocking(progress, move || verifier.run(roots, depth)).await
    }
}

struct Verifier {
    store: Store,
    handle: Handle,
    board: Arc<Board>,
    threads: usize,
    damage: DamageBook,
}

/// What checking packs found.
#[derive(Default)]
struct Found {
    /// Chunks that are bad.
    chunks: HashMap<ChunkId, Bad>,
    /// Objects that are bad where no content needs them.
    objects: Vec<Bad>,
    read_bytes: u64,
}

impl Verifier {
    fn run(
        mut self,
        roots: Vec<(CheckpointId, Result<ManifestRoot, CheckpointError>)>,
        depth: Depth,
    ) -> Result<VerifyReport, CheckpointError> {
        let mut report = VerifyReport { checkpoints: roots.len() as u64, ..VerifyReport::default() };
        let mut readable: BTreeMap<CheckpointId, ManifestRoot> = BTreeMap::new();
        for (id, root) in roots {
            match root {
                Ok(root) => drop(readable.insert(id, root)),
                Err(error) => {
                    let key = layout::checkpoint(&id.source, id.number);
                    self.note_manifest(key.as_str(), &error, &id);
                }
            }
        }
        let mut needed = Vec::new();
        for (id, root) in &readable {
            self.board.check()?;
            if let Err(error) = self.collect(root, &mut needed) {
                if !error.is_damage() {
                    return Err(error);
                }
                self.note_manifest(&object_of(&error), &error, id);
            }
        }
        self.check_chains(&readable);
        needed.sort_unstable();
        needed.dedup();
        report.chunks = needed.len() as u64;
        let located = self.handle.block_on(Located::find(&self.store, needed))?;
        report.packs = located.packs.len() as u64;
        for (object, error) in &located.unusable {
            self.damage.note(&Bad::of(object.as_str(), error));
        }
        let found = self.check_packs(&located, depth)?;
        report.read_bytes = found.read_bytes;
        for bad in found.objects.iter().chain(found.chunks.values()) {
            self.damage.note(bad);
        }
        if !found.chunks.is_empty() {
            self.name_affected(&readable, &found.chunks)?;
        }
        report.damage = self.damage.finish();
        Ok(report)
    }

    /// Adds the chunks that a manifest needs, its own pieces included.
    fn collect(&self, root: &ManifestRoot, needed: &mut Vec<(ChunkId, u32)>) -> Result<(), CheckpointError> {
        needed.extend(root.pieces.iter().map(|piece| (piece.id, piece.len)));
        let mut manifest = ManifestReader::open(&self.handle, &self.store, root);
        let mut compact_at = (needed.len() * 2).max(1 << 20);
        while let Some(item) = manifest.next()? {
            if let ManifestItem::Entry(stored) = item {
                needed.extend(
                    stored.chunks.iter().filter(|chunk| !chunk.is_zero()).map(|chunk| (chunk.id, chunk.len)),
                );
            }
            if needed.len() > compact_at {
                needed.sort_unstable();
                needed.dedup();
                compact_at = (needed.len() * 2).max(1 << 20);
                self.board.check()?;
            }
        }
        Ok(())
    }

    /// A checkpoint whose parent cannot be read cannot be restored.
    fn check_chains(&mut self, readable: &BTreeMap<CheckpointId, ManifestRoot>) {
        for (id, root) in readable {
            let mut at = root;
            while !at.info.kind.is_self_contained() {
                let Some(parent) = &at.info.parent else { break };
                match readable.get(parent) {
                    Some(root) if parent.number < at.info.id.number => at = root,
                    _ => {
                        let key = layout::checkpoint(&parent.source, parent.number);
                        let bad =
                            Bad::new(key.as_str(), "a manifest that others build on is not there", true);
                        self.damage.hit(&bad, id, "manifest");
                        break;
                    }
                }
            }
        }
    }

    fn note_manifest(&mut self, object: &str, error: &CheckpointError, id: &CheckpointId) {
        self.damage.hit(&Bad::of(object, error), id, "manifest");
    }

    /// Checks packs on several threads.
    fn check_packs(&self, located: &Located, depth: Depth) -> Result<Found, CheckpointError> {
        let mut by_pack: Vec<Vec<u32>> = vec![Vec::new(); located.packs.len()];
        let mut found = Found::default();
        for (at, place) in located.places.iter().enumerate() {
            match place {
                Some(place) => by_pack[place.pack as usize].push(at as u32),
                None => {
                    let id = located.needed[at].0;
                    let bad = Bad::new(format!("chunk {id}"), "no index and no readable pack has it", true);
                    found.chunks.insert(id, bad);
                }
            }
        }
        let next = AtomicUsize::new(0);
        let total = Some(by_pack.len() as u64);
        let found = Mutex::new(found);
        let work = || -> Result<(), CheckpointError> {
            loop {
                let pack = next.fetch_add(1, Relaxed);
                let Some(chunks) = by_pack.get(pack) else { return Ok(()) };
                self.board.check()?;
                let of_pack = match depth {
                    Depth::Exists => self.pack_exists(located, pack, chunks)?,
                    Depth::ReadAll => self.read_pack(located, pack, chunks)?,
                };
                let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                found.chunks.extend(of_pack.chunks);
                found.objects.extend(of_pack.objects);
                found.read_bytes += of_pack.read_bytes;
                let (done, bytes) = ((pack + 1) as u64, found.read_bytes);
                self.board.update(Progressed { phase: Phase::Verify, done, total, bytes });
            }
        };
        let mut result = Ok(());
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads.min(by_pack.len())).map(|_| scope.spawn(work)).collect();
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

    fn pack_exists(&self, located: &Located, pack: usize, chunks: &[u32]) -> Result<Found, CheckpointError> {
        let pack = &located.packs[pack];
        let key = pack.id.key();
        let bad = match self.handle.block_on(self.store.repository.storage().stat(&key)) {
            Ok(meta) if meta.len == pack.object_len => return Ok(Found::default()),
            Ok(meta) => {
                let what = format!("it has {} bytes, {} were stored", meta.len, pack.object_len);
                Bad::new(key.as_str(), what, false)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Bad::new(key.as_str(), error, true),
            Err(error) => return Err(error.into()),
        };
        Ok(Found::all(located, chunks, &bad))
    }

    /// Reads a pack whole; each frame that is needed is opened and each needed chunk hashed.
    fn read_pack(&self, located: &Located, pack: usize, chunks: &[u32]) -> Result<Found, CheckpointError> {
        let pack = &located.packs[pack];
        let key = pack.id.key();
        let all_bad = |bad: Bad| Ok(Found::all(located, chunks, &bad));
        let bytes =
            match self.handle.block_on(self.store.repository.get_bytes(&key, crate::pack::PACK_BYTES_MAX)) {
                Ok(Some(bytes)) => bytes,
                Ok(None) => return all_bad(Bad::new(key.as_str(), "it is not there", true)),
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    return all_bad(Bad::new(key.as_str(), error, false));
                }
                Err(error) => return Err(error.into()),
            };
        let opener = match self.store.opener(pack.id, &bytes) {
            Ok(opener) => opener,
            Err(error) => return all_bad(Bad::of(key.as_str(), &error)),
        };
        let mut found = Found { read_bytes: bytes.len() as u64, ..Found::default() };
        let mut chunks = chunks.to_vec();
        let place =
            |at: &u32| located.places[*at as usize].map_or((0, 0), |place| (place.frame, place.offset));
        chunks.sort_by_key(place);
        for same in chunks.chunk_by(|a, b| place(a).0 == place(b).0) {
            let spot = pack.frames[place(&same[0]).0 as usize];
            let sealed = bytes.get(spot.offset as usize..spot.range().end as usize);
            let cut_off = || CheckpointError::object(&key, "it is cut off");
            let frame =
                sealed.ok_or_else(cut_off).and_then(|sealed| unpack_frame(&opener, pack.id, spot, sealed));
            let frame = frame.map_err(|error| Bad::of(key.as_str(), &error));
            for at in same {
                let (id, len) = located.needed[*at as usize];
                let offset = place(at).1 as usize;
                let chunk = frame.as_ref().map(|frame| frame.get(offset..offset + len as usize));
                match chunk {
                    Ok(Some(chunk)) if self.store.chunk_id(chunk) == id => {}
                    Ok(_) => {
                        let bad = Bad::new(key.as_str(), "a chunk in it is not what was stored", false);
                        found.chunks.insert(id, bad);
                    }
                    Err(bad) => drop(found.chunks.insert(id, bad.clone())),
                }
            }
        }
        // Rot in the table, in chunks nobody needs, or in the digest itself hits no file, and is told.
        if let Err(error) = rpo_crypto::check_digest(key.as_str(), &bytes) {
            found.objects.push(Bad::new(key.as_str(), error, false));
        }
        Ok(found)
    }

    /// Reads the manifests once more, for the files that bad chunks hit.
    fn name_affected(
        &mut self,
        readable: &BTreeMap<CheckpointId, ManifestRoot>,
        bad: &HashMap<ChunkId, Bad>,
    ) -> Result<(), CheckpointError> {
        for (id, root) in readable {
            for piece in &root.pieces {
                if let Some(bad) = bad.get(&piece.id) {
                    self.damage.hit(bad, id, "manifest");
                }
            }
            let mut chain = vec![root.clone()];
            while let Some(parent) = chain.last().and_then(|last| last.info.parent.as_ref()) {
                match readable.get(parent) {
                    Some(root) if chain.len() <= readable.len() => chain.push(root.clone()),
                    _ => break,
                }
            }
            let mut entries = ChainReader::open(&self.handle, &self.store, &chain);
            // A manifest that cannot be read was noted when it was collected.
            while let Ok(Some(stored)) = entries.next() {
                self.board.check()?;
                if stored.entry.kind != EntryKind::File {
                    continue;
                }
                for chunk in &stored.chunks {
                    if let Some(bad) = bad.get(&chunk.id) {
                        self.damage.hit(bad, id, &stored.entry.path);
                    }
                }
            }
        }
        Ok(())
    }
}

impl Found {
    /// Every one of `chunks` is bad for the same reason.
    fn all(located: &Located, chunks: &[u32], bad: &Bad) -> Self {
        let chunks = chunks.iter().map(|at| (located.needed[*at as usize].0, bad.clone()));
        Self { chunks: chunks.collect(), ..Self::default() }
    }
}

/// The object an error is about, as far as it says.
fn object_of(error: &CheckpointError) -> String {
    match error {
        CheckpointError::Object { object, .. } => object.clone(),
        CheckpointError::Storage(rpo_storage::StorageError::NotFound { key, .. }) => key.to_string(),
        other => other.to_string(),
    }
}
