//! The contract every store keeps.

use std::fmt::Debug;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use rpo_core::Timestamp;

use crate::{Key, StorageError};

/// What a store can do. What is not declared is refused, never imitated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// `create` refuses an existing key even when two writers race. Without it there is no fencing.
    pub create_is_exclusive: bool,
    /// What `create` acknowledged survives a power cut.
    pub durable: bool,
    /// Objects can be deleted.
    pub delete: bool,
    /// Largest object, bytes.
    pub object_bytes_max: u64,
}

impl Capabilities {
    /// A store that keeps the whole contract, for objects up to `object_bytes_max` bytes.
    pub const fn full(object_bytes_max: u64) -> Self {
        Self { create_is_exclusive: true, durable: true, delete: true, object_bytes_max }
    }
}

/// Where a store is, for people and for telling failure domains apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreIdentity {
    /// Its URL, without credentials.
    pub url: String,
    /// What it stands on, if that can be known: two stores with the same value share a fate (`device 8:1`).
    pub device: Option<String>,
}

/// What is known of an object without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Its name.
    pub key: Key,
    /// Length, bytes.
    pub len: u64,
    /// When it was created, by the store's clock, if the store tells.
    pub created: Option<Timestamp>,
}

/// Which objects to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListRequest {
    /// Keys that begin with this text; empty lists everything.
    pub prefix: String,
    /// Only keys greater than this one.
    pub start_after: Option<Key>,
    /// At most this many; `None` leaves it to the store.
    pub limit: Option<usize>,
}

impl ListRequest {
    /// Everything that begins with `prefix`, from the first page on.
    pub fn below(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..Self::default() }
    }
}

/// Part of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Objects, sorted by key.
    pub objects: Vec<ObjectMeta>,
    /// True if there may be more after the last one.
    pub more: bool,
}

/// The parts of an object that is created as a stream.
pub type ByteStream = Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>;

/// A store of immutable objects. Whatever a provider does, this text and the conformance suite are the contract.
///
/// No method retries on its own: retrying is the work of [`RetryStorage`](crate::RetryStorage), under the rule that a lost answer is read back.
#[async_trait]
pub trait Storage: Debug + Send + Sync + 'static {
    /// What this store can do. Anything else returns `Unsupported`, never a weaker imitation.
    fn capabilities(&self) -> Capabilities;
    /// Where it is.
    fn identity(&self) -> StoreIdentity;
    /// Creates `key`. On `Ok` the object is durable and visible to every later `read`, `stat` and `list`.
    ///
    /// # Errors
    /// `AlreadyExists`: the stored bytes are untouched. Kind `Unknown`: read it back before you try again.
    async fn create(&self, key: &Key, bytes: Bytes) -> Result<(), StorageError>;
    /// Creates `key` from parts, without holding the whole object in memory. Nothing is visible before `Ok`.
    ///
    /// # Errors
    /// As `create`; an error of the stream itself ends the upload and leaves nothing behind but parts to be swept.
    async fn create_streaming(&self, key: &Key, parts: ByteStream) -> Result<(), StorageError>;
    /// Reads exactly `range` (bytes); a range past the end is `RangeNotSatisfied`, never a short read.
    ///
    /// # Errors
    /// `NotFound`, `RangeNotSatisfied`, or kind `Retry`.
    async fn read(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StorageError>;
    /// Length and age of an object.
    ///
    /// # Errors
    /// `NotFound`, or kind `Retry`.
    async fn stat(&self, key: &Key) -> Result<ObjectMeta, StorageError>;
    /// Objects whose keys begin with the prefix, sorted. A hint: absence is never concluded from it.
    ///
    /// # Errors
    /// Kind `Retry`.
    async fn list(&self, request: ListRequest) -> Result<Page, StorageError>;
    /// Removes an object; an absent one is no error.
    ///
    /// # Errors
    /// Kind `Unknown`: it may be gone. `Refused` while the store holds a lock on it.
    async fn delete(&self, key: &Key) -> Result<(), StorageError>;

    /// Reads a whole object of at most `limit` bytes.
    ///
    /// # Errors
    /// As `read`; an object larger than `limit` is kind `Corrupt`, before anything is read.
    async fn read_all(&self, key: &Key, limit: u64) -> Result<Bytes, StorageError> {
        let meta = self.stat(key).await?;
        if meta.len > limit {
            return Err(StorageError::Failed {
                store: self.identity().url,
                op: "read",
                key: key.to_string(),
                kind: rpo_core::ErrorKind::Corrupt,
                message: format!("it has {} bytes, at most {limit} were expected", meta.len),
                source: None,
            });
        }
        self.read(key, 0..meta.len).await
    }
}

/// A shared store is a store: wrappers take either.
#[async_trait]
impl<S: Storage + ?Sized> Storage for Arc<S> {
    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }
    fn identity(&self) -> StoreIdentity {
        (**self).identity()
    }
    async fn create(&self, key: &Key, bytes: Bytes) -> Result<(), StorageError> {
        (**self).create(key, bytes).await
    }
    async fn create_streaming(&self, key: &Key, parts: ByteStream) -> Result<(), StorageError> {
        (**self).create_streaming(key, parts).await
    }
    async fn read(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StorageError> {
        (**self).read(key, range).await
    }
    async fn stat(&self, key: &Key) -> Result<ObjectMeta, StorageError> {
        (**self).stat(key).await
    }
    async fn list(&self, request: ListRequest) -> Result<Page, StorageError> {
        (**self).list(request).await
    }
    async fn delete(&self, key: &Key) -> Result<(), StorageError> {
        (**self).delete(key).await
    }
    async fn read_all(&self, key: &Key, limit: u64) -> Result<Bytes, StorageError> {
        (**self).read_all(key, limit).await
    }
}
