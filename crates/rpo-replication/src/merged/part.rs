//! One part of a merged object, read without the rest: head and table once, then the blocks that hold it.

use std::sync::{Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use rpo_core::ErrorKind;
use rpo_crypto::envelope::{FRAME_OVERHEAD, HEADER_BYTES};
use rpo_crypto::{ObjectType, Opener};
use rpo_storage::{Key, StorageError};

use super::seal::{open_block, plain_part};
use super::{HEAD_BYTES, MergedHead, MergedTable, Part};
use crate::ReplicationError;
use crate::batch::FormatError;
use crate::copies::CopySpec;
use crate::names::merged_key;
use crate::object::{OpenBatch, Place, format_error};

/// Head and table of a merged object in one copy, opened and checked.
#[derive(Debug)]
pub struct MergedIndex {
    /// What it says of itself.
    pub head: MergedHead,
    /// Its parts and blocks.
    pub table: MergedTable,
    key: Key,
    opener: Opener,
    /// The block that was opened last: parts are read in order, and a block holds many.
    block: Mutex<Option<(usize, Bytes)>>,
}

impl MergedIndex {
    /// Head and table of the merged object `place.number` that stands under `key` in `copy`; `None` if it is not there.
    pub(crate) async fn read(
        copy: &CopySpec,
        place: Place<'_>,
        key: &Key,
    ) -> Result<Option<Self>, ReplicationError> {
        let sealed_for = merged_key(place.stream, place.epoch, place.number);
        let begin = (HEADER_BYTES + FRAME_OVERHEAD + HEAD_BYTES) as u64;
        let Some(bytes) = read(copy, key, 0..begin).await? else { return Ok(None) };
        let envelope = |source| ReplicationError::Envelope { key: key.to_string(), source };
        let format = |source| format_error(key, source);
        let opener = Opener::new(copy.repository.keys(), ObjectType::Batch, sealed_for.as_str(), &bytes)
            .map_err(envelope)?;
        let (plain, _) = opener.open_frame(0, &bytes[HEADER_BYTES..]).map_err(envelope)?;
        let head = MergedHead::decode(&plain).map_err(format)?;
        let found = Place { stream: &head.stream, epoch: head.epoch, number: head.number };
        if found != place {
            let why = format!("its head says it is merged {} of epoch {}", head.number, head.epoch);
            return Err(ReplicationError::Misplaced { key: key.clone(), why });
        }
        let end = begin + u64::from(head.table_bytes) + FRAME_OVERHEAD as u64;
        let Some(bytes) = read(copy, key, begin..end).await? else { return Ok(None) };
        let (stored, _) = opener.open_frame(1, &bytes).map_err(envelope)?;
        let table = MergedTable::decode(&head, &stored).map_err(format)?;
        Ok(Some(Self { head, table, key: key.clone(), opener, block: Mutex::default() }))
    }

    /// The part with this number, which must be one: reads the blocks that hold it. `None` if the object is gone meanwhile.
    pub(crate) async fn part(
        &self,
        copy: &CopySpec,
        number: u64,
    ) -> Result<Option<OpenBatch>, ReplicationError> {
        let index = usize::try_from(number - self.head.first).expect("a table is bounded");
        let begin: u64 = self.table.parts[..index].iter().map(|part| part.head.plain_bytes).sum();
        let part: &Part = &self.table.parts[index];
        let end = begin + part.head.plain_bytes;
        let mut body = BytesMut::new();
        let (mut plain_at, mut stored_at) = (0_u64, self.blocks_begin());
        for (number, block) in self.table.blocks.iter().enumerate() {
            let (plain_end, stored_len) = (
                plain_at + u64::from(block.plain_bytes),
                u64::from(block.stored_bytes) + FRAME_OVERHEAD as u64,
            );
            if plain_at < end && plain_end > begin {
                let Some(bytes) = self.block(copy, number, stored_at..stored_at + stored_len).await? else {
                    return Ok(None);
                };
                let from = begin.saturating_sub(plain_at) as usize;
                let to = (end.min(plain_end) - plain_at) as usize;
                body.extend_from_slice(&bytes[from..to]);
            }
            (plain_at, stored_at) = (plain_end, stored_at + stored_len);
        }
        Ok(Some(plain_part(part.clone(), body.freeze())))
    }

    fn blocks_begin(&self) -> u64 {
        (HEADER_BYTES + HEAD_BYTES + 2 * FRAME_OVERHEAD) as u64 + u64::from(self.head.table_bytes)
    }

    async fn block(
        &self,
        copy: &CopySpec,
        number: usize,
        range: std::ops::Range<u64>,
    ) -> Result<Option<Bytes>, ReplicationError> {
        if let Some((held, bytes)) = &*self.held()
            && *held == number
        {
            return Ok(Some(bytes.clone()));
        }
        let Some(bytes) = read(copy, &self.key, range).await? else { return Ok(None) };
        let envelope = |source| ReplicationError::Envelope { key: self.key.to_string(), source };
        let (stored, _) = self.opener.open_frame(number as u64 + 2, &bytes).map_err(envelope)?;
        let plain = open_block(&self.table.blocks[number], &stored)
            .map_err(|source| format_error(&self.key, source))?;
        let plain = Bytes::from(plain);
        *self.held() = Some((number, plain.clone()));
        Ok(Some(plain))
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<(usize, Bytes)>> {
        // A cache of immutable bytes: a panic elsewhere cannot make it wrong.
        self.block.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Exactly this range; `None` if the object is not there.
async fn read(
    copy: &CopySpec,
    key: &Key,
    range: std::ops::Range<u64>,
) -> Result<Option<Bytes>, ReplicationError> {
    match copy.repository.storage().read(key, range).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(StorageError::RangeNotSatisfied { .. }) => {
            let found = copy.length(key).await?.unwrap_or_default();
            let source = FormatError::Length { what: "merged object", expected: HEAD_BYTES as u64, found };
            Err(format_error(key, source))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(copy.fault(error)),
    }
}
