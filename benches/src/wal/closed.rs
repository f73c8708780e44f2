//! The closed loop: each writer appends, waits for its acknowledgement, and repeats.

use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::case::{Case, Measured, Scale};
use super::histogram::Histogram;
use super::probe::Probe;

/// Appends once, and returns when that is acknowledged.
pub type Append<'a> = Box<dyn FnMut() -> anyhow::Result<()> + 'a>;

/// A log that can be appended to by several threads.
pub trait Appender: Sync {
    /// What writer `number` calls again and again, on a thread of its own.
    ///
    /// # Errors
    /// The engine's.
    fn writer(&self, number: u32, payload: Bytes) -> anyhow::Result<Append<'_>>;
}

const WARM: u8 = 0;
const COUNTED: u8 = 1;
const OVER: u8 = 2;

/// Whether it counts now: said by one thread, read by all.
#[derive(Debug, Default)]
pub(super) struct Gate(AtomicU8);

impl Gate {
    pub(super) fn counts(&self) -> bool {
        self.0.load(Ordering::Relaxed) == COUNTED
    }

    pub(super) fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed) == OVER
    }

    pub(super) fn end(&self) {
        self.0.store(OVER, Ordering::Relaxed);
    }

    /// Lets it run: a time that does not count, a time that does.
    pub(super) fn run(&self, scale: &Scale) -> anyhow::Result<(Probe, Probe)> {
        thread::sleep(Duration::from_millis(scale.warm_ms));
        let before = Probe::now()?;
        let _ = self.0.compare_exchange(WARM, COUNTED, Ordering::Relaxed, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(scale.run_ms));
        let after = Probe::now();
        self.end();
        Ok((before, after?))
    }
}

/// Measures `log` with `threads` writers, `records` of each call.
///
/// # Errors
/// Those of the engine.
pub fn closed_loop(
    log: &impl Appender,
    case: &Case,
    scale: &Scale,
    threads: u32,
    records: u32,
) -> anyhow::Result<Measured> {
    let gate = Gate::default();
    thread::scope(|scope| {
        let start = |number: u32| {
            let gate = &gate;
            scope.spawn(move || {
                let result = loop_of(log, number, case.record_bytes, gate);
                if result.is_err() {
                    gate.end();
                }
                result
            })
        };
        let writers: Vec<_> = (0..threads).map(start).collect();
        let window = gate.run(scale);
        let mut all = Histogram::default();
        for writer in writers {
            all.merge(&writer.join().map_err(|_| anyhow::anyhow!("a writer panicked"))??);
        }
        let (before, after) = window?;
        Ok(told(&all, u64::from(records), &before, &after))
    })
}

pub(super) fn told(all: &Histogram, records: u64, before: &Probe, after: &Probe) -> Measured {
    let records = all.total() * records;
    Measured {
        records,
        seconds: after.seconds_since(before),
        p50_us: all.quantile_us(0.5),
        p99_us: all.quantile_us(0.99),
        max_us: all.max_us(),
        cpu_us_per_record: after.cpu_us_since(before) / records.max(1) as f64,
        syncs: after.syncs_since(before),
        ..Measured::default()
    }
}

fn loop_of(log: &impl Appender, number: u32, bytes: u32, gate: &Gate) -> anyhow::Result<Histogram> {
    let mut append = log.writer(number, payload(number, bytes))?;
    let mut seen = Histogram::default();
    while !gate.is_over() {
        let began = Instant::now();
        append()?;
        if gate.counts() {
            seen.add(began.elapsed());
        }
    }
    Ok(seen)
}

/// Bytes that do not compress, the same in each run.
pub(super) fn payload(writer: u32, bytes: u32) -> Bytes {
    let mut state = u64::from(writer) ^ 0x005e_ed00;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let mut all: Vec<u8> = (0..bytes.div_ceil(8)).flat_map(|_| next().to_le_bytes()).collect();
    all.truncate(bytes as usize);
    Bytes::from(all)
}
