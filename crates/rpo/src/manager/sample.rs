//! Measuring: positions and evidence of every system, compared and judged.

mod copies;
mod count;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use rpo_core::Position;
use rpo_core::objective::Domain;
use rpo_core::ports::DiskLock;
use rpo_core::window::{
    CommitTimeline, Evidence, Moment, PolledTimeline, Protected, protected_checkpoint, protected_position,
};
use tokio::sync::watch;

use super::system::{Measure, StreamMeasure, System};
use super::{Shared, files, lock};
use crate::Error;
use crate::report::{CopyReport, DomainReport, StatusReport, SystemReport, polled_risk};

pub(super) use count::Counts;

/// The domains that every report speaks of.
const DOMAINS: [Domain; 3] = [Domain::Process, Domain::Machine, Domain::Region];

/// Takes a sample each `every` until it is told to stop. Holds the lock of the state directory meanwhile.
pub(crate) async fn run(
    shared: std::sync::Arc<Shared>,
    every: Duration,
    mut stopping: watch::Receiver<bool>,
    _lock: Box<dyn DiskLock>,
) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
        if let Err(error) = shared.sample().await {
            tracing::error!(%error, "the report could not be kept");
        }
    }
}

impl Shared {
    /// Measures every system, judges, tells of changes, and keeps the report.
    pub(crate) async fn sample(&self) -> Result<StatusReport, Error> {
        self.sample_as(true).await
    }

    /// The same for the last time: nobody renews this report.
    pub(crate) async fn sample_last(&self) -> Result<StatusReport, Error> {
        self.sample_as(false).await
    }

    async fn sample_as(&self, live: bool) -> Result<StatusReport, Error> {
        let _alone = self.sampling.lock().await;
        let settled = !live || self.members.iter().all(|member| member.is_settled()); // before the copies are asked
        let mut systems = Vec::new();
        for system in &self.systems {
            systems.push(match &system.measure {
                Measure::Polled(timeline) => self.polled(system, timeline).await,
                Measure::Stream(stream) => self.stream(system, stream).await,
            });
        }
        let mut report = StatusReport::new(self.wall(), systems);
        report.live = live;
        report.configuration = self.configuration.clone();
        self.count(&report, settled);
        let path = files::status_path(&self.parts.state_dir);
        let kept = files::replace(self.parts.disk.as_ref(), &path, &report);
        self.report.send_replace(Some(report.clone()));
        kept.map(|()| report)
    }

    async fn polled(&self, system: &System, timeline: &Mutex<PolledTimeline>) -> SystemReport {
        let copies = self.look_at_copies(system).await;
        let now = self.now();
        let content_bytes = lock(&system.state).content_bytes;
        let report = |domain| {
            let protected = protected_checkpoint(&copies, 1, domain);
            let limit = system.objective.as_ref().and_then(|o| o.limit(domain));
            let fresh = system.fresh_within(domain, self.parts.sample_every);
            let mut loss = lock(timeline).report(domain, protected.as_ref(), now, fresh);
            loss.bytes_at_risk = polled_risk(loss.bytes_at_risk, protected.is_some(), content_bytes);
            let by = protected.map(|p| p.by).unwrap_or_default();
            let status = system.judge(&loss);
            let survivors = self.survivors(domain);
            DomainReport {
                declared: self.is_declared(&by),
                loss,
                status,
                limit: limit.map(|limit| limit.most),
                protected: None,
                survivors,
                by,
            }
        };
        // A directory is not lost with the process that looks at it.
        let domains: Vec<_> =
            DOMAINS.into_iter().filter(|domain| *domain != Domain::Process).map(report).collect();
        system.report(None, domains, self.copy_reports(system, now))
    }

    async fn stream(&self, system: &System, stream: &StreamMeasure) -> SystemReport {
        let has_checkpoints = lock(&system.state).newest.is_some();
        let held = if has_checkpoints { self.look_at_copies(system).await } else { Vec::new() };
        // Evidence first, head second: what is acknowledged in between counts as unprotected.
        let states = stream.view.states();
        let (head, seen) = stream.look(self.now());
        let copies: Vec<_> = states.iter().filter_map(|state| self.held_by(state)).collect();
        let durable = stream.log.durable();
        let mut upto = BTreeMap::new();
        let report = |domain: Domain| {
            let protected = match domain {
                Domain::Process => Some(Protected::locally(durable, seen)),
                _ => protected_position(&copies, stream.needed, domain, &stream.history),
            };
            if let Some(protected) = &protected {
                upto.insert(domain, protected.upto);
            }
            let limit = system.objective.as_ref().and_then(|o| o.limit(domain));
            let fresh = system.fresh_within(domain, self.parts.sample_every);
            let evidence = Evidence::gather(domain, &lock(&stream.timeline), seen, protected.clone(), fresh);
            let loss = evidence.report(self.now());
            let by = protected.as_ref().map(|p| p.by.clone()).unwrap_or_default();
            let (status, limit) = (system.judge(&loss), limit.map(|limit| limit.most));
            let declared = self.is_declared(&by);
            let (survivors, protected) = (self.survivors(domain), protected.map(|p| p.upto));
            DomainReport { declared, loss, status, limit, protected, survivors, by }
        };
        let domains: Vec<_> = DOMAINS.into_iter().map(report).collect();
        self.publish_protection(system, stream);
        if let Some(lowest) =
            upto.values().min_by_key(|position| position.lsn).filter(|_| upto.len() == DOMAINS.len())
        {
            lock(&stream.timeline).release(*lowest);
        }
        let now = self.now();
        let shipped = states.iter().map(|state| CopyReport {
            name: state.name.clone(),
            role: state.role.to_string(),
            health: self.log_health(system, state),
            log: state.log.position,
            lag_bytes: Some(state.lag_bytes(head)),
            lag_commits: state.lag_commits(head),
            checkpoint: held.iter().find(|copy| copy.name == state.name).and_then(|copy| copy.newest),
            evidence_age: state.log.evidence.map(|e| now.since(Moment::new(e.wall, e.steady)).into()),
        });
        let others = self.not_shipped(&states);
        system.report(Some(head), domains, shipped.chain(others).collect())
    }

    /// Works out how far a stream is protected, and tells those who wait for it.
    pub(crate) fn publish_protection(&self, system: &System, stream: &StreamMeasure) {
        let copies: Vec<_> = stream.view.states().iter().filter_map(|state| self.held_by(state)).collect();
        let mut upto = BTreeMap::from([(Domain::Process, stream.log.durable())]);
        for domain in [Domain::Machine, Domain::Region, Domain::Operator] {
            if let Some(protected) = protected_position(&copies, stream.needed, domain, &stream.history) {
                upto.insert(domain, protected.upto);
            }
        }
        stream.publish(system, &upto);
    }
}

impl StreamMeasure {
    /// Looks at the head. Commits that are new since the last look were acknowledged after it at the earliest.
    pub(crate) fn look(&self, now: Moment) -> (Position, Moment) {
        let mut looked = lock(&self.looked);
        let head = self.log.head();
        note(&mut lock(&self.timeline), head, *looked);
        *looked = now;
        (head, now)
    }

    /// Tells those who wait for protection how far it reaches.
    pub(crate) fn publish(&self, system: &System, upto: &BTreeMap<Domain, Position>) {
        system.protected.send_if_modified(|known| {
            let mut moved = false;
            for (domain, position) in upto {
                let before = known.upto.insert(*domain, *position);
                moved |= before != Some(*position);
            }
            if self.view.is_fenced() && known.ended.is_none() {
                known.ended = Some("a newer writer owns the stream".to_owned());
                moved = true;
            }
            moved
        });
    }
}

/// Tells the timeline that the history now reaches `head`, by commits acknowledged at `at` if there are any.
pub(crate) fn note(timeline: &mut CommitTimeline, head: Position, at: Moment) {
    let known = timeline.head();
    if head.lsn <= known.lsn {
        return;
    }
    if head.sequence.is_some() && head.sequence == known.sequence {
        timeline.advance(head);
    } else {
        timeline.record(head, at);
    }
}
