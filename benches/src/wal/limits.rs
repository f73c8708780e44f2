//! The limits: what the disk and the system allow, with no log in between.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;

use super::bursts::{Bursts, bursts};
use super::case::{Engine, Measured, Order, Work};
use super::closed::{Append, Appender, closed_loop, payload};
use super::replay::{DataSet, timed_replay};

const CHUNK: usize = 1 << 20;
const USER_BUFFER: usize = 64 << 10;

pub(super) fn carry_out(order: &Order) -> anyhow::Result<Measured> {
    let (case, scale) = (&order.case, &order.scale);
    match (case.engine, case.work) {
        (Engine::BareGrowing, Work::Durable) => {
            ensure!(case.writers == 1, "a bare loop has one writer");
            let file =
                OpenOptions::new().write(true).create_new(true).open(order.scratch().join("growing"))?;
            closed_loop(&Growing(file), case, scale, 1, 1)
        }
        (Engine::BarePrewritten, Work::Durable) => {
            ensure!(case.writers == 1, "a bare loop has one writer");
            closed_loop(&Batch { order, records: 1 }, case, scale, 1, 1)
        }
        (Engine::Batch, Work::Durable) => {
            closed_loop(&Batch { order, records: case.writers }, case, scale, 1, case.writers)
        }
        (Engine::UserBuffer, Work::Buffered) => {
            let payload = payload(0, case.record_bytes);
            let mut limit =
                UserBuffer { ring: Ring::open(order)?, payload, buffer: Vec::with_capacity(2 * USER_BUFFER) };
            bursts(&mut limit, case, scale)
        }
        (Engine::BareRead, Work::Prepare) => write_bare(order),
        (Engine::BareRead, Work::Replay) => timed_replay(order, || read_bare(order)),
        (engine, work) => bail!("{} does not do {work:?}", engine.name()),
    }
}

/// A file of written blocks that is written round and round.
#[derive(Debug)]
pub(super) struct Ring {
    file: File,
    at: u64,
    capacity: u64,
}

impl Ring {
    /// Opens it, and writes it first if it is not there.
    pub(super) fn open(order: &Order) -> anyhow::Result<Self> {
        let path = order.prewritten();
        let capacity = u64::from(order.scale.prewritten_mib) << 20;
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        if file.metadata()?.len() != capacity {
            file.set_len(0)?;
            let zeros = vec![0; CHUNK];
            for _ in 0..capacity / CHUNK as u64 {
                file.write_all(&zeros)?;
            }
            file.sync_all()?;
        }
        Ok(Self { file, at: 0, capacity })
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if self.at + bytes.len() as u64 > self.capacity {
            self.at = 0;
        }
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Writes at the next place, and makes it durable.
    pub(super) fn write_and_sync(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.write(bytes)?;
        self.file.sync_data()
    }
}

struct Growing(File);

impl Appender for Growing {
    fn writer(&self, _number: u32, payload: Bytes) -> anyhow::Result<Append<'_>> {
        let mut file = &self.0;
        Ok(Box::new(move || {
            file.write_all(&payload)?;
            Ok(file.sync_data()?)
        }))
    }
}

struct Batch<'a> {
    order: &'a Order,
    records: u32,
}

impl Appender for Batch<'_> {
    fn writer(&self, _number: u32, payload: Bytes) -> anyhow::Result<Append<'_>> {
        let mut ring = Ring::open(self.order)?;
        let bytes = payload.repeat(self.records as usize);
        Ok(Box::new(move || Ok(ring.write_and_sync(&bytes)?)))
    }
}

struct UserBuffer {
    ring: Ring,
    payload: Bytes,
    buffer: Vec<u8>,
}

impl Bursts for UserBuffer {
    fn append(&mut self) -> anyhow::Result<()> {
        let crc = crc32c::crc32c(&self.payload);
        self.buffer.extend_from_slice(&(self.payload.len() as u32).to_le_bytes());
        self.buffer.extend_from_slice(&crc.to_le_bytes());
        self.buffer.extend_from_slice(&self.payload);
        if self.buffer.len() >= USER_BUFFER { self.hand_over() } else { Ok(()) }
    }

    fn hand_over(&mut self) -> anyhow::Result<()> {
        self.ring.write(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    fn settle(&mut self) -> anyhow::Result<()> {
        Ok(self.ring.file.sync_data()?)
    }
}

fn write_bare(order: &Order) -> anyhow::Result<Measured> {
    let set = DataSet::of(order);
    let mut file = std::io::BufWriter::with_capacity(CHUNK, File::create(order.replayed())?);
    let payload = payload(0, order.case.record_bytes);
    for _ in 0..set.records {
        file.write_all(&payload)?;
    }
    file.flush()?;
    Ok(Measured { records: set.records, ..Measured::default() })
}

fn read_bare(order: &Order) -> anyhow::Result<u64> {
    let mut file = File::open(order.replayed()).context("prepare the data set first")?;
    let mut buffer = vec![0; CHUNK];
    let (mut bytes, mut crc) = (0, 0);
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        crc = crc32c::crc32c_append(crc, &buffer[..n]);
        bytes += n as u64;
    }
    std::hint::black_box(crc);
    Ok(bytes)
}
