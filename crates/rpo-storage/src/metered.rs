//! Counting: what is asked of a store, what it answers, and how long that takes.

use std::future::Future;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use rpo_core::ErrorKind;
use rpo_core::ports::Clock;

use crate::{
    ByteStream, Capabilities, Key, ListRequest, ObjectMeta, Page, Storage, StorageError, StoreIdentity,
};

/// Upper bounds of the latency buckets, milliseconds; one more bucket holds what is slower.
pub const LATENCY_BOUNDS_MS: [u64; 10] = [1, 2, 5, 10, 50, 100, 500, 1_000, 5_000, 30_000];

/// What one kind of operation came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct OperationMetrics {
    /// Calls that were answered, also with an error.
    pub calls: u64,
    /// Answers that are part of normal work: `AlreadyExists`, `NotFound`, `RangeNotSatisfied`.
    pub refusals: u64,
    /// Calls that failed.
    pub errors: u64,
    /// Bytes written or read by calls that succeeded.
    pub bytes: u64,
    /// Time spent in all calls together.
    pub time_total: Duration,
    /// Time spent in the slowest call.
    pub time_max: Duration,
    /// Calls by latency: bucket `i` counts those up to [`LATENCY_BOUNDS_MS`]`[i]`, the last the slower ones.
    pub latency: [u64; LATENCY_BOUNDS_MS.len() + 1],
}

/// What a store was asked since it was wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StorageMetrics {
    /// `create`.
    pub create: OperationMetrics,
    /// `create_streaming`.
    pub create_streaming: OperationMetrics,
    /// `read`.
    pub read: OperationMetrics,
    /// `stat`.
    pub stat: OperationMetrics,
    /// `list`.
    pub list: OperationMetrics,
    /// `delete`.
    pub delete: OperationMetrics,
}

impl StorageMetrics {
    /// All operations with their names.
    pub fn operations(&self) -> [(&'static str, OperationMetrics); 6] {
        [
            ("create", self.create),
            ("create-streaming", self.create_streaming),
            ("read", self.read),
            ("stat", self.stat),
            ("list", self.list),
            ("delete", self.delete),
        ]
    }
}

/// Counts what goes through it and changes nothing. Calls that are dropped before the answer are not counted.
#[derive(Debug)]
pub struct MeteredStorage<S> {
    inner: S,
    clock: Arc<dyn Clock>,
    metrics: Mutex<StorageMetrics>,
}

impl<S: Storage> MeteredStorage<S> {
    /// Counts what is asked of `inner`; times are taken on the clock's steady side.
    pub fn new(inner: S, clock: Arc<dyn Clock>) -> Self {
        Self { inner, clock, metrics: Mutex::default() }
    }

    /// The store below.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// What was counted so far.
    pub fn snapshot(&self) -> StorageMetrics {
        *self.metrics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn count<T>(
        &self,
        which: fn(&mut StorageMetrics) -> &mut OperationMetrics,
        bytes: impl FnOnce(&T) -> u64,
        call: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, StorageError> {
        let began = self.clock.monotonic();
        let outcome = call.await;
        let took = self.clock.monotonic().since(began);
        let mut metrics = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        let metrics = which(&mut metrics);
        metrics.calls += 1;
        match &outcome {
            Ok(value) => metrics.bytes += bytes(value),
            Err(error) if is_refusal(error) => metrics.refusals += 1,
            Err(_) => metrics.errors += 1,
        }
        metrics.time_total += took;
        metrics.time_max = metrics.time_max.max(took);
        let bucket = LATENCY_BOUNDS_MS.iter().position(|bound| took <= Duration::from_millis(*bound));
        metrics.latency[bucket.unwrap_or(LATENCY_BOUNDS_MS.len())] += 1;
        outcome
    }
}

fn is_refusal(error: &StorageError) -> bool {
    let out_of_range = matches!(error, StorageError::RangeNotSatisfied { .. });
    out_of_range || matches!(error.kind(), ErrorKind::Exists | ErrorKind::NotFound)
}

#[async_trait]
impl<S: Storage> Storage for MeteredStorage<S> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn identity(&self) -> StoreIdentity {
        self.inner.identity()
    }

    async fn create(&self, key: &Key, bytes: Bytes) -> Result<(), StorageError> {
        let len = bytes.len() as u64;
        self.count(|m| &mut m.create, |()| len, self.inner.create(key, bytes)).await
    }

    async fn create_streaming(&self, key: &Key, parts: ByteStream) -> Result<(), StorageError> {
        let sent = Arc::new(Mutex::new(0));
        let counter = Arc::clone(&sent);
        let parts = parts.inspect(move |part| {
            let len = part.as_ref().map_or(0, |part| part.len() as u64);
            *counter.lock().unwrap_or_else(PoisonError::into_inner) += len;
        });
        let len = move |(): &()| *sent.lock().unwrap_or_else(PoisonError::into_inner);
        let call = self.inner.create_streaming(key, Box::pin(parts));
        self.count(|m| &mut m.create_streaming, len, call).await
    }

    async fn read(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StorageError> {
        self.count(|m| &mut m.read, |bytes| bytes.len() as u64, self.inner.read(key, range)).await
    }

    async fn stat(&self, key: &Key) -> Result<ObjectMeta, StorageError> {
        self.count(|m| &mut m.stat, |_| 0, self.inner.stat(key)).await
    }

    async fn list(&self, request: ListRequest) -> Result<Page, StorageError> {
        self.count(|m| &mut m.list, |_| 0, self.inner.list(request)).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StorageError> {
        self.count(|m| &mut m.delete, |()| 0, self.inner.delete(key)).await
    }
}
