#![doc = include_str!("segment.md")]

use std::ops::Range;

use rpo_core::{Epoch, LogId, Lsn, Position, Sequence, Timestamp};

use crate::format::{FormatError, get, put, seal, unseal};

/// Bytes of one header block.
pub const BLOCK_BYTES: usize = 4096;
/// Where frames begin.
pub const FRAMES_OFFSET: u64 = 2 * BLOCK_BYTES as u64;
/// The version written.
pub const VERSION_NOW: u16 = 0;

const MAGIC_1: &[u8; 8] = b"RPOWAL\r\n";
const MAGIC_2: &[u8; 8] = b"RPOBIND\n";

const MAGIC: Range<usize> = 0..8;
const VERSION: Range<usize> = 8..10;
const CRC: Range<usize> = 12..16;
// block 1
const MIN_READER: Range<usize> = 10..12;
const LOG_ID: Range<usize> = 16..32;
const SALT_1: Range<usize> = 32..40;
const CAPACITY: Range<usize> = 40..48;
const CREATED: Range<usize> = 48..56;
// block 2
const FLAGS: Range<usize> = 10..12;
const SALT_2: Range<usize> = 16..24;
const ORDINAL: Range<usize> = 24..32;
const BASE_LSN: Range<usize> = 32..40;
const BASE_SEQ: Range<usize> = 40..48;
const EPOCH: Range<usize> = 48..52;
const PREV_CHAIN: Range<usize> = 52..56;
const PREV_END_LSN: Range<usize> = 56..64;

const FLAG_HAS_PREVIOUS: u16 = 1;

/// Block 1: what is known when a spare is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prepared {
    /// The log it belongs to.
    pub log: LogId,
    /// Frames carry its low 32 bits.
    pub salt: u64,
    /// Length of the file, bytes.
    pub capacity: u64,
    /// When it was made.
    pub created: Timestamp,
}

impl Prepared {
    /// The block as it stands in the file.
    pub fn encode(&self) -> [u8; BLOCK_BYTES] {
        let mut block = [0; BLOCK_BYTES];
        put(&mut block, MAGIC, MAGIC_1);
        put(&mut block, VERSION, &VERSION_NOW.to_le_bytes());
        put(&mut block, MIN_READER, &VERSION_NOW.to_le_bytes());
        put(&mut block, LOG_ID, self.log.as_bytes());
        put(&mut block, SALT_1, &self.salt.to_le_bytes());
        put(&mut block, CAPACITY, &self.capacity.to_le_bytes());
        put(&mut block, CREATED, &self.created.as_micros().to_le_bytes());
        seal(&mut block, CRC);
        block
    }

    /// Checks magic, version, integrity, meaning, in this order.
    ///
    /// # Errors
    /// [`FormatError`]; a block of zeros is [`FormatError::Zero`].
    pub fn decode(block: &[u8; BLOCK_BYTES]) -> Result<Self, FormatError> {
        unseal(block, MAGIC_1, VERSION_NOW, CRC, CREATED.end)?;
        if u16::from_le_bytes(get(block, MIN_READER)) > VERSION_NOW {
            return Err(FormatError::Version {
                found: u16::from_le_bytes(get(block, MIN_READER)),
                known: VERSION_NOW,
            });
        }
        let prepared = Self {
            log: LogId::from_bytes(get(block, LOG_ID)),
            salt: u64::from_le_bytes(get(block, SALT_1)),
            capacity: u64::from_le_bytes(get(block, CAPACITY)),
            created: Timestamp::from_micros(i64::from_le_bytes(get(block, CREATED))),
        };
        if prepared.capacity <= FRAMES_OFFSET || !prepared.capacity.is_multiple_of(8) {
            return Err(FormatError::Rule("a segment has room for frames"));
        }
        Ok(prepared)
    }
}

/// Block 2: what is known once a segment is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// That of block 1.
    pub salt: u64,
    /// How many segments the log had bound with this one, from 1: the later wins.
    pub ordinal: u64,
    /// LSN of the first record.
    pub base_lsn: Lsn,
    /// Commits before it.
    pub base_seq: Sequence,
    /// The writer's generation.
    pub epoch: Epoch,
    /// Chain value of the last frame before; none if this is the log's first segment.
    pub prev_chain: Option<u32>,
}

impl Bound {
    /// The block as it stands in the file.
    pub fn encode(&self) -> [u8; BLOCK_BYTES] {
        let flags = if self.prev_chain.is_some() { FLAG_HAS_PREVIOUS } else { 0 };
        let mut block = [0; BLOCK_BYTES];
        put(&mut block, MAGIC, MAGIC_2);
        put(&mut block, VERSION, &VERSION_NOW.to_le_bytes());
        put(&mut block, FLAGS, &flags.to_le_bytes());
        put(&mut block, SALT_2, &self.salt.to_le_bytes());
        put(&mut block, ORDINAL, &self.ordinal.to_le_bytes());
        put(&mut block, BASE_LSN, &self.base_lsn.get().to_le_bytes());
        put(&mut block, BASE_SEQ, &self.base_seq.get().to_le_bytes());
        put(&mut block, EPOCH, &self.epoch.get().to_le_bytes());
        put(&mut block, PREV_CHAIN, &self.prev_chain.unwrap_or(0).to_le_bytes());
        put(&mut block, PREV_END_LSN, &self.base_lsn.get().to_le_bytes());
        seal(&mut block, CRC);
        block
    }

    /// Checks magic, version, integrity, meaning, in this order.
    ///
    /// # Errors
    /// [`FormatError`]; a block of zeros is [`FormatError::Zero`].
    pub fn decode(block: &[u8; BLOCK_BYTES]) -> Result<Self, FormatError> {
        unseal(block, MAGIC_2, VERSION_NOW, CRC, PREV_END_LSN.end)?;
        let flags = u16::from_le_bytes(get(block, FLAGS));
        let chain = u32::from_le_bytes(get(block, PREV_CHAIN));
        let base_lsn = Lsn::new(u64::from_le_bytes(get(block, BASE_LSN)));
        let bound = Self {
            salt: u64::from_le_bytes(get(block, SALT_2)),
            ordinal: u64::from_le_bytes(get(block, ORDINAL)),
            base_lsn,
            base_seq: Sequence::new(u64::from_le_bytes(get(block, BASE_SEQ))),
            epoch: Epoch::new(u32::from_le_bytes(get(block, EPOCH)))
                .ok_or(FormatError::Rule("epochs count from 1"))?,
            prev_chain: (flags & FLAG_HAS_PREVIOUS != 0).then_some(chain),
        };
        let rules = [
            (flags & !FLAG_HAS_PREVIOUS == 0, "only bit 0 of the flags is known"),
            (bound.prev_chain.is_some() || chain == 0, "without a segment before there is no chain value"),
            (bound.ordinal > 0, "ordinals count from 1"),
            (
                u64::from_le_bytes(get(block, PREV_END_LSN)) == base_lsn.get(),
                "a segment begins where the last one ends",
            ),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(FormatError::Rule(rule)),
            None => Ok(bound),
        }
    }

    /// Where the history stands where the segment begins.
    pub fn start(&self) -> Position {
        Position { epoch: self.epoch, lsn: self.base_lsn, sequence: Some(self.base_seq) }
    }

    /// The file name of a segment with this header.
    pub fn file_name(&self) -> String {
        format!("{:016x}-{:08x}.rwal", self.base_lsn.get(), self.epoch.get())
    }

    /// The file name it is given once a later segment has replaced it as a whole.
    pub fn cut_name(&self) -> String {
        format!("{:016x}-{:08x}-{:016x}.cut", self.base_lsn.get(), self.epoch.get(), self.ordinal)
    }
}

/// What a file name in a log's directory says about the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileName {
    /// A bound segment.
    Segment {
        /// LSN of its first record.
        base_lsn: Lsn,
        /// Its epoch.
        epoch: u32,
    },
    /// A spare, perhaps bound since.
    Spare(u64),
    /// A released segment that is to be used again: what it holds counts for nothing.
    Used(u64),
    /// A segment that was replaced as a whole.
    Cut {
        /// LSN of its first record.
        base_lsn: Lsn,
    },
    /// What is known of a finished segment.
    Seal {
        /// LSN of the segment's first record.
        base_lsn: Lsn,
        /// Its epoch.
        epoch: u32,
    },
    /// The control file.
    Control,
    /// The lock file.
    Lock,
    /// Nothing of ours.
    Other,
}

impl FileName {
    /// What `name` says.
    pub fn parse(name: &str) -> Self {
        let hex = |text: &str, digits: usize| {
            let fits = text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            fits.then(|| u64::from_str_radix(text, 16).ok()).flatten()
        };
        let segment = |stem: &str| {
            let (lsn, epoch) = stem.split_once('-')?;
            Some((Lsn::new(hex(lsn, 16)?), u32::try_from(hex(epoch, 8)?).ok()?))
        };
        let spare = |rest: &str| rest.strip_suffix(".tmp").and_then(|n| hex(n, 16));
        if name == crate::control::FILE_NAME {
            Self::Control
        } else if name == LOCK_NAME {
            Self::Lock
        } else if let Some((base_lsn, epoch)) = name.strip_suffix(".rwal").and_then(segment) {
            Self::Segment { base_lsn, epoch }
        } else if let Some((base_lsn, epoch)) = name.strip_suffix(".seal").and_then(segment) {
            Self::Seal { base_lsn, epoch }
        } else if let Some(number) = name.strip_prefix("spare-").and_then(spare) {
            Self::Spare(number)
        } else if let Some(number) = name.strip_prefix("used-").and_then(spare) {
            Self::Used(number)
        } else if let Some((stem, ordinal)) = name.strip_suffix(".cut").and_then(|stem| stem.rsplit_once('-'))
        {
            match (segment(stem), hex(ordinal, 16)) {
                (Some((base_lsn, _)), Some(_)) => Self::Cut { base_lsn },
                _ => Self::Other,
            }
        } else {
            Self::Other
        }
    }
}

pub(crate) const LOCK_NAME: &str = "lock";

pub(crate) fn spare_name(number: u64) -> String {
    format!("spare-{number:016x}.tmp")
}

pub(crate) fn used_name(number: u64) -> String {
    format!("used-{number:016x}.tmp")
}

#[cfg(test)]
mod tests;
