//! Which segment holds an LSN, and a sparse index into it. Shared by the writer, who adds, and the readers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rpo_core::{DiskFile, Lsn, Position, Timestamp};

use crate::scan::{self, Expect};
use crate::segment::Bound;
use crate::sync::{Mutex, locked};

const MARK_BYTES: u64 = 64 << 10;
const MARK_TIME: Duration = Duration::from_secs(1);

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
        let far =
            |last: &Mark| at.offset - last.at.offset >= MARK_BYTES || time.since(last.time) >= MARK_TIME;
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

    /// The last remembered place before `durable` whose commit time is at most `time`; none if even the first is later.
    pub(crate) fn before_time(&self, time: Timestamp, durable: Lsn) -> Option<Expect> {
        let marks = &locked(&self.inside).marks;
        let found = marks.partition_point(|mark| mark.time <= time && mark.at.lsn < durable);
        found.checked_sub(1).map(|index| marks[index].at)
    }

    fn first(&self) -> Expect {
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
