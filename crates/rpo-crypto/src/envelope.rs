#![doc = include_str!("envelope.md")]

mod header;
mod opening;
mod sealing;
#[cfg(test)]
mod tests;

pub use header::{Algorithm, HEADER_BYTES, ObjectHeader, ObjectType};
pub use opening::{FrameSpan, FrameWord, Opener, check_digest, frames, open};
pub use sealing::{Sealed, SealedDigest, Sealer, seal, seal_object};

use header::FrameKey;

/// Bytes of the word that begins a frame.
pub const WORD_BYTES: usize = 4;
/// Bytes of the tag that ends a frame.
pub const TAG_BYTES: usize = 16;
/// Bytes of the digest that ends an object.
pub const DIGEST_BYTES: usize = 32;
/// Most plain bytes in one frame.
pub const FRAME_BYTES_MAX: usize = 256 << 20;
/// What a frame adds to its plain bytes.
pub const FRAME_OVERHEAD: usize = WORD_BYTES + TAG_BYTES;

const LAST: u32 = 1 << 31;
