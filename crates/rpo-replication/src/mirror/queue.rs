//! The bills that a mirror has not completed yet, in order.

use std::collections::{BTreeMap, BTreeSet};

use rpo_core::SourceId;
use rpo_repository::{Bill, layout};
use rpo_storage::{Key, ListRequest};

use super::place;
use super::resend::send_again;
use super::sessions::Sessions;
use crate::ReplicationError;
use crate::copies::{CopySpec, ObjectCursor, Seen};

/// A bill of home that the mirror does not have yet.
#[derive(Debug, Clone)]
pub(super) struct QueuedBill {
    pub(super) number: u64,
    pub(super) bill: Bill,
    first_seen: Seen,
    state: BillState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BillState {
    /// Some objects may not be here.
    Incomplete,
    /// All objects are here; the session has not ended, or its end is not here.
    Complete,
    /// Home has collected its objects.
    Abandoned,
}

/// Bills of home in order, and which of them are complete here.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Bills that the mirror has; read once. A listing proves what is there, and nothing else is concluded from it.
    here: Option<BTreeSet<u64>>,
    /// Newest bill that home is known to have.
    newest: u64,
    waiting: BTreeMap<u64, QueuedBill>,
}

impl Queue {
    /// Reads bills that home has since the last look.
    pub(super) async fn follow(
        &mut self,
        home: &CopySpec,
        mirror: &CopySpec,
        seen: Seen,
    ) -> Result<(), ReplicationError> {
        if self.here.is_none() {
            self.here = Some(listed_numbers(mirror, "bills/").await?);
        }
        loop {
            let number = self.newest + 1;
            if !self.here.as_ref().is_some_and(|here| here.contains(&number)) {
                let stored = home
                    .repository
                    .stored_bill(number)
                    .await
                    .map_err(|error| home.repository_fault(error))?;
                let Some(stored) = stored else { return Ok(()) };
                let queued =
                    QueuedBill { number, bill: stored.bill, first_seen: seen, state: BillState::Incomplete };
                self.waiting.insert(number, queued);
            }
            self.newest = number;
        }
    }

    /// Sends bills again that were believed to be here and are not. Returns how many.
    pub(super) async fn recheck(&self, home: &CopySpec, mirror: &CopySpec) -> Result<u64, ReplicationError> {
        let listed = listed_numbers(mirror, "bills/").await?;
        let believed = (1..=self.newest).filter(|number| !self.waiting.contains_key(number));
        let mut gone = 0;
        for number in believed.filter(|number| !listed.contains(number)) {
            gone += u64::from(send_again(home, mirror, layout::bill(number)).await?);
        }
        Ok(gone)
    }

    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// Sources that waiting bills name.
    pub(super) fn sources(&self) -> BTreeSet<SourceId> {
        self.waiting.values().map(|queued| queued.bill.source.clone()).collect()
    }

    pub(super) fn first_incomplete(&self) -> Option<&QueuedBill> {
        self.waiting.values().find(|queued| queued.state == BillState::Incomplete)
    }

    /// Every bill up to this number has its objects here.
    pub(super) fn complete(&self) -> u64 {
        self.first_incomplete().map_or(self.newest, |queued| queued.number - 1)
    }

    pub(super) fn completed(&mut self, number: u64) {
        self.set(number, BillState::Complete);
    }

    pub(super) fn abandoned(&mut self, number: u64) {
        self.set(number, BillState::Abandoned);
    }

    fn set(&mut self, number: u64, state: BillState) {
        if let Some(queued) = self.waiting.get_mut(&number) {
            queued.state = state;
        }
    }

    /// Puts the bills whose sessions have their end here; the last objects of a part to arrive.
    pub(super) async fn settle(
        &mut self,
        home: &CopySpec,
        mirror: &CopySpec,
        sessions: &Sessions,
    ) -> Result<(), ReplicationError> {
        let ended = |queued: &&QueuedBill| {
            queued.state == BillState::Complete
                && sessions.is_published(&queued.bill.source, queued.bill.session)
        };
        let numbers: Vec<u64> = self.waiting.values().filter(ended).map(|queued| queued.number).collect();
        for number in numbers {
            let key = layout::bill(number);
            // Fetched again rather than kept: bills can be large, and few are settled at once.
            if let Some(bytes) = home.fetch(&key).await? {
                place(mirror, &key, &bytes).await?;
            }
            self.waiting.remove(&number);
        }
        Ok(())
    }

    pub(super) fn cursor(&self, now: Seen) -> ObjectCursor {
        let incomplete = || self.waiting.values().filter(|queued| queued.state == BillState::Incomplete);
        let receipts = || incomplete().flat_map(|queued| &queued.bill.objects);
        ObjectCursor {
            bills: self.complete(),
            bills_at_home: self.newest,
            lag_objects: receipts().count() as u64,
            lag_bytes: receipts().map(|receipt| receipt.len).sum(),
            lag_time: incomplete()
                .next()
                .map(|queued| now.steady.since(queued.first_seen.steady))
                .unwrap_or_default(),
            newest: Vec::new(),
            evidence: None,
        }
    }
}

/// Numbers of the objects that are listed directly below `prefix`.
pub(super) async fn listed_numbers(copy: &CopySpec, prefix: &str) -> Result<BTreeSet<u64>, ReplicationError> {
    let mut numbers = BTreeSet::new();
    let mut start_after: Option<Key> = None;
    loop {
        let request = ListRequest { prefix: prefix.to_owned(), start_after, limit: None };
        let page = copy.repository.storage().list(request).await.map_err(|error| copy.fault(error))?;
        numbers.extend(page.objects.iter().filter_map(|meta| layout::number_of(&meta.key)));
        match page.objects.last() {
            Some(last) if page.more => start_after = Some(last.key.clone()),
            _ => return Ok(numbers),
        }
    }
}
