//! Which chunks need not be stored again.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, OnceLock, PoisonError};

use rpo_core::SourceId;
use rpo_crypto::ChunkId;
use rpo_storage::Key;
use tokio::runtime::Handle;

use crate::CheckpointError;
use crate::chunk::ChunkSet;
use crate::index::{IndexOwner, PackRecord};
use crate::locate::{Committed, each_index};
use crate::pack::PackId;
use crate::store::Store;

/// The chunks that are stored, or being stored by this run. Reads indexes when first asked, and not before: a run that
/// finds nothing changed needs none.
pub(crate) struct Known {
    store: Store,
    handle: Handle,
    session: (SourceId, u64),
    loading: Mutex<()>,
    loaded: OnceLock<Loaded>,
}

struct Loaded {
    chunks: ChunkSet,
    /// Chunks of packs whose session never committed, sorted, with the position of their pack.
    orphans: Vec<(ChunkId, u32)>,
    orphan_packs: Vec<(Key, PackId)>,
    adopted: Mutex<BTreeSet<u32>>,
}

impl Known {
    pub(crate) fn new(store: Store, handle: Handle, session: (SourceId, u64)) -> Self {
        Self { store, handle, session, loading: Mutex::new(()), loaded: OnceLock::new() }
    }

    /// True if the caller is to store the chunk: it is neither stored nor taken on by anybody else in this run.
    /// Blocks while indexes are read: for worker threads.
    pub(crate) fn claim(&self, id: ChunkId) -> Result<bool, CheckpointError> {
        let loaded = self.loaded()?;
        if !loaded.chunks.insert(id) {
            return Ok(false);
        }
        match loaded.orphans.binary_search_by(|(orphan, _)| orphan.cmp(&id)) {
            Err(_) => Ok(true),
            Ok(at) => {
                let pack = loaded.orphans[at].1;
                loaded.adopted.lock().unwrap_or_else(PoisonError::into_inner).insert(pack);
                Ok(false)
            }
        }
    }

    fn loaded(&self) -> Result<&Loaded, CheckpointError> {
        if let Some(loaded) = self.loaded.get() {
            return Ok(loaded);
        }
        let _one_at_a_time = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if self.loaded.get().is_none() {
            let loaded = self.handle.block_on(self.load())?;
            let _ = self.loaded.set(loaded); // nobody else is here
        }
        Ok(self.loaded.get().expect("set just now"))
    }

    async fn load(&self) -> Result<Loaded, CheckpointError> {
        let chunks = ChunkSet::new();
        let mut committed = Committed::default();
        let own = IndexOwner::Session(self.session.0.clone(), self.session.1);
        // Which owners count is asked first, by listing; indexes are read after.
        let mut trusted = HashMap::new();
        for meta in self.store.list("indexes/").await? {
            if let Some((owner, _)) = crate::index::owner_of(&meta.key) {
                let yes = committed.of(&self.store, &owner).await?;
                trusted.insert(owner, yes);
            }
        }
        let mut orphan_records: Vec<(Key, PackId, Vec<ChunkId>)> = Vec::new();
        let damaged = each_index(&self.store, |key, owner, records| {
            if *owner == own {
                return;
            }
            for record in records {
                let ids =
                    record.table.frames.iter().flat_map(|frame| frame.chunks.iter().map(|chunk| chunk.id));
                if trusted.get(owner) == Some(&true) {
                    for id in ids {
                        chunks.insert(id);
                    }
                } else {
                    let ids = ids.collect();
                    orphan_records.push((key.clone(), record.pack, ids));
                }
            }
        })
        .await?;
        for (object, error) in damaged {
            tracing::warn!(object, %error, "an index cannot be used; what only it names is stored again");
        }
        let mut orphans = Vec::new();
        let mut orphan_packs = Vec::new();
        for (key, pack, ids) in orphan_records {
            if !self.store.repository.exists(&pack.key()).await? {
                continue;
            }
            orphans.extend(ids.into_iter().map(|id| (id, orphan_packs.len() as u32)));
            orphan_packs.push((key, pack));
        }
        orphans.sort_unstable();
        orphans.dedup_by_key(|(id, _)| *id);
        Ok(Loaded { chunks, orphans, orphan_packs, adopted: Mutex::new(BTreeSet::new()) })
    }

    /// Packs of sessions that never committed, of which this run uses chunks: they must go on its index and bill.
    pub(crate) async fn adopted(&self) -> Result<Vec<PackRecord>, CheckpointError> {
        let Some(loaded) = self.loaded.get() else { return Ok(Vec::new()) };
        let adopted = loaded.adopted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut records = Vec::new();
        for (key, pack) in adopted.into_iter().map(|at| &loaded.orphan_packs[at as usize]) {
            let read = crate::locate::read_index(&self.store, key).await?.unwrap_or_default();
            let record = read.into_iter().find(|record| record.pack == *pack);
            records
                .push(record.ok_or_else(|| CheckpointError::object(key, "it is gone while it was in use"))?);
        }
        Ok(records)
    }
}
