#![doc = include_str!("cutter.md")]

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use fastcdc::v2020::{Normalization, cut_gear, select_masks};
use serde::{Deserialize, Serialize};

/// Least, aimed-at and greatest chunk of `fastcdc-v2020-256k`, bytes.
const FASTCDC_256K: (usize, usize, usize) = (64 << 10, 256 << 10, 1 << 20);
const GEAR_PURPOSE: &[u8] = b"rpo cutter fastcdc-v2020-256k gear";

/// Greatest chunk any cutter makes, bytes.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;

/// Where files are cut, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum CutterName {
    /// By content, about 256 KiB: for files. The default.
    #[default]
    FastCdc256k,
    /// Every 4 KiB: databases with small pages. Costs 64 times the index of the default.
    Fixed4k,
    /// Every 16 KiB: databases with large pages.
    Fixed16k,
    /// Every 64 KiB: images of block devices.
    Fixed64k,
}

impl CutterName {
    /// All cutters this version knows.
    pub const ALL: [CutterName; 4] = [Self::FastCdc256k, Self::Fixed4k, Self::Fixed16k, Self::Fixed64k];

    /// The name as it stands in configurations and manifests.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FastCdc256k => "fastcdc-v2020-256k",
            Self::Fixed4k => "fixed-4k",
            Self::Fixed16k => "fixed-16k",
            Self::Fixed64k => "fixed-64k",
        }
    }
}

impl fmt::Display for CutterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no cutter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no cutter of this version: expected fastcdc-v2020-256k, fixed-4k, fixed-16k or fixed-64k")]
pub struct CutterNameError(String);

impl FromStr for CutterName {
    type Err = CutterNameError;

    fn from_str(text: &str) -> Result<Self, CutterNameError> {
        Self::ALL
            .into_iter()
            .find(|name| name.as_str() == text)
            .ok_or_else(|| CutterNameError(text.to_owned()))
    }
}

impl TryFrom<String> for CutterName {
    type Error = CutterNameError;

    fn try_from(text: String) -> Result<Self, CutterNameError> {
        text.parse()
    }
}

impl From<CutterName> for String {
    fn from(name: CutterName) -> String {
        name.as_str().to_owned()
    }
}

/// A cutter ready to cut: cheap to clone, shared by all workers.
#[derive(Clone)]
pub struct Cutter {
    name: CutterName,
    plan: Plan,
}

#[derive(Clone)]
enum Plan {
    Content(Arc<GearTables>),
    Fixed(usize),
}

struct GearTables {
    gear: [u64; 256],
    gear_shifted: [u64; 256],
    mask_strict: u64,
    mask_loose: u64,
}

impl Cutter {
    /// The cutter `name`, its tables drawn from `mac` (a function keyed by the repository).
    pub fn new(name: CutterName, mac: impl Fn(&[u8]) -> [u8; 32]) -> Self {
        let plan = match name {
            CutterName::FastCdc256k => Plan::Content(Arc::new(GearTables::new(mac))),
            CutterName::Fixed4k => Plan::Fixed(4 << 10),
            CutterName::Fixed16k => Plan::Fixed(16 << 10),
            CutterName::Fixed64k => Plan::Fixed(64 << 10),
        };
        Self { name, plan }
    }

    /// Its name.
    pub fn name(&self) -> CutterName {
        self.name
    }

    /// Length of the next chunk at the front of `bytes`, which stand at `offset` of the file.
    ///
    /// `bytes` must reach to the end of the extent or be at least [`CHUNK_BYTES_MAX`] long, else cuts would depend on
    /// how the file was read. Returns 0 only for no bytes.
    pub fn next_cut(&self, offset: u64, bytes: &[u8]) -> usize {
        match &self.plan {
            Plan::Fixed(size) => {
                let into_page = (offset % *size as u64) as usize;
                bytes.len().min(size - into_page)
            }
            Plan::Content(tables) => tables.cut(bytes),
        }
    }

    /// All cuts of one extent that is wholly in memory: the ends of its chunks.
    pub fn cuts(&self, offset: u64, bytes: &[u8]) -> Vec<usize> {
        let mut ends = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            at += self.next_cut(offset + at as u64, &bytes[at..]);
            ends.push(at);
        }
        ends
    }
}

impl fmt::Debug for Cutter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cutter({})", self.name) // the tables are secret
    }
}

impl GearTables {
    fn new(mac: impl Fn(&[u8]) -> [u8; 32]) -> Self {
        let mut gear = [0u64; 256];
        for (number, four) in (0u8..64).zip(gear.chunks_exact_mut(4)) {
            let drawn = mac(&[GEAR_PURPOSE, &[number]].concat());
            for (entry, bytes) in four.iter_mut().zip(drawn.chunks_exact(8)) {
                *entry = bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
            }
        }
        let gear_shifted = gear.map(|entry| entry << 1);
        let (mask_strict, mask_loose) = select_masks(FASTCDC_256K.1, Normalization::Level2);
        Self { gear, gear_shifted, mask_strict, mask_loose }
    }

    fn cut(&self, bytes: &[u8]) -> usize {
        let (least, aim, most) = FASTCDC_256K;
        let (_, cut) = cut_gear(
            bytes,
            least,
            aim,
            most,
            self.mask_strict,
            self.mask_loose,
            self.mask_strict << 1,
            self.mask_loose << 1,
            &self.gear,
            &self.gear_shifted,
        );
        cut
    }
}

#[cfg(test)]
mod tests;
