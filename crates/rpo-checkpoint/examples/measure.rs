//! Checkpoints a directory twice, verifies and restores it, and says how long each took.
//!
//! `cargo run --release -p rpo-checkpoint --example measure -- TREE SCRATCH`: SCRATCH must not exist.
use std::path::PathBuf;
use std::sync::Arc;

use rpo_checkpoint::{Cancel, CheckpointKind, CheckpointOptions, Checkpointer, Depth, NoProgress};
use rpo_core::{Clock, Restorer, SourceId};
use rpo_crypto::Secret;
use rpo_os::{OsClock, OsDisk, OsEntropy};
use rpo_repository::{InitOptions, Repository, RepositoryParts};
use rpo_source_dir::{DirectoryOptions, DirectoryRestorer, DirectorySource, RestoreOptions};
use rpo_storage::LocalStorage;

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(tree), Some(scratch)) = (arguments.next(), arguments.next()) else {
        return Err("usage: measure TREE SCRATCH".into());
    };
    let (tree, scratch) = (PathBuf::from(tree), PathBuf::from(scratch));
    let mut options = CheckpointOptions::default();
    if let Some(compression) = arguments.next() {
        options.compression = compression.to_string_lossy().parse()?;
    }
    std::fs::create_dir(&scratch)?;
    let clock = Arc::new(OsClock::new());
    let entropy = Arc::new(OsEntropy::new());
    let storage = Arc::new(LocalStorage::open(scratch.join("store"), Arc::new(OsDisk::new()))?);
    let parts = RepositoryParts { storage, clock: clock.clone(), entropy: entropy.clone() };
    let repository =
        Repository::init(parts, InitOptions::encrypted(Secret::passphrase("a passphrase for measuring")))
            .await?;
    let checkpointer = Checkpointer::new(repository, options);
    let (docs, cancel) = (SourceId::new("docs")?, Cancel::new());

    let (mut last, mut last_cpu) = (clock.monotonic(), cpu_seconds());
    let mut lap = |what: &str| {
        let (now, cpu) = (clock.monotonic(), cpu_seconds());
        let (wall, user, system) = (now.since(last).as_secs_f64(), cpu.0 - last_cpu.0, cpu.1 - last_cpu.1);
        println!(
            "{what:<22} {wall:>7.3} s  user {user:>5.2}  system {system:>5.2}  peak {:>4} MiB",
            peak_mib()
        );
        (last, last_cpu) = (now, cpu);
    };
    let source = |clock| Arc::new(DirectorySource::new(&tree, clock, DirectoryOptions::default()));
    let first = checkpointer
        .checkpoint(&docs, source(clock.clone()), CheckpointKind::Full, &NoProgress, &cancel)
        .await?;
    lap("first");
    for (what, kind) in
        [("unchanged incremental", CheckpointKind::Incremental), ("unchanged full", CheckpointKind::Full)]
    {
        checkpointer.checkpoint(&docs, source(clock.clone()), kind, &NoProgress, &cancel).await?;
        lap(what);
    }
    let report = checkpointer.verify(None, Depth::ReadAll, &NoProgress, &cancel).await?;
    lap("verify, all data");
    let into = Arc::new(DirectoryRestorer::new(scratch.join("copy"), &*entropy, RestoreOptions::default())?);
    checkpointer.restore(first.id(), into.clone(), &NoProgress, &cancel).await?;
    lap("restore");
    into.finish_base(None)?;
    into.publish()?;
    lap("restore: into place");
    println!("sound: {}; {:#?}", report.is_sound(), first.info.statistics);
    Ok(())
}

/// Processor time of this process so far, user and system; the kernel counts in hundredths of a second.
fn cpu_seconds() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let field = |n: usize| {
        after_name.split_whitespace().nth(n).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0)
    };
    (field(11) / 100.0, field(12) / 100.0)
}

/// Most memory this process ever had, as the kernel counts it.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}
