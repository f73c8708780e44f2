//! Batches that are parts of merged objects: found by name, opened once, read block by block.

use std::ops::RangeInclusive;
use std::sync::Arc;

use rpo_core::Epoch;

use super::Archive;
use crate::ReplicationError;
use crate::batch::BatchHead;
use crate::merged::MergedIndex;
use crate::object::{OpenBatch, Place};

/// A merged object, and which of the copies it was read from.
#[derive(Debug, Clone)]
pub(super) struct Known {
    copy: usize,
    index: Arc<MergedIndex>,
}

impl Archive {
    /// The batch from a merged object that was opened before; `None` if there is none, or it is gone meanwhile.
    pub(super) async fn known_part(&self, epoch: Epoch, number: u64) -> Option<OpenBatch> {
        let known = self.known(epoch, number)?;
        let copy = &self.0.copies[known.copy];
        match known.index.part(copy, number).await {
            Ok(Some(batch)) => return Some(batch),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(copy = %copy.name, %epoch, number, %error, "a merged part cannot be used");
            }
        }
        self.merged().remove(&(epoch, known.index.head.first));
        None
    }

    /// The batch from the merged object in one copy that took its place. Asked after the batch itself: parts go only once
    /// the merged object is there, so what is in neither is in neither.
    pub(super) async fn part_from(
        &self,
        copy: usize,
        place: Place<'_>,
    ) -> Result<Option<OpenBatch>, ReplicationError> {
        match self.open_merged(copy, place).await? {
            Some(index) => index.part(&self.0.copies[copy], place.number).await,
            None => Ok(None),
        }
    }

    /// The head of a batch from the merged object that took its place.
    pub(super) async fn head_from(
        &self,
        copy: usize,
        place: Place<'_>,
    ) -> Result<Option<BatchHead>, ReplicationError> {
        let Some(index) = self.open_merged(copy, place).await? else { return Ok(None) };
        let mut heads = self.heads();
        for part in &index.table.parts {
            heads.entry((place.epoch, part.head.number)).or_insert_with(|| part.head.clone());
        }
        Ok(heads.get(&(place.epoch, place.number)).cloned())
    }

    /// The numbers of an epoch that merged objects take the place of, in order of the copies asked and their objects.
    ///
    /// # Errors
    /// What a store said, or that a merged object cannot be read.
    pub async fn merged_ranges(&self, epoch: Epoch) -> Result<Vec<RangeInclusive<u64>>, ReplicationError> {
        let mut ranges = Vec::new();
        for copy in &self.0.copies {
            let line = copy.line(self.stream(), epoch).await?;
            for number in line.first..=line.last {
                if let Some(index) = copy.merged(self.stream(), epoch, number).await? {
                    ranges.push(index.head.first..=index.head.last);
                }
            }
        }
        Ok(ranges)
    }

    /// The head of a batch that is part of a merged object; `None` if it is part of none.
    ///
    /// # Errors
    /// As [`merged_ranges`](Self::merged_ranges).
    pub async fn merged_head(
        &self,
        epoch: Epoch,
        number: u64,
    ) -> Result<Option<BatchHead>, ReplicationError> {
        for copy in 0..self.0.copies.len() {
            if let Some(head) = self.head_from(copy, self.place(epoch, number)).await? {
                return Ok(Some(head));
            }
        }
        Ok(None)
    }

    async fn open_merged(
        &self,
        copy: usize,
        place: Place<'_>,
    ) -> Result<Option<Arc<MergedIndex>>, ReplicationError> {
        let Some(index) = self.0.copies[copy].merged_with(place).await? else { return Ok(None) };
        let index = Arc::new(index);
        self.merged().insert((place.epoch, index.head.first), Known { copy, index: Arc::clone(&index) });
        Ok(Some(index))
    }

    fn known(&self, epoch: Epoch, number: u64) -> Option<Known> {
        let merged = self.merged();
        let (_, known) = merged.range((epoch, 0)..=(epoch, number)).next_back()?;
        known.index.head.holds(number).then(|| known.clone())
    }
}
