//! The presence audit: is everything that a copy claims by its manifests still there?
//!
//! A manifest stands in a copy only after everything that was billed before it. So the newest end of a session that a copy
//! lists is its claim: every object of every bill up to that session's last must be there, with its length. A listing is a
//! hint: what it does not show is asked for by name before it is believed missing. Contents are not read: that is
//! `rpo verify --read-data`. Where something is missing, each source's checkpoints are looked at one by one: those count of
//! which nothing is missing. Batches of a log are not on any bill: their presence is the shipper's own evidence.

mod ledger;
mod names;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::join_all;
use rpo_checkpoint::{Cancel, CheckpointError, Checkpointer};
use rpo_core::event::EventKind;
use rpo_core::{CheckpointId, ErrorKind, SourceId};
use rpo_replication::Role;
use rpo_repository::{Receipt, Repository};
use rpo_storage::Key;
use tokio::sync::{RwLock, watch};

use super::Shared;
use super::member::Member;
use crate::Error;

pub(crate) use ledger::Ledger;
use ledger::{Expected, Listed};

/// Time between two audits of a copy in which nothing is missing.
pub(crate) const AUDIT_EVERY: Duration = Duration::from_secs(15 * 60);

/// Time between two audits of a copy that is damaged or did not answer, at most.
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(60);

/// Missing objects that are named; a copy that lost more is looked at again once these are back.
const LOST_MAX: usize = 1_000;

/// Objects asked for at the same time.
const ASKED_AT_ONCE: usize = 16;

/// Checkpoints of a source that are looked at one by one in a damaged copy, newest first.
const LOOKED_AT_MAX: usize = 64;

/// Checkpoints tried, newest first, to find one that is whole.
const TRIES_MAX: usize = 16;

/// An object that is not there as its bill says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lost {
    /// The bill that names it.
    pub(crate) bill: u64,
    pub(crate) key: Key,
    /// Its length, if something is there.
    pub(crate) found: Option<u64>,
}

/// What an audit found in one copy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Audited {
    /// In the order of bills.
    pub(crate) lost: Vec<Lost>,
    /// More is missing than is named.
    pub(crate) more: bool,
    /// For each source: the newest checkpoint of which nothing is missing, and what is wrong with the others.
    sources: BTreeMap<SourceId, Whole>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Whole {
    newest: Option<u64>,
    trouble: Option<String>,
    /// What the loss costs, in words: only of a copy that lost something.
    cost: Option<String>,
}

impl Audited {
    /// How far what was seen of a source's checkpoints counts: all the way where nothing is wrong.
    pub(crate) fn counts(&self, source: &SourceId, seen: Option<u64>) -> Option<u64> {
        match self.sources.get(source) {
            Some(whole) if !self.lost.is_empty() || whole.trouble.is_some() => seen.min(whole.newest),
            _ if self.lost.is_empty() => seen,
            _ => None,
        }
    }

    /// The newest checkpoint of a source that was whole.
    pub(crate) fn newest(&self, source: &SourceId) -> Option<u64> {
        self.sources.get(source)?.newest
    }

    /// Whether nothing is missing.
    pub(crate) fn is_sound(&self) -> bool {
        self.lost.is_empty() && self.sources.values().all(|whole| whole.trouble.is_none())
    }

    /// `damaged: 3 objects missing, e.g. packs/ab/… (docs@1 – docs@4 cannot be restored)`; none if nothing is wrong for `source`.
    pub(crate) fn damage(&self, source: &SourceId) -> Option<String> {
        let whole = self.sources.get(source);
        let manifests = whole.and_then(|whole| whole.trouble.as_ref());
        match (self.lost.first(), manifests) {
            (None, None) => None,
            (None, Some(trouble)) => Some(format!("damaged: {trouble}")),
            (Some(first), _) => {
                let (count, least) = (self.lost.len(), if self.more { "at least " } else { "" });
                let plural = if count == 1 { "" } else { "s" };
                let cut = self.lost.iter().filter(|lost| lost.found.is_some()).count();
                let cut = if cut > 0 { format!(" ({cut} of another length)") } else { String::new() };
                let cost = whole.and_then(|whole| whole.cost.as_ref());
                let cost = cost.map_or_else(String::new, |cost| format!(" ({cost})"));
                Some(format!("damaged: {least}{count} object{plural} missing{cut}, e.g. {}{cost}", first.key))
            }
        }
    }

    /// Whether the same is wrong: no news, though what counts may be other.
    fn lacks_the_same(&self, other: &Self) -> bool {
        let troubles = |audited: &Self| -> Vec<_> {
            audited.sources.values().filter_map(|whole| whole.trouble.clone()).collect()
        };
        (&self.lost, self.more) == (&other.lost, other.more) && troubles(self) == troubles(other)
    }

    /// Everything that is wrong, for an event.
    fn reason(&self) -> String {
        let all: Vec<_> = self.sources.keys().filter_map(|source| self.damage(source)).collect();
        all.first().cloned().unwrap_or_else(|| "damaged".to_owned())
    }
}

/// Looks whether `copy` has what it claims. `all` are the copies that bills may be read from, home first.
pub(crate) async fn look(
    copy: &Repository,
    all: &[Repository],
    ledger: &RwLock<Ledger>,
    sources: &[SourceId],
) -> Result<Audited, Error> {
    let listed = Listed::of(copy).await?;
    ledger.write().await.follow(all).await?;
    let (lost, more, unharmed) = {
        let ledger = ledger.read().await;
        let (lost, more) = ask(copy, ledger.unlisted(&listed)).await?;
        let first = lost.iter().map(|lost| lost.bill).min();
        let unharmed = |bill| sources.iter().map(|source| ledger.unharmed(source, &listed, bill)).collect();
        let unharmed: Option<Vec<_>> = first.map(unharmed);
        (lost, more, unharmed)
    };
    let mut found = BTreeMap::new();
    for (at, source) in sources.iter().enumerate() {
        let ended = listed.newest_of(source);
        let whole = match &unharmed {
            None => whole(copy, source, ended).await?,
            Some(unharmed) => left(copy, source, &ended, &unharmed[at]).await?,
        };
        found.insert(source.clone(), whole);
    }
    Ok(Audited { lost, more, sources: found })
}

/// Asks by name for what a listing did not show.
async fn ask(
    copy: &Repository,
    unlisted: impl Iterator<Item = Expected>,
) -> Result<(Vec<Lost>, bool), Error> {
    let mut unlisted = unlisted.peekable();
    let mut lost = Vec::new();
    while unlisted.peek().is_some() {
        if lost.len() >= LOST_MAX {
            return Ok((lost, true));
        }
        // Boxed, so that whoever audits may do so from any thread.
        let asked: Vec<_> =
            unlisted.by_ref().take(ASKED_AT_ONCE).map(|expected| missing(copy, expected).boxed()).collect();
        for answer in join_all(asked).await {
            lost.extend(answer?);
        }
    }
    Ok((lost, false))
}

async fn missing(copy: &Repository, expected: Expected) -> Result<Option<Lost>, Error> {
    let Expected { bill, key, len } = expected;
    match copy.storage().stat(&key).await {
        Ok(meta) if meta.len == len => Ok(None),
        Ok(meta) => Ok(Some(Lost { bill, key, found: Some(meta.len) })),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Some(Lost { bill, key, found: None })),
        Err(error) => Err(error.into()),
    }
}

/// The newest of the candidates whose whole chain of manifests can be read.
async fn whole(copy: &Repository, source: &SourceId, candidates: Vec<u64>) -> Result<Whole, Error> {
    let checkpointer = Checkpointer::new(copy.clone(), Default::default());
    let mut trouble = None;
    for number in candidates.into_iter().take(TRIES_MAX) {
        let id = CheckpointId { source: source.clone(), number };
        match checkpointer.chain(&id).await {
            Ok(_) => return Ok(Whole { newest: Some(number), trouble, cost: None }),
            Err(CheckpointError::NoCheckpoint { .. }) => {} // a session that was given up
            Err(error) if is_damage(&error) => {
                trouble.get_or_insert_with(|| format!("{id} cannot be restored: {error}"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Whole { newest: None, trouble, cost: None })
}

/// What a damaged copy can still restore of a source. Of those too old to be looked at one by one, what was billed wholly
/// before the first loss counts.
async fn left(copy: &Repository, source: &SourceId, ended: &[u64], unharmed: &[u64]) -> Result<Whole, Error> {
    let checkpointer = Checkpointer::new(copy.clone(), Default::default());
    let looked = ended.iter().take(LOOKED_AT_MAX);
    let ids: Vec<_> = looked.map(|number| CheckpointId { source: source.clone(), number: *number }).collect();
    let found = checkpointer.presence(&ids, &Cancel::new()).await?;
    let newest = found.iter().filter(|(_, lacks)| lacks.is_none()).map(|(id, _)| id.number).max();
    let older = ended.len() > ids.len();
    let cost = names::cost(source, found.iter().map(|(id, lacks)| (id.number, lacks.is_some())), older);
    if newest.is_some() || !older {
        return Ok(Whole { newest, trouble: None, cost: Some(cost) });
    }
    let oldest = ids.last().map_or(0, |id| id.number);
    let candidates = unharmed.iter().copied().filter(|number| *number < oldest).collect();
    Ok(Whole { cost: Some(cost), ..whole(copy, source, candidates).await? })
}

fn is_damage(error: &CheckpointError) -> bool {
    use ErrorKind::{Corrupt, Invalid, Key, NotFound};
    matches!(error.kind(), Corrupt | NotFound | Key | Invalid) || matches!(error, CheckpointError::Crypto(_))
}

/// The receipts of what is missing, from the bills that name it.
pub(super) async fn receipts(all: &[Repository], audited: &Audited) -> Result<Vec<Receipt>, Error> {
    let mut by_bill: BTreeMap<u64, Vec<&Key>> = BTreeMap::new();
    for lost in &audited.lost {
        by_bill.entry(lost.bill).or_default().push(&lost.key);
    }
    let mut receipts = Vec::new();
    for (number, keys) in by_bill {
        let bill = ledger::bill(all, number).await?;
        let named = bill.into_iter().flat_map(|bill| bill.objects);
        receipts.extend(named.filter(|receipt| keys.contains(&&receipt.key)));
    }
    Ok(receipts)
}

/// Looks at home at intervals. A mirror is looked at by the task that mends it.
pub(super) async fn run(shared: Arc<Shared>, home: Arc<Member>, mut stopping: watch::Receiver<bool>) {
    loop {
        let known = home.audited().is_some();
        let sound = tokio::select! {
            sound = shared.audit(&home) => sound,
            // Without a first look nothing counts in the last report: that one is waited for.
            _ = stopping.wait_for(|stop| *stop), if known => return,
        };
        let pause = shared.audit_pause(sound);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = home.alarmed() => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}

impl Shared {
    /// Time to the next audit, after one that found everything (or not).
    pub(super) fn audit_pause(&self, sound: bool) -> Duration {
        if sound { self.audit_every } else { self.audit_every.min(AGAIN_AFTER_MAX) }
    }

    /// Copies that bills can be read from, home first.
    pub(super) fn readable(&self) -> Vec<Repository> {
        let mut opened: Vec<_> = self.members.iter().filter_map(|member| member.opened()).collect();
        opened.sort_by_key(|copy| copy.role != Role::Home);
        opened.into_iter().map(|copy| copy.repository).collect()
    }

    /// Looks whether a copy has what it claims, tells of a change, and keeps it. True if nothing is wrong.
    pub(super) async fn audit(&self, member: &Member) -> bool {
        let Some(copy) = member.opened() else { return false };
        let at = self.now();
        let sources: Vec<_> = self.systems.iter().map(|system| system.name.clone()).collect();
        let audited = match look(&copy.repository, &self.readable(), &self.ledger, &sources).await {
            Ok(audited) => audited,
            Err(error) => {
                if member.audit_failed(error.to_string()) {
                    tracing::warn!(copy = %member.name, %error, "what this copy holds could not be looked through");
                }
                return false;
            }
        };
        let sound = audited.is_sound();
        let before = member.note_audit(audited.clone(), at);
        if !sound && !before.as_ref().is_some_and(|before| before.lacks_the_same(&audited)) {
            let reason = audited.reason();
            tracing::error!(copy = %member.name, %reason, "this copy has lost what it had");
            self.teller
                .tell(None, EventKind::ReplicationValidationFailed { copy: member.name.clone(), reason });
        } else if sound && before.is_some_and(|before| !before.is_sound()) {
            tracing::info!(copy = %member.name, "this copy is whole again");
        }
        sound
    }
}
