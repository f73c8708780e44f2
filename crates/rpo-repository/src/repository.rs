//! The handle everything goes through.

use std::fmt;
use std::sync::Arc;

use rpo_core::{Clock, Entropy, RepositoryId, SourceId, StreamId};
use rpo_crypto::{CryptoError, KeyRing};
use rpo_storage::{Key, ListRequest, Storage};

use crate::numbers::Seen;
use crate::store::Store;
use crate::{Config, RepositoryError};

/// What a repository stands on.
#[derive(Debug, Clone)]
pub struct RepositoryParts {
    /// Where its objects are.
    pub storage: Arc<dyn Storage>,
    /// The time, for people to read in what is written; nothing is decided by it.
    pub clock: Arc<dyn Clock>,
    /// Randomness for keys, salts and names.
    pub entropy: Arc<dyn Entropy>,
}

/// An open repository. Cheap to clone; all clones share what they have seen.
#[derive(Clone)]
pub struct Repository(Arc<Inner>);

struct Inner {
    parts: RepositoryParts,
    store: Store,
    config: Config,
    keys: KeyRing,
    writable: bool,
    seen: Seen,
}

impl Repository {
    pub(crate) fn assemble(parts: RepositoryParts, config: Config, keys: KeyRing, writable: bool) -> Self {
        let store = Store::new(parts.storage.clone());
        Self(Arc::new(Inner { parts, store, config, keys, writable, seen: Seen::default() }))
    }

    /// Its identity: the same in all its copies.
    pub fn id(&self) -> RepositoryId {
        self.0.config.repository
    }

    /// The config it was opened with.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Its keys.
    pub fn keys(&self) -> &KeyRing {
        &self.0.keys
    }

    /// Its store. What is created there directly goes without the rule of lost answers.
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.0.parts.storage
    }

    /// Its clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.parts.clock
    }

    /// Its randomness.
    pub fn entropy(&self) -> &Arc<dyn Entropy> {
        &self.0.parts.entropy
    }

    /// What it stands on.
    pub fn parts(&self) -> &RepositoryParts {
        &self.0.parts
    }

    /// True unless it was opened for reading only.
    pub fn is_writable(&self) -> bool {
        self.0.writable
    }

    /// 16 fresh random bytes: names of packs are made of these.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn random_id(&self) -> Result<[u8; 16], RepositoryError> {
        let mut id = [0; 16];
        self.entropy().fill(&mut id)?;
        Ok(id)
    }

    /// Sources that have begun a session, by name. From a listing, so a hint: one that is missing may still exist.
    ///
    /// # Errors
    /// The store's.
    pub async fn sources(&self) -> Result<Vec<SourceId>, RepositoryError> {
        Ok(self.names("sessions/").await?.into_iter().filter_map(|name| SourceId::new(name).ok()).collect())
    }

    /// Streams that have a log here, by name. From a listing, so a hint: one that is missing may still exist.
    ///
    /// # Errors
    /// The store's.
    pub async fn streams(&self) -> Result<Vec<StreamId>, RepositoryError> {
        Ok(self.names("logs/").await?.into_iter().filter_map(|name| StreamId::new(name).ok()).collect())
    }

    /// The parts that follow `prefix` in names: one request each, however many objects are below.
    async fn names(&self, prefix: &str) -> Result<Vec<String>, RepositoryError> {
        let mut names = Vec::new();
        let mut start_after = None;
        loop {
            let request = ListRequest { prefix: prefix.to_owned(), start_after, limit: Some(1) };
            let page = self.storage().list(request).await?;
            let Some(object) = page.objects.first() else { break };
            let rest = object.key.as_str().strip_prefix(prefix).unwrap_or_default();
            start_after = match rest.split_once('/') {
                Some((name, _)) => {
                    names.push(name.to_owned());
                    // Past all numbers (hexadecimal digits) below this name, before any other name.
                    Key::new(format!("{prefix}{name}/zz")).ok()
                }
                None => Some(object.key.clone()), // a stray object: pass over it
            };
            if start_after.is_none() {
                break;
            }
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn store_name(&self) -> &str {
        &self.0.store.name
    }

    pub(crate) fn seen(&self) -> &Seen {
        &self.0.seen
    }

    pub(crate) fn check_writable(&self, key: &str) -> Result<(), RepositoryError> {
        if !self.0.writable {
            return Err(RepositoryError::ReadOnly {
                store: self.store_name().to_owned(),
                key: key.to_owned(),
            });
        }
        self.0.config.check_writer(self.store_name())
    }

    pub(crate) fn check_id(&self, found: RepositoryId) -> Result<(), RepositoryError> {
        check_id(self.store_name(), self.id(), found)
    }

    pub(crate) fn crypto(&self, source: CryptoError) -> RepositoryError {
        RepositoryError::Crypto { store: self.store_name().to_owned(), source }
    }
}

pub(crate) fn check_id(
    store: &str,
    expected: RepositoryId,
    found: RepositoryId,
) -> Result<(), RepositoryError> {
    if expected == found {
        return Ok(());
    }
    Err(RepositoryError::OtherRepository { store: store.to_owned(), expected, found })
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repository")
            .field("id", &self.id())
            .field("store", &self.store_name())
            .field("encrypted", &self.keys().is_encrypted())
            .field("writable", &self.0.writable)
            .finish_non_exhaustive()
    }
}
