//! How the frames of a batch are compressed; lengths are checked before anything is allocated.

use super::{BatchCodec, BatchHead, FormatError, PLAIN_BYTES_MAX, field};

/// Compresses `plain` with `codec`, unless that would not make it smaller; returns the body and the codec used.
///
/// # Errors
/// [`FormatError::Length`] above [`PLAIN_BYTES_MAX`]; [`FormatError::Body`] if the compressor fails.
pub fn compress(plain: &[u8], codec: BatchCodec) -> Result<(Vec<u8>, BatchCodec), FormatError> {
    let found = plain.len() as u64;
    if found > PLAIN_BYTES_MAX {
        return Err(FormatError::Length { what: "batch body", expected: PLAIN_BYTES_MAX, found });
    }
    let packed = match codec {
        BatchCodec::None => return Ok((plain.to_vec(), BatchCodec::None)),
        BatchCodec::Zstd => {
            zstd::bulk::compress(plain, 3).map_err(|error| FormatError::Body(error.to_string()))?
        }
        BatchCodec::Lz4 => lz4_flex::block::compress(plain),
    };
    if packed.len() < plain.len() { Ok((packed, codec)) } else { Ok((plain.to_vec(), BatchCodec::None)) }
}

/// Turns a body back into log frames; allocates at most what the head says, which is checked first.
///
/// # Errors
/// [`FormatError`]: the body is not what the head says.
pub fn decompress(head: &BatchHead, body: &[u8]) -> Result<Vec<u8>, FormatError> {
    if head.plain_bytes > PLAIN_BYTES_MAX {
        return Err(field("plain_bytes", head.plain_bytes, "at most 128 MiB"));
    }
    let plain_bytes =
        usize::try_from(head.plain_bytes).map_err(|_| field("plain_bytes", head.plain_bytes, "too long"))?;
    let plain = match head.codec {
        BatchCodec::None => body.to_vec(),
        BatchCodec::Zstd => {
            zstd::bulk::decompress(body, plain_bytes).map_err(|error| FormatError::Body(error.to_string()))?
        }
        BatchCodec::Lz4 => lz4_flex::block::decompress(body, plain_bytes)
            .map_err(|error| FormatError::Body(error.to_string()))?,
    };
    if plain.len() != plain_bytes {
        let found = plain.len() as u64;
        return Err(FormatError::Length { what: "batch body", expected: head.plain_bytes, found });
    }
    Ok(plain)
}
