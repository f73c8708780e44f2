//! Writing an envelope: at once, or frame by frame.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use rpo_core::Entropy;

use super::{
    FRAME_BYTES_MAX, FRAME_OVERHEAD, FrameKey, HEADER_BYTES, LAST, ObjectHeader, ObjectType, TAG_BYTES,
};
use crate::{CryptoError, KeyRing, Sha256};

/// Writes one envelope frame by frame. Not cloneable: it owns the only counter of its key.
pub struct Sealer {
    object: String,
    header: [u8; HEADER_BYTES],
    key: FrameKey,
    sum: Sha256,
    len: u64,
    next: u64,
    closed: bool,
}

impl Sealer {
    /// Begins an object of this type and name under a fresh salt.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn new(
        keys: &KeyRing,
        object_type: ObjectType,
        object: &str,
        entropy: &dyn Entropy,
    ) -> Result<Self, CryptoError> {
        let mut salt = [0; 32];
        entropy.fill(&mut salt)?;
        let mut header = ObjectHeader {
            object_type,
            algorithm: keys.algorithm(),
            repository: keys.repository(),
            generation: keys.generation(),
            salt,
            commitment: [0; 32],
        };
        let (mut key, commitment) = FrameKey::derive(keys, &header);
        header.commitment = commitment;
        let header = header.encode();
        key.bind(&header, object);
        let mut sum = Sha256::new();
        sum.update(&header);
        Ok(Self {
            object: object.to_owned(),
            header,
            key,
            sum,
            len: HEADER_BYTES as u64,
            next: 0,
            closed: false,
        })
    }

    /// The bytes the object begins with; to be written before the first frame.
    pub fn header(&self) -> &[u8; HEADER_BYTES] {
        &self.header
    }

    /// Bytes of the object so far.
    pub fn bytes_written(&self) -> u64 {
        self.len
    }

    /// Seals the next frame and appends its bytes to `out`; says where in the object they belong.
    ///
    /// # Errors
    /// The last frame was sealed already, or this one is longer than [`FRAME_BYTES_MAX`].
    pub fn frame(&mut self, plain: &[u8], last: bool, out: &mut Vec<u8>) -> Result<Range<u64>, CryptoError> {
        let misuse = |why| CryptoError::Misuse { object: self.object.clone(), why };
        if self.closed {
            return Err(misuse("a frame after the last one"));
        }
        if plain.len() > FRAME_BYTES_MAX {
            return Err(misuse("a frame of more than 256 MiB"));
        }
        let word = plain.len() as u32 | if last { LAST } else { 0 };
        let begin = out.len();
        out.reserve(plain.len() + FRAME_OVERHEAD);
        out.extend_from_slice(&word.to_le_bytes());
        let text = out.len();
        out.extend_from_slice(plain);
        let tag: [u8; TAG_BYTES] = self.key.seal(self.next, word, &mut out[text..]);
        out.extend_from_slice(&tag);
        self.sum.update(&out[begin..]);
        let start = self.len;
        self.len += (out.len() - begin) as u64;
        self.next += 1;
        self.closed = last;
        Ok(start..self.len)
    }

    /// Ends the object: appends its last 32 bytes to `out`.
    ///
    /// # Errors
    /// No frame was the last one.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<SealedDigest, CryptoError> {
        if !self.closed {
            return Err(CryptoError::Misuse { object: self.object, why: "ended before its last frame" });
        }
        let digest = self.sum.clone().finish();
        self.sum.update(&digest);
        out.extend_from_slice(&digest);
        Ok(SealedDigest { len: self.len + digest.len() as u64, sha256: self.sum.finish() })
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("object", &self.object)
            .field("len", &self.len)
            .field("frames", &self.next)
            .finish_non_exhaustive()
    }
}

/// Length and SHA-256 of a whole sealed object (all its bytes, its own digest included: what `sha256sum` prints).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedDigest {
    /// Length, bytes.
    pub len: u64,
    /// SHA-256 of all bytes.
    pub sha256: [u8; 32],
}

/// A sealed object, ready to be stored.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// All its bytes.
    pub bytes: Bytes,
    /// SHA-256 of all its bytes.
    pub sha256: [u8; 32],
    /// Where each frame lies in them.
    pub frames: Vec<Range<u64>>,
}

/// Seals an object of these frames; see [`Sealer`] for objects that do not fit in memory.
///
/// # Errors
/// No frames, a frame longer than [`FRAME_BYTES_MAX`], or no randomness from the system.
pub fn seal_object(
    keys: &KeyRing,
    object_type: ObjectType,
    object: &str,
    frames: &[&[u8]],
    entropy: &dyn Entropy,
) -> Result<Sealed, CryptoError> {
    let Some(last) = frames.len().checked_sub(1) else {
        return Err(CryptoError::Misuse { object: object.to_owned(), why: "an object without frames" });
    };
    let mut sealer = Sealer::new(keys, object_type, object, entropy)?;
    let plain: usize = frames.iter().map(|frame| frame.len() + FRAME_OVERHEAD).sum();
    let mut out = Vec::with_capacity(HEADER_BYTES + plain + super::DIGEST_BYTES);
    out.extend_from_slice(sealer.header());
    let mut spans = Vec::with_capacity(frames.len());
    for (number, frame) in frames.iter().enumerate() {
        spans.push(sealer.frame(frame, number == last, &mut out)?);
    }
    let SealedDigest { sha256, .. } = sealer.finish(&mut out)?;
    Ok(Sealed { bytes: out.into(), sha256, frames: spans })
}

/// [`seal_object`], only the bytes.
///
/// # Errors
/// As [`seal_object`].
pub fn seal(
    keys: &KeyRing,
    object_type: ObjectType,
    object: &str,
    frames: &[&[u8]],
    entropy: &dyn Entropy,
) -> Result<Bytes, CryptoError> {
    Ok(seal_object(keys, object_type, object, frames, entropy)?.bytes)
}
