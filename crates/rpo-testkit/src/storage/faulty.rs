//! A store that fails on purpose: by seed, or as told.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use rpo_core::ErrorKind;
use rpo_storage::{
    ByteStream, Capabilities, Key, ListRequest, ObjectMeta, Page, Storage, StorageError, StoreIdentity,
};

/// What can go wrong with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing goes wrong.
    None,
    /// It is refused before it happens (kind `Retry`).
    Refused,
    /// It does not happen, but nobody can tell (kind `Unknown`).
    Vanished,
    /// It happens, and the answer is lost (kind `Unknown`).
    LostAnswer,
    /// It happens after this long.
    Stall(Duration),
    /// It is never answered. Whether it happens nobody learns: it does not.
    Hang,
}

/// The operations of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the methods of `Storage`
pub enum Operation {
    Create,
    CreateStreaming,
    Read,
    Stat,
    List,
    Delete,
}

/// How often things go wrong, each in calls of a thousand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Faults {
    /// [`Fault::Refused`].
    pub refused: u16,
    /// [`Fault::Vanished`].
    pub vanished: u16,
    /// [`Fault::LostAnswer`].
    pub lost_answers: u16,
    /// [`Fault::Stall`] for [`Faults::stall`].
    pub stalls: u16,
    /// Length of a stall.
    pub stall: Duration,
    /// Uploads by stream may also be refused and vanish. Nothing above the caller can send them again.
    pub streams_fail: bool,
}

/// Passes everything on to the store below, except that it goes wrong now and then.
///
/// Faults are drawn from the seed in the order of the calls; a run with one caller can be replayed.
#[derive(Debug)]
pub struct FaultyStorage<S> {
    inner: S,
    faults: Faults,
    ignores_conditions: bool,
    random: AtomicU64,
    script: Mutex<VecDeque<(Operation, Fault)>>,
    injected: AtomicU64,
}

impl<S: Storage> FaultyStorage<S> {
    /// Goes wrong as often as `faults` says, drawn from `seed`.
    pub fn new(inner: S, seed: u64, faults: Faults) -> Self {
        Self {
            inner,
            faults,
            ignores_conditions: false,
            random: AtomicU64::new(seed),
            script: Mutex::default(),
            injected: AtomicU64::new(0),
        }
    }

    /// Goes wrong only as [told](FaultyStorage::next).
    pub fn scripted(inner: S) -> Self {
        Self::new(inner, 0, Faults::default())
    }

    /// A store that claims to refuse taken keys, and overwrites them, as some S3-compatible servers do.
    pub fn ignoring_create_conditions(inner: S) -> Self {
        Self { ignores_conditions: true, ..Self::scripted(inner) }
    }

    /// The next call of `operation` that has nothing in store for it yet goes wrong like this. `Fault::None` lets one pass.
    pub fn next(&self, operation: Operation, fault: Fault) {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).push_back((operation, fault));
    }

    /// How many faults there were: a test that passes without any has shown nothing.
    pub fn injected(&self) -> u64 {
        self.injected.load(Ordering::Relaxed)
    }

    /// The store below, where nothing goes wrong.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    fn draw(&self, operation: Operation) -> Fault {
        let fault = self.scripted_fault(operation).unwrap_or_else(|| self.random_fault(operation));
        if fault != Fault::None {
            self.injected.fetch_add(1, Ordering::Relaxed);
        }
        fault
    }

    fn scripted_fault(&self, operation: Operation) -> Option<Fault> {
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        let at = script.iter().position(|(o, _)| *o == operation)?;
        script.remove(at).map(|(_, fault)| fault)
    }

    fn random_fault(&self, operation: Operation) -> Fault {
        // SplitMix64 (Steele, Lea, Flood 2014).
        let mut z = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let mut drawn = ((z ^ (z >> 31)) % 1_000) as u16;
        let faults = &self.faults;
        let may_not_happen = operation != Operation::CreateStreaming || faults.streams_fail;
        for (share, fault, possible) in [
            (faults.refused, Fault::Refused, may_not_happen),
            (faults.vanished, Fault::Vanished, may_not_happen),
            (faults.lost_answers, Fault::LostAnswer, true),
            (faults.stalls, Fault::Stall(faults.stall), true),
        ] {
            match drawn.checked_sub(share) {
                Some(rest) => drawn = rest,
                None => return if possible { fault } else { Fault::None },
            }
        }
        Fault::None
    }

    fn error(&self, op: &'static str, key: &str, kind: ErrorKind, message: &str) -> StorageError {
        StorageError::failed(self.inner.identity().url, op, key, kind, format!("{message} (injected)"))
    }

    async fn with<T>(
        &self,
        operation: Operation,
        op: &'static str,
        key: &str,
        call: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, StorageError> {
        match self.draw(operation) {
            Fault::None => call.await,
            Fault::Refused => Err(self.error(op, key, ErrorKind::Retry, "refused before it happened")),
            Fault::Vanished => Err(self.error(op, key, ErrorKind::Unknown, "no answer")),
            Fault::LostAnswer => {
                call.await?; // an error is an answer
                Err(self.error(op, key, ErrorKind::Unknown, "the answer was lost"))
            }
            Fault::Stall(time) => {
                tokio::time::sleep(time).await;
                call.await
            }
            Fault::Hang => std::future::pending().await,
        }
    }

    /// Before a create that does not look whether the key is taken.
    async fn make_room(&self, key: &Key) -> Result<(), StorageError> {
        if self.ignores_conditions { self.inner.delete(key).await } else { Ok(()) }
    }
}

#[async_trait]
impl<S: Storage> Storage for FaultyStorage<S> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn identity(&self) -> StoreIdentity {
        self.inner.identity()
    }

    async fn create(&self, key: &Key, bytes: Bytes) -> Result<(), StorageError> {
        let call = async {
            loop {
                self.make_room(key).await?;
                match self.inner.create(key, bytes.clone()).await {
                    Err(StorageError::AlreadyExists { .. }) if self.ignores_conditions => {} // another one was faster
                    outcome => return outcome,
                }
            }
        };
        self.with(Operation::Create, "create", key.as_str(), call).await
    }

    async fn create_streaming(&self, key: &Key, mut parts: ByteStream) -> Result<(), StorageError> {
        let op = "create";
        if self.ignores_conditions {
            let mut whole = Vec::new();
            while let Some(part) = parts.next().await {
                let part =
                    part.map_err(|e| self.error(op, key.as_str(), ErrorKind::Retry, &e.to_string()))?;
                whole.extend_from_slice(&part);
            }
            return self.create(key, whole.into()).await;
        }
        match self.draw(Operation::CreateStreaming) {
            Fault::Vanished => {
                while parts.next().await.is_some() {} // all was sent, and all was lost
                Err(self.error(op, key.as_str(), ErrorKind::Unknown, "no answer"))
            }
            Fault::LostAnswer => {
                self.inner.create_streaming(key, parts).await?;
                Err(self.error(op, key.as_str(), ErrorKind::Unknown, "the answer was lost"))
            }
            Fault::Refused => {
                Err(self.error(op, key.as_str(), ErrorKind::Retry, "refused before it happened"))
            }
            Fault::Hang => std::future::pending().await,
            Fault::Stall(time) => {
                tokio::time::sleep(time).await;
                self.inner.create_streaming(key, parts).await
            }
            Fault::None => self.inner.create_streaming(key, parts).await,
        }
    }

    async fn read(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StorageError> {
        self.with(Operation::Read, "read", key.as_str(), self.inner.read(key, range)).await
    }

    async fn stat(&self, key: &Key) -> Result<ObjectMeta, StorageError> {
        self.with(Operation::Stat, "stat", key.as_str(), self.inner.stat(key)).await
    }

    async fn list(&self, request: ListRequest) -> Result<Page, StorageError> {
        let prefix = request.prefix.clone();
        self.with(Operation::List, "list", &prefix, self.inner.list(request)).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StorageError> {
        self.with(Operation::Delete, "delete", key.as_str(), self.inner.delete(key)).await
    }
}
