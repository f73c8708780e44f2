//! okaywal: one entry of one chunk per record. Files of 64 MiB instead of 1 MiB, which its documents advise for batches;
//! a file that is full is "checkpointed" by doing nothing, so that it is used again at once: the best case for it.
//!
//! It has no append that does not sync, so it is not among the buffered ones.

use std::io::{self, Read as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::bail;
use bytes::Bytes;
use okaywal::{Configuration, Entry, EntryId, LogManager, ReadChunkResult, SegmentReader, WriteAheadLog};
use rpo_benches::wal::{Append, Appender, DataSet, Measured, Order, Work, closed_loop, timed_replay};

const FILE_BYTES: u32 = 64 << 20;
const CHECKPOINT_AFTER: u64 = 60 << 20;

pub(crate) fn carry_out(order: &Order) -> anyhow::Result<Measured> {
    let (case, scale) = (&order.case, &order.scale);
    match case.work {
        Work::Durable => {
            let config = Configuration::default_for(order.scratch())
                .preallocate_bytes(FILE_BYTES)
                .checkpoint_after_bytes(CHECKPOINT_AFTER);
            let log = Okay(config.open(Reader::default())?);
            let measured = closed_loop(&log, case, scale, case.writers, 1)?;
            log.0.shutdown()?;
            Ok(measured)
        }
        Work::Prepare => prepare(order),
        Work::Replay => timed_replay(order, || replay(order)),
        other => bail!("okaywal has no {other:?}"),
    }
}

struct Okay(WriteAheadLog);

impl Appender for Okay {
    fn writer(&self, _number: u32, payload: Bytes) -> anyhow::Result<Append<'_>> {
        Ok(Box::new(move || Ok(append(&self.0, &payload)?)))
    }
}

fn append(log: &WriteAheadLog, payload: &[u8]) -> io::Result<()> {
    let mut entry = log.begin_entry()?;
    entry.write_chunk(payload)?;
    entry.commit()?;
    Ok(())
}

/// Reads every chunk and checks it, as its documents say one should.
#[derive(Debug, Default)]
struct Reader {
    bytes: Arc<AtomicU64>,
    buffer: Vec<u8>,
}

impl LogManager for Reader {
    fn recover(&mut self, entry: &mut Entry<'_>) -> io::Result<()> {
        while let ReadChunkResult::Chunk(mut chunk) = entry.read_chunk()? {
            self.buffer.clear();
            chunk.read_to_end(&mut self.buffer)?;
            if !chunk.check_crc()? {
                return Err(io::Error::other("a chunk is damaged"));
            }
            self.bytes.fetch_add(self.buffer.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    fn checkpoint_to(&mut self, _: EntryId, _: &mut SegmentReader, _: &WriteAheadLog) -> io::Result<()> {
        Ok(())
    }
}

/// One file that is never checkpointed: recovery would hand older ones over to be used again, and there would be nothing
/// to read the next time.
fn whole(order: &Order) -> Configuration {
    let bytes = (DataSet::of(order).bytes() / 8 * 9).min(u64::from(u32::MAX)) as u32;
    Configuration::default_for(order.replayed()).preallocate_bytes(bytes).checkpoint_after_bytes(u64::MAX)
}

fn prepare(order: &Order) -> anyhow::Result<Measured> {
    let set = DataSet::of(order);
    let log = whole(order).open(Reader::default())?;
    let payload = vec![0x5a; order.case.record_bytes as usize];
    for _ in 0..set.records {
        append(&log, &payload)?;
    }
    log.shutdown()?;
    Ok(Measured { records: set.records, ..Measured::default() })
}

fn replay(order: &Order) -> anyhow::Result<u64> {
    let reader = Reader::default();
    let bytes = Arc::clone(&reader.bytes);
    let log = whole(order).open(reader)?;
    std::mem::forget(log);
    Ok(bytes.load(Ordering::Relaxed))
}
