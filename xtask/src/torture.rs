//! `cargo xtask torture`: builds the victim and the shim, installs what is missing, and runs the crash rigs.

use clap::Args;
use xshell::{Shell, cmd};

use crate::tools;

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct Torture {
    /// What is tortured
    #[arg(value_parser = ["wal"], default_value = "wal")]
    what: String,
    /// Show that the planted bugs are caught
    #[arg(long)]
    planted: bool,
    /// Passed on: --rig NAME --cycles N --seconds S --quick --seed N --json
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// The pipeline's share: a few cases of every rig.
pub(crate) fn smoke(sh: &Shell) -> anyhow::Result<()> {
    let rest = ["--quick", "--seconds", "8"].map(str::to_owned).to_vec();
    run(sh, Torture { what: "wal".to_owned(), planted: false, rest })
}

/// Builds and runs.
pub(crate) fn run(sh: &Shell, torture: Torture) -> anyhow::Result<()> {
    tools::apt(sh, "cc", "build-essential")?;
    tools::apt(sh, "strace", "strace")?;
    let target = match sh.var_os("CARGO_TARGET_DIR") {
        Some(dir) => dir.into(),
        None => sh.current_dir().join("target"),
    };
    let tools = target.join("tools/torture");
    sh.create_dir(&tools)?;
    let shim = tools.join("faults.so");
    cmd!(sh, "cc -O2 -Wall -Wextra -Werror -shared -fPIC -o {shim} torture/shim/faults.c").run()?;
    let features: &[&str] = if torture.planted { &["--features", "planted-bugs"] } else { &[] };
    cmd!(sh, "cargo build --locked --quiet -p rpo-torture {features...}").run()?;
    let (program, victim) = (target.join("debug/torture"), target.join("debug/torture-victim"));
    let mut arguments = torture.rest;
    arguments.extend(torture.planted.then(|| "--planted".to_owned()));
    let scratch = tools.join("scratch");
    Ok(cmd!(sh, "{program} --victim {victim} --shim {shim} --scratch {scratch} {arguments...}")
        .quiet()
        .run()?)
}
