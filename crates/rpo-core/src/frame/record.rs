//! One record: head and content.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{FrameError, PAYLOAD_BYTES_MAX, RECORD_HEAD_BYTES};
use crate::time::ClockAnomaly;
use crate::{CheckpointId, Epoch, Lsn, MarkerKind, PointName, Timestamp, codec};

pub(super) const CRC: Range<usize> = 0..4;
pub(super) const LEN: Range<usize> = 4..8;
pub(super) const KIND: usize = 8;
pub(super) const FLAGS: usize = 9;
pub(super) const RESERVED: Range<usize> = 10..12;
pub(super) const AUX: Range<usize> = 12..16;

pub(super) const FLAG_LAST: u8 = 1;
pub(super) const FLAG_TXID: u8 = 1 << 1;
pub(super) const FLAG_CONTEXT: u8 = 1 << 2;

pub(super) const KIND_DATA: u8 = 1;
const KIND_HEARTBEAT: u8 = 2;
const KIND_RESTORE_POINT: u8 = 3;
const KIND_CHECKPOINT: u8 = 4;
const KIND_EPOCH_START: u8 = 5;
const KIND_CLOCK_ANOMALY: u8 = 6;
const KIND_SEAL: u8 = 7;

/// Appends one record to `out`. The caller has checked all lengths against their limits.
pub(super) fn append(out: &mut Vec<u8>, kind: u8, flags: u8, content: &[&[u8]]) {
    let start = out.len();
    let len: usize = content.iter().map(|part| part.len()).sum();
    out.resize(start + RECORD_HEAD_BYTES, 0);
    for part in content {
        out.extend_from_slice(part);
    }
    let record = &mut out[start..];
    let len = u32::try_from(len).expect("callers keep records below the limit of a body, 64 MiB");
    record[LEN].copy_from_slice(&len.to_le_bytes());
    record[KIND] = kind;
    record[FLAGS] = flags;
    let crc = crc32c::crc32c(&record[LEN.start..]);
    record[CRC].copy_from_slice(&crc.to_le_bytes());
}

/// The head of a record with this content; the caller has checked its length against the limit.
pub(super) fn head_of(kind: u8, flags: u8, content: &[u8]) -> [u8; RECORD_HEAD_BYTES] {
    let mut head = [0; RECORD_HEAD_BYTES];
    let len = u32::try_from(content.len()).expect("callers keep payloads below 16 MiB");
    head[LEN].copy_from_slice(&len.to_le_bytes());
    head[KIND] = kind;
    head[FLAGS] = flags;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&head[LEN.start..]), content);
    head[CRC].copy_from_slice(&crc.to_le_bytes());
    head
}

/// Whether a record's checksum is compared, or was when its frame was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    Check,
    Checked,
}

/// One record, checked for itself; ranges are within the body.
#[derive(Debug, Clone)]
pub(super) struct RawRecord {
    pub(super) kind: u8,
    pub(super) last: bool,
    pub(super) transaction: Option<u64>,
    pub(super) context: Option<Range<usize>>,
    pub(super) payload: Range<usize>,
    pub(super) end: usize,
}

fn malformed(rule: &'static str) -> FrameError {
    FrameError::Malformed { rule }
}

/// Reads the record at `at`.
#[inline]
pub(super) fn parse(body: &[u8], at: usize, trust: Trust) -> Result<RawRecord, FrameError> {
    let rest = body.get(at..).ok_or_else(|| malformed("records end where the body ends"))?;
    let Some((head, _)) = rest.split_first_chunk::<RECORD_HEAD_BYTES>() else {
        return Err(malformed("a record head has 16 bytes"));
    };
    // As two numbers: checksum and length; kind, flags, and six bytes that are reserved.
    let [first, second] = [u128::from_le_bytes(*head) as u64, (u128::from_le_bytes(*head) >> 64) as u64];
    let (crc, len) = (first as u32, (first >> 32) as usize);
    let record =
        rest.get(..RECORD_HEAD_BYTES + len).ok_or_else(|| malformed("a record lies within its frame"))?;
    let (kind, flags) = (second as u8, (second >> 8) as u8);
    if trust == Trust::Check {
        if crc32c::crc32c(&record[LEN.start..]) != crc {
            return Err(FrameError::RecordCrc { offset: at });
        }
        if head[RESERVED.start..AUX.end] != [0; 6] {
            return Err(malformed("reserved bytes of a record are zero"));
        }
        if flags & !(FLAG_LAST | FLAG_TXID | FLAG_CONTEXT) != 0 {
            return Err(malformed("flags of a record are bits 0 to 2"));
        }
    }
    if flags & (FLAG_TXID | FLAG_CONTEXT) == 0 && len <= PAYLOAD_BYTES_MAX {
        let (payload, end) = (at + RECORD_HEAD_BYTES, at + RECORD_HEAD_BYTES + len);
        let last = flags & FLAG_LAST != 0;
        return Ok(RawRecord { kind, last, transaction: None, context: None, payload: payload..end, end });
    }
    content(record, at, kind, flags)
}

fn content(record: &[u8], at: usize, kind: u8, flags: u8) -> Result<RawRecord, FrameError> {
    let mut from = RECORD_HEAD_BYTES;
    let mut transaction = None;
    if flags & FLAG_TXID != 0 {
        let bytes = record.get(from..from + 8).and_then(|b| b.try_into().ok());
        transaction =
            Some(u64::from_le_bytes(bytes.ok_or_else(|| malformed("a transaction id has 8 bytes"))?));
        from += 8;
    }
    let mut context = None;
    if flags & FLAG_CONTEXT != 0 {
        let len = record.get(from..from + 2).and_then(|b| b.try_into().ok()).map(u16::from_le_bytes);
        let len = usize::from(len.ok_or_else(|| malformed("a context has a length of 2 bytes"))?);
        from += 2;
        if record.len() < from + len {
            return Err(malformed("a context lies within its record"));
        }
        context = Some(at + from..at + from + len);
        from += len;
    }
    if record.len() - from > PAYLOAD_BYTES_MAX {
        return Err(malformed("a payload has at most 16 MiB"));
    }
    let end = at + record.len();
    Ok(RawRecord { kind, last: flags & FLAG_LAST != 0, transaction, context, payload: at + from..end, end })
}

#[derive(Serialize, Deserialize)]
struct EpochStartWire {
    parent: u32,
    fork: u64,
}

#[derive(Serialize, Deserialize)]
struct AnomalyWire {
    expected: i64,
    found: i64,
}

/// Kind number and payload of a marker.
pub(super) fn encode_marker(kind: &MarkerKind) -> Result<(u8, Vec<u8>), FrameError> {
    let (number, payload) = match kind {
        MarkerKind::Heartbeat => (KIND_HEARTBEAT, Ok(Vec::new())),
        MarkerKind::Seal => (KIND_SEAL, Ok(Vec::new())),
        MarkerKind::RestorePoint(name) => (KIND_RESTORE_POINT, codec::encode(name)),
        MarkerKind::Checkpoint(id) => (KIND_CHECKPOINT, codec::encode(id)),
        MarkerKind::EpochStart { parent, fork } => {
            let wire = EpochStartWire { parent: parent.map_or(0, Epoch::get), fork: fork.get() };
            (KIND_EPOCH_START, codec::encode(&wire))
        }
        MarkerKind::ClockAnomaly(anomaly) => {
            let wire =
                AnomalyWire { expected: anomaly.expected.as_micros(), found: anomaly.found.as_micros() };
            (KIND_CLOCK_ANOMALY, codec::encode(&wire))
        }
    };
    Ok((number, payload.map_err(|_| malformed("a marker can be encoded"))?))
}

/// What a marker of this kind number and payload says.
pub(super) fn decode_marker(kind: u8, payload: &[u8]) -> Result<MarkerKind, FrameError> {
    let bad = |_| malformed("the payload of a marker is of its kind");
    Ok(match kind {
        KIND_HEARTBEAT | KIND_SEAL if !payload.is_empty() => {
            return Err(malformed("heartbeats and seals have no payload"));
        }
        KIND_HEARTBEAT => MarkerKind::Heartbeat,
        KIND_SEAL => MarkerKind::Seal,
        KIND_RESTORE_POINT => MarkerKind::RestorePoint(codec::decode::<PointName>(payload).map_err(bad)?),
        KIND_CHECKPOINT => MarkerKind::Checkpoint(codec::decode::<CheckpointId>(payload).map_err(bad)?),
        KIND_EPOCH_START => {
            let wire: EpochStartWire = codec::decode(payload).map_err(bad)?;
            MarkerKind::EpochStart { parent: Epoch::new(wire.parent), fork: Lsn::new(wire.fork) }
        }
        KIND_CLOCK_ANOMALY => {
            let wire: AnomalyWire = codec::decode(payload).map_err(bad)?;
            let [expected, found] = [wire.expected, wire.found].map(Timestamp::from_micros);
            MarkerKind::ClockAnomaly(ClockAnomaly { expected, found })
        }
        _ => return Err(FrameError::Kind { kind }),
    })
}
