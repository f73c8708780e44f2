#![doc = include_str!("batch.md")]

mod codec;

use std::fmt;
use std::ops::Range;

use rpo_core::{Epoch, ErrorKind, Lsn, Position, Sequence, StreamId, Timestamp, TransactionId};
use serde::{Deserialize, Serialize};

pub use self::codec::{compress, decompress};
use crate::bytes::{Fields, array, i64_at, stream_at, u16_at, u32_at, u64_at};

/// Length of a batch head, bytes.
pub const HEAD_BYTES: usize = 288;
/// Longest body before compression, bytes: room for the largest frame and then some.
pub const PLAIN_BYTES_MAX: u64 = 128 << 20;
/// Version written and read.
pub const VERSION_NUMBER: u16 = 0;

const MAGIC_TEXT: &[u8; 8] = b"RPOBATCH";
const MAGIC: Range<usize> = 0..8;
const VERSION: Range<usize> = 8..10;
const KIND: usize = 10;
const CODEC: usize = 11;
const EPOCH: Range<usize> = 12..16;
const NUMBER: Range<usize> = 16..24;
const PREVIOUS: Range<usize> = 24..56;
const FROM_LSN: Range<usize> = 56..64;
const FROM_SEQUENCE: Range<usize> = 64..72;
const TO_LSN: Range<usize> = 72..80;
const TO_SEQUENCE: Range<usize> = 80..88;
const FIRST_TIME: Range<usize> = 88..96;
const LAST_TIME: Range<usize> = 96..104;
const PLAIN_BYTES: Range<usize> = 104..112;
const FRAMES: Range<usize> = 112..116;
const POINTS: Range<usize> = 116..120;
const FIRST_TRANSACTION: Range<usize> = 120..128;
const LAST_TRANSACTION: Range<usize> = 128..136;
const PREV_CHAIN: Range<usize> = 136..140;
const LAST_CHAIN: Range<usize> = 140..144;
const SEALED_AT: Range<usize> = 144..152;
const WRITER: Range<usize> = 152..168;
const FLAGS: Range<usize> = 168..172;
const PARENT_EPOCH: Range<usize> = 172..176;
const PARENT_NUMBER: Range<usize> = 176..184;
const PARENT_DIGEST: Range<usize> = 184..216;
const STREAM_LENGTH: usize = 216;
const STREAM: Range<usize> = 217..280;
const GAP_BEFORE: Range<usize> = 280..288;

const FLAG_SEQUENCES: u32 = 1;
const FLAG_TRANSACTIONS: u32 = 1 << 1;

/// SHA-256 of a whole stored object; zeros where there is none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Stands where there is no object.
    pub const NONE: Digest = Digest([0; 32]);

    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
        Self(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// How the body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BatchCodec {
    /// Not at all.
    None,
    /// zstd, level 3: small objects at a moderate price.
    #[default]
    Zstd,
    /// lz4: least processor time.
    Lz4,
}

/// Where an epoch's parent ends within this history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ParentLink {
    /// The generation taken over from.
    pub epoch: Epoch,
    /// Number of its last object that this history uses; 0 if it left none.
    pub number: u64,
    /// Where this history leaves it; inside or at the end of that object.
    pub fork: Position,
    /// SHA-256 of that object; [`Digest::NONE`] if it left none.
    pub digest: Digest,
}

/// The head of a batch: everything but the frames themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchHead {
    /// Whose history it belongs to.
    pub stream: StreamId,
    /// Its place in the epoch, from 1.
    pub number: u64,
    /// SHA-256 of the object before it.
    pub previous: Digest,
    /// Where the frames inside begin; holds the epoch.
    pub from: Position,
    /// Where they end (excluded).
    pub to: Position,
    /// Commit time of the first frame.
    pub first_time: Timestamp,
    /// Commit time of the last frame.
    pub last_time: Timestamp,
    /// How the body is compressed.
    pub codec: BatchCodec,
    /// Length of the body before compression, bytes.
    pub plain_bytes: u64,
    /// Log frames inside.
    pub frames: u32,
    /// Markers inside that name a moment.
    pub points: u32,
    /// Smallest and largest transaction id inside.
    pub transactions: Option<(TransactionId, TransactionId)>,
    /// Chain value before the first frame.
    pub prev_chain: u32,
    /// Chain value of the last frame.
    pub last_chain: u32,
    /// The writer's wall clock when it was sealed.
    pub sealed_at: Timestamp,
    /// Drawn at random by the writer or the takeover.
    pub writer: [u8; 16],
    /// Set in an epoch start, and only there.
    pub parent: Option<ParentLink>,
    /// Number of the newest gap before this object in its epoch; 0 if there is none.
    pub gap_before: u64,
}

/// Why bytes are no batch, or no fence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// Too short or too long for what it says it is.
    #[error("{what}: {found} bytes, expected {expected}")]
    Length {
        /// Which part.
        what: &'static str,
        /// Bytes expected.
        expected: u64,
        /// Bytes found.
        found: u64,
    },
    /// It is something else.
    #[error("not {0}: the magic bytes differ")]
    Magic(&'static str),
    /// Written by a newer program.
    #[error("{what} of version {found}; this program reads version {VERSION_NUMBER}: use a newer one")]
    Version {
        /// Which format.
        what: &'static str,
        /// The version found.
        found: u16,
    },
    /// A field holds what it cannot hold.
    #[error("field `{field}` holds {found}: {rule}")]
    Field {
        /// The field's name in the specification.
        field: &'static str,
        /// What it holds.
        found: String,
        /// What it may hold.
        rule: &'static str,
    },
    /// The body does not decompress to what the head says.
    #[error("the body does not decompress: {0}")]
    Body(String),
}

impl FormatError {
    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Version { .. } => ErrorKind::Unsupported,
            _ => ErrorKind::Corrupt,
        }
    }
}

impl BatchHead {
    /// The writer's generation.
    pub fn epoch(&self) -> Epoch {
        self.from.epoch
    }

    /// True for the record of a gap: nothing between `from` and `to` is in the archive; the body says why.
    pub fn is_gap(&self) -> bool {
        self.frames == 0 && self.parent.is_none()
    }

    /// What the object after this one names as the newest gap before it.
    pub fn newest_gap(&self) -> u64 {
        if self.is_gap() { self.number } else { self.gap_before }
    }

    /// The head as it stands in the first envelope frame.
    pub fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut fields = Fields::<HEAD_BYTES>::new();
        fields.put(MAGIC, MAGIC_TEXT);
        fields.put(VERSION, &VERSION_NUMBER.to_le_bytes());
        fields.0[KIND] = match (self.parent.is_some(), self.is_gap()) {
            (true, _) => 2,
            (false, true) => 3,
            (false, false) => 1,
        };
        fields.0[CODEC] = match self.codec {
            BatchCodec::None => 0,
            BatchCodec::Zstd => 1,
            BatchCodec::Lz4 => 2,
        };
        fields.put(EPOCH, &self.epoch().get().to_le_bytes());
        fields.put(NUMBER, &self.number.to_le_bytes());
        fields.put(PREVIOUS, &self.previous.0);
        fields.put(FROM_LSN, &self.from.lsn.get().to_le_bytes());
        fields.put(FROM_SEQUENCE, &self.from.sequence.unwrap_or_default().get().to_le_bytes());
        fields.put(TO_LSN, &self.to.lsn.get().to_le_bytes());
        fields.put(TO_SEQUENCE, &self.to.sequence.unwrap_or_default().get().to_le_bytes());
        fields.put(FIRST_TIME, &self.first_time.as_micros().to_le_bytes());
        fields.put(LAST_TIME, &self.last_time.as_micros().to_le_bytes());
        fields.put(PLAIN_BYTES, &self.plain_bytes.to_le_bytes());
        fields.put(FRAMES, &self.frames.to_le_bytes());
        fields.put(POINTS, &self.points.to_le_bytes());
        let mut flags = if self.from.sequence.is_some() { FLAG_SEQUENCES } else { 0 };
        if let Some((first, last)) = self.transactions {
            flags |= FLAG_TRANSACTIONS;
            fields.put(FIRST_TRANSACTION, &first.0.to_le_bytes());
            fields.put(LAST_TRANSACTION, &last.0.to_le_bytes());
        }
        fields.put(FLAGS, &flags.to_le_bytes());
        fields.put(PREV_CHAIN, &self.prev_chain.to_le_bytes());
        fields.put(LAST_CHAIN, &self.last_chain.to_le_bytes());
        fields.put(SEALED_AT, &self.sealed_at.as_micros().to_le_bytes());
        fields.put(WRITER, &self.writer);
        if let Some(parent) = &self.parent {
            fields.put(PARENT_EPOCH, &parent.epoch.get().to_le_bytes());
            fields.put(PARENT_NUMBER, &parent.number.to_le_bytes());
            fields.put(PARENT_DIGEST, &parent.digest.0);
        }
        fields.put(GAP_BEFORE, &self.gap_before.to_le_bytes());
        let name = self.stream.as_str().as_bytes();
        fields.0[STREAM_LENGTH] = u8::try_from(name.len()).expect("stream names have at most 63 bytes");
        fields.put(STREAM, name);
        fields.0
    }

    /// Reads a head: identity, version, then every field against its limits. Never panics, whatever the bytes.
    ///
    /// # Errors
    /// [`FormatError`], which names the field.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        if bytes.len() != HEAD_BYTES {
            let found = bytes.len() as u64;
            return Err(FormatError::Length { what: "batch head", expected: HEAD_BYTES as u64, found });
        }
        if bytes[MAGIC] != MAGIC_TEXT[..] {
            return Err(FormatError::Magic("a batch"));
        }
        let version = u16_at(bytes, VERSION);
        if version != VERSION_NUMBER {
            return Err(FormatError::Version { what: "batch", found: version });
        }
        let flags = u32_at(bytes, FLAGS);
        require(
            flags & !(FLAG_SEQUENCES | FLAG_TRANSACTIONS) == 0,
            "flags",
            flags,
            "only bits 0 and 1 are known",
        )?;
        let epoch = epoch_field(bytes, EPOCH, "epoch")?;
        let position = |lsn, sequence| {
            let sequence = (flags & FLAG_SEQUENCES != 0).then(|| Sequence::new(u64_at(bytes, sequence)));
            Position { epoch, lsn: Lsn::new(u64_at(bytes, lsn)), sequence }
        };
        let head = Self {
            stream: stream_at(bytes[STREAM_LENGTH], &bytes[STREAM])
                .ok_or_else(|| field("stream", bytes[STREAM_LENGTH], "a stream name, then zeros"))?,
            number: u64_at(bytes, NUMBER),
            previous: Digest(array(bytes, PREVIOUS)),
            from: position(FROM_LSN, FROM_SEQUENCE),
            to: position(TO_LSN, TO_SEQUENCE),
            first_time: Timestamp::from_micros(i64_at(bytes, FIRST_TIME)),
            last_time: Timestamp::from_micros(i64_at(bytes, LAST_TIME)),
            codec: codec_of(bytes[CODEC])?,
            plain_bytes: u64_at(bytes, PLAIN_BYTES),
            frames: u32_at(bytes, FRAMES),
            points: u32_at(bytes, POINTS),
            transactions: transactions_of(bytes, flags)?,
            prev_chain: u32_at(bytes, PREV_CHAIN),
            last_chain: u32_at(bytes, LAST_CHAIN),
            sealed_at: Timestamp::from_micros(i64_at(bytes, SEALED_AT)),
            writer: array(bytes, WRITER),
            parent: parent_of(bytes, epoch, position(FROM_LSN, FROM_SEQUENCE))?,
            gap_before: u64_at(bytes, GAP_BEFORE),
        };
        head.check(bytes)?;
        Ok(head)
    }

    fn check(&self, bytes: &[u8]) -> Result<(), FormatError> {
        require(self.number > 0, "number", self.number, "numbers begin at 1")?;
        let first = self.number == 1;
        require(
            first == (self.previous == Digest::NONE),
            "previous",
            self.previous,
            "zeros for number 1, and only there",
        )?;
        require(self.from.lsn <= self.to.lsn, "to_lsn", self.to.lsn, "not before from_lsn")?;
        require(
            self.from.sequence <= self.to.sequence,
            "to_sequence",
            u64_at(bytes, TO_SEQUENCE),
            "not before from_sequence",
        )?;
        let counted =
            self.from.sequence.is_some() || bytes[FROM_SEQUENCE] == [0; 8] && bytes[TO_SEQUENCE] == [0; 8];
        require(counted, "from_sequence", u64_at(bytes, FROM_SEQUENCE), "zero unless flagged")?;
        require(self.first_time <= self.last_time, "last_time", self.last_time, "not before first_time")?;
        require(self.plain_bytes <= PLAIN_BYTES_MAX, "plain_bytes", self.plain_bytes, "at most 128 MiB")?;
        require(self.gap_before < self.number, "gap_before", self.gap_before, "smaller than number")?;
        if self.parent.is_some() {
            require(first, "number", self.number, "1 for an epoch start")?;
            require(
                self.frames == 0 && self.plain_bytes == 0,
                "frames",
                self.frames,
                "0 for an epoch start",
            )?;
            require(self.from == self.to, "to_lsn", self.to.lsn, "an epoch start holds nothing")?;
            require(self.codec == BatchCodec::None, "codec", bytes[CODEC], "0 for an epoch start")
        } else if bytes[KIND] == 3 {
            require(self.frames == 0 && self.points == 0, "frames", self.frames, "0 for a gap")?;
            require(
                self.from.lsn < self.to.lsn,
                "to_lsn",
                self.to.lsn,
                "past from_lsn: a gap loses something",
            )?;
            require(self.transactions.is_none(), "flags", "transactions", "a gap has none")?;
            require(self.codec == BatchCodec::None, "codec", bytes[CODEC], "0 for a gap")
        } else {
            require(
                self.frames > 0 && self.from.lsn < self.to.lsn,
                "frames",
                self.frames,
                "a batch holds something",
            )
        }
    }
}

fn codec_of(byte: u8) -> Result<BatchCodec, FormatError> {
    match byte {
        0 => Ok(BatchCodec::None),
        1 => Ok(BatchCodec::Zstd),
        2 => Ok(BatchCodec::Lz4),
        other => Err(field("codec", other, "0, 1 or 2")),
    }
}

fn transactions_of(bytes: &[u8], flags: u32) -> Result<Option<(TransactionId, TransactionId)>, FormatError> {
    let (first, last) = (u64_at(bytes, FIRST_TRANSACTION), u64_at(bytes, LAST_TRANSACTION));
    if flags & FLAG_TRANSACTIONS == 0 {
        require(first == 0 && last == 0, "first_transaction", first, "zero unless flagged")?;
        return Ok(None);
    }
    require(first <= last, "last_transaction", last, "not below first_transaction")?;
    Ok(Some((TransactionId(first), TransactionId(last))))
}

fn parent_of(bytes: &[u8], epoch: Epoch, from: Position) -> Result<Option<ParentLink>, FormatError> {
    let number = u64_at(bytes, PARENT_NUMBER);
    let digest = Digest(array(bytes, PARENT_DIGEST));
    match bytes[KIND] {
        1 | 3 => {
            let clear = u32_at(bytes, PARENT_EPOCH) == 0 && number == 0 && digest == Digest::NONE;
            require(clear, "parent_epoch", u32_at(bytes, PARENT_EPOCH), "zero unless it is an epoch start")?;
            Ok(None)
        }
        2 => {
            let parent = epoch_field(bytes, PARENT_EPOCH, "parent_epoch")?;
            require(parent < epoch, "parent_epoch", parent, "smaller than epoch")?;
            require(
                (number == 0) == (digest == Digest::NONE),
                "parent_digest",
                digest,
                "zeros if parent_number is 0",
            )?;
            Ok(Some(ParentLink { epoch: parent, number, fork: Position { epoch: parent, ..from }, digest }))
        }
        other => Err(field("kind", other, "1, 2 or 3")),
    }
}

/// An epoch at `at`; zero is none.
pub(crate) fn epoch_field(bytes: &[u8], at: Range<usize>, name: &'static str) -> Result<Epoch, FormatError> {
    Epoch::new(u32_at(bytes, at)).ok_or_else(|| field(name, 0, "epochs begin at 1"))
}

pub(crate) fn field(field: &'static str, found: impl fmt::Display, rule: &'static str) -> FormatError {
    FormatError::Field { field, found: found.to_string(), rule }
}

pub(crate) fn require(
    holds: bool,
    name: &'static str,
    found: impl fmt::Display,
    rule: &'static str,
) -> Result<(), FormatError> {
    if holds { Ok(()) } else { Err(field(name, found, rule)) }
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
