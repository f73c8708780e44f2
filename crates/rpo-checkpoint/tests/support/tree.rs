use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use rpo_core::ports::{
    Capture, CaptureReport, Captured, Change, Content, ContentReader, Entry, EntryKind, EntryPath,
    EntryStream, Extent, FileTime, Fingerprint, Metadata, RestoreError, RestoreReport, Restorer, Skipped,
    Source, SourceError, Stability, Validation,
};
use rpo_core::{Commit, Position};

pub fn path(text: &str) -> EntryPath {
    EntryPath::new(text).unwrap()
}

pub fn text(len: usize, seed: u64) -> Vec<u8> {
    let words = ["alpha ", "beta ", "gamma ", "delta ", "epsilon\n"];
    let noise = noise(len / 4 + 1, seed);
    let mut out: Vec<u8> =
        noise.iter().flat_map(|byte| words[usize::from(*byte) % words.len()].bytes()).collect();
    out.truncate(len);
    out
}

pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    out.truncate(len);
    out
}

#[derive(Debug, Clone)]
struct Node {
    entry: Entry,
    content: Vec<u8>,
}

#[derive(Debug, Default)]
struct State {
    nodes: BTreeMap<EntryPath, Node>,
    clock: i64,
    vanish: BTreeSet<EntryPath>,
    unreadable: BTreeSet<EntryPath>,
    skip: BTreeSet<EntryPath>,
    /// How often each still changes while it is read.
    changing: BTreeMap<EntryPath, u32>,
    reads: Vec<EntryPath>,
    panic_on: Option<EntryPath>,
    ignore_parent: bool,
    position: Option<Position>,
}

/// Files in memory.
#[derive(Debug, Default)]
pub struct MemoryTree {
    state: Arc<Mutex<State>>,
}

impl MemoryTree {
    pub fn put(&self, at: &str, content: impl Into<Vec<u8>>) {
        let content = content.into();
        let extents =
            if content.is_empty() { vec![] } else { vec![Extent { offset: 0, len: content.len() as u64 }] };
        self.put_sparse(at, content, extents);
    }

    pub fn put_sparse(&self, at: &str, content: Vec<u8>, extents: Vec<Extent>) {
        self.insert(at, EntryKind::File, content, extents);
    }

    pub fn put_kind(&self, at: &str, kind: EntryKind) {
        self.insert(at, kind, Vec::new(), Vec::new());
    }

    fn insert(&self, at: &str, kind: EntryKind, content: Vec<u8>, extents: Vec<Extent>) {
        let mut state = self.state.lock().unwrap();
        state.clock += 1;
        let mtime = FileTime { seconds: state.clock, nanos: 7 };
        let len = content.len() as u64;
        let is_file = kind == EntryKind::File;
        let entry = Entry {
            path: path(at),
            kind,
            metadata: Metadata { mode: 0o640, uid: 1000, gid: 100, mtime, xattrs: vec![] },
            len,
            extents,
            fingerprint: is_file.then_some(Fingerprint { len, mtime, ctime: mtime, inode: 1, trusted: true }),
            changed_while_read: false,
        };
        state.nodes.insert(path(at), Node { entry, content });
    }

    pub fn chmod(&self, at: &str, mode: u32) {
        let mut state = self.state.lock().unwrap();
        state.clock += 1;
        let seconds = state.clock;
        let node = state.nodes.get_mut(&path(at)).unwrap();
        node.entry.metadata.mode = mode;
        if let Some(fingerprint) = &mut node.entry.fingerprint {
            fingerprint.ctime = FileTime { seconds, nanos: 0 };
        }
    }

    pub fn remove(&self, at: &str) {
        self.state.lock().unwrap().nodes.remove(&path(at)).unwrap();
    }

    pub fn vanish(&self, at: &str) {
        self.state.lock().unwrap().vanish.insert(path(at));
    }

    pub fn make_unreadable(&self, at: &str) {
        self.state.lock().unwrap().unreadable.insert(path(at));
    }

    pub fn skip(&self, at: &str) {
        self.state.lock().unwrap().skip.insert(path(at));
    }

    pub fn change_while_read(&self, at: &str, times: u32) {
        self.state.lock().unwrap().changing.insert(path(at), times);
    }

    pub fn panic_on(&self, at: &str) {
        self.state.lock().unwrap().panic_on = Some(path(at));
    }

    pub fn ignore_parent(&self) {
        self.state.lock().unwrap().ignore_parent = true;
    }

    pub fn set_position(&self, position: Position) {
        self.state.lock().unwrap().position = Some(position);
    }

    pub fn take_reads(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().reads).iter().map(ToString::to_string).collect()
    }

    /// The state as a restore of it should look.
    pub fn now(&self) -> Restored {
        let state = self.state.lock().unwrap();
        let node =
            |(path, node): (&EntryPath, &Node)| (path.clone(), (node.entry.clone(), node.content.clone()));
        Restored(state.nodes.iter().map(node).collect())
    }
}

impl Source for MemoryTree {
    fn kind(&self) -> &str {
        "tree"
    }

    fn capture(&self, mut parent: Option<Box<dyn EntryStream>>) -> Result<Box<dyn Capture>, SourceError> {
        let state = self.state.lock().unwrap();
        if state.ignore_parent {
            parent = None;
        }
        let entries: Vec<Entry> = state.nodes.values().map(|node| node.entry.clone()).collect();
        Ok(Box::new(MemoryCapture {
            state: Arc::clone(&self.state),
            entries: entries.into_iter().peekable(),
            parent_head: None,
            parent,
            report: CaptureReport::default(),
        }))
    }
}

struct MemoryCapture {
    state: Arc<Mutex<State>>,
    entries: std::iter::Peekable<std::vec::IntoIter<Entry>>,
    parent: Option<Box<dyn EntryStream>>,
    parent_head: Option<Entry>,
    report: CaptureReport,
}

impl MemoryCapture {
    fn parent_at(&mut self, at: &EntryPath) -> Result<Option<Entry>, SourceError> {
        loop {
            if self.parent_head.is_none() {
                self.parent_head = match &mut self.parent {
                    Some(parent) => parent.next()?,
                    None => None,
                };
            }
            match &self.parent_head {
                Some(head) if head.path < *at => self.parent_head = None,
                Some(head) if head.path == *at => return Ok(self.parent_head.take()),
                _ => return Ok(None),
            }
        }
    }
}

impl Capture for MemoryCapture {
    fn position(&self) -> Option<Position> {
        self.state.lock().unwrap().position
    }

    fn next(&mut self) -> Result<Option<Captured>, SourceError> {
        let Some(entry) = self.entries.next() else { return Ok(None) };
        let before = self.parent_at(&entry.path)?;
        if self.state.lock().unwrap().skip.contains(&entry.path) {
            let reason = "no permission".to_owned();
            return Ok(Some(Captured::Skipped(Skipped { path: entry.path, reason, loss: true })));
        }
        self.report.entries += 1;
        let same = |before: &Entry| before.fingerprint == entry.fingerprint && before.kind == entry.kind;
        let trusted = |before: &Entry| before.fingerprint.is_none_or(|print| print.trusted);
        let content_same = |before: &Entry| match (&before.fingerprint, &entry.fingerprint) {
            (Some(a), Some(b)) => a.len == b.len && a.mtime == b.mtime && a.trusted,
            _ => false,
        };
        let change = match &before {
            Some(before) if same(before) && trusted(before) && before.metadata == entry.metadata => {
                Change::Unchanged
            }
            Some(before) if content_same(before) => Change::Metadata,
            _ => Change::Content,
        };
        Ok(Some(Captured::Entry(entry, change)))
    }

    fn reader(&self) -> Arc<dyn ContentReader> {
        Arc::new(MemoryReader(Arc::clone(&self.state)))
    }

    fn finish(self: Box<Self>) -> Result<CaptureReport, SourceError> {
        Ok(self.report)
    }
}

struct MemoryReader(Arc<Mutex<State>>);

impl ContentReader for MemoryReader {
    fn open(&self, entry: &Entry) -> Result<Box<dyn Content>, SourceError> {
        let mut state = self.0.lock().unwrap();
        let shown = entry.path.to_string();
        if state.panic_on.as_ref() == Some(&entry.path) {
            drop(state); // the mutex is not to blame
            panic!("asked for by the test");
        }
        if state.vanish.contains(&entry.path) {
            return Err(SourceError::Gone { path: shown, what: "it is gone".to_owned() });
        }
        if state.unreadable.contains(&entry.path) {
            let source = std::io::Error::other("input/output error");
            return Err(SourceError::Io { path: shown, op: "read", source });
        }
        state.reads.push(entry.path.clone());
        let node = state.nodes.get(&entry.path).expect("tests do not remove while capturing").clone();
        let changed = match state.changing.get_mut(&entry.path) {
            Some(times) if *times > 0 => {
                *times -= 1;
                true
            }
            _ => false,
        };
        Ok(Box::new(MemoryContent { node, changed }))
    }
}

struct MemoryContent {
    node: Node,
    changed: bool,
}

impl Content for MemoryContent {
    fn entry(&self) -> &Entry {
        &self.node.entry
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, SourceError> {
        let rest = self.node.content.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(buffer.len()).min(300_000); // short reads are allowed
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn finish(self: Box<Self>) -> Result<Stability, SourceError> {
        Ok(if self.changed { Stability::Changed } else { Stability::Stable })
    }
}

/// What came out of a restore, or should.
#[derive(Debug, Clone, PartialEq)]
pub struct Restored(pub BTreeMap<EntryPath, (Entry, Vec<u8>)>);

impl Restored {
    pub fn assert_equals(&self, other: &Restored) {
        let paths = |tree: &Restored| tree.0.keys().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(paths(self), paths(other));
        for (path, (entry, content)) in &self.0 {
            let (other_entry, other_content) = &other.0[path];
            assert_eq!(entry, other_entry, "{path}");
            assert!(content == other_content, "{path}: content differs");
        }
    }

    pub fn without(mut self, at: &str) -> Self {
        self.0.remove(&path(at));
        self
    }
}

#[derive(Debug, Default)]
struct Building {
    entry: Option<Entry>,
    content: Vec<u8>,
    closed: bool,
}

/// Rebuilds a tree in memory, and holds the caller to the contract.
#[derive(Debug, Default)]
pub struct MemoryRestorer {
    files: Mutex<BTreeMap<EntryPath, Building>>,
}

impl MemoryRestorer {
    pub fn restored(&self) -> Restored {
        let files = self.files.lock().unwrap();
        let take = |(path, building): (&EntryPath, &Building)| {
            let entry = building.entry.clone().unwrap();
            assert_eq!(
                building.closed,
                entry.kind == EntryKind::File,
                "{path}: closed exactly if it is a file"
            );
            (path.clone(), (entry, building.content.clone()))
        };
        Restored(files.iter().map(take).collect())
    }
}

impl Restorer for MemoryRestorer {
    fn kind(&self) -> &str {
        "tree"
    }

    fn entry(&self, entry: &Entry) -> Result<(), RestoreError> {
        let content = vec![0; if entry.kind == EntryKind::File { entry.len as usize } else { 0 }];
        let building = Building { entry: Some(entry.clone()), content, closed: false };
        let before = self.files.lock().unwrap().insert(entry.path.clone(), building);
        assert!(before.is_none(), "{} given twice", entry.path);
        Ok(())
    }

    fn extent(&self, path: &EntryPath, offset: u64, bytes: &[u8]) -> Result<(), RestoreError> {
        let mut files = self.files.lock().unwrap();
        let building = files.get_mut(path).expect("the entry comes first");
        assert!(!building.closed, "{path}: an extent after its close");
        building.content[offset as usize..offset as usize + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn close(&self, path: &EntryPath) -> Result<(), RestoreError> {
        let mut files = self.files.lock().unwrap();
        let building = files.get_mut(path).expect("the entry comes first");
        assert!(!std::mem::replace(&mut building.closed, true), "{path} closed twice");
        Ok(())
    }

    fn finish_base(&self, _position: Option<Position>) -> Result<(), RestoreError> {
        Ok(())
    }

    fn apply(&self, _commit: &Commit) -> Result<(), RestoreError> {
        Err(RestoreError::Unsupported("a tree has no log".to_owned()))
    }

    fn position(&self) -> Option<Position> {
        None
    }

    fn validate(&self) -> Result<Validation, RestoreError> {
        Ok(Validation::default())
    }

    fn publish(&self) -> Result<RestoreReport, RestoreError> {
        Ok(RestoreReport::default())
    }

    fn abandon(&self) -> Result<(), RestoreError> {
        Ok(())
    }
}
