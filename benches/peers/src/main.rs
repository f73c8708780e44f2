//! Measures the logs of others by the same loops as ours. Started by `cargo xtask bench wal`, never by hand.
//!
//! Each is set as its own documents advise for speed, and never below what it promises by default; what was set is in the
//! module of each.

mod okay;
mod raft;
mod waldb;

use anyhow::{Context as _, bail};
use rpo_benches::wal::{Engine, Measured, Order, child};

fn main() -> anyhow::Result<()> {
    let order = std::env::args().nth(1).context("this program is started by `cargo xtask bench wal`")?;
    child(&order, engine)
}

fn engine(order: &Order) -> anyhow::Result<Measured> {
    match order.case.engine {
        Engine::RaftEngine => raft::carry_out(order, false),
        Engine::RaftEnginePrefilled => raft::carry_out(order, true),
        Engine::Okaywal => okay::carry_out(order),
        Engine::WalDb => waldb::carry_out(order),
        other => bail!("{} is not measured by this program", other.name()),
    }
}
