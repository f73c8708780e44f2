//! The condition of a log: every stretch that can be read, every gap between, and how it ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rpo_core::frame::{Frame, FrameHead, HEAD_BYTES};
use rpo_core::{Disk, DiskFile, Epoch, LogId, Lsn, Position, Timestamp};
use serde::Serialize;

use super::chain::Chain;
use super::files::{Candidate, Files, Use, read_files};
use super::walk::{self, Stop, expect, place};
use crate::control::{self, Control, ControlFound};
use crate::error::WalError;
use crate::feed::Reading;
use crate::judge::{Stands, TailFacts, Verdict, judge};
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
            (ControlState::Valid { start, durable, parent, one_slot_damaged }, Some(c))
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
    let mut look = Look {
        known,
        witness,
        pieces: Vec::new(),
        open: None,
        place: None,
        notes: Vec::new(),
        durable: Lsn::ZERO,
        tail: None,
    };
    look.durable = [known.map(|c| c.durable), Some(witness), Some(files.stray_durable)]
        .into_iter()
        .flatten()
        .max()
        .unwrap_or(Lsn::ZERO);
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

/// A gap that has begun.
struct Open {
    from: Chain,
    file: Option<PathBuf>,
    offset: Option<u64>,
    why: String,
    /// It reached at least this far, if something says so.
    least: Lsn,
}

struct Look {
    known: Option<Control>,
    witness: Lsn,
    pieces: Vec<Piece>,
    open: Option<Open>,
    /// Where the readable log stands.
    place: Option<Chain>,
    notes: Vec<String>,
    durable: Lsn,
    tail: Option<TailState>,
}

impl Look {
    fn run(&mut self, files: Files) -> Result<Vec<FileState>, WalError> {
        let Files { mut candidates, bystanders, log, .. } = files;
        for candidate in &mut candidates {
            let foreign = candidate.prepared.zip(log).is_some_and(|(p, log)| p.log != log);
            if foreign {
                candidate.trouble = Some("it belongs to another log: move it away".to_owned());
            }
        }
        let (foreign, candidates): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|c| c.prepared.zip(log).is_some_and(|(p, log)| p.log != log));
        let (live, replaced) = self.split_live(candidates);
        let mut states = self.walk_all(&live)?;
        states.extend(replaced.iter().map(|c| state(c, Use::Replaced, true)));
        states.extend(foreign.iter().map(|c| state(c, Use::Foreign, false)));
        states.extend(bystanders.into_iter().map(|b| FileState {
            path: b.path,
            what: b.what,
            len: b.len,
            base: None,
            ordinal: None,
            salt: None,
            created: None,
            trouble: None,
            whole: true,
        }));
        Ok(states)
    }

    /// From its base on, the segment bound last wins; a segment whose header cannot be read stands where its name says.
    fn split_live(&self, candidates: Vec<Candidate>) -> (Vec<Candidate>, Vec<Candidate>) {
        let (mut known, unknown): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|c| c.ordinal().is_some());
        known.sort_by_key(Candidate::ordinal);
        let (mut live, mut replaced): (Vec<Candidate>, Vec<Candidate>) = (Vec::new(), Vec::new());
        for segment in known.into_iter().rev() {
            match live.last() {
                Some(later) if later.base <= segment.base => replaced.push(segment),
                _ => live.push(segment),
            }
        }
        live.extend(unknown);
        live.sort_by_key(|c| (c.base, c.ordinal().is_none()));
        if let Some(control) = self.known {
            let kept = live.iter().skip(1).take_while(|next| next.base <= control.start.lsn).count();
            replaced.extend(live.drain(..kept));
        }
        (live, replaced)
    }

    fn walk_all(&mut self, live: &[Candidate]) -> Result<Vec<FileState>, WalError> {
        let newest_known = live.iter().rev().find(|c| c.ordinal().is_some()).map(|c| c.base);
        self.durable = self.durable.max(newest_known.unwrap_or(Lsn::ZERO));
        let mut states = Vec::new();
        for (index, segment) in live.iter().enumerate() {
            let limit = live[index + 1..].iter().find(|c| c.ordinal().is_some()).map(|c| c.base);
            let gaps = self.pieces.len();
            let is_last = index + 1 == live.len();
            let used = self.segment(segment, limit, is_last)?;
            let begins_here = |piece: &Piece| matches!(piece, Piece::Gap(gap) if gap.file.as_deref() == Some(segment.path.as_path()));
            let gaps_within = self.pieces[gaps..].iter().any(begins_here);
            let gap_inside = self.open.is_some() || gaps_within;
            // A log that only ends too early has no damaged file: what is missing goes behind it.
            let short = self.tail.as_ref().is_some_and(|tail| tail.row == 5 && tail.bytes_past == 0);
            let gap_inside = gap_inside && (gaps_within || !short);
            let whole = segment.trouble.is_none() && used && !gap_inside;
            states.push(state(segment, if used { Use::Live } else { Use::Replaced }, whole));
        }
        self.finish();
        Ok(states)
    }

    /// Where the log should begin, if nothing of it was read yet.
    fn beginning(&self, segment: &Candidate) -> Option<Chain> {
        self.start().filter(|start| segment.base > start.lsn)
    }

    /// Where the log begins, as the control file says.
    fn start(&self) -> Option<Chain> {
        let start = self.known?.start;
        Some(Chain {
            epoch: start.epoch,
            lsn: start.lsn,
            sequence: start.sequence.unwrap_or_default(),
            chain: (start.lsn == Lsn::ZERO).then_some(0),
            time: Timestamp::from_micros(i64::MIN),
        })
    }

    fn segment(&mut self, segment: &Candidate, limit: Option<Lsn>, is_last: bool) -> Result<bool, WalError> {
        let io = |e| WalError::io("read", &*segment.path, e);
        if segment.base == Lsn::new(u64::MAX) {
            let why = "nothing in it tells where it belongs";
            self.begin_gap(self.place, Some(segment), None, why);
            return Ok(true);
        }
        let mut from = match self.first(segment).map_err(io)? {
            Some(from) => from,
            None => {
                let from = self.place.or_else(|| self.start()).or_else(|| named(segment));
                self.begin_gap(from, Some(segment), None, "no frame in it can be read");
                return Ok(true);
            }
        };
        if self.pieces.is_empty()
            && self.open.is_none()
            && let Some(start) = self.beginning(segment)
        {
            self.begin_gap(Some(start), None, None, "the segment that held it is missing");
        }
        if let Some(place) = self.place.filter(|_| self.open.is_none()) {
            if place.lsn > from.lsn {
                // Only of a segment without a readable ordinal: what it holds before is in the one before it, too.
                match self.skip_to(segment, from, place.lsn)? {
                    Some(at) => from = at,
                    None => return Ok(false),
                }
            }
            if place.lsn < from.lsn {
                self.begin_gap(Some(place), None, None, "the segment that held it is missing");
            } else if !place.joins(&walk::place(&from)) {
                self.begin_gap(
                    Some(place),
                    Some(segment),
                    Some(from.offset),
                    "the next segment does not go on where this one ends",
                );
                self.notes.push(format!("{}: left out, it follows on other frames", segment.path.display()));
                return Ok(true);
            } else {
                from.time = place.time;
            }
        }
        self.walk_segment(segment, from, limit, is_last)?;
        Ok(true)
    }

    fn walk_segment(
        &mut self,
        segment: &Candidate,
        mut from: Expect,
        limit: Option<Lsn>,
        is_last: bool,
    ) -> Result<(), WalError> {
        let io = |e| WalError::io("read", &*segment.path, e);
        loop {
            if self.open.is_some() {
                if limit.is_some_and(|limit| from.lsn >= limit) {
                    return Ok(());
                }
                self.end_gap(walk::place(&from));
            }
            let Stop { run, at, next, durable } = walk::walk(segment, from, limit).map_err(io)?;
            self.durable = self.durable.max(durable);
            if let Some(run) = run {
                self.place = Some(run.to);
                self.pieces.push(Piece::Run(run));
            } else {
                self.place = Some(walk::place(&at));
            }
            let Some(next) = next else { return Ok(()) };
            let why = if is_last {
                match self.judge(segment, &at, &next)? {
                    None => return Ok(()),
                    Some(why) => why,
                }
            } else if matches!(next, Next::Unwritten) && self.clean_after(segment, &at)? {
                "the segment that held it is missing".to_owned()
            } else {
                format!("{} (a later segment proves that it was durable)", describe(&next))
            };
            let found = walk::resume(segment, at.offset + 8, at.lsn).map_err(io)?;
            let found = found.filter(|found| limit.is_none_or(|limit| found.lsn < limit));
            if found.is_none() && !is_last && why.starts_with("the segment") {
                return Ok(()); // the next segment begins the gap, where this one ends
            }
            self.begin_gap(Some(walk::place(&at)), Some(segment), Some(at.offset), &why);
            match found {
                Some(found) => from = found,
                None => return Ok(()),
            }
        }
    }

    /// The first frame of a segment, or where it must be.
    fn first(&self, segment: &Candidate) -> std::io::Result<Option<Expect>> {
        if let Some(bound) = segment.bound.filter(|_| segment.trouble.is_none()) {
            return Ok(Some(scan::first(&bound, Timestamp::from_micros(i64::MIN))));
        }
        walk::resume(segment, 0, segment.base)
    }

    fn skip_to(&self, segment: &Candidate, from: Expect, lsn: Lsn) -> Result<Option<Expect>, WalError> {
        let stop =
            walk::walk(segment, from, Some(lsn)).map_err(|e| WalError::io("read", &*segment.path, e))?;
        Ok((stop.next.is_none() && stop.at.lsn == lsn && stop.at.offset < segment.capacity)
            .then_some(stop.at))
    }

    fn clean_after(&self, segment: &Candidate, at: &Expect) -> Result<bool, WalError> {
        let beyond = scan::search(&*segment.file, at.offset, segment.capacity, at.salt, at.lsn)
            .map_err(|e| WalError::io("read", &*segment.path, e))?;
        Ok(beyond.written_to <= at.offset)
    }

    fn begin_gap(&mut self, from: Option<Chain>, file: Option<&Candidate>, offset: Option<u64>, why: &str) {
        if self.open.is_some() {
            return; // it goes on
        }
        let from = from.unwrap_or(Chain {
            epoch: Epoch::FIRST,
            lsn: Lsn::ZERO,
            sequence: Default::default(),
            chain: Some(0),
            time: Timestamp::from_micros(i64::MIN),
        });
        let file = file.map(|f| f.path.clone());
        self.open = Some(Open { from, file, offset, why: why.to_owned(), least: Lsn::ZERO });
    }

    fn end_gap(&mut self, next: Chain) {
        if let Some(Open { from, file, offset, why, .. }) = self.open.take() {
            self.pieces.push(Piece::Gap(Gap { from, to: GapEnd::Before(next), file, offset, why }));
        }
    }

    /// What is open at the end stays open; and a log that ends before what was durable has a gap there.
    fn finish(&mut self) {
        let nothing = self.pieces.is_empty() && self.open.is_none();
        if nothing && let Some(start) = self.start().filter(|start| self.durable > start.lsn) {
            self.begin_gap(Some(start), None, None, "no segment is there");
        }
        if let Some(Open { from, file, offset, why, least }) = self.open.take() {
            let least = least.max(self.durable).max(self.witness).max(from.lsn);
            self.pieces.push(Piece::Gap(Gap { from, to: GapEnd::AtLeast(least), file, offset, why }));
        }
    }

    /// Why what stands at the end of the newest segment is damage; none if it is where the log ends.
    fn judge(&mut self, segment: &Candidate, at: &Expect, stop: &Next) -> Result<Option<String>, WalError> {
        let io = |e| WalError::io("read", &*segment.path, e);
        let beyond =
            scan::search(&*segment.file, at.offset, segment.capacity, at.salt, at.lsn).map_err(io)?;
        let written = beyond.written_to > at.offset;
        let sector_end = (at.offset + HEAD_BYTES as u64).next_multiple_of(512).min(segment.capacity);
        let (stands, to) = match stop {
            Next::Unwritten if !written => (Stands::Nothing, at.offset),
            Next::Unwritten => (Stands::ZeroHead, sector_end),
            Next::BadBody(head, _) => {
                (Stands::Invalid, at.offset + HEAD_BYTES as u64 + u64::from(head.body_len))
            }
            Next::BadHead(_) => (Stands::Invalid, sector_end),
            Next::Misplaced(_) | Next::Frame(_) => (Stands::Misplaced, at.offset),
        };
        let zero_sector = scan::has_zero_sector(&*segment.file, at.offset, to).map_err(io)?;
        let later_durable = beyond.durable;
        let facts = TailFacts { stands, lsn: at.lsn, proven: self.durable, zero_sector, later_durable };
        let (row, verdict, damage) = told(judge(&facts), stop);
        self.tail = Some(TailState {
            row,
            verdict: verdict.to_owned(),
            end: walk::place(at).position(),
            offset: at.offset,
            durable: self.durable,
            bytes_past: beyond.written_to.saturating_sub(at.offset),
            frames_past: beyond.frames,
        });
        self.durable = self.durable.max(later_durable.unwrap_or(Lsn::ZERO));
        Ok(damage)
    }
}

/// Row of the table, what it says, and why it is damage if it is.
fn told(verdict: Verdict, stop: &Next) -> (u8, &'static str, Option<String>) {
    let damage = |why: &str| Some(format!("{} ({why})", describe(stop)));
    match verdict {
        Verdict::Clean => (2, "clean end", None),
        Verdict::Torn => (3, "torn by a crash before it was synced: opening cuts it", None),
        Verdict::Unordered => (7, "one unsynced window, written out of order: opening cuts it", None),
        Verdict::Rot => (
            4,
            "damaged: no write was cut short here",
            damage("no sector of it is zero, so no write was cut short"),
        ),
        Verdict::Lost => (
            5,
            "a witness says that more was durable: acknowledged data is lost",
            damage("a witness says that it was durable"),
        ),
        Verdict::RotProven => {
            (6, "damaged: it was durable once", damage("a later frame proves that it was durable"))
        }
        Verdict::Misplaced => (8, "a frame that does not belong here", damage("nothing stale can be here")),
    }
}

fn describe(stop: &Next) -> String {
    match stop {
        Next::Frame(_) => "a frame past the end".to_owned(),
        Next::Unwritten => "nothing where a frame must be".to_owned(),
        Next::Misplaced(what) => (*what).to_owned(),
        Next::BadBody(_, error) | Next::BadHead(error) => error.to_string(),
    }
}

/// Where a segment begins by its name alone: how many commits come before is not known.
fn named(segment: &Candidate) -> Option<Chain> {
    let bound = segment.bound?;
    let time = Timestamp::from_micros(i64::MIN);
    let (epoch, lsn, sequence) = (bound.epoch, bound.base_lsn, bound.base_seq);
    Some(Chain { epoch, lsn, sequence, chain: Some(bound.prev_chain.unwrap_or(0)), time })
}

fn state(candidate: &Candidate, what: Use, whole: bool) -> FileState {
    let known = candidate.base != Lsn::new(u64::MAX);
    let sequence = candidate.bound.map(|b| b.base_seq);
    let salts = (candidate.prepared.map(|p| p.salt), candidate.bound.map(|b| b.salt));
    FileState {
        path: candidate.path.clone(),
        what,
        len: candidate.capacity,
        base: known.then_some(Position { epoch: candidate.epoch, lsn: candidate.base, sequence }),
        ordinal: candidate.bound.map(|b| b.ordinal),
        salt: salts.0.or(salts.1),
        created: candidate.prepared.map(|p| p.created),
        trouble: candidate.trouble.clone(),
        whole,
    }
}
