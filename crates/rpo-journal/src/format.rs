//! What all of the journal's encoded things share: magic, version and checksum at the same place, and typed refusals.

use std::ops::Range;

use rpo_core::ErrorKind;

pub(crate) const MAGIC: Range<usize> = 0..8;
pub(crate) const VERSION: Range<usize> = 8..10;
pub(crate) const CRC: Range<usize> = 12..16;
/// The only version there is.
pub(crate) const VERSION_NOW: u16 = 0;

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// They are something else, or nothing of the journal's.
    #[error("not {what}: the first eight bytes are others")]
    Magic {
        /// What was expected.
        what: &'static str,
    },
    /// They end too early, or go on too long.
    #[error("{what} of {expected} bytes has {found}")]
    Length {
        /// What it is.
        what: &'static str,
        /// Bytes it should have, at least.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// They do not match their checksum.
    #[error("{what}: checksum {found:#010x}, expected {expected:#010x}: restore it from a copy")]
    Crc {
        /// What it is.
        what: &'static str,
        /// What it says.
        expected: u32,
        /// What its bytes give.
        found: u32,
    },
    /// A newer rpo wrote them.
    #[error("{what}: version {found} is not known to this rpo, which knows {VERSION_NOW}: use a newer one")]
    Version {
        /// What it is.
        what: &'static str,
        /// The version found.
        found: u16,
    },
    /// The checksum holds, but a rule of the format is broken.
    #[error("{what} breaks the format: {rule}")]
    Rule {
        /// What it is.
        what: &'static str,
        /// The rule.
        rule: &'static str,
    },
    /// It is larger than the format allows.
    #[error("{what} of {found} bytes is more than the limit of {limit}: make it smaller")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Bytes it has.
        found: usize,
        /// Bytes it may have.
        limit: usize,
    },
}

impl FormatError {
    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Version { .. } => ErrorKind::Unsupported,
            Self::TooLarge { .. } => ErrorKind::Invalid,
            _ => ErrorKind::Corrupt,
        }
    }
}

/// Copies `bytes` to `at`; both lengths are constants of the format modules.
pub(crate) fn put(out: &mut [u8], at: Range<usize>, bytes: &[u8]) {
    out[at].copy_from_slice(bytes);
}

/// The `N` bytes at `at`, which the caller has checked to be there.
pub(crate) fn get<const N: usize>(bytes: &[u8], at: Range<usize>) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at]);
    out
}

fn crc_around(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..CRC.start]), &bytes[CRC.end..])
}

/// Writes magic, version and the checksum of everything else.
pub(crate) fn seal(bytes: &mut [u8], magic: [u8; 8]) {
    put(bytes, MAGIC, &magic);
    put(bytes, VERSION, &VERSION_NOW.to_le_bytes());
    let crc = crc_around(bytes);
    put(bytes, CRC, &crc.to_le_bytes());
}

/// Checks identity, integrity, version, in this order; at least `head` bytes are there afterwards.
pub(crate) fn unseal(
    bytes: &[u8],
    what: &'static str,
    magic: [u8; 8],
    head: usize,
) -> Result<(), FormatError> {
    if bytes.get(MAGIC) != Some(&magic[..]) {
        return Err(FormatError::Magic { what });
    }
    if bytes.len() < head {
        return Err(FormatError::Length { what, expected: head, found: bytes.len() });
    }
    let (expected, found) = (u32::from_le_bytes(get(bytes, CRC)), crc_around(bytes));
    if expected != found {
        return Err(FormatError::Crc { what, expected, found });
    }
    let found = u16::from_le_bytes(get(bytes, VERSION));
    if found != VERSION_NOW {
        return Err(FormatError::Version { what, found });
    }
    Ok(())
}
