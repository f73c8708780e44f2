//! `cargo xtask bench wal`: our log beside the limits of the machine and the logs of others, interleaved in one run.
//!
//! Every measurement is a process of its own: this program again, or the peers'. Each round measures every case once, what
//! is compared next to one another, in an order drawn anew; a ratio is taken within a round, and the median of the rounds
//! is what counts.

mod goals;
mod plan;
mod report;
mod rounds;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use rpo_benches::wal::{carry_out, child};
use serde::Deserialize;

/// What the task asks for; the options of `cargo xtask bench wal`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Options {
    quick: bool,
    rounds: Option<usize>,
    only: Vec<String>,
    json: bool,
    realtime: bool,
    /// Directory on the disk to be measured; everything goes into one below it.
    dir: PathBuf,
    /// The peers' program.
    peers: PathBuf,
    /// The shim that counts syncs.
    shim: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["child", order] => child(order, carry_out),
        ["run", options] => run(&serde_json::from_str(options).context("the options are not readable")?),
        _ => bail!("run `cargo xtask bench wal`; this program is a part of it"),
    }
}

fn run(options: &Options) -> anyhow::Result<()> {
    let unknown: Vec<_> = options.only.iter().filter(|name| !goals::ROWS.contains(&name.as_str())).collect();
    ensure!(unknown.is_empty(), "no row {unknown:?}; there are: {}", goals::ROWS.join(", "));
    let places = Places::take(&options.dir)?;
    let plan = plan::Plan::new(options);
    let results = rounds::run(options, &plan, &places)?;
    if options.json {
        println!("{}", report::json(&plan, &results));
    } else {
        print!("{}", report::markdown(&plan, &results));
    }
    ensure!(results.failures.is_empty(), "{} measurement(s) failed", results.failures.len());
    Ok(())
}

/// Where files are; emptied at the beginning and at the end. One run at a time.
pub(crate) struct Places {
    pub(crate) disk: PathBuf,
    pub(crate) memory: PathBuf,
    _lock: File,
}

impl Places {
    fn take(disk: &Path) -> anyhow::Result<Self> {
        let shared = Path::new("/dev/shm");
        ensure!(shared.is_dir(), "{} is needed: a file system in memory", shared.display());
        let memory = shared.join("rpo-bench-wal");
        let lock = File::create(shared.join("rpo-bench-wal.lock"))?;
        lock.try_lock().context("another run is going on")?;
        let places = Self { disk: disk.join("rpo-bench-wal"), memory, _lock: lock };
        places.clear()?;
        for place in [&places.disk, &places.memory] {
            fs::create_dir_all(place).with_context(|| format!("{}", place.display()))?;
        }
        Ok(places)
    }

    fn clear(&self) -> anyhow::Result<()> {
        for place in [&self.disk, &self.memory] {
            if place.exists() {
                fs::remove_dir_all(place).with_context(|| format!("{}", place.display()))?;
            }
        }
        Ok(())
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            eprintln!("not removed: {error:#}");
        }
    }
}
