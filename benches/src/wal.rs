//! Measuring logs. One measurement is one [`Order`], carried out by [`carry_out`] in a process of its own, so that engines
//! do not disturb one another and processor time can be told apart.

mod bursts;
mod case;
mod closed;
mod group;
mod histogram;
mod limits;
#[cfg(feature = "ours")]
mod ours;
mod probe;
mod replay;

use std::io::Write as _;

use anyhow::{Context as _, ensure};

pub use bursts::{Bursts, bursts};
pub use case::{Case, Engine, Measured, Order, Place, Scale, Work};
pub use closed::{Append, Appender, closed_loop};
pub use histogram::Histogram;
pub use probe::{Probe, load};
pub use replay::{DataSet, timed_replay};

/// Carries out an order for the engines of this library.
///
/// # Errors
/// The engine failed, or acknowledged more than it can have synced.
pub fn carry_out(order: &Order) -> anyhow::Result<Measured> {
    match order.case.engine {
        Engine::BareGrowing
        | Engine::BarePrewritten
        | Engine::Batch
        | Engine::UserBuffer
        | Engine::BareRead => limits::carry_out(order),
        Engine::Group => group::carry_out(order),
        #[cfg(feature = "ours")]
        Engine::Rpo => ours::carry_out(order),
        other => anyhow::bail!("{} is not measured by this program", other.name()),
    }
}

/// The main function of a measuring process: reads the order, its only argument, and prints what was measured.
///
/// # Errors
/// As the engine's.
pub fn child(argument: &str, engines: impl Fn(&Order) -> anyhow::Result<Measured>) -> anyhow::Result<()> {
    let order: Order = serde_json::from_str(argument).context("the order is not readable")?;
    let scratch = order.scratch();
    if scratch.exists() {
        std::fs::remove_dir_all(&scratch)?;
    }
    std::fs::create_dir_all(&scratch)?;
    let measured = engines(&order)?;
    synced_enough(&order.case, &measured)?;
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&measured)?)?;
    Ok(())
}

/// Nobody is flattered: in a closed loop of W writers one sync can carry W records at most.
fn synced_enough(case: &Case, measured: &Measured) -> anyhow::Result<()> {
    if !case.work.is_durable() {
        return Ok(());
    }
    let most = (measured.syncs + 2) * u64::from(case.writers);
    ensure!(
        measured.records <= most,
        "{} acknowledged {} records of {} writers with {} syncs: some were acknowledged before they were durable, or \
         made durable in a way the shim does not see",
        case.engine.name(),
        measured.records,
        case.writers,
        measured.syncs
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_that_no_sync_can_have_carried_is_found() {
        let case = Case::durable(Engine::Rpo, Place::Disk, 8, 1024);
        let honest = Measured { records: 800, syncs: 100, ..Measured::default() };
        let flattered = Measured { records: 8000, syncs: 100, ..Measured::default() };
        synced_enough(&case, &honest).unwrap();
        let error = synced_enough(&case, &flattered).unwrap_err().to_string();
        assert!(error.contains("before they were durable"), "{error}");
    }
}
