//! What merged objects and expiry notes say of an epoch in one copy, found by name alone.

use rpo_core::{Epoch, StreamId};
use rpo_storage::Key;

use super::MergedIndex;
use crate::ReplicationError;
use crate::batch::Digest;
use crate::copies::CopySpec;
use crate::expired::ExpiryNote;
use crate::names::{expired_key, healed_key, healed_merged_key, merged_key};
use crate::object::{ArchiveObject, OpenBatch, Place};

/// The merged objects of an epoch in one copy, and its newest note.
#[derive(Debug, Clone, Default)]
pub(crate) struct Line {
    /// The newest expiry note.
    pub(crate) note: Option<ExpiryNote>,
    /// The first merged object that retention has not taken.
    pub(crate) first: u64,
    /// The last one under its own name; smaller than `first` without any.
    pub(crate) own: u64,
    /// The last one, with those under `healed/`.
    pub(crate) last: u64,
}

impl CopySpec {
    /// The highest number from `first` on whose key is there, if the numbers are dense; `first` − 1 without any.
    async fn gallop(
        &self,
        first: u64,
        key: impl Fn(u64) -> Key + Send + Sync,
    ) -> Result<u64, ReplicationError> {
        let (mut known, mut stride) = (first - 1, 1_u64);
        while self.length(&key(known + stride)).await?.is_some() {
            known += stride;
            stride = stride.saturating_mul(2);
        }
        // Something is there at `known`, nothing at `beyond`.
        let mut beyond = known + stride;
        while known + 1 < beyond {
            let middle = known + (beyond - known) / 2;
            if self.length(&key(middle)).await?.is_some() { known = middle } else { beyond = middle }
        }
        Ok(known)
    }

    /// The newest expiry note of an epoch; numbers are dense, and notes are never deleted.
    pub(crate) async fn newest_note(
        &self,
        stream: &StreamId,
        epoch: Epoch,
    ) -> Result<Option<ExpiryNote>, ReplicationError> {
        let number = self.gallop(1, |number| expired_key(stream, epoch, number)).await?;
        if number == 0 {
            return Ok(None);
        }
        let key = expired_key(stream, epoch, number);
        let Some(bytes) = self.fetch(&key).await? else { return Ok(None) };
        ExpiryNote::open(self.repository.keys(), &key, &bytes).map(Some)
    }

    pub(crate) async fn line(&self, stream: &StreamId, epoch: Epoch) -> Result<Line, ReplicationError> {
        let note = self.newest_note(stream, epoch).await?;
        let first = note.as_ref().map_or(1, |note| note.merged_kept);
        let own = self.gallop(first, |number| merged_key(stream, epoch, number)).await?;
        let last = self.gallop(own + 1, |number| healed_merged_key(stream, epoch, number)).await?;
        Ok(Line { note, first, own, last })
    }

    /// One merged object, under its own name or healed.
    pub(crate) async fn merged(
        &self,
        stream: &StreamId,
        epoch: Epoch,
        number: u64,
    ) -> Result<Option<MergedIndex>, ReplicationError> {
        let place = Place { stream, epoch, number };
        for key in [merged_key(stream, epoch, number), healed_merged_key(stream, epoch, number)] {
            if let Some(index) = MergedIndex::read(self, place, &key).await? {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// The last number of an epoch that its own merged objects or its note speak for: numbers up to it may have been
    /// deleted, and are not free. 0 if there is none.
    pub(crate) async fn covered(&self, stream: &StreamId, epoch: Epoch) -> Result<u64, ReplicationError> {
        let line = self.line(stream, epoch).await?;
        let expired = line.note.as_ref().map_or(0, |note| note.first_kept - 1);
        if line.own < line.first {
            return Ok(expired);
        }
        let merged = self.merged(stream, epoch, line.own).await?.map_or(0, |index| index.head.last);
        Ok(merged.max(expired))
    }

    /// The merged object that holds the batch with this number.
    pub(crate) async fn merged_with(
        &self,
        place: Place<'_>,
    ) -> Result<Option<MergedIndex>, ReplicationError> {
        let Place { stream, epoch, number } = place;
        let Line { first, last, .. } = self.line(stream, epoch).await?;
        let (mut low, mut high) = (first, last);
        while low <= high {
            let middle = low + (high - low) / 2;
            let Some(index) = self.merged(stream, epoch, middle).await? else { return Ok(None) };
            match number {
                _ if index.head.holds(number) => return Ok(Some(index)),
                _ if number < index.head.first => high = middle - 1,
                _ => low = middle + 1,
            }
        }
        Ok(None)
    }

    /// The batch with this number, from the merged object that took its place.
    pub(crate) async fn merged_part(&self, place: Place<'_>) -> Result<Option<OpenBatch>, ReplicationError> {
        match self.merged_with(place).await? {
            Some(index) => index.part(self, place.number).await,
            None => Ok(None),
        }
    }

    /// The last number this copy holds without a break after `last`, under `healed/` or in merged objects there.
    pub(crate) async fn healed_end(
        &self,
        stream: &StreamId,
        epoch: Epoch,
        mut last: u64,
    ) -> Result<u64, ReplicationError> {
        loop {
            if self.length(&healed_key(stream, epoch, last + 1)).await?.is_some() {
                last += 1;
            } else if let Some(index) = self.merged_with(Place { stream, epoch, number: last + 1 }).await? {
                last = index.head.last;
            } else {
                return Ok(last);
            }
        }
    }

    /// The object before `next`, whatever stands for it now: itself, a part, or a note that says what it was.
    pub(crate) async fn before(
        &self,
        stream: &StreamId,
        epoch: Epoch,
        next: u64,
    ) -> Result<Option<Before>, ReplicationError> {
        let place = Place { stream, epoch, number: next - 1 };
        match self.open(place).await? {
            Some((ArchiveObject::Fence(fence), _)) => return Ok(Some(Before::Fence(fence))),
            Some((ArchiveObject::Batch(batch), _)) => return Ok(Some(Before::of(&batch))),
            None => {}
        }
        if let Some(batch) = self.merged_part(place).await? {
            return Ok(Some(Before::of(&batch)));
        }
        let note = self.newest_note(stream, epoch).await?.filter(|note| note.first_kept == next);
        Ok(note.map(|note| Before::Batch { digest: note.before, position: note.from, time: note.last_time }))
    }
}

/// What stands before a number.
#[derive(Debug)]
pub(crate) enum Before {
    Fence(crate::Fence),
    Batch { digest: Digest, position: rpo_core::Position, time: rpo_core::Timestamp },
}

impl Before {
    fn of(batch: &OpenBatch) -> Self {
        Self::Batch { digest: batch.digest, position: batch.head.to, time: batch.head.last_time }
    }
}
