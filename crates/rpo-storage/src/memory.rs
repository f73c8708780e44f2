//! Objects in memory: for tests, demonstrations and scratch repositories. Gone with the process, and it says so.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Bound, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use rpo_core::ErrorKind;

use crate::{
    ByteStream, Capabilities, Key, ListRequest, ObjectMeta, Page, Storage, StorageError, StoreIdentity,
};

/// Objects on one page of a listing when the caller leaves it to the store.
pub(crate) const PAGE_OBJECTS: usize = 1_000;

/// A store in memory. Clones share the objects.
#[derive(Clone, Default)]
pub struct MemoryStorage {
    name: String,
    objects: Arc<Mutex<BTreeMap<Key, Bytes>>>,
}

impl MemoryStorage {
    /// An empty store without a name.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store that calls itself `memory://name`.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), objects: Arc::default() }
    }

    /// How many objects it holds.
    pub fn len(&self) -> usize {
        self.objects().len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.objects().is_empty()
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<Key, Bytes>> {
        // Every change is one call on the map: a panic elsewhere cannot leave it half done.
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn url(&self) -> String {
        format!("memory://{}", self.name)
    }

    fn find(&self, key: &Key) -> Result<Bytes, StorageError> {
        let found = self.objects().get(key).cloned();
        found.ok_or_else(|| StorageError::NotFound { store: self.url(), key: key.clone() })
    }
}

impl fmt::Debug for MemoryStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStorage").field("url", &self.url()).field("objects", &self.len()).finish()
    }
}

#[async_trait]
impl Storage for MemoryStorage {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::full(u64::MAX);
        capabilities.durable = false;
        capabilities
    }

    fn identity(&self) -> StoreIdentity {
        StoreIdentity { url: self.url(), device: Some(format!("memory of process {}", std::process::id())) }
    }

    async fn create(&self, key: &Key, bytes: Bytes) -> Result<(), StorageError> {
        let mut objects = self.objects();
        if objects.contains_key(key) {
            return Err(StorageError::AlreadyExists { store: self.url(), key: key.clone() });
        }
        objects.insert(key.clone(), bytes);
        Ok(())
    }

    async fn create_streaming(&self, key: &Key, mut parts: ByteStream) -> Result<(), StorageError> {
        let mut whole = BytesMut::new();
        while let Some(part) = parts.next().await {
            let part = part.map_err(|error| {
                let message = format!("the stream of parts failed: {error}");
                StorageError::failed(self.url(), "create", key, ErrorKind::Retry, message)
            })?;
            whole.extend_from_slice(&part);
        }
        self.create(key, whole.freeze()).await
    }

    async fn read(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StorageError> {
        let bytes = self.find(key)?;
        let span = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        match span {
            Some((start, end)) if start <= end && end <= bytes.len() => Ok(bytes.slice(start..end)),
            _ => Err(StorageError::RangeNotSatisfied {
                store: self.url(),
                key: key.clone(),
                len: bytes.len() as u64,
                start: range.start,
                end: range.end,
            }),
        }
    }

    async fn stat(&self, key: &Key) -> Result<ObjectMeta, StorageError> {
        let bytes = self.find(key)?;
        Ok(ObjectMeta { key: key.clone(), len: bytes.len() as u64, created: None })
    }

    async fn list(&self, request: ListRequest) -> Result<Page, StorageError> {
        let limit = request.limit.unwrap_or(PAGE_OBJECTS);
        let objects = self.objects();
        let after = request.start_after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut found = objects
            .range::<Key, _>((after, Bound::Unbounded))
            .skip_while(|(key, _)| key.as_str() < request.prefix.as_str())
            .take_while(|(key, _)| key.as_str().starts_with(&request.prefix));
        let page = found.by_ref().take(limit);
        let page: Vec<_> = page
            .map(|(key, bytes)| ObjectMeta { key: key.clone(), len: bytes.len() as u64, created: None })
            .collect();
        Ok(Page { objects: page, more: found.next().is_some() })
    }

    async fn delete(&self, key: &Key) -> Result<(), StorageError> {
        self.objects().remove(key);
        Ok(())
    }
}
