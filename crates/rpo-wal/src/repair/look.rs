//! Walking a log's files in LSN order: what is readable, what is missing between, and how it ends.

use std::path::PathBuf;

use rpo_core::frame::HEAD_BYTES;
use rpo_core::{Epoch, Lsn, Position, Timestamp};

use super::chain::Chain;
use super::condition::{FileState, Gap, GapEnd, Piece, TailState};
use super::files::{Candidate, Files, Use};
use super::walk::{self, Stop};
use crate::control::Control;
use crate::error::WalError;
use crate::judge::{Stands, TailFacts, Verdict, judge};
use crate::scan::{self, Expect, Next};

/// A gap that has begun.
struct Open {
    from: Chain,
    file: Option<PathBuf>,
    offset: Option<u64>,
    why: String,
    /// It reached at least this far, if something says so.
    least: Lsn,
}

pub(super) struct Look {
    known: Option<Control>,
    witness: Lsn,
    pub(super) pieces: Vec<Piece>,
    open: Option<Open>,
    /// Where the readable log stands.
    place: Option<Chain>,
    pub(super) notes: Vec<String>,
    durable: Lsn,
    pub(super) tail: Option<TailState>,
}

impl Look {
    /// `durable` is the highest LSN that anything but the segments says was durable.
    pub(super) fn new(known: Option<Control>, witness: Lsn, durable: Lsn) -> Self {
        let (pieces, notes) = (Vec::new(), Vec::new());
        Self { known, witness, pieces, open: None, place: None, notes, durable, tail: None }
    }

    /// Walks every file; returns what each one is.
    pub(super) fn run(&mut self, files: Files) -> Result<Vec<FileState>, WalError> {
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
