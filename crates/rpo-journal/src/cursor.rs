#![doc = include_str!("cursor.md")]

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rpo_core::ports::Access;
use rpo_core::{Disk, DiskFile, LogId, SourceId};

use crate::error::JournalError;
use crate::format::{FormatError, get, put, seal, unseal};

const WHAT: &str = "cursor";
const MAGIC_BYTES: [u8; 8] = *b"RPOCURS\n";
const PAUSED: usize = 10;
const RESERVED: usize = 11;
const COUNTER: Range<usize> = 16..24;
const LOG_ID: Range<usize> = 24..40;
const EVENT: Range<usize> = 40..48;
const NAME_LEN: usize = 48;
const NAME: Range<usize> = 49..112;
/// Length of a slot.
pub const SLOT_BYTES: usize = 512;
const SLOT_EVERY: u64 = 4096;

/// How far a target has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Of writes, from 1.
    pub counter: u64,
    /// Identity of the journal's log.
    pub log: LogId,
    /// Number of the last event applied, 0 for none.
    pub event: u64,
    /// Whether somebody paused the target.
    pub paused: bool,
    /// Name of the target: such as names of sources may be.
    pub name: SourceId,
}

impl Cursor {
    /// The slot as it stands in the file.
    pub fn encode(&self) -> [u8; SLOT_BYTES] {
        let mut slot = [0; SLOT_BYTES];
        let name = self.name.as_str().as_bytes();
        slot[PAUSED] = u8::from(self.paused);
        put(&mut slot, COUNTER, &self.counter.to_le_bytes());
        put(&mut slot, LOG_ID, self.log.as_bytes());
        put(&mut slot, EVENT, &self.event.to_le_bytes());
        slot[NAME_LEN] = u8::try_from(name.len()).expect("names have at most 63 bytes");
        put(&mut slot, NAME.start..NAME.start + name.len(), name);
        seal(&mut slot, MAGIC_BYTES);
        slot
    }

    /// Checks identity, integrity, version, meaning.
    ///
    /// # Errors
    /// [`FormatError`]; never panics, whatever the bytes.
    pub fn decode(slot: &[u8]) -> Result<Self, FormatError> {
        unseal(slot, WHAT, MAGIC_BYTES, SLOT_BYTES)?;
        let rule = |rule| FormatError::Rule { what: WHAT, rule };
        if slot.len() != SLOT_BYTES {
            return Err(FormatError::Length { what: WHAT, expected: SLOT_BYTES, found: slot.len() });
        }
        let name_end = NAME.start + usize::from(slot[NAME_LEN]);
        if slot[PAUSED] > 1 || slot[RESERVED] != 0 || name_end > NAME.end {
            return Err(rule("paused is 0 or 1, reserved is zero, names have at most 63 bytes"));
        }
        if slot[name_end..].iter().any(|b| *b != 0) {
            return Err(rule("the rest of a slot is zero"));
        }
        let name = String::from_utf8_lossy(&slot[NAME.start..name_end]).into_owned();
        let cursor = Self {
            counter: u64::from_le_bytes(get(slot, COUNTER)),
            log: LogId::from_bytes(get(slot, LOG_ID)),
            event: u64::from_le_bytes(get(slot, EVENT)),
            paused: slot[PAUSED] == 1,
            name: SourceId::new(name).map_err(|_| rule("a target has a name"))?,
        };
        if cursor.counter == 0 { Err(rule("counters count from 1")) } else { Ok(cursor) }
    }
}

/// Writes slots in turn. After a failed write or sync it is to be opened again: a sync is never retried.
#[derive(Debug)]
pub(crate) struct CursorFile {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    pub(crate) last: Cursor,
    pub(crate) failed: bool,
}

impl CursorFile {
    /// The cursor of target `name` in `dir`; begins one after event `begin` if there is none. Durable on `Ok`.
    pub(crate) fn open(
        disk: &dyn Disk,
        dir: &Path,
        name: &SourceId,
        log: LogId,
        begin: impl FnOnce() -> Result<u64, JournalError>,
    ) -> Result<Self, JournalError> {
        let path = dir.join(format!("{name}.cursor"));
        match disk.open(&path, Access::ReadWrite) {
            Ok(file) => Self::read(file, path, name, log),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let (event, name, paused) = (begin()?, name.clone(), false);
                Self::create(disk, dir, path, Cursor { counter: 1, log, event, paused, name })
            }
            Err(e) => Err(JournalError::io("open", path, e)),
        }
    }

    fn read(
        file: Arc<dyn DiskFile>,
        path: PathBuf,
        name: &SourceId,
        log: LogId,
    ) -> Result<Self, JournalError> {
        let mut best: Option<Cursor> = None;
        let mut trouble = String::new();
        for at in [0, SLOT_EVERY] {
            let mut slot = [0; SLOT_BYTES];
            file.read_at(&mut slot, at).map_err(|e| JournalError::io("read", &path, e))?;
            match Cursor::decode(&slot) {
                Ok(found) if best.as_ref().is_none_or(|b| b.counter < found.counter) => best = Some(found),
                Ok(_) => {}
                Err(error @ FormatError::Version { .. }) => {
                    return Err(JournalError::Cursor { file: path, what: error.to_string() });
                }
                Err(error) => trouble = error.to_string(),
            }
        }
        let wrong = |what: String| Err(JournalError::Cursor { file: path.clone(), what });
        let Some(last) = best else {
            return wrong(format!(
                "neither slot can be read ({trouble}): how far `{name}` has come is not known; find out, move the file \
                 away, and add the target again at that event"
            ));
        };
        if last.log != log || last.name != *name {
            return wrong(format!(
                "belongs to target `{}` of log {}, not to `{name}` of log {log}: move it away",
                last.name, last.log
            ));
        }
        // What was read may not be durable (the process was killed within a sync): make it so before relying on it.
        file.sync().map_err(|e| JournalError::io("sync", &path, e))?;
        Ok(Self { file, path, last, failed: false })
    }

    fn create(disk: &dyn Disk, dir: &Path, path: PathBuf, first: Cursor) -> Result<Self, JournalError> {
        let making = dir.join(format!("{}.making", first.name));
        match disk.remove(&making) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(JournalError::io("remove", making, e));
            }
            _ => {}
        }
        let fail = |op| {
            let path = path.clone();
            move |e| JournalError::io(op, path, e)
        };
        let file = disk.create_new(&making).map_err(fail("create"))?;
        let mut bytes = vec![0; SLOT_EVERY as usize + SLOT_BYTES];
        bytes[..SLOT_BYTES].copy_from_slice(&first.encode());
        file.write_at(&bytes, 0).map_err(fail("write"))?;
        file.sync().map_err(fail("sync"))?;
        disk.rename(&making, &path).map_err(fail("rename"))?;
        disk.sync_dir(dir).map_err(fail("sync of the directory"))?;
        Ok(Self { file, path, last: first, failed: false })
    }

    /// Writes how far the target has come; durable on `Ok`.
    pub(crate) fn update(&mut self, event: u64, paused: bool) -> Result<(), JournalError> {
        if self.failed {
            let cause = io::Error::other("an earlier write of it failed: resume the target");
            return Err(JournalError::io("write", &self.path, cause));
        }
        let next = Cursor { counter: self.last.counter + 1, event, paused, ..self.last.clone() };
        let at = (next.counter + 1) % 2 * SLOT_EVERY; // the first is in slot 0
        let result = self.file.write_at(&next.encode(), at).and_then(|()| self.file.sync());
        self.failed = result.is_err();
        result.map_err(|e| JournalError::io("write", &self.path, e))?;
        self.last = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
