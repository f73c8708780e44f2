//! Verifying: does everything that sessions, bills and checkpoints name exist, and is it what was stored?

mod cost;
mod ledger;
mod packs;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use rpo_core::{CheckpointId, SourceId};
use rpo_crypto::ChunkId;
use rpo_repository::{Receipt, layout};
use rpo_storage::Key;
use tokio::runtime::Handle;

use self::ledger::{Ledger, Reading};
use self::packs::PackChecks;
use crate::CheckpointError;
use crate::board::Board;
use crate::checkpointer::Checkpointer;
use crate::damage::{Bad, Damage, DamageBook, DamagedObject};
use crate::index::{self, IndexOwner, PackRecord};
use crate::locate::{Located, list_indexes};
use crate::manifest::{ManifestItem, ManifestRoot};
use crate::pack::PackId;
use crate::progress::{Cancel, Progress};
use crate::store::Store;
use crate::stream::{ManifestReader, Standing, load_standing};

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Depth {
    /// Session records, bills, manifests and indexes are read; packs are there, with the right length.
    Exists,
    /// Every pack is read whole, every chunk decrypted, decompressed and hashed again.
    ReadAll,
}

/// Which copy is looked at: only at home is a missing bill a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Home,
    Mirror,
}

/// What verifying found.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct VerifyReport {
    /// Checkpoints looked at.
    pub checkpoints: u64,
    /// Those of them that lack something which could not be captured: [`CheckpointInfo::lost`](crate::CheckpointInfo::lost).
    pub partial: u64,
    /// Sessions looked at: each is an attempt to make a checkpoint.
    pub sessions: u64,
    /// Bills read.
    pub bills: u64,
    /// Indexes read.
    pub indexes: u64,
    /// Different chunks that checkpoints need, pieces of manifests included.
    pub chunks: u64,
    /// Packs that hold them, or are named by bills of committed sessions.
    pub packs: u64,
    /// Bytes of packs read.
    pub read_bytes: u64,
    /// Packs and indexes that belong to no checkpoint: of sessions that were killed, given up, or still run. No damage.
    pub unreferenced: u64,
    /// Bills that a mirror does not have yet. No damage: the next mirroring brings them.
    pub bills_behind: u64,
    /// Sessions that stored everything and have no end: still running, killed at the last step, or their manifest was
    /// lost; which of these, one copy alone does not tell. No damage as far as it goes.
    pub unfinished: Vec<CheckpointId>,
    /// Checkpoints that were certainly committed, and whose manifests are not there.
    pub missing: Vec<CheckpointId>,
    /// Checkpoints whose manifests are there, readable or not.
    pub committed: Vec<CheckpointId>,
    /// Each bad object with the files it hits.
    pub damage: Damage,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.damage.objects.is_empty()
    }

    /// Adds a checkpoint that others prove to have been here, and whose manifest is not there; `proof` says how.
    pub fn note_missing(&mut self, id: CheckpointId, proof: &str) {
        let key = layout::checkpoint(&id.source, id.number);
        self.damage.objects.push(DamagedObject {
            object: key.to_string(),
            what: format!("it is not there, and {proof}"),
            missing: true,
            affected: Vec::new(),
            affected_count: 0,
            checkpoints: vec![id.clone()],
        });
        self.unfinished.retain(|unfinished| *unfinished != id);
        self.missing.push(id);
    }
}

impl Checkpointer {
    /// Checks what sessions, bills and checkpoints of `source`, or of every source, say was stored. Stops at nothing:
    /// everything bad is in the report. Each object is read or asked for once.
    ///
    /// # Errors
    /// Only where the store cannot be asked, or holds what needs a newer rpo; what is missing or damaged is in the report.
    pub async fn verify(
        &self,
        source: Option<&SourceId>,
        depth: Depth,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<VerifyReport, CheckpointError> {
        self.verify_as(Role::Home, source, depth, progress, cancel).await
    }

    /// [`verify`](Self::verify) of a copy that follows another: bills that it does not have are no damage there.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub async fn verify_mirror(
        &self,
        source: Option<&SourceId>,
        depth: Depth,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<VerifyReport, CheckpointError> {
        self.verify_as(Role::Mirror, source, depth, progress, cancel).await
    }

    async fn verify_as(
        &self,
        role: Role,
        source: Option<&SourceId>,
        depth: Depth,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<VerifyReport, CheckpointError> {
        let mut damage = DamageBook::default();
        let reading = Reading { store: &self.store, source, role, cancel, damage: &mut damage };
        let ledger = reading.run().await?;
        let board = Board::new(cancel);
        let verifier = Verifier {
            store: self.store.clone(),
            handle: Handle::current(),
            board: Arc::clone(&board),
            threads: self.options.worker_count(),
            depth,
            broken: BTreeMap::new(),
            ledger,
            damage,
        };
        board.blocking(progress, move || verifier.run()).await
    }
}

struct Verifier {
    store: Store,
    handle: Handle,
    board: Arc<Board>,
    threads: usize,
    depth: Depth,
    ledger: Ledger,
    /// Checkpoints whose entries cannot be read, and what is to blame.
    broken: BTreeMap<CheckpointId, Vec<Bad>>,
    damage: DamageBook,
}

/// What indexes and a listing of packs say.
struct Looked {
    located: Located,
    /// Packs that are listed.
    listed: HashSet<PackId>,
    /// Packs that indexes name; whether one of a committed session does.
    owned: HashMap<PackId, bool>,
    /// Indexes that could be read.
    indexes: u64,
}

impl Verifier {
    fn run(mut self) -> Result<VerifyReport, CheckpointError> {
        let needed = self.collect_all()?;
        let Looked { located, listed, indexes, owned } = self.locate(needed)?;
        let missing = self.prove_missing(&located, &owned)?;
        let checks = PackChecks {
            store: &self.store,
            handle: &self.handle,
            board: &self.board,
            threads: self.threads,
            depth: self.depth,
            located: &located,
        };
        let mut found = checks.run(&self.ledger.packs)?;
        self.unplaced(&located, |pack| owned.contains_key(pack) || listed.contains(pack), &mut found);
        found.objects.iter().for_each(|bad| self.damage.note(bad));
        self.name_all(&found)?;
        let needs: HashSet<PackId> = located.packs.iter().map(|pack| pack.id).collect();
        let ledger = &self.ledger;
        Ok(VerifyReport {
            checkpoints: ledger.committed().count() as u64,
            partial: ledger.roots.values().filter(|root| root.info.is_partial()).count() as u64,
            sessions: ledger.sessions,
            bills: ledger.bills,
            indexes,
            chunks: located.needed.len() as u64,
            packs: found.packs,
            read_bytes: found.read_bytes,
            unreferenced: ledger.unreferenced(listed.iter(), |pack| needs.contains(pack)),
            bills_behind: ledger.bills_behind,
            unfinished: ledger.unfinished.iter().cloned().collect(),
            committed: ledger.committed().cloned().collect(),
            missing,
            damage: self.damage.finish(),
        })
    }

    /// The chunks that all checkpoints need, sorted, each once.
    fn collect_all(&mut self) -> Result<Vec<(ChunkId, u32)>, CheckpointError> {
        for (id, bad) in &self.ledger.unreadable {
            self.broken.entry(id.clone()).or_default().push(bad.clone());
        }
        let mut needed = Vec::new();
        for (id, root) in &self.ledger.roots {
            self.board.check()?;
            match self.collect(root, &mut needed) {
                Err(error) if error.is_damage() => {
                    let bad = Bad::of(object_of(&error), &error);
                    self.broken.entry(id.clone()).or_default().push(bad);
                }
                answer => answer?,
            }
        }
        needed.sort_unstable();
        needed.dedup();
        Ok(needed)
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

    /// Reads every index that is listed or named, those of committed sessions first: a chunk is taken to be in their packs
    /// where it is in others, too.
    fn locate(&mut self, needed: Vec<(ChunkId, u32)>) -> Result<Looked, CheckpointError> {
        let listed = self.handle.block_on(self.store.list_packs())?;
        let named = self.ledger.index_keys();
        let mut indexes: BTreeMap<Key, IndexOwner> =
            self.handle.block_on(list_indexes(&self.store))?.into_iter().collect();
        for key in &named {
            indexes.extend(index::owner_of(key).map(|(owner, _)| (key.clone(), owner)));
        }
        let mut indexes: Vec<_> = indexes.into_iter().collect();
        indexes.sort_by_key(|(_, owner)| !is_committed(&self.ledger, owner));
        let mut read: HashSet<Key> = HashSet::new();
        let mut owned: HashMap<PackId, bool> = HashMap::new();
        let (ledger, damage) = (&self.ledger, &mut self.damage);
        let each = |receipt: &Receipt, records: &[PackRecord]| {
            let committed =
                index::owner_of(&receipt.key).is_some_and(|(owner, _)| is_committed(ledger, &owner));
            for record in records {
                *owned.entry(record.pack).or_default() |= committed;
            }
            let billed = ledger.indexes.get(&receipt.key);
            if billed.is_some_and(|billed| (billed.len, billed.sha256) != (receipt.len, receipt.sha256)) {
                let what = "it is not the one on its bill";
                damage.note(&Bad::new(receipt.key.as_str(), what, false));
            }
            read.insert(receipt.key.clone());
        };
        let find = Located::find_among(&self.store, needed, &listed, indexes, each);
        let located = self.handle.block_on(find)?;
        for (object, error) in &located.unusable {
            self.damage.note(&Bad::of(object.as_str(), error));
        }
        let unusable: HashSet<&str> = located.unusable.iter().map(|(object, _)| object.as_str()).collect();
        for key in named.iter().filter(|key| !read.contains(*key) && !unusable.contains(key.as_str())) {
            self.damage.note(&Bad::absent(key));
        }
        let (listed, indexes) = (listed.into_keys().collect(), read.len() as u64);
        Ok(Looked { located, listed, owned, indexes })
    }

    /// Checkpoints that must have been committed, since others were built upon them, and have no manifest.
    ///
    /// A bill without an end proves nothing: a writer may have been killed between the two, or be at work. But a manifest
    /// names only parents and origins that were committed; and uses chunks of other sessions only where those were
    /// committed, or puts their packs on its own index and bill. (Nothing expires checkpoints yet: what does, has to leave word.)
    fn prove_missing(
        &mut self,
        located: &Located,
        owned: &HashMap<PackId, bool>,
    ) -> Result<Vec<CheckpointId>, CheckpointError> {
        let ledger = &self.ledger;
        let infos = ledger.roots.values().map(|root| &root.info);
        let named = infos.flat_map(|info| info.parent.iter().chain(&info.origin).cloned());
        let of_nobody = |pack: &PackId| !ledger.packs.contains_key(pack) && owned.get(pack) != Some(&true);
        let used = located.packs.iter().filter(|pack| !ledger.bills_lost && of_nobody(&pack.id));
        let used = used.filter_map(|pack| ledger.open_owner(&pack.id).cloned());
        let mut suspects: Vec<CheckpointId> =
            named.chain(used).filter(|id| !ledger.has_committed(id)).collect();
        suspects.sort_unstable();
        suspects.dedup();
        let mut missing = Vec::new();
        for id in suspects {
            // Asked again: it may have been committed since the first look.
            let key = layout::checkpoint(&id.source, id.number);
            let bad = match self.handle.block_on(load_standing(&self.store, &id)) {
                Ok(Standing::Manifest(_)) => continue,
                Ok(Standing::Nothing) => Bad::absent(&key),
                Ok(Standing::Fence) => {
                    Bad::new(key.as_str(), "a fence is there instead of a manifest", false)
                }
                Err(error) if error.is_damage() => Bad::of(key.as_str(), &error),
                Err(error) => return Err(error),
            };
            self.broken.entry(id.clone()).or_default().push(bad);
            self.ledger.was_committed(&id);
            missing.push(id);
        }
        Ok(missing)
    }
}

fn is_committed(ledger: &Ledger, owner: &IndexOwner) -> bool {
    match owner {
        IndexOwner::Rebuilt(_) => false,
        IndexOwner::Session(source, number) => {
            ledger.has_committed(&CheckpointId { source: source.clone(), number: *number })
        }
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
