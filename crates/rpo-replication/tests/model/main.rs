//! The archive protocol, small and exhaustive: a writer, takeovers, mergers and retention over two or three copies, with lost
//! answers, requests that land late and crashes; every state that can be reached is judged. Shares no code with the crate:
//! what it pins down is the order in which things are done.
//!
//! Every rule that the protocol hangs on can be broken by a switch; each broken rule must yield a counter-example, which is
//! printed as a trace. `RPO_MODEL_NUMBERS`, `RPO_MODEL_LOSSES` and `RPO_MODEL_CRASHES` widen the bounds.

mod explore;
mod state;
mod step;

use explore::{Outcome, explore};
use state::{Bounds, Rule};

fn wider(name: &str, default: u8) -> u8 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn bounds(copies: u8, needed: u8) -> Bounds {
    Bounds {
        copies,
        needed,
        takers: 1,
        mergers: 1,
        numbers: wider("RPO_MODEL_NUMBERS", 3).min(state::NUMBERS as u8),
        losses: wider("RPO_MODEL_LOSSES", 1),
        crashes: wider("RPO_MODEL_CRASHES", 1),
        retention: false,
        broken: None,
    }
}

fn must_hold(name: &str, bounds: Bounds) {
    match explore(&bounds) {
        Outcome::Holds { states, depth } => println!("{name}: {states} states, depth {depth}: all hold"),
        Outcome::Broken { states, trace, why } => {
            panic!("{name}, after {states} states: {why}\n{}", trace.join("\n"))
        }
    }
}

fn must_break(rule: Rule, bounds: Bounds) {
    match explore(&Bounds { broken: Some(rule), ..bounds }) {
        Outcome::Holds { states, .. } => {
            panic!("{rule:?} is broken and all {states} states hold: the model does not need this rule")
        }
        Outcome::Broken { states, trace, why } => {
            println!("{rule:?}: {why} ({states} states, {} steps)\n  {}", trace.len(), trace.join("\n  "));
        }
    }
}

#[test]
fn one_of_two_copies_with_merging_and_a_takeover() {
    must_hold("any 1 of 2", Bounds { crashes: wider("RPO_MODEL_CRASHES", 0), ..bounds(2, 1) });
}

#[test]
fn two_of_two_copies_with_merging_and_a_takeover() {
    must_hold("any 2 of 2", Bounds { crashes: wider("RPO_MODEL_CRASHES", 0), ..bounds(2, 2) });
}

#[test]
fn two_of_three_copies_with_a_takeover() {
    must_hold("any 2 of 3", Bounds { numbers: wider("RPO_MODEL_NUMBERS", 1), mergers: 0, ..bounds(3, 2) });
}

#[test]
fn two_takeovers_at_once_make_one_epoch() {
    let two = Bounds { takers: 2, numbers: 1, mergers: 0, crashes: 0, ..bounds(2, 2) };
    must_hold("two takeovers, any 2 of 2", two);
    let losses = wider("RPO_MODEL_LOSSES", 0);
    must_hold("two takeovers beside merging", Bounds { numbers: 3, mergers: 1, losses, ..two });
}

#[test]
fn two_mergers_at_once_beside_a_takeover() {
    let losses = wider("RPO_MODEL_LOSSES", 0);
    must_hold("two mergers", Bounds { mergers: 2, losses, crashes: 0, ..bounds(2, 1) });
}

#[test]
fn retention_beside_merging_and_a_takeover() {
    must_hold(
        "retention",
        Bounds { retention: true, losses: wider("RPO_MODEL_LOSSES", 0), crashes: 0, ..bounds(2, 2) },
    );
}

#[test]
fn every_rule_is_needed() {
    let three_of_one = Bounds { numbers: 1, mergers: 0, crashes: 0, ..bounds(3, 1) };
    must_break(Rule::FenceEnoughCopies, three_of_one);
    let two = Bounds { takers: 2, numbers: 1, mergers: 0, crashes: 0, ..bounds(2, 2) };
    must_break(Rule::FenceMoreThanHalf, two);
    must_break(Rule::FencesStay, bounds(2, 2));
    must_break(Rule::FenceIsLookedAtAgain, bounds(2, 1));
    must_break(Rule::EndIsFoundPastMerged, bounds(2, 1));
    must_break(Rule::LostAnswersAreReadBack, bounds(2, 1));
    must_break(Rule::AckNeedsProof, bounds(2, 2));
    must_break(Rule::MergedBeforePartsGo, bounds(2, 2));
    must_break(Rule::MergedNumberIsPlannedAgain, Bounds { mergers: 2, crashes: 0, ..bounds(2, 1) });
    must_break(Rule::NewestStays, bounds(2, 1));
    must_break(Rule::NoteBeforeDeletion, Bounds { retention: true, crashes: 0, mergers: 0, ..bounds(2, 2) });
}
