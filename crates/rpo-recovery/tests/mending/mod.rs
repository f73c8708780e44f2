//! A log on a simulated disk, an archive of it in memory, and what was acknowledged.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // each story uses its part; a scene that fails is a failed test

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rpo_core::frame::CommitDraft;
use rpo_core::objective::AckLevel;
use rpo_core::ports::Access;
use rpo_core::{CopyName, Disk, HumanDuration, LogEntry, StreamId};
use rpo_os::{OsClock, OsDisk, OsEntropy};
use rpo_recovery::repair::{
    RepairCopy, RepairError, RepairOutcome, RepairPlan, ask, execute_repair, pending_epoch, plan_repair,
};
use rpo_replication::{
    Archive, Copies, CopyDomain, CopySpec, LogShipper, Role, ShipConfig, ShipperParts, Start, SyncPolicy,
};
use rpo_repository::{InitOptions, Repository, RepositoryParts};
use rpo_storage::MemoryStorage;
use rpo_testkit::sim::{FaultPlan, Machine, World};
use rpo_wal::repair::{Condition, examine_dir};
use rpo_wal::{Drive, Log, LogParts, OpenAs, WalConfig, replay_dir};

pub const DIR: &str = "/log";

pub fn config() -> WalConfig {
    let mut config = WalConfig::zero_loss();
    config.segment_bytes = "16KiB".parse().unwrap();
    config.pending_bytes_max = "64KiB".parse().unwrap();
    config.frame_bytes_max = "4KiB".parse().unwrap();
    config.spares = 1;
    config.heartbeat_after = HumanDuration::ZERO;
    config
}

pub fn payload(number: u64) -> String {
    format!("commit {number:06} {}", "x".repeat((number * 37 % 700) as usize))
}

/// The files of a log's directory as they stand on the disk.
pub type Image = BTreeMap<String, Vec<u8>>;

/// A machine with the log.
pub struct Site {
    pub world: World,
    pub machine: Machine,
}

impl Site {
    pub fn empty(seed: u64) -> Self {
        let world = World::with_plan(seed, FaultPlan::calm());
        let machine = world.machine("m");
        Self { world, machine }
    }

    /// The files of `image`, durable.
    pub fn of(image: &Image) -> Self {
        let site = Self::empty(7);
        let disk = site.disk();
        disk.create_dir(Path::new(DIR)).unwrap();
        for (name, bytes) in image {
            let file = disk.create_new(&Path::new(DIR).join(name)).unwrap();
            file.write_at(bytes, 0).unwrap();
            file.sync().unwrap();
        }
        disk.sync_dir(Path::new(DIR)).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        site
    }

    pub fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.machine.disk())
    }

    pub fn parts(&self) -> LogParts {
        let (clock, entropy) = (Arc::new(self.machine.clock()), Arc::new(self.machine.entropy()));
        LogParts { disk: self.disk(), clock, entropy }
    }

    pub fn open(&self) -> Result<Log, rpo_wal::WalError> {
        Log::open(Path::new(DIR), config(), self.parts(), Drive::Manual, OpenAs::Continue).map(|(log, _)| log)
    }

    pub fn image(&self) -> Image {
        image(&*self.disk())
    }

    pub fn condition(&self) -> Condition {
        examine_dir(&*self.disk(), Path::new(DIR), rpo_core::Lsn::ZERO).unwrap()
    }

    pub async fn plan(&self, copies: &[RepairCopy]) -> Result<RepairPlan, RepairError> {
        let condition = examine_dir(&*self.disk(), Path::new(DIR), rpo_core::Lsn::ZERO)?;
        let asked = ask(&condition, copies).await;
        let pending = pending_epoch(&*self.disk(), Path::new(DIR))?;
        plan_repair(&condition, &asked, pending)
    }

    pub async fn repair(&self, copies: &[RepairCopy], accept: bool) -> Result<RepairOutcome, RepairError> {
        let plan = self.plan(copies).await?;
        execute_repair(&plan, copies, &self.parts(), &config(), accept).await
    }

    /// Opens the log and reads every commit.
    pub fn commits(&self) -> Result<Vec<String>, rpo_wal::WalError> {
        let log = self.open()?;
        let read = replay_dir(&self.disk(), Path::new(DIR))?;
        let read = read.filter_map(|entry| match entry {
            Ok(LogEntry::Commit(commit)) => {
                Some(Ok(String::from_utf8(commit.records[0].payload.to_vec()).unwrap()))
            }
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        });
        let read = read.collect();
        log.close().ok();
        read
    }

    pub fn names(&self) -> Vec<String> {
        self.image().into_keys().collect()
    }
}

pub fn image(disk: &dyn Disk) -> Image {
    let mut image = Image::new();
    for entry in disk.list(Path::new(DIR)).unwrap() {
        let file = disk.open(&Path::new(DIR).join(&entry.name), Access::Read).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(&mut bytes, 0).unwrap();
        image.insert(entry.name.to_str().unwrap().to_owned(), bytes);
    }
    image
}

/// A log that was written, and archives of it.
pub struct Scene {
    /// Closed.
    pub image: Image,
    /// As a program leaves it that is killed: everything acknowledged is durable, the control file says less.
    pub killed: Image,
    /// As `killed`, when half of the commits were there.
    pub halfway: Image,
    pub commits: Vec<String>,
    /// Holds everything.
    pub full: Vec<RepairCopy>,
    /// Holds the first half.
    pub half: Vec<RepairCopy>,
    _spools: Vec<tempfile::TempDir>,
}

pub async fn store(name: &str) -> CopySpec {
    let storage = Arc::new(MemoryStorage::named(name));
    let parts =
        RepositoryParts { storage, clock: Arc::new(OsClock::new()), entropy: Arc::new(OsEntropy::new()) };
    let repository = Repository::init(parts, InitOptions::unencrypted()).await.unwrap();
    let domain = CopyDomain::default();
    CopySpec {
        name: CopyName::new(name).unwrap(),
        domain,
        url: format!("memory://{name}"),
        role: Role::Home,
        repository,
    }
}

pub fn stream() -> StreamId {
    StreamId::new("bank").unwrap()
}

fn shipper(log: &Log, spec: &CopySpec, spool: &Path) -> LogShipper {
    let mut ship = ShipConfig::default();
    ship.batch_bytes = "4KiB".parse().unwrap();
    let parts = ShipperParts {
        source: Arc::new(log.clone()),
        copies: Copies::new(vec![spec.clone()], SyncPolicy::None).unwrap(),
        disk: Arc::new(OsDisk::new()),
        clock: Arc::new(OsClock::new()),
        entropy: Arc::new(OsEntropy::new()),
    };
    LogShipper::open(parts, stream(), spool, ship, Start::Continue).unwrap()
}

impl Scene {
    /// So many commits over several segments.
    pub async fn new(seed: u64, count: u64) -> Self {
        let site = Site::empty(seed);
        let log = site.open().unwrap();
        let (full, half) = (store("full").await, store("half").await);
        let spools = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let mut to_full = shipper(&log, &full, spools[0].path());
        let mut to_half = shipper(&log, &half, spools[1].path());
        let (mut commits, mut halfway) = (Vec::new(), Image::new());
        for number in 0..count {
            if number == count / 2 {
                halfway = site.image();
            }
            let appended = loop {
                match log.append(CommitDraft::one(payload(number)), AckLevel::Durable) {
                    Err(rpo_wal::WalError::NotReady) => drop(log.step()),
                    appended => break appended,
                }
            };
            appended.unwrap();
            while matches!(log.step(), rpo_wal::Step::Flushed | rpo_wal::Step::Kept) {}
            commits.push(payload(number));
            if number % 5 == 0 {
                to_full.step().await.unwrap();
            }
            if number % 5 == 0 && number <= count / 2 {
                to_half.step().await.unwrap();
            }
        }
        for _ in 0..3 {
            to_full.step().await.unwrap();
        }
        let killed = site.image();
        log.close().unwrap();
        let archive = |spec: &CopySpec| Archive::of(spec.repository.clone(), stream());
        Self {
            image: site.image(),
            killed,
            halfway,
            commits,
            full: vec![RepairCopy { name: "full".to_owned(), archive: archive(&full) }],
            half: vec![RepairCopy { name: "half".to_owned(), archive: archive(&half) }],
            _spools: spools.into(),
        }
    }

    pub fn segments(&self) -> Vec<String> {
        segments(&self.image)
    }

    /// The image with one change.
    pub fn damaged(&self, change: impl FnOnce(&mut Image)) -> Image {
        let mut image = self.image.clone();
        change(&mut image);
        image
    }

    pub fn path(name: &str) -> PathBuf {
        Path::new(DIR).join(name)
    }
}

/// Names of the segments, in LSN order.
pub fn segments(image: &Image) -> Vec<String> {
    image.keys().filter(|name| name.ends_with(".rwal")).cloned().collect()
}

/// Repairs `image` with a crash at each step, and opens what is there after it: what opens and lacks something, or holds
/// more than it may.
pub async fn crashes(
    image: &Image,
    copies: &[RepairCopy],
    accept: bool,
    right: impl Fn(&Site) -> Result<(), String>,
) -> Vec<String> {
    let site = Site::of(image);
    let began = site.world.steps();
    site.repair(copies, accept).await.unwrap();
    let mut wrong = Vec::new();
    for step in 0..site.world.steps() - began {
        for power in [true, false] {
            let mut site = Site::of(image);
            site.world.crash_at(site.world.steps() + step);
            let _ = site.repair(copies, accept).await;
            if power {
                site.world.reboot()
            } else {
                site.world.restart()
            }
            site.machine = site.world.machine("m");
            site.world.set_plan(FaultPlan::calm());
            // A copy of the disk is opened, not the disk.
            wrong.extend(
                right(&Site::of(&site.image())).err().map(|e| format!("step {step}, power {power}: {e}")),
            );
        }
    }
    wrong
}

/// Where the frames of a segment end in its file.
pub fn frames_end(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1)
}
