//! Sources without commits: what is known is when they were looked at, and which checkpoint holds what was seen.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{LossReport, Moment, Protected, Window};
use crate::{Domain, HumanDuration, Timestamp};

/// Remembers the finished scans of one source.
///
/// The window runs from the *start* of the last scan whose whole finding is now protected, so it is never zero: the
/// polling interval is part of it. A scan that did not finish, or left out what it should have captured, is not
/// recorded.
#[derive(Debug, Clone)]
pub struct PolledTimeline {
    capacity: usize,
    scans: VecDeque<Scan>,
}

/// A scan: begun at `started`, its finding held by checkpoint `checkpoint`.
#[derive(Debug, Clone, Copy)]
struct Scan {
    checkpoint: u64,
    started: Moment,
    /// Bytes changed against the checkpoint before.
    changed_bytes: u64,
}

impl PolledTimeline {
    /// Remembers at most `capacity` scans (at least 2); with more, the older ones in between are forgotten.
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(2), scans: VecDeque::new() }
    }

    /// A scan begun at `started` finished, and checkpoint `checkpoint` holds what it saw: a new one with
    /// `changed_bytes` of changes, or the last one again if nothing had changed. A checkpoint older than the last is
    /// passed over.
    pub fn record(&mut self, started: Moment, checkpoint: u64, changed_bytes: u64) {
        match self.scans.back_mut() {
            Some(last) if last.checkpoint > checkpoint => return,
            Some(last) if last.checkpoint == checkpoint => {
                last.started = last.started.max(started);
                return;
            }
            _ => self.scans.push_back(Scan { checkpoint, started, changed_bytes }),
        }
        if self.scans.len() > self.capacity {
            let forgotten = self.scans.remove(1).map_or(0, |scan| scan.changed_bytes);
            if let Some(next) = self.scans.get_mut(1) {
                next.changed_bytes = next.changed_bytes.saturating_add(forgotten);
            }
        }
    }

    /// Checkpoints before `checkpoint` will not be asked about again.
    pub fn release(&mut self, checkpoint: u64) {
        while self.scans.get(1).is_some_and(|second| second.checkpoint <= checkpoint) {
            self.scans.pop_front();
        }
    }

    /// The start of the last scan whose finding `protected` holds; none if no such scan is known.
    pub fn protected_since(&self, protected: u64) -> Option<Moment> {
        self.scans.iter().rev().find(|scan| scan.checkpoint <= protected).map(|scan| scan.started)
    }

    /// The window as of `now`. Evidence older than `fresh_within` makes it unknown.
    pub fn report(
        &self,
        domain: Domain,
        protected: Option<&Protected<u64>>,
        now: Moment,
        fresh_within: Duration,
    ) -> LossReport {
        let since = protected.and_then(|protected| self.protected_since(protected.upto));
        let age = since.map(|since| now.since(since));
        let evidence_age = protected.and_then(|protected| Some(now.since(protected.proven_at?)));
        let window = match (age, evidence_age) {
            (Some(age), Some(evidence)) if evidence <= fresh_within => Window::Age(age.into()),
            (Some(age), Some(evidence)) => Window::Unknown { bound: Some(age.max(evidence).into()) },
            _ => Window::Unknown { bound: None },
        };
        let upto = protected.map(|protected| protected.upto);
        let unprotected = self.scans.iter().filter(|scan| upto.is_none_or(|upto| scan.checkpoint > upto));
        LossReport {
            domain,
            window,
            commits_at_risk: None,
            bytes_at_risk: Some(unprotected.fold(0, |sum, scan| sum.saturating_add(scan.changed_bytes))),
            taken_at: now.wall(),
            evidence_age: evidence_age.map(HumanDuration::from),
        }
    }

    /// What the next run needs to know, taken at `now`.
    pub fn save(&self, now: Moment) -> SavedScans {
        let saved = |scan: &Scan| SavedScan {
            checkpoint: scan.checkpoint,
            started: scan.started.written(now),
            changed_bytes: scan.changed_bytes,
        };
        SavedScans { saved_at: now.wall(), scans: self.scans.iter().map(saved).collect() }
    }

    /// The memory of an earlier run. If the wall clock is behind it, no age is known and nothing is remembered: the
    /// window is unknown until a new scan is protected.
    pub fn restore(saved: &SavedScans, now: Moment, capacity: usize) -> Self {
        let mut timeline = Self::new(capacity);
        if Moment::recalled(saved.saved_at, now).is_none() {
            return timeline;
        }
        for scan in &saved.scans {
            if let Some(started) = Moment::recalled(scan.started, now) {
                timeline.record(started, scan.checkpoint, scan.changed_bytes);
            }
        }
        timeline
    }
}

/// A [`PolledTimeline`] at rest, in wall time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SavedScans {
    saved_at: Timestamp,
    scans: Vec<SavedScan>,
}

/// A scan at rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct SavedScan {
    checkpoint: u64,
    started: Timestamp,
    changed_bytes: u64,
}
