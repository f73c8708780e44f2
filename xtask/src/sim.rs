//! `cargo xtask sim`: the simulator's scenarios over many seeds, or one seed again.

use xshell::{Shell, cmd};

/// The crates that have scenarios, each in `tests/sim.rs`.
const SCENARIOS: &[&str] = &["rpo-wal", "rpo-replication"];

/// Runs `seeds` seeds of every scenario, or `seed` alone; with `planted`, shows that the planted bugs are caught.
pub(crate) fn run(sh: &Shell, seed: Option<u64>, seeds: u64, planted: bool) -> anyhow::Result<()> {
    let _count = sh.push_env("RPO_SIM_SEEDS", seeds.to_string());
    let _one = seed.map(|seed| sh.push_env("RPO_SIM_SEED", seed.to_string()));
    for package in SCENARIOS {
        cmd!(sh, "cargo test --locked --quiet -p {package} --test sim -- --nocapture").run()?;
        if planted {
            cmd!(sh, "cargo test --locked --quiet -p {package} --features planted-bugs --test sim planted")
                .run()?;
        }
    }
    Ok(())
}
