//! The condition of a log: every stretch that can be read, every gap between, and how it ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rpo_core::frame::{Frame, FrameHead};
use rpo_core::{Disk, DiskFile, Epoch, LogId, Lsn, Position, Timestamp};
use serde::Serialize;

use super::chain::Chain;
use super::files::{Candidate, Use, read_files};
use super::look::Look;
use super::walk::{expect, place};
use crate::control::{self, ControlFound};
use crate::error::WalError;
use crate::feed::Reading;
use crate::recover::{examine, unseen};
use crate::scan::{self, Expect, Next};
use crate::survey::survey;

/// Frames that follow on each other in one file, every byte of them checked.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Run {
    /// The file.
    pub file: PathBuf,
    /// Where they begin.
    pub from: Chain,
    /// Where they end.
    pub to: Chain,
    /// Where in the file they begin, bytes.
    pub offset: u64,
    /// Bytes of the file they take.
    pub bytes: u64,
    /// How many there are.
    pub frames: u64,
    /// Commits in them.
    pub commits: u64,
    /// Commit time of the first one.
    pub first_time: Timestamp,
    /// Low half of the salt of their segment.
    pub salt: u32,
    #[serde(skip)]
    handle: Arc<dyn DiskFile>,
}

impl Run {
    pub(super) fn begin(candidate: &Candidate, from: &Expect, first_time: Timestamp) -> Self {
        let from_place = place(from);
        Self {
            file: candidate.path.clone(),
            from: from_place,
            to: from_place,
            offset: from.offset,
            bytes: 0,
            frames: 0,
            commits: 0,
            first_time,
            salt: from.salt,
            handle: Arc::clone(&candidate.file),
        }
    }

    pub(super) fn add(&mut self, head: &FrameHead, to: Chain) {
        self.frames += 1;
        self.commits += u64::from(head.commit_count);
        self.bytes += head.frame_len() as u64;
        self.to = to;
    }

    /// Reads its frames again, each checked against the one before.
    pub fn frames(&self) -> impl Iterator<Item = Result<Frame, WalError>> + use<> {
        let (run, mut window) = (self.clone(), scan::Window::new(Arc::clone(&self.handle)));
        let mut at = expect(&run.from, run.offset, run.salt);
        let end = run.offset + run.bytes;
        std::iter::from_fn(move || {
            if at.offset >= end {
                return None;
            }
            match scan::next(&mut window, &at, end) {
                Ok(Next::Frame(frame)) => {
                    at = at.after(frame.head());
                    Some(Ok(frame))
                }
                Ok(_) => {
                    let error = WalError::Corrupt {
                        file: run.file.clone(),
                        lsn: at.lsn,
                        offset: at.offset,
                        what: "a frame that was read before reads otherwise now".to_owned(),
                    };
                    at.offset = end;
                    Some(Err(error))
                }
                Err(error) => {
                    at.offset = end;
                    Some(Err(WalError::io("read", &*run.file, error)))
                }
            }
        })
    }
}

/// Where a gap ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GapEnd {
    /// Here the log goes on.
    Before(Chain),
    /// Nothing readable follows. It reached at least this far; how much further is not known.
    AtLeast(Lsn),
}

/// A stretch that should be in the log and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Gap {
    /// Where it begins.
    pub from: Chain,
    /// Where it ends.
    pub to: GapEnd,
    /// The file in which it begins, if it does in one.
    pub file: Option<PathBuf>,
    /// Where in that file, bytes.
    pub offset: Option<u64>,
    /// What was found, and why it is no torn write.
    pub why: String,
}

/// A part of the log, in LSN order.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Piece {
    /// Readable.
    Run(Run),
    /// Not readable.
    Gap(Gap),
}

/// A file of the directory.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FileState {
    /// Its path.
    pub path: PathBuf,
    /// What it is to the log.
    pub what: Use,
    /// Its length, bytes; of a segment, what may hold frames.
    pub len: u64,
    /// Of a segment: where it begins.
    pub base: Option<Position>,
    /// Of a segment: how many the log had bound with it.
    pub ordinal: Option<u64>,
    /// Of a segment: its whole salt.
    pub salt: Option<u64>,
    /// Of a segment: when it was prepared.
    pub created: Option<Timestamp>,
    /// What is wrong with it as a file: header, name, length.
    pub trouble: Option<String>,
    /// Of a live segment: whether every byte that belongs to the log is there and right.
    pub whole: bool,
}

/// What the control file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ControlState {
    /// There is none.
    Absent,
    /// Neither slot can be read: where the log begins and what was durable has to be told by the segments.
    Damaged,
    /// The newer slot.
    Valid {
        /// Where the local log begins.
        start: Position,
        /// Everything before it was durable.
        durable: Lsn,
        /// The epoch it took over from.
        parent: Option<Epoch>,
        /// Whether it says that the log was closed, and nothing written since. Nothing here rests on that: every byte is read.
        closed: bool,
        /// Whether the other slot cannot be read.
        one_slot_damaged: bool,
    },
}

/// How the newest segment ends, by the decision table of `segment.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TailState {
    /// Row of the table.
    pub row: u8,
    /// What follows from it.
    pub verdict: String,
    /// Where the last readable frame ends: L.
    pub end: Position,
    /// Where in the file that is, bytes.
    pub offset: u64,
    /// The highest LSN known to have been durable: F.
    pub durable: Lsn,
    /// Bytes written past the end.
    pub bytes_past: u64,
    /// Whole heads of later frames past the end.
    pub frames_past: u64,
}

/// What is in a log's directory, whatever is damaged in it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Condition {
    /// The directory.
    pub dir: PathBuf,
    /// Identity of the log, if any file tells it.
    pub log: Option<LogId>,
    /// The control file.
    pub control: ControlState,
    /// Every file, segments in LSN order first.
    pub files: Vec<FileState>,
    /// The log in LSN order.
    pub pieces: Vec<Piece>,
    /// How the newest segment ends; none without a segment, or if nothing of it can be placed.
    pub tail: Option<TailState>,
    /// Why the log does not open, if it does not.
    pub refuses: Option<String>,
    /// What else a person should know.
    pub notes: Vec<String>,
}

impl Condition {
    /// The readable stretches.
    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Run(run) => Some(run),
            Piece::Gap(_) => None,
        })
    }

    /// The gaps.
    pub fn gaps(&self) -> impl Iterator<Item = &Gap> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Run(_) => None,
            Piece::Gap(gap) => Some(gap),
        })
    }

    /// Live segments, in LSN order.
    pub fn segments(&self) -> impl Iterator<Item = &FileState> {
        self.files.iter().filter(|file| file.what == Use::Live)
    }

    /// Whether everything is there and right: it opens, nothing is missing, and no file is damaged.
    pub fn is_whole(&self) -> bool {
        self.refuses.is_none()
            && self.gaps().next().is_none()
            && self.control != ControlState::Damaged
            && self.files.iter().all(|file| file.trouble.is_none())
    }

    /// Where the last readable stretch ends.
    pub fn end(&self) -> Option<Chain> {
        self.runs().last().map(|run| run.to)
    }
}

/// Reads everything in `dir`, as far as it can be read; `witness` is what the caller knows to have been durable. Takes no
/// lock, changes nothing: of a log that is being written, the end may be seen torn.
///
/// # Errors
/// Of the device; kind `NotFound` if there is no such directory, `Unsupported` for what a newer program wrote. Damage is no
/// error.
pub fn examine_dir(disk: &dyn Disk, dir: &Path, witness: Lsn) -> Result<Condition, WalError> {
    let found = control::read(disk, dir)?;
    let (control, known) = match found {
        ControlFound::Absent => (ControlState::Absent, None),
        ControlFound::Unreadable => (ControlState::Damaged, None),
        ControlFound::Valid(c, one_slot_damaged) => {
            let (start, durable, parent) = (c.start, c.durable, c.parent);
            (ControlState::Valid { start, durable, parent, closed: c.closed, one_slot_damaged }, Some(c))
        }
    };
    let mut files = read_files(disk, dir)?;
    files.log = known.map(|c| c.log).or(files.log);
    let refuses = survey(disk, dir)
        .and_then(|mut survey| {
            examine(dir, &mut survey, Position::START, witness, Reading::Direct, &mut unseen).map(drop)
        })
        .err()
        .map(|error| error.to_string());
    let durable = [known.map(|c| c.durable), Some(witness), Some(files.stray_durable)];
    let durable = durable.into_iter().flatten().max().unwrap_or(Lsn::ZERO);
    let mut look = Look::new(known, witness, durable);
    let log = files.log;
    let states = look.run(files)?;
    Ok(Condition {
        dir: dir.to_owned(),
        log,
        control,
        files: states,
        pieces: look.pieces,
        tail: look.tail,
        refuses,
        notes: look.notes,
    })
}
