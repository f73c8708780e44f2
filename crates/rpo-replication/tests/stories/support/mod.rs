//! The scene of the stories: a log that is only a vector of frames, stores that can be broken, a clock that is told.
#![allow(dead_code)] // each story uses its part

mod store;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use rpo_core::frame::{CommitDraft, FrameBuilder, FrameFields};
use rpo_core::{
    Clock, CopyName, Entropy, Epoch, ErrorKind, LogEntry, Lsn, MarkerKind, Monotonic, PointName, Position,
    StreamId, Timestamp, TransactionId,
};
use rpo_os::OsDisk;
use rpo_replication::{
    Archive, Copies, CopyDomain, CopySpec, FrameSource, LogShipper, Role, ShipConfig, ShipperParts,
    SourceFault, Start, SyncPolicy, Takeover, TakeoverOptions, take_over,
};
use rpo_repository::{InitOptions, Repository, RepositoryParts};

pub(crate) use self::store::{Break, TestStore};

/// A clock that stands still until told.
#[derive(Debug)]
pub(crate) struct TestClock(AtomicU64);

impl TestClock {
    pub(crate) fn pass(&self, duration: Duration) {
        self.0.fetch_add(duration.as_micros() as u64, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000 + self.0.load(Ordering::SeqCst) as i64)
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::new(Duration::from_micros(self.0.load(Ordering::SeqCst)))
    }
}

/// Bytes that differ each time and are the same in each run.
#[derive(Debug)]
pub(crate) struct TestEntropy(AtomicU64);

impl Entropy for TestEntropy {
    fn fill(&self, out: &mut [u8]) -> std::io::Result<()> {
        for chunk in out.chunks_mut(8) {
            let mut x = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst);
            x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) ^ (x >> 31);
            chunk.copy_from_slice(&x.to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

/// A log whose every frame is durable at once.
#[derive(Debug)]
pub(crate) struct TestLog {
    clock: Arc<TestClock>,
    state: Mutex<LogState>,
    /// Commits that come in while it is read the next time.
    incoming: AtomicU64,
}

#[derive(Debug, Clone)]
struct LogState {
    first: Position,
    end: Position,
    chain: u32,
    frames: Vec<(Position, Bytes)>,
}

impl TestLog {
    pub(crate) fn new(clock: Arc<TestClock>, first: Position) -> Arc<Self> {
        let state = LogState { first, end: first, chain: 0, frames: Vec::new() };
        Arc::new(Self { clock, state: Mutex::new(state), incoming: AtomicU64::new(0) })
    }

    /// So many commits become durable while the log is read the next time.
    pub(crate) fn goes_on_while_read(&self, commits: u64) {
        self.incoming.store(commits, Ordering::SeqCst);
    }

    fn push(&self, fill: impl FnOnce(&mut FrameBuilder)) -> Position {
        self.clock.pass(Duration::from_millis(1));
        let mut state = self.state.lock().unwrap();
        let mut builder = FrameBuilder::new();
        fill(&mut builder);
        let fields = FrameFields {
            base_lsn: state.end.lsn,
            base_seq: state.end.sequence.unwrap(),
            epoch: state.end.epoch,
            durable_lsn: state.end.lsn,
            commit_time: self.clock.wall(),
            prev_chain: state.chain,
            salt: 7,
        };
        let (head, bytes) = builder.finish(&fields).unwrap();
        let start = state.end;
        state.frames.push((start, bytes.into()));
        state.chain = head.chain();
        state.end = head.end();
        state.end
    }

    /// One commit in a frame of its own.
    pub(crate) fn commit(&self, payload: &str) -> Position {
        self.push(|frame| {
            frame.push_commit(&CommitDraft::one(payload.to_owned())).unwrap();
        })
    }

    pub(crate) fn transaction(&self, id: u64, payload: &str) -> Position {
        let draft = CommitDraft::one(payload.to_owned()).with_transaction(TransactionId(id));
        self.push(|frame| {
            frame.push_commit(&draft).unwrap();
        })
    }

    pub(crate) fn tag(&self, name: &str) -> Position {
        let marker = MarkerKind::RestorePoint(PointName::new(name).unwrap());
        self.push(|frame| {
            frame.push_marker(&marker).unwrap();
        })
    }

    pub(crate) fn commits(&self, payloads: impl IntoIterator<Item = impl AsRef<str>>) -> Position {
        payloads.into_iter().fold(self.durable(), |_, payload| self.commit(payload.as_ref()))
    }

    /// Flips a bit in the frame that ends at `end`.
    pub(crate) fn rot(&self, _end: Position) {
        let mut state = self.state.lock().unwrap();
        let (_, frame) = state.frames.last_mut().unwrap();
        let mut bytes = frame.to_vec();
        bytes[80] ^= 1;
        *frame = bytes.into();
    }

    /// What a power cut does to a disk that lied: the log ends at `lsn` again.
    pub(crate) fn cut(&self, lsn: Lsn) {
        let mut state = self.state.lock().unwrap();
        let kept = state.frames.iter().take_while(|(start, _)| start.lsn < lsn).count();
        if let Some((start, _)) = state.frames.get(kept) {
            state.end = *start;
        }
        state.frames.truncate(kept);
    }
}

impl FrameSource for TestLog {
    fn epoch(&self) -> Epoch {
        self.state.lock().unwrap().end.epoch
    }

    fn first(&self) -> Position {
        self.state.lock().unwrap().first
    }

    fn durable(&self) -> Position {
        self.state.lock().unwrap().end
    }

    fn read_frames(&self, from: Lsn, bytes_max: usize) -> Result<Bytes, SourceFault> {
        for _ in 0..self.incoming.swap(0, Ordering::SeqCst) {
            self.commit("meanwhile");
        }
        let state = self.state.lock().unwrap();
        if from < state.first.lsn {
            return Err(SourceFault {
                kind: ErrorKind::NotFound,
                message: format!("lsn {from} was released"),
            });
        }
        let mut bytes = BytesMut::new();
        for (_, frame) in state.frames.iter().filter(|(start, _)| start.lsn >= from) {
            if !bytes.is_empty() && bytes.len() + frame.len() > bytes_max {
                break;
            }
            bytes.extend_from_slice(frame);
        }
        Ok(bytes.freeze())
    }

    fn heartbeat(&self) -> Result<(), SourceFault> {
        self.push(|frame| {
            frame.push_marker(&MarkerKind::Heartbeat).unwrap();
        });
        Ok(())
    }
}

/// A protected stream with its copies.
pub(crate) struct Site {
    pub(crate) clock: Arc<TestClock>,
    pub(crate) entropy: Arc<TestEntropy>,
    pub(crate) stream: StreamId,
    pub(crate) stores: Vec<TestStore>,
    pub(crate) specs: Vec<CopySpec>,
    pub(crate) policy: SyncPolicy,
    pub(crate) config: ShipConfig,
    pub(crate) log: Arc<TestLog>,
    pub(crate) spool: tempfile::TempDir,
}

pub(crate) fn name(text: &str) -> CopyName {
    CopyName::new(text).unwrap()
}

impl Site {
    /// Copies of these names, the first of them home; `policy` as people write it.
    pub(crate) async fn new(names: &[&str], policy: &str) -> Self {
        let clock = Arc::new(TestClock(AtomicU64::new(0)));
        Self::drawing(Arc::new(TestEntropy(AtomicU64::new(1))), clock, names, policy).await
    }

    /// Another site, whose repository has another identity.
    pub(crate) async fn with_entropy_of(other: &Self, names: &[&str]) -> Self {
        Self::drawing(Arc::clone(&other.entropy), Arc::clone(&other.clock), names, "none").await
    }

    async fn drawing(entropy: Arc<TestEntropy>, clock: Arc<TestClock>, names: &[&str], policy: &str) -> Self {
        let mut site = Self {
            log: TestLog::new(Arc::clone(&clock), Position::START),
            clock,
            entropy,
            stream: StreamId::new("orders").unwrap(),
            stores: Vec::new(),
            specs: Vec::new(),
            policy: policy.parse().unwrap(),
            config: ShipConfig::default(),
            spool: tempfile::tempdir().unwrap(),
        };
        for text in names {
            site.add_copy(text).await;
        }
        site
    }

    pub(crate) async fn add_copy(&mut self, text: &str) {
        let store = TestStore::new(text);
        let parts = RepositoryParts {
            storage: Arc::new(store.clone()),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
        };
        let repository = match self.specs.first() {
            None => Repository::init(parts, InitOptions::unencrypted()).await.unwrap(),
            Some(first) => Repository::init_copy(parts, &first.repository).await.unwrap(),
        };
        let role = if self.specs.is_empty() { Role::Home } else { Role::Mirror };
        let domain = CopyDomain { region: Some(text.to_owned()), ..CopyDomain::default() };
        self.specs.push(CopySpec {
            name: name(text),
            domain,
            url: format!("memory://{text}"),
            role,
            repository,
        });
        self.stores.push(store);
    }

    pub(crate) fn copies(&self) -> Copies {
        Copies::new(self.specs.clone(), self.policy.clone()).unwrap()
    }

    /// Small batches, so that there are several.
    pub(crate) fn small_batches(mut self) -> Self {
        self.config.batch_bytes = "4KiB".parse().unwrap();
        self
    }

    pub(crate) fn shipper_with(&self, log: Arc<TestLog>, spool: &Path, start: Start) -> LogShipper {
        let parts = ShipperParts {
            source: log,
            copies: self.copies(),
            disk: Arc::new(OsDisk::new()),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
        };
        LogShipper::open(parts, self.stream.clone(), spool, self.config.clone(), start).unwrap()
    }

    pub(crate) fn shipper(&self) -> LogShipper {
        self.shipper_with(Arc::clone(&self.log), self.spool.path(), Start::Continue)
    }

    pub(crate) fn archive(&self, copies: &[usize]) -> Archive {
        let copies = copies.iter().map(|index| self.specs[*index].clone()).collect();
        Archive::new(copies, self.stream.clone()).unwrap()
    }

    /// The payloads that the current history of these copies holds.
    pub(crate) async fn read(
        &self,
        copies: &[usize],
    ) -> Result<Vec<String>, rpo_replication::ReplicationError> {
        let archive = self.archive(copies);
        let coverage = archive.coverage().await?;
        let history = coverage.current();
        let entries = archive.entries(history, history.from().lsn, None).await?;
        Ok(payloads(entries.try_collect().await?))
    }

    pub(crate) async fn take_over(
        &self,
        options: &TakeoverOptions,
    ) -> Result<Takeover, rpo_replication::ReplicationError> {
        take_over(&self.copies(), &self.stream, options, &*self.clock, &*self.entropy).await
    }

    /// A new writer on another machine: its own log and spool.
    pub(crate) fn successor(&self, takeover: Takeover) -> (Arc<TestLog>, LogShipper, tempfile::TempDir) {
        let log = TestLog::new(Arc::clone(&self.clock), takeover.start());
        let spool = tempfile::tempdir().unwrap();
        let shipper = self.shipper_with(Arc::clone(&log), spool.path(), Start::After(Box::new(takeover)));
        (log, shipper, spool)
    }
}

pub(crate) fn payloads(entries: Vec<LogEntry>) -> Vec<String> {
    let commits = entries.into_iter().filter_map(|entry| match entry {
        LogEntry::Commit(commit) => Some(commit.records),
        LogEntry::Marker(_) => None,
    });
    commits.flatten().map(|record| String::from_utf8(record.payload.to_vec()).unwrap()).collect()
}

pub(crate) fn numbered(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("commit {n} {}", "x".repeat(1500))).collect()
}
