//! Breadth first through every state that can be reached, so that a counter-example is a shortest one.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

use crate::state::{Bounds, State};
use crate::step::next_states;

/// More than this is no small model any more.
const STATES_MAX: usize = 6_000_000;

/// Quick, and good enough for states that nobody chooses to our harm.
#[derive(Default)]
struct Quick(u64);

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(u64::from(byte));
    }

    fn write_isize(&mut self, tag: isize) {
        self.write_u64(tag as u64);
    }

    fn write_usize(&mut self, length: usize) {
        self.write_u64(length as u64);
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }
}

pub(crate) enum Outcome {
    Holds { states: usize, depth: usize },
    Broken { states: usize, trace: Vec<String>, why: String },
}

pub(crate) fn explore(bounds: &Bounds) -> Outcome {
    // Per state its number; per number the state before it and the step that led here.
    let mut seen: HashMap<Rc<State>, u32, BuildHasherDefault<Quick>> = HashMap::default();
    let mut origins: Vec<(u32, Rc<State>)> = Vec::new();
    let first = Rc::new(State::default());
    seen.insert(Rc::clone(&first), 0);
    origins.push((0, first));
    let (mut at, mut depth, mut layer_end) = (0, 0, 1);
    while at < origins.len() {
        if at == layer_end {
            (depth, layer_end) = (depth + 1, origins.len());
        }
        let state = Rc::clone(&origins[at].1);
        if let Some(why) = state.judge(bounds) {
            return Outcome::Broken { states: origins.len(), trace: trace(&origins, at, bounds), why };
        }
        let mut found = Vec::new();
        next_states(&state, bounds, &mut |next, _| found.push(next));
        for next in found {
            if !seen.contains_key(&next) {
                let next = Rc::new(next);
                seen.insert(Rc::clone(&next), origins.len() as u32);
                origins.push((at as u32, next));
            }
        }
        assert!(origins.len() < STATES_MAX, "the bounds are too wide: {bounds:?}");
        at += 1;
    }
    Outcome::Holds { states: origins.len(), depth }
}

/// The steps from the beginning to state `at`, named by taking them again.
fn trace(origins: &[(u32, Rc<State>)], mut at: usize, bounds: &Bounds) -> Vec<String> {
    let mut steps = Vec::new();
    while at > 0 {
        let (before, state) = (origins[at].0 as usize, &origins[at].1);
        let mut step = None;
        next_states(&origins[before].1, bounds, &mut |next, name| {
            if next == **state {
                step.get_or_insert(name());
            }
        });
        steps.push(step.expect("it was reached by a step"));
        at = before;
    }
    steps.reverse();
    steps
}
