//! What may go wrong in a run: drawn from the seed, so that whole kinds of faults are off in some runs (swarm testing:
//! Groce et al., *Swarm Testing*, ISSTA 2012).

use std::fmt;

use super::Rng;

macro_rules! faults {
    ($($(#[$doc:meta])* $kind:ident = $name:literal, $rate:literal;)*) => {
        /// A kind of fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum FaultKind {
            $($(#[$doc])* $kind,)*
        }

        impl FaultKind {
            /// All of them.
            pub const ALL: &'static [FaultKind] = &[$(FaultKind::$kind,)*];

            /// Its name in plans and statistics.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// Highest rate that [`FaultPlan::draw`] gives it, in a thousand opportunities; 0: only when asked for.
            const fn rate_max(self) -> u16 {
                match self { $(Self::$kind => $rate,)* }
            }
        }
    };
}

faults! {
    /// `sync` of a file returns EIO once. Some dirty sectors were written; the others are marked clean: reads still
    /// show them, the next sync succeeds, a power cut loses them (what ext4 does).
    SyncError = "sync-error", 30;
    /// `sync_dir` returns EIO once; names that were not written then are not durable, though the next `sync_dir`
    /// succeeds, until the directory is changed again.
    SyncDirError = "sync-dir-error", 15;
    /// `write_at` returns EIO after part of the range was written.
    WriteError = "write-error", 10;
    /// The machine's disk is full: growing a file or creating one fails with ENOSPC after what still fits.
    NoSpace = "no-space", 10;
    /// `read_at` returns EIO. Off unless asked for.
    ReadError = "read-error", 0;
    /// The kernel writes some dirty sectors back on its own, so that a crash can leave any older version of them.
    Writeback = "writeback", 300;
    /// After the process dies, pages that a failed sync marked clean leave the cache: reads show the old bytes.
    Evict = "evict", 500;
    /// A power cut tears inside a 512-byte sector. Off unless asked for: disks promise whole sectors.
    TornSector = "torn-sector", 0;
    /// The wall clock steps back, by 10 ms to 2 h.
    ClockBack = "clock-back", 15;
    /// The wall clock steps forward, by 10 ms to 2 h.
    ClockForward = "clock-forward", 15;
    /// A store refuses before it did anything: kind `Retry`.
    StoreRetry = "store-retry", 60;
    /// A store's answer is lost: kind `Unknown`; it happened or it did not.
    LostAnswer = "lost-answer", 60;
    /// A store's answer is lost and the object appears only some calls later.
    LateLanding = "late-landing", 30;
    /// A store takes seconds to minutes to answer.
    Stall = "stall", 30;
    /// A store does not list a new object for some calls.
    ListLag = "list-lag", 200;
    /// `sync` of a file returns EIO though everything reached the disk. Off unless asked for.
    SyncErrorWhole = "sync-error-whole", 0;
    /// `sync` of a file returns EIO and nothing reached the disk. Off unless asked for.
    SyncErrorNothing = "sync-error-nothing", 0;
}

/// What may go wrong in a run, and how often. Printed with a failing seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultPlan {
    rates: Vec<(FaultKind, u16)>,
}

impl FaultPlan {
    /// Nothing goes wrong but what a test injects, and what a power cut does.
    pub fn calm() -> Self {
        Self { rates: Vec::new() }
    }

    /// The plan of this seed: each kind is on in every other plan, at a rate of its own.
    pub fn draw(seed: u64) -> Self {
        let mut rng = Rng::named(seed, "plan");
        let mut plan = Self::calm();
        for kind in FaultKind::ALL {
            let (on, rate) = (rng.coin(), 1 + rng.below(u64::from(kind.rate_max().max(1))));
            if on && kind.rate_max() > 0 {
                plan = plan.with(*kind, u16::try_from(rate).expect("at most the highest rate"));
            }
        }
        plan
    }

    /// The same plan with `kind` striking `per_mille` times in a thousand opportunities.
    #[must_use]
    pub fn with(mut self, kind: FaultKind, per_mille: u16) -> Self {
        self.rates.retain(|(other, _)| *other != kind);
        if per_mille > 0 {
            self.rates.push((kind, per_mille));
        }
        self
    }

    /// The same plan without `kinds`.
    #[must_use]
    pub fn without(mut self, kinds: &[FaultKind]) -> Self {
        self.rates.retain(|(kind, _)| !kinds.contains(kind));
        self
    }

    /// How often `kind` strikes, in a thousand opportunities.
    pub fn rate(&self, kind: FaultKind) -> u16 {
        self.rates.iter().find(|(other, _)| *other == kind).map_or(0, |(_, rate)| *rate)
    }
}

impl fmt::Display for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rates.is_empty() {
            return f.write_str("calm");
        }
        for (n, (kind, rate)) in self.rates.iter().enumerate() {
            write!(f, "{}{} {rate}/1000", if n == 0 { "" } else { ", " }, kind.name())?;
        }
        Ok(())
    }
}
