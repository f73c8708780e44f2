//! raft-engine: one region per writer, one entry per record. Without compression (it would only burn time on bytes that
//! do not compress); all else as it comes, files of 128 MB.
//!
//! Its `sync()` does nothing at all in this version, since it writes an empty batch, which returns early: so it is
//! `write(batch, true)` that is measured, and it is an entry of its own that settles a burst.

use anyhow::{bail, ensure};
use bytes::Bytes;
use protobuf::well_known_types::BytesValue;
use raft_engine::env::DefaultFileSystem;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};
use rpo_benches::wal::{
    Append, Appender, Bursts, DataSet, Measured, Order, Work, bursts, closed_loop, timed_replay,
};

/// How much is written ahead where that is asked for: more than a measurement writes.
const PREFILL: ReadableSize = ReadableSize::mb(1024);
/// Entries fetched at once.
const FETCHED: u64 = 1024;
/// Regions that a data set is spread over, as by so many writers.
const REGIONS: u64 = 64;

/// An entry is a record whose first 8 bytes are its index.
struct Records;

impl MessageExt for Records {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        entry.value.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
    }
}

type Log = Engine<DefaultFileSystem>;

pub(crate) fn carry_out(order: &Order, prefilled: bool) -> anyhow::Result<Measured> {
    let (case, scale) = (&order.case, &order.scale);
    match case.work {
        Work::Durable => {
            let log = Raft(open(&order.scratch(), prefilled)?);
            closed_loop(&log, case, scale, case.writers, 1)
        }
        Work::Buffered => {
            let log = open(&order.scratch(), prefilled)?;
            let payload = Bytes::from(vec![0x5a; case.record_bytes as usize]);
            bursts(&mut Burst(Region::new(&log, 0, &payload)), case, scale)
        }
        Work::Prepare => prepare(order),
        Work::Replay => timed_replay(order, || replay(order)),
        other => bail!("raft-engine has no {other:?}"),
    }
}

fn open(dir: &std::path::Path, prefilled: bool) -> anyhow::Result<Log> {
    let Some(dir) = dir.to_str() else { bail!("raft-engine wants a directory with a name in UTF-8") };
    let mut config = Config { dir: dir.to_owned(), ..Config::default() };
    config.batch_compression_threshold = ReadableSize(0);
    if prefilled {
        config.prefill_for_recycle = true;
        config.prefill_limit = Some(PREFILL);
    }
    Ok(Engine::open(config)?)
}

/// What appends to one region; batch and entry are used again and again.
struct Region<'a> {
    log: &'a Log,
    id: u64,
    next: u64,
    batch: LogBatch,
    entries: [BytesValue; 1],
}

impl<'a> Region<'a> {
    fn new(log: &'a Log, id: u64, payload: &[u8]) -> Self {
        let entry = BytesValue { value: payload.to_vec(), ..BytesValue::default() };
        Self { log, id, next: 1, batch: LogBatch::default(), entries: [entry] }
    }

    fn append(&mut self, sync: bool) -> anyhow::Result<()> {
        let index = self.next;
        self.next += 1;
        self.entries[0].value[..8].copy_from_slice(&index.to_le_bytes());
        self.batch.add_entries::<Records>(self.id, &self.entries)?;
        self.log.write(&mut self.batch, sync)?;
        Ok(())
    }
}

struct Raft(Log);

impl Appender for Raft {
    fn writer(&self, number: u32, payload: Bytes) -> anyhow::Result<Append<'_>> {
        let mut region = Region::new(&self.0, u64::from(number) + 1, &payload);
        Ok(Box::new(move || region.append(true)))
    }
}

struct Burst<'a>(Region<'a>);

impl Bursts for Burst<'_> {
    fn append(&mut self) -> anyhow::Result<()> {
        self.0.append(false)
    }

    fn hand_over(&mut self) -> anyhow::Result<()> {
        Ok(()) // every write goes to the system at once
    }

    fn settle(&mut self) -> anyhow::Result<()> {
        self.0.append(true)
    }
}

fn prepare(order: &Order) -> anyhow::Result<Measured> {
    let set = DataSet::of(order);
    let log = open(&order.replayed(), false)?;
    let payload = vec![0x5a; order.case.record_bytes as usize];
    let mut regions: Vec<_> = (1..=REGIONS).map(|id| Region::new(&log, id, &payload)).collect();
    for record in 0..set.records {
        regions[(record % REGIONS) as usize].append(false)?;
    }
    Ok(Measured { records: set.records, ..Measured::default() })
}

fn replay(order: &Order) -> anyhow::Result<u64> {
    let log = open(&order.replayed(), false)?;
    let mut bytes = 0;
    let mut entries = Vec::new();
    for region in log.raft_groups() {
        let (Some(first), Some(last)) = (log.first_index(region), log.last_index(region)) else { continue };
        let mut at = first;
        while at <= last {
            let end = (at + FETCHED).min(last + 1);
            log.fetch_entries_to::<Records>(region, at, end, None, &mut entries)?;
            bytes += entries.drain(..).map(|entry| entry.value.len() as u64).sum::<u64>();
            at = end;
        }
    }
    ensure!(bytes > 0, "nothing to replay: prepare the data set first");
    std::mem::forget(log);
    Ok(bytes)
}
