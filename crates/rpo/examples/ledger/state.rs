//! The bank's state as a checkpoint sees it: named streams out of a running bank, and a bank out of named streams.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rpo::core::ports::{
    Capture, CaptureReport, Captured, Change, Content, ContentReader, Entry, EntryKind, EntryPath,
    EntryStream, Extent, Metadata, RestoreError, RestoreReport, Restorer, Source, SourceError, Stability,
    Validation,
};
use rpo::core::{Commit, Position};
use rpo::wal::Log;
use serde::{Deserialize, Serialize};

use super::bank::{Bank, Transfer};

/// What sort of source this is, as manifests say it.
pub const KIND: &str = "ledger";

/// Transfers per stream: full blocks never change, so they are stored once.
const BLOCK: usize = 4_096;

/// The running bank and where it stands in its log: always seen together.
#[derive(Debug, Clone, Default)]
pub struct Shared(Arc<Mutex<State>>);

/// A bank and the position of the last transfer booked.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The bank.
    pub bank: Bank,
    /// Where it stands in its log; `None` before the first transfer.
    pub position: Option<Position>,
}

impl Shared {
    /// Shares a bank.
    pub fn new(state: State) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    /// Looks at, or changes, bank and position together.
    pub fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Captures the running bank: `balances`, and the journal in blocks.
#[derive(Debug)]
pub struct LedgerSource {
    state: Shared,
    log: Log,
}

impl LedgerSource {
    /// A source of the shared bank, whose transfers are in `log`.
    pub fn new(state: Shared, log: Log) -> Self {
        Self { state, log }
    }
}

impl Source for LedgerSource {
    fn kind(&self) -> &str {
        KIND
    }

    fn capture(&self, _parent: Option<Box<dyn EntryStream>>) -> Result<Box<dyn Capture>, SourceError> {
        let state = self.state.with(|state| state.clone());
        // The bank is ahead of its log by what is being synced: a checkpoint must not hold what a crash could take back.
        self.log.sync().map_err(|error| SourceError::Io {
            path: self.log.dir().display().to_string(),
            op: "sync",
            source: io::Error::other(error),
        })?;
        let mut streams = BTreeMap::new();
        streams.insert(stream("balances"), json(state.bank.balances()));
        let journal: Vec<_> = state.bank.journal().collect();
        for (number, block) in journal.chunks(BLOCK).enumerate() {
            streams.insert(stream(&format!("journal-{number:08}")), json(block));
        }
        let entries = streams.iter().map(|(path, bytes)| entry(path, bytes)).collect::<Vec<_>>();
        Ok(Box::new(LedgerCapture {
            position: state.position,
            entries: entries.into_iter(),
            streams: Arc::new(streams),
        }))
    }
}

fn stream(name: &str) -> EntryPath {
    EntryPath::new(name).expect("the names of our streams are plain")
}

fn json<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("numbers and lists become JSON")
}

fn entry(path: &EntryPath, bytes: &[u8]) -> Entry {
    let len = bytes.len() as u64;
    Entry {
        path: path.clone(),
        kind: EntryKind::File,
        metadata: Metadata::default(),
        len,
        extents: vec![Extent { offset: 0, len }],
        fingerprint: None,
        changed_while_read: false,
    }
}

struct LedgerCapture {
    position: Option<Position>,
    entries: std::vec::IntoIter<Entry>,
    streams: Arc<BTreeMap<EntryPath, Vec<u8>>>,
}

impl Capture for LedgerCapture {
    fn position(&self) -> Option<Position> {
        Some(self.position.unwrap_or(Position::START))
    }

    fn next(&mut self) -> Result<Option<Captured>, SourceError> {
        Ok(self.entries.next().map(|entry| Captured::Entry(entry, Change::Content)))
    }

    fn reader(&self) -> Arc<dyn ContentReader> {
        Arc::new(Streams(self.streams.clone()))
    }

    fn finish(self: Box<Self>) -> Result<CaptureReport, SourceError> {
        Ok(CaptureReport { entries: self.streams.len() as u64, unchanged: 0, lost: 0 })
    }
}

struct Streams(Arc<BTreeMap<EntryPath, Vec<u8>>>);

impl ContentReader for Streams {
    fn open(&self, entry: &Entry) -> Result<Box<dyn Content>, SourceError> {
        Ok(Box::new(StreamContent { streams: self.0.clone(), entry: entry.clone() }))
    }
}

struct StreamContent {
    streams: Arc<BTreeMap<EntryPath, Vec<u8>>>,
    entry: Entry,
}

impl Content for StreamContent {
    fn entry(&self) -> &Entry {
        &self.entry
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, SourceError> {
        let bytes = self.streams.get(&self.entry.path).map(Vec::as_slice).unwrap_or_default();
        let rest = usize::try_from(offset).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn finish(self: Box<Self>) -> Result<Stability, SourceError> {
        Ok(Stability::Stable) // a snapshot in memory
    }
}

/// Rebuilds a bank from a checkpoint and its log, and writes it to a file of its own.
#[derive(Debug)]
pub struct LedgerRestorer {
    target: PathBuf,
    accounts: u32,
    building: Mutex<Building>,
}

#[derive(Debug, Default)]
struct Building {
    streams: BTreeMap<EntryPath, Vec<u8>>,
    state: Option<State>,
    report: RestoreReport,
}

impl LedgerRestorer {
    /// Restores into the file `target`, which must not exist; without a checkpoint it begins with `accounts` accounts.
    pub fn new(target: impl Into<PathBuf>, accounts: u32) -> Self {
        Self { target: target.into(), accounts, building: Mutex::default() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Building> {
        self.building.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Restorer for LedgerRestorer {
    fn kind(&self) -> &str {
        KIND
    }

    fn entry(&self, entry: &Entry) -> Result<(), RestoreError> {
        let len = usize::try_from(entry.len)
            .map_err(|_| RestoreError::Invalid(format!("{}: too long", entry.path)))?;
        let mut building = self.lock();
        building.report.entries += 1;
        building.streams.insert(entry.path.clone(), Vec::with_capacity(len.min(64 << 20)));
        Ok(())
    }

    fn extent(&self, path: &EntryPath, offset: u64, bytes: &[u8]) -> Result<(), RestoreError> {
        let mut building = self.lock();
        building.report.bytes += bytes.len() as u64;
        let unknown = || RestoreError::Invalid(format!("{path}: content before its entry"));
        let stream = building.streams.get_mut(path).ok_or_else(unknown)?;
        let start =
            usize::try_from(offset).map_err(|_| RestoreError::Invalid(format!("{path}: offset {offset}")))?;
        if stream.len() < start + bytes.len() {
            stream.resize(start + bytes.len(), 0);
        }
        stream[start..start + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn close(&self, _path: &EntryPath) -> Result<(), RestoreError> {
        Ok(())
    }

    fn finish_base(&self, position: Option<Position>) -> Result<(), RestoreError> {
        let mut building = self.lock();
        let streams = std::mem::take(&mut building.streams);
        let bank = if streams.is_empty() { Bank::open(self.accounts) } else { bank_from(&streams)? };
        building.state = Some(State { bank, position: Some(position.unwrap_or(Position::START)) });
        Ok(())
    }

    fn apply(&self, commit: &Commit) -> Result<(), RestoreError> {
        let mut building = self.lock();
        let state = building
            .state
            .as_mut()
            .ok_or_else(|| RestoreError::Invalid("a commit before the base".into()))?;
        for record in &commit.records {
            let transfer: Transfer = serde_json::from_slice(&record.payload).map_err(|e| {
                RestoreError::Invalid(format!("record at lsn {} is no transfer: {e}", record.lsn))
            })?;
            state
                .bank
                .book(transfer)
                .map_err(|e| RestoreError::Invalid(format!("at lsn {}: {e}", record.lsn)))?;
        }
        state.position = Some(commit.position());
        building.report.commits += 1;
        Ok(())
    }

    fn position(&self) -> Option<Position> {
        self.lock().state.as_ref().and_then(|state| state.position)
    }

    fn validate(&self) -> Result<Validation, RestoreError> {
        let building = self.lock();
        let state =
            building.state.as_ref().ok_or_else(|| RestoreError::Invalid("nothing was restored".into()))?;
        Ok(Validation { checks: state.bank.audit() })
    }

    fn publish(&self) -> Result<RestoreReport, RestoreError> {
        let building = self.lock();
        let state =
            building.state.as_ref().ok_or_else(|| RestoreError::Invalid("nothing was restored".into()))?;
        save(state, &self.target)?;
        Ok(building.report.clone())
    }

    fn abandon(&self) -> Result<(), RestoreError> {
        *self.lock() = Building::default();
        Ok(())
    }
}

fn bank_from(streams: &BTreeMap<EntryPath, Vec<u8>>) -> Result<Bank, RestoreError> {
    let mut balances = None;
    let mut journal: Vec<Transfer> = Vec::new();
    for (path, bytes) in streams {
        let damaged = |e| RestoreError::Invalid(format!("stream {path}: {e}"));
        if *path == stream("balances") {
            balances = Some(serde_json::from_slice(bytes).map_err(damaged)?);
        } else {
            journal.extend(serde_json::from_slice::<Vec<Transfer>>(bytes).map_err(damaged)?);
        }
    }
    let balances =
        balances.ok_or_else(|| RestoreError::Invalid("the checkpoint has no stream `balances`".into()))?;
    Ok(Bank::from_parts(balances, journal))
}

/// Writes `state` to `target`, which must not exist: first beside it, synced, then one link into place.
///
/// # Errors
/// `target` exists, or the system fails; nothing is in place then.
pub fn save(state: &State, target: &Path) -> Result<(), RestoreError> {
    let failed = |op: &'static str, path: &Path| {
        let path = path.display().to_string();
        move |source: io::Error| RestoreError::Io { path, op, source }
    };
    let beside = target.with_extension("partial");
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = std::fs::File::create(&beside).map_err(failed("create", &beside))?;
    serde_json::to_writer(io::BufWriter::new(&file), state)
        .map_err(|e| failed("write", &beside)(e.into()))?;
    file.sync_all().map_err(failed("sync", &beside))?;
    let placed = std::fs::hard_link(&beside, target).map_err(failed("put in place", target));
    std::fs::remove_file(&beside).map_err(failed("remove", &beside))?;
    placed?;
    std::fs::File::open(folder).and_then(|dir| dir.sync_all()).map_err(failed("sync", folder))
}

/// Reads what [`save`] wrote.
///
/// # Errors
/// It is not there, or is no bank.
pub fn load(target: &Path) -> Result<State, RestoreError> {
    let failed = |source| RestoreError::Io { path: target.display().to_string(), op: "read", source };
    let bytes = std::fs::read(target).map_err(failed)?;
    serde_json::from_slice(&bytes).map_err(|e| RestoreError::Invalid(format!("{}: {e}", target.display())))
}
