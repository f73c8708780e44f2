//! Runs the plan: one process for each measurement.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use rpo_benches::wal::{Case, Measured, Order, Place, Scale, Work, load};

use crate::plan::Plan;
use crate::{Options, Places};

/// What came of all rounds.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// By case: one for each round that measured it.
    pub(crate) measured: BTreeMap<Case, BTreeMap<usize, Measured>>,
    /// What failed, and why.
    pub(crate) failures: Vec<(Case, String)>,
    /// Load of the host, looked at before each measurement.
    pub(crate) loads: Vec<f64>,
}

/// Nanoseconds of a sync at [`Place::FixedSync`].
const FIXED_SYNC_NS: &str = "1000000";

pub(crate) fn run(options: &Options, plan: &Plan, places: &Places) -> anyhow::Result<Results> {
    let children = Children::new(options, places)?;
    let mut results = Results::default();
    let mut broken = BTreeSet::new(); // not tried again
    for (case, scale) in &plan.prepare {
        eprintln!("prepare: {} MiB for {}", scale.replay_mib, case.engine.name());
        if let Err(error) = children.measure(case, scale) {
            broken.insert(Case { work: Work::Replay, ..*case });
            results.failures.push((*case, format!("{error:#}")));
        }
    }
    for round in 0..plan.rounds {
        let cases = plan.round(round);
        eprintln!("round {} of {}: {} measurements, load {:.1}", round + 1, plan.rounds, cases.len(), load());
        for (case, scale) in cases.into_iter().filter(|(case, _)| !broken.contains(case)).collect::<Vec<_>>()
        {
            results.loads.push(load());
            match children.measure(&case, &scale) {
                Ok(measured) => drop(results.measured.entry(case).or_default().insert(round, measured)),
                Err(error) => {
                    eprintln!("failed: {case:?}: {error:#}");
                    broken.insert(case);
                    results.failures.push((case, format!("{error:#}")));
                }
            }
        }
    }
    Ok(results)
}

struct Children<'a> {
    options: &'a Options,
    places: &'a Places,
    own: PathBuf,
    counter: PathBuf,
}

impl<'a> Children<'a> {
    fn new(options: &'a Options, places: &'a Places) -> anyhow::Result<Self> {
        let own = std::env::current_exe()?;
        let counter = places.memory.join("syncs");
        if options.realtime {
            let allowed = Command::new("chrt").args(["-r", "1", "true"]).stderr(Stdio::null()).status();
            ensure!(
                allowed.is_ok_and(|status| status.success()),
                "--realtime needs the right to schedule in real time (`chrt -r 1 true` failed)"
            );
        }
        Ok(Self { options, places, own, counter })
    }

    fn measure(&self, case: &Case, scale: &Scale) -> anyhow::Result<Measured> {
        let home = match case.place {
            Place::Disk => &self.places.disk,
            Place::Memory | Place::FixedSync => &self.places.memory,
        };
        let order = Order { case: *case, scale: *scale, home: home.clone() };
        let result = self.carry_out(&order);
        let scratch = order.scratch();
        if scratch.exists() {
            fs::remove_dir_all(&scratch).context("the scratch directory cannot be removed")?;
        }
        if case.place == Place::Disk {
            settle(home)?;
        }
        result
    }

    fn carry_out(&self, order: &Order) -> anyhow::Result<Measured> {
        fs::write(&self.counter, [0; 8])?;
        let sync = match (order.case.work, order.case.place) {
            (Work::Prepare, _) => "skip", // whether it survives a power cut does not matter
            (_, Place::FixedSync) => FIXED_SYNC_NS,
            _ => "real",
        };
        let mut command = self.command(order.case.engine.is_peer());
        command.arg(serde_json::to_string(order)?);
        command.env("LD_PRELOAD", &self.options.shim);
        command.env("RUST_BACKTRACE", "0"); // a failure is told by its message
        command.env("RPO_BENCH_SYNC", sync).env("RPO_BENCH_SYNCS", &self.counter);
        let output = command.stdin(Stdio::null()).stderr(Stdio::piped()).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{}: {}", output.status, said.trim());
        }
        let said = String::from_utf8(output.stdout)?;
        serde_json::from_str(said.lines().last().unwrap_or_default()).context("it said nothing readable")
    }

    fn command(&self, peer: bool) -> Command {
        let program: &Path = if peer { &self.options.peers } else { &self.own };
        let mut command = if self.options.realtime {
            let mut command = Command::new("chrt");
            command.args(["-r", "1"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        if !peer {
            command.arg("child");
        }
        command
    }
}

/// What one leaves to be written must not slow the next.
fn settle(home: &Path) -> anyhow::Result<()> {
    rustix::fs::syncfs(fs::File::open(home)?).context("sync of the file system")?;
    Ok(())
}
