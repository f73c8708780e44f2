//! A store on any OpenDAL operator.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use opendal::Operator;
use opendal::options::{ListOptions, ReadOptions, WriteOptions};
use rpo_core::{ErrorKind, Timestamp};
use rpo_storage::{
    ByteStream, Capabilities, Key, ListRequest, ObjectMeta, Page, Storage, StorageError, StoreIdentity,
};

use crate::error::{Effect, of_call, of_object};
use crate::upload::{PART_BYTES, PARTS_AT_ONCE, PARTS_MAX, Upload};

/// Objects on one page of a listing when the caller leaves it to the store.
const PAGE_OBJECTS: usize = 1_000;
/// Services that list by the order of the keys' bytes, so that a page need not be sought in the whole listing.
const SORTED_SERVICES: [&str; 3] = ["s3", "gcs", "azblob"];
/// Services that answer a write when it is durable. For others it must be [declared](OpendalStorage::declare_durable).
const DURABLE_SERVICES: [&str; 3] = ["s3", "gcs", "azblob"];
/// Services whose create-if-absent is a look and then a write: two writers can both win.
const LOOK_THEN_WRITE_SERVICES: [&str; 1] = ["fs"];

/// A store on an OpenDAL [`Operator`]. Clones share the operator.
///
/// The operator should have no retry layer: a `create` that is retried below us after its answer was lost finds its own
/// object and reports it as someone else's. Retrying is done above, by `rpo_storage::RetryStorage`, which reads back.
///
/// **A store without put-if-absent** says so: `capabilities().create_is_exclusive` is false. Its `create` looks first and
/// writes then, so a taken key is refused, but of two writers at the same moment both may be told `Ok` and the later
/// bytes stay. Whoever needs fencing must refuse such a store.
///
/// **Uploads by stream** that end early are taken away; those of a process that died are not ours to find: give the
/// bucket a rule that removes unfinished multipart uploads after some days.
#[derive(Clone)]
pub struct OpendalStorage {
    operator: Operator,
    identity: StoreIdentity,
    exclusive: bool,
    durable: bool,
}

impl OpendalStorage {
    /// A store of all that the operator's root holds.
    pub fn new(operator: Operator) -> Self {
        crate::install_transport();
        let info = operator.info();
        let (scheme, name, root) = (info.scheme(), info.name(), info.root());
        let url = format!("{scheme}://{name}{}", root.trim_end_matches('/'));
        let conditional = info.capability().write_with_if_not_exists;
        Self {
            identity: StoreIdentity { url, device: None },
            exclusive: conditional && !LOOK_THEN_WRITE_SERVICES.contains(&scheme),
            durable: DURABLE_SERVICES.contains(&scheme),
            operator,
        }
    }

    /// For a service of which this crate does not know it: what it acknowledged survives a power cut.
    #[must_use]
    pub fn declare_durable(mut self) -> Self {
        self.durable = true;
        self
    }

    /// For a server that claims conditional writes and ignores them: sends none, and declares that `create` is not
    /// exclusive. In a URL: `create-conditions=no`.
    #[must_use]
    pub fn without_create_conditions(mut self) -> Self {
        self.exclusive = false;
        self
    }

    /// Names what the store stands on; stores with the same name share a fate.
    #[must_use]
    pub fn on_device(mut self, device: impl Into<String>) -> Self {
        self.identity.device = Some(device.into());
        self
    }

    /// The operator, for what [`Storage`] does not offer.
    pub fn operator(&self) -> &Operator {
        &self.operator
    }

    fn failed(&self, op: &'static str, key: &Key, effect: Effect, error: &opendal::Error) -> StorageError {
        of_object(&self.identity.url, op, key, effect, error)
    }

    fn out_of_range(&self, key: &Key, len: u64, range: &Range<u64>) -> StorageError {
        let (start, end) = (range.start, range.end);
        StorageError::RangeNotSatisfied {
            store: self.identity.url.clone(),
            key: key.clone(),
            len,
            start,
            end,
        }
    }

    /// Where there is no condition to send, looks before the write.
    async fn look_if_not_exclusive(&self, key: &Key) -> Result<(), StorageError> {
        if self.exclusive {
            return Ok(());
        }
        match self.stat(key).await {
            Ok(_) => Err(StorageError::AlreadyExists { store: self.identity.url.clone(), key: key.clone() }),
            Err(StorageError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn write_options(&self) -> WriteOptions {
        WriteOptions { if_not_exists: self.exclusive, ..WriteOptions::default() }
    }
}

impl fmt::Debug for OpendalStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the operator: its services print what they were configured with.
        f.debug_struct("OpendalStorage").field("url", &self.identity.url).finish_non_exhaustive()
    }
}

#[async_trait]
impl Storage for OpendalStorage {
    fn capabilities(&self) -> Capabilities {
        let theirs = self.operator.info().capability();
        let total = theirs.write_total_max_size.map_or(u64::MAX, |bytes| bytes as u64);
        let mut ours = Capabilities::full(total.min(PART_BYTES as u64 * PARTS_MAX));
        ours.create_is_exclusive = self.exclusive;
        ours.durable = self.durable;
        ours.delete = theirs.delete;
        ours
    }

    fn identity(&self) -> StoreIdentity {
        self.identity.clone()
    }

    async fn create(&self, key: &Key, bytes: Bytes) -> Result<(), StorageError> {
        self.look_if_not_exclusive(key).await?;
        let written = self.operator.write_options(key.as_str(), bytes, self.write_options()).await;
        written.map(|_| ()).map_err(|e| self.failed("create", key, Effect::Possible, &e))
    }

    async fn create_streaming(&self, key: &Key, mut parts: ByteStream) -> Result<(), StorageError> {
        self.look_if_not_exclusive(key).await?;
        let failed = |e: opendal::Error| self.failed("create", key, Effect::Possible, &e);
        let options =
            WriteOptions { chunk: Some(PART_BYTES), concurrent: PARTS_AT_ONCE, ..self.write_options() };
        let writer = self.operator.writer_options(key.as_str(), options).await;
        let mut upload = Upload::new(writer.map_err(failed)?);
        loop {
            let error = match parts.next().await {
                Some(Ok(part)) => match upload.write(part).await {
                    Ok(()) => continue,
                    Err(error) => failed(error),
                },
                Some(Err(error)) => {
                    let message = format!("the stream of parts failed: {error}");
                    StorageError::failed(&*self.identity.url, "create", key, ErrorKind::Retry, message)
                }
                None => match upload.finish().await {
                    Ok(()) => return Ok(()),
                    Err(error) => failed(error),
                },
            };
            upload.abort().await;
            return Err(error);
        }
    }

    async fn read(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StorageError> {
        let wanted = range.end.checked_sub(range.start);
        let mut cut = None; // why fewer bytes came than were asked for
        if wanted.is_some_and(|wanted| wanted > 0) {
            let options = ReadOptions { range: range.clone().into(), ..ReadOptions::default() };
            match self.operator.read_options(key.as_str(), options).await {
                Ok(bytes) if Some(bytes.len() as u64) == wanted => return Ok(bytes.to_bytes()),
                Ok(_) => {}
                Err(e) if may_be_past_the_end(&e) => cut = Some(self.failed("read", key, Effect::None, &e)),
                Err(e) => return Err(self.failed("read", key, Effect::None, &e)),
            }
        }
        let len = match (self.stat(key).await, cut) {
            (Ok(meta), None) => meta.len,
            (Ok(meta), Some(_)) if range.end > meta.len => meta.len,
            (_, Some(cut)) => return Err(cut),
            (Err(error), None) => return Err(error),
        };
        match wanted {
            Some(0) if range.end <= len => Ok(Bytes::new()),
            Some(_) if range.end <= len => {
                let message = format!("fewer bytes than the range {}..{} were sent", range.start, range.end);
                Err(StorageError::failed(&*self.identity.url, "read", key, ErrorKind::Retry, message))
            }
            _ => Err(self.out_of_range(key, len, &range)),
        }
    }

    async fn stat(&self, key: &Key) -> Result<ObjectMeta, StorageError> {
        let found = self.operator.stat(key.as_str()).await;
        let found = found.map_err(|e| self.failed("stat", key, Effect::None, &e))?;
        if !found.is_file() {
            return Err(StorageError::NotFound { store: self.identity.url.clone(), key: key.clone() });
        }
        Ok(meta(key.clone(), &found))
    }

    async fn list(&self, request: ListRequest) -> Result<Page, StorageError> {
        let limit = request.limit.unwrap_or(PAGE_OBJECTS);
        let info = self.operator.info();
        let can = info.capability();
        let after = request.start_after.as_ref().map(|key| key.as_str().to_owned());
        let options = ListOptions {
            recursive: true,
            start_after: after.filter(|_| can.list_with_start_after),
            ..ListOptions::default()
        };
        let failed =
            |e: opendal::Error| of_call(&self.identity.url, "list", &request.prefix, Effect::None, &e);
        let mut entries = self.operator.lister_options(&request.prefix, options).await.map_err(failed)?;
        // The smallest keys seen so far, one more than asked for.
        let sorted = SORTED_SERVICES.contains(&info.scheme());
        let mut found: BTreeMap<Key, ObjectMeta> = BTreeMap::new();
        while let Some(entry) = entries.try_next().await.map_err(failed)? {
            // Names that are no keys were put there by someone else.
            let key = Key::new(entry.path())
                .ok()
                .filter(|key| entry.metadata().is_file() && asked_for(&request, key));
            if let Some(key) = key {
                found.insert(key.clone(), meta(key, entry.metadata()));
            }
            if found.len() > limit {
                if sorted {
                    break;
                }
                if found.len() > limit + 1 {
                    found.pop_last();
                }
            }
        }
        let more = found.len() > limit;
        Ok(Page { objects: found.into_values().take(limit).collect(), more })
    }

    async fn delete(&self, key: &Key) -> Result<(), StorageError> {
        let deleted = self.operator.delete(key.as_str()).await;
        match deleted {
            Err(e) if e.kind() == opendal::ErrorKind::NotFound => Ok(()),
            other => {
                other.map_err(|e| of_call(&self.identity.url, "delete", key.as_str(), Effect::Possible, &e))
            }
        }
    }
}

/// Stores cut a range that reaches past the end; OpenDAL then misses bytes, without a kind of its own for that.
fn may_be_past_the_end(error: &opendal::Error) -> bool {
    matches!(error.kind(), opendal::ErrorKind::RangeNotSatisfied | opendal::ErrorKind::Unexpected)
}

fn asked_for(request: &ListRequest, key: &Key) -> bool {
    key.as_str().starts_with(&request.prefix) && request.start_after.as_ref().is_none_or(|after| key > after)
}

fn meta(key: Key, found: &opendal::Metadata) -> ObjectMeta {
    let created =
        found.last_modified().map(|time| Timestamp::from_micros(time.into_inner().as_microsecond()));
    ObjectMeta { key, len: found.content_length(), created }
}
