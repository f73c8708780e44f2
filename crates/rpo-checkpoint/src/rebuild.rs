//! Rebuilding indexes from packs.

use std::collections::HashSet;

use futures::StreamExt;
use rpo_crypto::{ObjectType, open};
use rpo_storage::Key;

use crate::CheckpointError;
use crate::checkpointer::Checkpointer;
use crate::damage::{Bad, Damage, DamageBook};
use crate::index::{self, IndexOwner, PackRecord};
use crate::locate::each_index;
use crate::pack::{PackId, PackTable, decode_head};
use crate::progress::{Cancel, Phase, Progress, Progressed};
use crate::store::Store;

/// Packs on one rebuilt index object.
const PACKS_PER_INDEX: usize = 256;
/// Whole packs in memory at the same time.
const PACKS_AT_ONCE: usize = 2;

/// What a rebuild did.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
#[non_exhaustive]
pub struct RebuildSummary {
    /// Packs there are.
    pub packs: u64,
    /// Packs that no readable index named, now indexed.
    pub indexed: u64,
    /// Index objects written.
    pub indexes: u64,
    /// Packs that cannot be read.
    pub damage: Damage,
}

impl Checkpointer {
    /// Writes indexes for all packs that no readable index names. Reads those packs whole and checks their digests.
    /// Nothing is removed; a repository whose indexes are complete is left as it is.
    ///
    /// # Errors
    /// Those of the store. A damaged pack is no error: it is named in the summary.
    pub async fn rebuild_index(
        &self,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<RebuildSummary, CheckpointError> {
        let store = &self.store;
        let mut named = HashSet::new();
        each_index(store, |_, _, records| named.extend(records.into_iter().map(|record| record.pack)))
            .await?;
        let packs: Vec<PackId> =
            store.list("packs/").await?.iter().filter_map(|meta| PackId::of_key(&meta.key)).collect();
        let mut summary = RebuildSummary { packs: packs.len() as u64, ..RebuildSummary::default() };
        let unnamed: Vec<_> = packs.into_iter().filter(|pack| !named.contains(pack)).collect();
        let total = Some(unnamed.len() as u64);

        let number = next_rebuild(store).await?;
        let mut reads = futures::stream::iter(unnamed)
            .map(|pack| async move { (pack, read_record(store, pack).await) })
            .buffered(PACKS_AT_ONCE);
        let mut damage = DamageBook::default();
        let mut records = Vec::new();
        let mut bytes = 0;
        while let Some((pack, record)) = reads.next().await {
            cancel.check()?;
            match record {
                Ok(record) => {
                    bytes += record.object_len;
                    records.push(record.encode());
                    summary.indexed += 1;
                }
                Err(error) if error.is_damage() => {
                    damage.note(&Bad::of(pack.key().as_str(), &error));
                }
                Err(error) => return Err(error),
            }
            progress.update(Progressed { phase: Phase::Rebuild, done: summary.indexed, total, bytes });
            if records.len() >= PACKS_PER_INDEX {
                publish(store, number, &mut summary, &mut records).await?;
            }
        }
        publish(store, number, &mut summary, &mut records).await?;
        summary.damage = damage.finish();
        Ok(summary)
    }
}

/// What an index would say of a pack, from the pack itself.
async fn read_record(store: &Store, pack: PackId) -> Result<PackRecord, CheckpointError> {
    let key = pack.key();
    let (bytes, sha256) = store.whole_pack(pack).await?;
    let frames = open(store.repository.keys(), ObjectType::Pack, key.as_str(), &bytes)?;
    let wrong = |what: String| CheckpointError::object(&key, what);
    let [head, table, ..] = frames.as_slice() else { return Err(wrong("it has no table".to_owned())) };
    let head = decode_head(head).map_err(|error| wrong(error.to_string()))?;
    let table = PackTable::decode(&head, table).map_err(|error| wrong(error.to_string()))?;
    if table.object_len() != bytes.len() as u64 {
        return Err(wrong("its table does not fit its length".to_owned()));
    }
    Ok(PackRecord { pack, object_len: bytes.len() as u64, sha256, table })
}

async fn publish(
    store: &Store,
    number: u64,
    summary: &mut RebuildSummary,
    records: &mut Vec<Vec<u8>>,
) -> Result<(), CheckpointError> {
    if records.is_empty() {
        return Ok(());
    }
    let key: Key = index::key(&IndexOwner::Rebuilt(number), summary.indexes as u32);
    store.put_compared(ObjectType::Index, &key, &index::encode(std::mem::take(records))).await?;
    summary.indexes += 1;
    Ok(())
}

/// The first number that no rebuild has used.
async fn next_rebuild(store: &Store) -> Result<u64, CheckpointError> {
    let mut number = 1;
    while store.repository.exists(&index::key(&IndexOwner::Rebuilt(number), 0)).await? {
        number += 1;
    }
    Ok(number)
}
