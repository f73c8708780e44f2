//! Counting samples, and telling of each change once: to listeners as an event, to people in the log.

use std::collections::BTreeMap;

use rpo_core::event::{EventKind, Measured};
use rpo_core::objective::{Domain, Status};
use rpo_core::window::Window;
use rpo_core::{HumanDuration, SourceId};

use super::super::{Shared, lock};
use crate::report::{DomainReport, StatusReport, SystemReport};

/// What was counted, and how everything stood last.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) samples: u64,
    pub(crate) kept: u64,
    pub(crate) violations: u64,
    stood: BTreeMap<(SourceId, Domain), Status>,
    troubles: BTreeMap<SourceId, String>,
}

/// A promised domain of a system that no longer stands as it stood.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Changed {
    system: SourceId,
    measured: Measured,
    from: Status,
    to: Status,
}

impl Counts {
    /// Promises that are breached now.
    pub(crate) fn breached(&self) -> u64 {
        self.stood.values().filter(|status| **status == Status::Breached).count() as u64
    }

    /// Takes a sample in; returns what stands otherwise than in the last. What stands pending at first is no change, and
    /// what is unknown of a system that has not had its first round is no news.
    fn take(&mut self, report: &StatusReport, settled: impl Fn(&SourceId) -> bool) -> Vec<Changed> {
        self.samples += 1;
        let bad = |system: &SystemReport| matches!(system.status, Status::Breached | Status::Unknown);
        if !report.systems.iter().any(bad) {
            self.kept += 1;
        }
        let mut changes = Vec::new();
        for system in &report.systems {
            for domain in &system.domains {
                let Some(measured) = measured(domain) else { continue };
                if domain.status == Status::Unknown && !settled(&system.name) {
                    continue;
                }
                let key = (system.name.clone(), domain.loss.domain);
                let from = self.stood.insert(key, domain.status).unwrap_or(Status::Pending);
                let to = domain.status;
                if to == Status::Breached && from != to {
                    self.violations += 1;
                }
                if from != to {
                    changes.push(Changed { system: system.name.clone(), measured, from, to });
                }
            }
        }
        changes
    }

    /// The troubles of systems that are new, or gone.
    fn troubles(&mut self, report: &StatusReport) -> Vec<(SourceId, Option<String>)> {
        let mut changes = Vec::new();
        for system in &report.systems {
            let before = match &system.trouble {
                Some(trouble) => self.troubles.insert(system.name.clone(), trouble.clone()),
                None => self.troubles.remove(&system.name),
            };
            if before != system.trouble {
                changes.push((system.name.clone(), system.trouble.clone()));
            }
        }
        changes
    }
}

fn measured(domain: &DomainReport) -> Option<Measured> {
    let window = match domain.loss.window {
        Window::None => Some(HumanDuration::ZERO),
        Window::Age(age) => Some(age),
        Window::Unknown { bound } => bound,
    };
    Some(Measured { domain: domain.loss.domain, window, limit: domain.limit? })
}

impl Shared {
    /// Counts the sample, and tells what has changed.
    /// Before the copies have `settled`, that something is unknown is no news.
    pub(super) fn count(&self, report: &StatusReport, settled: bool) {
        let (changes, troubles) = {
            let mut counts = lock(&self.counts);
            let settled = |name: &SourceId| {
                settled
                    && self.systems.iter().any(|system| system.name == *name && *system.first_round.borrow())
            };
            (counts.take(report, settled), counts.troubles(report))
        };
        for change in changes {
            change.log();
            let Changed { system, measured, from, to } = change;
            let domain = measured.domain;
            let more = match to {
                Status::Warning => Some(EventKind::RpoWarning { measured }),
                Status::Critical => Some(EventKind::RpoCritical { measured }),
                Status::Breached => Some(EventKind::RpoViolation { measured }),
                _ => None,
            };
            self.teller.tell(Some(&system), EventKind::StatusChanged { domain, from, to });
            more.into_iter().for_each(|kind| self.teller.tell(Some(&system), kind));
        }
        for (system, trouble) in troubles {
            match trouble {
                Some(trouble) => tracing::warn!(%system, %trouble, "something is wrong"),
                None => tracing::info!(%system, "nothing is wrong any more"),
            }
        }
    }
}

impl Changed {
    fn log(&self) {
        let Self { system, measured, from, to } = self;
        let window = measured.window.map_or_else(|| "unknown".to_owned(), |window| window.to_string());
        let (domain, promised) = (measured.domain, measured.limit);
        match to {
            Status::Warning | Status::Critical | Status::Breached | Status::Unknown => {
                tracing::warn!(%system, %domain, %from, %to, %window, %promised, "the loss window has changed its status");
            }
            _ => {
                tracing::debug!(%system, %domain, %from, %to, %window, %promised, "the loss window has changed its status");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpo_core::Timestamp;
    use rpo_core::window::LossReport;

    fn report(status: Status, limit: Option<HumanDuration>) -> StatusReport {
        let taken_at = Timestamp::from_micros(0);
        let loss = LossReport {
            domain: Domain::Region,
            window: Window::None,
            commits_at_risk: None,
            bytes_at_risk: None,
            taken_at,
            evidence_age: None,
        };
        let domain = DomainReport {
            loss,
            status,
            limit,
            protected: None,
            survivors: Vec::new(),
            by: Vec::new(),
            declared: false,
        };
        let name = SourceId::new("docs").unwrap();
        StatusReport::new(
            taken_at,
            vec![SystemReport::new(name, "directory".into(), vec![domain], Vec::new())],
        )
    }

    #[test]
    fn each_change_is_told_once_and_what_was_not_promised_never() {
        let minute = Some(HumanDuration::from_secs(60));
        let mut counts = Counts::default();
        let mut told = |status, limit| {
            let changes = counts.take(&report(status, limit), |_| true);
            changes.iter().map(|change| (change.from, change.to)).collect::<Vec<_>>()
        };

        assert!(told(Status::Pending, None).is_empty());
        assert!(told(Status::Pending, minute).is_empty());
        assert_eq!(told(Status::Healthy, minute), [(Status::Pending, Status::Healthy)]);
        assert!(told(Status::Healthy, minute).is_empty());
        assert_eq!(told(Status::Breached, minute), [(Status::Healthy, Status::Breached)]);
        assert!(told(Status::Breached, minute).is_empty());
        assert_eq!(told(Status::Healthy, minute), [(Status::Breached, Status::Healthy)]);
        assert_eq!((counts.violations, counts.breached(), counts.samples), (1, 0, 7));
    }

    #[test]
    fn that_nothing_is_known_before_the_first_round_is_no_news() {
        let mut counts = Counts::default();
        let report = report(Status::Unknown, Some(HumanDuration::from_secs(60)));

        assert!(counts.take(&report, |_| false).is_empty());
        assert_eq!(counts.take(&report, |_| true).len(), 1);
    }

    #[test]
    fn trouble_is_told_when_it_comes_and_when_it_goes() {
        let mut counts = Counts::default();
        let with = |trouble: Option<&str>| {
            let mut report = report(Status::Healthy, None);
            report.systems[0].trouble = trouble.map(str::to_owned);
            report
        };

        assert!(counts.troubles(&with(None)).is_empty());
        assert_eq!(counts.troubles(&with(Some("one"))).len(), 1);
        assert!(counts.troubles(&with(Some("one"))).is_empty());
        assert_eq!(counts.troubles(&with(Some("two"))).len(), 1);
        assert_eq!(counts.troubles(&with(None))[0].1, None);
    }
}
