use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use rpo_core::ErrorKind;
use rpo_storage::{
    ByteStream, Capabilities, Key, ListRequest, MemoryStorage, ObjectMeta, Page, Storage, StorageError,
    StoreIdentity,
};

/// What a broken store does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Break {
    /// Works.
    #[default]
    Nothing,
    /// Every call certainly fails.
    Down,
    /// Every call never answers, and does nothing.
    Hang,
    /// The call with this number never answers, and does nothing: the process dies in it. So does every later one.
    DieBefore(u64),
    /// The call with this number is carried out and never answers. Every later one does nothing.
    DieAfter(u64),
    /// Works, and creates nothing.
    NoCreate,
    /// Works, and refuses to delete anything.
    WriteOnce,
    /// Every create is carried out, and its answer is lost.
    LoseAnswers,
}

/// A store in memory that counts its calls and can be broken.
#[derive(Debug, Clone)]
pub(crate) struct TestStore {
    inner: MemoryStorage,
    state: Arc<Mutex<(u64, Break)>>,
    /// Put there by somebody else just before the first create below a prefix.
    rival: Arc<Mutex<Option<(String, String, Bytes)>>>,
}

enum Fate {
    Work,
    LoseAnswer,
    Fail,
    Hang,
    WorkThenHang,
}

impl TestStore {
    pub(crate) fn new(name: &str) -> Self {
        let inner = MemoryStorage::named(name);
        Self { inner, state: Arc::default(), rival: Arc::default() }
    }

    pub(crate) fn set(&self, how: Break) {
        *self.state.lock().unwrap() = (0, how);
    }

    /// Calls since it was last set.
    pub(crate) fn calls(&self) -> u64 {
        self.state.lock().unwrap().0
    }

    fn fate(&self, create: bool) -> Fate {
        let mut state = self.state.lock().unwrap();
        state.0 += 1;
        match (state.1, state.0) {
            (Break::Nothing, _) => Fate::Work,
            (Break::Down, _) => Fate::Fail,
            (Break::Hang, _) => Fate::Hang,
            (Break::DieBefore(at), call) if call >= at => Fate::Hang,
            (Break::DieAfter(at), call) if call == at => Fate::WorkThenHang,
            (Break::DieAfter(at), call) if call > at => Fate::Hang,
            (Break::LoseAnswers, _) if create => Fate::LoseAnswer,
            (Break::NoCreate, _) if create => Fate::Fail,
            _ => Fate::Work,
        }
    }

    async fn run<T>(
        &self,
        create: bool,
        work: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, StorageError> {
        let failed = |kind| StorageError::Failed {
            store: self.inner.identity().url,
            op: "call",
            key: String::new(),
            kind,
            message: "broken on purpose".to_owned(),
            source: None,
        };
        match self.fate(create) {
            Fate::Work => work.await,
            Fate::LoseAnswer => work.await.and(Err(failed(ErrorKind::Unknown))),
            Fate::Fail => Err(failed(ErrorKind::Retry)),
            Fate::Hang => std::future::pending().await,
            Fate::WorkThenHang => {
                let _ = work.await;
                std::future::pending().await
            }
        }
    }

    /// The objects that begin with `prefix`, without counting as a call.
    pub(crate) async fn keys(&self, prefix: &str) -> Vec<String> {
        let request = ListRequest { prefix: prefix.to_owned(), start_after: None, limit: Some(100_000) };
        let page = self.inner.list(request).await.unwrap();
        page.objects.into_iter().map(|meta| meta.key.to_string()).collect()
    }

    pub(crate) async fn bytes(&self, key: &str) -> Bytes {
        self.inner.read_all(&Key::new(key).unwrap(), u64::MAX).await.unwrap()
    }

    /// Before the first create below `prefix`, somebody else creates `key`.
    pub(crate) fn place_before(&self, prefix: &str, key: &str, bytes: Bytes) {
        *self.rival.lock().unwrap() = Some((prefix.to_owned(), key.to_owned(), bytes));
    }

    pub(crate) async fn remove(&self, key: &str) {
        self.inner.delete(&Key::new(key).unwrap()).await.unwrap();
    }

    pub(crate) async fn put(&self, key: &str, bytes: Bytes) {
        self.inner.create(&Key::new(key).unwrap(), bytes).await.unwrap();
    }

    /// What rot or a hand in the store does.
    pub(crate) async fn replace(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.bytes(key).await.to_vec();
        change(&mut bytes);
        self.remove(key).await;
        self.put(key, bytes.into()).await;
    }
}

#[async_trait]
impl Storage for TestStore {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn identity(&self) -> StoreIdentity {
        self.inner.identity()
    }

    async fn create(&self, key: &Key, bytes: Bytes) -> Result<(), StorageError> {
        let rival =
            self.rival.lock().unwrap().take_if(|(prefix, ..)| key.as_str().starts_with(prefix.as_str()));
        if let Some((_, key, bytes)) = rival {
            self.put(&key, bytes).await;
        }
        self.run(true, self.inner.create(key, bytes)).await
    }

    async fn create_streaming(&self, key: &Key, parts: ByteStream) -> Result<(), StorageError> {
        self.run(true, self.inner.create_streaming(key, parts)).await
    }

    async fn read(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StorageError> {
        self.run(false, self.inner.read(key, range)).await
    }

    async fn stat(&self, key: &Key) -> Result<ObjectMeta, StorageError> {
        self.run(false, self.inner.stat(key)).await
    }

    async fn list(&self, request: ListRequest) -> Result<Page, StorageError> {
        self.run(false, self.inner.list(request)).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StorageError> {
        if self.state.lock().unwrap().1 == Break::WriteOnce {
            return Err(StorageError::Failed {
                store: self.inner.identity().url,
                op: "delete",
                key: key.to_string(),
                kind: ErrorKind::Refused,
                message: "it is locked".to_owned(),
                source: None,
            });
        }
        self.run(false, self.inner.delete(key)).await
    }
}
