//! What the checked blocks of a log have in common: magic, version, checksum, zeros to the end.

use std::ops::Range;

use rpo_core::ErrorKind;

use crate::segment::BLOCK_BYTES;

/// Why a block is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The file is too short to hold the block, or shorter than its header says.
    #[error("file of {found} bytes, at least {needed} needed")]
    Short {
        /// Bytes needed.
        needed: u64,
        /// Bytes there.
        found: u64,
    },
    /// The block is all zeros: it was never written.
    #[error("the block was never written")]
    Zero,
    /// The block begins with something else.
    #[error("not a block of an rpo log: wrong magic")]
    Magic,
    /// A version this program does not know.
    #[error("format version {found}, this program knows {known}: use a newer rpo")]
    Version {
        /// Version found.
        found: u16,
        /// Version known.
        known: u16,
    },
    /// The block does not match its checksum.
    #[error(
        "checksum {found:#010x}, expected {expected:#010x}: the block is damaged; restore it from a copy"
    )]
    Crc {
        /// What the block says.
        expected: u32,
        /// What its bytes give.
        found: u32,
    },
    /// The checksum holds, but the content breaks a rule.
    #[error("breaks the format: {0}")]
    Rule(&'static str),
    /// The file name and the header disagree.
    #[error("header says {0}: the file was renamed or exchanged")]
    Name(String),
}

impl FormatError {
    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Version { .. } => ErrorKind::Unsupported,
            _ => ErrorKind::Corrupt,
        }
    }
}

pub(crate) fn put(block: &mut [u8; BLOCK_BYTES], at: Range<usize>, bytes: &[u8]) {
    block[at].copy_from_slice(bytes);
}

/// The bytes at `at`, whose length is `N`: both are constants of the format modules.
pub(crate) fn get<const N: usize>(block: &[u8; BLOCK_BYTES], at: Range<usize>) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&block[at]);
    out
}

fn crc_around(block: &[u8; BLOCK_BYTES], at: &Range<usize>) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&block[..at.start]), &block[at.end..])
}

/// Writes the checksum of all other bytes to `at`.
pub(crate) fn seal(block: &mut [u8; BLOCK_BYTES], at: Range<usize>) {
    let crc = crc_around(block, &at);
    put(block, at, &crc.to_le_bytes());
}

/// Checks what every block has: magic (first 8 bytes), checksum at `crc`, version (next 2), zeros from `used` on.
pub(crate) fn unseal(
    block: &[u8; BLOCK_BYTES],
    magic: &[u8; 8],
    known: u16,
    crc: Range<usize>,
    used: usize,
) -> Result<(), FormatError> {
    if block.iter().all(|b| *b == 0) {
        return Err(FormatError::Zero);
    }
    let expected = u32::from_le_bytes(get(block, crc.clone()));
    let found = crc_around(block, &crc);
    if block[..8] != magic[..] {
        return Err(if expected == found {
            FormatError::Magic
        } else {
            FormatError::Crc { expected, found }
        });
    }
    if expected != found {
        return Err(FormatError::Crc { expected, found });
    }
    let version = u16::from_le_bytes(get(block, 8..10));
    if version != known {
        return Err(FormatError::Version { found: version, known });
    }
    if block[used..].iter().any(|b| *b != 0) {
        return Err(FormatError::Rule("the rest of a block is zero"));
    }
    Ok(())
}
