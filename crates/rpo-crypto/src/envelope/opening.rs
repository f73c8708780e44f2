//! Reading an envelope: at once, one frame alone, or without a key.

use std::fmt;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::{
    DIGEST_BYTES, FRAME_BYTES_MAX, FRAME_OVERHEAD, FrameKey, HEADER_BYTES, LAST, ObjectHeader, ObjectType,
    TAG_BYTES, WORD_BYTES,
};
use crate::{CryptoError, KeyRing, sha256};

/// Opens a whole object: every check first, then all its frames.
///
/// # Errors
/// Anything but exactly what was sealed under this type and name; see [`CryptoError`].
pub fn open(
    keys: &KeyRing,
    object_type: ObjectType,
    object: &str,
    bytes: impl AsRef<[u8]>,
) -> Result<Vec<Bytes>, CryptoError> {
    let bytes = bytes.as_ref();
    check_digest(object, bytes)?;
    let opener = Opener::new(keys, object_type, object, bytes)?;
    let spans = frames(object, bytes)?;
    let mut plain = Vec::with_capacity(spans.len());
    for (number, span) in spans.iter().enumerate() {
        plain.push(opener.open_frame(number as u64, &bytes[span.range()])?.0);
    }
    Ok(plain)
}

/// Checks the SHA-256 at the end of an object, without a key; gives the SHA-256 of all its bytes.
///
/// # Errors
/// [`CryptoError::NotAnObject`], [`CryptoError::Truncated`], [`CryptoError::Appended`] if that is what happened,
/// [`CryptoError::Digest`] otherwise.
pub fn check_digest(object: &str, bytes: &[u8]) -> Result<[u8; 32], CryptoError> {
    let content = bytes.len().checked_sub(DIGEST_BYTES).filter(|content| *content >= HEADER_BYTES);
    let Some(content) = content else {
        return Err(CryptoError::NotAnObject { object: object.to_owned() });
    };
    let (content, digest) = bytes.split_at(content);
    if sha256(content) == digest {
        return Ok(sha256(bytes));
    }
    // Say what happened if the clear parts tell: half an upload looks otherwise than rot.
    ObjectHeader::decode(object, bytes)?;
    frames(object, bytes)?;
    Err(CryptoError::Digest { object: object.to_owned() })
}

/// The word a frame begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameWord {
    /// Plain bytes in the frame.
    pub plain_bytes: usize,
    /// True for the last frame of the object.
    pub last: bool,
}

impl FrameWord {
    /// Reads the word; `None` if the length is out of bounds.
    pub fn decode(word: [u8; WORD_BYTES]) -> Option<Self> {
        let word = u32::from_le_bytes(word);
        let plain_bytes = (word & !LAST) as usize;
        (plain_bytes <= FRAME_BYTES_MAX).then_some(Self { plain_bytes, last: word & LAST != 0 })
    }

    /// Bytes of the whole frame.
    pub fn frame_bytes(&self) -> usize {
        self.plain_bytes + FRAME_OVERHEAD
    }
}

/// Where a frame lies in its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameSpan {
    /// Its first byte.
    pub start: u64,
    /// Its whole length, bytes.
    pub len: u64,
}

impl FrameSpan {
    /// Its bytes within an object that is in memory.
    pub fn range(&self) -> Range<usize> {
        self.start as usize..(self.start + self.len) as usize
    }
}

/// Where the frames of a whole object lie, by its clear parts: no key needed, nothing proven.
///
/// # Errors
/// The lengths do not add up.
pub fn frames(object: &str, bytes: &[u8]) -> Result<Vec<FrameSpan>, CryptoError> {
    let truncated = || CryptoError::Truncated { object: object.to_owned() };
    let content = bytes.len().checked_sub(DIGEST_BYTES).ok_or_else(truncated)?;
    let mut spans = Vec::new();
    let mut at = HEADER_BYTES;
    loop {
        let word = bytes[..content].get(at..at + WORD_BYTES).ok_or_else(truncated)?;
        let word = word.try_into().expect("the slice has the word's length");
        let Some(word) = FrameWord::decode(word) else {
            let len = u64::from(u32::from_le_bytes(word) & !LAST);
            return Err(CryptoError::FrameLength {
                object: object.to_owned(),
                frame: spans.len() as u64,
                len,
            });
        };
        let end = at + word.frame_bytes();
        if end > content {
            return Err(truncated());
        }
        spans.push(FrameSpan { start: at as u64, len: word.frame_bytes() as u64 });
        at = end;
        if word.last {
            break;
        }
    }
    match content - at {
        0 => Ok(spans),
        extra => Err(CryptoError::Appended { object: object.to_owned(), extra: extra as u64 }),
    }
}

/// Opens the frames of one object, in any order.
pub struct Opener {
    object: String,
    header: ObjectHeader,
    key: FrameKey,
}

impl Opener {
    /// Checks the header (at the beginning of `header`) against keys, type and name: nothing is decrypted yet.
    ///
    /// # Errors
    /// Wrong repository, type, algorithm, generation or key, each by its own variant.
    pub fn new(
        keys: &KeyRing,
        object_type: ObjectType,
        object: &str,
        header: &[u8],
    ) -> Result<Self, CryptoError> {
        let name = || object.to_owned();
        let found = ObjectHeader::decode(object, header)?;
        if found.repository != keys.repository() {
            let (expected, found) = (keys.repository(), found.repository);
            return Err(CryptoError::WrongRepository { object: name(), expected, found });
        }
        if found.object_type != object_type {
            return Err(CryptoError::WrongType {
                object: name(),
                expected: object_type,
                found: found.object_type,
            });
        }
        if found.algorithm != keys.algorithm() {
            let (expected, found) = (keys.algorithm() as u8, found.algorithm as u8);
            return Err(CryptoError::WrongAlgorithm { object: name(), expected, found });
        }
        if found.generation > keys.generation() {
            let (found, newest) = (found.generation, keys.generation());
            return Err(CryptoError::UnknownGeneration { object: name(), found, newest });
        }
        let (mut key, commitment) = FrameKey::derive(keys, &found);
        if commitment != found.commitment {
            return Err(CryptoError::WrongKey { object: name() });
        }
        key.bind(&found.encode(), object);
        Ok(Self { object: name(), header: found, key })
    }

    /// What the object says of itself.
    pub fn header(&self) -> &ObjectHeader {
        &self.header
    }

    /// Opens frame `number`, given exactly its bytes; true if it is the object's last.
    ///
    /// # Errors
    /// Not as long as it says, altered, or not this frame of this object.
    pub fn open_frame(&self, number: u64, frame: &[u8]) -> Result<(Bytes, bool), CryptoError> {
        let bad_length = || CryptoError::FrameLength {
            object: self.object.clone(),
            frame: number,
            len: frame.len() as u64,
        };
        let (head, rest) = frame.split_first_chunk::<WORD_BYTES>().ok_or_else(bad_length)?;
        let word = FrameWord::decode(*head).ok_or_else(bad_length)?;
        if word.frame_bytes() != frame.len() {
            return Err(bad_length());
        }
        let (text, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or_else(bad_length)?;
        let mut plain = BytesMut::from(text);
        if self.key.open(number, u32::from_le_bytes(*head), &mut plain, tag) {
            Ok((plain.freeze(), word.last))
        } else if number == 0 {
            Err(CryptoError::Misplaced { object: self.object.clone() })
        } else {
            Err(CryptoError::Frame { object: self.object.clone(), frame: number })
        }
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener")
            .field("object", &self.object)
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}
