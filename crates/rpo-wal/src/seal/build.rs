//! Makes a seal out of the frames of a segment, one after the other.

use rpo_core::frame::Frame;
use rpo_core::{LogEntry, LogId, Lsn, MarkerKind, Sequence, Timestamp};

use super::{
    MARK_BYTES, MARK_BYTES_MIN, NOTES_MAX, NoteKind, Place, Seal, SealMark, SealNote, TransactionFilter,
};
use crate::catalog::MARK_TIME;
use crate::scan::Expect;
use crate::segment::Bound;

/// What was gathered so far.
#[derive(Debug)]
pub(crate) struct Builder {
    crc: u32,
    marks: Vec<SealMark>,
    filter: TransactionFilter,
    notes: Vec<SealNote>,
    notes_complete: bool,
    transactions: u64,
    last_time: Timestamp,
}

/// Whether a frame here deserves a mark, `bytes` and `time` after the last one.
pub(crate) fn deserves_mark(bytes: u64, time: std::time::Duration) -> bool {
    bytes >= MARK_BYTES || (bytes >= MARK_BYTES_MIN && time >= MARK_TIME)
}

fn widen(range: &mut Option<(u64, u64)>, id: u64) {
    *range = Some(range.map_or((id, id), |(least, most)| (least.min(id), most.max(id))));
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            crc: 0,
            marks: Vec::new(),
            filter: TransactionFilter::full_size(),
            notes: Vec::new(),
            notes_complete: true,
            transactions: 0,
            last_time: Timestamp::from_micros(i64::MIN),
        }
    }

    /// Adds the next frame, which was found at `at`.
    pub(crate) fn add(&mut self, frame: &Frame, at: &Expect) {
        let head = frame.head();
        let time = head.commit_time;
        let place = Place { offset: at.offset, lsn: at.lsn, seq: at.seq, chain: at.chain, time };
        self.crc = crc32c::crc32c_append(self.crc, frame.bytes());
        self.last_time = time;
        let last = self.marks.last().map(|m| m.place);
        if last.is_none_or(|l| deserves_mark(at.offset - l.offset, time.since(l.time))) {
            self.marks.push(SealMark { place, transactions: None });
        }
        for entry in frame.entries() {
            match entry {
                LogEntry::Commit(commit) => {
                    if let (Some(id), Some(mark)) = (commit.transaction, self.marks.last_mut()) {
                        widen(&mut mark.transactions, id.0);
                        self.filter.insert(id.0);
                        self.transactions += 1;
                    }
                }
                LogEntry::Marker(marker) => {
                    self.note(place, marker.end, marker.sequence, note_of(&marker.kind));
                }
            }
        }
    }

    fn note(&mut self, frame: Place, end: Lsn, sequence: Sequence, kind: Option<NoteKind>) {
        let Some(kind) = kind else { return };
        if self.notes.len() < NOTES_MAX {
            self.notes.push(SealNote { frame, end, sequence, kind });
        } else {
            self.notes_complete = false;
        }
    }

    /// The seal of the segment bound like this, which ends at `end`; none if it has no frame.
    pub(crate) fn finish(self, log: LogId, bound: &Bound, end: &Expect) -> Option<Seal> {
        let first_time = self.marks.first()?.place.time;
        let mut range = None;
        for (least, most) in self.marks.iter().filter_map(|m| m.transactions) {
            widen(&mut range, least);
            widen(&mut range, most);
        }
        Some(Seal {
            log,
            salt: bound.salt,
            ordinal: bound.ordinal,
            base_lsn: bound.base_lsn,
            base_seq: bound.base_seq,
            epoch: bound.epoch,
            end_lsn: end.lsn,
            end_seq: end.seq,
            end_offset: end.offset,
            last_chain: end.chain,
            frames_crc: self.crc,
            first_time,
            last_time: self.last_time,
            transactions: self.transactions,
            transaction_range: range,
            notes_complete: self.notes_complete,
            marks: self.marks,
            filter: self.filter.folded(self.transactions),
            notes: self.notes,
        })
    }
}

/// What is listed of a marker.
pub(crate) fn note_of(kind: &MarkerKind) -> Option<NoteKind> {
    match kind {
        MarkerKind::RestorePoint(name) => Some(NoteKind::Point(name.clone())),
        MarkerKind::Checkpoint(id) => Some(NoteKind::Checkpoint(id.clone())),
        MarkerKind::ClockAnomaly(anomaly) => Some(NoteKind::Anomaly(*anomaly)),
        _ => None,
    }
}
