//! Payload structs to bytes and back: the one place that knows bincode, always with a limit, never with trailing bytes.
//!
//! Legacy configuration: little-endian, fixed-width integers, `u64` lengths, `u32` variant numbers. The bytes carry no
//! field names and no version: the object around them does. Types that describe themselves (`flatten`, tagged enums,
//! `skip_serializing_if`) cannot travel this way.

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use bincode::error::{DecodeError, EncodeError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ErrorKind;

/// Longest encoded value, bytes; nothing longer is written or read. 16 MiB.
pub const ENCODED_BYTES_MAX: usize = 16 << 20;

const CONFIG: Configuration<LittleEndian, Fixint, Limit<ENCODED_BYTES_MAX>> =
    bincode::config::legacy().with_limit::<ENCODED_BYTES_MAX>();

/// Why a value could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The value is too long for one object: split it.
    #[error("value of {found} bytes is longer than the limit of {ENCODED_BYTES_MAX}: split it into several")]
    TooLong {
        /// Bytes it has, or would have.
        found: usize,
    },
    /// The type cannot be written this way; a mistake in the program.
    #[error("value cannot be encoded: {0}")]
    Encode(#[source] EncodeError),
    /// The bytes are no value of this type.
    #[error("{length} bytes are no valid value: {source}")]
    Decode {
        /// Bytes given.
        length: usize,
        /// What was wrong with them.
        source: DecodeError,
    },
    /// The value ends before the bytes do.
    #[error("{trailing} bytes follow a value of {used} bytes")]
    Trailing {
        /// Bytes the value took.
        used: usize,
        /// Bytes left over.
        trailing: usize,
    },
}

impl CodecError {
    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::TooLong { .. } | Self::Encode(_) => ErrorKind::Invalid,
            Self::Decode { .. } | Self::Trailing { .. } => ErrorKind::Corrupt,
        }
    }
}

/// Writes `value`.
///
/// # Errors
/// [`CodecError::TooLong`] past [`ENCODED_BYTES_MAX`]; [`CodecError::Encode`] if its type cannot travel this way.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CodecError> {
    let bytes = bincode::serde::encode_to_vec(value, CONFIG).map_err(CodecError::Encode)?;
    if bytes.len() > ENCODED_BYTES_MAX {
        return Err(CodecError::TooLong { found: bytes.len() });
    }
    Ok(bytes)
}

/// Reads the value that `bytes` hold, all of them.
///
/// # Errors
/// [`CodecError::TooLong`], [`CodecError::Decode`] or [`CodecError::Trailing`]; never panics, whatever the bytes, and
/// never allocates more than [`ENCODED_BYTES_MAX`] on the word of a length.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    if bytes.len() > ENCODED_BYTES_MAX {
        return Err(CodecError::TooLong { found: bytes.len() });
    }
    let (value, used) = bincode::serde::decode_from_slice(bytes, CONFIG)
        .map_err(|source| CodecError::Decode { length: bytes.len(), source })?;
    if used < bytes.len() {
        return Err(CodecError::Trailing { used, trailing: bytes.len() - used });
    }
    Ok(value)
}

#[cfg(test)]
mod tests;
