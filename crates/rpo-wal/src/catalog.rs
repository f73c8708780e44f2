//! Which segment holds an LSN, and a sparse index into it. Shared by the writer, who adds, and the readers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rpo_core::{DiskFile, Lsn, Position, Sequence, Timestamp};

use crate::scan::{self, Expect};
use crate::seal::Seal;
use crate::seal::build::deserves_mark;
use crate::segment::Bound;
use crate::sync::{Mutex, locked};

/// So long after the last mark another one is due, if there are some bytes between them.
pub(crate) const MARK_TIME: Duration = Duration::from_secs(1);

/// A frame whose place is remembered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    /// Where it is and what it must say.
    pub(crate) at: Expect,
    /// Its commit time.
    pub(crate) time: Timestamp,
}

/// One live segment.
#[derive(Debug)]
pub(crate) struct SegmentView {
    pub(crate) bound: Bound,
    pub(crate) capacity: u64,
    pub(crate) file: Arc<dyn DiskFile>,
    path: Mutex<PathBuf>,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    marks: Vec<Mark>,
    end: Option<Lsn>,
    seal: Option<Arc<Seal>>,
    /// It could not be read through.
    unsealable: bool,
}

/// A frame to begin at, as far as is known: look before you trust it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hint {
    pub(crate) at: Expect,
    /// Its commit time.
    pub(crate) time: Timestamp,
    /// Where in the file the next known frame is, or the end.
    pub(crate) next: Option<u64>,
    /// Whether a seal says so, and not what this process has read or written itself.
    pub(crate) sealed: bool,
}

impl SegmentView {
    pub(crate) fn new(bound: Bound, capacity: u64, file: Arc<dyn DiskFile>, path: PathBuf) -> Self {
        Self { bound, capacity, file, path: Mutex::new(path), inside: Mutex::default() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        locked(&self.path).clone()
    }

    pub(crate) fn set_path(&self, path: PathBuf) {
        *locked(&self.path) = path;
    }

    /// Remembers the frame at `at` if the last one remembered is far enough.
    pub(crate) fn note(&self, at: Expect, time: Timestamp) {
        let marks = &mut locked(&self.inside).marks;
        let far = |last: &Mark| deserves_mark(at.offset - last.at.offset, time.since(last.time));
        if marks.last().is_none_or(far) {
            marks.push(Mark { at, time });
        }
    }

    /// From here on, the next segment goes on.
    pub(crate) fn finish(&self, end: Lsn) {
        locked(&self.inside).end = Some(end);
    }

    pub(crate) fn end(&self) -> Option<Lsn> {
        locked(&self.inside).end
    }

    /// The last remembered place at or before `lsn`; the first frame if there is none.
    pub(crate) fn before_lsn(&self, lsn: Lsn) -> Expect {
        let marks = &locked(&self.inside).marks;
        let found = marks.partition_point(|mark| mark.at.lsn <= lsn);
        found.checked_sub(1).map_or_else(|| self.first(), |index| marks[index].at)
    }

    /// The last known frame of which `reached` (LSN, commits before, time) holds; it must hold of a prefix of frames.
    pub(crate) fn hint(&self, reached: impl Fn(Lsn, Sequence, Timestamp) -> bool) -> Option<Hint> {
        let inside = locked(&self.inside);
        if let Some(seal) = &inside.seal {
            let places = &seal.marks;
            let found =
                places.partition_point(|mark| reached(mark.place.lsn, mark.place.seq, mark.place.time));
            let place = places[found.checked_sub(1)?].place;
            let next = places.get(found).map_or(seal.end_offset, |mark| mark.place.offset);
            let at = place.expect(&self.bound);
            return Some(Hint { at, time: place.time, next: Some(next), sealed: true });
        }
        let marks = &inside.marks;
        let found = marks.partition_point(|mark| reached(mark.at.lsn, mark.at.seq, mark.time));
        let mark = marks[found.checked_sub(1)?];
        let next = marks.get(found).map(|mark| mark.at.offset);
        Some(Hint { at: mark.at, time: mark.time, next, sealed: false })
    }

    /// What is known of it as a whole, if it is sealed.
    pub(crate) fn sealed(&self) -> Option<Arc<Seal>> {
        locked(&self.inside).seal.clone()
    }

    pub(crate) fn seal(&self, seal: Option<Arc<Seal>>) {
        locked(&self.inside).seal = seal;
    }

    pub(crate) fn wants_seal(&self) -> bool {
        let inside = locked(&self.inside);
        inside.seal.is_none() && !inside.unsealable && inside.end.is_some()
    }

    pub(crate) fn cannot_be_sealed(&self) {
        locked(&self.inside).unsealable = true;
    }

    pub(crate) fn first(&self) -> Expect {
        scan::first(&self.bound, Timestamp::from_micros(i64::MIN))
    }
}

/// The live segments, in LSN order.
#[derive(Debug)]
pub(crate) struct Catalog {
    /// Where the local log begins.
    pub(crate) start: Position,
    pub(crate) segments: Vec<Arc<SegmentView>>,
}

impl Catalog {
    /// The segment that holds `lsn`, or would.
    pub(crate) fn holding(&self, lsn: Lsn) -> Option<Arc<SegmentView>> {
        let found = self.segments.partition_point(|s| s.bound.base_lsn <= lsn);
        found.checked_sub(1).map(|index| Arc::clone(&self.segments[index]))
    }

    /// Adds the segment that goes on where the last one ends. One that begins there too held nothing: it is replaced, and its
    /// name becomes that of the new one, so it must never be released under that name.
    pub(crate) fn add(&mut self, segment: Arc<SegmentView>) {
        let base = segment.bound.base_lsn;
        if let Some(last) = self.segments.last() {
            last.finish(base);
        }
        while self.segments.pop_if(|last| last.bound.base_lsn >= base).is_some() {}
        self.segments.push(segment);
    }
}
