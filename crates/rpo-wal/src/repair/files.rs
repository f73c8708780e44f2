//! The files of a log's directory, each read as far as it can be, whatever is wrong with it.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rpo_core::frame::{FrameHead, HEAD_BYTES};
use rpo_core::ports::{Access, FileKind};
use rpo_core::{Disk, DiskFile, Epoch, LogId, Lsn};
use serde::Serialize;

use crate::error::WalError;
use crate::format::FormatError;
use crate::scan;
use crate::segment::{BLOCK_BYTES, Bound, FRAMES_OFFSET, FileName, Prepared};
use crate::survey::format_error;

/// What a file is to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Use {
    /// A segment that is part of the log.
    Live,
    /// A segment that a later one has replaced as a whole, or that was released.
    Replaced,
    /// A segment of another log.
    Foreign,
    /// A spare, ready to be used.
    Spare,
    /// What opening or the next repair removes: a spare whose preparation was cut short, a released segment that was to be
    /// used again, a segment that a repair did not finish. Nothing of the log is only there.
    Junk,
    /// A hint beside a finished segment; made again if it is lost or does not fit.
    Seal,
    /// What repairs wrote down.
    Record,
    /// A segment kept as evidence: cut by recovery, or set aside by a repair.
    Evidence,
    /// The control file.
    Control,
    /// The lock.
    Lock,
    /// Nothing of the log.
    Other,
}

/// A file that is, or may be, a segment in use.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) prepared: Option<Prepared>,
    pub(super) bound: Option<Bound>,
    /// Where its frames begin, by its header, its name, or its first frame.
    pub(super) base: Lsn,
    pub(super) epoch: Epoch,
    pub(super) salt: Option<u32>,
    /// Bytes that may hold frames.
    pub(super) capacity: u64,
    /// What is wrong with the header, the name or the length.
    pub(super) trouble: Option<String>,
}

impl Candidate {
    pub(super) fn ordinal(&self) -> Option<u64> {
        self.bound.filter(|_| self.trouble.is_none()).map(|bound| bound.ordinal)
    }
}

/// A file that is no candidate.
#[derive(Debug)]
pub(super) struct Bystander {
    pub(super) path: PathBuf,
    pub(super) len: u64,
    pub(super) what: Use,
}

#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) candidates: Vec<Candidate>,
    pub(super) bystanders: Vec<Bystander>,
    pub(super) log: Option<LogId>,
    /// The highest `durable_lsn` in spares that were never bound.
    pub(super) stray_durable: Lsn,
}

/// Reads every file of `dir`; only what the system refuses, and what a newer program wrote, is an error.
pub(super) fn read_files(disk: &dyn Disk, dir: &Path) -> Result<Files, WalError> {
    let mut files = Files::default();
    for entry in disk.list(dir).map_err(|e| WalError::io("list", dir, e))? {
        let path = dir.join(&entry.name);
        let name = OsStr::to_str(&entry.name).unwrap_or_default();
        let what = match FileName::parse(name) {
            _ if entry.kind != FileKind::File => Use::Other,
            FileName::Segment { base_lsn, epoch } => {
                let named = Epoch::new(epoch).map(|epoch| (base_lsn, epoch));
                match look(disk, &path, named, &mut files)? {
                    Some(candidate) => {
                        files.candidates.push(candidate);
                        continue;
                    }
                    None => Use::Other,
                }
            }
            FileName::Spare(_) => match look(disk, &path, None, &mut files)? {
                Some(candidate) => {
                    files.candidates.push(candidate);
                    continue;
                }
                None => continue, // told where it was looked at
            },
            FileName::Cut { .. } => Use::Evidence,
            FileName::Control => Use::Control,
            FileName::Lock => Use::Lock,
            FileName::Other if name.contains(".damaged-") => Use::Evidence,
            FileName::Used(_) => Use::Junk,
            FileName::Seal { .. } => Use::Seal,
            FileName::Other if super::build::is_making_name(name) => Use::Junk,
            FileName::Other if name == super::RECORD_NAME => Use::Record,
            FileName::Other => Use::Other,
        };
        files.bystanders.push(Bystander { path, len: entry.len, what });
    }
    Ok(files)
}

fn block(file: &dyn DiskFile, path: &Path, offset: u64) -> Result<[u8; BLOCK_BYTES], WalError> {
    let mut block = [0; BLOCK_BYTES];
    file.read_at(&mut block, offset).map_err(|e| WalError::io("read", path, e))?;
    Ok(block)
}

/// Looks at a segment or a spare; `named` is what its name says. None: it is no segment in use.
fn look(
    disk: &dyn Disk,
    path: &Path,
    named: Option<(Lsn, Epoch)>,
    files: &mut Files,
) -> Result<Option<Candidate>, WalError> {
    let file = disk.open(path, Access::Read).map_err(|e| WalError::io("open", path, e))?;
    let len = file.len().map_err(|e| WalError::io("length", path, e))?;
    let prepared = Prepared::decode(&block(&*file, path, 0)?);
    let bound = Bound::decode(&block(&*file, path, BLOCK_BYTES as u64)?);
    for error in [prepared.as_ref().err(), bound.as_ref().err()].into_iter().flatten() {
        if matches!(error, FormatError::Version { .. }) {
            return Err(format_error(path)(error.clone())); // whatever it is, it is not for this program to judge
        }
    }
    if named.is_none() && matches!(bound, Err(FormatError::Zero)) {
        return unbound_spare(path, &*file, len, prepared.ok(), files).map(|()| None);
    }
    let trouble = header_trouble(&prepared, &bound, named, len);
    let (prepared, bound) = (prepared.ok(), bound.ok());
    let capacity = prepared.map_or(len, |p| p.capacity.min(len));
    let salts = prepared.map(|p| p.salt as u32).into_iter().chain(bound.map(|b| b.salt as u32));
    let first = first_frame(&*file, capacity, named).map_err(|e| WalError::io("read", path, e))?;
    let salt = first.map(|(_, head)| head.salt).or_else(|| salts.into_iter().next());
    let at_base = first.filter(|(offset, _)| *offset == FRAMES_OFFSET).map(|(_, head)| head);
    let identity = (bound.filter(|_| trouble.is_none()).map(|b| (b.base_lsn, b.epoch)))
        .or(named)
        .or(bound.map(|b| (b.base_lsn, b.epoch)))
        .or(at_base.map(|head| (head.base_lsn, head.epoch)))
        .or(first.map(|(_, head)| (head.base_lsn, head.epoch)));
    files.log = files.log.or(prepared.map(|p| p.log));
    let Some((base, epoch)) = identity else {
        // Nothing in it can be placed: kept as it is, and named as damage.
        let (base, epoch) = (Lsn::new(u64::MAX), Epoch::FIRST);
        let path = path.to_owned();
        return Ok(Some(Candidate {
            path,
            file,
            prepared,
            bound: None,
            base,
            epoch,
            salt,
            capacity,
            trouble,
        }));
    };
    Ok(Some(Candidate { path: path.to_owned(), file, prepared, bound, base, epoch, salt, capacity, trouble }))
}

fn header_trouble(
    prepared: &Result<Prepared, FormatError>,
    bound: &Result<Bound, FormatError>,
    named: Option<(Lsn, Epoch)>,
    len: u64,
) -> Option<String> {
    match (prepared, bound) {
        (Err(error), _) => Some(format!("first header block: {error}")),
        (_, Err(error)) => Some(format!("second header block: {error}")),
        (Ok(p), Ok(b)) if p.salt != b.salt => Some("its header blocks have different salts".to_owned()),
        (Ok(p), _) if len < p.capacity => {
            Some(format!("file of {len} bytes, its header says {}: it was cut off", p.capacity))
        }
        (_, Ok(b)) if named.is_some_and(|named| named != (b.base_lsn, b.epoch)) => {
            Some(format!("its header says {}: it was renamed or exchanged", b.file_name()))
        }
        _ => None,
    }
}

/// The first whole head of a frame, which tells the salt where the header does not.
fn first_frame(
    file: &dyn DiskFile,
    capacity: u64,
    named: Option<(Lsn, Epoch)>,
) -> io::Result<Option<(u64, FrameHead)>> {
    const STRIDE: usize = 1 << 20;
    let mut buffer = vec![0; STRIDE + HEAD_BYTES];
    let mut at = FRAMES_OFFSET;
    while at < capacity {
        let want = buffer.len().min(usize::try_from(capacity - at).unwrap_or(usize::MAX));
        let read = file.read_at(&mut buffer[..want], at)?;
        for start in (0..read.min(STRIDE)).step_by(8) {
            let Some(head) = buffer[start..read].first_chunk::<HEAD_BYTES>() else { break };
            if head[..4] == [0; 4] {
                continue;
            }
            if let Ok(head) = FrameHead::decode(head)
                && named.is_none_or(|(base, epoch)| head.base_lsn >= base && head.epoch == epoch)
            {
                return Ok(Some((at + start as u64, head)));
            }
        }
        if read < want || read == 0 {
            break;
        }
        at += STRIDE as u64;
    }
    Ok(None)
}

fn unbound_spare(
    path: &Path,
    file: &dyn DiskFile,
    len: u64,
    prepared: Option<Prepared>,
    files: &mut Files,
) -> Result<(), WalError> {
    let mut what = Use::Junk;
    if let Some(prepared) = prepared {
        let from = FRAMES_OFFSET - 8; // so that a frame where frames begin counts
        let beyond = scan::search(file, from, prepared.capacity, prepared.salt as u32, Lsn::ZERO)
            .map_err(|e| WalError::io("read", path, e))?;
        files.stray_durable = files.stray_durable.max(beyond.durable.unwrap_or(Lsn::ZERO));
        if len == prepared.capacity && beyond.written_to == from {
            what = Use::Spare;
        }
    }
    files.bystanders.push(Bystander { path: path.to_owned(), len, what });
    Ok(())
}
