//! What lies in the log's directory, as its format says and by nobody's code but this: what opening did is seen from it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rpo_core::frame::EntryRef;
use rpo_core::{Disk as _, LogEntry, Position};

use super::site::{DIR, MACHINE, Site};

const BLOCK: usize = 4096;

/// What opening showed of an entry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Visited(Position, Vec<Vec<u8>>);

impl From<EntryRef<'_>> for Visited {
    fn from(entry: EntryRef<'_>) -> Self {
        let payloads = match &entry {
            EntryRef::Commit(commit) => commit.payloads().map(<[u8]>::to_vec).collect(),
            _ => Vec::new(),
        };
        Self(entry.position(), payloads)
    }
}

impl Visited {
    pub(crate) fn of(entry: &LogEntry) -> Self {
        let payloads = match entry {
            LogEntry::Commit(commit) => commit.records.iter().map(|r| r.payload.to_vec()).collect(),
            LogEntry::Marker(_) => Vec::new(),
        };
        Self(entry.position(), payloads)
    }
}

/// Salts of segments that were released to be used again.
#[derive(Debug, Default)]
pub(crate) struct Salts(BTreeSet<u64>);

/// The files, by name.
pub(crate) type Listing = BTreeMap<String, Vec<u8>>;

/// The salt of a segment or spare; none if it is neither.
fn salt(file: &[u8]) -> Option<u64> {
    let whole = file.len() > 2 * BLOCK && file[..8] == *b"RPOWAL\r\n";
    whole.then(|| u64::from_le_bytes(file[32..40].try_into().expect("eight bytes")))
}

fn is_bound(file: &[u8]) -> bool {
    file.len() > 2 * BLOCK && file[BLOCK..BLOCK + 8] == *b"RPOBIND\n"
}

impl Site {
    /// The files as a reader sees them now. Not a call of the simulated system.
    pub(crate) fn look(&self) -> Listing {
        let disk = self.world.machine(MACHINE).disk();
        let entries = disk.list(Path::new(DIR)).unwrap_or_default();
        let names = entries.iter().filter_map(|entry| entry.name.to_str());
        let read = |name: &str| disk.cached_bytes(&Path::new(DIR).join(name)).ok();
        names.filter_map(|name| Some((name.to_owned(), read(name)?))).collect()
    }

    /// What opening did with what it found.
    pub(crate) fn compare(&mut self, before: &Listing) {
        let after = self.look();
        let count = |of: &Listing, end: &str| of.keys().filter(|name| name.ends_with(end)).count();
        let found = |of: &Listing, what: &dyn Fn(&str, &[u8]) -> bool| of.iter().any(|(n, f)| what(n, f));
        if found(before, &|name, _| name.starts_with("used-"))
            && !found(&after, &|n, _| n.starts_with("used-"))
        {
            self.world.sometimes("opening removed a segment that was being made a spare again");
        }
        if count(&after, ".cut") > count(before, ".cut") {
            self.world.sometimes("opening moved a replaced segment aside");
        }
        if found(before, &|name, file| name.starts_with("spare-") && salt(file).is_none()) {
            self.world.sometimes("opening removed a half-made spare");
        }
        if found(before, &|name, file| name.starts_with("spare-") && is_bound(file)) {
            self.world.sometimes("opening found a segment under the name of a spare");
        }
        let gone = |name: &String| name.ends_with(".rwal") && !after.contains_key(name);
        if before.keys().any(gone) && count(&after, ".cut") == count(before, ".cut") {
            self.world.sometimes("opening finished a release that was interrupted");
        }
        if before.get("control").is_some_and(|file| file.len() >= 2 * BLOCK && is_closed(file)) {
            self.world.sometimes("opening found a log that was closed");
        }
    }

    /// A spare is zeros past its first block, and its salt is not that of a released segment: else what it held before could be
    /// taken for what it will hold.
    pub(crate) fn spares_are_clean(&mut self) -> Result<(), String> {
        for (name, file) in self.look() {
            let Some(salt) = salt(&file) else { continue };
            if name.starts_with("used-") && is_bound(&file) {
                self.salts.0.insert(salt);
            } else if is_bound(&file) {
                continue; // under a spare's name it is a segment already
            } else if name.starts_with("spare-") && self.salts.0.contains(&salt) {
                return Err(format!("format: the spare {name} has the salt of a released segment"));
            } else if name.starts_with("spare-") && file[BLOCK..].iter().any(|byte| *byte != 0) {
                return Err(format!("format: the spare {name} is not zero past its first block"));
            }
        }
        Ok(())
    }

    /// Gives the disk so much more room, or as much as is wanted.
    pub(crate) fn room(&mut self, more: Option<u64>) {
        let disk = self.world.machine(MACHINE).disk();
        let used: u64 = self.look().values().map(|file| file.len() as u64).sum();
        disk.set_capacity(more.map(|more| used + more));
        if more.is_none() && std::mem::replace(&mut self.tight, more.is_some()) {
            self.world.sometimes("a disk that was full has room again");
        }
        self.tight = more.is_some();
    }
}

/// Whether the newer slot of a control file says that the log was closed.
fn is_closed(file: &[u8]) -> bool {
    let number = |at: usize, len: usize| {
        file[at..at + len].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    };
    let newer = if number(16, 8) > number(BLOCK + 16, 8) { 0 } else { BLOCK };
    number(newer + 10, 2) & 1 == 1
}
