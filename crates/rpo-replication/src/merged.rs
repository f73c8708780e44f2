#![doc = include_str!("merged.md")]

mod line;
mod part;
mod seal;
mod table;

use std::ops::Range;

use rpo_core::{Epoch, StreamId, Timestamp};

pub(crate) use self::line::{Before, Line};
pub use self::part::MergedIndex;
pub use self::seal::{open_merged, seal_merged};
pub use self::table::{Block, MergedTable, Part};
use crate::batch::{BatchCodec, FormatError, PLAIN_BYTES_MAX, VERSION_NUMBER, epoch_field, field, require};
use crate::bytes::{Fields, array, i64_at, stream_at, u16_at, u32_at, u64_at};

/// Length of the head of a merged object, bytes.
pub const HEAD_BYTES: usize = 144;
/// A block ends at the first log frame past this many bytes.
pub const BLOCK_BYTES: usize = 512 << 10;
/// Most parts of one merged object.
pub const PARTS_MAX: u64 = 16_384;
/// Most blocks of one merged object.
const BLOCKS_MAX: u32 = 65_536;

const MAGIC_TEXT: &[u8; 8] = b"RPOMERGE";
const MAGIC: Range<usize> = 0..8;
const VERSION: Range<usize> = 8..10;
const TABLE_CODEC: usize = 10;
const STREAM_LENGTH: usize = 11;
const EPOCH: Range<usize> = 12..16;
const NUMBER: Range<usize> = 16..24;
const FIRST: Range<usize> = 24..32;
const LAST: Range<usize> = 32..40;
const PLAIN_BYTES: Range<usize> = 40..48;
const TABLE_BYTES: Range<usize> = 48..52;
const BLOCKS: Range<usize> = 52..56;
const MERGED_AT: Range<usize> = 56..64;
const MERGER: Range<usize> = 64..80;
const STREAM: Range<usize> = 80..143;
const RESERVED: usize = 143;

/// What a merged object says of itself before its table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergedHead {
    /// Whose history it belongs to.
    pub stream: StreamId,
    /// The generation that wrote the parts.
    pub epoch: Epoch,
    /// Its place among the merged objects of the epoch, from 1.
    pub number: u64,
    /// Number of the first part.
    pub first: u64,
    /// Number of the last part.
    pub last: u64,
    /// Bytes of log frames inside, before compression.
    pub plain_bytes: u64,
    /// How the table is compressed: `None` or `Zstd`.
    pub table_codec: BatchCodec,
    /// Length of the table as stored, bytes.
    pub table_bytes: u32,
    /// Blocks that follow the table.
    pub blocks: u32,
    /// Wall clock of whoever merged.
    pub merged_at: Timestamp,
    /// Drawn at random for each merged object.
    pub merger: [u8; 16],
}

impl MergedHead {
    /// How many parts it has.
    pub fn parts(&self) -> u64 {
        self.last - self.first + 1
    }

    /// Whether the batch with this number is a part.
    pub fn holds(&self, number: u64) -> bool {
        (self.first..=self.last).contains(&number)
    }

    /// The head as it stands in the first envelope frame.
    pub fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut fields = Fields::<HEAD_BYTES>::new();
        fields.put(MAGIC, MAGIC_TEXT);
        fields.put(VERSION, &VERSION_NUMBER.to_le_bytes());
        fields.0[TABLE_CODEC] = codec_byte(self.table_codec);
        fields.put(EPOCH, &self.epoch.get().to_le_bytes());
        fields.put(NUMBER, &self.number.to_le_bytes());
        fields.put(FIRST, &self.first.to_le_bytes());
        fields.put(LAST, &self.last.to_le_bytes());
        fields.put(PLAIN_BYTES, &self.plain_bytes.to_le_bytes());
        fields.put(TABLE_BYTES, &self.table_bytes.to_le_bytes());
        fields.put(BLOCKS, &self.blocks.to_le_bytes());
        fields.put(MERGED_AT, &self.merged_at.as_micros().to_le_bytes());
        fields.put(MERGER, &self.merger);
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
            return Err(FormatError::Length { what: "merged head", expected: HEAD_BYTES as u64, found });
        }
        if bytes[MAGIC] != MAGIC_TEXT[..] {
            return Err(FormatError::Magic("a merged object"));
        }
        let version = u16_at(bytes, VERSION);
        if version != VERSION_NUMBER {
            return Err(FormatError::Version { what: "merged object", found: version });
        }
        let head = Self {
            stream: stream_at(bytes[STREAM_LENGTH], &bytes[STREAM])
                .ok_or_else(|| field("stream", bytes[STREAM_LENGTH], "a stream name, then zeros"))?,
            epoch: epoch_field(bytes, EPOCH, "epoch")?,
            number: u64_at(bytes, NUMBER),
            first: u64_at(bytes, FIRST),
            last: u64_at(bytes, LAST),
            plain_bytes: u64_at(bytes, PLAIN_BYTES),
            table_codec: codec_of(bytes[TABLE_CODEC], "table_codec")?,
            table_bytes: u32_at(bytes, TABLE_BYTES),
            blocks: u32_at(bytes, BLOCKS),
            merged_at: Timestamp::from_micros(i64_at(bytes, MERGED_AT)),
            merger: array(bytes, MERGER),
        };
        require(head.number > 0, "number", head.number, "numbers begin at 1")?;
        require(head.first > 0, "first", head.first, "numbers begin at 1")?;
        let parts = head.last.checked_sub(head.first).is_some_and(|more| (1..PARTS_MAX).contains(&more));
        require(parts, "last", head.last, "2 to 16384 parts")?;
        let plain = (1..=PLAIN_BYTES_MAX).contains(&head.plain_bytes);
        require(plain, "plain_bytes", head.plain_bytes, "1 byte to 128 MiB")?;
        require((1..=BLOCKS_MAX).contains(&head.blocks), "blocks", head.blocks, "1 to 65536")?;
        let table = (1..=head.table_plain_bytes()).contains(&u64::from(head.table_bytes));
        require(
            table,
            "table_bytes",
            head.table_bytes,
            "at least 1, at most what the table has uncompressed",
        )?;
        require(bytes[RESERVED] == 0, "reserved", bytes[RESERVED], "zero")?;
        Ok(head)
    }

    fn table_plain_bytes(&self) -> u64 {
        self.parts() * table::PART_BYTES as u64 + u64::from(self.blocks) * table::BLOCK_ROW_BYTES as u64
    }
}

fn codec_byte(codec: BatchCodec) -> u8 {
    u8::from(codec != BatchCodec::None)
}

fn codec_of(byte: u8, name: &'static str) -> Result<BatchCodec, FormatError> {
    match byte {
        0 => Ok(BatchCodec::None),
        1 => Ok(BatchCodec::Zstd),
        other => Err(field(name, other, "0 or 1")),
    }
}

/// Undoes `codec`; allocates at most `plain_bytes`, which the caller has checked against its limit.
fn unpack(codec: BatchCodec, stored: &[u8], plain_bytes: usize) -> Result<Vec<u8>, FormatError> {
    let plain = match codec {
        BatchCodec::None => stored.to_vec(),
        _ => zstd::bulk::decompress(stored, plain_bytes)
            .map_err(|error| FormatError::Body(error.to_string()))?,
    };
    if plain.len() != plain_bytes {
        let (expected, found) = (plain_bytes as u64, plain.len() as u64);
        return Err(FormatError::Length { what: "merged block", expected, found });
    }
    Ok(plain)
}

#[cfg(test)]
#[path = "merged_tests.rs"]
mod tests;
