#![doc = include_str!("control.md")]

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rpo_core::ports::Access;
use rpo_core::{Disk, DiskFile, Epoch, LogId, Lsn, Position, Sequence};

use crate::error::WalError;
use crate::format::{FormatError, get, put, seal, unseal};
use crate::segment::{BLOCK_BYTES, VERSION_NOW};

pub(crate) const FILE_NAME: &str = "control";
const FLAG_CLOSED: u16 = 1;
const MAKING_NAME: &str = "control.tmp";
const SLOTS: u64 = 2;

const MAGIC_BYTES: &[u8; 8] = b"RPOCTRL\n";
const MAGIC: Range<usize> = 0..8;
const VERSION: Range<usize> = 8..10;
const FLAGS: Range<usize> = 10..12;
const CRC: Range<usize> = 12..16;
const COUNTER: Range<usize> = 16..24;
const LOG_ID: Range<usize> = 24..40;
const START_LSN: Range<usize> = 40..48;
const START_SEQ: Range<usize> = 48..56;
const START_EPOCH: Range<usize> = 56..60;
const PARENT_EPOCH: Range<usize> = 60..64;
const DURABLE_LSN: Range<usize> = 64..72;

/// One slot of the control file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Control {
    /// Of writes, from 1.
    pub counter: u64,
    /// Identity of the log.
    pub log: LogId,
    /// Where the local log begins.
    pub start: Position,
    /// Epoch it took over from.
    pub parent: Option<Epoch>,
    /// Everything before it was durable.
    pub durable: Lsn,
    /// The log was closed: it ends at `durable`, and nothing was written since.
    pub closed: bool,
}

impl Control {
    /// The slot as it stands in the file.
    pub fn encode(&self) -> [u8; BLOCK_BYTES] {
        let mut block = [0; BLOCK_BYTES];
        put(&mut block, MAGIC, MAGIC_BYTES);
        put(&mut block, VERSION, &VERSION_NOW.to_le_bytes());
        put(&mut block, FLAGS, &(if self.closed { FLAG_CLOSED } else { 0 }).to_le_bytes());
        put(&mut block, COUNTER, &self.counter.to_le_bytes());
        put(&mut block, LOG_ID, self.log.as_bytes());
        put(&mut block, START_LSN, &self.start.lsn.get().to_le_bytes());
        put(&mut block, START_SEQ, &self.start.sequence.map_or(0, Sequence::get).to_le_bytes());
        put(&mut block, START_EPOCH, &self.start.epoch.get().to_le_bytes());
        put(&mut block, PARENT_EPOCH, &self.parent.map_or(0, Epoch::get).to_le_bytes());
        put(&mut block, DURABLE_LSN, &self.durable.get().to_le_bytes());
        seal(&mut block, CRC);
        block
    }

    /// Checks magic, integrity, version, meaning.
    ///
    /// # Errors
    /// [`FormatError`]; a slot of zeros is [`FormatError::Zero`].
    pub fn decode(block: &[u8; BLOCK_BYTES]) -> Result<Self, FormatError> {
        unseal(block, MAGIC_BYTES, VERSION_NOW, CRC, DURABLE_LSN.end)?;
        let epoch = Epoch::new(u32::from_le_bytes(get(block, START_EPOCH)));
        let flags = u16::from_le_bytes(get(block, FLAGS));
        let start = Position {
            epoch: epoch.ok_or(FormatError::Rule("epochs count from 1"))?,
            lsn: Lsn::new(u64::from_le_bytes(get(block, START_LSN))),
            sequence: Some(Sequence::new(u64::from_le_bytes(get(block, START_SEQ)))),
        };
        let control = Self {
            counter: u64::from_le_bytes(get(block, COUNTER)),
            log: LogId::from_bytes(get(block, LOG_ID)),
            start,
            parent: Epoch::new(u32::from_le_bytes(get(block, PARENT_EPOCH))),
            durable: Lsn::new(u64::from_le_bytes(get(block, DURABLE_LSN))),
            closed: flags & FLAG_CLOSED != 0,
        };
        let rules = [
            (flags & !FLAG_CLOSED == 0, "flags are bit 0"),
            (control.counter > 0, "counters count from 1"),
            (control.durable >= start.lsn, "the log reaches at least to where it begins"),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(FormatError::Rule(rule)),
            None => Ok(control),
        }
    }
}

/// What the control file says.
#[derive(Debug)]
pub(crate) enum ControlFound {
    /// There is none.
    Absent,
    /// There is one, but neither slot can be read: there is no witness.
    Unreadable,
    /// The newer valid slot, and whether the other could not be read.
    Valid(Control, bool),
}

pub(crate) fn read(disk: &dyn Disk, dir: &Path) -> Result<ControlFound, WalError> {
    let path = dir.join(FILE_NAME);
    let file = match disk.open(&path, Access::Read) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(ControlFound::Absent),
        Err(e) => return Err(WalError::io("open", path, e)),
    };
    let mut best: Option<Control> = None;
    let mut damaged = false;
    for slot in 0..SLOTS {
        let mut block = [0; BLOCK_BYTES];
        let offset = slot * BLOCK_BYTES as u64;
        let read = file.read_at(&mut block, offset).map_err(|e| WalError::io("read", path.clone(), e))?;
        match Control::decode(&block) {
            Ok(control) if read == BLOCK_BYTES => {
                if best.is_none_or(|b| b.counter < control.counter) {
                    best = Some(control);
                }
            }
            Err(source @ FormatError::Version { .. }) => return Err(WalError::Format { file: path, source }),
            Ok(_) => damaged = true,
            Err(FormatError::Zero) if slot == 1 && read == BLOCK_BYTES => {} // not used yet
            Err(_) => damaged = true,
        }
    }
    Ok(best.map_or(ControlFound::Unreadable, |control| ControlFound::Valid(control, damaged)))
}

/// Writes slots in turn. A failed write or sync ends its use: the witness stays as old as it is.
#[derive(Debug)]
pub(crate) struct ControlFile {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    last: Control,
    failed: bool,
}

impl ControlFile {
    /// Makes a new control file that begins with `first`; replaces an old one by renaming. Durable on `Ok`.
    pub(crate) fn create(
        disk: &dyn Disk,
        dir: &Path,
        first: Control,
        sync_dir: impl FnOnce() -> Result<(), WalError>,
    ) -> Result<Self, WalError> {
        let (making, path) = (dir.join(MAKING_NAME), dir.join(FILE_NAME));
        let fail = |op| {
            let path = path.clone();
            move |e| WalError::io(op, path, e)
        };
        match disk.remove(&making) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(fail("remove")(e)),
            _ => {}
        }
        let file = disk.create_new(&making).map_err(fail("create"))?;
        let mut bytes = first.encode().to_vec();
        bytes.resize(BLOCK_BYTES * SLOTS as usize, 0);
        file.write_at(&bytes, 0).map_err(fail("write"))?;
        file.sync().map_err(fail("sync"))?;
        disk.rename(&making, &path).map_err(fail("rename"))?;
        sync_dir()?;
        Ok(Self { file, path, last: first, failed: false })
    }

    /// Goes on with the one that is there, after `last` was read from it.
    pub(crate) fn reopen(disk: &dyn Disk, dir: &Path, last: Control) -> Result<Self, WalError> {
        let path = dir.join(FILE_NAME);
        let file = disk.open(&path, Access::ReadWrite).map_err(|e| WalError::io("open", path.clone(), e))?;
        Ok(Self { file, path, last, failed: false })
    }

    pub(crate) fn last(&self) -> &Control {
        &self.last
    }

    /// Writes and syncs what `change` makes of the last slot.
    pub(crate) fn update(&mut self, change: impl FnOnce(&mut Control)) -> Result<(), WalError> {
        if self.failed {
            let cause = std::io::Error::other("an earlier write of it failed: open the log again");
            return Err(WalError::io("write", self.path.clone(), cause));
        }
        let mut next = Control { closed: false, ..self.last };
        change(&mut next);
        next.counter += 1;
        let offset = (next.counter + 1) % SLOTS * BLOCK_BYTES as u64; // the first is in slot 0
        let result = self.file.write_at(&next.encode(), offset).and_then(|()| self.file.sync());
        self.failed = result.is_err();
        result.map_err(|e| WalError::io("write", self.path.clone(), e))?;
        self.last = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
