//! Replay: everything that was written is opened and read back, from the cache.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use anyhow::ensure;

use super::case::{Measured, Order};
use super::probe::Probe;

/// What is replayed: so many records of this size.
#[derive(Debug, Clone, Copy)]
pub struct DataSet {
    /// How many records.
    pub records: u64,
    /// Bytes of each.
    pub record_bytes: u64,
}

impl DataSet {
    /// That of an order.
    pub fn of(order: &Order) -> Self {
        let record_bytes = u64::from(order.case.record_bytes);
        Self { records: (u64::from(order.scale.replay_mib) << 20) / record_bytes, record_bytes }
    }

    /// Bytes of payload.
    pub fn bytes(&self) -> u64 {
        self.records * self.record_bytes
    }
}

/// Brings the files below the order's data set into the cache, then times `replay`, which returns how many bytes of
/// payload it was given.
///
/// # Errors
/// Those of the engine, or it did not give everything.
pub fn timed_replay(order: &Order, replay: impl FnOnce() -> anyhow::Result<u64>) -> anyhow::Result<Measured> {
    let set = DataSet::of(order);
    warm(&order.replayed())?;
    let before = Probe::now()?;
    let bytes = replay()?;
    let after = Probe::now()?;
    ensure!(bytes == set.bytes(), "{bytes} bytes of {} came back", set.bytes());
    Ok(Measured {
        records: set.records,
        seconds: after.seconds_since(&before),
        cpu_us_per_record: after.cpu_us_since(&before) / set.records.max(1) as f64,
        passes: Some(after.read_bytes_since(&before) as f64 / bytes.max(1) as f64),
        ..Measured::default()
    })
}

fn warm(path: &Path) -> anyhow::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            warm(&entry?.path())?;
        }
        return Ok(());
    }
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    while file.read(&mut buffer)? > 0 {}
    Ok(())
}
