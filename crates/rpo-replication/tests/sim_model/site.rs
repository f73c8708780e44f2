//! Writers on machines, copies in stores, lines between them; everything that goes wrong is drawn from the seed.

use std::collections::BTreeMap;
use std::future::ready;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use rpo_core::objective::Domain;
use rpo_core::window::{
    CommitTimeline, CopyState, EpochStart, Evidence, History, LogRun, Moment, protected_position,
};
use rpo_core::{ByteSize, CopyName, Epoch, ErrorKind, LogEntry, Lsn, Position, StreamId, Timestamp};
use rpo_replication::{
    Archive, Copies, CopyDomain, CopySpec, FrameSource, LogShipper, MergeConfig, Merger, ReplicationError,
    Role, ShipConfig, ShipView, ShipperParts, Start, SyncPolicy, Takeover, TakeoverOptions, take_over,
};
use rpo_repository::{InitOptions, Repository, RepositoryParts};
use rpo_storage::Key;
use rpo_testkit::sim::{FaultPlan, Machine, Rng, World, block_on};

use super::oracle::{Oracle, Wrote};
use super::paper::PaperLog;

pub(crate) const STREAM: &str = "orders";
const STORES: [&str; 3] = ["eu", "us", "ap"];
const SPOOL: &str = "/var/spool";
/// Few, so that the timeline has to merge.
const TIMELINE_RUNS: usize = 16;

/// A writer of one generation, alive or not knowing yet that it is over.
pub(crate) struct Writer {
    pub(crate) epoch: Epoch,
    machine: Machine,
    log: Arc<PaperLog>,
    start: Start,
    shipper: Option<LogShipper>,
    view: Option<ShipView>,
    timeline: CommitTimeline,
    pub(crate) fenced: bool,
}

/// A report that somebody was shown, and when.
struct Told {
    epoch: Epoch,
    at_most: Option<Duration>,
    at: Duration,
}

pub(crate) struct Site {
    pub(crate) world: World,
    pub(crate) oracle: Oracle,
    pub(crate) writers: Vec<Writer>,
    plan: FaultPlan,
    policy: SyncPolicy,
    needed: usize,
    payloads: u64,
    reports: Vec<Told>,
    config: ShipConfig,
    merge_config: MergeConfig,
    /// A takeover failed since the newest epoch began: its fences may stand all the same.
    failed_takeover: bool,
    /// Every epoch that anybody begins or forks from, and where it forks.
    forks: BTreeMap<Epoch, Option<Position>>,
}

fn stream() -> StreamId {
    StreamId::new(STREAM).expect("a name")
}

impl Site {
    pub(crate) fn new(
        world: World,
        rng: &mut Rng,
        config: ShipConfig,
        merge_config: MergeConfig,
    ) -> Result<Self, String> {
        let plan = world.plan();
        let needed = 1 + rng.index(3);
        let names = STORES.map(|name| CopyName::new(name).expect("a name")).to_vec();
        let policy = SyncPolicy::any(needed, names).expect("a policy");
        let oracle = Oracle::new(STREAM, needed);
        let mut config = config;
        config.batches_per_step = 1; // so that every batch's end is seen
        config.batch_bytes = ByteSize::new(4096);
        let (writers, reports) = (Vec::new(), Vec::new());
        let mut site = Self {
            world,
            oracle,
            writers,
            plan,
            policy,
            needed,
            payloads: 0,
            reports,
            config,
            merge_config,
            failed_takeover: false,
            forks: BTreeMap::from([(Epoch::FIRST, None)]),
        };
        site.calmly(|site| site.init());
        let first = Position::START;
        site.hire("a", first, Start::Continue, Timestamp::EPOCH)?;
        Ok(site)
    }

    fn calmly<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> T {
        self.world.set_plan(FaultPlan::calm());
        let result = act(self);
        self.world.set_plan(self.plan.clone());
        result
    }

    fn init(&mut self) {
        let machine = self.world.machine("setup");
        let home = Repository::init(repository_parts(&machine, STORES[0]), InitOptions::unencrypted());
        let home = block_on(home).expect("nothing goes wrong here");
        for store in &STORES[1..] {
            block_on(Repository::init_copy(repository_parts(&machine, store), &home))
                .expect("nothing goes wrong");
        }
    }

    /// The copies as a machine sees them.
    fn copies(&mut self, machine: &Machine) -> Copies {
        STORES.iter().for_each(|store| machine.cut(store, false));
        let policy = self.policy.clone();
        self.calmly(|_| {
            let spec = |store: &&str| CopySpec {
                name: CopyName::new(*store).expect("a name"),
                domain: CopyDomain::default(),
                url: format!("sim://{store}"),
                role: if *store == STORES[0] { Role::Home } else { Role::Mirror },
                repository: block_on(Repository::open(repository_parts(machine, store), None)).expect("calm"),
            };
            Copies::new(STORES.iter().map(spec).collect(), policy).expect("copies of one repository")
        })
    }

    /// What is really in the stores.
    fn truth(&self) -> Vec<BTreeMap<Key, Bytes>> {
        STORES.iter().map(|store| self.world.machine("setup").store(store).objects()).collect()
    }

    /// A new writer begins.
    fn hire(&mut self, machine: &str, first: Position, start: Start, floor: Timestamp) -> Result<(), String> {
        let machine = self.world.machine(machine);
        machine.disk().set_up_dir(Path::new(SPOOL)).expect("an empty disk");
        let log = Arc::new(PaperLog::new(first, floor, Arc::new(machine.clock())));
        let timeline = CommitTimeline::new(first, TIMELINE_RUNS);
        let epoch = first.epoch;
        self.writers.push(Writer {
            epoch,
            machine,
            log,
            start,
            shipper: None,
            view: None,
            timeline,
            fenced: false,
        });
        self.open_shipper(self.writers.len() - 1);
        Ok(())
    }

    /// Opens the shipper; faults of the disk may prevent it this time.
    fn open_shipper(&mut self, at: usize) {
        let machine = self.writers[at].machine.clone();
        let copies = self.copies(&machine);
        let writer = &mut self.writers[at];
        writer.shipper = None; // its lock on the spool ends first
        let parts = ShipperParts {
            source: writer.log.clone(),
            copies,
            disk: Arc::new(machine.disk()),
            clock: Arc::new(machine.clock()),
            entropy: Arc::new(machine.entropy()),
        };
        match LogShipper::open(parts, stream(), Path::new(SPOOL), self.config.clone(), writer.start.clone()) {
            Ok(shipper) => {
                if let Some(tip) = shipper.tip() {
                    self.oracle.sealed(writer.epoch, tip.number, tip.position.lsn);
                }
                writer.view = Some(shipper.view());
                writer.shipper = Some(shipper);
            }
            Err(error) => self.world.note(&format!("shipper of epoch {}: {error}", writer.epoch)),
        }
    }

    /// The program commits; its log has it, the copies do not yet.
    pub(crate) fn write(&mut self, at: usize, len: usize) {
        self.payloads += 1;
        let mut payload = self.payloads.to_le_bytes().to_vec();
        payload.resize(8 + len, self.payloads.to_le_bytes()[0] | 1);
        let payload = Bytes::from(payload);
        let now = self.world.now();
        let writer = &mut self.writers[at];
        let (lsn, end) = writer.log.commit(payload.clone());
        writer.timeline.record(end, Moment::now(&writer.machine.clock()));
        self.oracle.wrote(writer.epoch, Wrote { lsn, end: end.lsn, payload, at: now });
    }

    /// One step of a writer's shipper, waited for or not.
    pub(crate) fn step(&mut self, at: usize, patient: bool) -> Result<(), String> {
        let Some(mut shipper) = self.writers[at].shipper.take() else {
            self.open_shipper(at);
            return Ok(());
        };
        let result = if patient { block_on(shipper.step()) } else { block_on(shipper.step_until(ready(()))) };
        self.stepped(at, shipper, result.map(drop))
    }

    fn stepped(
        &mut self,
        at: usize,
        shipper: LogShipper,
        result: Result<(), ReplicationError>,
    ) -> Result<(), String> {
        let writer = &mut self.writers[at];
        let epoch = writer.epoch;
        if let Some(tip) = shipper.tip() {
            self.oracle.sealed(epoch, tip.number, tip.position.lsn);
        }
        writer.shipper = Some(shipper);
        match result {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Fenced => {
                if !writer.fenced {
                    self.world.sometimes("a writer learnt that it was fenced");
                }
                writer.fenced = true;
            }
            Err(error) => {
                self.world.note(&format!("step of epoch {epoch}: {error}"));
                writer.shipper = None; // begins anew at its next turn
            }
        }
        if writer.fenced && epoch == self.newest() && !self.failed_takeover {
            return Err(format!("promise 9: epoch {epoch} was told that it is fenced, and nobody tried to"));
        }
        self.listen(at)
    }

    /// What a writer says is protected, now.
    fn listen(&mut self, at: usize) -> Result<(), String> {
        let truth = self.truth();
        let writer = &self.writers[at];
        let Some(protected) = writer.view.as_ref().and_then(ShipView::protected) else { return Ok(()) };
        self.world.sometimes("something was told to be protected");
        self.oracle.told_protected(writer.epoch, protected.lsn, &truth)
    }

    pub(crate) fn newest(&self) -> Epoch {
        self.writers.iter().map(|writer| writer.epoch).max().expect("there is one")
    }

    /// Another machine takes over while the writers `beside` go on shipping; maybe a second machine tries, too.
    pub(crate) fn take_over(&mut self, machines: &[String], beside: usize) -> Result<(), String> {
        let machines: Vec<Machine> = machines.iter().map(|name| self.world.machine(name)).collect();
        let copies: Vec<Copies> = machines.iter().map(|machine| self.copies(machine)).collect();
        let options = TakeoverOptions { note: "simulated".to_owned(), ..TakeoverOptions::default() };
        let mut shipper = self.writers[beside].shipper.take();
        let stream = stream();
        let clocks: Vec<_> = machines.iter().map(|machine| (machine.clock(), machine.entropy())).collect();
        let attempts = copies
            .iter()
            .zip(&clocks)
            .map(|(copies, (clock, entropy))| take_over(copies, &stream, &options, clock, entropy));
        let ship = async {
            match &mut shipper {
                Some(shipper) => Some(shipper.step().await.map(drop)),
                None => None,
            }
        };
        let (results, shipped) =
            block_on(async { futures::join!(futures::future::join_all(attempts), ship) });
        let mut failed = false;
        for (machine, result) in machines.iter().zip(results) {
            match result {
                Ok(takeover) => self.took_over(machine, takeover)?,
                Err(error) => {
                    self.world.note(&format!("takeover: {error}"));
                    self.world.sometimes("a takeover failed");
                    failed = true;
                }
            }
        }
        // One that failed may have fenced one that succeeded beside it, whichever is told of first.
        self.failed_takeover |= failed;
        match (shipper, shipped) {
            (Some(shipper), Some(result)) => self.stepped(beside, shipper, result),
            _ => Ok(()),
        }
    }

    fn took_over(&mut self, machine: &Machine, takeover: Takeover) -> Result<(), String> {
        self.world.sometimes("a takeover succeeded");
        self.failed_takeover = false;
        if !takeover.healed.is_empty() {
            self.world.sometimes("a takeover completed a copy that lagged");
        }
        let parent = takeover.parent;
        self.oracle.took_over(takeover.epoch, parent.epoch, parent.number, parent.fork)?;
        if !self.forks.contains_key(&parent.epoch) {
            // Begun by a takeover that was told as failed.
            let (older, _) = self.forks.range(..parent.epoch).next_back().expect("there is an epoch 1");
            self.forks.insert(parent.epoch, Some(Position { epoch: *older, ..parent.fork }));
        }
        self.forks.insert(takeover.epoch, Some(parent.fork));
        let (first, floor) = (takeover.start(), takeover.last_time);
        self.hire(machine.name(), first, Start::After(Box::new(takeover)), floor)
    }

    /// The machine of a writer loses power.
    pub(crate) fn power_cut(&mut self, at: usize) {
        let writer = &mut self.writers[at];
        (writer.shipper, writer.view) = (None, None);
        let saved = writer.timeline.save(Moment::now(&writer.machine.clock()));
        writer.machine = writer.machine.power_cut();
        let now = Moment::now(&writer.machine.clock()); // on a steady clock that began anew
        writer.timeline = CommitTimeline::restore(&saved, writer.log.durable(), now, TIMELINE_RUNS);
    }

    /// Somebody merges: a step that ends, or one that dies on the way. Batches go at once, or after a second.
    pub(crate) fn merge(&mut self, at: usize, polls: u64, grace: bool) -> Result<(), String> {
        let machine = self.writers[at].machine.clone();
        let copies = self.copies(&machine);
        let mut config = self.merge_config.clone();
        config.target_bytes = "64KiB".parse().expect("a size");
        config.parts_min = 2;
        config.patience = "0s".parse().expect("a duration");
        config.grace = if grace { "1s" } else { "0s" }.parse().expect("a duration");
        let (clock, entropy) = (Arc::new(machine.clock()), Arc::new(machine.entropy()));
        let merger = Merger::new(copies, stream(), clock, entropy, config);
        let mut merger = merger.map_err(|error| error.to_string())?;
        let mut left = polls;
        let patience = std::future::poll_fn(move |context| {
            left = left.saturating_sub(1);
            context.waker().wake_by_ref();
            if left == 0 { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        });
        let step = std::pin::pin!(merger.step());
        match block_on(futures::future::select(step, patience)) {
            futures::future::Either::Left((Ok(done), _)) => {
                let seen = [
                    (done.merged.is_some(), "batches were merged"),
                    (done.mirrored > 0, "a merged object reached another copy"),
                    (done.deleted > 0, "parts were deleted"),
                    (!done.waiting.is_empty(), "merging waited for a copy"),
                ];
                seen.iter()
                    .filter(|(happened, _)| *happened)
                    .for_each(|(_, what)| self.world.sometimes(what));
            }
            futures::future::Either::Left((Err(error), _)) => self.world.note(&format!("merging: {error}")),
            futures::future::Either::Right(_) => self.world.sometimes("a merger died on the way"),
        }
        Ok(())
    }

    pub(crate) fn cut(&mut self, at: usize, store: usize, cut: bool) {
        self.writers[at].machine.cut(STORES[store], cut);
    }

    /// Somebody asks a writer how much would be lost, and remembers the answer.
    pub(crate) fn ask(&mut self, at: usize) -> Result<(), String> {
        self.listen(at)?;
        let writer = &self.writers[at];
        let Some(view) = &writer.view else { return Ok(()) };
        let now = Moment::now(&writer.machine.clock());
        let known = self.forks.range(..=writer.epoch);
        let history = History::new(known.map(|(epoch, fork)| EpochStart { epoch: *epoch, fork: *fork }));
        let history = history.map_err(|error| error.to_string())?;
        let as_window = |state: rpo_replication::CopyState| CopyState {
            name: state.name,
            survives: vec![Domain::Machine],
            bases: vec![Position::START],
            log: state.log.position.map(|to| LogRun { from: Lsn::ZERO, to }).into_iter().collect(),
            proven_at: state.log.evidence.map(|seen| Moment::new(seen.wall, seen.steady)),
        };
        let copies: Vec<CopyState> = view.states().into_iter().map(as_window).collect();
        let protected = protected_position(&copies, self.needed, Domain::Machine, &history);
        let evidence =
            Evidence::gather(Domain::Machine, &writer.timeline, now, protected, Duration::from_secs(10));
        let report = evidence.report(now);
        self.reports.push(Told {
            epoch: writer.epoch,
            at_most: report.at_most(Duration::ZERO),
            at: self.world.now(),
        });
        self.check_reports()
    }

    /// Promise 6: what was reported, plus the time since, is at least what is true.
    pub(crate) fn check_reports(&mut self) -> Result<(), String> {
        let (truth, now) = (self.truth(), self.world.now());
        for told in &self.reports {
            let window = self.oracle.true_window(told.epoch, &truth, now);
            if !window.is_zero() {
                self.world.sometimes("a window was not zero");
            }
            let Some(at_most) = told.at_most else { continue };
            let bound = at_most + (now - told.at);
            if window > bound {
                let epoch = told.epoch;
                return Err(format!(
                    "promise 6: epoch {epoch} was told at most {bound:?} is lost, {window:?} is"
                ));
            }
        }
        Ok(())
    }

    /// The faults are over: old writers learn that they are fenced, the newest catches up.
    pub(crate) fn drain(&mut self) -> Result<(), String> {
        self.plan = FaultPlan::calm();
        self.world.set_plan(FaultPlan::calm());
        self.settle(60)?;
        if self.writers.iter().any(|writer| writer.fenced && writer.epoch == self.newest()) {
            // Stopped by a takeover that failed: the next one succeeds.
            let at = self.writers.len() - 1;
            self.take_over(&["last".to_owned()], at)?;
            self.settle(10)?;
        }
        for writer in &self.writers {
            let newest = writer.epoch == self.newest();
            let caught_up = writer.shipper.as_ref().is_some_and(LogShipper::is_caught_up);
            if newest && !caught_up {
                return Err(format!(
                    "liveness: epoch {} does not catch up although the faults are over",
                    writer.epoch
                ));
            }
            if !newest && !writer.fenced {
                return Err(format!("promise 9: epoch {} does not learn that it is over", writer.epoch));
            }
        }
        self.check_reports()
    }

    fn settle(&mut self, rounds: u32) -> Result<(), String> {
        for _ in 0..rounds {
            for at in 0..self.writers.len() {
                (0..STORES.len()).for_each(|store| self.cut(at, store, false));
                self.step(at, true)?;
            }
        }
        Ok(())
    }

    /// Every copy, by itself, holds every commit that was ever protected.
    pub(crate) fn restore_from_each(&mut self) -> Result<(), String> {
        for name in STORES {
            self.restore(&[name]).map_err(|error| format!("{error}, from copy {name} alone"))?;
        }
        Ok(())
    }

    /// As many copies burn as may burn; what is left holds every commit that was ever protected.
    pub(crate) fn burn_and_restore(&mut self, rng: &mut Rng) -> Result<(), String> {
        let mut left = STORES.to_vec();
        for _ in 1..self.needed {
            let burnt = left.remove(rng.index(left.len()));
            self.world.machine("setup").store(burnt).burn();
        }
        self.world.sometimes("copies burnt");
        self.restore(&left).map_err(|error| format!("{error}, of {STORES:?} only {left:?} are left"))
    }

    fn restore(&mut self, names: &[&str]) -> Result<(), String> {
        self.plan = FaultPlan::calm();
        self.world.set_plan(FaultPlan::calm());
        let reader = self.world.machine("reader");
        let spec = |store: &&str| CopySpec {
            name: CopyName::new(*store).expect("a name"),
            domain: CopyDomain::default(),
            url: format!("sim://{store}"),
            role: Role::Home,
            repository: self.repository(&reader, store),
        };
        let archive = Archive::new(names.iter().map(spec).collect(), stream()).expect("some copies");
        let read = async {
            let coverage = archive.coverage().await?;
            let history = coverage.current().clone();
            let entries = archive.entries(&history, Lsn::ZERO, Some(history.to().lsn)).await?;
            let legs: Vec<(Epoch, Lsn)> = history.legs.iter().map(|leg| (leg.epoch, leg.from.lsn)).collect();
            Ok::<_, ReplicationError>((legs, entries.try_collect::<Vec<LogEntry>>().await?))
        };
        match block_on(read) {
            Ok((legs, entries)) => {
                self.world.note(&format!("restored {} entries", entries.len()));
                self.oracle.restored(&legs, &entries)
            }
            // Nothing was ever shipped: then nothing may be missing.
            Err(error) if error.kind() == ErrorKind::NotFound => self.oracle.restored(&[], &[]),
            Err(error) => Err(format!("promise 5: the archive cannot be read: {error}")),
        }
    }

    /// A handle for reading; its config may have burnt, its keys are those of any other.
    fn repository(&self, machine: &Machine, store: &str) -> Repository {
        block_on(Repository::open_read_only(repository_parts(machine, store), None))
            .expect("a store that is left")
    }
}

fn repository_parts(machine: &Machine, store: &str) -> RepositoryParts {
    RepositoryParts {
        storage: Arc::new(machine.store(store)),
        clock: Arc::new(machine.clock()),
        entropy: Arc::new(machine.entropy()),
    }
}
