//! What happened sometimes: a run in which no fault struck proves nothing.

use std::collections::BTreeMap;
use std::fmt;

/// Counts of things that must happen sometimes: faults, what crashes did, branches of a scenario.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statistics {
    counts: BTreeMap<String, u64>,
}

impl Statistics {
    /// Counts one more of these.
    pub fn count(&mut self, what: &str) {
        self.add(what, 1);
    }

    /// Counts `times` more of these.
    pub fn add(&mut self, what: &str, times: u64) {
        if times > 0 {
            match self.counts.get_mut(what) {
                Some(count) => *count += times,
                None => {
                    self.counts.insert(what.to_owned(), times);
                }
            }
        }
    }

    /// Adds the counts of another run.
    pub fn merge(&mut self, other: &Statistics) {
        other.counts.iter().for_each(|(what, times)| self.add(what, *times));
    }

    /// How often it happened.
    pub fn get(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }

    /// Which of these never happened.
    pub fn missing<'a>(&self, expected: &[&'a str]) -> Vec<&'a str> {
        expected.iter().copied().filter(|what| self.get(what) == 0).collect()
    }
}

impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.counts.iter().try_for_each(|(what, times)| writeln!(f, "{times:>9} {what}"))
    }
}
