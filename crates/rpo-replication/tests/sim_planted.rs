//! Negative control: a shipper that ignores fences must be caught within the seeds that every run tries.
#![cfg(feature = "planted-bugs")]

mod sim_model;

use rpo_replication::{PlantedBug, ShipConfig};
use rpo_testkit::sim::hunt;

#[test]
fn a_fence_that_is_ignored_is_caught() {
    let mut config = ShipConfig::default();
    config.planted = Some(PlantedBug::FenceIgnored);

    let failure = hunt(0..500, |case| sim_model::scenario(case, &config)).expect("not caught in 500 seeds");

    println!("seed {}: {}", failure.seed, failure.message);
    assert!(failure.message.contains("promise"), "{failure}");
}
