//! Sealed objects: stored once, read whole or frame by frame.

use std::ops::Range;

use bytes::Bytes;
use rpo_core::ErrorKind;
use rpo_crypto::envelope::HEADER_BYTES;
use rpo_crypto::{ObjectType, Opener, Sealed, open, seal_object, sha256};
use rpo_storage::Key;

use crate::store::OBJECT_BYTES_MAX;
use crate::{Repository, RepositoryError};

/// What was stored: enough to find it and to check every byte of it without a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Its name.
    pub key: Key,
    /// Its length, bytes.
    pub len: u64,
    /// SHA-256 of all its bytes.
    pub sha256: [u8; 32],
}

impl Repository {
    /// Seals `frames` under this type and name, and stores them. On `Ok` the object is durable.
    ///
    /// # Errors
    /// `Conflict`: another object has the name; it is untouched. `Lost` (kind `Unknown`): it may be stored. Else it is
    /// certainly not stored.
    pub async fn put(
        &self,
        object_type: ObjectType,
        key: &Key,
        frames: &[&[u8]],
    ) -> Result<Receipt, RepositoryError> {
        let sealed = self.seal(object_type, key, frames)?;
        self.put_sealed(key, &sealed).await
    }

    /// Seals `frames` without storing them. The same bytes can go to every copy with [`put_bytes`](Self::put_bytes).
    ///
    /// # Errors
    /// No frames, too long a frame, or no randomness.
    pub fn seal(
        &self,
        object_type: ObjectType,
        key: &Key,
        frames: &[&[u8]],
    ) -> Result<Sealed, RepositoryError> {
        seal_object(self.keys(), object_type, key.as_str(), frames, &**self.entropy())
            .map_err(|error| self.crypto(error))
    }

    /// Stores bytes as they are: sealed before, or copied from another copy. The rule of [`put`](Self::put): who sends
    /// the same bytes again is told `Ok`.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn put_bytes(&self, key: &Key, bytes: Bytes) -> Result<Receipt, RepositoryError> {
        let sealed = Sealed { sha256: sha256(&bytes), bytes, frames: Vec::new() };
        self.put_sealed(key, &sealed).await
    }

    pub(crate) async fn put_sealed(&self, key: &Key, sealed: &Sealed) -> Result<Receipt, RepositoryError> {
        self.check_writable(key.as_str())?;
        self.store().create(key, &sealed.bytes).await?;
        Ok(Receipt { key: key.clone(), len: sealed.bytes.len() as u64, sha256: sealed.sha256 })
    }

    /// All frames of an object. Nothing is returned before every check has passed.
    ///
    /// # Errors
    /// Kind `NotFound`; kind `Corrupt` if it is not exactly what was sealed under this type and name.
    pub async fn get(&self, object_type: ObjectType, key: &Key) -> Result<Vec<Bytes>, RepositoryError> {
        let bytes = self.storage().read_all(key, OBJECT_BYTES_MAX).await?;
        open(self.keys(), object_type, key.as_str(), &bytes).map_err(|error| self.crypto(error))
    }

    /// [`get`](Self::get), with the receipt the object has now: to be held against the one it was stored with.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_with_receipt(
        &self,
        object_type: ObjectType,
        key: &Key,
    ) -> Result<(Vec<Bytes>, Receipt), RepositoryError> {
        let bytes = self.storage().read_all(key, OBJECT_BYTES_MAX).await?;
        let frames =
            open(self.keys(), object_type, key.as_str(), &bytes).map_err(|error| self.crypto(error))?;
        Ok((frames, Receipt { key: key.clone(), len: bytes.len() as u64, sha256: sha256(&bytes) }))
    }

    /// Reads and checks an object's header: what [`get_frame_with`](Self::get_frame_with) needs.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn opener(&self, object_type: ObjectType, key: &Key) -> Result<Opener, RepositoryError> {
        let header = self.read_part(key, 0..HEADER_BYTES as u64).await?;
        Opener::new(self.keys(), object_type, key.as_str(), &header).map_err(|error| self.crypto(error))
    }

    /// One frame alone: its number, and the byte range it lies in. Two reads; see [`opener`](Self::opener) for many frames.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_frame(
        &self,
        object_type: ObjectType,
        key: &Key,
        number: u64,
        range: Range<u64>,
    ) -> Result<Bytes, RepositoryError> {
        let opener = self.opener(object_type, key).await?;
        self.get_frame_with(&opener, key, number, range).await
    }

    /// One frame alone, its object's header being read already.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_frame_with(
        &self,
        opener: &Opener,
        key: &Key,
        number: u64,
        range: Range<u64>,
    ) -> Result<Bytes, RepositoryError> {
        let frame = self.read_part(key, range).await?;
        Ok(opener.open_frame(number, &frame).map_err(|error| self.crypto(error))?.0)
    }

    /// Part of an object that has to be there: too short an object is damaged, not a wrong question.
    async fn read_part(&self, key: &Key, range: Range<u64>) -> Result<Bytes, RepositoryError> {
        match self.storage().read(key, range.clone()).await {
            Err(error @ rpo_storage::StorageError::RangeNotSatisfied { .. }) => {
                Err(RepositoryError::Damaged {
                    store: self.store_name().to_owned(),
                    key: key.clone(),
                    why: error.to_string(),
                })
            }
            answer => Ok(answer?),
        }
    }

    /// The bytes a receipt is for, checked against it: what a mirror copies.
    ///
    /// # Errors
    /// Kind `NotFound`; `Damaged` if length or SHA-256 differ.
    pub async fn fetch(&self, receipt: &Receipt) -> Result<Bytes, RepositoryError> {
        let damaged = |why: String| RepositoryError::Damaged {
            store: self.store_name().to_owned(),
            key: receipt.key.clone(),
            why,
        };
        let found = self.storage().stat(&receipt.key).await?.len;
        if found != receipt.len {
            return Err(damaged(format!("it has {found} bytes, {} were stored", receipt.len)));
        }
        let bytes = self.storage().read(&receipt.key, 0..receipt.len).await?;
        if sha256(&bytes) != receipt.sha256 {
            return Err(damaged("its SHA-256 is not the one it was stored with".to_owned()));
        }
        Ok(bytes)
    }

    /// True if something has this name; says nothing about its bytes.
    ///
    /// # Errors
    /// The store's; an absent object is no error.
    pub async fn exists(&self, key: &Key) -> Result<bool, RepositoryError> {
        self.store().exists(key).await
    }

    /// The bytes under a name as they are, at most `limit`; `None` if there are none.
    ///
    /// # Errors
    /// The store's; kind `Corrupt` if there are more.
    pub async fn get_bytes(&self, key: &Key, limit: u64) -> Result<Option<Bytes>, RepositoryError> {
        match self.storage().read_all(key, limit).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
