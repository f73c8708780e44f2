//! What bills name, and what a copy lists: the audit's two sides. Pure but for the reading.

use std::collections::{BTreeSet, HashMap};

use futures::FutureExt as _;
use futures::future::join_all;
use rpo_core::SourceId;
use rpo_repository::{Bill, Repository, layout};
use rpo_storage::{Key, ListRequest, ObjectMeta};

use crate::Error;

/// Bills read at the same time.
const BILLS_AT_ONCE: usize = 32;

/// Every bill, read once and followed: about 50 bytes for each object.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Bill `n` at index `n - 1`; none: no copy that answers has it any more.
    bills: Vec<Option<Billed>>,
}

/// What one bill says.
#[derive(Debug, Clone)]
struct Billed {
    source: SourceId,
    session: u64,
    objects: Box<[(Name, u64)]>,
}

/// A key; that of a pack without its text, since there are many.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Name {
    Pack([u8; 16]),
    Other(Key),
}

/// An object that should be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) bill: u64,
    pub(super) key: Key,
    pub(super) len: u64,
}

/// What one copy lists: a hint, and a proof only of what is in it.
#[derive(Debug, Default)]
pub(super) struct Listed {
    objects: HashMap<Name, u64>,
    /// Sessions that have ended.
    ends: BTreeSet<(SourceId, u64)>,
}

impl From<Bill> for Billed {
    fn from(bill: Bill) -> Self {
        let objects = bill.objects.iter().map(|receipt| (Name::of(&receipt.key), receipt.len)).collect();
        Self { source: bill.source, session: bill.session, objects }
    }
}

impl Name {
    fn of(key: &Key) -> Self {
        let pack = key.as_str().strip_prefix("packs/").and_then(|rest| rest.get(3..));
        let id = pack.filter(|digits| digits.len() == 32).and_then(|digits| {
            let number = u128::from_str_radix(digits, 16).ok()?;
            Some(number.to_be_bytes())
        });
        match id {
            // What does not come back as it was is no name of a pack.
            Some(id) if layout::pack(&id) == *key => Self::Pack(id),
            _ => Self::Other(key.clone()),
        }
    }

    fn key(&self) -> Key {
        match self {
            Self::Pack(id) => layout::pack(id),
            Self::Other(key) => key.clone(),
        }
    }
}

impl Listed {
    /// Lists a copy: first what it claims, then what it has.
    pub(super) async fn of(copy: &Repository) -> Result<Self, Error> {
        let mut listed = Self::default();
        for prefix in ["checkpoints/", "indexes/", "packs/"] {
            let mut start_after = None;
            loop {
                let request = ListRequest { prefix: prefix.to_owned(), start_after, limit: None };
                let page = copy.storage().list(request).await?;
                page.objects.iter().for_each(|meta| listed.note(meta));
                match page.objects.last() {
                    Some(last) if page.more => start_after = Some(last.key.clone()),
                    _ => break,
                }
            }
        }
        Ok(listed)
    }

    pub(super) fn note(&mut self, meta: &ObjectMeta) {
        match meta.key.as_str().strip_prefix("checkpoints/") {
            Some(rest) => {
                let source = rest.split_once('/').and_then(|(source, _)| SourceId::new(source).ok());
                self.ends.extend(source.zip(layout::number_of(&meta.key)));
            }
            None => drop(self.objects.insert(Name::of(&meta.key), meta.len)),
        }
    }

    /// The ended sessions of a source, newest first.
    pub(super) fn newest_of(&self, source: &SourceId) -> Vec<u64> {
        let ends = self.ends.range((source.clone(), 0)..=(source.clone(), u64::MAX));
        ends.rev().map(|(_, number)| *number).collect()
    }
}

impl Ledger {
    /// Reads what was billed since the last time: each bill from the first of `all` that has it.
    pub(super) async fn follow(&mut self, all: &[Repository]) -> Result<(), Error> {
        let holes: Vec<usize> = (0..self.bills.len()).filter(|at| self.bills[*at].is_none()).collect();
        for at in holes {
            let found = bill(all, at as u64 + 1).await?;
            self.bills[at] = found.map(Billed::from);
        }
        let listed = self.highest_listed(all).await?;
        loop {
            let next = self.bills.len() as u64 + 1;
            let until = listed.clamp(next, next + BILLS_AT_ONCE as u64 - 1);
            // That nothing follows, one copy can tell; a hole is asked of all.
            let asked = |number| if number > listed { &all[..all.len().min(1)] } else { all };
            let reads: Vec<_> = (next..=until).map(|number| bill(asked(number), number).boxed()).collect();
            for (number, read) in (next..=until).zip(join_all(reads).await) {
                match read? {
                    None if number > listed => return Ok(()),
                    found => self.note(found),
                }
            }
        }
    }

    pub(super) fn note(&mut self, bill: Option<Bill>) {
        self.bills.push(bill.map(Billed::from));
    }

    /// The highest number that a copy lists: where a bill is missing in the middle, others follow.
    async fn highest_listed(&self, all: &[Repository]) -> Result<u64, Error> {
        let mut highest = self.bills.len() as u64;
        let mut trouble = None;
        for copy in all {
            let mut start_after = (highest > 0).then(|| layout::bill(highest));
            loop {
                let request = ListRequest { prefix: "bills/".to_owned(), start_after, limit: None };
                match copy.storage().list(request).await {
                    Ok(page) => {
                        let numbers = page.objects.iter().filter_map(|meta| layout::number_of(&meta.key));
                        highest = numbers.fold(highest, u64::max);
                        start_after = page.objects.last().map(|last| last.key.clone());
                        if page.more && start_after.is_some() {
                            continue;
                        }
                        return Ok(highest); // the first that answers: home, if it does
                    }
                    Err(error) => {
                        trouble = Some(error);
                        break;
                    }
                }
            }
        }
        trouble.map_or(Ok(highest), |error| Err(error.into()))
    }

    /// Every bill up to this number has all its objects where these sessions have ended.
    fn claimed(&self, listed: &Listed) -> usize {
        let claims = |bill: &Option<Billed>| {
            bill.as_ref().is_some_and(|bill| listed.ends.contains(&(bill.source.clone(), bill.session)))
        };
        self.bills.iter().rposition(claims).map_or(0, |last| last + 1)
    }

    /// What a copy claims and does not list, or lists with another length.
    pub(super) fn unlisted<'a>(&'a self, listed: &'a Listed) -> impl Iterator<Item = Expected> + 'a {
        let claimed = self.bills[..self.claimed(listed)].iter().zip(1..);
        let named = claimed.filter_map(|(bill, number)| Some((bill.as_ref()?, number)));
        let objects =
            named.flat_map(|(bill, number)| bill.objects.iter().map(move |object| (object, number)));
        objects
            .filter(|((name, len), _)| listed.objects.get(name) != Some(len))
            .map(|((name, len), bill)| Expected { bill, key: name.key(), len: *len })
    }

    /// The sessions of `source` that have ended in a copy and were billed wholly before bill `lost`, newest first: what they
    /// need was stored before their own last bill, so nothing that is missing can touch them.
    pub(super) fn unharmed(&self, source: &SourceId, listed: &Listed, lost: u64) -> Vec<u64> {
        let mut last_bill: HashMap<u64, u64> = HashMap::new();
        for (bill, number) in self.bills.iter().zip(1..) {
            if let Some(bill) = bill.as_ref().filter(|bill| bill.source == *source) {
                last_bill.insert(bill.session, number);
            }
        }
        let mut sessions = listed.newest_of(source);
        sessions.retain(|session| last_bill.get(session).is_some_and(|bill| *bill < lost));
        sessions
    }
}

/// Bill `number`, from the first of `all` that has it; none if those that answered have not.
pub(super) async fn bill(all: &[Repository], number: u64) -> Result<Option<Bill>, Error> {
    let (mut trouble, mut answered) = (None, false);
    for copy in all {
        match copy.bill(number).await {
            Ok(Some(bill)) => return Ok(Some(bill)),
            Ok(None) => answered = true,
            Err(error) => trouble = Some(error),
        }
    }
    trouble.filter(|_| !answered).map_or(Ok(None), |error| Err(error.into()))
}
