//! Writers, copies, takeovers and everything that goes wrong between them; judged by an oracle that knows the truth.

pub(crate) mod oracle;
pub(crate) mod paper;
pub(crate) mod site;

use rpo_replication::{MergeConfig, ShipConfig};
use rpo_testkit::sim::{Case, Rng};

use site::Site;

/// One case: some dozens of turns of chaos, then either quiet, in which all converges, or a fire.
pub(crate) fn scenario(case: &mut Case, config: &ShipConfig, merge: &MergeConfig) -> Result<(), String> {
    let world = case.world();
    let mut rng = Rng::named(case.seed(), "turns");
    let mut site = Site::new(world, &mut rng, config.clone(), merge.clone())?;
    let mut machines = 1;
    for _ in 0..20 + rng.below(60) {
        turn(&mut site, &mut rng, &mut machines)?;
    }
    if rng.coin() {
        site.burn_and_restore(&mut rng)
    } else {
        site.drain()?;
        site.restore_from_each()
    }
}

fn turn(site: &mut Site, rng: &mut Rng, machines: &mut u32) -> Result<(), String> {
    let at = rng.index(site.writers.len());
    match rng.below(100) {
        0..30 if !site.writers[at].fenced => site.write(at, rng.index(600)),
        30..70 => site.step(at, rng.chance(700))?,
        70..80 => site.cut(at, rng.index(3), rng.coin()),
        80..84 => site.power_cut(at),
        84..88 if *machines < 5 => {
            let contenders = if rng.chance(250) { 2 } else { 1 };
            let names: Vec<String> = (0..contenders).map(|n| format!("m{}", *machines + n)).collect();
            *machines += contenders;
            site.take_over(&names, at)?;
        }
        88..90 => site.world.advance(std::time::Duration::from_millis(rng.below(20_000))),
        90..96 => {
            let polls = if rng.chance(700) { u64::MAX } else { 1 + rng.below(60) };
            site.merge(at, polls, rng.chance(300))?;
        }
        _ => site.ask(at)?,
    }
    site.check_reports()
}
