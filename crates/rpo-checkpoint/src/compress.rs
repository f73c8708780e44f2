//! How frames are compressed, and how what cannot be compressed is recognised before trying.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::CheckpointError;

/// Longest frame before compression, bytes: an allocation never follows a larger claim.
pub const FRAME_RAW_BYTES_MAX: usize = 32 << 20;

/// How hard to compress. Written as `none`, `low`, `medium`, `high`, `lz4`, or a zstd level from -7 to 19.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Compression {
    /// Store as it is.
    None,
    /// zstd 1: about 1.3 times as fast as `medium`, about 7 % larger.
    Low,
    /// zstd 3. The default.
    #[default]
    Medium,
    /// zstd 9: about a quarter of the speed of `medium`.
    High,
    /// zstd at this level.
    Level(i8),
    /// lz4: decompresses fastest, about 40 % larger than `medium`.
    Lz4,
}

/// Levels taken, lowest and highest.
const LEVELS: std::ops::RangeInclusive<i8> = -7..=19;

/// A text that is no compression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no compression: expected none, low, medium, high, lz4 or a zstd level from -7 to 19")]
pub struct CompressionError(String);

impl FromStr for Compression {
    type Err = CompressionError;

    fn from_str(text: &str) -> Result<Self, CompressionError> {
        Ok(match text {
            "none" => Self::None,
            "low" => Self::Low,
            "medium" => Self::Medium,
            "high" => Self::High,
            "lz4" => Self::Lz4,
            _ => match text.parse::<i8>() {
                Ok(level) if LEVELS.contains(&level) => Self::Level(level),
                _ => return Err(CompressionError(text.to_owned())),
            },
        })
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.pad("none"),
            Self::Low => f.pad("low"),
            Self::Medium => f.pad("medium"),
            Self::High => f.pad("high"),
            Self::Lz4 => f.pad("lz4"),
            Self::Level(level) => level.fmt(f),
        }
    }
}

impl Serialize for Compression {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Compression {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Compression;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("none, low, medium, high, lz4 or a zstd level from -7 to 19")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Compression, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_i64<E: serde::de::Error>(self, level: i64) -> Result<Compression, E> {
                level.to_string().parse().map_err(E::custom)
            }

            fn visit_u64<E: serde::de::Error>(self, level: u64) -> Result<Compression, E> {
                level.to_string().parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// How the bytes of one frame are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Codec {
    /// As they are.
    Raw = 0,
    /// One zstd frame.
    Zstd = 1,
    /// One lz4 block, without a length before it.
    Lz4 = 2,
}

impl Codec {
    /// The codec with this number on disk.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Raw),
            1 => Some(Self::Zstd),
            2 => Some(Self::Lz4),
            _ => None,
        }
    }
}

/// Compresses frames; one per worker, because it keeps the compressor's tables.
pub(crate) struct Compressor {
    method: Method,
    probe: zstd::bulk::Compressor<'static>,
}

enum Method {
    Raw,
    Zstd(zstd::bulk::Compressor<'static>),
    Lz4,
}

/// Frames shorter than this are compressed without a probe.
const PROBE_FROM: usize = 32 << 10;
const PROBE_SAMPLE: usize = 4 << 10;

impl Compressor {
    pub(crate) fn new(compression: Compression) -> Result<Self, CheckpointError> {
        let zstd = |level: i32| {
            zstd::bulk::Compressor::new(level).map_err(|source| CheckpointError::Compressor { source })
        };
        let method = match compression {
            Compression::None => Method::Raw,
            Compression::Low => Method::Zstd(zstd(1)?),
            Compression::Medium => Method::Zstd(zstd(3)?),
            Compression::High => Method::Zstd(zstd(9)?),
            // Level 0 means "the default" to zstd; here it means what it says: between -1 and 1.
            Compression::Level(level) => Method::Zstd(zstd(if level == 0 { 1 } else { i32::from(level) })?),
            Compression::Lz4 => Method::Lz4,
        };
        Ok(Self { method, probe: zstd(1)? })
    }

    /// The bytes to store and how they are stored; raw if less than 3 % is gained.
    pub(crate) fn compress(&mut self, raw: Vec<u8>) -> Result<(Codec, Vec<u8>), CheckpointError> {
        if raw.len() >= PROBE_FROM && !matches!(self.method, Method::Raw) && !self.worth_it(&raw)? {
            return Ok((Codec::Raw, raw));
        }
        let (codec, packed) = match &mut self.method {
            Method::Raw => return Ok((Codec::Raw, raw)),
            Method::Zstd(zstd) => {
                (Codec::Zstd, zstd.compress(&raw).map_err(|source| CheckpointError::Compressor { source })?)
            }
            Method::Lz4 => (Codec::Lz4, lz4_flex::block::compress(&raw)),
        };
        if gains(packed.len(), raw.len()) { Ok((codec, packed)) } else { Ok((Codec::Raw, raw)) }
    }

    /// Tries 4 KiB at three places.
    fn worth_it(&mut self, raw: &[u8]) -> Result<bool, CheckpointError> {
        let mut sample = Vec::with_capacity(3 * PROBE_SAMPLE);
        for start in [0, raw.len() / 2, raw.len() - PROBE_SAMPLE] {
            sample.extend_from_slice(&raw[start..start + PROBE_SAMPLE]);
        }
        let packed = self.probe.compress(&sample).map_err(|source| CheckpointError::Compressor { source })?;
        Ok(gains(packed.len(), sample.len()))
    }
}

/// Whether at least 3 % is gained.
fn gains(packed: usize, raw: usize) -> bool {
    packed * 100 <= raw * 97
}

/// The `raw_len` bytes that `stored` stands for.
///
/// # Errors
/// Says what is wrong with them; the caller knows which object they are from. Never allocates more than
/// [`FRAME_RAW_BYTES_MAX`].
pub fn decompress(codec: Codec, stored: &[u8], raw_len: usize) -> Result<Vec<u8>, String> {
    if raw_len > FRAME_RAW_BYTES_MAX {
        return Err(format!("a frame of {raw_len} bytes is longer than {FRAME_RAW_BYTES_MAX}"));
    }
    let raw = match codec {
        Codec::Raw => stored.to_vec(),
        Codec::Zstd => zstd::bulk::decompress(stored, raw_len).map_err(|error| format!("zstd: {error}"))?,
        Codec::Lz4 => {
            lz4_flex::block::decompress(stored, raw_len).map_err(|error| format!("lz4: {error}"))?
        }
    };
    if raw.len() == raw_len {
        Ok(raw)
    } else {
        Err(format!("{} bytes came out, {raw_len} were expected", raw.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_compression_gives_back_what_it_took() {
        let text = b"the same words again and again, ".repeat(4_000);
        for name in ["none", "low", "medium", "high", "lz4", "-3", "0", "12"] {
            let compression: Compression = name.parse().unwrap();
            assert_eq!(compression.to_string(), name);
            let (codec, stored) = Compressor::new(compression).unwrap().compress(text.clone()).unwrap();
            assert_eq!(stored.len() < text.len(), name != "none");
            assert_eq!(decompress(codec, &stored, text.len()).unwrap(), text, "{name}");
        }
        assert!("20".parse::<Compression>().is_err());
        assert!("fast".parse::<Compression>().is_err());
    }

    #[test]
    fn what_cannot_be_compressed_is_stored_as_it_is() {
        let mut state = 1u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u8
        })
        .take(200_000)
        .collect();
        let (codec, stored) = Compressor::new(Compression::Medium).unwrap().compress(noise.clone()).unwrap();
        assert_eq!((codec, stored), (Codec::Raw, noise));
    }

    #[test]
    fn a_lying_length_is_refused() {
        let (codec, stored) = Compressor::new(Compression::Low).unwrap().compress(vec![7; 5_000]).unwrap();
        assert_eq!(codec, Codec::Zstd);
        assert!(decompress(codec, &stored, 4_999).is_err());
        assert!(decompress(codec, &stored, 5_001).is_err());
        assert!(decompress(codec, &stored, usize::MAX).is_err());
    }

    #[test]
    fn a_configuration_may_write_a_name_or_a_number() {
        assert_eq!(serde_json::from_str::<Compression>("\"high\"").unwrap(), Compression::High);
        assert_eq!(serde_json::from_str::<Compression>("7").unwrap(), Compression::Level(7));
        assert!(serde_json::from_str::<Compression>("99").is_err());
    }
}
