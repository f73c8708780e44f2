//! Putting a manager together.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rpo_core::event::EventKind;
use rpo_core::objective::{Domain, Objective};
use rpo_core::{Clock, CopyName, Disk, Entropy};
use rpo_replication::{Copies, CopyDomain, CopySpec, Role, SyncPolicy};
use rpo_storage::Hurry;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::directory::{self, DirectorySystem};
use super::member::{Member, Reopen};
use super::stream::{self, StreamSystem};
use super::system::System;
use super::tell::Teller;
use super::{Manager, Shared, audit, files, mirrors};
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
pub struct Builder {
    parts: ManagerParts,
    here: Here,
    copies: Vec<CopySpec>,
    absent: Vec<(AbsentCopy, Option<Reopen>)>,
    audit_every: Duration,
    configuration: Option<String>,
    hurry: Hurry,
    policy: SyncPolicy,
    directories: Vec<DirectorySystem>,
    streams: Vec<StreamSystem>,
}

impl Builder {
    pub(super) fn new(parts: ManagerParts, here: Here, copies: Vec<CopySpec>) -> Self {
        let (absent, directories, streams) = (Vec::new(), Vec::new(), Vec::new());
        let (policy, audit_every) = (SyncPolicy::default(), audit::AUDIT_EVERY);
        let (configuration, hurry) = (None, Hurry::new());
        Self { parts, here, copies, absent, audit_every, configuration, hurry, policy, directories, streams }
    }

    /// Expects a copy that could not be opened: what only it could prove is unknown, not lost. It stays away.
    #[must_use]
    pub fn absent(mut self, copy: AbsentCopy) -> Self {
        self.absent.push((copy, None));
        self
    }

    /// As [`absent`](Self::absent), and tries to open it with `open`, at intervals that grow to a minute. Once it is open
    /// it gets checkpoints like the others. The log of a stream is shipped only to the copies that were there at the
    /// start.
    #[must_use]
    pub fn absent_until(mut self, copy: AbsentCopy, open: Reopen) -> Self {
        self.absent.push((copy, Some(open)));
        self
    }

    /// Time between two looks whether a copy still has every object that it claims to have. Default: 15 minutes; the first
    /// look is at the start, and nothing counts in a copy before it.
    #[must_use]
    pub fn audit_every(mut self, every: Duration) -> Self {
        self.audit_every = every;
        self
    }

    /// Names the configuration that this manager was made from: reports carry it, so that a reader with another does not
    /// take them for its own.
    #[must_use]
    pub fn configuration(mut self, identity: String) -> Self {
        self.configuration = Some(identity);
        self
    }

    /// What the copies' stores were given to hurry them: used when the manager was stopped and they keep failing.
    #[must_use]
    pub fn hurry(mut self, hurry: Hurry) -> Self {
        self.hurry = hurry;
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
        let Self {
            parts,
            here,
            copies,
            absent,
            audit_every,
            configuration,
            hurry,
            policy,
            directories,
            streams,
        } = self;
        let together = Copies::new(copies.clone(), policy)?;
        let objectives = directories.iter().map(|d| &d.objective).chain(streams.iter().map(|s| &s.objective));
        objectives.flatten().try_for_each(Objective::validate)?;
        files::prepare(&parts)?;
        let lock = files::lock(&parts)?;
        files::bind(&parts, together.home().repository.id())?;

        let (stop, stopping) = watch::channel(false);
        let (systems, starts) = begin(directories, streams, &parts, &together, &stopping)?;
        let tightest = systems.iter().filter_map(|s| Some(s.objective.as_ref()?.monitor_interval.get()));
        let every = tightest.fold(parts.sample_every, Duration::min).max(Duration::from_millis(10));
        let opened = copies.into_iter().map(|copy| (Arc::new(Member::opened_at_start(copy)), None));
        let expected = absent.into_iter().map(|(copy, open)| (Arc::new(Member::absent_at_start(copy)), open));
        let members: Vec<_> = opened.chain(expected).collect();
        let shared = Arc::new(Shared {
            teller: Teller::new(parts.clock.clone()),
            parts,
            here,
            members: members.iter().map(|(member, _)| member.clone()).collect(),
            ledger: tokio::sync::RwLock::default(),
            audit_every: audit_every.max(Duration::from_millis(10)),
            configuration,
            systems,
            report: watch::Sender::new(None),
            counts: Mutex::default(),
            sampling: tokio::sync::Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        starts.into_iter().for_each(|start| start(&shared, &mut tasks));
        for (member, open) in members {
            if let Some(reason) = member.absent() {
                let kind = EventKind::RegionFailed { copy: member.name.clone(), reason };
                shared.teller.tell(None, kind);
            }
            let (shared, stopping) = (shared.clone(), stopping.clone());
            if member.role == Role::Home {
                tasks.spawn(audit::run(shared, member, stopping));
            } else {
                let home = together.home().clone();
                tasks.spawn(mirrors::run(shared, home, member, open, every, stopping));
            }
        }
        tasks.spawn(super::sample::run(shared.clone(), every, stopping, lock));
        Ok(Manager { shared, tasks: tokio::sync::Mutex::new(tasks), stop, hurry })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let absent: Vec<_> = self.absent.iter().map(|(copy, _)| copy).collect();
        f.debug_struct("Builder")
            .field("parts", &self.parts)
            .field("here", &self.here)
            .field("copies", &self.copies)
            .field("absent", &absent)
            .finish_non_exhaustive()
    }
}

/// Each system, and what begins its tasks.
fn begin(
    directories: Vec<DirectorySystem>,
    streams: Vec<StreamSystem>,
    parts: &ManagerParts,
    together: &Copies,
    stopping: &watch::Receiver<bool>,
) -> Result<(Vec<Arc<System>>, Vec<Begin>), Error> {
    let mut systems = Vec::new();
    let mut starts: Vec<Begin> = Vec::new();
    for directory in directories {
        let system = Arc::new(System::directory(&directory, parts)?);
        systems.push(system.clone());
        let stopping = stopping.clone();
        starts.push(Box::new(move |shared, tasks| {
            tasks.spawn(directory::run(shared.clone(), system, directory, stopping));
        }));
    }
    for stream in streams {
        let (system, shipper) = stream::open(&stream, parts, together)?;
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
    Ok((systems, starts))
}
