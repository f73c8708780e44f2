//! `cargo xtask ci [step]`: exactly what the pipeline runs, soonest failure first.

use anyhow::{Context as _, bail};
use xshell::{Shell, cmd};

use crate::{fuzz, s3, sim, tidy, tools, torture};

type Step = (&'static str, &'static str, fn(&Shell) -> anyhow::Result<()>);

const STEPS: &[Step] = &[
    ("fmt", "formatting", fmt),
    ("tidy", "layering, module docs, format specifications, file headers", |sh| tidy::run(&sh.current_dir())),
    ("clippy", "lints, warnings denied", clippy),
    ("test", "unit, story and doc tests", test),
    ("sim", "500 seeds of the simulator, and the planted bugs are caught", |sh| {
        sim::run(sh, None, 500, true)
    }),
    ("torture", "a few kills, failing system calls and power cuts of real processes", torture::smoke),
    ("s3", "the storage conformance suite against a real S3-compatible server", s3::run),
    ("doc", "documentation without warnings", doc),
    ("demo", "the README's first command", demo),
    ("deny", "licences, bans and sources of the dependencies", deny),
    ("fuzz", "a few seconds of fuzzing for each decoder", |sh| fuzz::run(sh, None, 4)),
];

/// Prints the steps in order.
pub(crate) fn list() {
    for (name, what, _) in STEPS {
        println!("{name:8} {what}");
    }
}

/// Runs all steps, or one.
pub(crate) fn run(sh: &Shell, only: Option<&str>) -> anyhow::Result<()> {
    if let Some(only) = only.filter(|only| !STEPS.iter().any(|(name, ..)| name == only)) {
        bail!("no step `{only}`; `cargo xtask ci --list` shows them");
    }
    for (name, what, step) in STEPS {
        if only.is_none_or(|only| only == *name) {
            println!("── {name}: {what}");
            step(sh).with_context(|| format!("step `{name}` failed; again with: cargo xtask ci {name}"))?;
        }
    }
    println!("── all steps passed");
    Ok(())
}

fn fmt(sh: &Shell) -> anyhow::Result<()> {
    Ok(cmd!(sh, "cargo fmt --all --check").run()?)
}

fn clippy(sh: &Shell) -> anyhow::Result<()> {
    Ok(cmd!(sh, "cargo clippy --locked --workspace --all-targets -- -D warnings").run()?)
}

fn test(sh: &Shell) -> anyhow::Result<()> {
    Ok(cmd!(sh, "cargo test --locked --workspace --quiet").run()?)
}

fn doc(sh: &Shell) -> anyhow::Result<()> {
    let _deny = sh.push_env("RUSTDOCFLAGS", "-D warnings");
    Ok(cmd!(sh, "cargo doc --locked --workspace --no-deps --quiet").run()?)
}

fn demo(sh: &Shell) -> anyhow::Result<()> {
    Ok(cmd!(sh, "cargo run --locked --quiet -p rpo-cli -- demo").run()?)
}

fn deny(sh: &Shell) -> anyhow::Result<()> {
    tools::cargo(sh, "cargo-deny", "0.20.2")?;
    cmd!(sh, "cargo fetch --locked --quiet").run()?;
    cmd!(sh, "cargo deny --offline --config deny.toml check licenses bans sources").run()?;
    // Advisories need a database that is fetched from outside: checked where it is there, and said where it is not.
    let home = sh.var("HOME").unwrap_or_default();
    if sh.path_exists(format!("{home}/.cargo/advisory-dbs")) {
        cmd!(sh, "cargo deny --offline --config deny.toml check advisories").run()?;
    } else {
        println!("   advisories: SKIPPED, no advisory database on this machine (cargo deny fetch gets one)");
    }
    Ok(())
}
