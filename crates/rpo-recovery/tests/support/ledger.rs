//! The program: accounts in a map. Its source, and its restorer, which believes whatever it is given.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rpo_core::ports::{
    Capture, CaptureReport, Captured, Change as Changed, Content, ContentReader, Entry, EntryKind, EntryPath,
    EntryStream, Extent, Metadata, RestoreError, RestoreReport, Restorer, Source, SourceError, Stability,
    Validation,
};
use rpo_core::{Commit, Position, TransactionId};
use rpo_testkit::sim::Rng;

use super::Issued;

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    account: u16,
    delta: i64,
}

impl Change {
    pub(crate) fn random(rng: &mut Rng) -> Self {
        Self { account: rng.below(40) as u16, delta: rng.below(2_000) as i64 - 1_000 }
    }

    /// Padded, so that batches fill up.
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = self.account.to_le_bytes().to_vec();
        bytes.extend(self.delta.to_le_bytes());
        bytes.resize(10 + 90, self.account as u8);
        bytes.into()
    }

    fn decode(bytes: &[u8]) -> Self {
        let (account, rest) = bytes.split_first_chunk().unwrap();
        let delta = rest.first_chunk().unwrap();
        Self { account: u16::from_le_bytes(*account), delta: i64::from_le_bytes(*delta) }
    }
}

/// The accounts, and marks that tell any two numbers of commits and any two orders apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct State {
    accounts: BTreeMap<u16, i64>,
    pub(crate) commits: u64,
    order: u64,
}

impl State {
    pub(crate) fn apply(&mut self, transaction: Option<TransactionId>, changes: &[Change]) {
        self.commits += 1;
        self.order = self.order.wrapping_mul(31).wrapping_add(transaction.map_or(7, |id| id.0));
        for change in changes {
            *self.accounts.entry(change.account).or_default() += change.delta;
            self.order = self.order.wrapping_mul(31).wrapping_add(u64::from(change.account));
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = [self.commits.to_le_bytes(), self.order.to_le_bytes()].concat();
        for (account, sum) in &self.accounts {
            bytes.extend(account.to_le_bytes());
            bytes.extend(sum.to_le_bytes());
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let (commits, order) = (word(0)?, word(8)?);
        let accounts = bytes.get(16..)?.chunks_exact(10).map(|pair| {
            let change = Change::decode(pair);
            (change.account, change.delta)
        });
        Some(Self { accounts: accounts.collect(), commits, order })
    }
}

/// The running program.
#[derive(Debug)]
pub(crate) struct Ledger(Mutex<(State, Position)>);

impl Ledger {
    pub(crate) fn new(state: State, at: Position) -> Self {
        Self(Mutex::new((state, at)))
    }

    pub(crate) fn apply(&self, issued: &Issued, at: Position) {
        let mut inner = self.0.lock().unwrap();
        inner.0.apply(issued.transaction, &issued.changes);
        inner.1 = at;
    }
}

impl Source for Ledger {
    fn kind(&self) -> &str {
        "ledger"
    }

    fn capture(&self, _: Option<Box<dyn EntryStream>>) -> Result<Box<dyn Capture>, SourceError> {
        let (state, at) = self.0.lock().unwrap().clone();
        let bytes = Arc::new(state.encode());
        let entry = Entry {
            path: EntryPath::new("accounts").unwrap(),
            kind: EntryKind::File,
            metadata: Metadata::default(),
            len: bytes.len() as u64,
            extents: vec![Extent { offset: 0, len: bytes.len() as u64 }],
            fingerprint: None,
            changed_while_read: false,
        };
        Ok(Box::new(LedgerCapture { at, next: Some(entry), bytes }))
    }
}

struct LedgerCapture {
    at: Position,
    next: Option<Entry>,
    bytes: Arc<Vec<u8>>,
}

impl Capture for LedgerCapture {
    fn position(&self) -> Option<Position> {
        Some(self.at)
    }
    fn next(&mut self) -> Result<Option<Captured>, SourceError> {
        Ok(self.next.take().map(|entry| Captured::Entry(entry, Changed::Content)))
    }
    fn reader(&self) -> Arc<dyn ContentReader> {
        Arc::new(LedgerReader(Arc::clone(&self.bytes)))
    }
    fn finish(self: Box<Self>) -> Result<CaptureReport, SourceError> {
        Ok(CaptureReport { entries: 1, ..CaptureReport::default() })
    }
}

struct LedgerReader(Arc<Vec<u8>>);

impl ContentReader for LedgerReader {
    fn open(&self, entry: &Entry) -> Result<Box<dyn Content>, SourceError> {
        Ok(Box::new(LedgerContent(entry.clone(), Arc::clone(&self.0))))
    }
}

struct LedgerContent(Entry, Arc<Vec<u8>>);

impl Content for LedgerContent {
    fn entry(&self) -> &Entry {
        &self.0
    }
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, SourceError> {
        let rest = self.1.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
    fn finish(self: Box<Self>) -> Result<Stability, SourceError> {
        Ok(Stability::Stable)
    }
}

#[derive(Debug, Default)]
struct Building {
    base: Vec<u8>,
    state: State,
    at: Option<Position>,
    commits: u64,
    published: Option<Vec<u8>>,
}

/// Rebuilds the accounts. It checks nothing, so that what it was given shows.
#[derive(Debug, Default)]
pub(crate) struct LedgerRestorer(Mutex<Building>);

impl LedgerRestorer {
    pub(crate) fn published(&self) -> Option<Vec<u8>> {
        self.0.lock().unwrap().published.clone()
    }
}

impl Restorer for LedgerRestorer {
    fn kind(&self) -> &str {
        "ledger"
    }
    fn entry(&self, entry: &Entry) -> Result<(), RestoreError> {
        self.0.lock().unwrap().base.resize(entry.len as usize, 0);
        Ok(())
    }
    fn extent(&self, _: &EntryPath, offset: u64, bytes: &[u8]) -> Result<(), RestoreError> {
        self.0.lock().unwrap().base[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
    fn close(&self, _: &EntryPath) -> Result<(), RestoreError> {
        Ok(())
    }
    fn finish_base(&self, position: Option<Position>) -> Result<(), RestoreError> {
        let mut inner = self.0.lock().unwrap();
        if !inner.base.is_empty() {
            inner.state =
                State::decode(&inner.base).ok_or_else(|| RestoreError::Invalid("no accounts".to_owned()))?;
        }
        inner.at = position;
        Ok(())
    }
    fn apply(&self, commit: &Commit) -> Result<(), RestoreError> {
        let mut inner = self.0.lock().unwrap();
        let changes: Vec<_> = commit.records.iter().map(|record| Change::decode(&record.payload)).collect();
        inner.state.apply(commit.transaction, &changes);
        inner.commits += 1;
        inner.at = Some(commit.position());
        Ok(())
    }
    fn position(&self) -> Option<Position> {
        self.0.lock().unwrap().at
    }
    fn validate(&self) -> Result<Validation, RestoreError> {
        Ok(Validation::default())
    }
    fn publish(&self) -> Result<RestoreReport, RestoreError> {
        let mut inner = self.0.lock().unwrap();
        inner.published = Some(inner.state.encode());
        Ok(RestoreReport { entries: 1, commits: inner.commits, ..RestoreReport::default() })
    }
    fn abandon(&self) -> Result<(), RestoreError> {
        *self.0.lock().unwrap() = Building::default();
        Ok(())
    }
}
