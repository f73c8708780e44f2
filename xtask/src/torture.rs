//! `cargo xtask torture`: builds the victim and the shim, installs what is missing, and runs the crash rigs.

mod planted;

use std::path::PathBuf;

use clap::Args;
use xshell::{Shell, cmd};

use crate::tools;

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct Torture {
    /// What is tortured
    #[arg(value_parser = ["wal"], default_value = "wal")]
    what: String,
    /// Show that the planted bugs are caught, by the rigs and by the tests of the log's crates
    #[arg(long)]
    planted: bool,
    /// Passed on: --rig NAME --cycles N --seconds S --quick --seed N --json --skips-allowed
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// The pipeline's share: a few cases of every rig. What cannot run on a machine says so.
pub(crate) fn smoke(sh: &Shell) -> anyhow::Result<()> {
    let rest = ["--quick", "--seconds", "7", "--skips-allowed"].map(str::to_owned).to_vec();
    run(sh, Torture { what: "wal".to_owned(), planted: false, rest })
}

/// The programs, built.
struct Built {
    program: PathBuf,
    fixed: Vec<String>,
}

fn build(sh: &Shell, features: &[&str]) -> anyhow::Result<Built> {
    tools::apt(sh, "cc", "build-essential")?;
    tools::apt(sh, "strace", "strace")?;
    tools::apt(sh, "fusermount3", "fuse3")?;
    let target = match sh.var_os("CARGO_TARGET_DIR") {
        Some(dir) => dir.into(),
        None => sh.current_dir().join("target"),
    };
    let tools = target.join("tools/torture");
    sh.create_dir(&tools)?;
    let shim = tools.join("faults.so");
    cmd!(sh, "cc -O2 -Wall -Wextra -Werror -shared -fPIC -o {shim} torture/shim/faults.c").run()?;
    cmd!(sh, "cargo build --locked --quiet -p rpo-torture {features...}").run()?;
    let victim = target.join("debug/torture-victim");
    let scratch = tools.join("scratch");
    let fixed = [("--victim", &victim), ("--shim", &shim), ("--scratch", &scratch)];
    let fixed = fixed.into_iter().flat_map(|(name, path)| [name.to_owned(), path.display().to_string()]);
    Ok(Built { program: target.join("debug/torture"), fixed: fixed.collect() })
}

/// Builds and runs.
pub(crate) fn run(sh: &Shell, torture: Torture) -> anyhow::Result<()> {
    let rest = torture.rest;
    if torture.planted {
        let Built { program, fixed } = build(sh, &["--features", "planted-bugs"])?;
        return planted::run(sh, &program, &[fixed, rest].concat());
    }
    let Built { program, fixed } = build(sh, &[])?;
    Ok(cmd!(sh, "{program} {fixed...} {rest...}").quiet().run()?)
}
