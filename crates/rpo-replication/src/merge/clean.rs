//! Deleting the parts of merged objects, and asking a store to let go of something.

use rpo_core::{CopyName, Epoch, ErrorKind, Timestamp};
use rpo_crypto::ObjectType;
use rpo_crypto::envelope::{HEADER_BYTES, ObjectHeader};
use rpo_storage::Key;

use super::{MergeStep, Merger};
use crate::ReplicationError;
use crate::copies::CopySpec;
use crate::merged::{MergedHead, open_merged};
use crate::names::{batch_key, healed_key, merged_key};

/// What came of asking a store to delete something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    /// It is deleted.
    Deleted,
    /// It was not there, or is a fence, which stays.
    Nothing,
    /// The store does not let it go: a lock, or it deletes nothing at all.
    Held,
}

impl CopySpec {
    /// Deletes `key` unless the store holds it.
    pub(crate) async fn let_go(&self, key: &Key) -> Result<Gone, ReplicationError> {
        let storage = self.repository.storage();
        if !storage.capabilities().delete {
            return Ok(Gone::Held);
        }
        match storage.delete(key).await {
            Ok(()) => Ok(Gone::Deleted),
            Err(error) if matches!(error.kind(), ErrorKind::Refused | ErrorKind::Unsupported) => {
                Ok(Gone::Held)
            }
            Err(error) => Err(self.fault(error)),
        }
    }

    /// Deletes the batch under `key`; never a fence, whoever put it there.
    pub(crate) async fn let_batch_go(&self, key: &Key) -> Result<Gone, ReplicationError> {
        let header = match self.repository.storage().read(key, 0..HEADER_BYTES as u64).await {
            Ok(header) => header,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Gone::Nothing),
            Err(error) => return Err(self.fault(error)),
        };
        let header = ObjectHeader::decode(key.as_str(), &header)
            .map_err(|source| ReplicationError::Envelope { key: key.to_string(), source })?;
        if header.object_type == ObjectType::Batch { self.let_go(key).await } else { Ok(Gone::Nothing) }
    }
}

impl Merger {
    /// Deletes the parts of every merged object in `copy` whose grace time is over, after reading the object back there.
    pub(super) async fn clean(
        &mut self,
        copy: &CopySpec,
        epoch: Epoch,
        done: &mut MergeStep,
    ) -> Result<(), ReplicationError> {
        let line = copy.line(&self.stream, epoch).await?;
        let seen: (CopyName, Epoch) = (copy.name.clone(), epoch);
        let cleaned = self.cleaned.get(&seen).copied().unwrap_or(0);
        for number in line.first.max(cleaned + 1)..=self.last_to_clean(copy, epoch, line.own).await? {
            let Some(head) = self.proven(copy, epoch, number).await? else { return Ok(()) };
            if self.clock.wall() < due(&head, self.config.grace.get()) {
                return Ok(());
            }
            let held = self.delete_parts(copy, &head, done).await?;
            if held > 0 {
                done.held += held;
                return Ok(());
            }
            self.cleaned.insert(seen.clone(), number);
        }
        Ok(())
    }

    #[cfg_attr(not(feature = "planted-bugs"), allow(clippy::unused_async))]
    async fn last_to_clean(&self, copy: &CopySpec, epoch: Epoch, own: u64) -> Result<u64, ReplicationError> {
        #[cfg(feature = "planted-bugs")]
        if self.config.has(crate::PlantedBug::PartsBeforeMerged) {
            return Ok(self.copies.home().line(&self.stream, epoch).await?.own);
        }
        let _ = (copy, epoch);
        Ok(own)
    }

    /// The merged object, read whole from this very copy with every check; `None` if it is not there.
    async fn proven(
        &mut self,
        copy: &CopySpec,
        epoch: Epoch,
        number: u64,
    ) -> Result<Option<MergedHead>, ReplicationError> {
        #[cfg(feature = "planted-bugs")]
        let copy =
            if self.config.has(crate::PlantedBug::PartsBeforeMerged) { self.copies.home() } else { copy };
        let place = (copy.name.clone(), epoch, number);
        if self.verified.contains(&place) {
            let index = copy.merged(&self.stream, epoch, number).await?;
            return Ok(index.map(|index| index.head));
        }
        let key = merged_key(&self.stream, epoch, number);
        let Some(bytes) = copy.fetch(&key).await? else { return Ok(None) };
        let (head, _) = open_merged(copy.repository.keys(), &key, &bytes)?;
        self.verified.insert(place);
        Ok(Some(head))
    }

    /// Deletes the parts in order; returns how many the store holds.
    async fn delete_parts(
        &self,
        copy: &CopySpec,
        head: &MergedHead,
        done: &mut MergeStep,
    ) -> Result<u64, ReplicationError> {
        let keys = |number| {
            [batch_key(&self.stream, head.epoch, number), healed_key(&self.stream, head.epoch, number)]
        };
        let mut any = false;
        for key in keys(head.last) {
            any |= copy.length(&key).await?.is_some();
        }
        if !any {
            return Ok(0); // they go in order: with the last, all are gone
        }
        let mut held = 0;
        for number in head.first..=head.last {
            for key in keys(number) {
                match copy.let_batch_go(&key).await? {
                    Gone::Deleted => done.deleted += 1,
                    Gone::Held => held += 1,
                    Gone::Nothing => {}
                }
            }
        }
        Ok(held)
    }
}

fn due(head: &MergedHead, grace: std::time::Duration) -> Timestamp {
    head.merged_at.saturating_add(grace)
}
