//! The table of a merged object: its parts' heads and digests, and where the blocks lie.

use super::{MergedHead, codec_byte, codec_of, unpack};
use crate::batch::{self, BatchCodec, BatchHead, Digest, FormatError, compress, field, require};
use crate::bytes::u32_at;

/// One row per part: its head and its digest.
pub(super) const PART_BYTES: usize = batch::HEAD_BYTES + 32;
/// One row per block.
pub(super) const BLOCK_ROW_BYTES: usize = 12;

/// A batch that a merged object takes the place of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its head, as it was.
    pub head: BatchHead,
    /// SHA-256 of the batch as it was stored.
    pub digest: Digest,
}

/// A run of log frames, compressed by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Bytes before compression.
    pub plain_bytes: u32,
    /// Bytes as stored.
    pub stored_bytes: u32,
    /// `None` or `Zstd`.
    pub codec: BatchCodec,
}

/// Parts and blocks of a merged object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergedTable {
    /// In the order of their numbers.
    pub parts: Vec<Part>,
    /// In the order of their bytes.
    pub blocks: Vec<Block>,
}

impl MergedTable {
    /// The table as stored, and how it is compressed.
    ///
    /// # Errors
    /// The compressor fails.
    pub fn encode(&self) -> Result<(Vec<u8>, BatchCodec), FormatError> {
        let mut plain = Vec::new();
        for part in &self.parts {
            plain.extend_from_slice(&part.head.encode());
            plain.extend_from_slice(&part.digest.0);
        }
        for block in &self.blocks {
            plain.extend_from_slice(&block.plain_bytes.to_le_bytes());
            plain.extend_from_slice(&block.stored_bytes.to_le_bytes());
            plain.extend_from_slice(&[codec_byte(block.codec), 0, 0, 0]);
        }
        compress(&plain, BatchCodec::Zstd)
    }

    /// Reads the table that belongs to `head`, with every check that needs no frames. Never panics, whatever the bytes.
    ///
    /// # Errors
    /// [`FormatError`], which names what is wrong.
    pub fn decode(head: &MergedHead, stored: &[u8]) -> Result<Self, FormatError> {
        let expected = u64::from(head.table_bytes);
        if stored.len() as u64 != expected {
            let found = stored.len() as u64;
            return Err(FormatError::Length { what: "merged table", expected, found });
        }
        let plain_bytes = usize::try_from(head.table_plain_bytes()).expect("parts and blocks are bounded");
        let plain = unpack(head.table_codec, stored, plain_bytes)?;
        let parts_bytes = usize::try_from(head.parts()).expect("bounded by the head") * PART_BYTES;
        let (parts, blocks) = plain.split_at(parts_bytes);
        let parts = parts.chunks_exact(PART_BYTES).map(part).collect::<Result<Vec<_>, _>>()?;
        let blocks = blocks.chunks_exact(BLOCK_ROW_BYTES).map(block).collect::<Result<Vec<_>, _>>()?;
        let table = Self { parts, blocks };
        table.check(head)?;
        Ok(table)
    }

    fn check(&self, head: &MergedHead) -> Result<(), FormatError> {
        let mut before: Option<&Part> = None;
        let mut plain_bytes = 0_u64;
        for (number, part) in (head.first..=head.last).zip(&self.parts) {
            let own = &part.head;
            let placed = own.number == number && own.epoch() == head.epoch && own.stream == head.stream;
            require(placed, "part", own.number, "of this stream and epoch, without a hole")?;
            require(own.parent.is_none() && !own.is_gap(), "part", number, "no epoch start and no gap")?;
            if let Some(before) = before {
                let follows = own.from == before.head.to && own.first_time >= before.head.last_time;
                require(follows, "part", number, "it begins where and when the one before ends")?;
                require(own.previous == before.digest, "part", number, "it names the one before")?;
            }
            plain_bytes += own.plain_bytes;
            before = Some(part);
        }
        require(plain_bytes == head.plain_bytes, "plain_bytes", plain_bytes, "what the parts add up to")?;
        let blocks: u64 = self.blocks.iter().map(|block| u64::from(block.plain_bytes)).sum();
        require(blocks == plain_bytes, "block", blocks, "together as long as the parts")
    }
}

fn part(row: &[u8]) -> Result<Part, FormatError> {
    let (head, digest) = row.split_at(batch::HEAD_BYTES);
    let digest = Digest(digest.try_into().expect("a row is a head and a digest"));
    Ok(Part { head: BatchHead::decode(head)?, digest })
}

fn block(row: &[u8]) -> Result<Block, FormatError> {
    let (plain_bytes, stored_bytes) = (u32_at(row, 0..4), u32_at(row, 4..8));
    let codec = codec_of(row[8], "block_codec")?;
    require(row[9..] == [0; 3], "block", row[9], "zeros at its end")?;
    require(plain_bytes > 0, "block", plain_bytes, "a block holds something")?;
    let fits = match codec {
        BatchCodec::None => stored_bytes == plain_bytes,
        _ => stored_bytes > 0 && stored_bytes < plain_bytes,
    };
    if !fits {
        return Err(field("block", stored_bytes, "as long as its bytes, or compressed to fewer"));
    }
    Ok(Block { plain_bytes, stored_bytes, codec })
}
