//! Trying again, within bounds, and never twice what happened once: an answer that was lost is read back.

mod hurry;
mod pacing;

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use rpo_core::ports::{Clock, Entropy};
use rpo_core::{ByteSize, ConfigError, ErrorKind, HumanDuration};
use serde::{Deserialize, Serialize};

pub use self::hurry::Hurry;
use self::pacing::{Budget, Pacing};
use crate::digest::{Digest, Digester};
use crate::{
    ByteStream, Capabilities, Key, ListRequest, ObjectMeta, Page, Storage, StorageError, StoreIdentity,
};

/// How often and how long to try.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct RetryConfig {
    /// Attempts of one operation, the first included. 1 never retries.
    pub attempts_max: u32,
    /// Longest pause before the first retry; each further one may be twice as long. The pause is drawn at random
    /// between nothing and that, so that many clients do not come back at once.
    pub pause_first: HumanDuration,
    /// Longest pause at all.
    pub pause_max: HumanDuration,
    /// No new attempt of an operation begins after this long. Measured on the steady clock.
    pub deadline: HumanDuration,
    /// An attempt that has not answered for this long, and for the time that its bytes may take, is given up as an
    /// unknown outcome. Uploads by stream are not bound.
    pub attempt_time_max: HumanDuration,
    /// Bytes per second that a slow but living connection makes at least: gives large objects more time.
    pub throughput_min: ByteSize,
    /// Retries that may be outstanding over all operations: each takes one, each tenth success gives one back. When
    /// they are used up (the store is down, not unlucky) operations fail at once instead of pressing on it.
    pub budget: u32,
}

impl Default for RetryConfig {
    /// Eight attempts over some ten seconds: outlives a store's hiccup, and an operator learns of an outage soon.
    fn default() -> Self {
        Self {
            attempts_max: 8,
            pause_first: HumanDuration::from_millis(200),
            pause_max: HumanDuration::from_secs(10),
            deadline: HumanDuration::from_secs(120),
            attempt_time_max: HumanDuration::from_secs(30),
            throughput_min: ByteSize::new(64 << 10),
            budget: 100,
        }
    }
}

impl RetryConfig {
    /// Reports all broken rules together.
    ///
    /// # Errors
    /// Each with field, value and bound.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut problems = rpo_core::error::Problems::new();
        problems.require(self.attempts_max >= 1, "attempts-max", self.attempts_max, "at least 1");
        problems.require(
            self.pause_first <= self.pause_max,
            "pause-first",
            self.pause_first,
            "at most pause-max",
        );
        let some_time = self.attempt_time_max > HumanDuration::ZERO;
        problems.require(some_time, "attempt-time-max", self.attempt_time_max, "more than nothing");
        let some_rate = self.throughput_min > ByteSize::default();
        problems.require(some_rate, "throughput-min", self.throughput_min, "more than nothing");
        problems.finish()
    }
}

/// Retries what may be retried on the store below it.
///
/// - Operations without effect (`read`, `stat`, `list`) and `delete` (twice is once) are made again.
/// - `create` whose outcome is unknown is *read back*: same length and SHA-256 = done, other bytes = `AlreadyExists`,
///   absent = the same bytes are sent again. If that cannot be found out in time, the error is kind `Unknown`, also if
///   the last attempt itself certainly did nothing.
/// - `create_streaming` cannot send again, because its parts are gone; a lost answer is read back all the same.
///
/// So `Ok` means once, `AlreadyExists` means someone else's bytes. A first attempt that finds the key taken is
/// reported as that without a look at the bytes.
#[derive(Debug)]
pub struct RetryStorage<S> {
    inner: S,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    config: RetryConfig,
    budget: Budget,
    hurry: Hurry,
}

impl<S: Storage> RetryStorage<S> {
    /// Retries on `inner` as `config` says.
    ///
    /// # Errors
    /// The rules that the configuration breaks.
    pub fn new(
        inner: S,
        config: RetryConfig,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, ConfigError> {
        config.validate()?;
        let budget = Budget::new(config.budget);
        Ok(Self { inner, clock, entropy, config, budget, hurry: Hurry::new() })
    }

    /// Gives up waiting once `hurry` says so.
    #[must_use]
    pub fn hurried_by(mut self, hurry: Hurry) -> Self {
        self.hurry = hurry;
        self
    }

    /// The store below.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    fn pacing(&self) -> Pacing<'_> {
        Pacing::new(&self.config, self.clock.as_ref(), self.entropy.as_ref(), &self.budget, &self.hurry)
    }

    /// One attempt that moves `bytes`, given up as unknown if it takes too long.
    async fn attempt<T>(
        &self,
        op: &'static str,
        key: &str,
        bytes: u64,
        call: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, StorageError> {
        let moving = Duration::from_secs(bytes / self.config.throughput_min.get());
        let limit = HumanDuration::from(self.config.attempt_time_max.get().saturating_add(moving));
        let outcome = tokio::time::timeout(limit.get(), call).await.unwrap_or_else(|_| {
            let message = format!("no answer within {limit}");
            Err(StorageError::failed(self.inner.identity().url, op, key, ErrorKind::Unknown, message))
        });
        if outcome.is_ok() {
            self.budget.success();
        }
        outcome
    }

    /// Makes a call that may be made twice until it is answered.
    async fn repeat<'a, T, F>(
        &'a self,
        op: &'static str,
        key: &str,
        bytes: u64,
        call: impl Fn(&'a S) -> F,
    ) -> Result<T, StorageError>
    where
        F: Future<Output = Result<T, StorageError>> + 'a,
    {
        let mut pacing = self.pacing();
        loop {
            match self.attempt(op, key, bytes, call(&self.inner)).await {
                Err(error) if is_temporary(&error) && pacing.pause().await => log(op, key, &error),
                outcome => return outcome,
            }
        }
    }

    /// What became of a `create` of these bytes.
    async fn read_back(&self, key: &Key, sent: &Digest) -> Result<ReadBack, StorageError> {
        match self.attempt("read back", key.as_str(), sent.len, sent.is_stored(&self.inner, key)).await {
            Ok(true) => Ok(ReadBack::Ours),
            Ok(false) => Ok(ReadBack::Other),
            Err(StorageError::NotFound { .. }) => Ok(ReadBack::Absent),
            Err(error) => Err(error),
        }
    }

    fn taken(&self, key: &Key) -> StorageError {
        StorageError::AlreadyExists { store: self.inner.identity().url, key: key.clone() }
    }
}

/// What was found under a key after a `create` whose answer was lost.
enum ReadBack {
    Ours,
    Other,
    Absent,
}

fn is_temporary(error: &StorageError) -> bool {
    matches!(error.kind(), ErrorKind::Retry | ErrorKind::Unknown | ErrorKind::Busy)
}

fn log(op: &'static str, key: &str, error: &StorageError) {
    tracing::debug!(op, key, error = %error, "trying again");
}

/// An attempt may have created the object: whatever a later one says, the outcome as a whole is unknown.
fn as_unknown(error: StorageError) -> StorageError {
    match error {
        StorageError::Failed { store, op, key, message, source, .. } => {
            StorageError::Failed { store, op, key, kind: ErrorKind::Unknown, message, source }
        }
        other => other,
    }
}

#[async_trait]
impl<S: Storage> Storage for RetryStorage<S> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn identity(&self) -> StoreIdentity {
        self.inner.identity()
    }

    async fn create(&self, key: &Key, bytes: Bytes) -> Result<(), StorageError> {
        let mut pacing = self.pacing();
        let mut sent: Option<Digest> = None; // set once an attempt may have created the object
        loop {
            let error = match self
                .attempt("create", key.as_str(), bytes.len() as u64, self.inner.create(key, bytes.clone()))
                .await
            {
                Err(error @ StorageError::AlreadyExists { .. }) if sent.is_none() => return Err(error),
                Err(error) if is_temporary(&error) || matches!(error, StorageError::AlreadyExists { .. }) => {
                    error
                }
                Err(error) if sent.is_some() => return Err(as_unknown(error)),
                outcome => return outcome,
            };
            let mut last = error;
            if sent.is_none() && matches!(last.kind(), ErrorKind::Unknown) {
                sent = Some(Digest::of(&bytes));
            }
            if let Some(digest) = &sent {
                loop {
                    match self.read_back(key, digest).await {
                        Ok(ReadBack::Ours) => return Ok(()),
                        Ok(ReadBack::Other) => return Err(self.taken(key)),
                        Ok(ReadBack::Absent) => break,
                        Err(error) if is_temporary(&error) && pacing.pause().await => last = error,
                        Err(error) => return Err(as_unknown(error)),
                    }
                }
            }
            if !pacing.pause().await {
                return Err(if sent.is_some() { as_unknown(last) } else { last });
            }
            log("create", key.as_str(), &last);
        }
    }

    async fn create_streaming(&self, key: &Key, parts: ByteStream) -> Result<(), StorageError> {
        let seen = Arc::new(Mutex::new(Seen { digester: Digester::new(), ended: false }));
        let parts = Box::pin(Digested { parts, seen: Arc::clone(&seen) });
        let error = match self.inner.create_streaming(key, parts).await {
            Err(error) if error.kind() == ErrorKind::Unknown => error,
            outcome => return outcome,
        };
        let digest = {
            let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            if !seen.ended {
                return Err(error); // not all was sent: there is nothing to compare with
            }
            seen.digester.finish()
        };
        let mut pacing = self.pacing();
        loop {
            match self.read_back(key, &digest).await {
                Ok(ReadBack::Ours) => return Ok(()),
                Ok(ReadBack::Other) => return Err(self.taken(key)),
                Ok(ReadBack::Absent) => return Err(error),
                Err(again) if is_temporary(&again) && pacing.pause().await => {}
                Err(again) => return Err(as_unknown(again)),
            }
        }
    }

    async fn read(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StorageError> {
        self.repeat("read", key.as_str(), range.end.saturating_sub(range.start), |inner| {
            inner.read(key, range.clone())
        })
        .await
    }

    async fn stat(&self, key: &Key) -> Result<ObjectMeta, StorageError> {
        self.repeat("stat", key.as_str(), 0, |inner| inner.stat(key)).await
    }

    async fn list(&self, request: ListRequest) -> Result<Page, StorageError> {
        self.repeat("list", &request.prefix, 0, |inner| inner.list(request.clone())).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StorageError> {
        self.repeat("delete", key.as_str(), 0, |inner| inner.delete(key)).await
    }
}

struct Seen {
    digester: Digester,
    ended: bool,
}

/// Digests the parts of a stream as they go by.
struct Digested {
    parts: ByteStream,
    seen: Arc<Mutex<Seen>>,
}

impl Stream for Digested {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.parts.as_mut().poll_next(context);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match &polled {
            Poll::Ready(Some(Ok(part))) => seen.digester.update(part),
            Poll::Ready(None) => seen.ended = true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        drop(seen);
        polled
    }
}

#[cfg(test)]
mod tests;
