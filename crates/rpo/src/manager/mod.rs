//! The manager: holds the honest number for each system and failure domain, and says it.
//!
//! Built from parts given in; [`Manager::builder`] takes systems, [`Builder::start`] begins, [`Manager::stop`] drains.

pub(crate) mod audit;
mod builder;
mod directory;
mod files;
mod member;
mod mirrors;
mod sample;
mod stream;
mod system;
mod tell;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rpo_core::event::Event;
use rpo_core::objective::{Domain, Status};
use rpo_core::window::Moment;
use rpo_core::{Position, SourceId, Timestamp};
use rpo_replication::CopySpec;
use rpo_storage::Hurry;
use serde::Serialize;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

use crate::Error;
use crate::report::StatusReport;

pub use builder::{AbsentCopy, Builder, Here, ManagerParts};
pub use directory::DirectorySystem;
pub use member::Reopen;
pub use stream::StreamSystem;

pub(crate) use directory::{partial, unreadable};

use audit::Ledger;
use member::Member;
use sample::Counts;
use system::System;
use tell::Teller;

/// How long stores are waited for that fail while the manager drains; what goes well is waited for to its end.
const DRAIN_PATIENCE: Duration = Duration::from_secs(2);

/// What was counted since the start.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Stats {
    /// The largest window now; absent while any is unknown.
    pub current: Option<Duration>,
    /// Share of samples in which every promise held, 0 to 1; unknown counts against.
    pub compliance: f64,
    /// Samples taken.
    pub samples: u64,
    /// Times a promise went from kept to breached.
    pub violations: u64,
    /// Promises that are breached now.
    pub violations_active: u64,
}

/// Whether one system keeps its promises now.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Compliance {
    /// True if no promise is breached or unknown.
    pub compliant: bool,
    /// Its status.
    pub status: Status,
    /// For each domain with a promise: what it is, and why it is so.
    pub reasons: Vec<String>,
}

/// Measures, judges and tells. Cheap to share behind an [`Arc`]; stops when [`stop`](Self::stop) is called.
#[derive(Debug)]
pub struct Manager {
    shared: Arc<Shared>,
    tasks: tokio::sync::Mutex<JoinSet<()>>,
    stop: watch::Sender<bool>,
    hurry: Hurry,
}

/// What the tasks share.
#[derive(Debug)]
pub(crate) struct Shared {
    parts: ManagerParts,
    here: Here,
    members: Vec<Arc<Member>>,
    /// What bills name, for the audits.
    ledger: tokio::sync::RwLock<Ledger>,
    audit_every: Duration,
    configuration: Option<String>,
    systems: Vec<Arc<System>>,
    report: watch::Sender<Option<StatusReport>>,
    teller: Teller,
    counts: Mutex<Counts>,
    /// One sample at a time: they write the same file.
    sampling: tokio::sync::Mutex<()>,
}

/// A lock on data that every change leaves whole, so a panic elsewhere does not spoil it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn now(&self) -> Moment {
        Moment::now(self.parts.clock.as_ref())
    }

    pub(crate) fn wall(&self) -> Timestamp {
        self.parts.clock.wall()
    }
}

impl Manager {
    /// Begins to put a manager together.
    pub fn builder(parts: ManagerParts, here: Here, copies: Vec<CopySpec>) -> Builder {
        Builder::new(parts, here, copies)
    }

    /// The latest report; none before the first sample.
    pub fn report(&self) -> Option<StatusReport> {
        self.shared.report.borrow().clone()
    }

    /// Reports as they are taken.
    pub fn reports(&self) -> watch::Receiver<Option<StatusReport>> {
        self.shared.report.subscribe()
    }

    /// Events as they happen. A reader that is too slow misses some and is told how many.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.shared.teller.subscribe()
    }

    /// What was counted since the start.
    pub fn stats(&self) -> Stats {
        let counts = lock(&self.shared.counts);
        let report = self.shared.report.borrow();
        let windows =
            report.iter().flat_map(|r| &r.systems).flat_map(|s| &s.domains).filter(|d| d.limit.is_some());
        let current = windows
            .map(|domain| match domain.loss.window {
                rpo_core::window::Window::None => Some(Duration::ZERO),
                rpo_core::window::Window::Age(age) => Some(age.get()),
                rpo_core::window::Window::Unknown { .. } => None,
            })
            .try_fold(Duration::ZERO, |worst, window| window.map(|window| worst.max(window)));
        Stats {
            current,
            compliance: if counts.samples == 0 { 0.0 } else { counts.kept as f64 / counts.samples as f64 },
            samples: counts.samples,
            violations: counts.violations,
            violations_active: counts.breached(),
        }
    }

    /// Whether `system` keeps its promises, by the latest report.
    ///
    /// # Errors
    /// There is no such system.
    pub fn check_compliance(&self, system: &SourceId) -> Result<Compliance, Error> {
        let found = self.system(system)?;
        let report = self.shared.report.borrow();
        let Some(report) = report.iter().flat_map(|r| &r.systems).find(|s| s.name == found.name) else {
            let reasons = vec!["nothing was measured yet".to_owned()];
            return Ok(Compliance { compliant: false, status: Status::Pending, reasons });
        };
        let promised = report.domains.iter().filter(|domain| domain.limit.is_some());
        let bad = matches!(report.status, Status::Breached | Status::Unknown | Status::Pending);
        Ok(Compliance {
            compliant: !report.promised || !bad,
            status: report.status,
            reasons: promised.map(ToString::to_string).collect(),
        })
    }

    /// Waits until everything of `system` before `position` is protected against the loss of `domain`: this is what an
    /// acknowledgement at level `protected(domain)` means.
    ///
    /// # Errors
    /// The writer was fenced, or the manager stopped: the commit may still become protected, or may not.
    pub async fn wait_protected(
        &self,
        system: &SourceId,
        position: Position,
        domain: Domain,
    ) -> Result<(), Error> {
        let found = self.system(system)?;
        let mut changes = found.protected.subscribe();
        loop {
            {
                let known = changes.borrow_and_update();
                if known.upto.get(&domain).is_some_and(|upto| upto.lsn >= position.lsn) {
                    return Ok(());
                }
                if let Some(end) = &known.ended {
                    return Err(Error::NotProtected(end.clone()));
                }
            }
            if changes.changed().await.is_err() {
                return Err(Error::NotProtected("the manager stopped".to_owned()));
            }
        }
    }

    /// Waits until every system was checkpointed or shipped once, and measured.
    pub async fn first_round(&self) {
        for system in &self.shared.systems {
            let mut done = system.first_round.subscribe();
            let _ = done.wait_for(|done| *done).await;
        }
        if let Err(error) = self.shared.sample().await {
            tracing::error!(%error, "the report could not be kept");
        }
    }

    /// Lets work in hand finish, ships what is left, takes a last sample, and stops. What a store refuses is not tried
    /// again for long.
    ///
    /// # Errors
    /// The last report could not be kept.
    pub async fn stop(&self) -> Result<StatusReport, Error> {
        let _ = self.stop.send(true);
        let mut tasks = self.tasks.lock().await;
        let drained = async {
            while let Some(ended) = tasks.join_next().await {
                if let Err(error) = ended {
                    tracing::error!(%error, "a task of the manager ended badly");
                }
            }
        };
        let impatient = async {
            tokio::time::sleep(DRAIN_PATIENCE).await;
            self.hurry.up();
            std::future::pending().await
        };
        tokio::select! {
            () = drained => {}
            () = impatient => {}
        }
        for system in &self.shared.systems {
            system.protected.send_modify(|known| {
                known.ended.get_or_insert_with(|| "the manager stopped".to_owned());
            });
        }
        self.shared.sample_last().await
    }

    fn system(&self, name: &SourceId) -> Result<&Arc<System>, Error> {
        self.shared.systems.iter().find(|system| system.name == *name).ok_or_else(|| {
            let known = self.shared.systems.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ");
            Error::NoSystem { name: name.clone(), known }
        })
    }
}

/// The latest report kept in a state directory; none if there is none.
///
/// # Errors
/// It cannot be read.
pub fn last_report(
    disk: &dyn rpo_core::Disk,
    state_dir: &std::path::Path,
) -> Result<Option<StatusReport>, Error> {
    files::last_report(disk, state_dir)
}

/// Whether a manager is using `state_dir` now.
pub fn is_running(disk: &dyn rpo_core::Disk, state_dir: &std::path::Path) -> bool {
    let taken = disk.lock(&files::lock_path(state_dir));
    taken.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}
