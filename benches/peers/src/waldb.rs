//! wal-db: one file, as it comes.

use anyhow::bail;
use bytes::Bytes;
use rpo_benches::wal::{
    Append, Appender, Bursts, DataSet, Measured, Order, Work, bursts, closed_loop, timed_replay,
};
use wal_db::Wal;

pub(crate) fn carry_out(order: &Order) -> anyhow::Result<Measured> {
    let (case, scale) = (&order.case, &order.scale);
    let fresh = || Wal::open(order.scratch().join("log.wal"));
    match case.work {
        Work::Durable => closed_loop(&WalDb(fresh()?), case, scale, case.writers, 1),
        Work::Buffered => {
            let payload = vec![0x5a; case.record_bytes as usize];
            bursts(&mut Burst { log: fresh()?, payload }, case, scale)
        }
        Work::Prepare => prepare(order),
        Work::Replay => timed_replay(order, || replay(order)),
        other => bail!("wal-db has no {other:?}"),
    }
}

struct WalDb(Wal);

impl Appender for WalDb {
    fn writer(&self, _number: u32, payload: Bytes) -> anyhow::Result<Append<'_>> {
        Ok(Box::new(move || {
            let _lsn = self.0.append_and_sync(&payload)?;
            Ok(())
        }))
    }
}

struct Burst {
    log: Wal,
    payload: Vec<u8>,
}

impl Bursts for Burst {
    fn append(&mut self) -> anyhow::Result<()> {
        let _lsn = self.log.append(&self.payload)?;
        Ok(())
    }

    fn hand_over(&mut self) -> anyhow::Result<()> {
        Ok(()) // every append goes to the system at once
    }

    fn settle(&mut self) -> anyhow::Result<()> {
        Ok(self.log.sync()?)
    }
}

fn prepare(order: &Order) -> anyhow::Result<Measured> {
    let set = DataSet::of(order);
    let log = Wal::open(order.replayed())?;
    let payload = vec![0x5a; order.case.record_bytes as usize];
    for _ in 0..set.records {
        let _lsn = log.append(&payload)?;
    }
    log.sync()?;
    Ok(Measured { records: set.records, ..Measured::default() })
}

fn replay(order: &Order) -> anyhow::Result<u64> {
    let log = Wal::open(order.replayed())?;
    let mut bytes = 0;
    for record in log.iter()? {
        bytes += record?.len() as u64;
    }
    Ok(bytes)
}
