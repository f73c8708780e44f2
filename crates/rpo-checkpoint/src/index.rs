#![doc = include_str!("index.md")]

use std::ops::Range;

use bytes::Bytes;
use rpo_core::SourceId;
use rpo_repository::layout;
use rpo_storage::Key;

use crate::pack::{HEAD_BYTES, PackId, PackTable, decode_head};

const MAGIC: Range<usize> = 0..8;
const VERSION: Range<usize> = 8..10;
const RESERVED: Range<usize> = 10..12;
const PACKS: Range<usize> = 12..16;
const INDEX_HEAD_BYTES: usize = 16;
const INDEX_MAGIC: &[u8; 8] = b"RPOINDX\0";

const PACK: Range<usize> = 0..16;
const OBJECT_LEN: Range<usize> = 16..24;
const SHA256: Range<usize> = 24..56;
const RECORD_HEAD_BYTES: usize = 56;

/// Where rebuilt indexes stand; no source can have this name.
pub(crate) const REBUILT: &str = "_rebuilt";

/// Bytes that are no index. Says what is wrong; the caller knows the object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct IndexError {
    what: String,
}

impl IndexError {
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into() }
    }
}

/// What an index says of one pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackRecord {
    /// Its name.
    pub pack: PackId,
    /// Length of the object, bytes.
    pub object_len: u64,
    /// SHA-256 of the object; zeros if the index was rebuilt.
    pub sha256: [u8; 32],
    /// What is in it.
    pub table: PackTable,
}

impl PackRecord {
    /// The record as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let (head, table) = self.table.encode();
        let mut bytes = vec![0; RECORD_HEAD_BYTES];
        bytes[PACK].copy_from_slice(&self.pack.0);
        bytes[OBJECT_LEN].copy_from_slice(&self.object_len.to_le_bytes());
        bytes[SHA256].copy_from_slice(&self.sha256);
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(&table);
        bytes
    }

    /// Reads one record.
    ///
    /// # Errors
    /// The bytes are no record, or its table does not fit the object's length.
    pub fn decode(bytes: &[u8]) -> Result<Self, IndexError> {
        let (record, rest) = bytes
            .split_at_checked(RECORD_HEAD_BYTES)
            .ok_or_else(|| IndexError::new("a record of an index is cut off"))?;
        let (head, table) =
            rest.split_at_checked(HEAD_BYTES).ok_or_else(|| IndexError::new("a record without a table"))?;
        let bad = |error: crate::pack::PackError| IndexError::new(error.to_string());
        let table = PackTable::decode(&decode_head(head).map_err(bad)?, table).map_err(bad)?;
        let object_len = u64::from_le_bytes(record[OBJECT_LEN].try_into().expect("8 bytes"));
        if object_len != table.object_len() {
            let made = table.object_len();
            return Err(IndexError::new(format!("a pack of {object_len} bytes, its table makes {made}")));
        }
        Ok(Self {
            pack: PackId(record[PACK].try_into().expect("16 bytes")),
            object_len,
            sha256: record[SHA256].try_into().expect("32 bytes"),
            table,
        })
    }
}

/// The frames of an index object of these encoded records.
pub fn encode(records: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut head = vec![0; INDEX_HEAD_BYTES];
    head[MAGIC].copy_from_slice(INDEX_MAGIC);
    head[PACKS].copy_from_slice(&(records.len() as u32).to_le_bytes());
    let mut frames = vec![head];
    frames.extend(records);
    frames
}

/// Reads an index from the frames of its object.
///
/// # Errors
/// The frames are no index of this version.
pub fn decode(frames: &[Bytes]) -> Result<Vec<PackRecord>, IndexError> {
    let (head, records) = frames.split_first().ok_or_else(|| IndexError::new("an index without frames"))?;
    if head.len() != INDEX_HEAD_BYTES || head[MAGIC] != INDEX_MAGIC[..] {
        return Err(IndexError::new("not an index"));
    }
    let version = u16::from_le_bytes(head[VERSION].try_into().expect("2 bytes"));
    if version != 0 || head[RESERVED] != [0; 2] {
        return Err(IndexError::new(format!("index version {version} is not known here: use a newer rpo")));
    }
    let announced = u32::from_le_bytes(head[PACKS].try_into().expect("4 bytes"));
    if records.len() != announced as usize {
        return Err(IndexError::new(format!("{} records, announced were {announced}", records.len())));
    }
    records.iter().map(|record| PackRecord::decode(record)).collect()
}

/// Who wrote an index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum IndexOwner {
    /// A session of a source.
    Session(SourceId, u64),
    /// A rebuild, with its number.
    Rebuilt(u64),
}

/// The key of one part.
pub(crate) fn key(owner: &IndexOwner, part: u32) -> Key {
    match owner {
        IndexOwner::Session(source, session) => layout::index(source, *session, part),
        IndexOwner::Rebuilt(number) => Key::new(format!("indexes/{REBUILT}/{number:016x}-{part:08x}"))
            .expect("hexadecimal digits make a key"),
    }
}

/// Whose index stands at `key`, and which part; `None` for a foreign object.
pub(crate) fn owner_of(key: &Key) -> Option<(IndexOwner, u32)> {
    let (folder, name) = key.as_str().strip_prefix("indexes/")?.split_once('/')?;
    let (number, part) = name.split_once('-')?;
    let number = u64::from_str_radix(number, 16).ok()?;
    let part = u32::from_str_radix(part, 16).ok()?;
    let owner = if folder == REBUILT {
        IndexOwner::Rebuilt(number)
    } else {
        IndexOwner::Session(SourceId::new(folder).ok()?, number)
    };
    (self::key(&owner, part) == *key).then_some((owner, part))
}

#[cfg(test)]
mod tests;
