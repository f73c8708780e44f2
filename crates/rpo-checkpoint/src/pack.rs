#![doc = include_str!("pack.md")]

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use rpo_crypto::{ChunkId, envelope};
use rpo_storage::Key;

use crate::compress::{Codec, FRAME_RAW_BYTES_MAX};

const MAGIC: Range<usize> = 0..8;
const VERSION: Range<usize> = 8..10;
const RESERVED: Range<usize> = 10..12;
const TABLE_BYTES: Range<usize> = 12..16;
const FRAMES: Range<usize> = 16..20;
const CHUNKS: Range<usize> = 20..24;
const RAW_BYTES: Range<usize> = 24..32;

const CODEC: Range<usize> = 0..1;
const ROW_RESERVED: Range<usize> = 1..4;
const RAW_LEN: Range<usize> = 4..8;
const STORED_LEN: Range<usize> = 8..12;
const CHUNK_COUNT: Range<usize> = 12..16;

const ID: Range<usize> = 0..32;
const LEN: Range<usize> = 32..36;

const PACK_MAGIC: &[u8; 8] = b"RPOPACK\0";
/// Plain bytes of the head.
pub const HEAD_BYTES: usize = 32;
const ROW_BYTES: usize = 16;
const CHUNK_BYTES: usize = 36;

/// Number of the envelope frame that holds the first data frame.
pub const FIRST_DATA_FRAME: u64 = 2;
/// Longest table read, plain bytes.
pub const TABLE_BYTES_MAX: usize = 64 << 20;
/// Largest pack, bytes.
pub const PACK_BYTES_MAX: u64 = 256 << 20;

/// Name of a pack: random.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackId(pub [u8; 16]);

impl PackId {
    /// Where it is in the store.
    pub fn key(&self) -> Key {
        let hex = self.to_string();
        Key::new(format!("packs/{}/{hex}", &hex[..2])).expect("hexadecimal digits make a key")
    }

    /// The pack at this key, if a pack's key it is.
    pub fn of_key(key: &Key) -> Option<Self> {
        let (folder, name) = key.as_str().strip_prefix("packs/")?.split_once('/')?;
        let id: Self = name.parse().ok()?;
        (name.starts_with(folder) && folder.len() == 2).then_some(id)
    }
}

impl fmt::Display for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackId({self})")
    }
}

impl FromStr for PackId {
    type Err = PackError;

    fn from_str(text: &str) -> Result<Self, PackError> {
        let mut id = [0; 16];
        let lower = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if lower && hex::decode_to_slice(text, &mut id).is_ok() {
            Ok(Self(id))
        } else {
            Err(PackError::new("a pack's name is 32 lower-case hexadecimal digits"))
        }
    }
}

/// Bytes that are no pack head or table. Says what is wrong; the caller knows the object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct PackError {
    what: String,
}

impl PackError {
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into() }
    }
}

/// One chunk as a table names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRow {
    /// Keyed hash of its bytes.
    pub id: ChunkId,
    /// Its bytes before compression.
    pub len: u32,
}

/// One data frame as a table describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameRow {
    /// How it is stored.
    pub codec: Codec,
    /// Bytes before compression.
    pub raw_len: u32,
    /// Bytes after compression, before sealing.
    pub stored_len: u32,
    /// What is in it, in order.
    pub chunks: Vec<ChunkRow>,
}

/// What a pack holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PackTable {
    /// Its data frames, in order.
    pub frames: Vec<FrameRow>,
}

/// The head, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackHead {
    /// Length of the table's plain bytes.
    pub table_bytes: u32,
    /// Data frames.
    pub frames: u32,
    /// Chunks in all of them.
    pub chunks: u32,
    /// Bytes of all chunks before compression.
    pub raw_bytes: u64,
}

/// Bytes a frame of `plain` bytes takes in an object.
pub const fn sealed_len(plain: u64) -> u64 {
    plain + envelope::FRAME_OVERHEAD as u64
}

impl PackTable {
    /// The head and the table as bytes.
    pub fn encode(&self) -> ([u8; HEAD_BYTES], Vec<u8>) {
        let chunks: usize = self.frames.iter().map(|frame| frame.chunks.len()).sum();
        let mut table = Vec::with_capacity(self.frames.len() * ROW_BYTES + chunks * CHUNK_BYTES);
        for frame in &self.frames {
            let mut row = [0; ROW_BYTES];
            row[CODEC][0] = frame.codec as u8;
            row[RAW_LEN].copy_from_slice(&frame.raw_len.to_le_bytes());
            row[STORED_LEN].copy_from_slice(&frame.stored_len.to_le_bytes());
            row[CHUNK_COUNT].copy_from_slice(&(frame.chunks.len() as u32).to_le_bytes());
            table.extend_from_slice(&row);
            for chunk in &frame.chunks {
                table.extend_from_slice(&chunk.id.0);
                table.extend_from_slice(&chunk.len.to_le_bytes());
            }
        }
        let mut head = [0; HEAD_BYTES];
        head[MAGIC].copy_from_slice(PACK_MAGIC);
        head[TABLE_BYTES].copy_from_slice(&(table.len() as u32).to_le_bytes());
        head[FRAMES].copy_from_slice(&(self.frames.len() as u32).to_le_bytes());
        head[CHUNKS].copy_from_slice(&(chunks as u32).to_le_bytes());
        head[RAW_BYTES].copy_from_slice(&self.raw_bytes().to_le_bytes());
        (head, table)
    }

    /// Reads a table that `head` announces.
    ///
    /// # Errors
    /// The bytes are no table, or not the one announced. Allocates no more than the bytes given justify.
    pub fn decode(head: &PackHead, mut bytes: &[u8]) -> Result<Self, PackError> {
        if bytes.len() != head.table_bytes as usize {
            return Err(PackError::new(format!(
                "a table of {} bytes, announced were {}",
                bytes.len(),
                head.table_bytes
            )));
        }
        let mut table = Self::default();
        let mut chunks = 0u64;
        while !bytes.is_empty() {
            let (row, rest) = bytes
                .split_at_checked(ROW_BYTES)
                .ok_or_else(|| PackError::new("the table ends inside a row"))?;
            let frame = decode_row(row, rest)?;
            chunks += frame.chunks.len() as u64;
            bytes = &rest[frame.chunks.len() * CHUNK_BYTES..];
            table.frames.push(frame);
        }
        let found = (table.frames.len() as u64, chunks, table.raw_bytes());
        let announced = (u64::from(head.frames), u64::from(head.chunks), head.raw_bytes);
        if found != announced {
            return Err(PackError::new(format!(
                "the table has (frames, chunks, bytes) {found:?}, the head announces {announced:?}"
            )));
        }
        Ok(table)
    }

    /// Bytes of all chunks before compression.
    pub fn raw_bytes(&self) -> u64 {
        self.frames.iter().map(|frame| u64::from(frame.raw_len)).sum()
    }

    /// Where each sealed data frame lies in the object, and one past the last.
    pub fn frame_spans(&self) -> Vec<Range<u64>> {
        let chunks: usize = self.frames.iter().map(|frame| frame.chunks.len()).sum();
        let table_bytes = (self.frames.len() * ROW_BYTES + chunks * CHUNK_BYTES) as u64;
        let mut at = envelope::HEADER_BYTES as u64 + sealed_len(HEAD_BYTES as u64) + sealed_len(table_bytes);
        let mut spans = Vec::with_capacity(self.frames.len());
        for frame in &self.frames {
            let end = at + sealed_len(u64::from(frame.stored_len));
            spans.push(at..end);
            at = end;
        }
        spans
    }

    /// Length of the whole object, bytes.
    pub fn object_len(&self) -> u64 {
        let end = self.frame_spans().last().map_or(0, |span| span.end);
        end + envelope::DIGEST_BYTES as u64
    }
}

fn decode_row(row: &[u8], rest: &[u8]) -> Result<FrameRow, PackError> {
    let codec = Codec::from_number(row[CODEC][0]).ok_or_else(|| {
        PackError::new(format!("codec {} is not known here: use a newer rpo", row[CODEC][0]))
    })?;
    if row[ROW_RESERVED] != [0; 3] {
        return Err(PackError::new("reserved bytes of a row are not zero"));
    }
    let raw_len = u32_at(row, RAW_LEN);
    if raw_len as usize > FRAME_RAW_BYTES_MAX {
        return Err(PackError::new(format!(
            "a frame of {raw_len} bytes is longer than {FRAME_RAW_BYTES_MAX}"
        )));
    }
    let count = u32_at(row, CHUNK_COUNT) as usize;
    let listed = count.checked_mul(CHUNK_BYTES).and_then(|len| rest.get(..len));
    let listed = listed.ok_or_else(|| PackError::new("the table ends inside a frame's chunks"))?;
    let chunks: Vec<ChunkRow> = listed
        .chunks_exact(CHUNK_BYTES)
        .map(|chunk| ChunkRow {
            id: ChunkId(chunk[ID].try_into().expect("32 bytes")),
            len: u32_at(chunk, LEN),
        })
        .collect();
    let sum: u64 = chunks.iter().map(|chunk| u64::from(chunk.len)).sum();
    if chunks.is_empty() || chunks.iter().any(|chunk| chunk.len == 0) || sum != u64::from(raw_len) {
        return Err(PackError::new(format!("a frame of {raw_len} bytes whose {count} chunks have {sum}")));
    }
    Ok(FrameRow { codec, raw_len, stored_len: u32_at(row, STORED_LEN), chunks })
}

/// Reads a head: identity, version, meaning, in this order.
///
/// # Errors
/// The bytes are no head of this version.
pub fn decode_head(bytes: &[u8]) -> Result<PackHead, PackError> {
    if bytes.len() != HEAD_BYTES || bytes[MAGIC] != PACK_MAGIC[..] {
        return Err(PackError::new("not the head of a pack"));
    }
    let version = u16::from_le_bytes(bytes[VERSION].try_into().expect("2 bytes"));
    if version != 0 {
        return Err(PackError::new(format!("pack version {version} is not known here: use a newer rpo")));
    }
    if bytes[RESERVED] != [0; 2] {
        return Err(PackError::new("reserved bytes of the head are not zero"));
    }
    let head = PackHead {
        table_bytes: u32_at(bytes, TABLE_BYTES),
        frames: u32_at(bytes, FRAMES),
        chunks: u32_at(bytes, CHUNKS),
        raw_bytes: u64::from_le_bytes(bytes[RAW_BYTES].try_into().expect("8 bytes")),
    };
    let exact = u64::from(head.frames) * ROW_BYTES as u64 + u64::from(head.chunks) * CHUNK_BYTES as u64;
    if exact != u64::from(head.table_bytes) || head.table_bytes as usize > TABLE_BYTES_MAX {
        return Err(PackError::new(format!(
            "a table of {} bytes for {} frames",
            head.table_bytes, head.frames
        )));
    }
    Ok(head)
}

fn u32_at(bytes: &[u8], at: Range<usize>) -> u32 {
    u32::from_le_bytes(bytes[at].try_into().expect("the range has 4 bytes"))
}

#[cfg(test)]
mod tests;
