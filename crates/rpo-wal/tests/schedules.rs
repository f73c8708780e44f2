//! The commit path under a scheduler that tries many orders of its threads: nobody waits for ever, nobody is told twice, and
//! what was acknowledged survives. A long run: `RPO_SCHEDULES=100000 cargo test -p rpo-wal --release --features
//! planted-bugs,shuttle --test schedules`.

mod schedule_model;

use std::panic::{AssertUnwindSafe, catch_unwind};

use rpo_wal::planted::{self, Bug};
use schedule_model::{Ending, Scene, explore};

/// How many orders each scene is tried in.
fn orders() -> usize {
    std::env::var("RPO_SCHEDULES").map_or(150, |n| n.parse().expect("RPO_SCHEDULES is a number"))
}

fn tried(scene: Scene) {
    planted::clear();
    explore(scene, orders());
}

#[test]
fn writers_that_carry_their_own_groups_are_all_told_once() {
    tried(Scene { cohort: false, ending: Ending::Quiet });
}

#[test]
fn writers_that_wait_for_their_cohort_are_all_told_once() {
    tried(Scene { cohort: true, ending: Ending::Quiet });
}

#[test]
fn a_sync_that_fails_in_the_middle_leaves_nobody_waiting() {
    tried(Scene { cohort: false, ending: Ending::Poison });
    tried(Scene { cohort: true, ending: Ending::Poison });
}

#[test]
fn a_log_that_is_closed_in_the_middle_leaves_nobody_waiting() {
    tried(Scene { cohort: false, ending: Ending::Close });
    tried(Scene { cohort: true, ending: Ending::Close });
}

/// In how many orders at most a bug that is planted shows.
const ENOUGH: usize = 2000;

#[test]
fn planted_bugs_of_the_hand_over_are_found() {
    let (quiet, poison) = (Ending::Quiet, Ending::Poison);
    let caught = [(Bug::LostWakeup, quiet), (Bug::NoHandOver, quiet), (Bug::AckOnFailedSync, poison)];
    for (bug, ending) in caught {
        planted::set(bug);
        let tries = (1..=ENOUGH / 50).find(|_| {
            let run = || explore(Scene { cohort: false, ending }, 50);
            catch_unwind(AssertUnwindSafe(run)).is_err()
        });
        planted::clear();
        let tries = tries.unwrap_or_else(|| panic!("{bug:?} was not found in {ENOUGH} orders"));
        println!("planted {bug:?} caught by schedules::{ending:?} after {}", tries * 50);
    }
    let mine = |bug: &&Bug| bug.caught_by() == "schedules";
    assert!(Bug::ALL.iter().filter(mine).all(|bug| caught.iter().any(|(caught, _)| caught == bug)));
}
