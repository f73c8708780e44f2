//! What can be watched, what can be observed, and what a rule makes of an observation.

use std::fmt;
use std::time::Duration;

use rpo_core::error::Problems;
use rpo_core::window::judge;
use rpo_core::{ConfigError, CopyName, Domain, HumanDuration, Limit, LossReport, SourceId, Status, Window};
use serde::{Deserialize, Serialize};

/// One thing that is watched about one system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Rule {
    /// The loss window of a failure domain against its limit. Without recent evidence it is unknown.
    Rpo {
        /// Which domain.
        domain: Domain,
        /// Most data loss, with its marks.
        limit: Limit,
    },
    /// How far a copy is behind. A copy that is expected and not seen is unknown.
    CopyLag {
        /// Which copy.
        copy: CopyName,
        /// Most lag, with its marks.
        limit: Limit,
    },
    /// The age of the last checkpoint that was completed.
    CheckpointLate {
        /// Greatest age, with its marks.
        limit: Limit,
    },
    /// Jobs of a kind (`backup`, `verify`, `drill`, …) end well: one failure is critical.
    JobFailed {
        /// Which kind of job.
        job: String,
    },
    /// How full a store is.
    StoreUse {
        /// The copy whose store it is.
        copy: CopyName,
        /// Above this share it is a warning, percent.
        warning_percent: u16,
        /// Above this share it is critical, percent.
        critical_percent: u16,
    },
    /// How far a wall clock is off, either way.
    ClockSkew {
        /// Most skew, with its marks.
        limit: Limit,
    },
}

impl Rule {
    /// Its name, as used in keys and texts.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Rpo { .. } => "rpo",
            Self::CopyLag { .. } => "copy-lag",
            Self::CheckpointLate { .. } => "checkpoint-late",
            Self::JobFailed { .. } => "job-failed",
            Self::StoreUse { .. } => "store-use",
            Self::ClockSkew { .. } => "clock-skew",
        }
    }

    /// True if it is about things that happen, not about a number that is always there: one sample settles it.
    pub(crate) const fn is_fact(&self) -> bool {
        matches!(self, Self::JobFailed { .. })
    }

    /// What within the system it is about: a domain, a copy, a job; empty if the system as a whole.
    pub fn subject(&self) -> &str {
        match self {
            Self::Rpo { domain, .. } => domain.as_str(),
            Self::CopyLag { copy, .. } | Self::StoreUse { copy, .. } => copy.as_str(),
            Self::JobFailed { job } => job,
            Self::CheckpointLate { .. } | Self::ClockSkew { .. } => "",
        }
    }

    /// Whether its numbers make sense.
    ///
    /// # Errors
    /// All broken rules together.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::new();
        match self {
            Self::Rpo { limit, .. }
            | Self::CopyLag { limit, .. }
            | Self::CheckpointLate { limit }
            | Self::ClockSkew { limit } => {
                let Limit { alert, critical, most } = *limit;
                let rule = format!("must not be past critical, {critical}");
                problems.require(alert <= critical, "limit.alert", alert, rule);
                let rule = format!("must not be past most, {most}");
                problems.require(critical <= most, "limit.critical", critical, rule);
                let zero_allowed = matches!(self, Self::Rpo { .. });
                let rule = "must be more than zero: only an rpo may be zero";
                problems.require(zero_allowed || !limit.is_zero(), "limit.most", most, rule);
            }
            Self::StoreUse { warning_percent, critical_percent, .. } => {
                let rule = format!("must not be past critical-percent, {critical_percent}");
                problems.require(
                    warning_percent <= critical_percent,
                    "warning-percent",
                    warning_percent,
                    rule,
                );
                let whole = "must be at most 100";
                problems.require(*critical_percent <= 100, "critical-percent", critical_percent, whole);
            }
            Self::JobFailed { job } => {
                problems.require(!job.is_empty(), "job", "nothing", "must name a kind of job")
            }
        }
        problems.finish()
    }

    /// What it makes of an observation; none if the observation is about something else.
    ///
    /// `margin_percent` is how much worse, in points of the limit, the second of the two judgements takes it to be.
    pub fn judge(&self, observation: &Observation, margin_percent: u16) -> Option<Verdict> {
        let timed = |limit: &Limit, value: Option<HumanDuration>| {
            let window = value.map_or(Window::Unknown { bound: None }, Window::Age);
            Verdict::of(
                window_status(window, limit),
                window_status(worse(window, limit, margin_percent), limit),
            )
        };
        Some(match (self, observation) {
            (Self::Rpo { domain, limit }, Observation::Loss(report)) if *domain == report.domain => {
                let pessimistic =
                    LossReport { window: worse(report.window, limit, margin_percent), ..report.clone() };
                Verdict::of(judge(report, limit), judge(&pessimistic, limit))
            }
            (Self::CopyLag { copy, limit }, Observation::CopyLag { copy: seen, lag }) if copy == seen => {
                timed(limit, *lag)
            }
            (Self::CheckpointLate { limit }, Observation::CheckpointAge { age }) => timed(limit, *age),
            (Self::ClockSkew { limit }, Observation::ClockSkew { skew }) => timed(limit, *skew),
            (Self::JobFailed { job }, Observation::JobEnded { job: ended, failed }) if job == ended => {
                let status = if *failed { Status::Critical } else { Status::Healthy };
                Verdict::of(status, status)
            }
            (
                Self::StoreUse { copy, warning_percent, critical_percent },
                Observation::StoreUse { copy: seen, used_percent },
            ) if copy == seen => {
                let status = |used: u16| match used {
                    _ if used > *critical_percent => Status::Critical,
                    _ if used > *warning_percent => Status::Warning,
                    _ => Status::Healthy,
                };
                used_percent.map_or(Verdict::of(Status::Unknown, Status::Unknown), |used| {
                    Verdict::of(
                        status(used),
                        status(used.saturating_add(margin_percent.min(warning_percent / 2))),
                    )
                })
            }
            _ => return None,
        })
    }
}

/// As [`judge`] does, for a duration that is no loss report.
fn window_status(window: Window, limit: &Limit) -> Status {
    match window {
        Window::Unknown { .. } => Status::Unknown,
        Window::None => Status::Healthy,
        Window::Age(age) if age <= limit.alert => Status::Healthy,
        Window::Age(age) if age <= limit.critical => Status::Warning,
        Window::Age(age) if age <= limit.most => Status::Critical,
        Window::Age(_) => Status::Breached,
    }
}

/// The window, longer by this share of the limit, but by no more than half the alert mark: else a low mark could never
/// be left. None stays none: an idle system has nothing to be calmer about.
fn worse(window: Window, limit: &Limit, margin_percent: u16) -> Window {
    match window {
        Window::Age(age) => {
            let margin = limit.most.get().saturating_mul(u32::from(margin_percent)) / 100;
            Window::Age(age.get().saturating_add(margin.min(limit.alert.get() / 2)).into())
        }
        other => other,
    }
}

/// What a rule makes of an observation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// How it stands.
    pub status: Status,
    /// How it would stand if it were worse by the margin: an alert eases only to this.
    pub at_worst: Status,
}

impl Verdict {
    fn of(status: Status, at_worst: Status) -> Self {
        Self { status, at_worst }
    }
}

/// A rule of one system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    /// Which system.
    pub system: SourceId,
    /// What is watched about it.
    pub rule: Rule,
}

impl Watch {
    /// Watches `rule` for `system`.
    pub fn new(system: SourceId, rule: Rule) -> Self {
        Self { system, rule }
    }
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Observation {
    /// What would be lost with a domain.
    Loss(LossReport),
    /// How far a copy is behind; none: it was expected and not seen.
    CopyLag {
        /// Which copy.
        copy: CopyName,
        /// By how much.
        lag: Option<HumanDuration>,
    },
    /// How old the last completed checkpoint is; none: there is none.
    CheckpointAge {
        /// Its age.
        age: Option<HumanDuration>,
    },
    /// A job ended.
    JobEnded {
        /// Which kind of job.
        job: String,
        /// Whether it failed.
        failed: bool,
    },
    /// How full a store is; none: it does not say.
    StoreUse {
        /// The copy whose store it is.
        copy: CopyName,
        /// Used share, percent.
        used_percent: Option<u16>,
    },
    /// How far a wall clock is off, either way; none: it could not be compared.
    ClockSkew {
        /// By how much.
        skew: Option<HumanDuration>,
    },
}

impl Observation {
    /// The number seen.
    pub fn reading(&self) -> Reading {
        match self {
            Self::Loss(report) => Reading::Window(report.window),
            Self::CopyLag { lag: value, .. }
            | Self::CheckpointAge { age: value }
            | Self::ClockSkew { skew: value } => value.map_or(Reading::Nothing, Reading::Time),
            Self::JobEnded { failed, .. } => Reading::Failed(*failed),
            Self::StoreUse { used_percent, .. } => used_percent.map_or(Reading::Nothing, Reading::Percent),
        }
    }
}

/// An observation of one system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Which system.
    pub system: SourceId,
    /// What was seen.
    pub observation: Observation,
}

impl Sample {
    /// `observation` of `system`.
    pub fn new(system: SourceId, observation: Observation) -> Self {
        Self { system, observation }
    }
}

/// A number that was seen, as it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reading {
    /// Nothing was seen.
    Nothing,
    /// A loss window.
    Window(Window),
    /// A time: a lag, an age, a skew.
    Time(HumanDuration),
    /// A share, percent.
    Percent(u16),
    /// Whether something failed.
    Failed(bool),
}

impl Reading {
    /// For finding the worst of several of one rule.
    pub(crate) fn magnitude(self) -> Duration {
        match self {
            Self::Nothing | Self::Failed(_) | Self::Window(Window::None) => Duration::ZERO,
            Self::Window(Window::Age(time)) | Self::Time(time) => time.get(),
            Self::Window(Window::Unknown { bound }) => bound.map_or(Duration::ZERO, HumanDuration::get),
            Self::Percent(percent) => Duration::from_secs(u64::from(percent)),
        }
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.pad("nothing seen"),
            Self::Window(window) => window.fmt(f),
            Self::Time(time) => time.fmt(f),
            Self::Percent(percent) => f.pad(&format!("{percent} %")),
            Self::Failed(true) => f.pad("failed"),
            Self::Failed(false) => f.pad("done"),
        }
    }
}
