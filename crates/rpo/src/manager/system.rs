//! One protected system, as the tasks share it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rpo_checkpoint::CheckpointInfo;
use rpo_core::objective::{Domain, Objective, Status};
use rpo_core::window::{CommitTimeline, Evidence, History, LossReport, Moment, PolledTimeline, judge};
use rpo_core::{CheckpointId, Position, SourceId};
use rpo_replication::ShipView;
use rpo_wal::Log;
use tokio::sync::watch;

use super::{lock, partial};
use crate::report::{CopyReport, DomainReport, SystemReport, unpromised};

/// One protected system, as the tasks share it.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) name: SourceId,
    pub(crate) kind: String,
    pub(crate) objective: Option<Objective>,
    pub(crate) state: Mutex<State>,
    pub(crate) measure: Measure,
    pub(crate) protected: watch::Sender<Known>,
    pub(crate) first_round: watch::Sender<bool>,
}

/// What `wait_protected` waits on.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) upto: BTreeMap<Domain, Position>,
    pub(crate) ended: Option<String>,
}

/// What changes while it runs.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Number of the newest checkpoint in home.
    pub(crate) newest: Option<u64>,
    /// Bytes of its content: what is at risk where nothing is protected.
    pub(crate) content_bytes: Option<u64>,
    /// What went wrong last, if nothing has gone right since.
    pub(crate) trouble: Option<String>,
    /// What the newest checkpoint lacks.
    pub(crate) partial: Option<String>,
    /// What stands in home and cannot be read.
    pub(crate) unreadable: Option<String>,
    /// For each copy: the newest checkpoint whose manifest was seen there, and when.
    pub(super) seen: BTreeMap<usize, Seen>,
}

/// What was last heard of one copy.
#[derive(Debug, Default, Clone)]
pub(super) struct Seen {
    /// The newest checkpoint whose manifest is there.
    pub(super) newest: Option<u64>,
    /// When that was seen.
    pub(super) at: Option<Moment>,
    /// A later checkpoint whose manifest was there, and is not any more.
    pub(super) lost: Option<u64>,
    /// Why it did not answer last, if it did not.
    pub(super) trouble: Option<String>,
}

/// How a system is measured.
#[derive(Debug)]
pub(crate) enum Measure {
    /// Looked at now and then.
    Polled(Mutex<PolledTimeline>),
    /// Has a log of commits.
    Stream(Box<StreamMeasure>),
}

/// What measuring a stream needs.
#[derive(Debug)]
pub(crate) struct StreamMeasure {
    pub(crate) log: Log,
    pub(crate) timeline: Arc<Mutex<CommitTimeline>>,
    pub(crate) view: ShipView,
    pub(crate) history: History,
    /// How many copies must hold a commit.
    pub(crate) needed: usize,
    /// When the head was last looked at: a commit found now was acknowledged after it.
    pub(crate) looked: Mutex<Moment>,
}

impl State {
    /// Takes note of the newest checkpoint in home.
    pub(super) fn is_newest(&mut self, info: &CheckpointInfo) {
        self.newest = Some(info.id.number);
        self.content_bytes = Some(info.statistics.bytes);
        self.partial = partial(info);
    }
}

impl System {
    /// How old evidence may be before it is none.
    pub(super) fn fresh_within(&self, domain: Domain, sample_every: Duration) -> Duration {
        match self.objective.as_ref().and_then(|o| Some((o, o.limit(domain)?))) {
            Some((objective, limit)) => {
                Evidence::fresh_within(objective.monitor_interval.get().max(sample_every), &limit)
            }
            None => (sample_every * 4).max(Duration::from_secs(60)),
        }
    }

    pub(super) fn judge(&self, loss: &LossReport) -> Status {
        // Nothing was ever seen: neither by this run, nor by one that left its memory.
        if let Measure::Polled(timeline) = &self.measure
            && lock(&self.state).newest.is_none()
            && lock(timeline).protected_since(u64::MAX).is_none()
        {
            return Status::Pending;
        }
        match self.objective.as_ref().and_then(|o| o.limit(loss.domain)) {
            Some(limit) => judge(loss, &limit),
            None => unpromised(),
        }
    }

    pub(super) fn report(
        &self,
        head: Option<Position>,
        domains: Vec<DomainReport>,
        copies: Vec<CopyReport>,
    ) -> SystemReport {
        let state = lock(&self.state);
        let damaged = copies.iter().filter(|copy| copy.role == "home").find_map(CopyReport::home_damage);
        let troubles = [state.trouble.clone(), state.partial.clone(), state.unreadable.clone(), damaged];
        let trouble: Vec<_> = troubles.into_iter().flatten().collect();
        let newest = state.newest.map(|number| CheckpointId { source: self.name.clone(), number });
        SystemReport {
            head,
            checkpoint: newest,
            trouble: (!trouble.is_empty()).then(|| trouble.join("; ")),
            ..SystemReport::new(self.name.clone(), self.kind.clone(), domains, copies)
        }
    }
}
