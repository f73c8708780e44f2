//! What people are told about an alert.

use std::fmt;

use rpo_core::event::{EventKind, Measured};
use rpo_core::{HumanDuration, SourceId, Status, Timestamp, Window};
use serde::{Deserialize, Serialize};

use crate::{Reading, Rule};

/// Which alert: the same key is the same alert, in every sink.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AlertKey {
    /// Which system.
    pub system: SourceId,
    /// The rule's name.
    pub rule: String,
    /// What within the system: a domain, a copy, a job; empty if the whole.
    pub subject: String,
}

impl AlertKey {
    /// The key of `rule` in `system`.
    pub fn of(system: &SourceId, rule: &Rule) -> Self {
        Self { system: system.clone(), rule: rule.name().to_owned(), subject: rule.subject().to_owned() }
    }
}

impl fmt::Display for AlertKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.system, self.rule)?;
        if self.subject.is_empty() { Ok(()) } else { write!(f, " {}", self.subject) }
    }
}

/// What happened to an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Turn {
    /// All was well, and is not.
    Raised,
    /// It got worse.
    Worsened,
    /// It got better, and is not well yet.
    Eased,
    /// It is as it was.
    Repeated,
    /// All is well again.
    Resolved,
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Raised => "raised",
            Self::Worsened => "worsened",
            Self::Eased => "eased",
            Self::Repeated => "repeated",
            Self::Resolved => "resolved",
        })
    }
}

/// The time an alert was not well, up to now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Incident {
    /// When it began.
    pub since: Timestamp,
    /// How long it has lasted.
    pub duration: HumanDuration,
    /// The worst status reached.
    pub peak_status: Status,
    /// The worst reading.
    pub peak: Reading,
}

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Notice {
    /// Which alert.
    pub key: AlertKey,
    /// The rule behind it.
    pub rule: Rule,
    /// What happened to it.
    pub turn: Turn,
    /// How it stands now.
    pub status: Status,
    /// What was read last.
    pub reading: Reading,
    /// When this is told.
    pub time: Timestamp,
    /// The whole of it so far; when resolved, the whole of it.
    pub incident: Incident,
}

impl Notice {
    /// The event it is, for those that have a name: loss windows and copy lags that are not well.
    pub fn event(&self) -> Option<EventKind> {
        match (&self.rule, self.status) {
            (Rule::Rpo { domain, limit }, status) => {
                let window = match self.reading {
                    Reading::Window(Window::Age(age)) => Some(age),
                    Reading::Window(Window::None) => Some(HumanDuration::ZERO),
                    _ => None,
                };
                let measured = Measured { domain: *domain, window, limit: limit.most };
                match status {
                    Status::Warning => Some(EventKind::RpoWarning { measured }),
                    Status::Critical => Some(EventKind::RpoCritical { measured }),
                    Status::Breached => Some(EventKind::RpoViolation { measured }),
                    _ => None,
                }
            }
            (Rule::CopyLag { copy, .. }, status) if status != Status::Healthy => {
                let lag = if let Reading::Time(lag) = self.reading { Some(lag) } else { None };
                Some(EventKind::ReplicationLag { copy: copy.clone(), lag })
            }
            _ => None,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Incident { duration, peak_status, peak, .. } = self.incident;
        match self.turn {
            Turn::Resolved => {
                write!(f, "{}: resolved after {duration}, at worst {peak_status} ({peak})", self.key)
            }
            turn => write!(f, "{}: {}, {} ({turn}, for {duration})", self.key, self.status, self.reading),
        }
    }
}
