#![doc = include_str!("seal.md")]

pub(crate) mod build;
mod filter;
mod keep;

use std::ops::Range;

use rpo_core::frame::HEAD_BYTES;
use rpo_core::time::ClockAnomaly;
use rpo_core::{CheckpointId, Epoch, LogId, Lsn, PointName, Sequence, Timestamp, TransactionId, codec};
use serde::{Deserialize, Serialize};

pub use filter::TransactionFilter;
pub(crate) use keep::Sealing;
pub use keep::{Damage, SealStats};

use crate::format::FormatError;
use crate::scan::Expect;
use crate::segment::{Bound, FRAMES_OFFSET};

/// The version written.
pub const VERSION_NOW: u16 = 0;
/// Bytes before the body.
pub const HEAD_LEN: usize = 144;
/// A seal longer than this is refused unread.
pub const SEAL_BYTES_MAX: usize = 8 << 20;
/// So many points, checkpoints and anomalies are listed; a segment with more says that its list is not complete.
pub const NOTES_MAX: usize = 4096;
/// A mark stands at most this far behind the frame that needs it.
pub const MARK_BYTES: u64 = 64 << 10;
/// Marks that a second of time asks for are at least this far apart.
pub const MARK_BYTES_MIN: u64 = 16 << 10;

const MAGIC_BYTES: &[u8; 8] = b"RPOSEAL\n";
const FLAG_NOTES_CUT: u16 = 1;

const MAGIC: Range<usize> = 0..8;
const VERSION: Range<usize> = 8..10;
const FLAGS: Range<usize> = 10..12;
const CRC: Range<usize> = 12..16;
const LOG_ID: Range<usize> = 16..32;
const SALT: Range<usize> = 32..40;
const ORDINAL: Range<usize> = 40..48;
const BASE_LSN: Range<usize> = 48..56;
const BASE_SEQ: Range<usize> = 56..64;
const EPOCH: Range<usize> = 64..68;
const LAST_CHAIN: Range<usize> = 68..72;
const END_LSN: Range<usize> = 72..80;
const END_SEQ: Range<usize> = 80..88;
const END_OFFSET: Range<usize> = 88..96;
const FIRST_TIME: Range<usize> = 96..104;
const LAST_TIME: Range<usize> = 104..112;
const TRANSACTIONS: Range<usize> = 112..120;
const TRANSACTION_MIN: Range<usize> = 120..128;
const TRANSACTION_MAX: Range<usize> = 128..136;
const FRAMES_CRC: Range<usize> = 136..140;
const BODY_LEN: Range<usize> = 140..144;

/// A frame: where it is, and what its head must say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Where in the file, bytes.
    pub offset: u64,
    /// LSN of its first record.
    pub lsn: Lsn,
    /// Commits before it.
    pub seq: Sequence,
    /// Chain value of the frame before.
    pub chain: u32,
    /// Its commit time.
    pub time: Timestamp,
}

impl Place {
    /// What must be read there, in a segment bound like this.
    pub(crate) fn expect(&self, bound: &Bound) -> Expect {
        Expect {
            offset: self.offset,
            lsn: self.lsn,
            seq: self.seq,
            chain: self.chain,
            time: self.time,
            epoch: bound.epoch,
            salt: bound.salt as u32, // the low half, by the format
        }
    }
}

/// A frame from which a reader may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealMark {
    /// The frame.
    pub place: Place,
    /// Least and largest transaction id from here to the next mark; none if there is none.
    pub transactions: Option<(u64, u64)>,
}

/// What is worth listing of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoteKind {
    /// Somebody named this moment.
    Point(PointName),
    /// A checkpoint holds the state as of here.
    Checkpoint(CheckpointId),
    /// The wall clock stepped.
    Anomaly(ClockAnomaly),
}

/// A marker worth listing, and the frame that holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealNote {
    /// The frame.
    pub frame: Place,
    /// Where the marker ends.
    pub end: Lsn,
    /// Commits before it.
    pub sequence: Sequence,
    /// What it says.
    pub kind: NoteKind,
}

/// What is known of a finished segment without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// The log.
    pub log: LogId,
    /// The segment's salt.
    pub salt: u64,
    /// The segment's ordinal.
    pub ordinal: u64,
    /// LSN of its first record.
    pub base_lsn: Lsn,
    /// Commits before it.
    pub base_seq: Sequence,
    /// The writer's generation.
    pub epoch: Epoch,
    /// Where it ends: the base of the next segment.
    pub end_lsn: Lsn,
    /// Commits before that.
    pub end_seq: Sequence,
    /// Where its last frame ends in the file, bytes.
    pub end_offset: u64,
    /// Chain value of its last frame: stands for the heads, and so for the body checksums, of all frames before.
    pub last_chain: u32,
    /// CRC32C of the file from the first frame to `end_offset`.
    pub frames_crc: u32,
    /// Commit time of its first frame.
    pub first_time: Timestamp,
    /// Commit time of its last frame.
    pub last_time: Timestamp,
    /// Commits that have a transaction id.
    pub transactions: u64,
    /// Least and largest of these ids; none if there is none.
    pub transaction_range: Option<(u64, u64)>,
    /// Whether `notes` lists all there are.
    pub notes_complete: bool,
    /// Where reading may begin, in order; the first is the first frame.
    pub marks: Vec<SealMark>,
    /// Says of most transaction ids that are not here that they are not.
    pub filter: TransactionFilter,
    /// Points, checkpoints and anomalies, in order.
    pub notes: Vec<SealNote>,
}

#[derive(Serialize, Deserialize)]
struct Body {
    marks: Vec<SealMark>,
    filter: Vec<u8>,
    notes: Vec<SealNote>,
}

/// The bytes at `at`, whose length is `N`: both are constants of this module.
fn get<const N: usize>(head: &[u8], at: Range<usize>) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&head[at]);
    out
}

fn get_u64(head: &[u8], at: Range<usize>) -> u64 {
    u64::from_le_bytes(get(head, at))
}

fn get_u32(head: &[u8], at: Range<usize>) -> u32 {
    u32::from_le_bytes(get(head, at))
}

/// CRC32C of all bytes of a seal but the checksum itself; of what there is of them, if they are too few.
pub fn checksum(bytes: &[u8]) -> u32 {
    let before = crc32c::crc32c(bytes.get(..CRC.start).unwrap_or(bytes));
    crc32c::crc32c_append(before, bytes.get(CRC.end..).unwrap_or_default())
}

impl Seal {
    /// The file as it stands beside its segment.
    ///
    /// # Errors
    /// [`FormatError::Rule`] if it would be longer than [`SEAL_BYTES_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        let too_long = FormatError::Rule("a seal is at most 8 MiB long");
        let body = Body {
            marks: self.marks.clone(),
            filter: self.filter.as_bytes().to_vec(),
            notes: self.notes.clone(),
        };
        let body = codec::encode(&body).map_err(|_| too_long.clone())?;
        if body.len() > SEAL_BYTES_MAX - HEAD_LEN {
            return Err(too_long);
        }
        let (least, largest) = self.transaction_range.unwrap_or((u64::MAX, 0));
        let mut bytes = vec![0; HEAD_LEN];
        let mut put = |at: Range<usize>, value: &[u8]| bytes[at].copy_from_slice(value);
        put(MAGIC, MAGIC_BYTES);
        put(VERSION, &VERSION_NOW.to_le_bytes());
        put(FLAGS, &(if self.notes_complete { 0 } else { FLAG_NOTES_CUT }).to_le_bytes());
        put(LOG_ID, self.log.as_bytes());
        put(SALT, &self.salt.to_le_bytes());
        put(ORDINAL, &self.ordinal.to_le_bytes());
        put(BASE_LSN, &self.base_lsn.get().to_le_bytes());
        put(BASE_SEQ, &self.base_seq.get().to_le_bytes());
        put(EPOCH, &self.epoch.get().to_le_bytes());
        put(LAST_CHAIN, &self.last_chain.to_le_bytes());
        put(END_LSN, &self.end_lsn.get().to_le_bytes());
        put(END_SEQ, &self.end_seq.get().to_le_bytes());
        put(END_OFFSET, &self.end_offset.to_le_bytes());
        put(FIRST_TIME, &self.first_time.as_micros().to_le_bytes());
        put(LAST_TIME, &self.last_time.as_micros().to_le_bytes());
        put(TRANSACTIONS, &self.transactions.to_le_bytes());
        put(TRANSACTION_MIN, &least.to_le_bytes());
        put(TRANSACTION_MAX, &largest.to_le_bytes());
        put(FRAMES_CRC, &self.frames_crc.to_le_bytes());
        put(BODY_LEN, &u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes()); // limited above
        bytes.extend_from_slice(&body);
        let crc = checksum(&bytes);
        bytes[CRC].copy_from_slice(&crc.to_le_bytes());
        Ok(bytes)
    }

    /// Checks magic, integrity, version, meaning.
    ///
    /// # Errors
    /// [`FormatError`]; never panics, whatever the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        if bytes.len() < HEAD_LEN {
            return Err(FormatError::Short { needed: HEAD_LEN as u64, found: bytes.len() as u64 });
        }
        if bytes.len() > SEAL_BYTES_MAX {
            return Err(FormatError::Rule("a seal is at most 8 MiB long"));
        }
        if bytes[..HEAD_LEN].iter().all(|b| *b == 0) {
            return Err(FormatError::Zero);
        }
        if bytes[MAGIC] != MAGIC_BYTES[..] {
            return Err(FormatError::Magic);
        }
        let (expected, found) = (get_u32(bytes, CRC), checksum(bytes));
        if expected != found {
            return Err(FormatError::Crc { expected, found });
        }
        let version = u16::from_le_bytes(get(bytes, VERSION));
        if version != VERSION_NOW {
            return Err(FormatError::Version { found: version, known: VERSION_NOW });
        }
        let seal = Self::read(bytes)?;
        seal.check()?;
        Ok(seal)
    }

    fn read(bytes: &[u8]) -> Result<Self, FormatError> {
        let flags = u16::from_le_bytes(get(bytes, FLAGS));
        if flags & !FLAG_NOTES_CUT != 0 {
            return Err(FormatError::Rule("only flags of this version are set"));
        }
        let body = &bytes[HEAD_LEN..];
        if body.len() as u64 != u64::from(get_u32(bytes, BODY_LEN)) {
            return Err(FormatError::Rule("the body is as long as the head says"));
        }
        let body: Body =
            codec::decode(body).map_err(|_| FormatError::Rule("the body is marks, a filter and notes"))?;
        let time = |at| Timestamp::from_micros(i64::from_le_bytes(get(bytes, at)));
        let transactions = get_u64(bytes, TRANSACTIONS);
        let range = (get_u64(bytes, TRANSACTION_MIN), get_u64(bytes, TRANSACTION_MAX));
        let unused = (u64::MAX, 0);
        if (transactions == 0) != (range == unused) || (transactions > 0 && range.0 > range.1) {
            return Err(FormatError::Rule("the range of transactions is that of the ids there are"));
        }
        Ok(Self {
            log: LogId::from_bytes(get(bytes, LOG_ID)),
            salt: get_u64(bytes, SALT),
            ordinal: get_u64(bytes, ORDINAL),
            base_lsn: Lsn::new(get_u64(bytes, BASE_LSN)),
            base_seq: Sequence::new(get_u64(bytes, BASE_SEQ)),
            epoch: Epoch::new(get_u32(bytes, EPOCH)).ok_or(FormatError::Rule("epochs count from 1"))?,
            end_lsn: Lsn::new(get_u64(bytes, END_LSN)),
            end_seq: Sequence::new(get_u64(bytes, END_SEQ)),
            end_offset: get_u64(bytes, END_OFFSET),
            last_chain: get_u32(bytes, LAST_CHAIN),
            frames_crc: get_u32(bytes, FRAMES_CRC),
            first_time: time(FIRST_TIME),
            last_time: time(LAST_TIME),
            transactions,
            transaction_range: (transactions > 0).then_some(range),
            notes_complete: flags & FLAG_NOTES_CUT == 0,
            marks: body.marks,
            filter: TransactionFilter::from_bytes(body.filter)
                .ok_or(FormatError::Rule("a filter is a power of two of bytes, or none"))?,
            notes: body.notes,
        })
    }

    fn check(&self) -> Result<(), FormatError> {
        let first = Place {
            offset: FRAMES_OFFSET,
            lsn: self.base_lsn,
            seq: self.base_seq,
            chain: self.marks.first().map_or(0, |m| m.place.chain),
            time: self.first_time,
        };
        let inside = |p: &Place| {
            p.offset.is_multiple_of(8)
                && (FRAMES_OFFSET..self.end_offset).contains(&p.offset)
                && self.end_offset - p.offset > HEAD_BYTES as u64
                && (self.base_lsn..self.end_lsn).contains(&p.lsn)
                && (self.base_seq..=self.end_seq).contains(&p.seq)
                && (self.first_time..=self.last_time).contains(&p.time)
        };
        let ordered = |pair: &[SealMark]| {
            let (a, b) = (&pair[0].place, &pair[1].place);
            a.offset < b.offset && a.lsn < b.lsn && a.seq <= b.seq && a.time <= b.time
        };
        let note_fits = |n: &SealNote| {
            inside(&n.frame)
                && n.frame.lsn < n.end
                && n.end <= self.end_lsn
                && (n.frame.seq..=self.end_seq).contains(&n.sequence)
        };
        let rules = [
            (self.marks.first().is_some_and(|m| m.place == first), "the first mark is the first frame"),
            (self.marks.iter().all(|m| inside(&m.place)), "marks lie inside the segment"),
            (self.marks.windows(2).all(ordered), "marks follow one another"),
            (
                self.marks.iter().filter_map(|m| m.transactions).all(|(least, most)| least <= most),
                "a range has a least and a largest",
            ),
            (self.notes.len() <= NOTES_MAX && self.notes.iter().all(note_fits), "notes lie in their frames"),
            (self.notes.windows(2).all(|pair| pair[0].end < pair[1].end), "notes follow one another"),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(FormatError::Rule(rule)),
            None => Ok(()),
        }
    }

    /// Whether it is of the segment bound like this, as it was when the next one was bound.
    pub(crate) fn is_of(&self, log: LogId, bound: &Bound, next: &Bound) -> bool {
        let own = (self.log, self.salt, self.ordinal, self.base_lsn, self.base_seq, self.epoch);
        let end = (self.end_lsn, self.end_seq, Some(self.last_chain));
        own == (log, bound.salt, bound.ordinal, bound.base_lsn, bound.base_seq, bound.epoch)
            && end == (next.base_lsn, next.base_seq, next.prev_chain)
    }

    /// Whether the segment may hold a commit of this transaction; no is certain.
    pub fn may_hold(&self, id: TransactionId) -> bool {
        self.transaction_range.is_some_and(|(least, most)| (least..=most).contains(&id.0))
            && self.filter.may_contain(id.0)
    }
}

/// The name of the seal beside a segment.
pub(crate) fn file_name(bound: &Bound) -> String {
    format!("{:016x}-{:08x}.seal", bound.base_lsn.get(), bound.epoch.get())
}

#[cfg(test)]
mod tests;
