//! How a log is shipped: sizes and limits.

use rpo_core::error::Problems;
use rpo_core::{ByteSize, ConfigError};
use serde::{Deserialize, Serialize};

use crate::batch::BatchCodec;

/// What becomes of those who append while the spool is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SpoolFull {
    /// They wait until a copy has taken batches.
    #[default]
    Block,
    /// They are told [`ReplicationError::SpoolFull`](crate::ReplicationError::SpoolFull).
    Refuse,
}

/// How batches are cut and kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct ShipConfig {
    /// A batch ends at the first frame past this many bytes. 4 KiB to 64 MiB; larger means fewer requests when behind.
    pub batch_bytes: ByteSize,
    /// How batches are compressed.
    pub codec: BatchCodec,
    /// Sealing stops above this many spooled bytes until a copy takes some. At least `batch-bytes`; it bounds the disk
    /// used, plus one batch. The newest batch always stays, and does not count once as many copies have it as the sync
    /// policy asks for: if it alone reaches the bound, two batches are there for a moment.
    pub spool_bytes_max: ByteSize,
    /// What [`ShipView::admit`](crate::ShipView::admit) does for a program that appends while the spool is full. The log
    /// itself is not held by the shipper: the program that appends has to ask. Nothing is dropped either way.
    pub spool_full: SpoolFull,
    /// Batches sealed, and sent to each copy, in one step. 1 to 4,096; bounds how long a step takes.
    pub batches_per_step: u32,
    /// Bytes of batches per second that each copy is sent at most; none without it. At least 1 KiB. A batch passes however
    /// large it is, and what was too much is paid by waiting; up to ten seconds' worth is saved up while nothing is sent.
    /// [`ShipView::set_bandwidth_max`](crate::ShipView::set_bandwidth_max) changes it. What a copy lacks of earlier epochs
    /// and of merged objects is not counted.
    pub bandwidth_max: Option<ByteSize>,
    /// Makes the shipper break its promises, for tests of the tests.
    #[cfg(feature = "planted-bugs")]
    #[serde(skip)]
    pub planted: Option<crate::PlantedBug>,
}

impl Default for ShipConfig {
    /// Batches of 4 MiB, zstd, at most 1 GiB spooled.
    fn default() -> Self {
        Self {
            batch_bytes: ByteSize::mib(4),
            codec: BatchCodec::Zstd,
            spool_bytes_max: ByteSize::mib(1024),
            spool_full: SpoolFull::default(),
            batches_per_step: 64,
            bandwidth_max: None,
            #[cfg(feature = "planted-bugs")]
            planted: None,
        }
    }
}

impl ShipConfig {
    /// Reports all broken rules together.
    ///
    /// # Errors
    /// Each with field, value and bound.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::new();
        let batch = self.batch_bytes.get();
        problems.require(
            (4 << 10..=64 << 20).contains(&batch),
            "batch-bytes",
            self.batch_bytes,
            "4KiB to 64MiB",
        );
        let spool = self.spool_bytes_max;
        problems.require(spool.get() >= batch, "spool-bytes-max", spool, "at least batch-bytes");
        let steps = self.batches_per_step;
        problems.require((1..=4096).contains(&steps), "batches-per-step", steps, "1 to 4096");
        if let Some(rate) = self.bandwidth_max {
            problems.require(rate.get() >= 1 << 10, "bandwidth-max", rate, "at least 1KiB (per second)");
        }
        problems.finish()
    }

    pub(crate) fn takes_any_answer(&self) -> bool {
        #[cfg(feature = "planted-bugs")]
        return self.planted == Some(crate::PlantedBug::TakenIsOurs);
        #[cfg(not(feature = "planted-bugs"))]
        false
    }

    pub(crate) fn ignores_fences(&self) -> bool {
        #[cfg(feature = "planted-bugs")]
        return self.planted == Some(crate::PlantedBug::FenceIgnored);
        #[cfg(not(feature = "planted-bugs"))]
        false
    }

    pub(crate) fn spools_durably(&self) -> bool {
        #[cfg(feature = "planted-bugs")]
        return self.planted != Some(crate::PlantedBug::SentBeforeSpooled);
        #[cfg(not(feature = "planted-bugs"))]
        true
    }

    pub(crate) fn releases_too_soon(&self) -> bool {
        #[cfg(feature = "planted-bugs")]
        return self.planted == Some(crate::PlantedBug::ReleasedTooSoon);
        #[cfg(not(feature = "planted-bugs"))]
        false
    }
}
