//! One copy as the manager has it: opened, or expected and not there yet.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::BoxFuture;
use rpo_core::CopyName;
use rpo_core::window::Moment;
use rpo_replication::{CopyDomain, CopySpec, Role};
use rpo_repository::Repository;
use tokio::sync::Notify;

use super::audit::Audited;
use super::{AbsentCopy, lock};
use crate::Error;

/// Tries to open a copy that was absent. Asked again and again until it succeeds.
pub type Reopen = Box<dyn Fn() -> BoxFuture<'static, Result<Repository, Error>> + Send + Sync>;

/// One copy.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: CopyName,
    pub(crate) role: Role,
    pub(crate) domain: CopyDomain,
    presence: Mutex<Presence>,
    audit: Mutex<AuditState>,
    /// Somebody has reason to look through it before the next audit is due.
    alarm: Notify,
    /// It was replayed into once since every system had its first checkpoint.
    replayed: AtomicBool,
}

/// Whether a copy can be used.
#[derive(Debug)]
enum Presence {
    Opened(CopySpec),
    /// Why not.
    Absent(String),
}

/// What is known of a copy's objects.
#[derive(Debug, Default)]
struct AuditState {
    last: Option<(Audited, Moment)>,
    /// Why the last attempt told nothing, if it did not.
    trouble: Option<String>,
}

impl Member {
    pub(super) fn opened_at_start(copy: CopySpec) -> Self {
        let (name, role, domain) = (copy.name.clone(), copy.role, copy.domain.clone());
        Self::new(name, role, domain, Presence::Opened(copy))
    }

    pub(super) fn absent_at_start(copy: AbsentCopy) -> Self {
        let AbsentCopy { name, role, domain, why } = copy;
        Self::new(name, role, domain, Presence::Absent(why))
    }

    fn new(name: CopyName, role: Role, domain: CopyDomain, presence: Presence) -> Self {
        let (presence, audit) = (Mutex::new(presence), Mutex::default());
        Self { name, role, domain, presence, audit, alarm: Notify::new(), replayed: AtomicBool::new(false) }
    }

    /// Has it looked through soon.
    pub(super) fn alarm(&self) {
        self.alarm.notify_one();
    }

    /// Waits for [`alarm`](Self::alarm).
    pub(super) async fn alarmed(&self) {
        self.alarm.notified().await;
    }

    /// It was replayed into, well or not, since every system had its first checkpoint.
    pub(super) fn is_replayed(&self) {
        self.replayed.store(true, Ordering::Relaxed);
    }

    /// Whether it had its chance: what is not known of it now is news.
    pub(super) fn is_settled(&self) -> bool {
        let looked = || {
            let audit = lock(&self.audit);
            audit.last.is_some() || audit.trouble.is_some()
        };
        let replayed = || self.role == Role::Home || self.replayed.load(Ordering::Relaxed);
        self.absent().is_some() || (looked() && replayed())
    }

    /// The copy, if it can be used.
    pub(crate) fn opened(&self) -> Option<CopySpec> {
        match &*lock(&self.presence) {
            Presence::Opened(copy) => Some(copy.clone()),
            Presence::Absent(_) => None,
        }
    }

    /// Why it cannot be used, if it cannot.
    pub(crate) fn absent(&self) -> Option<String> {
        match &*lock(&self.presence) {
            Presence::Opened(_) => None,
            Presence::Absent(why) => Some(why.clone()),
        }
    }

    /// Still absent; true if the reason is new.
    pub(super) fn is_absent(&self, why: String) -> bool {
        let mut presence = lock(&self.presence);
        let is_new = !matches!(&*presence, Presence::Absent(known) if *known == why);
        *presence = Presence::Absent(why);
        is_new
    }

    /// It is back.
    pub(super) fn joins(&self, repository: Repository) -> CopySpec {
        let url = repository.storage().identity().url;
        let (name, domain, role) = (self.name.clone(), self.domain.clone(), self.role);
        let copy = CopySpec { name, domain, url, role, repository };
        *lock(&self.presence) = Presence::Opened(copy.clone());
        copy
    }

    /// Whether its independence is declared and cannot be shown: a store on a device of this machine is on this machine,
    /// whatever its label says.
    pub(crate) fn is_declared(&self) -> bool {
        self.opened().is_some_and(|copy| copy.repository.storage().identity().device.is_some())
    }

    /// What the last audit found; none before the first.
    pub(crate) fn audited(&self) -> Option<Audited> {
        lock(&self.audit).last.as_ref().map(|(audited, _)| audited.clone())
    }

    /// Why the last audit told nothing, if it did not.
    pub(crate) fn audit_trouble(&self) -> Option<String> {
        lock(&self.audit).trouble.clone()
    }

    /// Keeps what an audit begun at `at` found; gives what was known before.
    pub(super) fn note_audit(&self, audited: Audited, at: Moment) -> Option<Audited> {
        let mut audit = lock(&self.audit);
        audit.trouble = None;
        audit.last.replace((audited, at)).map(|(before, _)| before)
    }

    /// An audit failed: what was known stands. True if the reason is new.
    pub(super) fn audit_failed(&self, trouble: String) -> bool {
        let mut audit = lock(&self.audit);
        audit.trouble.replace(trouble.clone()) != Some(trouble)
    }
}
