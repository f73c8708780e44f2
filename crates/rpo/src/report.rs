//! What is said about the present: per system and failure domain, as a bound with the time it was taken.

use std::fmt;
use std::time::Duration;

use rpo_core::objective::{Domain, Limit, Status};
use rpo_core::window::{LossReport, Window, judge};
use rpo_core::{CheckpointId, CopyName, HumanDuration, Position, SourceId, Timestamp};
use serde::{Deserialize, Serialize};

/// Version of the shape of every JSON document `rpo` prints.
pub const SCHEMA_VERSION: u32 = 0;

/// Everything that is known at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StatusReport {
    /// Version of this shape.
    pub schema_version: u32,
    /// When it was taken; what was acknowledged later is not in it.
    pub taken_at: Timestamp,
    /// Whether more will follow: false for the last one of a daemon that was stopped, and for one taken without a daemon.
    #[serde(default)]
    pub live: bool,
    /// Whether anything was promised about anything.
    #[serde(default)]
    pub promised: bool,
    /// Which configuration it is of: its copies and systems. Absent from a program that was not made from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<String>,
    /// What a reader should know about this report, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The worst of all systems about which something was promised; `pending` if nothing was.
    pub overall: Status,
    /// Each system.
    pub systems: Vec<SystemReport>,
}

/// One system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SystemReport {
    /// Its name.
    pub name: SourceId,
    /// What sort of source it is.
    pub kind: String,
    /// Whether anything was promised about it.
    #[serde(default)]
    pub promised: bool,
    /// The worst of its domains about which something was promised; `pending` if nothing was.
    pub status: Status,
    /// Where its history stands; none for things without a log.
    pub head: Option<Position>,
    /// Its newest checkpoint.
    pub checkpoint: Option<CheckpointId>,
    /// Each failure domain.
    pub domains: Vec<DomainReport>,
    /// Each copy.
    pub copies: Vec<CopyReport>,
    /// What went wrong last, if nothing has gone right since.
    pub trouble: Option<String>,
}

/// One failure domain of one system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DomainReport {
    /// What would be lost, with its time.
    #[serde(flatten)]
    pub loss: LossReport,
    /// How that stands against what was promised; `pending` while nothing is.
    pub status: Status,
    /// The agreed ceiling, if any.
    pub limit: Option<HumanDuration>,
    /// Up to where the history is protected; none for things without a log.
    pub protected: Option<Position>,
    /// The copies that survive the loss of the domain, by what their labels declare; none: everything would be lost.
    pub survivors: Vec<CopyName>,
    /// The copies that prove it.
    pub by: Vec<CopyName>,
    /// True if the independence of these copies is declared and not shown.
    pub declared: bool,
}

/// One copy, as seen from one system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CopyReport {
    /// Its name.
    pub name: CopyName,
    /// Home or mirror.
    pub role: String,
    /// `good`, `missing: …` (its newest checkpoint is not there any more), `damaged: …` (something it had is missing), `failing: …`, `fenced`, `paused`, or `not heard of yet`.
    pub health: String,
    /// Up to where it holds the log.
    pub log: Option<Position>,
    /// Bytes of log it lacks.
    pub lag_bytes: Option<u64>,
    /// Commits it lacks.
    pub lag_commits: Option<u64>,
    /// Number of the newest checkpoint that is whole there.
    pub checkpoint: Option<u64>,
    /// Age of the evidence.
    pub evidence_age: Option<HumanDuration>,
}

impl StatusReport {
    /// Puts the systems together.
    pub fn new(taken_at: Timestamp, systems: Vec<SystemReport>) -> Self {
        let mut report = Self {
            schema_version: SCHEMA_VERSION,
            taken_at,
            live: false,
            promised: false,
            configuration: None,
            note: None,
            overall: unpromised(),
            systems,
        };
        report.sum_up();
        report
    }

    /// Works out anew what is said of the whole.
    pub fn sum_up(&mut self) {
        for system in &mut self.systems {
            system.sum_up();
        }
        self.promised = self.systems.iter().any(|system| system.promised);
        let promised = self.systems.iter().filter(|system| system.promised);
        self.overall = worst(promised.map(|system| system.status));
    }

    /// The same report read at `now`: windows and evidence have aged since it was taken, and what was judged by them too.
    #[must_use]
    pub fn aged(mut self, now: Timestamp) -> Self {
        let later = now.since(self.taken_at);
        for domain in self.systems.iter_mut().flat_map(|system| &mut system.domains) {
            domain.age(later);
        }
        self.sum_up();
        self
    }
}

impl DomainReport {
    /// A number nobody has renewed is a bound, and no longer good news.
    fn age(&mut self, later: Duration) {
        if later > Duration::from_secs(60).max(self.limit.map_or(Duration::ZERO, |limit| limit.get() / 2)) {
            let bound = self.loss.at_most(later).map(HumanDuration::from);
            self.loss.window = Window::Unknown { bound };
            if self.limit.is_some() {
                self.status = Status::Unknown;
            }
        } else if let Window::Age(age) = self.loss.window {
            self.loss.window = Window::Age(age.get().saturating_add(later).into());
        }
        self.loss.evidence_age = self.loss.evidence_age.map(|age| age.get().saturating_add(later).into());
        // Time alone can break a promise; it never mends one.
        if let Some(limit) = self.limit
            && !matches!(self.status, Status::Pending | Status::Paused)
        {
            let aged = judge(&self.loss, &Limit::new(limit.get()));
            if matches!(aged, Status::Breached | Status::Unknown) {
                self.status = worst([self.status, aged].into_iter());
            }
        }
    }
}

/// The worst of several; without any, nothing was promised.
fn worst(statuses: impl Iterator<Item = Status>) -> Status {
    statuses.max_by_key(|status| status.rank()).unwrap_or(unpromised())
}

/// Bytes at risk of a source that is looked at now and then: `detected` are those that scans read after the protected one,
/// each time anew, so the size of all bounds them. What changed since the last scan, nobody has counted: that is unknown,
/// not zero. Where nothing is protected, all of it is at risk.
pub(crate) fn polled_risk(detected: Option<u64>, protected: bool, content: Option<u64>) -> Option<u64> {
    if !protected {
        return content;
    }
    let detected = detected.filter(|bytes| *bytes > 0)?;
    Some(content.map_or(detected, |content| detected.min(content)))
}

/// How stands what nothing was promised about: it is neither kept nor broken.
pub(crate) const fn unpromised() -> Status {
    Status::Pending
}

impl fmt::Display for DomainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { loss, status, limit, .. } = self;
        write!(f, "{}: {} ({status}", loss.domain, loss.window)?;
        if let Some(limit) = limit {
            write!(f, ", at most {limit} promised")?;
        }
        f.write_str(")")
    }
}

impl SystemReport {
    pub(crate) fn new(
        name: SourceId,
        kind: String,
        domains: Vec<DomainReport>,
        copies: Vec<CopyReport>,
    ) -> Self {
        let (promised, status) = (false, unpromised());
        let (head, checkpoint, trouble) = (None, None, None);
        let mut report = Self { name, kind, promised, status, head, checkpoint, domains, copies, trouble };
        report.sum_up();
        report
    }

    fn sum_up(&mut self) {
        let promised = || self.domains.iter().filter(|domain| domain.limit.is_some());
        (self.promised, self.status) =
            (promised().next().is_some(), worst(promised().map(|domain| domain.status)));
    }

    /// The report of that domain.
    pub fn domain(&self, domain: Domain) -> Option<&DomainReport> {
        self.domains.iter().find(|report| report.loss.domain == domain)
    }
}

impl CopyReport {
    /// What a person has to do about a home that has lost something: nothing mends it by itself.
    pub(crate) fn home_damage(&self) -> Option<String> {
        if let Some(missing) = self.health.strip_prefix("missing: ") {
            return Some(format!(
                "copy {}, which is home, does not have what it had: {missing}; next: look whether its disk is mounted and \
                 its directory is where it was; if it is lost, let another copy be home, then rpo init",
                self.name
            ));
        }
        let damage = self.health.strip_prefix("damaged: ")?;
        Some(format!(
            "copy {}, which is home, is damaged: {damage}; next: rpo verify names what that costs; put the objects back from a \
             copy that has them, or let such a copy be home and give this one a new place, then rpo init",
            self.name
        ))
    }
}
