//! Negative controls: bugs that logs have had, planted one by one, must be caught within the seeds that every run tries.
//! Each test prints a line `planted <bug> caught by <test> after <n>`, which `cargo xtask torture --planted` shows.
#![cfg(feature = "planted-bugs")]

mod log_model;

use rpo_testkit::sim::{Case, hunt};
use rpo_wal::planted::{self, Bug};

type Scenario = fn(&mut Case) -> Result<(), String>;

/// Which scenario catches which bug, and in how many seeds at most.
const CATCHERS: &[(Bug, &str, Scenario, u64)] = &[
    (Bug::AckBeforeSync, "swarm", log_model::swarm, 500),
    (Bug::RetriedFsync, "swarm", log_model::swarm, 500),
    (Bug::NoDirSync, "swarm", log_model::swarm, 500),
    (Bug::AckOnFailedSync, "swarm", log_model::swarm, 500),
    (Bug::ReusedSalt, "swarm", log_model::swarm, 500),
    (Bug::NotZeroed, "swarm", log_model::swarm, 500),
    (Bug::TornOffByOne, "rotten", log_model::rot::rotten, 500),
    (Bug::SpareUnsynced, "swarm", log_model::swarm, 500),
    (Bug::BindBeforeSync, "swarm", log_model::swarm, 500),
    (Bug::DurableLsnAhead, "swarm", log_model::swarm, 500),
    (Bug::ControlAhead, "swarm", log_model::swarm, 500),
    (Bug::NoRepersist, "swarm", log_model::swarm, 500),
    (Bug::Untold, "swarm", log_model::swarm, 500),
    (Bug::SequenceReused, "swarm", log_model::swarm, 500),
    (Bug::RecycledBeforeDirSync, "every_step", log_model::reuse::every_step, 20),
    (Bug::ClosedFlagKept, "swarm", log_model::swarm, 5000),
    (Bug::ReleaseUnsaid, "swarm", log_model::swarm, 500),
    (Bug::ReleaseTooMuch, "swarm", log_model::swarm, 500),
    (Bug::TimeForgotten, "swarm", log_model::swarm, 500),
    (Bug::ReleasedReadAsWritten, "half_read", log_model::reuse::half_read, 20),
];

#[test]
fn every_planted_bug_is_caught() {
    let mut missed = Vec::new();
    for (bug, scenario, run, seeds) in CATCHERS {
        planted::set(*bug);
        let failure = hunt(0..*seeds, run);
        planted::clear();
        match failure {
            Some(failure) => {
                println!("planted {bug:?} caught by sim_planted::{scenario} after {}", failure.seed + 1);
                println!("  {} Seen: {}", bug.what(), failure.message);
            }
            None => missed.push(*bug),
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

#[test]
fn every_bug_that_can_be_planted_has_somebody_who_catches_it() {
    let mine = |bug: &&Bug| bug.caught_by() == "sim_planted";
    let caught: Vec<Bug> = CATCHERS.iter().map(|(bug, ..)| *bug).collect();

    assert_eq!(caught, Bug::ALL.iter().filter(mine).copied().collect::<Vec<_>>());
    assert!(Bug::ALL.iter().all(|bug| ["sim_planted", "schedules", "seek"].contains(&bug.caught_by())));
}

#[test]
fn without_a_planted_bug_nothing_is_caught() {
    planted::clear();
    for scenario in [log_model::swarm as Scenario, log_model::rot::rotten] {
        assert!(hunt(0..100, scenario).is_none());
    }
}
