//! Scene for the manager's stories: clocks moved by hand, stores that can be unplugged, three copies in memory.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // each test binary uses some of it; a scene that fails is a failed test

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rpo::Manager;
use rpo::checkpoint::Checkpointer;
use rpo::core::objective::{Domain, Objective};
use rpo::core::{Clock, ErrorKind, Monotonic, SourceId, Timestamp};
use rpo::manager::{Builder, DirectorySystem, Here, ManagerParts};
use rpo::replication::{CopyDomain, CopySpec, Role};
use rpo::report::{DomainReport, StatusReport};
use rpo::repository::{InitOptions, Repository, RepositoryParts};
use rpo::source_dir::{DirectoryOptions, DirectorySource};
use rpo::storage::{
    ByteStream, Capabilities, Key, ListRequest, MemoryStorage, ObjectMeta, Page, Storage, StorageError,
    StoreIdentity,
};
use tempfile::TempDir;

/// Stands still between calls of [`HandClock::advance`].
#[derive(Debug)]
pub struct HandClock(Mutex<(Timestamp, Duration)>);

impl HandClock {
    pub fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap();
        now.0 = now.0.saturating_add(by);
        now.1 += by;
    }

    /// The machine starts anew: the steady clock begins again, the wall clock went on for `away`.
    pub fn reboot(&self, away: Duration) {
        let mut now = self.0.lock().unwrap();
        now.0 = now.0.saturating_add(away);
        now.1 = Duration::from_secs(1);
    }

    /// Somebody sets the wall clock back.
    pub fn set_back(&self, by: Duration) {
        let mut now = self.0.lock().unwrap();
        now.0 = now.0.saturating_sub(by);
    }
}

impl Clock for HandClock {
    fn wall(&self) -> Timestamp {
        self.0.lock().unwrap().0
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::new(self.0.lock().unwrap().1)
    }
}

/// A store whose plug can be pulled, wholly or for what is new.
#[derive(Debug, Default)]
pub struct Plugged {
    store: MemoryStorage,
    pub unplugged: AtomicBool,
    pub read_only: AtomicBool,
}

impl Plugged {
    /// Somebody removes an object behind our back.
    pub async fn loses(&self, key: &Key) {
        self.store.delete(key).await.unwrap();
    }

    fn reach(&self, op: &'static str, key: &str, writes: bool) -> Result<(), StorageError> {
        let refused =
            self.unplugged.load(Ordering::SeqCst) || (writes && self.read_only.load(Ordering::SeqCst));
        match refused {
            true => Err(StorageError::failed(self.identity().url, op, key, ErrorKind::Retry, "unplugged")),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Storage for Plugged {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    fn identity(&self) -> StoreIdentity {
        self.store.identity()
    }

    async fn create(&self, key: &Key, bytes: Bytes) -> Result<(), StorageError> {
        self.reach("create", key.as_str(), true)?;
        self.store.create(key, bytes).await
    }

    async fn create_streaming(&self, key: &Key, parts: ByteStream) -> Result<(), StorageError> {
        self.reach("create", key.as_str(), true)?;
        self.store.create_streaming(key, parts).await
    }

    async fn read(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StorageError> {
        self.reach("read", key.as_str(), false)?;
        self.store.read(key, range).await
    }

    async fn stat(&self, key: &Key) -> Result<ObjectMeta, StorageError> {
        self.reach("stat", key.as_str(), false)?;
        self.store.stat(key).await
    }

    async fn list(&self, request: ListRequest) -> Result<Page, StorageError> {
        self.reach("list", &request.prefix, false)?;
        self.store.list(request).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StorageError> {
        self.reach("delete", key.as_str(), true)?;
        self.store.delete(key).await
    }
}

/// Home on this machine, `rack` on another machine here, `far` in another region.
pub struct Scene {
    folder: TempDir,
    pub clock: Arc<HandClock>,
    pub stores: [Arc<Plugged>; 3],
    pub copies: Vec<CopySpec>,
}

pub const HOME: usize = 0;
pub const RACK: usize = 1;
pub const FAR: usize = 2;

impl Scene {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("docs")).unwrap();
        std::fs::write(folder.path().join("docs/letter"), "dear reader").unwrap();
        let start = "2026-03-01T12:00:00Z".parse().unwrap();
        let clock = Arc::new(HandClock(Mutex::new((start, Duration::from_secs(1_000)))));
        let stores: [Arc<Plugged>; 3] = Default::default();
        let parts = |number: usize| RepositoryParts {
            storage: stores[number].clone(),
            clock: clock.clone(),
            entropy: Arc::new(rpo::os::OsEntropy::new()),
        };
        let home = Repository::init(parts(HOME), InitOptions::unencrypted()).await.unwrap();
        let mut copies = vec![spec("home", "desk", "here", Role::Home, home.clone())];
        for (number, name, machine, region) in [(RACK, "rack", "rack", "here"), (FAR, "far", "barn", "there")]
        {
            let copy = Repository::init_copy(parts(number), &home).await.unwrap();
            copies.push(spec(name, machine, region, Role::Mirror, copy));
        }
        Self { folder, clock, stores, copies }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn parts(&self) -> ManagerParts {
        ManagerParts {
            clock: self.clock.clone(),
            entropy: Arc::new(rpo::os::OsEntropy::new()),
            disk: Arc::new(rpo::os::OsDisk::new()),
            state_dir: self.path("state"),
            sample_every: Duration::from_millis(10),
        }
    }

    pub fn builder(&self) -> Builder {
        let here = Here { machine: "desk".into(), region: "here".into() };
        Manager::builder(self.parts(), here, self.copies.clone())
    }

    pub fn home(&self) -> Checkpointer {
        Checkpointer::new(self.copies[HOME].repository.clone(), Default::default())
    }

    /// `docs`: one checkpoint at the start, the next an hour of real time later; one minute promised.
    pub fn docs_system(&self) -> DirectorySystem {
        let source = DirectorySource::new(self.path("docs"), self.clock.clone(), DirectoryOptions::default());
        DirectorySystem {
            name: docs(),
            source: Arc::new(source),
            checkpointer: self.home(),
            every: Duration::from_secs(3_600),
            full_every: Duration::from_secs(86_400),
            objective: Some(one_minute()),
        }
    }

    /// A manager of `docs`.
    pub async fn directory(&self) -> Manager {
        self.builder().directory(self.docs_system()).start().await.unwrap()
    }

    pub fn unplug(&self, copy: usize, yes: bool) {
        self.stores[copy].unplugged.store(yes, Ordering::SeqCst);
    }
}

fn spec(name: &str, machine: &str, region: &str, role: Role, repository: Repository) -> CopySpec {
    let mut domain = CopyDomain::default();
    (domain.machine, domain.region) = (Some(machine.to_owned()), Some(region.to_owned()));
    CopySpec { name: name.parse().unwrap(), domain, url: format!("memory://{name}"), role, repository }
}

pub fn docs() -> SourceId {
    SourceId::new("docs").unwrap()
}

pub fn one_minute() -> Objective {
    toml::from_str("rpo = { machine = \"60s\", region = \"60s\" }").unwrap()
}

pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What the report says of one domain of the only system.
pub fn domain(report: &StatusReport, domain: Domain) -> &DomainReport {
    report.systems[0].domain(domain).unwrap_or_else(|| panic!("{domain} is missing: {report:#?}"))
}

/// Waits for a report of which `wanted` holds; a story that waits in vain fails with the last one.
pub async fn reported(manager: &Manager, wanted: impl Fn(&StatusReport) -> bool) -> StatusReport {
    let mut reports = manager.reports();
    let waiting = reports.wait_for(|report| report.as_ref().is_some_and(&wanted));
    match tokio::time::timeout(seconds(30), waiting).await {
        Ok(found) => found.unwrap().clone().unwrap(),
        Err(_) => panic!("never reported; the last: {:#?}", manager.report()),
    }
}

/// Waits for a report that began after now, by a clock that stands still: two more samples.
pub async fn measured_again(manager: &Manager) -> StatusReport {
    let mut reports = manager.reports();
    reports.mark_unchanged();
    for _ in 0..2 {
        tokio::time::timeout(seconds(30), reports.changed()).await.expect("samples are taken").unwrap();
    }
    reports.borrow().clone().unwrap()
}
