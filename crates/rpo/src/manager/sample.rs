//! Measuring: positions and evidence of every system, compared and judged.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rpo_core::event::{EventKind, Measured};
use rpo_core::objective::{Domain, Objective, Status};
use rpo_core::ports::DiskLock;
use rpo_core::window::{
    CheckpointCopy, CommitTimeline, CopyState, Evidence, History, LogRun, LossReport, Moment, PolledTimeline,
    Protected, Window, judge, protected_checkpoint, protected_position,
};
use rpo_core::{CheckpointId, HumanDuration, Lsn, Position, SourceId};
use rpo_replication::{CopySpec, Health, ShipView};
use rpo_repository::layout;
use rpo_wal::Log;
use tokio::sync::watch;

use super::{Shared, files, lock};
use crate::Error;
use crate::report::{CopyReport, DomainReport, StatusReport, SystemReport, worst};

/// The domains that every report speaks of.
const DOMAINS: [Domain; 3] = [Domain::Process, Domain::Machine, Domain::Region];

/// One protected system, as the tasks share it.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) name: SourceId,
    pub(crate) kind: String,
    pub(crate) objective: Option<Objective>,
    /// For each copy: its independence is declared and not shown.
    pub(crate) declared: Vec<bool>,
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
    /// What went wrong last, if nothing has gone right since.
    pub(crate) trouble: Option<String>,
    /// For each copy: the newest checkpoint seen whole there, and when.
    seen: BTreeMap<usize, Seen>,
}

/// What was last heard of one copy.
#[derive(Debug, Default)]
struct Seen {
    /// The newest checkpoint that is whole there.
    newest: Option<u64>,
    /// When that was seen.
    at: Option<Moment>,
    /// Why it did not answer last, if it did not.
    trouble: Option<String>,
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

/// Takes a sample each `every` until it is told to stop. Holds the lock of the state directory meanwhile.
pub(crate) async fn run(
    shared: Arc<Shared>,
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
        let mut systems = Vec::new();
        for system in &self.systems {
            systems.push(match &system.measure {
                Measure::Polled(timeline) => self.polled(system, timeline).await,
                Measure::Stream(stream) => self.stream(system, stream).await,
            });
        }
        let report = StatusReport { live, ..StatusReport::new(self.wall(), systems) };
        self.count(&report);
        let path = files::status_path(&self.parts.state_dir);
        let kept = files::replace(self.parts.disk.as_ref(), &path, &report);
        self.report.send_replace(Some(report.clone()));
        kept.map(|()| report)
    }

    fn survives(&self, copy: &CopySpec) -> Vec<Domain> {
        let all = [Domain::Process, Domain::Machine, Domain::Region, Domain::Operator];
        all.into_iter().filter(|domain| self.here.survives(copy, *domain)).collect()
    }

    fn survivors(&self, domain: Domain) -> Vec<rpo_core::CopyName> {
        let opened = self.copies.iter().map(|copy| (&copy.name, &copy.domain));
        let absent = self.absent.iter().map(|copy| (&copy.name, &copy.domain));
        let all = opened.chain(absent).filter(|(_, place)| self.here.outlives(place, domain));
        all.map(|(name, _)| name.clone()).collect()
    }

    /// What is said of the copies that are expected and could not be opened.
    fn absent(&self) -> impl Iterator<Item = CopyReport> {
        self.absent.iter().map(|copy| CopyReport {
            name: copy.name.clone(),
            role: copy.role.to_string(),
            health: format!("failing: {}", copy.why),
            log: None,
            lag_bytes: None,
            lag_commits: None,
            checkpoint: None,
            evidence_age: None,
        })
    }

    /// Asks every copy whether the newest checkpoint is whole there: its manifest is written last.
    async fn look_at_copies(&self, system: &System) -> Vec<CheckpointCopy> {
        let newest = lock(&system.state).newest;
        for (number, copy) in self.copies.iter().enumerate() {
            let known = lock(&system.state).seen.get(&number).and_then(|seen| seen.newest);
            let mut learnt = None;
            for candidate in [newest, known].into_iter().flatten() {
                let at = self.now();
                let key = layout::checkpoint(&system.name, candidate);
                let asked = copy.repository.storage().stat(&key);
                match tokio::time::timeout(self.patience(), asked).await {
                    Ok(Ok(_)) => {
                        learnt = Some((Some(candidate), Some(at), None));
                        break;
                    }
                    Ok(Err(error)) if error.kind() == rpo_core::ErrorKind::NotFound => {}
                    Ok(Err(error)) => learnt = Some((known, None, Some(error.to_string()))),
                    Err(_) => learnt = Some((known, None, Some("no answer in time".to_owned()))),
                }
            }
            let mut state = lock(&system.state);
            let seen = state.seen.entry(number).or_default();
            match learnt {
                Some((newest, at @ Some(_), trouble)) => *seen = Seen { newest, at, trouble },
                Some((_, None, trouble)) => seen.trouble = trouble, // what was seen before stands, and ages
                None => {}
            }
        }
        let state = lock(&system.state);
        let copies = self.copies.iter().enumerate();
        copies
            .map(|(number, copy)| {
                let seen = state.seen.get(&number);
                CheckpointCopy {
                    name: copy.name.clone(),
                    survives: self.survives(copy),
                    newest: seen.and_then(|seen| seen.newest),
                    proven_at: seen.and_then(|seen| seen.at),
                }
            })
            .collect()
    }

    /// How long a copy may take to answer a question about evidence.
    fn patience(&self) -> Duration {
        self.parts.sample_every.clamp(Duration::from_secs(1), Duration::from_secs(10))
    }

    async fn polled(&self, system: &System, timeline: &Mutex<PolledTimeline>) -> SystemReport {
        let copies = self.look_at_copies(system).await;
        let now = self.now();
        let report = |domain| {
            let protected = protected_checkpoint(&copies, 1, domain);
            let limit = system.objective.as_ref().and_then(|o| o.limit(domain));
            let fresh = system.fresh_within(domain, self.parts.sample_every);
            let loss = lock(timeline).report(domain, protected.as_ref(), now, fresh);
            let by = protected.map(|p| p.by).unwrap_or_default();
            let limit_shown = limit.map(|limit| limit.most);
            let status = system.judge(&loss);
            let survivors = self.survivors(domain);
            DomainReport {
                declared: self.is_declared(system, &by),
                loss,
                status,
                limit: limit_shown,
                protected: None,
                survivors,
                by,
            }
        };
        // A directory is not lost with the process that looks at it.
        let domains: Vec<_> =
            DOMAINS.into_iter().filter(|domain| *domain != Domain::Process).map(report).collect();
        let state = lock(&system.state);
        let copies = self.copies.iter().enumerate().map(|(number, copy)| {
            let seen = state.seen.get(&number);
            CopyReport {
                name: copy.name.clone(),
                role: copy.role.to_string(),
                health: health_of(
                    seen.and_then(|seen| seen.trouble.as_ref()),
                    seen.is_some_and(|seen| seen.at.is_some()),
                ),
                log: None,
                lag_bytes: None,
                lag_commits: None,
                checkpoint: seen.and_then(|seen| seen.newest),
                evidence_age: seen.and_then(|seen| seen.at).map(|at| now.since(at).into()),
            }
        });
        system.report(None, domains, copies.chain(self.absent()).collect(), &state)
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
            let declared = self.is_declared(system, &by);
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
        let copies = states.iter().map(|state| CopyReport {
            name: state.name.clone(),
            role: state.role.to_string(),
            health: health(&state.log.health),
            log: state.log.position,
            lag_bytes: Some(state.lag_bytes(head)),
            lag_commits: state.lag_commits(head),
            checkpoint: held.iter().find(|copy| copy.name == state.name).and_then(|copy| copy.newest),
            evidence_age: state.log.evidence.map(|e| now.since(Moment::new(e.wall, e.steady)).into()),
        });
        let copies = copies.chain(self.absent()).collect();
        system.report(Some(head), domains, copies, &lock(&system.state))
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

    /// What a copy holds of the log, in the words of the window's arithmetic.
    fn held_by(&self, state: &rpo_replication::CopyState) -> Option<CopyState> {
        let copy = self.copies.iter().find(|copy| copy.name == state.name)?;
        let run = state.log.position.map(|to| LogRun { from: Lsn::ZERO, to });
        Some(CopyState {
            name: state.name.clone(),
            survives: self.survives(copy),
            bases: vec![Position::START],
            log: run.into_iter().collect(),
            proven_at: state.log.evidence.map(|e| Moment::new(e.wall, e.steady)),
        })
    }

    fn is_declared(&self, system: &System, by: &[rpo_core::CopyName]) -> bool {
        let all = self.copies.iter().zip(&system.declared);
        !by.is_empty() && all.filter(|(copy, _)| by.contains(&copy.name)).all(|(_, declared)| *declared)
    }

    /// Counts the sample, and tells when a promise was broken or is in danger.
    fn count(&self, report: &StatusReport) {
        let mut counts = lock(&self.counts);
        counts.samples += 1;
        let bad = |status: Status| matches!(status, Status::Breached | Status::Unknown);
        if !report.systems.iter().any(|system| bad(system.status)) {
            counts.kept += 1;
        }
        for system in &report.systems {
            for domain in &system.domains {
                let Some(limit) = domain.limit else { continue };
                let key = (system.name.clone(), domain.loss.domain);
                let breached = domain.status == Status::Breached;
                let before = counts.breached.insert(key, breached).unwrap_or(false);
                if breached && !before {
                    counts.violations += 1;
                    let window = match domain.loss.window {
                        Window::None => Some(HumanDuration::ZERO),
                        Window::Age(age) => Some(age),
                        Window::Unknown { bound } => bound,
                    };
                    let measured = Measured { domain: domain.loss.domain, window, limit };
                    self.teller.tell(Some(&system.name), EventKind::RpoViolation { measured });
                }
            }
        }
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

impl System {
    /// How old evidence may be before it is none.
    fn fresh_within(&self, domain: Domain, sample_every: Duration) -> Duration {
        match self.objective.as_ref().and_then(|o| Some((o, o.limit(domain)?))) {
            Some((objective, limit)) => {
                Evidence::fresh_within(objective.monitor_interval.get().max(sample_every), &limit)
            }
            None => (sample_every * 4).max(Duration::from_secs(60)),
        }
    }

    fn judge(&self, loss: &LossReport) -> Status {
        // Nothing was ever seen: neither by this run, nor by one that left its memory.
        if let Measure::Polled(timeline) = &self.measure
            && lock(&self.state).newest.is_none()
            && lock(timeline).protected_since(u64::MAX).is_none()
        {
            return Status::Pending;
        }
        match self.objective.as_ref().and_then(|o| o.limit(loss.domain)) {
            Some(limit) => judge(loss, &limit),
            None => Status::Healthy, // nothing was promised, so nothing is broken
        }
    }

    fn report(
        &self,
        head: Option<Position>,
        domains: Vec<DomainReport>,
        copies: Vec<CopyReport>,
        state: &State,
    ) -> SystemReport {
        SystemReport {
            name: self.name.clone(),
            kind: self.kind.clone(),
            status: worst(domains.iter().map(|domain| domain.status)),
            head,
            checkpoint: state.newest.map(|number| CheckpointId { source: self.name.clone(), number }),
            domains,
            copies,
            trouble: state.trouble.clone(),
        }
    }
}

fn health(health: &Health) -> String {
    match health {
        Health::Unknown => "not heard of yet".to_owned(),
        Health::Good => "good".to_owned(),
        Health::Failing { error, .. } => format!("failing: {error}"),
        Health::Paused => "paused".to_owned(),
        Health::Fenced => "fenced".to_owned(),
    }
}

fn health_of(trouble: Option<&String>, was_seen: bool) -> String {
    match trouble {
        Some(trouble) => format!("failing: {trouble}"),
        None if was_seen => "good".to_owned(),
        None => "not heard of yet".to_owned(),
    }
}
