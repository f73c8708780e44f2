//! What a process knows of itself: processor time, bytes read, and how often it synced.

use std::fs;
use std::time::Instant;

use anyhow::Context as _;
use rustix::time::{ClockId, clock_gettime};

/// The file in which the shim counts syncs.
const SYNCS: &str = "RPO_BENCH_SYNCS";

/// One look.
#[derive(Debug, Clone, Copy)]
pub struct Probe {
    at: Instant,
    cpu_us: f64,
    syncs: u64,
    read_bytes: u64,
}

impl Probe {
    /// Looks now.
    ///
    /// # Errors
    /// The shim is not there, or the system does not tell.
    pub fn now() -> anyhow::Result<Self> {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let cpu_us = cpu.tv_sec as f64 * 1e6 + cpu.tv_nsec as f64 / 1e3;
        Ok(Self { at: Instant::now(), cpu_us, syncs: syncs()?, read_bytes: read_bytes()? })
    }

    /// Seconds since `earlier`.
    pub fn seconds_since(&self, earlier: &Self) -> f64 {
        self.at.duration_since(earlier.at).as_secs_f64()
    }

    /// Processor time since `earlier`, microseconds.
    pub fn cpu_us_since(&self, earlier: &Self) -> f64 {
        self.cpu_us - earlier.cpu_us
    }

    /// Syncs since `earlier`.
    pub fn syncs_since(&self, earlier: &Self) -> u64 {
        self.syncs - earlier.syncs
    }

    /// Bytes read by system calls since `earlier`.
    pub fn read_bytes_since(&self, earlier: &Self) -> u64 {
        self.read_bytes - earlier.read_bytes
    }
}

fn syncs() -> anyhow::Result<u64> {
    let path = std::env::var_os(SYNCS).with_context(|| {
        format!("{SYNCS} is not set: measuring processes are started by `cargo xtask bench wal`")
    })?;
    let bytes = fs::read(&path).context("the shim's counter cannot be read")?;
    let count: [u8; 8] =
        bytes.get(..8).and_then(|b| b.try_into().ok()).context("the shim's counter is cut")?;
    Ok(u64::from_ne_bytes(count))
}

fn read_bytes() -> anyhow::Result<u64> {
    let io = fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|line| line.strip_prefix("rchar: "));
    line.and_then(|n| n.parse().ok()).context("/proc/self/io tells no rchar")
}

/// Processes that want to run, averaged over a minute.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(f64::NAN)
}
