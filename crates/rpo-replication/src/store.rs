//! Talking to one copy: objects placed under the rule of the lost answer, looked for by name.

use bytes::Bytes;
use rpo_core::{Epoch, ErrorKind, StreamId};
use rpo_storage::{Key, ListRequest, StorageError};

use crate::ReplicationError;
use crate::copies::CopySpec;
use crate::fence::Fence;
use crate::names::{batch_key, epoch_of, epoch_prefix, number_of, past_epoch, stream_prefix};
use crate::object::{ArchiveObject, OBJECT_BYTES_MAX, OpenBatch, Place, open_object};

/// How often one call sends the same bytes when answers get lost.
const SENDS_MAX: u32 = 3;

/// What came of placing an object.
#[derive(Debug)]
pub(crate) enum Placed {
    /// It is there, durable, with our bytes.
    Ours,
    /// Other bytes were there before.
    Taken(Bytes),
}

impl CopySpec {
    fn storage(&self) -> &dyn rpo_storage::Storage {
        &**self.repository.storage()
    }

    pub(crate) fn fault(&self, source: StorageError) -> ReplicationError {
        ReplicationError::Storage { copy: self.name.clone(), source: Box::new(source) }
    }

    pub(crate) fn repository_fault(&self, source: rpo_repository::RepositoryError) -> ReplicationError {
        ReplicationError::Repository { copy: self.name.clone(), source: Box::new(source) }
    }

    /// The whole object; `None` if it is not there.
    pub(crate) async fn fetch(&self, key: &Key) -> Result<Option<Bytes>, ReplicationError> {
        self.fetch_up_to(key, OBJECT_BYTES_MAX).await
    }

    pub(crate) async fn fetch_up_to(&self, key: &Key, limit: u64) -> Result<Option<Bytes>, ReplicationError> {
        match self.storage().read_all(key, limit).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.fault(error)),
        }
    }

    /// Length of an object; `None` if it is not there.
    pub(crate) async fn length(&self, key: &Key) -> Result<Option<u64>, ReplicationError> {
        match self.storage().stat(key).await {
            Ok(meta) => Ok(Some(meta.len)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.fault(error)),
        }
    }

    /// Creates `key`, or finds out what has it. An answer that is lost is read back: our bytes = done, other bytes =
    /// taken, nothing = the same bytes are sent again, a few times.
    pub(crate) async fn place(&self, key: &Key, bytes: &Bytes) -> Result<Placed, ReplicationError> {
        let mut sends = 1;
        loop {
            let error = match self.storage().create(key, bytes.clone()).await {
                Ok(()) => return Ok(Placed::Ours),
                Err(error) => error,
            };
            if !matches!(error.kind(), ErrorKind::Exists | ErrorKind::Unknown) {
                return Err(self.fault(error));
            }
            match self.fetch(key).await? {
                Some(found) if found == *bytes => return Ok(Placed::Ours),
                Some(found) => return Ok(Placed::Taken(found)),
                None if sends < SENDS_MAX => sends += 1,
                None => return Err(self.fault(error)),
            }
        }
    }

    /// The object at `place`, opened; `None` if it is not there.
    pub(crate) async fn open(
        &self,
        place: Place<'_>,
    ) -> Result<Option<(ArchiveObject, Bytes)>, ReplicationError> {
        let Some(bytes) = self.fetch(&place.key()).await? else { return Ok(None) };
        Ok(Some((open_object(self.repository.keys(), place, &bytes)?, bytes)))
    }

    /// The next number of an epoch: no object has it, and one has the number before it (unless it is 1).
    ///
    /// `list` says where to begin looking, which also leads past objects that are missing in the middle; that nothing
    /// follows is found by asking for the next number by name. What is merged or expired may be deleted, and is not free.
    pub(crate) async fn next_number(&self, stream: &StreamId, epoch: Epoch) -> Result<u64, ReplicationError> {
        let covered = self.covered(stream, epoch).await?;
        let mut next = self.highest_listed(stream, epoch).await?.max(covered).saturating_add(1);
        while self.length(&batch_key(stream, epoch, next)).await?.is_some() {
            next += 1;
        }
        Ok(next)
    }

    /// The next number of an epoch, and the fence that ends it, if one does.
    ///
    /// A last object that is damaged is taken for a batch: whoever reads it says what is wrong. One that could not be read is
    /// an error: it may be the fence.
    pub(crate) async fn end(
        &self,
        stream: &StreamId,
        epoch: Epoch,
    ) -> Result<(u64, Option<Fence>), ReplicationError> {
        let next = self.next_number(stream, epoch).await?;
        if next == 1 {
            return Ok((next, None));
        }
        match self.open(Place { stream, epoch, number: next - 1 }).await {
            Ok(Some((ArchiveObject::Fence(fence), _))) => Ok((next, Some(fence))),
            Ok(_) => Ok((next, None)),
            Err(ReplicationError::Storage { copy, source }) => {
                Err(ReplicationError::Storage { copy, source })
            }
            Err(_) => Ok((next, None)),
        }
    }

    /// The smallest number of an epoch: what a note says; else 1, by name or merged; else what `list` shows and what stands
    /// before that by name.
    pub(crate) async fn first_number(
        &self,
        stream: &StreamId,
        epoch: Epoch,
    ) -> Result<Option<u64>, ReplicationError> {
        let there = async |number| {
            Ok::<_, ReplicationError>(self.length(&batch_key(stream, epoch, number)).await?.is_some())
        };
        let line = self.line(stream, epoch).await?;
        if let Some(note) = line.note {
            return Ok(Some(note.first_kept));
        }
        if there(1).await? {
            return Ok(Some(1));
        }
        if line.last >= line.first
            && let Some(index) = self.merged(stream, epoch, line.first).await?
        {
            return Ok(Some(index.head.first));
        }
        let Some(mut first) = self.listed_after(stream, epoch, 0).await? else { return Ok(None) };
        while first > 2 && there(first - 1).await? {
            first -= 1;
        }
        Ok(Some(first))
    }

    /// Gallops, then bisects, over "is anything listed after this number"; gaps do not mislead it.
    async fn highest_listed(&self, stream: &StreamId, epoch: Epoch) -> Result<u64, ReplicationError> {
        let Some(mut known) = self.listed_after(stream, epoch, 0).await? else { return Ok(0) };
        let mut stride = 1_u64;
        let mut beyond = loop {
            let probe = known.saturating_add(stride);
            match self.listed_after(stream, epoch, probe).await? {
                Some(found) => known = found,
                None => break probe,
            }
            stride = stride.saturating_mul(2);
        };
        // Something is listed at `known`, nothing after `beyond`.
        while known < beyond {
            let middle = known + (beyond - known) / 2;
            match self.listed_after(stream, epoch, middle).await? {
                Some(found) => known = found,
                None => beyond = middle,
            }
        }
        Ok(known)
    }

    async fn listed_after(
        &self,
        stream: &StreamId,
        epoch: Epoch,
        number: u64,
    ) -> Result<Option<u64>, ReplicationError> {
        let start_after = Some(batch_key(stream, epoch, number));
        let request = ListRequest { prefix: epoch_prefix(stream, epoch), start_after, limit: Some(1) };
        let page = self.storage().list(request).await.map_err(|error| self.fault(error))?;
        Ok(page.objects.first().and_then(|meta| number_of(stream, epoch, &meta.key)))
    }

    /// Epochs of a stream, in order: those that are listed, and those that follow them by name.
    pub(crate) async fn epochs(&self, stream: &StreamId) -> Result<Vec<Epoch>, ReplicationError> {
        let mut epochs = self.listed_epochs(stream).await?;
        let mut next = epochs.last().map_or(Some(Epoch::FIRST), |last| last.next());
        while let Some(epoch) = next {
            if self.length(&batch_key(stream, epoch, 1)).await?.is_none() {
                break;
            }
            epochs.push(epoch);
            next = epoch.next();
        }
        Ok(epochs)
    }

    async fn listed_epochs(&self, stream: &StreamId) -> Result<Vec<Epoch>, ReplicationError> {
        let mut epochs = Vec::new();
        let mut start_after = None;
        loop {
            let request = ListRequest { prefix: stream_prefix(stream), start_after, limit: Some(1) };
            let page = self.storage().list(request).await.map_err(|error| self.fault(error))?;
            let Some(meta) = page.objects.first() else { return Ok(epochs) };
            start_after = match epoch_of(stream, &meta.key) {
                Some(epoch) => {
                    epochs.push(epoch);
                    Some(past_epoch(stream, epoch))
                }
                None => Some(meta.key.clone()), // a foreign name: passed over
            };
        }
    }
}

/// The batch from whichever of `copies` has it, under its own key, healed or merged; `None` if none of those that answered
/// has it.
pub(crate) async fn open_from_any(
    copies: &[CopySpec],
    place: Place<'_>,
) -> Result<Option<OpenBatch>, ReplicationError> {
    let mut trouble = match fetch_from_any(copies.iter(), place).await {
        Ok(Some((ArchiveObject::Batch(batch), _))) => return Ok(Some(*batch)),
        Ok(_) => None,
        Err(error) => Some(error),
    };
    for copy in copies {
        match copy.merged_part(place).await {
            Ok(Some(batch)) => return Ok(Some(batch)),
            Ok(None) => {}
            Err(error) => trouble = Some(error),
        }
    }
    trouble.map_or(Ok(None), Err)
}

/// The object's bytes from whichever of `copies` has them, under its own key or healed; `None` if none of those that
/// answered has it.
pub(crate) async fn fetch_from_any(
    copies: impl Iterator<Item = &CopySpec>,
    place: Place<'_>,
) -> Result<Option<(ArchiveObject, Bytes)>, ReplicationError> {
    let mut trouble = None;
    for copy in copies {
        let healed = crate::names::healed_key(place.stream, place.epoch, place.number);
        for key in [place.key(), healed] {
            let found = match copy.fetch(&key).await {
                Ok(Some(bytes)) => {
                    open_object(copy.repository.keys(), place, &bytes).map(|object| (object, bytes))
                }
                Ok(None) => continue,
                Err(error) => Err(error),
            };
            match found {
                Ok((ArchiveObject::Batch(batch), bytes)) => {
                    return Ok(Some((ArchiveObject::Batch(batch), bytes)));
                }
                Ok((ArchiveObject::Fence(_), _)) => {}
                Err(error) => trouble = Some(error),
            }
        }
    }
    trouble.map_or(Ok(None), Err)
}
