//! Negative controls: bugs planted one by one must be caught within the seeds that every run tries.
#![cfg(feature = "planted-bugs")]

mod scene;

use rpo_journal::planted::{self, Bug};
use rpo_testkit::sim::{Case, hunt};

fn caught(bug: Bug, seeds: u64, scenario: fn(&mut Case) -> Result<(), String>) {
    planted::set(bug);
    let failure = hunt(0..seeds, scenario);
    planted::clear();
    let failure = failure.unwrap_or_else(|| panic!("{bug:?} was not caught in {seeds} seeds"));
    println!("{bug:?}: seed {}: {}", failure.seed, failure.message);
}

#[test]
fn forgotten_loss_is_caught() {
    caught(Bug::ForgetLoss, 60, scene::model::random);
    caught(Bug::ForgetLoss, 3, scene::crash::every_step);
}

#[test]
fn a_silent_gap_is_caught() {
    caught(Bug::SilentGap, 60, scene::model::random);
}

#[test]
fn a_cursor_that_moves_first_is_caught() {
    caught(Bug::CursorFirst, 3, scene::crash::every_step);
}

#[test]
fn a_replay_that_goes_one_too_far_is_caught() {
    caught(Bug::OneTooMany, 60, scene::model::random);
}
