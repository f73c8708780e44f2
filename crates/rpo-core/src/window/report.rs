//! The report: what is known of one domain, turned into a window, and judged.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{CommitTimeline, Moment, Oldest, Protected};
use crate::objective::{Domain, Limit, Status};
use crate::{HumanDuration, Position, Timestamp};

/// How long the oldest commit that would be lost has been waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Window {
    /// No acknowledged commit would be lost.
    None,
    /// The first that would be lost is this old.
    Age(HumanDuration),
    /// There is no recent evidence.
    Unknown {
        /// It is at most this; none: nothing at all can be said.
        bound: Option<HumanDuration>,
    },
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.pad("none"),
            Self::Age(age) => age.fmt(f),
            Self::Unknown { bound: Some(bound) } => f.pad(&format!("unknown (at most {bound})")),
            Self::Unknown { bound: None } => f.pad("unknown"),
        }
    }
}

/// What would be lost with a domain: a bound, with the time at which it was one.
///
/// Whatever was acknowledged after `taken_at` is not in it: add the time since ([`LossReport::at_most`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LossReport {
    /// What is taken to be lost.
    pub domain: Domain,
    /// How long the oldest endangered commit has been waiting.
    pub window: Window,
    /// Commits that would be lost; none where commits are not counted (foreign and polled sources), never zero instead.
    pub commits_at_risk: Option<u64>,
    /// Bytes of log (or of detected changes) that would be lost; none where unknown.
    pub bytes_at_risk: Option<u64>,
    /// When the head was looked at.
    pub taken_at: Timestamp,
    /// How old the older half of the evidence (head, or copies) is; none if there is none.
    pub evidence_age: Option<HumanDuration>,
}

impl LossReport {
    /// The most that is lost if the domain goes `later` than `taken_at`; none if nothing can be said.
    pub fn at_most(&self, later: Duration) -> Option<Duration> {
        let now = match self.window {
            Window::None => Duration::ZERO,
            Window::Age(age) => age.get(),
            Window::Unknown { bound } => bound?.get(),
        };
        Some(now.saturating_add(later))
    }
}

/// What is known about one stream and one domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// What is taken to be lost.
    pub domain: Domain,
    /// H: the last position acknowledged at any level.
    pub head: Position,
    /// When H was looked at.
    pub seen: Moment,
    /// P(D); none if nothing is protected, or was ever seen to be.
    pub protected: Option<Protected>,
    /// The first commit at or after P.
    pub oldest: Oldest,
    /// Evidence older than this is none. Usual: [`Evidence::fresh_within`].
    pub fresh_within: Duration,
}

impl Evidence {
    /// Puts together what the timeline (its head as of `seen`) and the copies say.
    pub fn gather(
        domain: Domain,
        timeline: &CommitTimeline,
        seen: Moment,
        protected: Option<Protected>,
        fresh_within: Duration,
    ) -> Self {
        let oldest = timeline.oldest_from(protected.as_ref().map(|protected| protected.upto));
        Self { domain, head: timeline.head(), seen, protected, oldest, fresh_within }
    }

    /// How old evidence may be: two looks, or half the limit if that is longer.
    pub fn fresh_within(monitor_interval: Duration, limit: &Limit) -> Duration {
        monitor_interval.saturating_mul(2).max(limit.most.get() / 2)
    }

    /// The window as of `now`.
    pub fn report(&self, now: Moment) -> LossReport {
        let waiting = match self.oldest {
            Oldest::None => Some(Duration::ZERO),
            Oldest::Since(first) => Some(now.since(first)),
            Oldest::Undated => None,
        };
        let proven = match &self.protected {
            None => Some(self.seen), // nothing protected needs no proof
            Some(protected) => protected.proven_at,
        };
        let evidence_age = proven.map(|proven| now.since(proven).max(now.since(self.seen)));
        let window = match (waiting, evidence_age) {
            (Some(waiting), Some(age)) if age > self.fresh_within => {
                Window::Unknown { bound: Some(waiting.max(age).into()) }
            }
            (Some(_), Some(_)) if self.oldest == Oldest::None => Window::None,
            (Some(waiting), Some(_)) => Window::Age(waiting.into()),
            _ => Window::Unknown { bound: None },
        };
        let (commits_at_risk, bytes_at_risk) = self.at_risk();
        LossReport {
            domain: self.domain,
            window,
            commits_at_risk,
            bytes_at_risk: Some(bytes_at_risk),
            taken_at: self.seen.wall(),
            evidence_age: evidence_age.map(HumanDuration::from),
        }
    }

    /// Commits and bytes in [P, H). Markers alone are nothing at risk.
    fn at_risk(&self) -> (Option<u64>, u64) {
        let protected = self.protected.as_ref().map(|protected| protected.upto);
        let commits = match (self.head.sequence, protected) {
            (Some(head), None) => Some(head.get()),
            (Some(head), Some(protected)) => protected.sequence.map(|sequence| head.commits_since(sequence)),
            (None, _) => None,
        };
        if self.oldest == Oldest::None {
            return (commits.map(|_| 0), 0);
        }
        (commits, self.head.lsn.bytes_since(protected.map_or(crate::Lsn::ZERO, |protected| protected.lsn)))
    }
}

/// How a window stands against a limit: at most the alert mark healthy, at most the critical mark warning, at most the
/// limit critical, else breached. Where nothing may be lost, one endangered commit is a breach. Without evidence:
/// unknown, whatever the bound.
pub fn judge(report: &LossReport, limit: &Limit) -> Status {
    match report.window {
        Window::Unknown { .. } => Status::Unknown,
        Window::None => Status::Healthy,
        Window::Age(_) if limit.is_zero() => Status::Breached,
        Window::Age(age) if age <= limit.alert => Status::Healthy,
        Window::Age(age) if age <= limit.critical => Status::Warning,
        Window::Age(age) if age <= limit.most => Status::Critical,
        Window::Age(_) => Status::Breached,
    }
}

impl Limit {
    /// The share of the limit a window has used up, in whole percent, rounded up; none if unknown or if nothing may be
    /// lost, for which no ratio exists.
    pub fn used_percent(&self, window: Window) -> Option<u64> {
        let most = self.most.get().as_nanos();
        match window {
            _ if most == 0 => None,
            Window::None => Some(0),
            Window::Age(age) => u64::try_from((age.get().as_nanos() * 100).div_ceil(most)).ok(),
            Window::Unknown { .. } => None,
        }
    }
}

impl Status {
    /// How urgent it is: of several, the one that ranks highest speaks for all. Unknown ranks above warning.
    pub const fn rank(self) -> u8 {
        match self {
            Self::Healthy => 0,
            Self::Paused => 1,
            Self::Pending => 2,
            Self::Warning => 3,
            Self::Unknown => 4,
            Self::Critical => 5,
            Self::Breached => 6,
        }
    }
}
