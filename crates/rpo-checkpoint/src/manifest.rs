#![doc = include_str!("manifest.md")]

use std::collections::VecDeque;
use std::ops::Range;

use rpo_core::codec;
use rpo_core::ports::{Entry, EntryKind, EntryPath, Extent};
use serde::{Deserialize, Serialize};

use crate::chunk::ChunkRef;

mod root;

pub use root::{ManifestRoot, PieceRef, decode_root};

const MAGIC: Range<usize> = 0..8;
const VERSION: Range<usize> = 8..10;
const RESERVED: Range<usize> = 10..12;
const RECORDS: Range<usize> = 12..16;
const PIECE_HEAD_BYTES: usize = 16;
const PIECE_MAGIC: &[u8; 8] = b"RPOMANI\0";

const PIECE_BYTES_MIN: usize = 64 << 10;
const PIECE_BYTES_AIM: usize = 256 << 10;
const PART_MAX: usize = 1024;

/// Bytes that are no manifest, or one that makes no sense. Says what is wrong; the caller knows the object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct ManifestError {
    what: String,
}

impl ManifestError {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into() }
    }
}

/// An entry with the chunks of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEntry {
    /// The entry as captured.
    pub entry: Entry,
    /// Its content: the bytes of all extents, one after another.
    pub chunks: Vec<ChunkRef>,
}

impl StoredEntry {
    /// Where in the file each chunk belongs.
    pub fn placed_chunks(&self) -> impl Iterator<Item = (u64, ChunkRef)> + '_ {
        let mut extents = self.entry.extents.iter();
        let mut extent = Extent { offset: 0, len: 0 };
        self.chunks.iter().map(move |chunk| {
            while extent.len == 0 {
                match extents.next() {
                    Some(next) => extent = *next,
                    None => break, // checked when the manifest was read: chunks fill the extents exactly
                }
            }
            let at = extent.offset;
            extent.offset += u64::from(chunk.len);
            extent.len = extent.len.saturating_sub(u64::from(chunk.len));
            (at, *chunk)
        })
    }
}

/// What a manifest says of one path.
#[allow(clippy::large_enum_variant)] // nearly all are entries
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestItem {
    /// It is there.
    Entry(StoredEntry),
    /// The parent has it, this one has not.
    Removed(EntryPath),
}

impl ManifestItem {
    /// The path it is about.
    pub fn path(&self) -> &EntryPath {
        match self {
            Self::Entry(stored) => &stored.entry.path,
            Self::Removed(path) => path,
        }
    }
}

/// A record as written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// An entry with its first extents and chunks.
    Entry {
        /// The entry; its extents are cut off at 1024.
        entry: Entry,
        /// Its first 1024 chunks.
        chunks: Vec<ChunkRef>,
    },
    /// Further extents and chunks of the entry before.
    More {
        /// Up to 1024 extents.
        extents: Vec<Extent>,
        /// Up to 1024 chunks.
        chunks: Vec<ChunkRef>,
    },
    /// A path of the parent that is gone.
    Removed(EntryPath),
}

/// Cuts a sorted stream of items into pieces.
#[derive(Debug)]
pub(crate) struct PieceWriter {
    piece: Vec<u8>,
    records: u32,
    total: u64,
}

impl PieceWriter {
    pub(crate) fn new() -> Self {
        Self { piece: vec![0; PIECE_HEAD_BYTES], records: 0, total: 0 }
    }

    /// Records written so far.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Adds an item; `done` takes each piece that is complete.
    ///
    /// # Errors
    /// A record longer than the codec takes (16 MiB of extended attributes).
    pub(crate) fn push<E: From<ManifestError>>(
        &mut self,
        item: ManifestItem,
        mut done: impl FnMut(Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        match item {
            ManifestItem::Removed(path) => {
                let hash = fold(path.as_bytes());
                self.record(&Record::Removed(path), hash, &mut done)
            }
            ManifestItem::Entry(StoredEntry { mut entry, mut chunks }) => {
                let hash = fold(entry.path.as_bytes());
                let mut more_extents = split_rest(&mut entry.extents);
                let mut more_chunks = split_rest(&mut chunks);
                self.record(&Record::Entry { entry, chunks }, hash, &mut done)?;
                while !more_extents.is_empty() || !more_chunks.is_empty() {
                    let (extents_rest, chunks_rest) =
                        (split_rest(&mut more_extents), split_rest(&mut more_chunks));
                    let record = Record::More { extents: more_extents, chunks: more_chunks };
                    self.record(&record, 1, &mut done)?;
                    (more_extents, more_chunks) = (extents_rest, chunks_rest);
                }
                Ok(())
            }
        }
    }

    /// The last piece, if anything is left.
    pub(crate) fn finish(mut self) -> Option<Vec<u8>> {
        (self.records > 0).then(|| self.take_piece())
    }

    fn record<E: From<ManifestError>>(
        &mut self,
        record: &Record,
        hash: u8,
        done: &mut impl FnMut(Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let bytes =
            codec::encode(record).map_err(|error| ManifestError::new(format!("an entry: {error}")))?;
        self.piece.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        self.piece.extend_from_slice(&bytes);
        self.records += 1;
        self.total += 1;
        let len = self.piece.len();
        if len >= PIECE_BYTES_AIM || (len >= PIECE_BYTES_MIN && hash == 0) {
            done(self.take_piece())?;
        }
        Ok(())
    }

    fn take_piece(&mut self) -> Vec<u8> {
        let mut piece = std::mem::replace(&mut self.piece, vec![0; PIECE_HEAD_BYTES]);
        piece[MAGIC].copy_from_slice(PIECE_MAGIC);
        piece[RECORDS].copy_from_slice(&self.records.to_le_bytes());
        self.records = 0;
        piece
    }
}

/// Everything past the first 1024, cut off.
fn split_rest<T>(all: &mut Vec<T>) -> Vec<T> {
    if all.len() > PART_MAX { all.split_off(PART_MAX) } else { Vec::new() }
}

/// FNV-1a of 64 bits, folded to one byte.
fn fold(bytes: &[u8]) -> u8 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    (hash ^ hash >> 8 ^ hash >> 16 ^ hash >> 24 ^ hash >> 32 ^ hash >> 40 ^ hash >> 48 ^ hash >> 56) as u8
}

/// Reads the records of one piece.
///
/// # Errors
/// The bytes are no piece of this version. Never panics; allocates no more than the bytes given justify.
pub fn decode_piece(bytes: &[u8]) -> Result<Vec<Record>, ManifestError> {
    if bytes.len() < PIECE_HEAD_BYTES || bytes[MAGIC] != PIECE_MAGIC[..] {
        return Err(ManifestError::new("not a piece of a manifest"));
    }
    let version = u16::from_le_bytes(bytes[VERSION].try_into().expect("2 bytes"));
    if version != 0 || bytes[RESERVED] != [0; 2] {
        return Err(ManifestError::new(format!(
            "piece version {version} is not known here: use a newer rpo"
        )));
    }
    let announced = u32::from_le_bytes(bytes[RECORDS].try_into().expect("4 bytes"));
    let mut rest = &bytes[PIECE_HEAD_BYTES..];
    let mut records = Vec::new();
    while !rest.is_empty() {
        let (len, after) =
            rest.split_first_chunk::<4>().ok_or_else(|| ManifestError::new("ends inside a length"))?;
        let len = u32::from_le_bytes(*len) as usize;
        let (record, after) =
            after.split_at_checked(len).ok_or_else(|| ManifestError::new("ends inside a record"))?;
        records
            .push(codec::decode(record).map_err(|error| ManifestError::new(format!("a record: {error}")))?);
        rest = after;
    }
    if records.len() != announced as usize {
        return Err(ManifestError::new(format!("{} records, announced were {announced}", records.len())));
    }
    Ok(records)
}

/// Puts records of consecutive pieces together again, and checks that they make sense.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    open: Option<StoredEntry>,
    last: Option<EntryPath>,
}

impl Assembler {
    /// Takes the next record; items that are now complete go to `out`.
    pub(crate) fn push(
        &mut self,
        record: Record,
        out: &mut VecDeque<ManifestItem>,
    ) -> Result<(), ManifestError> {
        match record {
            Record::More { extents, chunks } => {
                let open = self
                    .open
                    .as_mut()
                    .ok_or_else(|| ManifestError::new("more of an entry that is not there"))?;
                open.entry.extents.extend(extents);
                open.chunks.extend(chunks);
            }
            Record::Entry { entry, chunks } => {
                self.finish(out)?;
                self.in_order(&entry.path)?;
                self.open = Some(StoredEntry { entry, chunks });
            }
            Record::Removed(path) => {
                self.finish(out)?;
                self.in_order(&path)?;
                out.push_back(ManifestItem::Removed(path));
            }
        }
        Ok(())
    }

    /// No more records follow: the entry that is still open is complete.
    pub(crate) fn finish(&mut self, out: &mut VecDeque<ManifestItem>) -> Result<(), ManifestError> {
        if let Some(stored) = self.open.take() {
            check_content(&stored)?;
            out.push_back(ManifestItem::Entry(stored));
        }
        Ok(())
    }

    fn in_order(&mut self, path: &EntryPath) -> Result<(), ManifestError> {
        if self.last.as_ref().is_some_and(|last| last >= path) {
            return Err(ManifestError::new(format!("`{path}` comes twice or out of order")));
        }
        self.last = Some(path.clone());
        Ok(())
    }
}

/// Whether the chunks fill the extents, and the extents lie in the file one after another.
fn check_content(stored: &StoredEntry) -> Result<(), ManifestError> {
    let StoredEntry { entry, chunks } = stored;
    let wrong = |what: &str| Err(ManifestError::new(format!("`{}`: {what}", entry.path)));
    let mut end = 0u64;
    let mut bytes = 0u64;
    for extent in &entry.extents {
        if extent.offset < end || extent.len == 0 {
            return wrong("its extents overlap, are empty or out of order");
        }
        let Some(next) = extent.offset.checked_add(extent.len).filter(|next| *next <= entry.len) else {
            return wrong("an extent reaches past its end");
        };
        end = next;
        bytes += extent.len;
    }
    let mut extents = entry.extents.iter();
    let mut room = 0u64;
    let mut stored_bytes = 0u64;
    for chunk in chunks {
        if room == 0 {
            room = extents.next().map_or(0, |extent| extent.len);
        }
        if chunk.len == 0 || u64::from(chunk.len) > room {
            return wrong("a chunk is empty or does not fit its extent");
        }
        room -= u64::from(chunk.len);
        stored_bytes += u64::from(chunk.len);
    }
    if stored_bytes != bytes {
        return wrong("its chunks do not fill its extents");
    }
    if !matches!(entry.kind, EntryKind::File) && bytes > 0 {
        return wrong("only files have content");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
