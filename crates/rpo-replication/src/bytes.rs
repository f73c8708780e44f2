//! Fixed fields in byte arrays: read and written at constant ranges.

use std::ops::Range;

use rpo_core::StreamId;

/// Writes fields into a zeroed array of `N` bytes.
pub(crate) struct Fields<const N: usize>(pub(crate) [u8; N]);

impl<const N: usize> Fields<N> {
    pub(crate) fn new() -> Self {
        Self([0; N])
    }

    /// Puts `bytes` at the beginning of `at`; the rest of the field stays zero.
    pub(crate) fn put(&mut self, at: Range<usize>, bytes: &[u8]) {
        self.0[at][..bytes.len()].copy_from_slice(bytes);
    }
}

/// The `N` bytes at `at`. The ranges are constants of the formats, so they lie inside and fit.
pub(crate) fn array<const N: usize>(bytes: &[u8], at: Range<usize>) -> [u8; N] {
    bytes[at].try_into().expect("the range is a constant as long as the field")
}

pub(crate) fn u16_at(bytes: &[u8], at: Range<usize>) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

pub(crate) fn u32_at(bytes: &[u8], at: Range<usize>) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

pub(crate) fn u64_at(bytes: &[u8], at: Range<usize>) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

pub(crate) fn i64_at(bytes: &[u8], at: Range<usize>) -> i64 {
    i64::from_le_bytes(array(bytes, at))
}

/// The stream name of `length` bytes at the beginning of `field`, whose other bytes must be zero.
pub(crate) fn stream_at(length: u8, field: &[u8]) -> Option<StreamId> {
    let (name, rest) = field.split_at_checked(usize::from(length))?;
    if rest.iter().any(|byte| *byte != 0) {
        return None;
    }
    StreamId::new(std::str::from_utf8(name).ok()?).ok()
}
