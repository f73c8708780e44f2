//! A small program with a log and two copies, and an oracle that only knows what was acknowledged.
#![allow(dead_code, unused_imports)] // each story uses its part

mod judging;
mod ledger;
mod oracle;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rpo_checkpoint::{Cancel, CheckpointKind, CheckpointOptions, Checkpointer, Labels, NoProgress};
use rpo_core::frame::CommitDraft;
use rpo_core::{
    CheckpointId, Clock, CopyName, Entropy, Epoch, Lsn, Monotonic, SourceId, StreamId, Timestamp,
    TransactionId,
};
use rpo_os::OsDisk;
use rpo_recovery::{Recovery, RecoveryError};
use rpo_replication::object::{OBJECT_BYTES_MAX, Place, open_object};
use rpo_replication::{
    ArchiveObject, Copies, CopyDomain, CopySpec, Fork, LogShipper, Mirror, MirrorConfig, Role, ShipConfig,
    ShipperParts, Start, SyncPolicy, Takeover, TakeoverOptions, batch_key, take_over,
};
use rpo_repository::{InitOptions, Repository, RepositoryParts};
use rpo_storage::{Key, ListRequest, LocalStorage, MemoryStorage, Storage};
use rpo_testkit::sim::Rng;
use rpo_wal::{Drive, Log, LogParts, OpenAs, WalConfig};

pub(crate) use self::judging::{judge, judge_random, refused, restore};
pub(crate) use self::ledger::{Change, Ledger};
pub(crate) use self::oracle::{Issued, Oracle};

/// A clock that stands still until told; its wall side can be put back.
#[derive(Debug, Default)]
pub(crate) struct TestClock(AtomicU64, AtomicU64);

impl TestClock {
    pub(crate) fn pass(&self, duration: Duration) {
        self.0.fetch_add(duration.as_micros() as u64, Ordering::SeqCst);
    }

    pub(crate) fn put_back(&self, duration: Duration) {
        self.1.fetch_add(duration.as_micros() as u64, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn wall(&self) -> Timestamp {
        let (passed, back) = (self.0.load(Ordering::SeqCst) as i64, self.1.load(Ordering::SeqCst) as i64);
        Timestamp::from_micros(1_700_000_000_000_000 + passed - back)
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::new(Duration::from_micros(self.0.load(Ordering::SeqCst)))
    }
}

/// Bytes that differ each time and are the same in each run.
#[derive(Debug)]
pub(crate) struct TestEntropy(Mutex<Rng>);

impl Entropy for TestEntropy {
    fn fill(&self, out: &mut [u8]) -> std::io::Result<()> {
        self.0.lock().unwrap().fill(out);
        Ok(())
    }
}

/// One writer: its log, its shipper, and what it was told.
pub(crate) struct Writer {
    pub(crate) log: Log,
    pub(crate) shipper: LogShipper,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) oracle: Oracle,
    dir: tempfile::TempDir,
}

/// A stream with a home on a disk and a mirror in memory.
pub(crate) struct Site {
    pub(crate) clock: Arc<TestClock>,
    pub(crate) entropy: Arc<TestEntropy>,
    pub(crate) rng: Rng,
    pub(crate) source: SourceId,
    pub(crate) stream: StreamId,
    pub(crate) home_dir: tempfile::TempDir,
    pub(crate) mirror_store: MemoryStorage,
    pub(crate) specs: Vec<CopySpec>,
    tags: u64,
    transactions: u64,
}

impl Site {
    pub(crate) async fn new(seed: u64) -> (Self, Writer) {
        println!("seed {seed}");
        let clock = Arc::new(TestClock::default());
        let entropy = Arc::new(TestEntropy(Mutex::new(Rng::new(seed ^ 0xfeed))));
        let home_dir = tempfile::tempdir().unwrap();
        let mirror_store = MemoryStorage::named("us");
        let mut site = Self {
            clock,
            entropy,
            rng: Rng::new(seed),
            source: SourceId::new("bank").unwrap(),
            stream: StreamId::new("bank").unwrap(),
            home_dir,
            mirror_store,
            specs: Vec::new(),
            tags: 0,
            transactions: 0,
        };
        let home = Repository::init(site.parts(site.home_store()), InitOptions::unencrypted()).await.unwrap();
        let far = site.parts(Arc::new(site.mirror_store.clone()));
        let far = Repository::init_copy(far, &home).await.unwrap();
        for (name, role, repository) in [("eu", Role::Home, home), ("us", Role::Mirror, far)] {
            let domain = CopyDomain { region: Some(name.to_owned()), ..CopyDomain::default() };
            let url = repository.storage().identity().url;
            let name = CopyName::new(name).unwrap();
            site.specs.push(CopySpec { name, domain, url, role, repository });
        }
        let writer = site.writer(OpenAs::Continue, Start::Continue, Oracle::default());
        (site, writer)
    }

    fn home_store(&self) -> Arc<dyn Storage> {
        Arc::new(LocalStorage::open(self.home_dir.path().join("repo"), Arc::new(OsDisk::new())).unwrap())
    }

    fn parts(&self, storage: Arc<dyn Storage>) -> RepositoryParts {
        RepositoryParts { storage, clock: self.clock.clone(), entropy: self.entropy.clone() }
    }

    pub(crate) fn copies(&self) -> Copies {
        Copies::new(self.specs.clone(), SyncPolicy::None).unwrap()
    }

    fn writer(&self, open_as: OpenAs, start: Start, oracle: Oracle) -> Writer {
        let dir = tempfile::tempdir().unwrap();
        let mut config = WalConfig::zero_loss();
        config.segment_bytes = "64KiB".parse().unwrap();
        config.frame_bytes_max = "4KiB".parse().unwrap();
        let (disk, clock) = (Arc::new(OsDisk::new()), self.clock.clone());
        let parts = LogParts { disk: disk.clone(), clock: clock.clone(), entropy: self.entropy.clone() };
        let (log, _) = Log::open(&dir.path().join("log"), config, parts, Drive::Manual, open_as).unwrap();
        let (source, copies, entropy) = (Arc::new(log.clone()), self.copies(), self.entropy.clone());
        let parts = ShipperParts { source, copies, disk, clock, entropy };
        let mut config = ShipConfig::default();
        config.batch_bytes = "4KiB".parse().unwrap();
        let spool = dir.path().join("spool");
        std::fs::create_dir(&spool).unwrap();
        let shipper = LogShipper::open(parts, self.stream.clone(), &spool, config, start).unwrap();
        let ledger = Arc::new(Ledger::new(oracle.state(oracle.issued.len()), log.head()));
        Writer { log, shipper, ledger, oracle, dir }
    }

    /// Commits of one to four records; some share a frame and so their time, some share the time without the frame.
    pub(crate) fn commit_group(&mut self, writer: &mut Writer) {
        if self.rng.below(4) > 0 {
            self.clock.pass(Duration::from_micros(1 + self.rng.below(3_000_000)));
        }
        let size = 1 + self.rng.below(3) as usize;
        let mut tickets = Vec::new();
        for _ in 0..size {
            let changes: Vec<Change> =
                (0..1 + self.rng.below(4)).map(|_| Change::random(&mut self.rng)).collect();
            let transaction = (self.rng.below(3) > 0).then(|| {
                self.transactions += 1 + self.rng.below(5);
                TransactionId(self.transactions)
            });
            let records = changes.iter().map(Change::encode).collect();
            let draft = CommitDraft { records, transaction, context: None };
            tickets.push((writer.log.submit(draft).unwrap(), changes, transaction));
        }
        writer.log.sync().unwrap();
        for (ticket, changes, transaction) in tickets {
            let done = ticket.poll().expect("the log was synced").unwrap();
            let issued = Issued { changes, end: done.end.lsn, time: done.time, transaction };
            writer.ledger.apply(&issued, done.end);
            writer.oracle.issued.push(issued);
        }
    }

    pub(crate) fn tag(&mut self, writer: &mut Writer) {
        self.tags += 1;
        let name = format!("moment-{}", self.tags);
        writer.log.tag(name.parse().unwrap()).unwrap();
        writer.oracle.tags.push((name, writer.oracle.issued.len()));
    }

    pub(crate) async fn ship(&self, writer: &mut Writer) {
        writer.shipper.step().await.unwrap();
    }

    /// A checkpoint at home, and in the mirror soon after.
    pub(crate) async fn checkpoint(&mut self, writer: &mut Writer) -> CheckpointId {
        let kind = if self.rng.below(3) == 0 { CheckpointKind::Full } else { CheckpointKind::Incremental };
        let checkpointer = self.checkpointer(0);
        let (what, nobody) = (writer.ledger.clone(), Cancel::new());
        let (labels, none) = (Labels::default(), &NoProgress);
        let made =
            checkpointer.checkpoint_labelled(&self.source, what, kind, labels, none, &nobody).await.unwrap();
        writer.oracle.bases.push((made.id().clone(), writer.oracle.issued.len()));
        self.mirror().await;
        made.id().clone()
    }

    pub(crate) fn checkpointer(&self, copy: usize) -> Checkpointer {
        let mut options = CheckpointOptions::default();
        options.workers = Some(1);
        Checkpointer::new(self.specs[copy].repository.clone(), options)
    }

    async fn mirror(&self) {
        let [home, far] = [0, 1].map(|copy| self.specs[copy].clone());
        let mut mirror = Mirror::new(home, far, self.clock.clone(), MirrorConfig::default()).unwrap();
        while !mirror.step().await.unwrap().caught_up {}
    }

    /// Days of work: commits, tags, checkpoints, shipped in between; all of it in both copies at the end.
    pub(crate) async fn work(&mut self, writer: &mut Writer, groups: usize) {
        for group in 0..groups {
            self.commit_group(writer);
            if self.rng.below(6) == 0 {
                self.tag(writer);
            }
            if self.rng.below(3) == 0 {
                self.ship(writer).await;
            }
            if group % (groups / 4).max(1) == groups / 8 {
                self.ship(writer).await;
                self.checkpoint(writer).await;
            }
        }
        self.ship(writer).await;
    }

    /// Another machine takes over at the end of what the copies hold, or earlier.
    pub(crate) async fn successor(&self, old: &Writer, fork: Fork, commits: usize) -> Writer {
        let options = TakeoverOptions { fork, ..TakeoverOptions::default() };
        let takeover: Takeover =
            take_over(&self.copies(), &self.stream, &options, &*self.clock, &*self.entropy).await.unwrap();
        let mut oracle = old.oracle.clone();
        oracle.issued.truncate(commits);
        oracle.tags.retain(|(_, before)| *before <= commits);
        oracle.bases.retain(|(_, inside)| *inside <= commits);
        let (epoch, at) = (takeover.epoch, takeover.start());
        let open_as = OpenAs::Takeover {
            epoch,
            at,
            parent: Some(takeover.parent.epoch),
            not_before: takeover.last_time,
        };
        self.writer(open_as, Start::After(Box::new(takeover)), oracle)
    }

    pub(crate) async fn recovery(&self, copy: usize) -> Recovery {
        Recovery::load(&self.specs[copy].repository, &self.source, Some(&self.stream)).await.unwrap()
    }

    pub(crate) async fn recovery_of(&self, copy: usize, epoch: u32) -> Result<Recovery, RecoveryError> {
        let (repository, stream) = (&self.specs[copy].repository, Some(&self.stream));
        Recovery::load_history(repository, &self.source, stream, Epoch::new(epoch)).await
    }

    /// The home copy burns down; what stands in for it is opened anew.
    pub(crate) async fn lose_home(&mut self) {
        self.specs.remove(0);
        std::fs::remove_dir_all(self.home_dir.path().join("repo")).unwrap();
        let parts = self.parts(Arc::new(self.mirror_store.clone()));
        self.specs[0].repository = Repository::open(parts, None).await.unwrap();
    }

    /// Numbers of the batches of an epoch in a copy.
    pub(crate) async fn batches(&self, copy: usize, epoch: Epoch) -> u64 {
        let mut number = 0;
        while self.exists(copy, &batch_key(&self.stream, epoch, number + 1)).await {
            number += 1;
        }
        number
    }

    async fn exists(&self, copy: usize, key: &Key) -> bool {
        self.specs[copy].repository.exists(key).await.unwrap()
    }

    /// What a batch covers.
    pub(crate) async fn batch(&self, copy: usize, epoch: Epoch, number: u64) -> (Lsn, Lsn) {
        let repository = &self.specs[copy].repository;
        let key = batch_key(&self.stream, epoch, number);
        let bytes = repository.get_bytes(&key, OBJECT_BYTES_MAX).await.unwrap().unwrap();
        match open_object(repository.keys(), Place { stream: &self.stream, epoch, number }, &bytes).unwrap() {
            ArchiveObject::Batch(batch) => (batch.head.from.lsn, batch.head.to.lsn),
            other => panic!("{key}: {other:?}"),
        }
    }

    /// The log is gone from a copy.
    pub(crate) async fn delete_log(&self, copy: usize) {
        let storage = self.specs[copy].repository.storage();
        let page =
            storage.list(ListRequest { limit: Some(10_000), ..ListRequest::below("logs/") }).await.unwrap();
        for meta in page.objects {
            storage.delete(&meta.key).await.unwrap();
        }
    }

    pub(crate) async fn delete_batch(&self, copy: usize, epoch: Epoch, number: u64) {
        self.specs[copy].repository.storage().delete(&batch_key(&self.stream, epoch, number)).await.unwrap();
    }
}
