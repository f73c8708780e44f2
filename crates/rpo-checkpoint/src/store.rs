//! Reading and writing the repository's objects for this crate: sealed, compared before they leave, located in packs.

use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;
use rpo_core::ErrorKind;
use rpo_crypto::envelope::{HEADER_BYTES, WORD_BYTES};
use rpo_crypto::{ChunkId, CryptoError, ObjectType, Opener, open, seal_object};
use rpo_repository::{Receipt, Repository};
use rpo_storage::{Key, ListRequest, ObjectMeta};

use crate::CheckpointError;
use crate::compress::{Codec, decompress};
use crate::pack::{HEAD_BYTES, PACK_BYTES_MAX, PackId, PackTable, decode_head, sealed_len};

/// How much of a pack is read at once to find its table.
const TABLE_READ_BYTES: u64 = 64 << 10;

/// A repository with what this crate needs of it.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pub(crate) repository: Repository,
}

/// Where the bytes of a frame are, and how they are stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameSpot {
    /// Number in the envelope.
    pub(crate) number: u64,
    /// First byte in the object.
    pub(crate) offset: u64,
    pub(crate) stored_len: u32,
    pub(crate) raw_len: u32,
    pub(crate) codec: Codec,
}

impl FrameSpot {
    pub(crate) fn range(&self) -> Range<u64> {
        self.offset..self.offset + sealed_len(u64::from(self.stored_len))
    }
}

impl Store {
    pub(crate) fn new(repository: Repository) -> Self {
        Self { repository }
    }

    pub(crate) fn chunk_id(&self, plain: &[u8]) -> ChunkId {
        self.repository.keys().chunk_id(plain)
    }

    /// Seals metadata, opens it again, compares, and stores it.
    pub(crate) async fn put_compared(
        &self,
        object_type: ObjectType,
        key: &Key,
        frames: &[Vec<u8>],
    ) -> Result<Receipt, CheckpointError> {
        let keys = self.repository.keys();
        let plain: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        let sealed = seal_object(keys, object_type, key.as_str(), &plain, &**self.repository.entropy())?;
        let opened = open(keys, object_type, key.as_str(), &sealed.bytes)?;
        if opened.iter().map(Bytes::as_ref).ne(plain.iter().copied()) {
            return Err(CheckpointError::object(
                key,
                "what was sealed is not what was given: nothing was stored",
            ));
        }
        Ok(self.repository.put_bytes(key, sealed.bytes).await?)
    }

    /// The object's frames; `None` if there is no such object.
    pub(crate) async fn get(
        &self,
        object_type: ObjectType,
        key: &Key,
    ) -> Result<Option<Vec<Bytes>>, CheckpointError> {
        match self.repository.get(object_type, key).await {
            Ok(frames) => Ok(Some(frames)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The object's frames with its receipt; `None` if there is no such object.
    pub(crate) async fn get_with_receipt(
        &self,
        object_type: ObjectType,
        key: &Key,
    ) -> Result<Option<(Vec<Bytes>, Receipt)>, CheckpointError> {
        match self.repository.get_with_receipt(object_type, key).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Packs as they are listed, with their lengths. A hint.
    pub(crate) async fn list_packs(&self) -> Result<HashMap<PackId, u64>, CheckpointError> {
        let listed = self.list("packs/").await?;
        Ok(listed.into_iter().filter_map(|meta| Some((PackId::of_key(&meta.key)?, meta.len))).collect())
    }

    /// All objects under a prefix. A hint: absence is never concluded from it.
    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, CheckpointError> {
        let mut all: Vec<ObjectMeta> = Vec::new();
        loop {
            let start_after = all.last().map(|meta| meta.key.clone());
            let request = ListRequest { prefix: prefix.to_owned(), start_after, limit: None };
            let page = self.repository.storage().list(request).await?;
            let more = page.more && !page.objects.is_empty();
            all.extend(page.objects);
            if !more {
                return Ok(all);
            }
        }
    }

    /// The clear header of a pack.
    pub(crate) async fn pack_header(&self, pack: PackId) -> Result<Bytes, CheckpointError> {
        self.read(&pack.key(), 0..HEADER_BYTES as u64).await
    }

    /// Reads a range; an object that is shorter is damage of that object.
    pub(crate) async fn read(&self, key: &Key, range: Range<u64>) -> Result<Bytes, CheckpointError> {
        match self.repository.storage().read(key, range).await {
            Ok(bytes) => Ok(bytes),
            Err(error @ rpo_storage::StorageError::RangeNotSatisfied { .. }) => {
                Err(CheckpointError::object(key, format!("it is cut off ({error})")))
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn opener(&self, pack: PackId, header: &[u8]) -> Result<Opener, CheckpointError> {
        Ok(Opener::new(self.repository.keys(), ObjectType::Pack, pack.key().as_str(), header)?)
    }

    /// Reads and unpacks one frame of a pack.
    pub(crate) async fn read_frame(
        &self,
        pack: PackId,
        header: &[u8],
        spot: FrameSpot,
    ) -> Result<Vec<u8>, CheckpointError> {
        let sealed = self.read(&pack.key(), spot.range()).await?;
        let opener = self.opener(pack, header)?;
        unpack_frame(&opener, pack, spot, &sealed)
    }

    /// The table of a pack of `len` bytes, read from its beginning.
    pub(crate) async fn pack_table(&self, pack: PackId, len: u64) -> Result<PackTable, CheckpointError> {
        let key = pack.key();
        let cut_off = || CheckpointError::object(&key, "it is cut off before the end of its table");
        let mut front = self.read(&key, 0..len.min(TABLE_READ_BYTES)).await?;
        let opener = self.opener(pack, &front)?;
        let head_at = HEADER_BYTES..HEADER_BYTES + sealed_len(HEAD_BYTES as u64) as usize;
        let (head, _) = opener.open_frame(0, front.get(head_at.clone()).ok_or_else(cut_off)?)?;
        let head = decode_head(&head).map_err(|error| CheckpointError::object(&key, error))?;
        let table_at = head_at.end..head_at.end + sealed_len(u64::from(head.table_bytes)) as usize;
        if front.len() < table_at.end {
            if (table_at.end as u64) > len {
                return Err(cut_off());
            }
            front = self.read(&key, 0..table_at.end as u64).await?;
        }
        let (table, _) = opener.open_frame(1, &front[table_at])?;
        PackTable::decode(&head, &table).map_err(|error| CheckpointError::object(&key, error))
    }

    /// A whole pack, its digest checked.
    pub(crate) async fn whole_pack(&self, pack: PackId) -> Result<(Bytes, [u8; 32]), CheckpointError> {
        let key = pack.key();
        let bytes = self.repository.storage().read_all(&key, PACK_BYTES_MAX).await?;
        let sha256 = rpo_crypto::check_digest(key.as_str(), &bytes)?;
        Ok((bytes, sha256))
    }
}

/// Opens and decompresses one frame that was read.
pub(crate) fn unpack_frame(
    opener: &Opener,
    pack: PackId,
    spot: FrameSpot,
    sealed: &[u8],
) -> Result<Vec<u8>, CheckpointError> {
    if sealed.len() < WORD_BYTES {
        return Err(CryptoError::Truncated { object: pack.key().to_string() }.into());
    }
    let (stored, _) = opener.open_frame(spot.number, sealed)?;
    decompress(spot.codec, &stored, spot.raw_len as usize)
        .map_err(|what| CheckpointError::object(pack.key(), format!("frame {}: {what}", spot.number)))
}
