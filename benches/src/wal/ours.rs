//! Our log, through its public API and as a program would use it: the presets, and nothing turned.

mod archived;
mod futured;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::bail;
use bytes::Bytes;
use rpo_core::frame::{CommitDraft, EntryRef};
use rpo_core::objective::AckLevel;
use rpo_core::{ByteSize, HumanDuration, Lsn};
use rpo_wal::{Drive, Log, LogParts, OpenAs, WalConfig};

use super::bursts::{Bursts, bursts};
use super::case::{Measured, Order, Work};
use super::closed::{Append, Appender, closed_loop, payload};
use super::replay::{DataSet, timed_replay};

/// How often a program that checkpoints lets go of what is safe elsewhere.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(20);
/// Buffered appends promise nothing about the disk; this is how long they may stay unsynced.
const BUFFERED_SYNC: HumanDuration = HumanDuration::from_secs(60);

pub(super) fn carry_out(order: &Order) -> anyhow::Result<Measured> {
    let (case, scale) = (&order.case, &order.scale);
    match case.work {
        Work::Durable => {
            let log = open(order, WalConfig::zero_loss())?;
            let measured = checkpointed(&log, || closed_loop(&Durable(&log), case, scale, case.writers, 1))?;
            log.close()?;
            Ok(measured)
        }
        Work::Async => futured::carry_out(order),
        Work::Buffered => {
            let log = open(order, buffered())?;
            let mut ours = Buffered { log: &log, payload: payload(0, case.record_bytes) };
            bursts(&mut ours, case, scale)
        }
        Work::Prepare => prepare(order),
        Work::Replay => {
            let mut log = None;
            let measured = timed_replay(order, || replay(order, &mut log))?;
            log.map_or(Ok(()), Log::close)?; // not timed: shutting down is no part of reading
            Ok(measured)
        }
        Work::Paced { archive } => archived::paced(order, archive),
        Work::Saturated => archived::saturated(order),
    }
}

/// What a program does that has the state safe elsewhere: old segments are let go, and used again.
fn checkpointed<T>(log: &Log, run: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let releasing = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                log.release(log.durable().lsn)?;
                thread::park_timeout(CHECKPOINT_EVERY);
            }
            anyhow::Ok(())
        });
        let result = run();
        over.store(true, Ordering::Relaxed);
        releasing.thread().unpark();
        releasing.join().map_err(|_| anyhow::anyhow!("releasing panicked"))??;
        result
    })
}

fn open(order: &Order, config: WalConfig) -> anyhow::Result<Log> {
    open_in(order, &order.scratch().join("log"), config)
}

fn open_in(order: &Order, dir: &Path, config: WalConfig) -> anyhow::Result<Log> {
    open_as(order, dir, config, Drive::Thread)
}

fn open_driven(order: &Order, config: WalConfig, drive: Drive) -> anyhow::Result<Log> {
    open_as(order, &order.scratch().join("log"), config, drive)
}

fn open_as(order: &Order, dir: &Path, mut config: WalConfig, drive: Drive) -> anyhow::Result<Log> {
    config.segment_bytes = ByteSize::mib(order.scale.segment_mib.into());
    Ok(Log::open(dir, config, LogParts::os(), drive, OpenAs::Continue)?.0)
}

fn buffered() -> WalConfig {
    let mut config = WalConfig::group_commit();
    config.sync_delay_max = BUFFERED_SYNC;
    config
}

struct Durable<'a>(&'a Log);

impl Appender for Durable<'_> {
    fn writer(&self, _number: u32, payload: Bytes) -> anyhow::Result<Append<'_>> {
        let log = self.0;
        Ok(Box::new(move || {
            log.append(CommitDraft::one(payload.clone()), AckLevel::Durable)?;
            Ok(())
        }))
    }
}

struct Buffered<'a> {
    log: &'a Log,
    payload: Bytes,
}

impl Bursts for Buffered<'_> {
    fn append(&mut self) -> anyhow::Result<()> {
        self.log.append_record(&self.payload, AckLevel::Buffered)?;
        Ok(())
    }

    fn hand_over(&mut self) -> anyhow::Result<()> {
        // One more, for which everything before it has to be written.
        self.log.append(CommitDraft::one(self.payload.clone()), AckLevel::Os)?;
        Ok(())
    }

    fn settle(&mut self) -> anyhow::Result<()> {
        let synced = self.log.sync()?;
        self.log.release(synced.lsn)?;
        Ok(())
    }
}

/// Groups as they come about under load: everything of ten milliseconds, in frames of up to 1 MiB.
fn prepare(order: &Order) -> anyhow::Result<Measured> {
    let set = DataSet::of(order);
    let dir = order.replayed();
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    let log = open_in(order, &dir, WalConfig::group_commit())?;
    let payload = payload(0, order.case.record_bytes);
    for _ in 0..set.records {
        log.append(CommitDraft::one(payload.clone()), AckLevel::Buffered)?;
    }
    log.close()?;
    Ok(Measured { records: set.records, ..Measured::default() })
}

fn replay(order: &Order, open: &mut Option<Log>) -> anyhow::Result<u64> {
    let mut config = WalConfig::zero_loss();
    config.segment_bytes = ByteSize::mib(order.scale.segment_mib.into());
    let mut bytes = 0;
    let mut count = |entry: EntryRef<'_>| {
        if let EntryRef::Commit(commit) = entry {
            bytes += commit.payloads().map(|payload| payload.len() as u64).sum::<u64>();
        }
    };
    let (dir, parts, drive) = (order.replayed(), LogParts::os(), Drive::Thread);
    let (log, _) = Log::open_replaying(&dir, config, parts, drive, OpenAs::Continue, Lsn::ZERO, &mut count)?;
    *open = Some(log);
    if bytes == 0 { bail!("nothing to replay: prepare the data set first") } else { Ok(bytes) }
}
