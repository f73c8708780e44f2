//! Putting a manager together.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rpo_core::event::EventKind;
use rpo_core::objective::{Domain, Objective};
use rpo_core::{Clock, CopyName, Disk, Entropy};
use rpo_replication::{Copies, CopyDomain, CopySpec, Role, SyncPolicy};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::directory::{self, DirectorySystem};
use super::sample::System;
use super::stream::{self, StreamSystem};
use super::tell::Teller;
use super::{Manager, Shared, files, mirrors};
use crate::Error;

/// What is given in from outside.
#[derive(Debug, Clone)]
pub struct ManagerParts {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The local disk.
    pub disk: Arc<dyn Disk>,
    /// Where reports, spools and the last evidence are kept. One manager at a time uses it.
    pub state_dir: PathBuf,
    /// How often positions are compared and judged, unless an objective asks for more.
    pub sample_every: Duration,
}

/// Where this manager runs: copies with these labels are lost together with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Here {
    /// Name of this machine.
    pub machine: String,
    /// Name of this site.
    pub region: String,
}

impl Here {
    /// Whether `copy` is still there when `domain` around here is lost, by what its labels declare.
    pub fn survives(&self, copy: &CopySpec, domain: Domain) -> bool {
        self.outlives(&copy.domain, domain)
    }

    pub(super) fn outlives(&self, copy: &CopyDomain, domain: Domain) -> bool {
        match domain {
            Domain::Process => true,
            Domain::Machine => copy.machine.as_ref() != Some(&self.machine),
            Domain::Region => copy.region.as_ref().is_some_and(|region| *region != self.region),
            Domain::Operator => copy.immutable,
        }
    }
}

/// A copy that is expected and could not be opened: it gets nothing, proves nothing, and stands in every report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbsentCopy {
    /// Its name.
    pub name: CopyName,
    /// Home or mirror.
    pub role: Role,
    /// Where it stands, by what its labels declare.
    pub domain: CopyDomain,
    /// Why it could not be opened.
    pub why: String,
}

/// Begins the tasks of one system.
type Begin = Box<dyn FnOnce(&Arc<Shared>, &mut JoinSet<()>) + Send>;

/// A manager being put together.
#[derive(Debug)]
pub struct Builder {
    parts: ManagerParts,
    here: Here,
    copies: Vec<CopySpec>,
    absent: Vec<AbsentCopy>,
    policy: SyncPolicy,
    directories: Vec<DirectorySystem>,
    streams: Vec<StreamSystem>,
}

impl Builder {
    pub(super) fn new(parts: ManagerParts, here: Here, copies: Vec<CopySpec>) -> Self {
        let (absent, directories, streams) = (Vec::new(), Vec::new(), Vec::new());
        Self { parts, here, copies, absent, policy: SyncPolicy::default(), directories, streams }
    }

    /// Expects a copy that could not be opened: what only it could prove is unknown, not lost.
    #[must_use]
    pub fn absent(mut self, copy: AbsentCopy) -> Self {
        self.absent.push(copy);
        self
    }

    /// How many copies must hold a commit before it counts as protected. Default: one that survives the domain.
    #[must_use]
    pub fn sync_policy(mut self, policy: SyncPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Protects a directory.
    #[must_use]
    pub fn directory(mut self, directory: DirectorySystem) -> Self {
        self.directories.push(directory);
        self
    }

    /// Protects a program that embeds the log.
    #[must_use]
    pub fn stream(mut self, stream: StreamSystem) -> Self {
        self.streams.push(stream);
        self
    }

    /// Begins. Needs a tokio runtime.
    ///
    /// # Errors
    /// The copies do not belong together, an objective breaks rules, or another manager uses the state directory.
    pub async fn start(self) -> Result<Manager, Error> {
        let Self { parts, here, copies, absent, policy, directories, streams } = self;
        let together = Copies::new(copies.clone(), policy)?;
        let objectives = directories.iter().map(|d| &d.objective).chain(streams.iter().map(|s| &s.objective));
        objectives.flatten().try_for_each(Objective::validate)?;
        files::prepare(&parts)?;
        let lock = files::lock(&parts)?;
        let devices: Vec<_> = copies.iter().map(|copy| copy.repository.storage().identity().device).collect();
        let declared = declared(&copies, &devices);

        let (stop, stopping) = watch::channel(false);
        let mut systems = Vec::new();
        let mut starts: Vec<Begin> = Vec::new();
        for directory in directories {
            let system = Arc::new(System::directory(&directory, &parts, declared.clone())?);
            systems.push(system.clone());
            let stopping = stopping.clone();
            starts.push(Box::new(move |shared, tasks| {
                tasks.spawn(directory::run(shared.clone(), system, directory, stopping));
            }));
        }
        for stream in streams {
            let (system, shipper) = stream::open(&stream, &parts, &together, declared.clone())?;
            systems.push(system.clone());
            let stopping = stopping.clone();
            starts.push(Box::new(move |shared, tasks| {
                tasks.spawn(stream::ship(
                    shared.clone(),
                    system.clone(),
                    shipper,
                    stream.clone(),
                    stopping.clone(),
                ));
                tasks.spawn(stream::checkpoints(shared.clone(), system, stream, stopping));
            }));
        }
        let tightest = systems.iter().filter_map(|s| Some(s.objective.as_ref()?.monitor_interval.get()));
        let every = tightest.fold(parts.sample_every, Duration::min).max(Duration::from_millis(10));
        let shared = Arc::new(Shared {
            teller: Teller::new(parts.clock.clone()),
            parts,
            here,
            copies,
            absent,
            systems,
            report: watch::Sender::new(None),
            counts: Mutex::default(),
            sampling: tokio::sync::Mutex::default(),
        });
        for copy in &shared.absent {
            let kind = EventKind::RegionFailed { copy: copy.name.clone(), reason: copy.why.clone() };
            shared.teller.tell(None, kind);
        }
        let mut tasks = JoinSet::new();
        starts.into_iter().for_each(|start| start(&shared, &mut tasks));
        for mirror in together.mirrors().filter(|copy| copy.role == Role::Mirror) {
            let (home, mirror) = (together.home().clone(), mirror.clone());
            tasks.spawn(mirrors::run(shared.clone(), home, mirror, every, stopping.clone()));
        }
        tasks.spawn(super::sample::run(shared.clone(), every, stopping, lock));
        Ok(Manager { shared, tasks: tokio::sync::Mutex::new(tasks), stop })
    }
}

/// The copies whose independence is declared and cannot be shown: they share a device with each other or with this place.
fn declared(copies: &[CopySpec], devices: &[Option<String>]) -> Vec<bool> {
    let shared = |number: usize| {
        devices[number].as_ref().is_some_and(|device| {
            copies
                .iter()
                .zip(devices)
                .enumerate()
                .any(|(other, (_, found))| other != number && found.as_ref() == Some(device))
        })
    };
    // A store on a device of this machine is on this machine, whatever its label says.
    (0..copies.len()).map(|number| devices[number].is_some() || shared(number)).collect()
}
