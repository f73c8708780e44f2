//! How checkpoints are made.

use std::collections::BTreeMap;

use rpo_core::error::Problems;
use rpo_core::{ByteSize, ConfigError};
use serde::{Deserialize, Serialize};

use crate::{Compression, CutterName};

/// How checkpoints are made. Every checkpoint of a repository may use others: what exists stays readable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct CheckpointOptions {
    /// Where files are cut. Changing it stores everything that is read again once more.
    pub cutter: CutterName,
    /// How hard to compress; costs most of the time a first checkpoint takes.
    pub compression: Compression,
    /// A pack is closed at this size. Bytes, 1 MiB to 32 MiB; up to four are in memory at once.
    pub pack_size: ByteSize,
    /// Threads that read, cut, hash and compress. `None`: as many as the machine has cores, at most 16.
    pub workers: Option<usize>,
    /// Decompress and compare *every* frame before it is stored, not one in 16. Metadata is always compared.
    pub verify_on_write: bool,
    /// Take files that look unchanged (size, times, inode) from the parent without reading them.
    pub trust_unchanged: bool,
    /// A chain of this many incremental manifests is followed by a full one (made of the parent's data all the same).
    pub chain_max: u32,
}

impl Default for CheckpointOptions {
    fn default() -> Self {
        Self {
            cutter: CutterName::default(),
            compression: Compression::default(),
            pack_size: ByteSize::mib(16),
            workers: None,
            verify_on_write: false,
            trust_unchanged: true,
            chain_max: 64,
        }
    }
}

impl CheckpointOptions {
    /// Reports all broken rules together.
    ///
    /// # Errors
    /// Each with field, value and bound.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::new();
        let size = self.pack_size.get();
        problems.require(
            (1 << 20..=32 << 20).contains(&size),
            "pack-size",
            self.pack_size,
            "from 1MiB to 32MiB",
        );
        let workers = self.workers.unwrap_or(1);
        problems.require((1..=64).contains(&workers), "workers", workers, "from 1 to 64");
        problems.require((1..=1000).contains(&self.chain_max), "chain-max", self.chain_max, "from 1 to 1000");
        problems.finish()
    }

    pub(crate) fn worker_count(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(2, |cores| cores.get().min(16));
        self.workers.unwrap_or_else(cores)
    }
}

/// What people and programs write on a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Labels {
    /// Free words to find it by.
    pub tags: Vec<String>,
    /// Free-form pairs.
    pub metadata: BTreeMap<String, String>,
}
