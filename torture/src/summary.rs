//! What a rig counted, as a line for people and as JSON.

use std::path::Path;

use serde_json::{Value, json};

use crate::judge::{Tail, Verdict};

/// Counts of one rig.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// The rig.
    pub rig: &'static str,
    /// Victims started.
    pub runs: u64,
    /// Runs in which the fault came to be.
    pub faults: u64,
    /// Commits that were promised, in all runs.
    pub promises: u64,
    /// Ends seen: clean, torn, unordered.
    pub tails: [u64; 3],
    /// Promised commits that were not there.
    pub lost: u64,
    /// Promises given after the fault that forbids them.
    pub false_acks: u64,
    /// Commits that were there and wrong.
    pub wrong: u64,
    /// Logs that did not open.
    pub refused: u64,
    /// Processes that did not end.
    pub hangs: u64,
    /// Losses that the fault makes unavoidable (a disk that lies), and those of them that opening named.
    pub expected_losses: [u64; 2],
    /// The first violations, with how to run them again.
    pub failures: Vec<String>,
    /// Why the rig did not run.
    pub skipped: Option<String>,
}

impl Summary {
    /// Counts a verdict; `again` says how to see it once more.
    pub fn count(&mut self, verdict: &Verdict, dir: &Path, again: &str) {
        if let Some(tail) = verdict.tail {
            self.tails[match tail {
                Tail::Clean => 0,
                Tail::Torn => 1,
                Tail::Unordered => 2,
            }] += 1;
        }
        self.lost += verdict.lost.len() as u64;
        self.wrong += verdict.wrong.len() as u64;
        self.refused += u64::from(verdict.refused.is_some());
        self.hangs += u64::from(verdict.hung.is_some());
        if !verdict.is_good() {
            self.fail(format!(
                "lost {:?} wrong {:?} refused {:?} hung {:?}; kept in {}; {again}",
                &verdict.lost[..verdict.lost.len().min(5)],
                &verdict.wrong[..verdict.wrong.len().min(5)],
                verdict.refused,
                verdict.hung,
                dir.display()
            ));
        }
    }

    /// Takes down a violation.
    pub fn fail(&mut self, what: String) {
        if self.failures.len() < 20 {
            self.failures.push(what);
        }
    }

    /// Whether no promise was broken. A skipped rig is neither good nor bad.
    pub fn is_good(&self) -> bool {
        self.failures.is_empty() && self.lost + self.false_acks + self.wrong + self.refused + self.hangs == 0
    }

    /// Adds another part of the same rig.
    pub fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.faults += other.faults;
        self.promises += other.promises;
        for (mine, theirs) in self.tails.iter_mut().zip(other.tails) {
            *mine += theirs;
        }
        for (mine, theirs) in self.expected_losses.iter_mut().zip(other.expected_losses) {
            *mine += theirs;
        }
        self.lost += other.lost;
        self.false_acks += other.false_acks;
        self.wrong += other.wrong;
        self.refused += other.refused;
        self.hangs += other.hangs;
        other.failures.into_iter().for_each(|failure| self.fail(failure));
        self.skipped = self.skipped.take().or(other.skipped);
    }

    /// One line.
    pub fn line(&self) -> String {
        if let Some(why) = &self.skipped {
            return format!("{:9} SKIPPED ({why})", self.rig);
        }
        let [clean, torn, unordered] = self.tails;
        let [unavoidable, named] = self.expected_losses;
        format!(
            "{:9} {} runs {} faults {} promises | tails: {clean} clean {torn} torn {unordered} unordered | lost {} false acks {} wrong {} refused {} hangs {} | unavoidable {unavoidable}, named {named} | {}",
            self.rig,
            self.runs,
            self.faults,
            self.promises,
            self.lost,
            self.false_acks,
            self.wrong,
            self.refused,
            self.hangs,
            if self.is_good() { "ok" } else { "VIOLATED" }
        )
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        json!({
            "rig": self.rig, "skipped": self.skipped, "runs": self.runs, "faults": self.faults,
            "promises": self.promises, "tails": { "clean": self.tails[0], "torn": self.tails[1], "unordered": self.tails[2] },
            "lost": self.lost, "false-acks": self.false_acks, "wrong": self.wrong, "refused": self.refused,
            "hangs": self.hangs, "unavoidable": self.expected_losses[0], "unavoidable-named": self.expected_losses[1],
            "failures": self.failures, "ok": self.skipped.is_none() && self.is_good(),
        })
    }
}
