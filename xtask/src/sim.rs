//! `cargo xtask sim`: the simulator's scenarios over many seeds, or one seed again; and every planted bug, caught.

use xshell::{Shell, cmd};

/// The crates that have scenarios, each in `tests/sim.rs`.
const SCENARIOS: &[&str] = &["rpo-wal", "rpo-replication"];

/// The crates with planted bugs behind the feature of that name.
const PLANTED: &[&str] = &[
    "rpo-checkpoint",
    "rpo-core",
    "rpo-crypto",
    "rpo-journal",
    "rpo-recovery",
    "rpo-replication",
    "rpo-repository",
    "rpo-source-dir",
    "rpo-wal",
];

/// Runs `seeds` seeds of every scenario, or `seed` alone; with `planted`, shows that the planted bugs are caught.
pub(crate) fn run(sh: &Shell, seed: Option<u64>, seeds: u64, planted: bool) -> anyhow::Result<()> {
    // Without a wish the scenarios choose: 500 seeds each, and three for the sweeps over every single step.
    let _count = (seeds != 500).then(|| sh.push_env("RPO_SIM_SEEDS", seeds.to_string()));
    let _one = seed.map(|seed| sh.push_env("RPO_SIM_SEED", seed.to_string()));
    let packages = SCENARIOS.iter().flat_map(|package| ["-p", package]);
    cmd!(sh, "cargo test --locked --quiet {packages...} --test sim -- --nocapture").run()?;
    if planted {
        // Locks and threads of a scheduler that tries orders: only this one test is built with them.
        cmd!(sh, "cargo test --locked --quiet -p rpo-wal --features planted-bugs,shuttle --test schedules")
            .run()?;
        let packages = PLANTED.iter().flat_map(|package| ["-p", package]);
        cmd!(sh, "cargo test --locked --quiet {packages...} --features planted-bugs --test *planted*")
            .run()?;
        cmd!(sh, "cargo test --locked --quiet -p rpo-core --features planted-bugs --lib planted").run()?;
        cmd!(sh, "cargo test --locked --quiet -p rpo-wal --features planted-bugs --lib seek").run()?;
    }
    Ok(())
}
