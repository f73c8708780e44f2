//! A store that loses answers, lets requests land late, stalls, refuses and lists late.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::ops::Range;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use rpo_core::{ErrorKind, Timestamp};
use rpo_storage::{
    ByteStream, Capabilities, Key, ListRequest, ObjectMeta, Page, Storage, StorageError, StoreIdentity,
};

use super::world::{Call, Core, State};
use super::{FaultKind, Machine};

/// Largest object: more than any format of ours writes at once.
const OBJECT_BYTES_MAX: u64 = 256 << 20;
/// Most objects on a page of a listing.
const PAGE_OBJECTS: usize = 1000;

#[derive(Debug, Clone)]
struct Object {
    bytes: Bytes,
    created: Timestamp,
    /// The first call that may list it.
    listed_from: u64,
}

#[derive(Debug, Default)]
pub(super) struct StoreState {
    objects: BTreeMap<Key, Object>,
    /// Requests under way whose senders have given up: when they arrive, and what they bring.
    late: Vec<(u64, Key, Bytes)>,
    cut: BTreeSet<String>,
}

impl StoreState {
    pub(super) fn cut(&mut self, machine: &str, cut: bool) {
        if cut {
            self.cut.insert(machine.to_owned());
        } else {
            self.cut.remove(machine);
        }
    }

    fn insert(&mut self, core: &mut Core, key: &Key, bytes: Bytes) {
        let lag = if core.strikes(FaultKind::ListLag) { 1 + core.chaos.below(60) } else { 0 };
        let created = Timestamp::from_micros(i64::try_from(core.now.as_micros()).unwrap_or(i64::MAX));
        let object = Object { bytes, created, listed_from: core.calls + lag };
        self.objects.insert(key.clone(), object);
    }

    /// What was under way arrives, if nobody was faster.
    fn land(&mut self, core: &mut Core) {
        let (due, late) =
            std::mem::take(&mut self.late).into_iter().partition(|(when, ..)| *when <= core.calls);
        self.late = late;
        let due: Vec<(u64, Key, Bytes)> = due;
        for (_, key, bytes) in due {
            if !self.objects.contains_key(&key) {
                core.seen.count("a late request landed");
                self.insert(core, &key, bytes);
            }
        }
    }
}

impl State {
    pub(super) fn store(&mut self, name: &str) -> &mut StoreState {
        self.stores.entry(name.to_owned()).or_default()
    }
}

/// A store as one machine sees it. Keeps the whole contract of [`Storage`], apart from the faults of the plan.
#[derive(Debug, Clone)]
pub struct SimStore {
    machine: Machine,
    name: String,
}

impl SimStore {
    pub(super) fn new(machine: Machine, name: &str) -> Self {
        machine.world.lock().store(name);
        Self { machine, name: name.to_owned() }
    }

    fn peek<T>(&self, look: impl FnOnce(&mut StoreState) -> T) -> T {
        look(self.machine.world.lock().store(&self.name))
    }

    /// What is really there. For oracles: no call, no fault.
    pub fn objects(&self) -> BTreeMap<Key, Bytes> {
        self.peek(|store| {
            store.objects.iter().map(|(key, object)| (key.clone(), object.bytes.clone())).collect()
        })
    }

    /// The store loses an object that it had accepted. False if it was not there.
    pub fn lose(&self, key: &Key) -> bool {
        self.peek(|store| store.objects.remove(key).is_some())
    }

    /// The store loses everything.
    pub fn burn(&self) {
        self.peek(|store| {
            store.objects.clear();
            store.late.clear();
        });
    }

    /// Bit rot: flips the bits of `mask` in the byte at `offset`. False if there is no such byte.
    pub fn rot(&self, key: &Key, offset: usize, mask: u8) -> bool {
        self.peek(|store| {
            let Some(object) = store.objects.get_mut(key) else { return false };
            let mut bytes = object.bytes.to_vec();
            let Some(byte) = bytes.get_mut(offset) else { return false };
            *byte ^= mask;
            object.bytes = bytes.into();
            true
        })
    }

    fn failed(&self, op: &'static str, key: &str, kind: ErrorKind, message: &str) -> StorageError {
        let (store, key, message) = (self.identity().url, key.to_owned(), message.to_owned());
        StorageError::Failed { store, op, key, kind, message, source: None }
    }

    fn not_found(&self, key: &Key) -> StorageError {
        StorageError::NotFound { store: self.identity().url, key: key.clone() }
    }

    fn call<T>(
        &self,
        name: &'static str,
        key: &str,
        data: Option<&[u8]>,
        body: impl FnOnce(&mut StoreState, &mut Core) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let target = format!("{}/{key}", self.name);
        let call = Call {
            name,
            target: &target,
            at: 0,
            data: data.unwrap_or_default(),
            step: data.is_some(),
            micros: 15_000,
        };
        let crashed = || self.failed(name, key, ErrorKind::Unknown, "the simulated machine has crashed");
        let mut state = self.machine.world.lock();
        let who = (&*self.machine.name, self.machine.life);
        state.call(who, &call, crashed, |state| {
            let State { core, stores, .. } = state;
            let store = stores.get_mut(&self.name).expect("made with this handle");
            store.land(core);
            if store.cut.contains(&*self.machine.name) {
                return Err(self.failed(name, key, ErrorKind::Retry, "no route to the store"));
            }
            if core.strikes(FaultKind::Stall) {
                core.now += Duration::from_millis(2_000 + core.chaos.below(300_000));
            }
            if core.strikes(FaultKind::StoreRetry) {
                return Err(self.failed(name, key, ErrorKind::Retry, "503 slow down"));
            }
            body(store, core)
        })
    }

    /// Lets other futures go on, or not: requests and answers are under way for a while, and whoever drops the future in
    /// the meantime learns nothing.
    async fn travel(&self) {
        let mut turns = self.machine.world.lock().core.chaos.below(3);
        poll_fn(|context| {
            if turns == 0 {
                return Poll::Ready(());
            }
            turns -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    async fn exchange<T>(
        &self,
        name: &'static str,
        key: &str,
        data: Option<&[u8]>,
        body: impl FnOnce(&mut StoreState, &mut Core) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        self.travel().await;
        let answer = self.call(name, key, data, body);
        self.travel().await;
        answer
    }

    fn lost(&self, op: &'static str, key: &Key) -> StorageError {
        self.failed(op, key.as_str(), ErrorKind::Unknown, "connection reset before the answer")
    }
}

#[async_trait]
impl Storage for SimStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities::full(OBJECT_BYTES_MAX)
    }

    fn identity(&self) -> StoreIdentity {
        StoreIdentity {
            url: format!("sim://{}", self.name),
            device: Some(format!("simulated {}", self.name)),
        }
    }

    async fn create(&self, key: &Key, bytes: Bytes) -> Result<(), StorageError> {
        if bytes.len() as u64 > OBJECT_BYTES_MAX {
            return Err(self.failed(
                "create",
                key.as_str(),
                ErrorKind::Invalid,
                "larger than the largest object",
            ));
        }
        let data = bytes.clone();
        self.exchange("create", key.as_str(), Some(&data), |store, core| {
            if core.strikes(FaultKind::LateLanding) {
                let when = core.calls + 1 + core.chaos.below(40);
                store.late.push((when, key.clone(), bytes));
                return Err(self.lost("create", key));
            }
            let lost = core.strikes(FaultKind::LostAnswer);
            if lost && core.chaos.coin() {
                return Err(self.lost("create", key));
            }
            let taken = store.objects.contains_key(key);
            if !taken {
                store.insert(core, key, bytes);
            }
            match (lost, taken) {
                (true, _) => Err(self.lost("create", key)),
                (false, true) => {
                    Err(StorageError::AlreadyExists { store: self.identity().url, key: key.clone() })
                }
                (false, false) => Ok(()),
            }
        })
        .await
    }

    async fn create_streaming(&self, key: &Key, mut parts: ByteStream) -> Result<(), StorageError> {
        let mut whole = BytesMut::new();
        while let Some(part) = parts.next().await {
            let part = part.map_err(|error| StorageError::Failed {
                store: self.identity().url,
                op: "create",
                key: key.to_string(),
                kind: ErrorKind::Retry,
                message: "the stream of parts ended with an error; nothing was stored".to_owned(),
                source: Some(Box::new(error)),
            })?;
            whole.extend_from_slice(&part);
        }
        self.create(key, whole.freeze()).await
    }

    async fn read(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StorageError> {
        self.exchange("read", key.as_str(), None, |store, _| {
            let bytes = &store.objects.get(key).ok_or_else(|| self.not_found(key))?.bytes;
            let inside = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
            match inside.filter(|(start, end)| start <= end && *end <= bytes.len()) {
                Some((start, end)) => Ok(bytes.slice(start..end)),
                None => Err(StorageError::RangeNotSatisfied {
                    store: self.identity().url,
                    key: key.clone(),
                    len: bytes.len() as u64,
                    start: range.start,
                    end: range.end,
                }),
            }
        })
        .await
    }

    async fn stat(&self, key: &Key) -> Result<ObjectMeta, StorageError> {
        self.exchange("stat", key.as_str(), None, |store, _| {
            let object = store.objects.get(key).ok_or_else(|| self.not_found(key))?;
            Ok(ObjectMeta { key: key.clone(), len: object.bytes.len() as u64, created: Some(object.created) })
        })
        .await
    }

    async fn list(&self, request: ListRequest) -> Result<Page, StorageError> {
        self.exchange("list", &request.prefix, None, |store, core| {
            let limit = request.limit.unwrap_or(PAGE_OBJECTS).min(PAGE_OBJECTS);
            let wanted = |key: &Key| {
                key.as_str().starts_with(&request.prefix)
                    && request.start_after.as_ref().is_none_or(|last| key > last)
            };
            let listed = |(key, object): (&Key, &Object)| {
                let meta = ObjectMeta {
                    key: key.clone(),
                    len: object.bytes.len() as u64,
                    created: Some(object.created),
                };
                (wanted(key) && object.listed_from <= core.calls).then_some(meta)
            };
            let mut objects: Vec<ObjectMeta> =
                store.objects.iter().filter_map(listed).take(limit + 1).collect();
            let more = objects.len() > limit;
            objects.truncate(limit);
            Ok(Page { objects, more })
        })
        .await
    }

    async fn delete(&self, key: &Key) -> Result<(), StorageError> {
        self.exchange("delete", key.as_str(), Some(&[]), |store, core| {
            let lost = core.strikes(FaultKind::LostAnswer);
            if lost && core.chaos.coin() {
                return Err(self.lost("delete", key));
            }
            store.objects.remove(key);
            if lost { Err(self.lost("delete", key)) } else { Ok(()) }
        })
        .await
    }
}
