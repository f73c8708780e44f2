//! A log in a simulated world, and an oracle that knows what it must hold.

pub(crate) mod oracle;
pub(crate) mod script;
pub(crate) mod site;

use rpo_testkit::sim::{Case, FaultPlan, World};

use script::{End, Script};
use site::Site;

/// The script of this case in the world of this case.
pub(crate) fn site(case: &mut Case, plan: &FaultPlan) -> (Site, Script) {
    // The same script for every world of a case.
    let script = Script::draw(&mut rpo_testkit::sim::Rng::named(case.seed(), "script"));
    let world: World = case.world_with(plan.clone());
    (Site::new(world, script.config.clone()), script)
}

/// Plays the script of a seed with its faults, then again with a crash at one of its steps.
pub(crate) fn swarm(case: &mut Case) -> Result<(), String> {
    let plan = FaultPlan::draw(case.seed());
    let (mut site, script) = site(case, &plan);
    site.play(&script)?;
    let steps = site.world.steps();
    let (step, power) = (case.rng().below(steps), case.rng().coin());
    crashed_at(case, &plan, step, power)
}

/// Plays the script; everything stops at a step, by a power cut or the death of the process.
pub(crate) fn crashed_at(case: &mut Case, plan: &FaultPlan, step: u64, power: bool) -> Result<(), String> {
    let (mut site, script) = site(case, plan);
    site.crash = if power { End::PowerCut } else { End::Kill };
    site.world.crash_at(step);
    site.play(&script).map_err(|error| format!("{:?} at step {step}: {error}", site.crash))
}
