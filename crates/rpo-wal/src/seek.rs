//! Positions by time, sequence, LSN, transaction id and name, in the durable prefix. Marks and seals say where to look;
//! what is answered was read there and checked.

use std::sync::{Arc, PoisonError};

use rpo_core::frame::Frame;
use rpo_core::time::ClockAnomaly;
use rpo_core::{CheckpointId, LogEntry, Lsn, PointName, Position, Sequence, Timestamp, TransactionId};

use crate::catalog::{Hint, SegmentView};
use crate::engine::Engine;
use crate::error::WalError;
use crate::pieces::Pieces;
use crate::read::what;
use crate::scan::{Expect, Next};
use crate::seal::build::note_of;
use crate::seal::{MARK_BYTES, NoteKind, SealNote};
use crate::sync::locked;

/// Something that was noted in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPoint<T> {
    /// What was noted.
    pub what: T,
    /// Where the history stands once it is included.
    pub position: Position,
    /// When it was written; never decreasing along LSNs.
    pub time: Timestamp,
}

/// Why a walk ended early.
enum Stop {
    /// The seal of this segment is wrong: forget it, and seek again.
    Seal(usize),
    Error(WalError),
}

impl From<WalError> for Stop {
    fn from(error: WalError) -> Self {
        Self::Error(error)
    }
}

type Found<T> = Result<T, Stop>;

/// The log as it was when the seek began.
struct Seek<'a> {
    #[cfg_attr(not(feature = "planted-bugs"), expect(dead_code, reason = "asked for its planted bugs only"))]
    engine: &'a Engine,
    segments: Vec<Arc<SegmentView>>,
    start: Position,
    durable: Position,
}

/// Reads frames in order from some place to the end of the durable prefix.
struct Walk<'s> {
    seek: &'s Seek<'s>,
    index: usize,
    pieces: Pieces,
    at: Expect,
    /// What must be true of the first frame because a seal says so.
    sealed: Option<Hint>,
}

impl<'a> Seek<'a> {
    fn now(engine: &'a Engine) -> Self {
        let durable = locked(&engine.state).durable;
        let catalog = engine.catalog.read().unwrap_or_else(PoisonError::into_inner);
        Self { engine, segments: catalog.segments.clone(), start: catalog.start, durable }
    }

    /// Seeks, again without a seal that proves wrong, and again if what was read was released meanwhile.
    fn run<T>(engine: &Engine, seek: impl Fn(&Seek<'_>) -> Found<T>) -> Result<T, WalError> {
        loop {
            let now = Seek::now(engine);
            let start = now.start;
            match seek(&now) {
                Ok(found) => return Ok(found),
                Err(Stop::Seal(index)) => engine.distrust(&now.segments[index]),
                Err(Stop::Error(error)) => {
                    let catalog = engine.catalog.read().unwrap_or_else(PoisonError::into_inner);
                    if catalog.start == start {
                        return Err(error);
                    }
                }
            }
        }
    }

    fn walk(&self, index: usize, hint: Option<Hint>) -> Walk<'_> {
        let view = &self.segments[index];
        let at = hint.map_or_else(|| view.first(), |hint| hint.at);
        let to_next =
            hint.map_or(0, |hint| hint.next.map_or(MARK_BYTES, |next| next.saturating_sub(at.offset)));
        let pieces = Pieces::new(Arc::clone(&view.file), to_next);
        Walk { seek: self, index, pieces, at, sealed: hint.filter(|hint| hint.sealed) }
    }

    /// From the beginning of a segment, to read all of it.
    fn walk_through(&self, index: usize) -> Walk<'_> {
        let view = &self.segments[index];
        let pieces = Pieces::steady(Arc::clone(&view.file));
        Walk { seek: self, index, pieces, at: view.first(), sealed: None }
    }

    /// Where the segment ends, as far as it is durable.
    fn end_of(&self, index: usize) -> Lsn {
        self.segments[index].end().unwrap_or(self.durable.lsn).min(self.durable.lsn)
    }

    fn last_before(&self, earlier: impl Fn(Timestamp) -> bool) -> Found<Option<Position>> {
        let durable = self.durable.lsn;
        let place = self.segments.iter().enumerate().rev().find_map(|(index, view)| {
            view.hint(|lsn, _, time| earlier(time) && lsn < durable).map(|hint| (index, hint))
        });
        let mut walk = match place {
            Some((index, hint)) => self.walk(index, Some(hint)),
            None if self.segments.is_empty() => return Ok(None),
            None => self.walk(0, None),
        };
        let mut found = None;
        // To the first frame that is too late: so a mark that says too little costs time, not truth.
        while let Some(frame) = walk.next()? {
            if !earlier(frame.head().commit_time) {
                break;
            }
            found = Some(frame.head().end());
        }
        Ok(found)
    }

    fn sequence(&self, wanted: Sequence) -> Found<Option<Position>> {
        let (first, last) =
            (self.start.sequence.unwrap_or_default(), self.durable.sequence.unwrap_or_default());
        if wanted < first || wanted > last {
            return Ok(None);
        }
        if wanted == first {
            return Ok(Some(self.start));
        }
        let found = self.segments.partition_point(|s| s.bound.base_seq < wanted);
        let Some(index) = found.checked_sub(1) else { return Ok(None) };
        let hint = self.segments[index].hint(|_, seq, _| seq < wanted);
        let mut walk = self.walk(index, hint);
        while let Some(frame) = walk.next()? {
            if frame.head().end_seq() < wanted {
                continue;
            }
            let is_it = |e: &LogEntry| matches!(e, LogEntry::Commit(commit) if commit.sequence == wanted);
            return Ok(frame.entries().find(is_it).map(|entry| entry.position()));
        }
        Ok(None)
    }

    fn boundary(&self, wanted: Lsn) -> Found<Position> {
        if wanted > self.durable.lsn {
            return Err(WalError::Ahead { from: wanted, durable: self.durable.lsn }.into());
        }
        if wanted < self.start.lsn {
            return Err(WalError::Released { from: wanted, start: self.start.lsn }.into());
        }
        let found = self.segments.partition_point(|s| s.bound.base_lsn <= wanted);
        let Some(index) = found.checked_sub(1) else { return Ok(self.durable) };
        let mut walk = self.walk(index, self.segments[index].hint(|lsn, _, _| lsn <= wanted));
        while let Some(frame) = walk.next()? {
            if frame.head().end_lsn() > wanted {
                let first = frame.entries().find(|entry| entry.lsn() >= wanted);
                return Ok(first.map_or(frame.head().end(), |entry| before(&entry)));
            }
        }
        Ok(self.durable)
    }

    fn transaction(&self, id: TransactionId) -> Found<Option<Position>> {
        let is_it = |e: &LogEntry| matches!(e, LogEntry::Commit(commit) if commit.transaction == Some(id));
        for (index, view) in self.segments.iter().enumerate() {
            let Some(seal) = view.sealed() else {
                if let Some(found) = self.walk_through(index).find(self.end_of(index), is_it)? {
                    return Ok(Some(found.position()));
                }
                continue;
            };
            if !seal.may_hold(id) {
                continue;
            }
            for (n, mark) in seal.marks.iter().enumerate() {
                if !mark.transactions.is_some_and(|(least, most)| (least..=most).contains(&id.0)) {
                    continue;
                }
                let (to, next) = seal
                    .marks
                    .get(n + 1)
                    .map_or((seal.end_lsn, seal.end_offset), |next| (next.place.lsn, next.place.offset));
                let at = mark.place.expect(&view.bound);
                let hint = Hint { at, time: mark.place.time, next: Some(next), sealed: true };
                if let Some(found) = self.walk(index, Some(hint)).find(to, is_it)? {
                    return Ok(Some(found.position()));
                }
            }
        }
        Ok(None)
    }

    /// All markers that `pick` picks, in order, at most `most`.
    fn notes<T>(&self, most: usize, pick: &dyn Fn(&NoteKind) -> Option<T>) -> Found<Vec<LogPoint<T>>> {
        let mut all = Vec::new();
        for index in 0..self.segments.len() {
            if all.len() >= most {
                break;
            }
            match self.segments[index].sealed().filter(|seal| seal.notes_complete) {
                Some(seal) => {
                    for note in seal.notes.iter().filter(|note| pick(&note.kind).is_some()) {
                        all.extend(point(&self.look_at(index, note)?, pick));
                        if all.len() >= most {
                            break;
                        }
                    }
                }
                None => {
                    let mut walk = self.walk_through(index);
                    while walk.at.lsn < self.end_of(index) {
                        let Some(frame) = walk.next()? else { break };
                        all.extend(frame.entries().filter_map(|entry| point(&entry, pick)));
                    }
                }
            }
        }
        all.truncate(most);
        Ok(all)
    }

    /// The marker that a seal lists, read where it says.
    fn look_at(&self, index: usize, note: &SealNote) -> Found<LogEntry> {
        let at = note.frame.expect(&self.segments[index].bound);
        // A head and a small body; more is read if the head says so.
        let hint = Hint { at, time: note.frame.time, next: Some(at.offset + 512), sealed: true };
        let frame = self.walk(index, Some(hint)).next()?.ok_or(Stop::Seal(index))?;
        let is_it = |entry: &LogEntry| matches!(entry, LogEntry::Marker(marker) if marker.end == note.end && note_of(&marker.kind).as_ref() == Some(&note.kind));
        frame.entries().find(is_it).ok_or(Stop::Seal(index))
    }
}

/// Where the history stands before `entry`.
fn before(entry: &LogEntry) -> Position {
    let after = entry.position();
    let count = match entry {
        LogEntry::Commit(commit) => Sequence::new(commit.sequence.get().saturating_sub(1)),
        LogEntry::Marker(marker) => marker.sequence,
    };
    Position { epoch: after.epoch, lsn: entry.lsn(), sequence: Some(count) }
}

fn point<T>(entry: &LogEntry, pick: &dyn Fn(&NoteKind) -> Option<T>) -> Option<LogPoint<T>> {
    let LogEntry::Marker(marker) = entry else { return None };
    let what = note_of(&marker.kind).as_ref().and_then(pick)?;
    Some(LogPoint { what, position: marker.position(), time: marker.time })
}

impl Walk<'_> {
    /// The next durable frame, in this segment or a later one; none at the end.
    fn next(&mut self) -> Found<Option<Frame>> {
        let durable = self.seek.durable.lsn;
        if self.at.lsn >= durable {
            return Ok(None);
        }
        if self.seek.segments[self.index].end().is_some_and(|end| end <= self.at.lsn) {
            let Some(view) = self.seek.segments.get(self.index + 1) else { return Ok(None) };
            self.index += 1;
            self.at = Expect { time: self.at.time, ..view.first() };
            self.pieces = Pieces::new(Arc::clone(&view.file), 0);
        }
        let view = &self.seek.segments[self.index];
        let sealed = self.sealed.take();
        let next = self.pieces.next(&self.at, view.capacity);
        match (next.map_err(|e| WalError::io("read", view.path(), e))?, sealed) {
            (Next::Frame(frame), hint) => {
                let lied = hint.is_some_and(|hint| hint.time != frame.head().commit_time);
                if lied && !self.trusts() {
                    return Err(Stop::Seal(self.index));
                }
                self.at = self.at.after(frame.head());
                Ok(Some(frame))
            }
            (_, Some(_)) => Err(Stop::Seal(self.index)),
            (other, None) => Err(Stop::Error(WalError::Corrupt {
                file: view.path(),
                lsn: self.at.lsn,
                offset: self.at.offset,
                what: format!("{} (it was durable)", what(&other)),
            })),
        }
    }

    fn trusts(&self) -> bool {
        #[cfg(feature = "planted-bugs")]
        return self.seek.engine.has_bug(crate::planted::Bug::SealTrusted);
        #[cfg(not(feature = "planted-bugs"))]
        return false;
    }

    /// The first entry before `to` that is wanted; only what begins at the walk's place is looked at.
    fn find(mut self, to: Lsn, wanted: impl Fn(&LogEntry) -> bool) -> Found<Option<LogEntry>> {
        while self.at.lsn < to {
            let Some(frame) = self.next()? else { break };
            if let Some(entry) = frame.entries().find(&wanted) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }
}

pub(crate) fn time(
    engine: &Engine,
    time: Timestamp,
    bound: rpo_core::Bound,
) -> Result<Option<Position>, WalError> {
    let exclusive = matches!(bound, rpo_core::Bound::Exclusive);
    #[cfg(feature = "planted-bugs")]
    let exclusive = exclusive || engine.has_bug(crate::planted::Bug::TimeOffByOne);
    Seek::run(engine, |seek| seek.last_before(|found| if exclusive { found < time } else { found <= time }))
}

pub(crate) fn sequence(engine: &Engine, wanted: Sequence) -> Result<Option<Position>, WalError> {
    Seek::run(engine, |seek| seek.sequence(wanted))
}

pub(crate) fn lsn(engine: &Engine, wanted: Lsn) -> Result<Position, WalError> {
    Seek::run(engine, |seek| seek.boundary(wanted))
}

pub(crate) fn transaction(engine: &Engine, id: TransactionId) -> Result<Option<Position>, WalError> {
    Seek::run(engine, |seek| seek.transaction(id))
}

pub(crate) fn point_called(engine: &Engine, name: &PointName) -> Result<Option<Position>, WalError> {
    let pick = |kind: &NoteKind| matches!(kind, NoteKind::Point(found) if found == name).then_some(());
    let found = Seek::run(engine, |seek| seek.notes(1, &pick))?;
    Ok(found.first().map(|point| point.position))
}

pub(crate) fn points(engine: &Engine) -> Result<Vec<LogPoint<PointName>>, WalError> {
    let pick = |kind: &NoteKind| match kind {
        NoteKind::Point(name) => Some(name.clone()),
        _ => None,
    };
    Seek::run(engine, |seek| seek.notes(usize::MAX, &pick))
}

pub(crate) fn checkpoints(engine: &Engine) -> Result<Vec<LogPoint<CheckpointId>>, WalError> {
    let pick = |kind: &NoteKind| match kind {
        NoteKind::Checkpoint(id) => Some(id.clone()),
        _ => None,
    };
    Seek::run(engine, |seek| seek.notes(usize::MAX, &pick))
}

pub(crate) fn anomalies(engine: &Engine) -> Result<Vec<LogPoint<ClockAnomaly>>, WalError> {
    let pick = |kind: &NoteKind| match kind {
        NoteKind::Anomaly(anomaly) => Some(*anomaly),
        _ => None,
    };
    Seek::run(engine, |seek| seek.notes(usize::MAX, &pick))
}
