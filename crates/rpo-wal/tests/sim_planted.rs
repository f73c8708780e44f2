//! Negative controls: bugs that logs have had, planted one by one, must be caught within the seeds that every run tries.
#![cfg(feature = "planted-bugs")]

mod log_model;

use rpo_testkit::sim::hunt;
use rpo_wal::planted::{self, Bug};

fn caught(bug: Bug) {
    planted::set(bug);
    let failure = hunt(0..500, log_model::swarm);
    planted::clear();
    let failure = failure.unwrap_or_else(|| panic!("{bug:?} was not caught in 500 seeds"));
    println!("{bug:?}: seed {}: {}", failure.seed, failure.message);
}

#[test]
fn ack_before_sync_is_caught() {
    caught(Bug::AckBeforeSync);
}

#[test]
fn a_retried_fsync_is_caught() {
    caught(Bug::RetriedFsync);
}

#[test]
fn a_missing_directory_sync_is_caught() {
    caught(Bug::NoDirSync);
}
