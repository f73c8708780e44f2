//! Copies: whole repositories with the same id and keys, each with its own store, and what is known of each.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use rpo_core::objective::Domain;
use rpo_core::{CopyName, ErrorKind, Lsn, Monotonic, Position, SourceId, StreamId, Timestamp, window};
use rpo_repository::Repository;
use serde::{Deserialize, Serialize};

use crate::{ReplicationError, SyncPolicy};

/// What a copy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Checkpoints are written here first; exactly one copy is.
    Home,
    /// Gets the objects of checkpoints from home. Batches it gets from the shipper, like home.
    Mirror,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Home => "home",
            Self::Mirror => "mirror",
        })
    }
}

/// Which failures a copy shares: it goes with its machine, its region, its operator. *Declared*, not proven.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CopyDomain {
    /// The machine whose loss takes this copy along; empty if it stands on none in particular.
    pub machine: Option<String>,
    /// The region whose loss takes this copy along.
    pub region: Option<String>,
    /// True if the writer's own credentials cannot delete what is there.
    pub immutable: bool,
}

impl CopyDomain {
    /// The domains whose loss this copy survives when they are lost with a source that stands at `source`. What is not
    /// declared is not claimed: without a region of its own a copy does not survive the loss of the source's.
    pub fn survives(&self, source: &CopyDomain) -> Vec<Domain> {
        let apart = |own: &Option<String>, other: &Option<String>| own.is_some() && own != other;
        let region = apart(&self.region, &source.region);
        let machine = region || self.machine.is_none() || apart(&self.machine, &source.machine);
        let claims = [
            (true, Domain::Process),
            (machine, Domain::Machine),
            (region, Domain::Region),
            (self.immutable, Domain::Operator),
        ];
        claims.into_iter().filter_map(|(holds, domain)| holds.then_some(domain)).collect()
    }
}

/// One copy.
#[derive(Debug, Clone)]
pub struct CopySpec {
    /// How people name it.
    pub name: CopyName,
    /// Which failures it shares.
    pub domain: CopyDomain,
    /// Where it is, without credentials; for people.
    pub url: String,
    /// What it is for.
    pub role: Role,
    /// The opened repository there.
    pub repository: Repository,
}

/// All copies of one repository and how many of them must hold a commit.
#[derive(Debug, Clone)]
pub struct Copies {
    all: Vec<CopySpec>,
    policy: SyncPolicy,
}

impl Copies {
    /// Checks that the copies belong together.
    ///
    /// # Errors
    /// `Invalid`: no copy, not exactly one home, a name twice, a policy that names an unknown copy, or copies of different
    /// repositories. `Unsupported`: a store that cannot refuse a second create has no place in an archive.
    pub fn new(all: Vec<CopySpec>, policy: SyncPolicy) -> Result<Self, ReplicationError> {
        let invalid = |why: String| Err(ReplicationError::Invalid(why));
        let homes = all.iter().filter(|copy| copy.role == Role::Home).count();
        if homes != 1 {
            return invalid(format!("{homes} of {} copies are home: exactly one must be", all.len()));
        }
        let mut names = BTreeSet::new();
        if let Some(twice) = all.iter().find(|copy| !names.insert(&copy.name)) {
            return invalid(format!("two copies are named {}", twice.name));
        }
        if let SyncPolicy::Any { copies, .. } = &policy
            && let Some(unknown) = copies.iter().find(|name| !names.contains(name))
        {
            return invalid(format!("the sync policy `{policy}` names {unknown}, which is no copy"));
        }
        let id = all[0].repository.id();
        if let Some(other) = all.iter().find(|copy| copy.repository.id() != id) {
            let (found, first) = (other.repository.id(), &all[0].name);
            return invalid(format!("copy {} is of repository {found}, copy {first} of {id}", other.name));
        }
        if let Some(weak) =
            all.iter().find(|copy| !copy.repository.storage().capabilities().create_is_exclusive)
        {
            let why =
                format!("copy {} lets a second create win, so no writer can be fenced there", weak.name);
            return Err(ReplicationError::Unsupported(why));
        }
        Ok(Self { all, policy })
    }

    /// Every copy, in the order given.
    pub fn all(&self) -> &[CopySpec] {
        &self.all
    }

    /// How many of which must hold a commit.
    pub fn policy(&self) -> &SyncPolicy {
        &self.policy
    }

    /// Where checkpoints are written first.
    pub fn home(&self) -> &CopySpec {
        self.all
            .iter()
            .find(|copy| copy.role == Role::Home)
            .expect("checked when the copies were put together")
    }

    /// The copies that get their checkpoints from home.
    pub fn mirrors(&self) -> impl Iterator<Item = &CopySpec> {
        self.all.iter().filter(|copy| copy.role == Role::Mirror)
    }

    /// The copy of that name.
    pub fn get(&self, name: &CopyName) -> Option<&CopySpec> {
        self.all.iter().find(|copy| copy.name == *name)
    }
}

/// When something was seen, on both clocks of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// For people.
    pub wall: Timestamp,
    /// For ages.
    pub steady: Monotonic,
}

impl Seen {
    /// Now, by `clock`.
    pub fn now(clock: &dyn rpo_core::Clock) -> Self {
        Self { wall: clock.wall(), steady: clock.monotonic() }
    }

    /// The same as [`rpo_core::window`] takes it.
    pub fn moment(self) -> window::Moment {
        window::Moment::new(self.wall, self.steady)
    }
}

/// How a copy is doing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Health {
    /// Not heard of yet since the start.
    #[default]
    Unknown,
    /// The last exchange went well.
    Good,
    /// The last exchange failed.
    Failing {
        /// Since when it has been failing without a success between.
        since: Seen,
        /// What to do about the last failure.
        kind: ErrorKind,
        /// What it was.
        error: String,
    },
    /// An operator stopped it.
    Paused,
    /// The writer was fenced; nothing more will come from it.
    Fenced,
}

/// The log cursor of a copy: what is known, by proof, to be durable there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogCursor {
    /// Everything before this is durable there, in an unbroken chain; `None` until it was looked at.
    pub position: Option<Position>,
    /// Number of its last object in the current epoch; 0 if none.
    pub number: u64,
    /// Commit time of the last frame there.
    pub time: Option<Timestamp>,
    /// When that was last proved: taken *before* the store was asked.
    pub evidence: Option<Seen>,
    /// How the exchange with it is going.
    pub health: Health,
}

impl LogCursor {
    pub(crate) fn unknown() -> Self {
        Self { position: None, number: 0, time: None, evidence: None, health: Health::Unknown }
    }
}

/// The object cursor of a mirror: how far the bills of home are replayed there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObjectCursor {
    /// Every bill up to this number has all its objects here.
    pub bills: u64,
    /// Bills that home is known to have.
    pub bills_at_home: u64,
    /// Objects billed and not here yet.
    pub lag_objects: u64,
    /// Their bytes.
    pub lag_bytes: u64,
    /// Age of the oldest bill whose objects are not all here, since it was first seen.
    pub lag_time: Duration,
    /// Newest checkpoint of each source whose every object and manifest are here.
    pub newest: Vec<(SourceId, u64)>,
    /// When home and mirror were last compared: taken before the stores were asked.
    pub evidence: Option<Seen>,
}

impl ObjectCursor {
    /// The same as [`rpo_core::window`] takes it: the newest checkpoint of `source` that `copy` holds.
    pub fn for_window(&self, copy: &CopySpec, at: &CopyDomain, source: &SourceId) -> window::CheckpointCopy {
        window::CheckpointCopy {
            name: copy.name.clone(),
            survives: copy.domain.survives(at),
            newest: self.newest.iter().find(|(name, _)| name == source).map(|(_, number)| *number),
            proven_at: self.evidence.map(Seen::moment),
        }
    }
}

/// What is known of one copy, for one stream: what a loss window is computed from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyState {
    /// Which copy.
    pub name: CopyName,
    /// Which failures it shares.
    pub domain: CopyDomain,
    /// What it is for.
    pub role: Role,
    /// Which stream.
    pub stream: StreamId,
    /// What it has of the log.
    pub log: LogCursor,
}

impl CopyState {
    /// The same as [`rpo_core::window`] takes it: the log this copy holds without a break from `kept_from` on, beside the
    /// `bases` it can restore from.
    pub fn for_window(&self, source: &CopyDomain, bases: Vec<Position>, kept_from: Lsn) -> window::CopyState {
        window::CopyState {
            name: self.name.clone(),
            survives: self.domain.survives(source),
            bases,
            log: self.log.position.map(|to| window::LogRun { from: kept_from, to }).into_iter().collect(),
            proven_at: self.log.evidence.map(Seen::moment),
        }
    }

    /// Bytes of log between what the copy has and `head`; all of them if it is unknown.
    pub fn lag_bytes(&self, head: Position) -> u64 {
        let lsn = self.log.position.map(|position| position.lsn).unwrap_or_default();
        head.lsn.bytes_since(lsn)
    }

    /// Commits between what the copy has and `head`; `None` for streams that do not count them or if it is unknown.
    pub fn lag_commits(&self, head: Position) -> Option<u64> {
        Some(head.sequence?.commits_since(self.log.position?.sequence?))
    }
}
