//! What a log's directory holds: each file is looked at, none is changed.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rpo_core::ports::{Access, FileKind};
use rpo_core::{Disk, DiskFile, LogId, Lsn};

use crate::control::{self, Control, ControlFound};
use crate::error::WalError;
use crate::format::FormatError;
use crate::scan;
use crate::segment::{BLOCK_BYTES, Bound, FRAMES_OFFSET, FileName, Prepared};

/// A bound segment file.
#[derive(Debug)]
pub(crate) struct FoundSegment {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) prepared: Prepared,
    pub(crate) bound: Bound,
}

/// A spare that can be used.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) prepared: Prepared,
}

/// What the directory holds.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) control: Option<Control>,
    /// The log was closed, and nothing was written since.
    pub(crate) closed: bool,
    pub(crate) segments: Vec<FoundSegment>, // by ordinal
    pub(crate) spares: Vec<Spare>,
    pub(crate) junk: Vec<PathBuf>,
    pub(crate) cuts: Vec<(Lsn, PathBuf)>,
    pub(crate) notes: Vec<String>,
    /// The highest `durable_lsn` found in frames of spares that were never bound.
    pub(crate) stray_durable: Lsn,
}

fn block(file: &dyn DiskFile, path: &Path, offset: u64) -> Result<[u8; BLOCK_BYTES], WalError> {
    let mut block = [0; BLOCK_BYTES];
    let read = file.read_at(&mut block, offset).map_err(|e| WalError::io("read", path, e))?;
    if read < BLOCK_BYTES {
        block[read..].fill(0);
    }
    Ok(block)
}

pub(crate) fn format_error(path: &Path) -> impl Fn(FormatError) -> WalError {
    move |source| WalError::Format { file: path.to_owned(), source }
}

/// Looks at every file of the directory.
pub(crate) fn survey(disk: &dyn Disk, dir: &Path) -> Result<Survey, WalError> {
    let mut survey = Survey {
        control: None,
        closed: false,
        segments: Vec::new(),
        spares: Vec::new(),
        junk: Vec::new(),
        cuts: Vec::new(),
        notes: Vec::new(),
        stray_durable: Lsn::ZERO,
    };
    let control = control::read(disk, dir)?;
    // With one slot damaged, the other one may be older than what was written since.
    survey.closed = matches!(&control, ControlFound::Valid(found, false) if found.closed);
    let closed = survey.closed;
    for entry in disk.list(dir).map_err(|e| WalError::io("list", dir, e))? {
        let path = dir.join(&entry.name);
        match FileName::parse(OsStr::to_str(&entry.name).unwrap_or_default()) {
            _ if entry.kind != FileKind::File => {}
            FileName::Segment { base_lsn, epoch } => {
                let found = open_segment(disk, path)?;
                if (found.bound.base_lsn, found.bound.epoch.get()) != (base_lsn, epoch) {
                    return Err(format_error(&found.path)(FormatError::Name(found.bound.file_name())));
                }
                survey.segments.push(found);
            }
            FileName::Spare(_) => look_at_spare(disk, path, closed, &mut survey)?,
            FileName::Used(_) => survey.junk.push(path),
            FileName::Cut { base_lsn } => survey.cuts.push((base_lsn, path)),
            FileName::Seal { .. } | FileName::Control | FileName::Lock | FileName::Other => {}
        }
    }
    survey.segments.sort_by_key(|s| s.bound.ordinal);
    let new = survey.segments.is_empty();
    match control {
        ControlFound::Valid(found, damaged) => {
            survey.control = Some(found);
            if damaged {
                survey
                    .notes
                    .push("one slot of the control file is damaged: its witness may be older".to_owned());
            }
        }
        ControlFound::Absent if new => {}
        ControlFound::Absent => {
            survey.notes.push("the control file is missing: its witness is lost".to_owned())
        }
        ControlFound::Unreadable => {
            survey.notes.push("the control file is damaged: its witness is lost".to_owned())
        }
    }
    one_log(&survey)?;
    Ok(survey)
}

fn open_segment(disk: &dyn Disk, path: PathBuf) -> Result<FoundSegment, WalError> {
    let file = disk.open(&path, Access::ReadWrite).map_err(|e| WalError::io("open", &*path, e))?;
    let prepared = Prepared::decode(&block(&*file, &path, 0)?).map_err(format_error(&path))?;
    let bound = Bound::decode(&block(&*file, &path, BLOCK_BYTES as u64)?).map_err(format_error(&path))?;
    complete_segment(path, file, prepared, bound)
}

pub(crate) fn complete_segment(
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    prepared: Prepared,
    bound: Bound,
) -> Result<FoundSegment, WalError> {
    if prepared.salt != bound.salt {
        return Err(format_error(&path)(FormatError::Rule("both blocks have one salt")));
    }
    let len = file.len().map_err(|e| WalError::io("length", &*path, e))?;
    if len < prepared.capacity {
        return Err(format_error(&path)(FormatError::Short { needed: prepared.capacity, found: len }));
    }
    Ok(FoundSegment { path, file, prepared, bound })
}

fn look_at_spare(disk: &dyn Disk, path: PathBuf, closed: bool, survey: &mut Survey) -> Result<(), WalError> {
    let file = disk.open(&path, Access::ReadWrite).map_err(|e| WalError::io("open", &*path, e))?;
    let prepared = Prepared::decode(&block(&*file, &path, 0)?);
    let bound = Bound::decode(&block(&*file, &path, BLOCK_BYTES as u64)?);
    let prepared = match (prepared, bound) {
        (Ok(prepared), Ok(bound)) => {
            survey.segments.push(complete_segment(path, file, prepared, bound)?);
            return Ok(());
        }
        (Ok(prepared), Err(FormatError::Zero)) => prepared,
        (Err(e @ FormatError::Version { .. }), _) | (_, Err(e @ FormatError::Version { .. })) => {
            return Err(format_error(&path)(e));
        }
        (Err(_), Err(FormatError::Zero)) => {
            survey.junk.push(path); // its preparation was interrupted: it never held anything
            return Ok(());
        }
        // A binding lies in one sector, so it is there or not: half of one is rot, and it may have held acknowledged data.
        (Err(e), _) | (_, Err(e)) => return Err(format_error(&path)(e)),
    };
    let io = |e: io::Error| WalError::io("read", &*path, e);
    let len = file.len().map_err(io)?;
    if closed && len == prepared.capacity {
        survey.spares.push(Spare { path, file, prepared }); // nothing was written when the log was closed, nor since
        return Ok(());
    }
    let salt = prepared.salt as u32; // the low half, by the format
    let from = FRAMES_OFFSET - 8; // so that a frame where frames begin counts
    let beyond = scan::search(&*file, from, prepared.capacity, salt, Lsn::ZERO).map_err(io)?;
    if let Some(durable) = beyond.durable {
        survey.stray_durable = survey.stray_durable.max(durable);
    }
    if len == prepared.capacity && beyond.written_to == from {
        survey.spares.push(Spare { path, file, prepared });
    } else {
        survey.junk.push(path); // written to, never bound: nothing in it was acknowledged as durable
    }
    Ok(())
}

/// All files belong to one log.
fn one_log(survey: &Survey) -> Result<(), WalError> {
    let Some(expected) = survey.log() else { return Ok(()) };
    let segments = survey.segments.iter().map(|s| (&s.path, s.prepared.log));
    let spares = survey.spares.iter().map(|s| (&s.path, s.prepared.log));
    match segments.chain(spares).find(|(_, found)| *found != expected) {
        Some((file, found)) => Err(WalError::ForeignFile { file: file.clone(), expected, found }),
        None => Ok(()),
    }
}

impl Survey {
    /// Whose files these are.
    pub(crate) fn log(&self) -> Option<LogId> {
        let control = self.control.map(|c| c.log);
        control.or_else(|| self.segments.last().map(|s| s.prepared.log))
    }
}
