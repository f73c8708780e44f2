use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use rpo_core::ErrorKind;
use rpo_storage::{
    ByteStream, Capabilities, Key, ListRequest, MemoryStorage, ObjectMeta, Page, Storage, StorageError,
    StoreIdentity,
};

#[derive(Debug, Default)]
struct Tricks {
    /// Keys beginning so cannot be created: the store is full.
    full_for: Option<String>,
    /// This byte of this object reads flipped.
    flip: Option<(Key, u64)>,
    /// These objects end early.
    cut: BTreeMap<Key, u64>,
    reads: Vec<(Key, Range<u64>)>,
    creates: Vec<Key>,
}

/// A store in memory that plays tricks when asked to.
#[derive(Debug, Clone, Default)]
pub struct TrickStorage {
    inner: MemoryStorage,
    tricks: Arc<Mutex<Tricks>>,
}

impl TrickStorage {
    pub fn fill_up_for(&self, prefix: Option<&str>) {
        self.tricks.lock().unwrap().full_for = prefix.map(ToOwned::to_owned);
    }

    pub fn flip(&self, at: Option<(Key, u64)>) {
        self.tricks.lock().unwrap().flip = at;
    }

    pub fn cut(&self, key: &Key, len: u64) {
        self.tricks.lock().unwrap().cut.insert(key.clone(), len);
    }

    pub fn take_reads(&self) -> Vec<(Key, Range<u64>)> {
        std::mem::take(&mut self.tricks.lock().unwrap().reads)
    }

    pub fn take_creates(&self) -> Vec<String> {
        std::mem::take(&mut self.tricks.lock().unwrap().creates).iter().map(ToString::to_string).collect()
    }

    pub async fn keys(&self, prefix: &str) -> Vec<ObjectMeta> {
        let request = ListRequest { prefix: prefix.to_owned(), start_after: None, limit: Some(100_000) };
        self.inner.list(request).await.unwrap().objects
    }

    pub async fn remove_all(&self, prefix: &str) -> usize {
        let keys = self.keys(prefix).await;
        for meta in &keys {
            self.inner.delete(&meta.key).await.unwrap();
        }
        keys.len()
    }
}

#[async_trait]
impl Storage for TrickStorage {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn identity(&self) -> StoreIdentity {
        self.inner.identity()
    }

    async fn create(&self, key: &Key, bytes: Bytes) -> Result<(), StorageError> {
        {
            let mut tricks = self.tricks.lock().unwrap();
            if tricks.full_for.as_ref().is_some_and(|prefix| key.as_str().starts_with(prefix.as_str())) {
                return Err(StorageError::Failed {
                    store: "memory".to_owned(),
                    op: "create",
                    key: key.to_string(),
                    kind: ErrorKind::NoSpace,
                    message: "no space left on device".to_owned(),
                    source: None,
                });
            }
            tricks.creates.push(key.clone());
        }
        self.inner.create(key, bytes).await
    }

    async fn create_streaming(&self, key: &Key, parts: ByteStream) -> Result<(), StorageError> {
        self.inner.create_streaming(key, parts).await
    }

    async fn read(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StorageError> {
        let (flip, cut) = {
            let mut tricks = self.tricks.lock().unwrap();
            tricks.reads.push((key.clone(), range.clone()));
            (tricks.flip.clone(), tricks.cut.get(key).copied())
        };
        if let Some(len) = cut.filter(|len| *len < range.end) {
            let (store, key) = ("memory".to_owned(), key.clone());
            return Err(StorageError::RangeNotSatisfied {
                store,
                key,
                len,
                start: range.start,
                end: range.end,
            });
        }
        let bytes = self.inner.read(key, range.clone()).await?;
        match flip {
            Some((flipped, at)) if flipped == *key && range.contains(&at) => {
                let mut bytes = bytes.to_vec();
                bytes[(at - range.start) as usize] ^= 0x10;
                Ok(bytes.into())
            }
            _ => Ok(bytes),
        }
    }

    async fn stat(&self, key: &Key) -> Result<ObjectMeta, StorageError> {
        let mut meta = self.inner.stat(key).await?;
        if let Some(len) = self.tricks.lock().unwrap().cut.get(key) {
            meta.len = *len;
        }
        Ok(meta)
    }

    async fn list(&self, request: ListRequest) -> Result<Page, StorageError> {
        self.inner.list(request).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StorageError> {
        self.inner.delete(key).await
    }
}
