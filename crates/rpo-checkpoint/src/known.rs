//! Which chunks need not be stored again.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures::StreamExt;
use rpo_core::SourceId;
use rpo_crypto::ChunkId;
use rpo_storage::Key;
use tokio::runtime::Handle;

use crate::CheckpointError;
use crate::chunk::ChunkSet;
use crate::index::{IndexOwner, PackRecord, owner_of};
use crate::locate::{READS_AT_ONCE, has_manifest, read_index};
use crate::pack::PackId;
use crate::store::Store;

/// What committed indexes said, kept between the checkpoints of one program: each index is read once.
#[derive(Debug, Default)]
pub(crate) struct KnownCache(tokio::sync::Mutex<Cached>);

#[derive(Debug, Default)]
struct Cached {
    indexes: HashSet<Key>,
    /// The packs they named, as they were listed then.
    packs: HashMap<Key, u64>,
    chunks: Option<Arc<ChunkSet>>,
}

/// The chunks that are stored, or being stored by this run. Reads indexes when first asked, and not before: a run that
/// finds nothing changed needs none.
pub(crate) struct Known {
    store: Store,
    handle: Handle,
    session: (SourceId, u64),
    cache: Arc<KnownCache>,
    loading: Mutex<()>,
    loaded: OnceLock<Loaded>,
}

struct Loaded {
    /// Chunks of committed sessions.
    committed: Arc<ChunkSet>,
    /// Chunks that this run has asked for and that are not committed.
    claimed: ChunkSet,
    /// Chunks of packs whose session never committed, sorted, with the position of their pack.
    orphans: Vec<(ChunkId, u32)>,
    orphan_packs: Vec<(Key, PackId)>,
    adopted: Mutex<BTreeSet<u32>>,
}

impl Known {
    pub(crate) fn new(
        store: Store,
        handle: Handle,
        session: (SourceId, u64),
        cache: Arc<KnownCache>,
    ) -> Self {
        Self { store, handle, session, cache, loading: Mutex::new(()), loaded: OnceLock::new() }
    }

    /// True if the caller is to store the chunk: it is neither stored nor taken on by anybody else in this run.
    /// Blocks while indexes are read: for worker threads.
    pub(crate) fn claim(&self, id: ChunkId) -> Result<bool, CheckpointError> {
        let loaded = self.loaded()?;
        if loaded.committed.contains(&id) || !loaded.claimed.insert(id) {
            return Ok(false);
        }
        match loaded.orphans.binary_search_by(|(orphan, _)| orphan.cmp(&id)) {
            Err(_) => Ok(true),
            Ok(at) => {
                #[cfg(feature = "planted-bugs")]
                if crate::planted::is_on(crate::planted::Bug::UsesPacksOfNobody) {
                    return Ok(false);
                }
                let pack = loaded.orphans[at].1;
                loaded.adopted.lock().unwrap_or_else(PoisonError::into_inner).insert(pack);
                Ok(false)
            }
        }
    }

    /// True if a committed session stored the chunk and its pack is still there. Blocks as [`claim`](Self::claim) does.
    pub(crate) fn is_there(&self, id: &ChunkId) -> Result<bool, CheckpointError> {
        Ok(self.loaded()?.committed.contains(id))
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
        let own = IndexOwner::Session(self.session.0.clone(), self.session.1);
        let listed = self.store.list("indexes/").await?;
        let there: HashSet<Key> = listed.into_iter().map(|meta| meta.key).collect();
        // Indexes say what was stored; only a listing says that it still is. A pack that is gone, cut off or not listed
        // yet is not built upon: its chunks are stored again, and what lost them can be restored once more.
        let packs = self.store.list("packs/").await?;
        let packs: HashMap<Key, u64> = packs.into_iter().map(|meta| (meta.key, meta.len)).collect();
        let mut cached = self.cache.0.lock().await;
        let packs_stand = cached.packs.iter().all(|(key, len)| packs.get(key) == Some(len));
        if !cached.indexes.is_subset(&there) || !packs_stand {
            *cached = Cached::default(); // something went: what only it named or held may be gone, too
        }
        let committed = Arc::clone(cached.chunks.get_or_insert_with(|| Arc::new(ChunkSet::new())));
        let new = there.into_iter().filter(|key| !cached.indexes.contains(key)).collect::<Vec<_>>();
        let new = new
            .into_iter()
            .filter_map(|key| Some((owner_of(&key)?.0, key)))
            .filter(|(owner, _)| *owner != own);
        let mut reads = futures::stream::iter(new)
            .map(|(owner, key)| async move { self.read(&owner, &key).await.map(|read| (key, read)) })
            .buffer_unordered(READS_AT_ONCE);
        let mut orphans = Vec::new();
        let mut orphan_packs = Vec::new();
        while let Some(read) = reads.next().await {
            let (key, Some((is_committed, records))) = read? else { continue };
            for record in records {
                let pack = record.pack.key();
                if packs.get(&pack) != Some(&record.object_len) {
                    tracing::warn!(%pack, "a pack is not what its index says: its chunks are stored again where they are met");
                    continue;
                }
                let ids =
                    record.table.frames.iter().flat_map(|frame| frame.chunks.iter().map(|chunk| chunk.id));
                if is_committed {
                    ids.for_each(|id| {
                        committed.insert(id);
                    });
                    cached.packs.insert(pack, record.object_len);
                } else {
                    orphans.extend(ids.map(|id| (id, orphan_packs.len() as u32)));
                    orphan_packs.push((key.clone(), record.pack));
                }
            }
            if is_committed {
                cached.indexes.insert(key);
            }
        }
        orphans.sort_unstable();
        orphans.dedup_by_key(|(id, _)| *id);
        let adopted = Mutex::new(BTreeSet::new());
        Ok(Loaded { committed, claimed: ChunkSet::new(), orphans, orphan_packs, adopted })
    }

    /// An index, and whether its owner has committed (which is asked first). `None` if it cannot be used: what only it
    /// names is stored again.
    async fn read(
        &self,
        owner: &IndexOwner,
        key: &Key,
    ) -> Result<Option<(bool, Vec<PackRecord>)>, CheckpointError> {
        let committed = match owner {
            IndexOwner::Rebuilt(_) => false,
            IndexOwner::Session(source, number) => has_manifest(&self.store, source, *number).await?,
        };
        match read_index(&self.store, key).await {
            Ok(records) => Ok(records.map(|records| (committed, records))),
            Err(error) if error.is_damage() => {
                tracing::warn!(object = %key, %error, "an index cannot be used; what only it names is stored again");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Packs of sessions that never committed, of which this run uses chunks: they must go on its index and bill.
    pub(crate) async fn adopted(&self) -> Result<Vec<PackRecord>, CheckpointError> {
        let Some(loaded) = self.loaded.get() else { return Ok(Vec::new()) };
        let adopted = loaded.adopted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut records = Vec::new();
        for (key, pack) in adopted.into_iter().map(|at| &loaded.orphan_packs[at as usize]) {
            let read = read_index(&self.store, key).await?.unwrap_or_default();
            let record = read.into_iter().find(|record| record.pack == *pack);
            records
                .push(record.ok_or_else(|| CheckpointError::object(key, "it is gone while it was in use"))?);
        }
        Ok(records)
    }
}
