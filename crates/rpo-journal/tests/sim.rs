//! The journal and a target under power cuts: one at every single step.

mod scene;

use rpo_testkit::sim::{assert_seen, run_seeds};

#[test]
fn a_power_cut_at_every_step_loses_no_acknowledged_event_forgets_no_loss_and_skips_none_for_a_target() {
    let seen = run_seeds(0..3, scene::crash::every_step);
    println!("{seen}");
    assert_seen(&seen, &["it all stopped", "coverage was lost", "a target was given events twice"]);
}
