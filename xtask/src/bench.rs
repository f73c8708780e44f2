//! `cargo xtask bench`: comparisons that need more than one program.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde::Serialize;
use xshell::{Shell, cmd};

use crate::tools;

/// What can be compared.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// The log beside bare loops, a reference group commit, raft-engine, okaywal and wal-db, in one run
    Wal(WalOptions),
}

/// Options of the log's comparison; the program that measures reads them as JSON.
#[derive(Debug, Args, Serialize)]
pub(crate) struct WalOptions {
    /// A small run that shows that everything works, not how fast
    #[arg(long)]
    quick: bool,
    /// How often everything is measured (default: 5, quick: 1)
    #[arg(long)]
    rounds: Option<usize>,
    /// Only this row; may be given several times
    #[arg(long, value_name = "ROW", value_parser = ROWS)]
    only: Vec<String>,
    /// Print JSON instead of Markdown
    #[arg(long)]
    json: bool,
    /// Schedule what is measured in real time (SCHED_RR 1): for a host that has other work
    #[arg(long)]
    realtime: bool,
    /// A directory on the disk to be measured; what is written below it is removed at the end
    #[arg(long, default_value = "target")]
    dir: PathBuf,
}

const ROWS: [&str; 9] =
    ["one-writer", "group", "fixed-8", "fixed-64", "async", "buffered", "replay", "archive", "matrix"];

#[derive(Serialize)]
struct Given<'a> {
    #[serde(flatten)]
    options: &'a WalOptions,
    peers: PathBuf,
    shim: PathBuf,
}

/// Builds what is compared, and runs the comparison.
pub(crate) fn run(sh: &Shell, bench: &Bench) -> anyhow::Result<()> {
    let Bench::Wal(options) = bench;
    let target = sh.current_dir().join("target");
    let shim = build_shim(sh)?;
    cmd!(sh, "cargo build --locked --quiet --release -p rpo-benches --bin bench-wal").run()?;
    // A workspace of their own, so that no build of ours ever meets them.
    cmd!(sh, "cargo build --locked --quiet --release --manifest-path benches/peers/Cargo.toml --target-dir {target}")
        .run()?;
    let given = Given { options, peers: target.join("release/bench-wal-peers"), shim };
    let given = serde_json::to_string(&given)?;
    let program = target.join("release/bench-wal");
    cmd!(sh, "{program} run {given}").quiet().run().context("the comparison did not succeed")
}

fn build_shim(sh: &Shell) -> anyhow::Result<PathBuf> {
    tools::apt(sh, "cc", "build-essential")?;
    let shim = sh.current_dir().join("target/tools/bench/sync.so");
    sh.create_dir(shim.parent().context("it has a parent")?)?;
    cmd!(sh, "cc -O2 -Wall -Wextra -Werror -shared -fPIC -o {shim} benches/shim/sync.c").run()?;
    Ok(shim)
}
