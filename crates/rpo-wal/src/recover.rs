//! Where the log in a directory ends. Reads only: what follows from it is done in `open`.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rpo_core::frame::{EntryRef, FrameRef, HEAD_BYTES};
use rpo_core::{DiskFile, Lsn, Position, Timestamp};

use crate::catalog::SegmentView;
use crate::error::WalError;
use crate::feed::{Ahead, Reading, Stretch};
use crate::format::FormatError;
use crate::judge::{Stands, TailFacts, Verdict, judge};
use crate::report::Tail;
use crate::scan::{self, Beyond, Expect, Next, Window};
use crate::segment::{Bound, Prepared};
use crate::survey::{FoundSegment, Survey, complete_segment, format_error};

/// A live segment with its index.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) found: FoundSegment,
    pub(crate) view: Arc<SegmentView>,
}

/// Where the log stands.
#[derive(Debug)]
pub(crate) struct Findings {
    /// Where the local log begins.
    pub(crate) start: Position,
    /// Live segments, in LSN order.
    pub(crate) live: Vec<Live>,
    /// Segments that later ones have replaced as a whole.
    pub(crate) replaced: Vec<FoundSegment>,
    /// Segments wholly before the start: their release was interrupted.
    pub(crate) released: Vec<FoundSegment>,
    /// What the next frame must say.
    pub(crate) end: Expect,
    /// Whether there is any frame or segment before it.
    pub(crate) has_previous: bool,
    /// The highest LSN known to be durable: F.
    pub(crate) proven: Lsn,
    /// The first frame of the newest segment that is not proven to be durable.
    pub(crate) unproven: Option<Expect>,
    pub(crate) tail: Tail,
    pub(crate) frames: u64,
    pub(crate) commits: u64,
    pub(crate) ordinal_max: u64,
    /// The segment that opening made of the unproven frames.
    pub(crate) copied: Option<Arc<SegmentView>>,
}

/// Gets every entry that is read, in order, while the end of the log is not judged yet.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(EntryRef<'_>);

/// For whoever wants to know no more than where the log ends.
pub(crate) fn unseen(_: EntryRef<'_>) {}

struct Examiner<'a> {
    dir: &'a Path,
    proven: Lsn,
    frames: u64,
    commits: u64,
    /// Where a log that was closed ends: nothing was written past it.
    closed_at: Option<Lsn>,
    window: Option<Window>,
    reading: Reading,
    ahead: Option<Ahead>,
    visit: Visit<'a>,
}

/// Walks every live segment and judges the end; `survey.segments` moves into the findings.
///
/// `fresh` is where a log begins that holds nothing yet, `witness` what the caller knows to have been durable.
pub(crate) fn examine(
    dir: &Path,
    survey: &mut Survey,
    fresh: Position,
    witness: Lsn,
    reading: Reading,
    visit: Visit<'_>,
) -> Result<Findings, WalError> {
    let ordinal_max = survey.segments.last().map_or(0, |s| s.bound.ordinal);
    let start = survey.control.map_or(fresh, |c| c.start);
    let (mut live, replaced) = split_live(std::mem::take(&mut survey.segments))?;
    let kept = live
        .iter()
        .skip(1)
        .take_while(|next| survey.control.is_some() && next.bound.base_lsn <= start.lsn)
        .count();
    let released = live.drain(..kept).collect();
    let witnesses = [survey.control.map(|c| c.durable), live.last().map(|s| s.bound.base_lsn), Some(witness)];
    let proven = witnesses.into_iter().flatten().chain([survey.stray_durable]).max().unwrap_or(Lsn::ZERO);
    let closed_at = survey.control.filter(|_| survey.closed).map(|c| c.durable);
    let (frames, commits, window, ahead) = (0, 0, None, None);
    let mut examiner = Examiner { dir, proven, frames, commits, closed_at, window, reading, ahead, visit };
    let mut findings = examiner.run(live, start, survey.control.is_some(), ordinal_max)?;
    (findings.replaced, findings.released) = (replaced, released);
    Ok(findings)
}

/// Walks one segment as if it were the only one of its log.
pub(crate) fn examine_one(
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    prepared: Prepared,
    bound: Bound,
) -> Result<Findings, WalError> {
    let found = complete_segment(path, file, prepared, bound)?;
    let mut examiner = Examiner {
        dir: Path::new("image"),
        proven: bound.base_lsn,
        frames: 0,
        commits: 0,
        closed_at: None,
        window: None,
        reading: Reading::Direct,
        ahead: None,
        visit: &mut unseen,
    };
    examiner.run(vec![found], bound.start(), true, bound.ordinal)
}

/// From its base on, the segment bound last wins.
fn split_live(segments: Vec<FoundSegment>) -> Result<(Vec<FoundSegment>, Vec<FoundSegment>), WalError> {
    let (mut live, mut replaced): (Vec<FoundSegment>, Vec<FoundSegment>) = (Vec::new(), Vec::new());
    for segment in segments.into_iter().rev() {
        if let Some(later) = live.last() {
            let rule = "ordinals are given once, and epochs never go back";
            if later.bound.ordinal == segment.bound.ordinal || later.bound.epoch < segment.bound.epoch {
                return Err(format_error(&later.path)(FormatError::Rule(rule)));
            }
            if later.bound.base_lsn <= segment.bound.base_lsn {
                replaced.push(segment);
                continue;
            }
        }
        live.push(segment);
    }
    live.reverse();
    Ok((live, replaced))
}

impl Examiner<'_> {
    fn run(
        &mut self,
        live: Vec<FoundSegment>,
        start: Position,
        start_known: bool,
        ordinal_max: u64,
    ) -> Result<Findings, WalError> {
        let mut end = at_start(start);
        let mut views: Vec<Live> = Vec::new();
        self.start_ahead(&live);
        let mut bases = live.iter().map(|s| s.bound).collect::<Vec<_>>().into_iter().skip(1);
        for (index, found) in live.into_iter().enumerate() {
            if index == 0 {
                self.first_begins_at(&found, start, start_known)?;
                end.time = Timestamp::from_micros(i64::MIN);
            }
            let view = Arc::new(SegmentView::new(
                found.bound,
                found.prepared.capacity,
                Arc::clone(&found.file),
                found.path.clone(),
            ));
            let segment = Live { found, view };
            end = scan::first(&segment.found.bound, end.time);
            match bases.next() {
                Some(next) => {
                    end = self.walk_to(index, &segment, end, &next)?;
                    segment.view.finish(next.base_lsn);
                    views.push(segment);
                }
                None => {
                    views.push(segment);
                }
            }
        }
        let Some(newest) = views.last() else {
            if self.proven > start.lsn {
                return Err(WalError::MissingSegment {
                    dir: self.dir.to_owned(),
                    from: start.lsn,
                    to: self.proven,
                });
            }
            return Ok(self.findings(start, views, end, None, Tail::Clean, ordinal_max));
        };
        let (end, unproven, tail) = self.walk_newest(views.len() - 1, newest, end)?;
        self.ahead = None;
        let start = if start_known { start } else { views[0].found.bound.start() };
        Ok(self.findings(start, views, end, unproven, tail, ordinal_max))
    }

    fn findings(
        &self,
        start: Position,
        live: Vec<Live>,
        end: Expect,
        unproven: Option<Expect>,
        tail: Tail,
        ordinal_max: u64,
    ) -> Findings {
        let has_previous = !live.is_empty();
        let (proven, frames, commits) = (self.proven, self.frames, self.commits);
        Findings {
            start,
            live,
            replaced: Vec::new(),
            released: Vec::new(),
            end,
            has_previous,
            proven,
            unproven,
            tail,
            frames,
            commits,
            ordinal_max,
            copied: None,
        }
    }

    fn first_begins_at(&self, first: &FoundSegment, start: Position, known: bool) -> Result<(), WalError> {
        let base = first.bound.base_lsn;
        if known && base > start.lsn {
            return Err(WalError::MissingSegment { dir: self.dir.to_owned(), from: start.lsn, to: base });
        }
        Ok(())
    }

    fn count(&mut self, frame: &FrameRef<'_>) {
        let head = frame.head();
        self.frames += 1;
        self.commits += u64::from(head.commit_count);
        self.proven = self.proven.max(head.durable_lsn);
        for entry in frame.entries() {
            (self.visit)(entry);
        }
    }

    fn start_ahead(&mut self, live: &[FoundSegment]) {
        let Reading::Ahead(sizes) = self.reading else { return };
        let bases = live.iter().skip(1).map(|s| Some(s.bound.base_lsn)).chain([None]);
        let stretch = |(found, until): (&FoundSegment, _)| Stretch {
            file: Arc::clone(&found.file),
            capacity: found.prepared.capacity,
            until,
        };
        match Ahead::start(live.iter().zip(bases).map(stretch).collect(), sizes) {
            Ok(ahead) => self.ahead = Some(ahead),
            Err(error) => tracing::warn!(%error, "no thread to read ahead: opening takes longer"),
        }
    }

    /// Takes the frames that were read ahead, as long as each is just what must come; the rest is for `scan::next`, which
    /// tells what stands there.
    fn take_ahead(
        &mut self,
        index: usize,
        segment: &Live,
        mut at: Expect,
        mut passed: impl FnMut(&Self, Expect, Lsn),
    ) -> Expect {
        let capacity = segment.found.prepared.capacity;
        let Some(mut ahead) = self.ahead.take() else { return at };
        while let Some(run) = ahead.next(index, at.offset) {
            let mut right = true;
            for frame in run.frames() {
                right = at.is_met_by(frame.head(), capacity);
                if !right {
                    break;
                }
                let frame = frame.borrowed();
                self.count(&frame);
                segment.view.note(at, frame.head().commit_time);
                let after = at.after_frame(&frame);
                passed(self, at, after.lsn);
                at = after;
            }
            if !ahead.passed(run) || !right {
                break;
            }
        }
        self.ahead = Some(ahead);
        at
    }

    /// One buffer reads all segments.
    fn window(&mut self, found: &FoundSegment) -> Window {
        let file = Arc::clone(&found.file);
        match self.window.take() {
            Some(mut window) => {
                window.turn_to(file);
                window
            }
            None => Window::new(file),
        }
    }

    /// Row 1: everything up to the base of the next segment must be there.
    fn walk_to(
        &mut self,
        index: usize,
        segment: &Live,
        at: Expect,
        next: &Bound,
    ) -> Result<Expect, WalError> {
        let found = &segment.found;
        let mut at = self.take_ahead(index, segment, at, |_, _, _| ());
        let mut window = self.window(found);
        while at.lsn < next.base_lsn {
            match scan::next(&mut window, &at, found.prepared.capacity)
                .map_err(|e| WalError::io("read", &*found.path, e))?
            {
                Next::Frame(frame) => {
                    self.count(&frame.borrowed());
                    segment.view.note(at, frame.head().commit_time);
                    at = at.after(frame.head());
                }
                Next::Unwritten if self.beyond(found, &at)?.written_to == at.offset => {
                    return Err(WalError::MissingSegment {
                        dir: self.dir.to_owned(),
                        from: at.lsn,
                        to: next.base_lsn,
                    });
                }
                other => {
                    return Err(corrupt(
                        found,
                        &at,
                        &describe(&other),
                        "a later segment proves that it was durable",
                    ));
                }
            }
        }
        if at.lsn != next.base_lsn || at.seq != next.base_seq || next.prev_chain != Some(at.chain) {
            let what = "the next segment does not go on where this one ends";
            return Err(corrupt(found, &at, what, "the headers of both are whole"));
        }
        self.window = Some(window);
        Ok(at)
    }

    fn beyond(&self, found: &FoundSegment, at: &Expect) -> Result<Beyond, WalError> {
        scan::search(&*found.file, at.offset, found.prepared.capacity, at.salt, at.lsn)
            .map_err(|e| WalError::io("read", &*found.path, e))
    }

    /// Walks the newest segment to its end and judges what stands there.
    fn walk_newest(
        &mut self,
        index: usize,
        newest: &Live,
        at: Expect,
    ) -> Result<(Expect, Option<Expect>, Tail), WalError> {
        let found = &newest.found;
        let mut places = VecDeque::new(); // of frames that are not proven yet
        let mut note = |proven: Lsn, at: Expect, end: Lsn| {
            places.push_back((at, end));
            while places.front().is_some_and(|(_, end)| *end <= proven) {
                places.pop_front();
            }
        };
        let mut at = self.take_ahead(index, newest, at, |me, at, end| note(me.proven, at, end));
        let mut window = self.window(found);
        let stop = loop {
            match scan::next(&mut window, &at, found.prepared.capacity)
                .map_err(|e| WalError::io("read", &*found.path, e))?
            {
                Next::Frame(frame) => {
                    self.count(&frame.borrowed());
                    newest.view.note(at, frame.head().commit_time);
                    let after = at.after(frame.head());
                    note(self.proven, at, after.lsn);
                    at = after;
                }
                other => break other,
            }
        };
        if self.closed_at == Some(at.lsn) && self.proven <= at.lsn && matches!(stop, Next::Unwritten) {
            return Ok((at, places.front().map(|(place, _)| *place), Tail::Clean));
        }
        let beyond = self.beyond(found, &at)?;
        let tail = self.judge_end(found, &at, &stop, &beyond)?;
        Ok((at, places.front().map(|(place, _)| *place), tail))
    }

    fn judge_end(
        &self,
        found: &FoundSegment,
        at: &Expect,
        stop: &Next,
        beyond: &Beyond,
    ) -> Result<Tail, WalError> {
        let io = |e: io::Error| WalError::io("read", &*found.path, e);
        let written = beyond.written_to > at.offset;
        let sector_end = (at.offset + HEAD_BYTES as u64).next_multiple_of(512).min(found.prepared.capacity);
        let (stands, to) = match stop {
            Next::Unwritten if !written => (Stands::Nothing, at.offset),
            Next::Unwritten => (Stands::ZeroHead, sector_end),
            Next::BadBody(head, _) => {
                (Stands::Invalid, at.offset + HEAD_BYTES as u64 + u64::from(head.body_len))
            }
            Next::BadHead(_) => (Stands::Invalid, sector_end),
            Next::Misplaced(_) | Next::Frame(_) => (Stands::Misplaced, at.offset),
        };
        #[cfg(feature = "planted-bugs")]
        let to = to + if crate::planted::planted().has(crate::planted::Bug::TornOffByOne) { 512 } else { 0 };
        let facts = TailFacts {
            stands,
            lsn: at.lsn,
            proven: self.proven,
            zero_sector: scan::has_zero_sector(&*found.file, at.offset, to).map_err(io)?,
            later_durable: beyond.durable,
        };
        let bytes = beyond.written_to - at.offset;
        let (file, offset) = (found.path.clone(), at.offset);
        match judge(&facts) {
            Verdict::Clean => Ok(Tail::Clean),
            Verdict::Torn => Ok(Tail::Torn { file, lsn: at.lsn, offset, bytes }),
            Verdict::Unordered => {
                Ok(Tail::Unordered { file, lsn: at.lsn, offset, bytes, frames: beyond.frames })
            }
            Verdict::Lost if stands == Stands::Nothing => {
                Err(WalError::DurableLost { dir: self.dir.to_owned(), end: at.lsn, witness: self.proven })
            }
            Verdict::Lost => {
                let why = format!("everything up to lsn {} was durable", self.proven);
                Err(corrupt(found, at, &describe(stop), &why))
            }
            Verdict::Rot => {
                Err(corrupt(found, at, &describe(stop), "no sector of it is zero, so no write was cut short"))
            }
            Verdict::RotProven => {
                Err(corrupt(found, at, &describe(stop), "a later frame proves that it was durable"))
            }
            Verdict::Misplaced => Err(corrupt(found, at, &describe(stop), "nothing stale can be here")),
        }
    }
}

/// Where a log that holds nothing yet begins.
fn at_start(start: Position) -> Expect {
    Expect {
        offset: 0,
        lsn: start.lsn,
        seq: start.sequence.unwrap_or_default(),
        chain: 0,
        time: Timestamp::from_micros(i64::MIN),
        epoch: start.epoch,
        salt: 0,
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

fn corrupt(found: &FoundSegment, at: &Expect, what: &str, why: &str) -> WalError {
    WalError::Corrupt {
        file: found.path.clone(),
        lsn: at.lsn,
        offset: at.offset,
        what: format!("{what} ({why})"),
    }
}
