//! Making a merged object out of opened batches, and opening a whole one with every check there is.

use bytes::{Bytes, BytesMut};
use rpo_core::frame::Frame;
use rpo_core::{Entropy, ErrorKind, Timestamp};
use rpo_crypto::{KeyRing, ObjectType};
use rpo_storage::Key;

use super::{BLOCK_BYTES, Block, MergedHead, MergedTable, Part, unpack};
use crate::ReplicationError;
use crate::batch::{BatchCodec, FormatError, compress};
use crate::frames::{RunSummary, summarize};
use crate::names::merged_key;
use crate::object::{OpenBatch, format_error};

/// Seals `parts`, opened batches with consecutive numbers, as the merged object `number`. What comes out was opened again and
/// holds exactly the frames of the parts.
///
/// # Errors
/// `Invalid` for parts that make no run; else the parts are not what their heads say, or there is no randomness.
pub fn seal_merged(
    keys: &KeyRing,
    entropy: &dyn Entropy,
    merged_at: Timestamp,
    number: u64,
    parts: &[OpenBatch],
) -> Result<Bytes, ReplicationError> {
    let (Some(first), Some(last)) = (parts.first(), parts.last()) else {
        return Err(ReplicationError::Invalid("a merged object has two parts at least".to_owned()));
    };
    let key = merged_key(&first.head.stream, first.head.epoch(), number);
    let mut log = BytesMut::new();
    for part in parts {
        log.extend_from_slice(&checked_frames(&key, part)?);
    }
    let log = log.freeze();
    let (blocks, stored) = cut(&key, &log)?;
    let parts: Vec<Part> =
        parts.iter().map(|part| Part { head: part.head.clone(), digest: part.digest }).collect();
    let table = MergedTable { parts, blocks };
    let format = |source| format_error(&key, source);
    let (table_stored, table_codec) = table.encode().map_err(format)?;
    let mut merger = [0; 16];
    entropy.fill(&mut merger).map_err(|error| ReplicationError::Log {
        stream: first.head.stream.clone(),
        why: format!("no randomness for a merged object: {error}"),
        kind: ErrorKind::Retry,
    })?;
    let head = MergedHead {
        stream: first.head.stream.clone(),
        epoch: first.head.epoch(),
        number,
        first: first.head.number,
        last: last.head.number,
        plain_bytes: log.len() as u64,
        table_codec,
        table_bytes: length(&key, table_stored.len())?,
        blocks: length(&key, table.blocks.len())?,
        merged_at,
        merger,
    };
    let encoded = head.encode();
    let mut frames: Vec<&[u8]> = vec![&encoded, &table_stored];
    frames.extend(stored.iter().map(Vec::as_slice));
    let sealed = rpo_crypto::seal(keys, ObjectType::Batch, key.as_str(), &frames, entropy)
        .map_err(|source| ReplicationError::Envelope { key: key.to_string(), source })?;
    let (_, reopened) = open_merged(keys, &key, &sealed)?;
    let same = reopened.iter().map(|part| part.body.clone()).collect::<Vec<_>>().concat() == log;
    if same {
        Ok(sealed)
    } else {
        Err(format_error(&key, FormatError::Body("it reads back otherwise".to_owned())))
    }
}

/// Opens a whole merged object: envelope, head, table, every block, and that each part's frames are what its head says.
/// The bodies of the parts come back as plain log frames.
///
/// # Errors
/// `Envelope`, `Format` or `Misplaced`; nothing inside is returned unless all of it passed.
pub fn open_merged(
    keys: &KeyRing,
    key: &Key,
    bytes: &Bytes,
) -> Result<(MergedHead, Vec<OpenBatch>), ReplicationError> {
    let envelope = |source| ReplicationError::Envelope { key: key.to_string(), source };
    let format = |source| format_error(key, source);
    let frames = rpo_crypto::open(keys, ObjectType::Batch, key.as_str(), bytes).map_err(envelope)?;
    let [head, table, blocks @ ..] = &frames[..] else {
        let found = frames.len() as u64;
        return Err(format(FormatError::Length { what: "merged frames", expected: 3, found }));
    };
    let head = MergedHead::decode(head).map_err(format)?;
    if merged_key(&head.stream, head.epoch, head.number) != *key {
        let why = format!("its head says it is merged {} of epoch {}", head.number, head.epoch);
        return Err(ReplicationError::Misplaced { key: key.clone(), why });
    }
    let table = MergedTable::decode(&head, table).map_err(format)?;
    if blocks.len() != table.blocks.len() {
        let (expected, found) = (table.blocks.len() as u64, blocks.len() as u64);
        return Err(format(FormatError::Length { what: "merged blocks", expected, found }));
    }
    let mut log = BytesMut::new();
    for (block, stored) in table.blocks.iter().zip(blocks) {
        log.extend_from_slice(&open_block(block, stored).map_err(format)?);
    }
    let mut log = log.freeze();
    let mut parts = Vec::new();
    for part in table.parts {
        let plain_bytes = usize::try_from(part.head.plain_bytes).expect("as long as the table says");
        let opened = plain_part(part, log.split_to(plain_bytes));
        checked_frames(key, &opened)?;
        parts.push(opened);
    }
    Ok((head, parts))
}

/// A part whose body is plain log frames, whatever it was when it was a batch.
pub(super) fn plain_part(part: Part, body: Bytes) -> OpenBatch {
    let Part { mut head, digest } = part;
    head.codec = BatchCodec::None;
    OpenBatch { head, body, digest }
}

pub(super) fn open_block(block: &Block, stored: &[u8]) -> Result<Vec<u8>, FormatError> {
    let (expected, found) = (u64::from(block.stored_bytes), stored.len() as u64);
    if expected != found {
        return Err(FormatError::Length { what: "merged block", expected, found });
    }
    unpack(block.codec, stored, block.plain_bytes as usize)
}

/// The frames of a batch, checked against its head.
fn checked_frames(key: &Key, batch: &OpenBatch) -> Result<Bytes, ReplicationError> {
    let frames = batch.frames().map_err(|source| format_error(key, source))?;
    let misplaced = |why: String| ReplicationError::Misplaced { key: key.clone(), why };
    let number = batch.head.number;
    let found = summarize(&frames, batch.head.epoch())
        .map_err(|error| misplaced(format!("the frames of part {number}: {error}")))?;
    let told = RunSummary::told(&batch.head);
    if found != told {
        return Err(misplaced(format!("the frames of part {number} hold {found:?}, its head says {told:?}")));
    }
    Ok(frames)
}

/// Cuts a run of whole frames into blocks, between frames.
fn cut(key: &Key, log: &Bytes) -> Result<(Vec<Block>, Vec<Vec<u8>>), ReplicationError> {
    let (mut blocks, mut stored) = (Vec::new(), Vec::new());
    let (mut begin, mut at) = (0, 0);
    while at < log.len() {
        let (_, frame) = Frame::decode(&log.slice(at..)).map_err(|error| ReplicationError::Misplaced {
            key: key.clone(),
            why: format!("a part is no run of frames: {error}"),
        })?;
        at += frame;
        if at - begin >= BLOCK_BYTES || at == log.len() {
            let plain = &log[begin..at];
            let (body, codec) =
                compress(plain, BatchCodec::Zstd).map_err(|source| format_error(key, source))?;
            let (plain_bytes, stored_bytes) = (length(key, plain.len())?, length(key, body.len())?);
            blocks.push(Block { plain_bytes, stored_bytes, codec });
            stored.push(body);
            begin = at;
        }
    }
    Ok((blocks, stored))
}

fn length(key: &Key, length: usize) -> Result<u32, ReplicationError> {
    u32::try_from(length).map_err(|_| {
        format_error(
            key,
            FormatError::Length {
                what: "merged object",
                expected: u64::from(u32::MAX),
                found: length as u64,
            },
        )
    })
}
