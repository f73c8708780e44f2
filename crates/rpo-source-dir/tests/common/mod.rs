//! What the stories share: a clock that can be ahead, a capture held in memory, its way into a restorer, and the odd tree.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

pub mod odd;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rpo_core::ports::{
    Capture, CaptureReport, Captured, Change, Entry, EntryKind, EntryPath, EntryStream, Restorer, Skipped,
    Source, SourceError, Stability,
};
use rpo_core::{Clock, Monotonic, Timestamp};
use rpo_os::{OsClock, OsEntropy};
use rpo_source_dir::{DirectoryOptions, DirectoryRestorer, DirectorySource, RestoreOptions};

/// The system's clock, an hour ahead: nothing that was just made is racy.
#[derive(Debug)]
pub struct HourAhead;

impl Clock for HourAhead {
    fn wall(&self) -> Timestamp {
        OsClock.wall().saturating_add(Duration::from_secs(3600))
    }
    fn monotonic(&self) -> Monotonic {
        OsClock.monotonic()
    }
}

/// A clock that stands still.
#[derive(Debug)]
pub struct Still(pub Timestamp);

impl Clock for Still {
    fn wall(&self) -> Timestamp {
        self.0
    }
    fn monotonic(&self) -> Monotonic {
        Monotonic::default()
    }
}

pub fn path(text: impl AsRef<[u8]>) -> EntryPath {
    EntryPath::new(text.as_ref()).unwrap()
}

pub fn source(root: &Path) -> DirectorySource {
    source_with(root, DirectoryOptions::default())
}

pub fn source_with(root: &Path, options: DirectoryOptions) -> DirectorySource {
    DirectorySource::new(root, Arc::new(HourAhead), options)
}

/// Everything that a capture told, with contents.
#[derive(Debug, Default, Clone)]
pub struct Snapshot {
    pub entries: Vec<Entry>,
    pub changes: BTreeMap<EntryPath, Change>,
    pub contents: BTreeMap<EntryPath, Vec<(u64, Vec<u8>)>>,
    pub removed: Vec<EntryPath>,
    pub skipped: Vec<Skipped>,
    pub unstable: Vec<EntryPath>,
    pub report: CaptureReport,
}

impl Snapshot {
    /// Captures `source`, reading what has to be read.
    pub fn take(source: &DirectorySource, parent: Option<&Snapshot>) -> Self {
        Self::drain(source.capture(parent.map(|p| p.stream())).unwrap(), parent)
    }

    pub fn drain(mut capture: Box<dyn Capture>, parent: Option<&Snapshot>) -> Self {
        let mut taken = Self::default();
        let reader = capture.reader();
        while let Some(captured) = capture.next().unwrap() {
            match captured {
                Captured::Removed(path) => taken.removed.push(path),
                Captured::Skipped(skipped) => taken.skipped.push(skipped),
                Captured::Entry(entry, change) => {
                    assert!(
                        taken.changes.insert(entry.path.clone(), change).is_none(),
                        "{} twice",
                        entry.path
                    );
                    if entry.kind != EntryKind::File {
                        taken.entries.push(entry);
                    } else if change == Change::Content {
                        let mut content = reader.open(&entry).unwrap();
                        taken.entries.push(content.entry().clone());
                        taken.contents.insert(entry.path.clone(), read(&mut *content));
                        if content.finish().unwrap() == Stability::Changed {
                            taken.unstable.push(entry.path);
                        }
                    } else {
                        let before = parent.expect("only a parent makes a file known");
                        taken.contents.insert(entry.path.clone(), before.contents[&entry.path].clone());
                        taken.entries.push(entry);
                    }
                }
            }
        }
        taken.report = capture.finish().unwrap();
        assert!(taken.entries.windows(2).all(|pair| pair[0].path < pair[1].path), "path order");
        taken
    }

    pub fn stream(&self) -> Box<dyn EntryStream> {
        Box::new(Stream(self.entries.clone().into_iter()))
    }

    pub fn entry(&self, at: &str) -> &Entry {
        self.entries.iter().find(|entry| entry.path == path(at)).unwrap_or_else(|| panic!("no {at}"))
    }

    pub fn change(&self, at: &str) -> Change {
        self.changes[&path(at)]
    }

    /// Gives everything to `restorer` as a recovery would.
    pub fn give(&self, restorer: &DirectoryRestorer) {
        for entry in &self.entries {
            restorer.entry(entry).unwrap();
            if let Some(runs) = self.contents.get(&entry.path) {
                for (offset, bytes) in runs {
                    restorer.extent(&entry.path, *offset, bytes).unwrap();
                }
                restorer.close(&entry.path).unwrap();
            }
        }
    }

    /// Restores to `target`; nothing may be approximated.
    pub fn restore(&self, target: &Path) {
        let restorer = restorer(target);
        self.give(&restorer);
        restorer.finish_base(None).unwrap();
        let validation = restorer.validate().unwrap();
        assert!(validation.passed(), "{validation:#?}");
        let report = restorer.publish().unwrap();
        assert_eq!(report.approximated, Vec::<String>::new());
        assert_eq!(report.entries, self.entries.len() as u64);
    }
}

pub fn restorer(target: &Path) -> DirectoryRestorer {
    DirectoryRestorer::new(target, &OsEntropy::new(), RestoreOptions::default()).unwrap()
}

/// A stream of entries held in memory.
pub struct Stream(pub std::vec::IntoIter<Entry>);

impl EntryStream for Stream {
    fn next(&mut self) -> Result<Option<Entry>, SourceError> {
        Ok(self.0.next())
    }
}

fn read(content: &mut dyn rpo_core::ports::Content) -> Vec<(u64, Vec<u8>)> {
    const RUN: u64 = 100_000; // no multiple of a block
    let mut runs = Vec::new();
    for extent in content.entry().extents.clone() {
        let mut at = extent.offset;
        while at < extent.end() {
            let mut bytes = vec![0; RUN.min(extent.end() - at) as usize];
            let got = content.read_at(at, &mut bytes).unwrap();
            bytes.truncate(got);
            if got == 0 {
                break;
            }
            runs.push((at, bytes));
            at += got as u64;
        }
    }
    runs
}
