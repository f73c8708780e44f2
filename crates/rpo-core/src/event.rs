//! Events: what happened, typed, each with the name people know it by.
//!
//! A name is `family.what`, in kebab-case: `backup.started`, `replication.rpo-warning`, `restore.completed`. In JSON an
//! event is one flat object, its name under `kind`. Tagged this way it does not travel through [`crate::codec`].

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::objective::{Domain, Enforcement, Status};
use crate::time::ClockAnomaly;
use crate::{CheckpointId, CopyName, Epoch, HumanDuration, Position, SourceId, Target, Timestamp};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Event {
    /// Its number in the run of events it belongs to, dense from 1: a missing number is a missing event.
    pub number: u64,
    /// When it happened.
    pub time: Timestamp,
    /// Which protected system it is about; none: the whole installation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<SourceId>,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.time, self.kind.name())?;
        match &self.system {
            Some(system) => write!(f, " {system}"),
            None => Ok(()),
        }
    }
}

/// How far along a piece of work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Progress {
    /// Bytes dealt with.
    pub bytes_done: u64,
    /// Bytes in all; none while that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_total: Option<u64>,
    /// Files, chunks or commits dealt with, whichever the work counts.
    pub items_done: u64,
}

/// A window beside its limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Measured {
    /// For which failure domain.
    pub domain: Domain,
    /// What was measured; none: unknown.
    pub window: Option<HumanDuration>,
    /// What is allowed.
    pub limit: HumanDuration,
}

macro_rules! events {
    ($($(#[$doc:meta])* $name:literal $kind:ident $({ $($(#[$field_doc:meta])* $field:ident: $type:ty),+ $(,)? })?),+ $(,)?) => {
        /// What happened. The name in JSON is the one [`EventKind::name`] gives.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(tag = "kind", rename_all_fields = "kebab-case")]
        #[non_exhaustive]
        pub enum EventKind {
            $($(#[$doc])* #[serde(rename = $name)] $kind $({ $($(#[$field_doc])* $field: $type),+ })?),+
        }

        impl EventKind {
            /// The names of all events, in the order of their families.
            pub const NAMES: &[&str] = &[$($name),+];

            /// The name people know it by: `backup.started`, `replication.rpo-violation`, …
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$kind { .. } => $name),+ }
            }
        }
    };
}

events! {
    /// A checkpoint is being made.
    "backup.started" BackupStarted {
        /// Which one it will be.
        checkpoint: CheckpointId,
    },
    /// It goes on.
    "backup.progress" BackupProgress {
        /// Which one it will be.
        checkpoint: CheckpointId,
        /// How far it is.
        progress: Progress,
    },
    /// It is real: its manifest is durable at home.
    "backup.completed" BackupCompleted {
        /// Which one.
        checkpoint: CheckpointId,
        /// Bytes newly stored for it.
        bytes_added: u64,
        /// Start to end.
        took: HumanDuration,
    },
    /// It was not made; earlier ones are untouched.
    "backup.failed" BackupFailed {
        /// Which one it would have been.
        checkpoint: CheckpointId,
        /// Why, for people.
        reason: String,
    },
    /// It was read back and is whole.
    "backup.validated" BackupValidated {
        /// Which one.
        checkpoint: CheckpointId,
        /// Bytes read back.
        bytes_read: u64,
    },
    /// A copy is being brought up to date.
    "replication.started" ReplicationStarted {
        /// Which copy.
        copy: CopyName,
    },
    /// It goes on.
    "replication.progress" ReplicationProgress {
        /// Which copy.
        copy: CopyName,
        /// How far its log reaches, if it is of a stream.
        upto: Option<Position>,
        /// How far it is.
        progress: Progress,
    },
    /// More than the alert mark of the limit is at risk.
    "replication.rpo-warning" RpoWarning {
        /// Window and limit.
        measured: Measured,
    },
    /// More than the limit is at risk.
    "replication.rpo-violation" RpoViolation {
        /// Window and limit.
        measured: Measured,
    },
    /// A copy is no longer reached.
    "replication.region-failed" RegionFailed {
        /// Which copy.
        copy: CopyName,
        /// Why, for people.
        reason: String,
    },
    /// A copy does not hold what it should.
    "replication.validation-failed" ReplicationValidationFailed {
        /// Which copy.
        copy: CopyName,
        /// What is wrong, for people.
        reason: String,
    },
    /// A synchronous promise was given up for now, by policy. A breach.
    "replication.degraded" ReplicationDegraded {
        /// For which failure domain.
        domain: Domain,
        /// Why, for people.
        reason: String,
    },
    /// A newer writer owns the stream.
    "replication.fenced" ReplicationFenced {
        /// Whose epoch was ended.
        epoch: Epoch,
        /// The epoch that owns it now.
        by: Epoch,
    },
    /// A restore was asked for and planned.
    "restore.initiated" RestoreInitiated {
        /// What was asked for.
        target: Target,
        /// Where to, for people.
        into: String,
    },
    /// It goes on.
    "restore.progress" RestoreProgress {
        /// How far it is.
        progress: Progress,
    },
    /// It is in place.
    "restore.completed" RestoreCompleted {
        /// Commit time of the last commit in it.
        reached: Timestamp,
        /// Start to end.
        took: HumanDuration,
    },
    /// Nothing was put in place.
    "restore.failed" RestoreFailed {
        /// Why, for people.
        reason: String,
    },
    /// Somebody stopped it; nothing was put in place.
    "restore.cancelled" RestoreCancelled,
    /// What was restored passed its checks.
    "restore.validated" RestoreValidated {
        /// How many checks were run.
        checks: u32,
    },
    /// A restore would take longer than is promised, or nearly.
    "alert.rto-warning" RtoWarning {
        /// What it would take.
        estimate: HumanDuration,
        /// What is promised.
        limit: HumanDuration,
    },
    /// More than the critical mark of the limit is at risk.
    "alert.rpo-critical" RpoCritical {
        /// Window and limit.
        measured: Measured,
    },
    /// Too many checkpoints fail.
    "alert.backup-failure-rate" BackupFailureRate {
        /// Failed, of the last `attempts`.
        failed: u32,
        /// How many were looked at.
        attempts: u32,
    },
    /// A copy is behind.
    "alert.replication-lag" ReplicationLag {
        /// Which copy.
        copy: CopyName,
        /// By how much; none: unknown.
        lag: Option<HumanDuration>,
    },
    /// How a system stands has changed.
    "status.changed" StatusChanged {
        /// For which failure domain.
        domain: Domain,
        /// How it stood.
        from: Status,
        /// How it stands.
        to: Status,
    },
    /// Writes are held, delayed or let go.
    "enforcement.changed" EnforcementChanged {
        /// What is done now.
        mode: Enforcement,
        /// Whether writes are held.
        held: bool,
        /// Why, for people.
        reason: String,
    },
    /// The wall clock moved otherwise than the steady clock.
    "clock.anomaly" ClockStepped {
        /// By how much.
        anomaly: ClockAnomaly,
    },
    /// An act was written to the audit trail.
    "audit.logged" AuditLogged {
        /// Who acted.
        actor: String,
        /// What was done.
        action: String,
    },
    /// The parts were looked at.
    "health-check.completed" HealthCheckCompleted {
        /// Whether all is well.
        healthy: bool,
        /// What is not, for people.
        problems: Vec<String>,
    },
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: EventKind) -> Event {
        let system = Some(SourceId::new("docs").unwrap());
        Event { number: 7, time: Timestamp::from_micros(1_000_000), system, kind }
    }

    fn measured() -> Measured {
        let (window, limit) = (Some(HumanDuration::from_secs(6)), HumanDuration::from_secs(5));
        Measured { domain: Domain::Machine, window, limit }
    }

    #[test]
    fn an_event_is_one_flat_object_that_reads_back() {
        let event = event(EventKind::RpoViolation { measured: measured() });

        let json = serde_json::to_string(&event).unwrap();

        assert_eq!(
            json,
            r#"{"number":7,"time":"1970-01-01T00:00:01.000000Z","system":"docs","kind":"replication.rpo-violation","measured":{"domain":"machine","window":"6s","limit":"5s"}}"#
        );
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
    }

    #[test]
    fn the_name_in_json_is_the_name_told() {
        let checkpoint: CheckpointId = "docs@12".parse().unwrap();
        let copy = CopyName::new("far").unwrap();
        let kinds = [
            EventKind::BackupStarted { checkpoint: checkpoint.clone() },
            EventKind::BackupCompleted { checkpoint, bytes_added: 9, took: HumanDuration::from_secs(3) },
            EventKind::RegionFailed { copy, reason: "no answer".to_owned() },
            EventKind::RestoreInitiated { target: Target::Latest, into: "/srv/x".to_owned() },
            EventKind::RestoreCancelled,
            EventKind::RpoCritical { measured: measured() },
            EventKind::HealthCheckCompleted { healthy: true, problems: Vec::new() },
        ];
        for kind in kinds {
            let event = event(kind);
            let json: serde_json::Value = serde_json::to_value(&event).unwrap();
            assert_eq!(json["kind"], event.kind.name());
            assert!(EventKind::NAMES.contains(&event.kind.name()));
            assert_eq!(serde_json::from_value::<Event>(json).unwrap(), event);
        }
    }

    #[test]
    fn every_promised_name_is_there_once() {
        let promised = [
            ("backup", "started progress completed failed validated"),
            ("replication", "started progress rpo-warning rpo-violation region-failed validation-failed"),
            ("restore", "initiated progress completed failed cancelled validated"),
            ("alert", "rto-warning rpo-critical backup-failure-rate replication-lag"),
            ("audit", "logged"),
            ("health-check", "completed"),
        ];
        for (family, names) in promised {
            for name in names.split(' ') {
                let name = format!("{family}.{name}");
                assert_eq!(EventKind::NAMES.iter().filter(|found| **found == name).count(), 1, "{name}");
            }
        }
    }

    #[test]
    fn an_event_nobody_knows_is_refused() {
        let json = r#"{"number":7,"time":"1970-01-01T00:00:01Z","kind":"backup.eaten"}"#;
        assert!(serde_json::from_str::<Event>(json).is_err());
    }
}
