//! The clear header, and the key it leads to.

use std::fmt;
use std::ops::Range;

use ring::aead;
use rpo_core::RepositoryId;
use zeroize::Zeroizing;

use super::TAG_BYTES;
use crate::{CryptoError, KeyRing};

/// Length of the header, bytes.
pub const HEADER_BYTES: usize = 96;

pub(super) const MAGIC: Range<usize> = 0..8;
pub(super) const VERSION: Range<usize> = 8..10;
pub(super) const TYPE: Range<usize> = 10..11;
pub(super) const ALGORITHM: Range<usize> = 11..12;
pub(super) const REPOSITORY: Range<usize> = 12..28;
pub(super) const GENERATION: Range<usize> = 28..32;
pub(super) const SALT: Range<usize> = 32..64;
pub(super) const COMMITMENT: Range<usize> = 64..96;

const MAGIC_BYTES: &[u8; 8] = b"RPOOBJ\r\n";
const VERSION_NUMBER: u16 = 0;

/// What an object is. Its number stands in the header and in the derivation of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[non_exhaustive]
pub enum ObjectType {
    /// Many chunks.
    Pack = 1,
    /// Which chunk is in which pack.
    Index = 2,
    /// The root of a checkpoint.
    Manifest = 3,
    /// The beginning of a session.
    Session = 4,
    /// A piece of a log.
    Batch = 5,
    /// The end of a session or of an epoch, set by someone else.
    Fence = 6,
    /// The newest state of something.
    Head = 7,
}

impl ObjectType {
    /// The type with this number.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Pack,
            2 => Self::Index,
            3 => Self::Manifest,
            4 => Self::Session,
            5 => Self::Batch,
            6 => Self::Fence,
            7 => Self::Head,
            _ => return None,
        })
    }
}

impl fmt::Display for ObjectType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pack => "pack",
            Self::Index => "index",
            Self::Manifest => "manifest",
            Self::Session => "session",
            Self::Batch => "batch",
            Self::Fence => "fence",
            Self::Head => "head",
        })
    }
}

/// How frames are sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum Algorithm {
    /// Not encrypted; an integrity tag only.
    None = 0,
    /// AES-256-GCM.
    Aes256Gcm = 1,
}

/// What an object says of itself in clear. Not to be believed before a frame was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectHeader {
    /// What it is.
    pub object_type: ObjectType,
    /// How its frames are sealed.
    pub algorithm: Algorithm,
    /// Whose it is.
    pub repository: RepositoryId,
    /// Key generation it is sealed under.
    pub generation: u32,
    /// Fresh random bytes of this object.
    pub salt: [u8; 32],
    /// Commits to its key.
    pub commitment: [u8; 32],
}

impl ObjectHeader {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[MAGIC].copy_from_slice(MAGIC_BYTES);
        out[VERSION].copy_from_slice(&VERSION_NUMBER.to_le_bytes());
        out[TYPE][0] = self.object_type as u8;
        out[ALGORITHM][0] = self.algorithm as u8;
        out[REPOSITORY].copy_from_slice(self.repository.as_bytes());
        out[GENERATION].copy_from_slice(&self.generation.to_le_bytes());
        out[SALT].copy_from_slice(&self.salt);
        out[COMMITMENT].copy_from_slice(&self.commitment);
        out
    }

    /// Reads the header at the beginning of `bytes`; needs no key. `object` names it in errors.
    ///
    /// # Errors
    /// Identity first, then version, then meaning; never a panic.
    pub fn decode(object: &str, bytes: &[u8]) -> Result<Self, CryptoError> {
        let object = || object.to_owned();
        let header =
            bytes.get(..HEADER_BYTES).ok_or_else(|| CryptoError::NotAnObject { object: object() })?;
        if header[MAGIC] != *MAGIC_BYTES {
            return Err(CryptoError::NotAnObject { object: object() });
        }
        let version = u16::from_le_bytes(take(header, VERSION));
        if version != VERSION_NUMBER {
            return Err(CryptoError::Version { object: object(), found: version });
        }
        let found = header[TYPE][0];
        let object_type = ObjectType::from_number(found)
            .ok_or_else(|| CryptoError::UnknownType { object: object(), found })?;
        let algorithm = match header[ALGORITHM][0] {
            0 => Algorithm::None,
            1 => Algorithm::Aes256Gcm,
            found => return Err(CryptoError::UnknownAlgorithm { object: object(), found }),
        };
        Ok(Self {
            object_type,
            algorithm,
            repository: RepositoryId::from_bytes(take(header, REPOSITORY)),
            generation: u32::from_le_bytes(take(header, GENERATION)),
            salt: take(header, SALT),
            commitment: take(header, COMMITMENT),
        })
    }
}

fn take<const N: usize>(header: &[u8], range: Range<usize>) -> [u8; N] {
    header[range].try_into().expect("the ranges have their fields' lengths")
}

/// The key of one object with the associated data that all its frames share.
pub(super) struct FrameKey {
    cipher: Cipher,
    /// Header and name; number and word of the frame follow.
    shared: Vec<u8>,
}

enum Cipher {
    Gcm(Box<aead::LessSafeKey>),
    Plain(Zeroizing<[u8; 32]>),
}

impl FrameKey {
    /// The key, and the commitment that belongs into the header (whose own commitment is not looked at).
    pub(super) fn derive(keys: &KeyRing, header: &ObjectHeader) -> (Self, [u8; 32]) {
        let both = keys.object_key(header.object_type, header.algorithm, header.generation, &header.salt);
        let (key, commitment) = both.split_at(32);
        let cipher = match header.algorithm {
            Algorithm::Aes256Gcm => {
                let key = aead::UnboundKey::new(&aead::AES_256_GCM, key).expect("the key has 32 bytes");
                Cipher::Gcm(Box::new(aead::LessSafeKey::new(key)))
            }
            Algorithm::None => {
                let mut own = Zeroizing::new([0; 32]);
                own.copy_from_slice(key);
                Cipher::Plain(own)
            }
        };
        (Self { cipher, shared: Vec::new() }, commitment.try_into().expect("the commitment has 32 bytes"))
    }

    /// Binds all frames to this header and name.
    pub(super) fn bind(&mut self, header: &[u8; HEADER_BYTES], object: &str) {
        self.shared = [header.as_slice(), object.as_bytes()].concat();
    }

    fn associated(&self, number: u64, word: u32) -> Vec<u8> {
        #[cfg(feature = "planted-bugs")]
        if crate::planted::is_on(crate::planted::Bug::NothingBound) {
            return Vec::new();
        }
        [self.shared.as_slice(), &number.to_le_bytes(), &word.to_le_bytes()].concat()
    }

    /// Turns plain text into sealed text in place; gives the tag.
    pub(super) fn seal(&self, number: u64, word: u32, text: &mut [u8]) -> [u8; TAG_BYTES] {
        let associated = self.associated(number, word);
        match &self.cipher {
            Cipher::Gcm(key) => {
                let tag = key
                    .seal_in_place_separate_tag(nonce(number), aead::Aad::from(&associated), text)
                    .expect("a frame is far below GCM's bound of 64 GiB");
                tag.as_ref().try_into().expect("a GCM tag has 16 bytes")
            }
            Cipher::Plain(key) => integrity_tag(key, &associated, text),
        }
    }

    /// Turns sealed text into plain text in place; false if the tag does not fit (the text is then worthless).
    #[must_use]
    pub(super) fn open(&self, number: u64, word: u32, text: &mut [u8], tag: &[u8; TAG_BYTES]) -> bool {
        let associated = self.associated(number, word);
        match &self.cipher {
            Cipher::Gcm(key) => {
                let aad = aead::Aad::from(&associated);
                key.open_in_place_separate_tag(nonce(number), aad, aead::Tag::from(*tag), text, 0..).is_ok()
            }
            Cipher::Plain(key) => integrity_tag(key, &associated, text) == *tag,
        }
    }
}

fn nonce(number: u64) -> aead::Nonce {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&number.to_le_bytes());
    aead::Nonce::assume_unique_for_key(nonce)
}

fn integrity_tag(key: &[u8; 32], associated: &[u8], text: &[u8]) -> [u8; TAG_BYTES] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(associated).update(text);
    hasher.finalize().as_bytes()[..TAG_BYTES].try_into().expect("16 of 32 bytes")
}
