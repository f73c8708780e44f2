//! What sessions and bills say was stored: each record, commit key and bill read once, asked for by its number.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use futures::StreamExt;
use rpo_core::{CheckpointId, SourceId};
use rpo_repository::bill::StoredBill;
use rpo_repository::{Receipt, RepositoryError, layout};
use rpo_storage::Key;

use super::Role;
use crate::CheckpointError;
use crate::damage::{Bad, DamageBook};
use crate::index::{self, IndexOwner};
use crate::locate::READS_AT_ONCE;
use crate::manifest::ManifestRoot;
use crate::pack::PackId;
use crate::progress::Cancel;
use crate::store::Store;
use crate::stream::{Standing, load_standing};

/// How many numbers of one gap between listed bills are asked for by name; beyond, a listing is believed.
const GAP_ASKED_MAX: u64 = 1_000;

/// What a bill says of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Billed {
    pub(super) len: u64,
    pub(super) sha256: [u8; 32],
}

/// An object on bills of sessions that did not commit.
struct Uncommitted {
    billed: Billed,
    /// Those of the sessions that have no end.
    open: Vec<CheckpointId>,
}

/// What sessions and bills say.
#[derive(Default)]
pub(super) struct Ledger {
    /// Checkpoints whose manifest could be read.
    pub(super) roots: BTreeMap<CheckpointId, ManifestRoot>,
    /// Manifests that stand and cannot be read.
    pub(super) unreadable: BTreeMap<CheckpointId, Bad>,
    /// Packs and indexes of committed sessions.
    pub(super) packs: HashMap<PackId, Billed>,
    pub(super) indexes: HashMap<Key, Billed>,
    /// Sessions with a bill and no end.
    pub(super) unfinished: BTreeSet<CheckpointId>,
    /// Sessions that were begun.
    pub(super) sessions: u64,
    /// Bills that could be read.
    pub(super) bills: u64,
    /// Bills that a mirror does not have (yet).
    pub(super) bills_behind: u64,
    surveyed: BTreeSet<SourceId>,
    fenced: BTreeSet<CheckpointId>,
    billed: BTreeSet<CheckpointId>,
    /// Objects on bills of sessions that did not commit.
    uncommitted: HashMap<Key, Uncommitted>,
    /// Packs on bills of sources that are not looked at.
    others: HashSet<PackId>,
    /// Some bill is missing or damaged.
    pub(super) bills_lost: bool,
}

/// Reads it.
pub(super) struct Reading<'a> {
    pub(super) store: &'a Store,
    /// Only this source; none: all.
    pub(super) source: Option<&'a SourceId>,
    pub(super) role: Role,
    pub(super) cancel: &'a Cancel,
    pub(super) damage: &'a mut DamageBook,
}

impl Reading<'_> {
    /// Ends of sessions first, then bills: whoever has ended by then has its bill.
    pub(super) async fn run(mut self) -> Result<Ledger, CheckpointError> {
        let mut ledger = Ledger::default();
        for source in self.sources().await? {
            self.survey(&mut ledger, &source).await?;
        }
        let ended: Vec<CheckpointId> = ledger.committed().cloned().collect();
        let last = self.bills(&mut ledger).await?;
        self.check_billed(&mut ledger, &ended, last);
        Ok(ledger)
    }

    /// From listings; a source that they do not show is found with its first bill.
    async fn sources(&self) -> Result<BTreeSet<SourceId>, CheckpointError> {
        if let Some(source) = self.source {
            return Ok(BTreeSet::from([source.clone()]));
        }
        let mut sources = BTreeSet::from_iter(self.store.repository.sources().await?);
        for meta in self.store.list("checkpoints/").await? {
            let name = meta.key.as_str().split('/').nth(1).unwrap_or_default();
            if !sources.iter().any(|source| source.as_str() == name) {
                sources.extend(SourceId::new(name).ok());
            }
        }
        Ok(sources)
    }

    /// Reads record and end of each session of a source.
    async fn survey(&mut self, ledger: &mut Ledger, source: &SourceId) -> Result<(), CheckpointError> {
        ledger.surveyed.insert(source.clone());
        let store = self.store;
        let numbers = store.repository.sessions(source).await?;
        let mut reads = futures::stream::iter(numbers)
            .map(|number| async move {
                let id = CheckpointId { source: source.clone(), number };
                let record = store.repository.session(source, number).await;
                let standing = load_standing(store, &id).await;
                (id, record, standing)
            })
            .buffered(READS_AT_ONCE);
        while let Some((id, record, standing)) = reads.next().await {
            self.cancel.check()?;
            ledger.sessions += 1;
            let key = layout::session(source, id.number);
            match record.map_err(CheckpointError::from) {
                Ok(Some(_)) => {}
                Ok(None) => self.damage.note(&Bad::absent(&key)),
                Err(error) if error.is_damage() => self.damage.note(&Bad::of(key.as_str(), &error)),
                Err(error) => return Err(error),
            }
            match standing {
                Ok(Standing::Manifest(root)) => drop(ledger.roots.insert(id, *root)),
                Ok(Standing::Fence) => drop(ledger.fenced.insert(id)),
                Ok(Standing::Nothing) => {}
                Err(error) if error.is_damage() => {
                    let key = layout::checkpoint(source, id.number);
                    ledger.unreadable.insert(id, Bad::of(key.as_str(), &error));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads all bills; gives the number of the last.
    async fn bills(&mut self, ledger: &mut Ledger) -> Result<u64, CheckpointError> {
        let store = self.store;
        let listed: BTreeSet<u64> =
            store.list("bills/").await?.iter().filter_map(|meta| layout::number_of(&meta.key)).collect();
        let mut absent = Vec::new();
        let (asked, unasked) = to_ask(&listed);
        absent.extend(unasked);
        let mut reads = futures::stream::iter(asked)
            .map(|number| async move { (number, store.repository.stored_bill(number).await) })
            .buffered(READS_AT_ONCE);
        while let Some((number, bill)) = reads.next().await {
            self.cancel.check()?;
            if !self.bill(ledger, number, bill).await? {
                absent.push((number, number));
            }
        }
        let mut last = listed.last().copied().unwrap_or(0);
        loop {
            let bill = store.repository.stored_bill(last + 1).await;
            if !self.bill(ledger, last + 1, bill).await? {
                break;
            }
            last += 1;
        }
        self.note_absent(ledger, absent);
        Ok(last)
    }

    /// Takes up one bill; false if there is none of that number.
    async fn bill(
        &mut self,
        ledger: &mut Ledger,
        number: u64,
        bill: Result<Option<StoredBill>, RepositoryError>,
    ) -> Result<bool, CheckpointError> {
        let key = layout::bill(number);
        let bill = match bill.map_err(CheckpointError::from) {
            Ok(Some(stored)) => stored.bill,
            Ok(None) => return Ok(false),
            Err(error) if error.is_damage() => {
                self.damage.note(&Bad::of(key.as_str(), &error));
                ledger.bills_lost = true;
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        ledger.bills += 1;
        if self.source.is_some_and(|source| *source != bill.source) {
            ledger.others.extend(bill.objects.iter().filter_map(|receipt| PackId::of_key(&receipt.key)));
            return Ok(true);
        }
        if !ledger.surveyed.contains(&bill.source) {
            self.survey(ledger, &bill.source).await?;
        }
        if bill.commit_key != layout::checkpoint(&bill.source, bill.session) {
            self.damage.note(&Bad::new(key.as_str(), "its `commit-key` is not that of its session", false));
        }
        ledger.take(CheckpointId { source: bill.source, number: bill.session }, bill.objects);
        Ok(true)
    }

    /// Home numbers its bills densely, so a gap is a loss. A mirror puts a bill when its session has ended, so there a
    /// gap is what it does not have yet, and gets with the next step.
    fn note_absent(&mut self, ledger: &mut Ledger, mut absent: Vec<(u64, u64)>) {
        absent.sort_unstable();
        let runs = absent.chunk_by(|a, b| a.1 + 1 == b.0);
        for (first, last) in runs.map(|run| (run[0].0, run[run.len() - 1].1)) {
            if self.role == Role::Mirror {
                ledger.bills_behind += last - first + 1;
                continue;
            }
            ledger.bills_lost = true;
            let what = match last - first {
                0 => "it is not there, and later ones are".to_owned(),
                more => format!("it and the {more} after it are not there, and later ones are"),
            };
            self.damage.note(&Bad::new(layout::bill(first).as_str(), what, true));
        }
    }

    /// A manifest is written after its bill: where no bill is lost, one that has none lost the last ones.
    fn check_billed(&mut self, ledger: &mut Ledger, ended: &[CheckpointId], last: u64) {
        let unbilled: Vec<String> =
            ended.iter().filter(|id| !ledger.billed.contains(id)).map(ToString::to_string).collect();
        if unbilled.is_empty() || ledger.bills_lost {
            return;
        }
        if self.role == Role::Mirror {
            // Those of the gaps may be among them.
            ledger.bills_behind = ledger.bills_behind.max(unbilled.len() as u64);
            return;
        }
        let named = unbilled.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        let more =
            if unbilled.len() > 5 { format!(" and {} more", unbilled.len() - 5) } else { String::new() };
        let what = format!("it is not there: no bill names what {named}{more} stored");
        self.damage.note(&Bad::new(layout::bill(last + 1).as_str(), what, true));
    }
}

/// Numbers to be asked for up to the last that is listed, and the ranges of those that are too many.
fn to_ask(listed: &BTreeSet<u64>) -> (Vec<u64>, Vec<(u64, u64)>) {
    let (mut asked, mut unasked, mut next) = (Vec::new(), Vec::new(), 1);
    for number in listed.iter().copied().filter(|number| *number > 0) {
        let end = number.min(next + GAP_ASKED_MAX);
        asked.extend(next..end);
        if end < number {
            unasked.push((end, number - 1));
        }
        asked.push(number);
        next = number.saturating_add(1);
    }
    (asked, unasked)
}

impl Ledger {
    /// Sessions at whose commit key something stands that is no fence.
    pub(super) fn committed(&self) -> impl Iterator<Item = &CheckpointId> {
        self.roots.keys().chain(self.unreadable.keys())
    }

    pub(super) fn has_committed(&self, id: &CheckpointId) -> bool {
        self.roots.contains_key(id) || self.unreadable.contains_key(id)
    }

    fn take(&mut self, id: CheckpointId, objects: Vec<Receipt>) {
        self.billed.insert(id.clone());
        let committed = self.has_committed(&id);
        let open = !committed && !self.fenced.contains(&id);
        for Receipt { key, len, sha256 } in objects {
            let billed = Billed { len, sha256 };
            if committed {
                self.take_committed(key, billed);
                continue;
            }
            let object = self.uncommitted.entry(key).or_insert(Uncommitted { billed, open: Vec::new() });
            if open && !object.open.contains(&id) {
                object.open.push(id.clone());
            }
        }
        if open {
            self.unfinished.insert(id);
        }
    }

    fn take_committed(&mut self, key: Key, billed: Billed) {
        match PackId::of_key(&key) {
            Some(pack) => drop(self.packs.entry(pack).or_insert(billed)),
            None => drop(self.indexes.entry(key).or_insert(billed)),
        }
    }

    /// The one session without an end that has this pack on its bill.
    pub(super) fn open_owner(&self, pack: &PackId) -> Option<&CheckpointId> {
        match self.uncommitted.get(&pack.key())?.open.as_slice() {
            [owner] => Some(owner),
            _ => None,
        }
    }

    /// Takes a session for committed after all: what its bill names is to be checked.
    pub(super) fn was_committed(&mut self, id: &CheckpointId) {
        self.unfinished.remove(id);
        let owned: Vec<(Key, Uncommitted)> =
            self.uncommitted.extract_if(|_, object| object.open.contains(id)).collect();
        for (key, object) in owned {
            self.take_committed(key, object.billed);
        }
    }

    /// Keys of all indexes that committed sessions have: on their bills, and as their manifests count them.
    pub(super) fn index_keys(&self) -> BTreeSet<Key> {
        let counted = self.roots.iter().flat_map(|(id, root)| {
            let owner = IndexOwner::Session(id.source.clone(), id.number);
            (0..root.index_parts).map(move |part| index::key(&owner, part))
        });
        self.indexes.keys().cloned().chain(counted).collect()
    }

    /// How many objects no committed session has on its bill and nothing needs. `needed` is asked of packs.
    pub(super) fn unreferenced<'a>(
        &self,
        listed: impl Iterator<Item = &'a PackId>,
        needed: impl Fn(&PackId) -> bool,
    ) -> u64 {
        let given_up = |key: &&Key| match PackId::of_key(key) {
            Some(pack) => !self.packs.contains_key(&pack) && !needed(&pack),
            None => !self.indexes.contains_key(*key),
        };
        let unbilled = |pack: &&PackId| {
            let known = self.packs.contains_key(*pack) || self.others.contains(*pack) || needed(pack);
            !known && !self.uncommitted.contains_key(&pack.key())
        };
        (self.uncommitted.keys().filter(given_up).count() + listed.filter(unbilled).count()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stray_bill_far_ahead_is_not_counted_up_to() {
        let (asked, unasked) = to_ask(&BTreeSet::from([0, 1, 3, u64::MAX]));
        assert_eq!(asked[..4], [1, 2, 3, 4]);
        assert_eq!(asked.len() as u64, 3 + GAP_ASKED_MAX + 1);
        assert_eq!(unasked, [(4 + GAP_ASKED_MAX, u64::MAX - 1)]);
        assert_eq!(to_ask(&BTreeSet::new()), (vec![], vec![]));
    }
}
