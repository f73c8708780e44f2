//! Reading indexes: which chunks are there, and where.

use std::collections::{HashMap, HashSet};

use futures::StreamExt;
use rpo_core::SourceId;
use rpo_crypto::envelope::HEADER_BYTES;
use rpo_crypto::{ChunkId, ObjectHeader, ObjectType};
use rpo_repository::{Receipt, layout};
use rpo_storage::{Key, ObjectMeta};

use crate::CheckpointError;
use crate::index::{self, IndexOwner, PackRecord};
use crate::pack::{FIRST_DATA_FRAME, PackId};
use crate::store::{FrameSpot, Store};

/// Objects read at the same time.
pub(crate) const READS_AT_ONCE: usize = 8;

/// An object that could not be used, and why.
pub(crate) type Unusable = (String, CheckpointError);

/// Reads every index there is and gives each to `take`; what is damaged stops nothing and is returned.
pub(crate) async fn each_index(
    store: &Store,
    mut take: impl FnMut(&Key, &IndexOwner, Vec<PackRecord>),
) -> Result<Vec<Unusable>, CheckpointError> {
    let listed = list_indexes(store).await?;
    each_of(store, listed, |read, owner, records| take(&read.key, owner, records)).await
}

/// Indexes as they are listed, with whose they are. A hint.
pub(crate) async fn list_indexes(store: &Store) -> Result<Vec<(Key, IndexOwner)>, CheckpointError> {
    let listed = store.list("indexes/").await?;
    let owned = |meta: ObjectMeta| index::owner_of(&meta.key).map(|(owner, _)| (meta.key, owner));
    Ok(listed.into_iter().filter_map(owned).collect())
}

/// Reads these indexes in order and gives each that is there to `take`, with the receipt it has now.
pub(crate) async fn each_of(
    store: &Store,
    indexes: Vec<(Key, IndexOwner)>,
    mut take: impl FnMut(&Receipt, &IndexOwner, Vec<PackRecord>),
) -> Result<Vec<Unusable>, CheckpointError> {
    let mut reads = futures::stream::iter(indexes)
        .map(|(key, owner)| async move {
            let read = read_with_receipt(store, &key).await;
            (key, owner, read)
        })
        .buffered(READS_AT_ONCE);
    let mut unusable = Vec::new();
    while let Some((key, owner, read)) = reads.next().await {
        match read {
            Ok(Some((records, receipt))) => take(&receipt, &owner, records),
            Ok(None) => {} // listed and gone: a collector was faster
            Err(error) if error.is_damage() => unusable.push((key.to_string(), error)),
            Err(error) => return Err(error),
        }
    }
    Ok(unusable)
}

/// One index object; `None` if it is not there.
pub(crate) async fn read_index(store: &Store, key: &Key) -> Result<Option<Vec<PackRecord>>, CheckpointError> {
    Ok(read_with_receipt(store, key).await?.map(|(records, _)| records))
}

async fn read_with_receipt(
    store: &Store,
    key: &Key,
) -> Result<Option<(Vec<PackRecord>, Receipt)>, CheckpointError> {
    let Some((frames, receipt)) = store.get_with_receipt(ObjectType::Index, key).await? else {
        return Ok(None);
    };
    let records = index::decode(&frames).map_err(|error| CheckpointError::object(key, error))?;
    Ok(Some((records, receipt)))
}

/// Whether a manifest (and no fence) stands at the commit key of a session, by its clear header.
pub(crate) async fn has_manifest(
    store: &Store,
    source: &SourceId,
    number: u64,
) -> Result<bool, CheckpointError> {
    let key = layout::checkpoint(source, number);
    match store.read(&key, 0..HEADER_BYTES as u64).await {
        Ok(header) => {
            let header = ObjectHeader::decode(key.as_str(), &header);
            Ok(header.is_ok_and(|header| header.object_type == ObjectType::Manifest))
        }
        Err(error) if error.is_damage() => Ok(false), // absent or cut off: then its packs are sent again, or adopted
        Err(error) => Err(error),
    }
}

/// Where a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Location {
    /// Position in [`Located::packs`].
    pub(crate) pack: u32,
    /// Position among its data frames.
    pub(crate) frame: u32,
    /// First byte in the frame, before compression.
    pub(crate) offset: u32,
}

/// A pack that holds something needed.
#[derive(Debug)]
pub(crate) struct LocatedPack {
    pub(crate) id: PackId,
    pub(crate) object_len: u64,
    pub(crate) frames: Vec<FrameSpot>,
}

/// Needed chunks and where they are.
#[derive(Debug)]
pub(crate) struct Located {
    /// Sorted, each once, with its length.
    pub(crate) needed: Vec<(ChunkId, u32)>,
    /// Beside `needed`.
    pub(crate) places: Vec<Option<Location>>,
    pub(crate) packs: Vec<LocatedPack>,
    /// Indexes that could not be used.
    pub(crate) unusable: Vec<Unusable>,
}

impl Located {
    /// Finds the chunks in indexes, and what is left in packs that no index names.
    pub(crate) async fn find(store: &Store, needed: Vec<(ChunkId, u32)>) -> Result<Self, CheckpointError> {
        if needed.is_empty() {
            return Ok(Self { needed, places: Vec::new(), packs: Vec::new(), unusable: Vec::new() });
        }
        let listed = store.list_packs().await?;
        let indexes = list_indexes(store).await?;
        Self::find_among(store, needed, &listed, indexes, |_, _| {}).await
    }

    /// The same with packs and indexes that are known already; a chunk is taken from the first index that has it.
    /// `each` sees every index that could be read, with the packs it names.
    pub(crate) async fn find_among(
        store: &Store,
        needed: Vec<(ChunkId, u32)>,
        listed: &HashMap<PackId, u64>,
        indexes: Vec<(Key, IndexOwner)>,
        mut each: impl FnMut(&Receipt, &[PackRecord]),
    ) -> Result<Self, CheckpointError> {
        let places = vec![None; needed.len()];
        let mut located = Self { needed, places, packs: Vec::new(), unusable: Vec::new() };
        let mut seen = HashSet::new();
        let mut doubtful = Vec::new();
        let unusable = each_of(store, indexes, |receipt, _, records| {
            each(receipt, &records);
            for record in records.into_iter().filter(|record| seen.insert(record.pack)) {
                if listed.get(&record.pack) == Some(&record.object_len) {
                    located.take(&record);
                } else {
                    doubtful.push(record);
                }
            }
        })
        .await?;
        located.unusable = unusable;
        if located.places.iter().any(Option::is_none) {
            located.scan_packs(store, listed, &seen).await?;
        }
        // Not listed is not absent: tried where nothing else has the chunk, and named if it really is gone.
        doubtful.iter().for_each(|record| located.take(record));
        Ok(located)
    }

    /// Reads the tables of packs that no index names.
    async fn scan_packs(
        &mut self,
        store: &Store,
        listed: &HashMap<PackId, u64>,
        seen: &HashSet<PackId>,
    ) -> Result<(), CheckpointError> {
        let unseen: Vec<_> =
            listed.iter().map(|(pack, len)| (*pack, *len)).filter(|(pack, _)| !seen.contains(pack)).collect();
        let mut reads = futures::stream::iter(unseen)
            .map(|(pack, len)| async move { (pack, store.pack_table(pack, len).await) })
            .buffered(READS_AT_ONCE);
        while let Some((pack, table)) = reads.next().await {
            match table {
                Ok(table) => {
                    self.take(&PackRecord { pack, object_len: table.object_len(), sha256: [0; 32], table });
                }
                Err(error) if error.is_damage() => self.unusable.push((pack.key().to_string(), error)),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn take(&mut self, record: &PackRecord) {
        let mut used = false;
        let pack = self.packs.len() as u32;
        for (frame, row) in record.table.frames.iter().enumerate() {
            let mut offset = 0;
            for chunk in &row.chunks {
                if let Some(at) = self.position(&chunk.id)
                    && self.places[at].is_none()
                    && self.needed[at].1 == chunk.len
                {
                    self.places[at] = Some(Location { pack, frame: frame as u32, offset });
                    used = true;
                }
                offset += chunk.len;
            }
        }
        if used {
            self.packs.push(LocatedPack {
                id: record.pack,
                object_len: record.object_len,
                frames: spots(record),
            });
        }
    }

    /// Position of `id` in `needed`.
    pub(crate) fn position(&self, id: &ChunkId) -> Option<usize> {
        self.needed.binary_search_by(|(needed, _)| needed.cmp(id)).ok()
    }
}

/// Where the data frames of a pack are.
pub(crate) fn spots(record: &PackRecord) -> Vec<FrameSpot> {
    let spans = record.table.frame_spans();
    let rows = record.table.frames.iter().zip(spans);
    rows.enumerate()
        .map(|(n, (row, span))| FrameSpot {
            number: FIRST_DATA_FRAME + n as u64,
            offset: span.start,
            stored_len: row.stored_len,
            raw_len: row.raw_len,
            codec: row.codec,
        })
        .collect()
}

/// Finds one chunk by id alone; only for what was not where it was said to be.
pub(crate) async fn find_chunk(
    store: &Store,
    id: ChunkId,
    len: u32,
    not_in: PackId,
) -> Result<Option<Vec<u8>>, CheckpointError> {
    let mut candidates = Vec::new();
    each_index(store, |_, _, records| {
        for record in records.into_iter().filter(|record| record.pack != not_in) {
            for (row, spot) in record.table.frames.iter().zip(spots(&record)) {
                let mut offset = 0usize;
                for chunk in &row.chunks {
                    if chunk.id == id && chunk.len == len {
                        candidates.push((record.pack, spot, offset));
                    }
                    offset += chunk.len as usize;
                }
            }
        }
    })
    .await?;
    for (pack, spot, offset) in candidates {
        let Ok(header) = store.pack_header(pack).await else { continue };
        let Ok(frame) = store.read_frame(pack, &header, spot).await else { continue };
        if let Some(chunk) = frame.get(offset..offset + len as usize)
            && store.chunk_id(chunk) == id
        {
            return Ok(Some(chunk.to_vec()));
        }
    }
    Ok(None)
}
