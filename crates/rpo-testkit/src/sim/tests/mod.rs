//! The simulated parts judged themselves: what they keep, what they may lose, and that a seed is all there is to a run.

mod disk;
mod runs;
mod store;

use std::path::Path;

use super::{FaultPlan, Machine, World};

fn calm(seed: u64) -> (World, Machine) {
    let world = World::with_plan(seed, FaultPlan::calm());
    let machine = world.machine("a");
    (world, machine)
}

fn at(path: &str) -> &Path {
    Path::new(path)
}
