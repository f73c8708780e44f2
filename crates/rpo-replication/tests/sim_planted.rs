//! Negative control: a shipper that ignores fences must be caught within the seeds that every run tries.
#![cfg(feature = "planted-bugs")]

mod sim_model;

use rpo_replication::{MergeConfig, PlantedBug, ShipConfig};
use rpo_testkit::sim::hunt;

#[test]
fn a_fence_that_is_ignored_is_caught() {
    let mut config = ShipConfig::default();
    config.planted = Some(PlantedBug::FenceIgnored);

    let failure = hunt(0..500, |case| sim_model::scenario(case, &config, &MergeConfig::default()))
        .expect("not caught in 500 seeds");

    println!("seed {}: {}", failure.seed, failure.message);
    assert!(failure.message.contains("promise"), "{failure}");
}

fn caught_in_merging(bug: PlantedBug) {
    let mut merge = MergeConfig::default();
    merge.planted = Some(bug);

    let failure = hunt(0..500, |case| sim_model::scenario(case, &ShipConfig::default(), &merge))
        .unwrap_or_else(|| panic!("{bug:?} is not caught in 500 seeds"));

    println!("{bug:?}: seed {}: {}", failure.seed, failure.message);
    assert!(failure.message.contains("promise"), "{failure}");
}

#[test]
fn parts_that_go_before_the_merged_object_is_there_are_caught() {
    caught_in_merging(PlantedBug::PartsBeforeMerged);
}

#[test]
fn a_merged_object_without_its_last_frame_is_caught() {
    caught_in_merging(PlantedBug::MergeDropsLastFrame);
}

#[test]
fn a_batch_that_is_sent_before_the_spool_has_it_is_caught() {
    let mut config = ShipConfig::default();
    config.planted = Some(PlantedBug::SentBeforeSpooled);

    let failure = hunt(0..500, |case| sim_model::scenario(case, &config, &MergeConfig::default()))
        .expect("not caught in 500 seeds");

    let test = "a_batch_that_is_sent_before_the_spool_has_it_is_caught";
    println!(
        "planted SentBeforeSpooled caught by {test} after {} seeds: {}",
        failure.seed + 1,
        failure.message
    );
    assert!(failure.message.contains("promise") || failure.message.contains("liveness"), "{failure}");
}
