//! Every task a person or the pipeline runs. `cargo xtask help` lists them.

mod bench;
mod ci;
mod fuzz;
mod layers;
mod s3;
mod sim;
mod tidy;
mod tools;
mod torture;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use xshell::{Shell, cmd};

/// Tasks of the rpo workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Exactly what the pipeline runs, soonest failure first; or one step of it
    Ci {
        /// Only this step (see `cargo xtask ci --list`)
        step: Option<String>,
        /// Print the steps and stop
        #[arg(long)]
        list: bool,
    },
    /// Check layering, module docs, format specifications and file headers
    Tidy,
    /// Fuzz the decoders
    Fuzz {
        /// Only this target
        target: Option<String>,
        /// Seconds for each target
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
    /// Run the simulator: many seeds, or one
    Sim {
        /// One seed, with its trace
        #[arg(long)]
        seed: Option<u64>,
        /// How many seeds
        #[arg(long, default_value_t = 500)]
        seeds: u64,
        /// Also show that the planted bugs are caught
        #[arg(long)]
        planted: bool,
    },
    /// Run the storage conformance suite against an S3-compatible server on loopback
    S3,
    /// Compare with limits and peers measured in the same run
    Bench {
        #[command(subcommand)]
        what: bench::Bench,
    },
    /// Kill real processes, fail their system calls, cut their power, and judge what is left
    Torture(torture::Torture),
    /// Compare with restic on a large tree: first checkpoint, unchanged checkpoint, restore
    Compare {
        /// The tree; made from unpacked crate sources and seeded binaries if not given
        tree: Option<std::path::PathBuf>,
    },
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let sh = Shell::new()?;
    let root =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask stands in the workspace")?;
    sh.change_dir(root);
    match arguments.task {
        Task::Ci { list: true, .. } => {
            ci::list();
            Ok(())
        }
        Task::Ci { step, .. } => ci::run(&sh, step.as_deref()),
        Task::Tidy => tidy::run(root),
        Task::Fuzz { target, seconds } => fuzz::run(&sh, target.as_deref(), seconds),
        Task::Sim { seed, seeds, planted } => sim::run(&sh, seed, seeds, planted),
        Task::S3 => s3::run(&sh),
        Task::Torture(torture) => torture::run(&sh, torture),
        Task::Bench { what } => bench::run(&sh, &what),
        Task::Compare { tree } => {
            tools::apt(&sh, "restic", "restic")?;
            tools::apt(&sh, "rsync", "rsync")?;
            let tree = tree.map(|t| t.into_os_string());
            cmd!(sh, "cargo run --release -p rpo-benches --bin compare-restic --").args(tree).run()?;
            Ok(())
        }
    }
}
