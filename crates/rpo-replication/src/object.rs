//! Objects of an archive as they are stored: sealed once, opened with every check that needs no neighbour.

use bytes::Bytes;
use rpo_core::{Entropy, Epoch, StreamId};
use rpo_crypto::{CryptoError, KeyRing, ObjectType};
use rpo_storage::Key;

use crate::ReplicationError;
use crate::batch::{self, BatchHead, Digest, FormatError};
use crate::fence::Fence;
use crate::names::batch_key;

/// Longest object of an archive, bytes; nothing longer is read.
pub const OBJECT_BYTES_MAX: u64 = batch::PLAIN_BYTES_MAX + (1 << 20);

/// An object of an archive, opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArchiveObject {
    /// A batch or an epoch start.
    Batch(Box<OpenBatch>),
    /// The end of an epoch.
    Fence(Fence),
}

/// A batch as read: its head, its body still compressed, and the digest of the whole stored object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenBatch {
    /// Everything but the frames.
    pub head: BatchHead,
    /// Whole log frames, compressed as the head says.
    pub body: Bytes,
    /// SHA-256 of the stored object: what the next one names.
    pub digest: Digest,
}

impl OpenBatch {
    /// The log frames inside.
    ///
    /// # Errors
    /// The body is not what the head says.
    pub fn frames(&self) -> Result<Bytes, FormatError> {
        batch::decompress(&self.head, &self.body).map(Bytes::from)
    }
}

/// Where an object of an archive belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// Whose history.
    pub stream: &'a StreamId,
    /// Which generation.
    pub epoch: Epoch,
    /// Which number.
    pub number: u64,
}

impl Place<'_> {
    /// The key it is sealed for; a healed object stands elsewhere and is sealed for this one all the same.
    pub fn key(&self) -> Key {
        batch_key(self.stream, self.epoch, self.number)
    }
}

/// Seals a batch. The same batch sealed twice gives different bytes: seal once, keep the bytes.
///
/// # Errors
/// The system has no randomness to give.
pub fn seal_batch(
    keys: &KeyRing,
    entropy: &dyn Entropy,
    head: &BatchHead,
    body: &[u8],
) -> Result<Bytes, ReplicationError> {
    let key = batch_key(&head.stream, head.epoch(), head.number);
    let sealed = rpo_crypto::seal(keys, ObjectType::Batch, key.as_str(), &[&head.encode(), body], entropy);
    sealed.map_err(|source| envelope(&key, source))
}

/// Seals a fence.
///
/// # Errors
/// The system has no randomness to give.
pub fn seal_fence(keys: &KeyRing, entropy: &dyn Entropy, fence: &Fence) -> Result<Bytes, ReplicationError> {
    let key = batch_key(&fence.stream, fence.epoch, fence.number);
    let sealed = rpo_crypto::seal(keys, ObjectType::Fence, key.as_str(), &[&fence.encode()], entropy);
    sealed.map_err(|source| envelope(&key, source))
}

/// Opens the object that belongs at `place`: envelope, head, and that head and place agree. Never panics on any bytes.
///
/// # Errors
/// `Envelope`, `Format` or `Misplaced`; nothing inside is returned unless all of them passed.
pub fn open_object(
    keys: &KeyRing,
    place: Place<'_>,
    bytes: &Bytes,
) -> Result<ArchiveObject, ReplicationError> {
    let key = place.key();
    match rpo_crypto::open(keys, ObjectType::Batch, key.as_str(), bytes) {
        Ok(frames) => open_batch(place, bytes, frames),
        Err(CryptoError::WrongType { found: ObjectType::Fence, .. }) => {
            let frames = rpo_crypto::open(keys, ObjectType::Fence, key.as_str(), bytes)
                .map_err(|source| envelope(&key, source))?;
            open_fence(place, frames)
        }
        Err(source) => Err(envelope(&key, source)),
    }
}

fn open_batch(
    place: Place<'_>,
    bytes: &Bytes,
    frames: Vec<Bytes>,
) -> Result<ArchiveObject, ReplicationError> {
    let key = place.key();
    let [head, body] =
        <[Bytes; 2]>::try_from(frames).map_err(|frames| count(&key, "batch frames", 2, frames.len()))?;
    let head = BatchHead::decode(&head).map_err(|source| format_error(&key, source))?;
    let found = Place { stream: &head.stream, epoch: head.epoch(), number: head.number };
    if found != place {
        return Err(ReplicationError::Misplaced { why: format!("its head says it is {}", found.key()), key });
    }
    Ok(ArchiveObject::Batch(Box::new(OpenBatch { digest: Digest::of(bytes), head, body })))
}

fn open_fence(place: Place<'_>, frames: Vec<Bytes>) -> Result<ArchiveObject, ReplicationError> {
    let key = place.key();
    let [only] =
        <[Bytes; 1]>::try_from(frames).map_err(|frames| count(&key, "fence frames", 1, frames.len()))?;
    let fence = Fence::decode(&only).map_err(|source| format_error(&key, source))?;
    let found = Place { stream: &fence.stream, epoch: fence.epoch, number: fence.number };
    if found != place {
        return Err(ReplicationError::Misplaced {
            why: format!("the fence says it is {}", found.key()),
            key,
        });
    }
    Ok(ArchiveObject::Fence(fence))
}

fn count(key: &Key, what: &'static str, expected: u64, found: usize) -> ReplicationError {
    format_error(key, FormatError::Length { what, expected, found: found as u64 })
}

fn envelope(key: &Key, source: CryptoError) -> ReplicationError {
    ReplicationError::Envelope { key: key.to_string(), source }
}

pub(crate) fn format_error(key: &Key, source: FormatError) -> ReplicationError {
    ReplicationError::Format { key: key.to_string(), source }
}
