//! Buffered appends, in bursts: timed until the system has every byte, then synced, which is not timed.

use std::time::{Duration, Instant};

use super::case::{Case, Measured, Scale};
use super::probe::Probe;

/// A log that takes records without making them durable at once.
pub trait Bursts {
    /// Appends one record.
    ///
    /// # Errors
    /// The engine's.
    fn append(&mut self) -> anyhow::Result<()>;

    /// Returns when the system has everything appended: a crash of this process would lose nothing.
    ///
    /// # Errors
    /// The engine's.
    fn hand_over(&mut self) -> anyhow::Result<()>;

    /// Makes everything durable.
    ///
    /// # Errors
    /// The engine's.
    fn settle(&mut self) -> anyhow::Result<()>;
}

/// Measures `log` by one thread.
///
/// # Errors
/// Those of the engine.
pub fn bursts(log: &mut impl Bursts, case: &Case, scale: &Scale) -> anyhow::Result<Measured> {
    let each = (u64::from(scale.burst_mib) << 20) / u64::from(case.record_bytes);
    let mut seconds = Duration::ZERO;
    let mut cpu_us = 0.0;
    for burst in 0..=scale.bursts {
        let before = Probe::now()?;
        let began = Instant::now();
        for _ in 0..each {
            log.append()?;
        }
        log.hand_over()?;
        let took = began.elapsed();
        let after = Probe::now()?;
        if burst > 0 {
            // The first one warms up.
            seconds += took;
            cpu_us += after.cpu_us_since(&before);
        }
        log.settle()?;
    }
    let records = each * u64::from(scale.bursts);
    let cpu_us_per_record = cpu_us / records.max(1) as f64;
    Ok(Measured { records, seconds: seconds.as_secs_f64(), cpu_us_per_record, ..Measured::default() })
}
