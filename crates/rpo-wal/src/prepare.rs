//! Preparing spare segments, off the hot path: of new files, or of released segments, whose blocks are written already.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rpo_core::{DiskFile, LogId};

use crate::engine::LogParts;
use crate::segment::{Prepared, spare_name};
use crate::survey::Spare;

/// So many bytes of zeros are written and synced at a time: a commit that comes meanwhile waits behind no more.
const PIECE_BYTES: u64 = 1 << 20;

/// A released segment: its name says that what it holds counts for nothing, durably.
#[derive(Debug)]
pub(crate) struct Used {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) capacity: u64,
}

#[cfg(feature = "planted-bugs")]
impl Used {
    fn salt(&self) -> io::Result<u64> {
        let mut salt = [0; 8];
        self.file.read_at(&mut salt, 32)?;
        Ok(u64::from_le_bytes(salt))
    }
}

/// A random number.
pub(crate) fn draw(parts: &LogParts) -> io::Result<u64> {
    let mut bytes = [0; 8];
    parts.entropy.fill(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// A spare in the making: zeros, synced piece by piece; then its first block, synced; then its name.
#[derive(Debug)]
pub(crate) struct Preparing {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    prepared: Prepared,
    /// Zeros are durable up to here.
    at: u64,
    /// The file is a released segment and gets a spare's name at the end.
    again: bool,
}

impl Preparing {
    /// Begins with a new file of `capacity`.
    pub(crate) fn begin(parts: &LogParts, dir: &Path, log: LogId, capacity: u64) -> io::Result<Self> {
        let salt = draw(parts)?;
        let path = dir.join(spare_name(draw(parts)?));
        let file = parts.disk.create_new(&path)?;
        let prepared = Prepared { log, salt, capacity, created: parts.clock.wall() };
        Ok(Self { path, file, prepared, at: 0, again: false })
    }

    /// Begins with a released segment, which gets a salt and a name that were never used before.
    pub(crate) fn again(parts: &LogParts, log: LogId, used: Used) -> io::Result<Self> {
        let salt = draw(parts)?;
        #[cfg(feature = "planted-bugs")]
        let salt =
            if crate::planted::planted().has(crate::planted::Bug::ReusedSalt) { used.salt()? } else { salt };
        let prepared = Prepared { log, salt, capacity: used.capacity, created: parts.clock.wall() };
        Ok(Self { path: used.path, file: used.file, prepared, at: 0, again: true })
    }

    /// Does a piece of it; the spare once it is done. Its name is not durable yet.
    pub(crate) fn advance(&mut self, parts: &LogParts, dir: &Path) -> io::Result<Option<Spare>> {
        let capacity = self.prepared.capacity;
        #[cfg(feature = "planted-bugs")]
        if self.again && crate::planted::planted().has(crate::planted::Bug::NotZeroed) {
            self.file.write_at(&[0; crate::segment::BLOCK_BYTES], crate::segment::BLOCK_BYTES as u64)?;
            self.at = capacity;
        }
        if self.at < capacity {
            let len = PIECE_BYTES.min(capacity - self.at);
            self.file.write_at(&vec![0; usize::try_from(len).unwrap_or(0)], self.at)?; // a piece fits in memory
            self.sync()?;
            self.at += len;
        }
        if self.at < capacity {
            return Ok(None);
        }
        self.file.write_at(&self.prepared.encode(), 0)?;
        self.sync()?;
        if self.again {
            let path = dir.join(spare_name(draw(parts)?));
            parts.disk.rename(&self.path, &path)?;
            self.path = path;
        }
        Ok(Some(Spare { path: self.path.clone(), file: Arc::clone(&self.file), prepared: self.prepared }))
    }

    fn sync(&self) -> io::Result<()> {
        #[cfg(feature = "planted-bugs")]
        if crate::planted::planted().has(crate::planted::Bug::SpareUnsynced) {
            return Ok(());
        }
        self.file.sync()
    }

    /// It failed or is not wanted any more: leaves nothing behind.
    pub(crate) fn discard(self, parts: &LogParts) {
        let _ = parts.disk.remove(&self.path); // opening removes it otherwise
    }
}

/// Makes a spare of a new file at once. Its name is not durable yet. Leaves nothing behind if it fails.
pub(crate) fn prepare_spare(parts: &LogParts, dir: &Path, log: LogId, capacity: u64) -> io::Result<Spare> {
    let mut preparing = Preparing::begin(parts, dir, log, capacity)?;
    loop {
        match preparing.advance(parts, dir) {
            Ok(None) => {}
            Ok(Some(spare)) => return Ok(spare),
            Err(error) => {
                preparing.discard(parts);
                return Err(error);
            }
        }
    }
}
