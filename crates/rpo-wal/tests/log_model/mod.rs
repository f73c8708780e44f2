//! A log in a simulated world, and an oracle that knows what it must hold.

pub(crate) mod directory;
pub(crate) mod hearing;
pub(crate) mod oracle;
pub(crate) mod promises;
pub(crate) mod reuse;
pub(crate) mod rot;
pub(crate) mod script;
pub(crate) mod site;

use rpo_testkit::sim::{Case, FaultKind, FaultPlan, Rng, World};

use script::{End, Script};
use site::Site;

/// The script of this case in the world of this case.
pub(crate) fn site(case: &mut Case, plan: &FaultPlan) -> (Site, Script) {
    // The same script for every world of a case.
    let script = Script::draw(&mut Rng::named(case.seed(), "script"));
    let world: World = case.world_with(plan.clone());
    (Site::new(world, script.config.clone()), script)
}

/// The faults of this seed; among them some that other scenarios do not ask for.
pub(crate) fn plan(seed: u64) -> FaultPlan {
    let mut rng = Rng::named(seed, "log faults");
    let mut plan = FaultPlan::draw(seed);
    let more =
        [(FaultKind::ReadError, 8), (FaultKind::SyncErrorWhole, 10), (FaultKind::SyncErrorNothing, 10)];
    for (kind, most) in more {
        if rng.chance(250) {
            plan = plan.with(kind, 1 + u16::try_from(rng.below(most)).expect("small"));
        }
    }
    plan
}

/// Plays the script of a seed with its faults, then again with a crash at one of its steps.
pub(crate) fn swarm(case: &mut Case) -> Result<(), String> {
    let plan = plan(case.seed());
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
