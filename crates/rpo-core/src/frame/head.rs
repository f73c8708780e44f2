//! The 64-byte head.

use std::ops::Range;

use super::{BODY_BYTES_MAX, FrameError, HEAD_BYTES, RECORD_HEAD_BYTES, padded};
use crate::{Epoch, Lsn, Position, Sequence, Timestamp};

pub(super) const MAGIC_BYTES: [u8; 4] = *b"RPOF";

pub(super) const MAGIC: Range<usize> = 0..4;
pub(super) const HEAD_CRC: Range<usize> = 4..8;
pub(super) const BODY_LEN: Range<usize> = 8..12;
pub(super) const BODY_CRC: Range<usize> = 12..16;
pub(super) const BASE_LSN: Range<usize> = 16..24;
pub(super) const BASE_SEQ: Range<usize> = 24..32;
pub(super) const RECORD_COUNT: Range<usize> = 32..34;
pub(super) const COMMIT_COUNT: Range<usize> = 34..36;
pub(super) const EPOCH: Range<usize> = 36..40;
pub(super) const DURABLE_LSN: Range<usize> = 40..48;
pub(super) const COMMIT_TIME: Range<usize> = 48..56;
pub(super) const PREV_CHAIN: Range<usize> = 56..60;
pub(super) const SALT: Range<usize> = 60..64;

/// The checked fields of a frame's head; the magic and the head's own checksum are made and checked by the codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead {
    /// Bytes of records, without padding.
    pub body_len: u32,
    /// CRC32C of the body.
    pub body_crc: u32,
    /// LSN of the first record.
    pub base_lsn: Lsn,
    /// Commits before the frame.
    pub base_seq: Sequence,
    /// Records in the body, markers included; at least 1.
    pub record_count: u16,
    /// Commits in the body.
    pub commit_count: u16,
    /// The writer's generation.
    pub epoch: Epoch,
    /// Everything before it was durable when the frame was built.
    pub durable_lsn: Lsn,
    /// When the commits in it were committed.
    pub commit_time: Timestamp,
    /// [`FrameHead::chain`] of the frame before; 0 for the first of a log.
    pub prev_chain: u32,
    /// Low 32 bits of the salt of the segment it was first written to.
    pub salt: u32,
}

fn array<const N: usize>(bytes: &[u8; HEAD_BYTES], at: Range<usize>) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at]); // both lengths are constants of this module, held by its tests
    out
}

fn head_crc(bytes: &[u8; HEAD_BYTES]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[MAGIC]), &bytes[BODY_LEN.start..])
}

impl FrameHead {
    /// The head as it stands in the file.
    pub fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[MAGIC].copy_from_slice(&MAGIC_BYTES);
        bytes[BODY_LEN].copy_from_slice(&self.body_len.to_le_bytes());
        bytes[BODY_CRC].copy_from_slice(&self.body_crc.to_le_bytes());
        bytes[BASE_LSN].copy_from_slice(&self.base_lsn.get().to_le_bytes());
        bytes[BASE_SEQ].copy_from_slice(&self.base_seq.get().to_le_bytes());
        bytes[RECORD_COUNT].copy_from_slice(&self.record_count.to_le_bytes());
        bytes[COMMIT_COUNT].copy_from_slice(&self.commit_count.to_le_bytes());
        bytes[EPOCH].copy_from_slice(&self.epoch.get().to_le_bytes());
        bytes[DURABLE_LSN].copy_from_slice(&self.durable_lsn.get().to_le_bytes());
        bytes[COMMIT_TIME].copy_from_slice(&self.commit_time.as_micros().to_le_bytes());
        bytes[PREV_CHAIN].copy_from_slice(&self.prev_chain.to_le_bytes());
        bytes[SALT].copy_from_slice(&self.salt.to_le_bytes());
        let crc = head_crc(&bytes);
        bytes[HEAD_CRC].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Checks and reads a head: checksum first, then magic, then meaning.
    ///
    /// # Errors
    /// [`FrameError::Unwritten`] if all 64 bytes are zero, [`FrameError::HeadCrc`] if they are damaged,
    /// [`FrameError::Malformed`] if they were never ours.
    pub fn decode(bytes: &[u8; HEAD_BYTES]) -> Result<Self, FrameError> {
        if bytes.iter().all(|b| *b == 0) {
            return Err(FrameError::Unwritten);
        }
        let expected = u32::from_le_bytes(array(bytes, HEAD_CRC));
        let found = head_crc(bytes);
        if expected != found {
            return Err(FrameError::HeadCrc { expected, found });
        }
        let malformed = |rule| FrameError::Malformed { rule };
        if bytes[MAGIC] != MAGIC_BYTES {
            return Err(malformed("the magic is RPOF"));
        }
        let epoch =
            Epoch::new(u32::from_le_bytes(array(bytes, EPOCH))).ok_or(malformed("epochs count from 1"))?;
        let head = Self {
            body_len: u32::from_le_bytes(array(bytes, BODY_LEN)),
            body_crc: u32::from_le_bytes(array(bytes, BODY_CRC)),
            base_lsn: Lsn::new(u64::from_le_bytes(array(bytes, BASE_LSN))),
            base_seq: Sequence::new(u64::from_le_bytes(array(bytes, BASE_SEQ))),
            record_count: u16::from_le_bytes(array(bytes, RECORD_COUNT)),
            commit_count: u16::from_le_bytes(array(bytes, COMMIT_COUNT)),
            epoch,
            durable_lsn: Lsn::new(u64::from_le_bytes(array(bytes, DURABLE_LSN))),
            commit_time: Timestamp::from_micros(i64::from_le_bytes(array(bytes, COMMIT_TIME))),
            prev_chain: u32::from_le_bytes(array(bytes, PREV_CHAIN)),
            salt: u32::from_le_bytes(array(bytes, SALT)),
        };
        head.check()?;
        Ok(head)
    }

    pub(super) fn check(&self) -> Result<(), FrameError> {
        let body_len = self.body_len as usize;
        let rules = [
            ((RECORD_HEAD_BYTES..=BODY_BYTES_MAX).contains(&body_len), "a body has 16 bytes to 64 MiB"),
            (self.record_count > 0, "a frame has at least one record"),
            (self.commit_count <= self.record_count, "each commit has at least one record"),
            (
                body_len >= RECORD_HEAD_BYTES * usize::from(self.record_count),
                "each record has 16 bytes of head",
            ),
            (self.base_lsn.checked_add(u64::from(self.body_len)).is_some(), "LSNs end at 2^64"),
            (self.base_seq.checked_add(u64::from(self.commit_count)).is_some(), "sequences end at 2^64"),
            (self.durable_lsn <= self.base_lsn, "nothing is durable before it is written"),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(FrameError::Malformed { rule }),
            None => Ok(()),
        }
    }

    /// What the next frame carries as `prev_chain`: proves order, and that no frame was exchanged for another.
    pub fn chain(&self) -> u32 {
        crc32c::crc32c(&self.encode())
    }

    /// Bytes from the beginning of this frame to the beginning of the next: head, body, padding.
    pub fn frame_len(&self) -> usize {
        HEAD_BYTES + padded(self.body_len as usize)
    }

    /// LSN of the next frame's first record.
    pub fn end_lsn(&self) -> Lsn {
        Lsn::new(self.base_lsn.get().saturating_add(u64::from(self.body_len))) // decode refuses what would saturate
    }

    /// Commits before the next frame.
    pub fn end_seq(&self) -> Sequence {
        Sequence::new(self.base_seq.get().saturating_add(u64::from(self.commit_count)))
    }

    /// Where the history stands before the frame.
    pub fn start(&self) -> Position {
        Position { epoch: self.epoch, lsn: self.base_lsn, sequence: Some(self.base_seq) }
    }

    /// Where the history stands once the frame is included.
    pub fn end(&self) -> Position {
        Position { epoch: self.epoch, lsn: self.end_lsn(), sequence: Some(self.end_seq()) }
    }
}
