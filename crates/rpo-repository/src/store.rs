//! Creating and reading objects under the rule of lost answers: read back, then say done, not done or unknown.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use rpo_core::ErrorKind;
use rpo_crypto::sha256;
use rpo_storage::{Key, Storage, StorageError};

use crate::RepositoryError;

/// Largest object that is read whole, bytes.
pub(crate) const OBJECT_BYTES_MAX: u64 = 1 << 30;

/// How often one `create` is sent or read back before it is told as unknown.
const ATTEMPTS: u32 = 5;

/// A store with its name for errors.
#[derive(Clone)]
pub(crate) struct Store {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) name: String,
}

enum Found {
    Ours,
    Other,
    Nothing,
}

impl Store {
    pub(crate) fn new(storage: Arc<dyn Storage>) -> Self {
        let name = storage.identity().url;
        Self { storage, name }
    }

    /// Creates `key` with exactly these bytes, once.
    ///
    /// An answer `Exists` or `Unknown` is followed by a look: the same length and SHA-256 is done, other bytes are a
    /// conflict, nothing there means the same bytes are sent again.
    pub(crate) async fn create(&self, key: &Key, bytes: &Bytes) -> Result<(), RepositoryError> {
        let mut maybe = false; // an attempt may still land
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let error = match self.storage.create(key, bytes.clone()).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            match error.kind() {
                ErrorKind::Exists | ErrorKind::Unknown => {
                    maybe |= error.kind() == ErrorKind::Unknown;
                    #[cfg(feature = "planted-bugs")]
                    if crate::planted::is_on(crate::planted::Bug::LostAnswerIsDone) {
                        return Ok(());
                    }
                    match self.look(key, bytes).await {
                        Ok(Found::Ours) => return Ok(()),
                        Ok(Found::Other) => {
                            return Err(RepositoryError::Conflict {
                                store: self.name.clone(),
                                key: key.clone(),
                            });
                        }
                        Ok(Found::Nothing) => last = Some(error),
                        Err(look) => last = Some(look),
                    }
                }
                ErrorKind::Retry => last = Some(error),
                _ if maybe => last = Some(error),
                _ => return Err(error.into()),
            }
        }
        let source = last.expect("each attempt that did not return left its error");
        if maybe {
            let (store, key) = (self.name.clone(), key.clone());
            Err(RepositoryError::Lost { store, key, attempts: ATTEMPTS, source: Box::new(source) })
        } else {
            Err(source.into())
        }
    }

    async fn look(&self, key: &Key, sent: &Bytes) -> Result<Found, StorageError> {
        let len = match self.storage.stat(key).await {
            Ok(meta) => meta.len,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(error),
        };
        if len != sent.len() as u64 {
            return Ok(Found::Other);
        }
        let found = self.storage.read(key, 0..len).await?;
        Ok(if sha256(&found) == sha256(sent) { Found::Ours } else { Found::Other })
    }

    /// The whole object, or `None` if there is none.
    pub(crate) async fn read(&self, key: &Key, limit: u64) -> Result<Option<Bytes>, RepositoryError> {
        match self.storage.read_all(key, limit).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) async fn exists(&self, key: &Key) -> Result<bool, RepositoryError> {
        match self.storage.stat(key).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
