//! The journal against a list of events.

mod scene;

use rpo_testkit::sim::{assert_seen, run_seeds};

#[test]
fn a_journal_is_at_every_moment_what_the_limits_leave_of_all_that_was_recorded() {
    let seen = run_seeds(0..60, scene::model::random);
    println!("{seen}");
    assert_seen(
        &seen,
        &["segments were released", "reopened", "coverage was lost", "a full journal refused"],
    );
}
