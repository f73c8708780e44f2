//! Seals as files: written by the keeper once a segment is finished, read at opening, gone with their segment.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use rpo_core::ports::Access;
use rpo_core::{LogId, Lsn};

use super::build::Builder;
use super::{SEAL_BYTES_MAX, Seal, file_name};
use crate::catalog::SegmentView;
use crate::engine::Engine;
use crate::format::FormatError;
use crate::keep::Kept;
use crate::pieces::Pieces;
use crate::read::what;
use crate::scan::{self, Expect, Next};
use crate::segment::{Bound, FileName};
use crate::state::Life;
use crate::sync::locked;

/// Bytes of a segment read in one step of the keeper; a longer frame is read whole.
const STEP_BYTES: u64 = 256 << 10;

/// Something in a finished segment that is not what was written. The log goes on; a reader that comes there is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The segment file.
    pub file: PathBuf,
    /// LSN of the frame that is damaged or missing.
    pub lsn: Lsn,
    /// Where in the file, bytes.
    pub offset: u64,
    /// What was found there.
    pub what: String,
}

/// What was done about seals since the log was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SealStats {
    /// Seals found whole at opening.
    pub loaded: u64,
    /// Seals made.
    pub made: u64,
    /// Seals that were damaged, of another segment, or pointed to the wrong frames: each is made again.
    pub refused: u64,
    /// Bytes of finished segments read and checked on the way.
    pub checked_bytes: u64,
    /// What was found damaged: restore these ranges from a copy.
    pub damaged: Vec<Damage>,
}

/// A segment that is being read to be sealed.
#[derive(Debug)]
pub(crate) struct Sealing {
    view: Arc<SegmentView>,
    next: Bound,
    pieces: Pieces,
    at: Expect,
    builder: Builder,
}

impl Engine {
    /// Reads the seals that are there, and removes those whose segment is gone.
    pub(crate) fn load_seals(&self) {
        let names = match self.parts.disk.list(&self.dir) {
            Ok(names) => names,
            Err(error) => return tracing::warn!(dir = %self.dir.display(), %error, "no seals are read"),
        };
        let log = locked(&self.keeper).log;
        let finished = self.finished();
        for entry in names {
            let name = entry.name.to_str().unwrap_or_default();
            if !matches!(FileName::parse(name), FileName::Seal { .. }) {
                continue;
            }
            let path = self.dir.join(name);
            let Some((view, next)) = finished.iter().find(|(view, _)| file_name(&view.bound) == name) else {
                self.remove_seal(&path);
                continue;
            };
            let loaded = self.read_seal(&path, entry.len);
            let mut stats = locked(&self.seals);
            match loaded.map(|seal| (seal.is_of(log, &view.bound, next), seal)) {
                Ok((true, seal)) => {
                    stats.loaded += 1;
                    view.seal(Some(Arc::new(seal)));
                }
                #[cfg(feature = "planted-bugs")]
                Ok((false, seal)) if self.has_bug(crate::planted::Bug::SealOfAnother) => {
                    view.seal(Some(Arc::new(seal)));
                }
                Ok((false, _)) => {
                    stats.refused += 1;
                    tracing::warn!(path = %path.display(), "this seal is of other bytes: it is made again");
                }
                Err(error) => {
                    stats.refused += 1;
                    tracing::warn!(path = %path.display(), %error, "a damaged seal is made again");
                }
            }
        }
    }

    fn read_seal(&self, path: &Path, len: u64) -> Result<Seal, FormatError> {
        let unreadable = |_| FormatError::Rule("a seal can be read");
        let len = usize::try_from(len).ok().filter(|len| *len <= SEAL_BYTES_MAX);
        let len = len.ok_or(FormatError::Rule("a seal is at most 8 MiB long"))?;
        let file = self.parts.disk.open(path, Access::Read).map_err(unreadable)?;
        let mut bytes = vec![0; len];
        let mut filled = 0;
        while filled < len {
            match file.read_at(&mut bytes[filled..], filled as u64).map_err(unreadable)? {
                0 => break,
                read => filled += read,
            }
        }
        Seal::decode(&bytes[..filled])
    }

    /// Finished segments, each with the header of the one that goes on.
    fn finished(&self) -> Vec<(Arc<SegmentView>, Bound)> {
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        let pairs = catalog.segments.windows(2).map(|pair| (Arc::clone(&pair[0]), pair[1].bound));
        pairs.collect()
    }

    fn unsealed(&self) -> Option<(Arc<SegmentView>, Bound)> {
        let durable = locked(&self.state).durable.lsn;
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        let due = |pair: &&[Arc<SegmentView>]| pair[1].bound.base_lsn <= durable && pair[0].wants_seal();
        catalog.segments.windows(2).find(due).map(|pair| (Arc::clone(&pair[0]), pair[1].bound))
    }

    fn is_live(&self, view: &Arc<SegmentView>) -> bool {
        let catalog = self.catalog.read().unwrap_or_else(PoisonError::into_inner);
        catalog.segments.iter().any(|s| Arc::ptr_eq(s, view))
    }

    /// Reads a piece of a finished segment that has no seal, if there is one; writes the seal at its end.
    pub(crate) fn seal_once(&self, log: LogId, sealing: &mut Option<Sealing>) -> Option<Kept> {
        if !matches!(locked(&self.state).life, Life::Running) {
            *sealing = None; // what is left is done after the next opening
            return None;
        }
        let mut work = match sealing.take().filter(|work| self.is_live(&work.view)) {
            Some(work) => work,
            None => {
                let (view, next) = self.unsealed()?;
                let at = scan::first(&view.bound, rpo_core::Timestamp::from_micros(i64::MIN));
                let pieces = Pieces::steady(Arc::clone(&view.file));
                Sealing { view, next, pieces, at, builder: Builder::new() }
            }
        };
        let from = work.at.offset;
        let done = work.advance();
        locked(&self.seals).checked_bytes += work.at.offset - from;
        match done {
            Ok(false) => *sealing = Some(work),
            Ok(true) => self.finish_seal(log, work),
            Err(found) => {
                work.view.cannot_be_sealed(); // not read again before the log is opened again
                let (file, lsn, offset) = (work.view.path(), work.at.lsn, work.at.offset);
                tracing::error!(path = %file.display(), %lsn, offset, found, "a finished segment is damaged");
                locked(&self.seals).damaged.push(Damage { file, lsn, offset, what: found });
            }
        }
        Some(Kept::Did)
    }

    fn finish_seal(&self, log: LogId, work: Sealing) {
        let Sealing { view, at, builder, .. } = work;
        let Some(seal) = builder.finish(log, &view.bound, &at) else {
            return view.cannot_be_sealed(); // no segment is bound without a frame
        };
        let path = self.dir.join(file_name(&view.bound));
        if let Err(error) = self.write_seal(&path, &seal) {
            tracing::warn!(path = %path.display(), %error, "a seal could not be written: it is kept in memory");
        }
        view.seal(Some(Arc::new(seal)));
        locked(&self.seals).made += 1;
    }

    /// Not synced: a seal that a crash damages is refused by its checksum and made again.
    fn write_seal(&self, path: &Path, seal: &Seal) -> io::Result<()> {
        let bytes = seal.encode().map_err(io::Error::other)?;
        match self.parts.disk.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let written = self.parts.disk.create_new(path).and_then(|file| file.write_at(&bytes, 0));
        if written.is_err() {
            self.remove_seal(path);
        }
        written
    }

    /// Forgets a seal that pointed to something else; the keeper makes it again.
    pub(crate) fn distrust(&self, view: &SegmentView) {
        tracing::warn!(path = %view.path().display(), "a seal points to the wrong frame: it is made again");
        view.seal(None);
        locked(&self.seals).refused += 1;
        self.upkeep.notify_one();
    }

    /// Removes the seal of a segment that is about to go: before it, so that no crash leaves one without its segment.
    pub(crate) fn drop_seal(&self, view: &SegmentView) {
        self.remove_seal(&self.dir.join(file_name(&view.bound)));
    }

    fn remove_seal(&self, path: &Path) {
        match self.parts.disk.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "a seal could not be removed: opening removes it");
            }
            _ => {}
        }
    }
}

impl Sealing {
    /// Reads on for a while; true once the end is reached, an error text if something is not what was written.
    fn advance(&mut self) -> Result<bool, String> {
        let stop = self.at.offset + STEP_BYTES;
        while self.at.lsn < self.next.base_lsn && self.at.offset < stop {
            match self.pieces.next(&self.at, self.view.capacity) {
                Ok(Next::Frame(frame)) => {
                    self.builder.add(&frame, &self.at);
                    self.at = self.at.after(frame.head());
                }
                Ok(other) => return Err(what(&other)),
                Err(error) => return Err(format!("read failed: {error}")),
            }
        }
        if self.at.lsn < self.next.base_lsn {
            return Ok(false);
        }
        let end = (self.at.lsn, self.at.seq, Some(self.at.chain));
        if end != (self.next.base_lsn, self.next.base_seq, self.next.prev_chain) {
            return Err("the next segment does not go on where this one ends".to_owned());
        }
        Ok(true)
    }
}
