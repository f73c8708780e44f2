//! Commits while a shipper copies the log to a repository on the same disk, encrypted: what that costs, how far behind
//! the archive is, and what it keeps up with.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rpo_core::frame::CommitDraft;
use rpo_core::objective::AckLevel;
use rpo_core::{CopyName, Lsn, StreamId};
use rpo_crypto::Secret;
use rpo_os::{OsClock, OsDisk, OsEntropy};
use rpo_replication::{
    Copies, CopyDomain, CopySpec, LogShipper, ReplicationError, Role, ShipConfig, ShipView, ShipperParts,
    Start,
};
use rpo_repository::{InitOptions, Repository, RepositoryParts};
use rpo_storage::LocalStorage;
use rpo_wal::{Log, WalConfig};

use super::{Durable, open};
use crate::wal::case::{Measured, Order};
use crate::wal::closed::{Gate, closed_loop, payload, told};
use crate::wal::histogram::Histogram;
use crate::wal::probe::Probe;

/// What is offered, bytes per second.
const OFFERED: u64 = 20_000_000;
/// How often the sampler compares what is acknowledged with what is protected.
const SAMPLE: Duration = Duration::from_millis(2);
/// An archive that has not caught up by then never will.
const PATIENCE: Duration = Duration::from_secs(10);

/// At 20 MB/s, with the archive or without.
pub(super) fn paced(order: &Order, archive: bool) -> anyhow::Result<Measured> {
    let log = open(order, WalConfig::zero_loss())?;
    let shipping = archive.then(|| Shipping::start(order, &log)).transpose()?;
    let gate = Gate::default();
    let measured = thread::scope(|scope| {
        let sampler = shipping.as_ref().map(|shipping| {
            let (view, log, gate) = (shipping.view.clone(), &log, &gate);
            scope.spawn(move || lag(log, &view, gate))
        });
        let measured = offer(order, &log, &gate);
        gate.end();
        let lag =
            sampler.map(|s| s.join().map_err(|_| anyhow::anyhow!("the sampler panicked"))).transpose()?;
        let interval = Duration::from_millis(order.scale.ship_ms).as_secs_f64();
        let lag_intervals = lag.transpose()?.map(|lag| lag.as_secs_f64() / interval);
        anyhow::Ok(Measured { lag_intervals, ..measured? })
    })?;
    let ship_failures = shipping.map(Shipping::stop).transpose()?;
    log.close()?;
    Ok(Measured { ship_failures, ..measured })
}

/// As fast as it goes, with the archive.
pub(super) fn saturated(order: &Order) -> anyhow::Result<Measured> {
    let log = open(order, WalConfig::zero_loss())?;
    let shipping = Shipping::start(order, &log)?;
    let (from, began) = (shipping.protected(), Instant::now());
    let case = &order.case;
    let measured = closed_loop(&Durable(&log), case, &order.scale, case.writers, 1)?;
    let shipped = shipping.protected().get().saturating_sub(from.get());
    let shipped_mb_s = Some(shipped as f64 / 1e6 / began.elapsed().as_secs_f64());
    let ship_failures = Some(shipping.stop()?);
    log.close()?;
    Ok(Measured { shipped_mb_s, ship_failures, ..measured })
}

/// Writers with a plan: each has a time for every record. One that is late because its last record took long counts the
/// wait, as whoever sent the record would.
fn offer(order: &Order, log: &Log, gate: &Gate) -> anyhow::Result<Measured> {
    let case = &order.case;
    let each = OFFERED as f64 / f64::from(case.writers) / f64::from(case.record_bytes);
    let every = Duration::from_secs_f64(1.0 / each);
    let begin = Instant::now();
    let write = |number: u32| {
        let payload = payload(number, case.record_bytes);
        let mut due = begin + every.mul_f64(f64::from(number) / f64::from(case.writers));
        let mut seen = Histogram::default();
        while !gate.is_over() {
            let now = Instant::now();
            if due > now {
                thread::sleep(due - now);
            }
            let asked = if due > now { Instant::now() } else { due };
            log.append(CommitDraft::one(payload.clone()), AckLevel::Durable)?;
            if gate.counts() {
                seen.add(asked.elapsed());
            }
            due += every;
        }
        anyhow::Ok(seen)
    };
    thread::scope(|scope| {
        let write = &write;
        let writers: Vec<_> = (0..case.writers).map(|number| scope.spawn(move || write(number))).collect();
        let window: anyhow::Result<(Probe, Probe)> = gate.run(&order.scale);
        let mut all = Histogram::default();
        for writer in writers {
            all.merge(&writer.join().map_err(|_| anyhow::anyhow!("a writer panicked"))??);
        }
        let (before, after) = window?;
        Ok(told(&all, 1, &before, &after))
    })
}

/// The longest time from when a position was acknowledged until it was protected.
fn lag(log: &Log, view: &ShipView, gate: &Gate) -> anyhow::Result<Duration> {
    let mut waiting: VecDeque<(Instant, Lsn)> = VecDeque::new();
    let (mut longest, mut over) = (Duration::ZERO, None);
    loop {
        let protected = view.protected().map_or(Lsn::ZERO, |p| p.lsn);
        let now = Instant::now();
        while let Some((since, _)) = waiting.front().filter(|(_, lsn)| *lsn <= protected) {
            longest = longest.max(now - *since);
            waiting.pop_front();
        }
        if !gate.is_over() {
            if gate.counts() {
                waiting.push_back((now, log.head().lsn));
            }
        } else if waiting.is_empty() {
            return Ok(longest);
        } else {
            let over = *over.get_or_insert(now);
            ensure!(now - over < PATIENCE, "the archive did not catch up within {PATIENCE:?}");
        }
        thread::sleep(SAMPLE);
    }
}

/// A shipper on a thread of its own, driven as the manager drives it: a step that failed is tried again.
struct Shipping {
    view: ShipView,
    stop: mpsc::Sender<()>,
    thread: thread::JoinHandle<anyhow::Result<u32>>,
}

impl Shipping {
    fn start(order: &Order, log: &Log) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut shipper = runtime.block_on(shipper(order, log))?;
        let view = shipper.view();
        let (stop, stopped) = mpsc::channel();
        let every = Duration::from_millis(order.scale.ship_ms);
        let body = move || {
            let mut failed = 0;
            while matches!(stopped.recv_timeout(every), Err(RecvTimeoutError::Timeout)) {
                match runtime.block_on(async { shipper.step_until(tokio::time::sleep(every)).await }) {
                    Ok(_) => {}
                    Err(error @ (ReplicationError::Fenced { .. } | ReplicationError::Rewound { .. })) => {
                        return Err(error.into());
                    }
                    Err(error) => {
                        failed += 1;
                        eprintln!("a step of the shipper failed: {error}");
                    }
                }
            }
            Ok(failed)
        };
        let thread = thread::Builder::new().name("shipper".to_owned()).spawn(body)?;
        Ok(Self { view, stop, thread })
    }

    fn protected(&self) -> Lsn {
        self.view.protected().map_or(Lsn::ZERO, |p| p.lsn)
    }

    /// Returns how many steps failed.
    fn stop(self) -> anyhow::Result<u32> {
        drop(self.stop);
        self.thread.join().map_err(|_| anyhow::anyhow!("the shipper panicked"))?.context("shipping")
    }
}

async fn shipper(order: &Order, log: &Log) -> anyhow::Result<LogShipper> {
    let (clock, entropy, disk) =
        (Arc::new(OsClock::new()), Arc::new(OsEntropy::new()), Arc::new(OsDisk::new()));
    let storage = LocalStorage::open(order.scratch().join("copy"), disk.clone())?;
    let parts =
        RepositoryParts { storage: Arc::new(storage), clock: clock.clone(), entropy: entropy.clone() };
    let secret = Secret::key_file([7; 32]); // encrypted as anybody's; who opens it does not matter here
    let repository = Repository::init(parts, InitOptions::encrypted(secret)).await?;
    let copy = CopySpec {
        name: CopyName::new("local")?,
        domain: CopyDomain::default(),
        url: "file://copy".to_owned(),
        role: Role::Home,
        repository,
    };
    let copies = Copies::new(vec![copy], "any 1 of (local)".parse()?)?;
    let parts = ShipperParts { source: Arc::new(log.clone()), copies, disk, clock, entropy };
    let spool = order.scratch().join("spool");
    let stream = StreamId::new("bench")?;
    let mut shipper = LogShipper::open(parts, stream, &spool, ShipConfig::default(), Start::Continue)?;
    shipper.step().await?; // the first has to find out where the archive begins
    Ok(shipper)
}
