//! Numbers about shipping, in fixed memory: what each copy took, what failed, how full the spool is.

use std::time::Duration;

use rpo_core::Monotonic;

use crate::copies::Seen;

/// How long [`CopyStats::success_rate`] looks back, to within one slot.
pub const RATE_WINDOW: Duration = Duration::from_secs(300);
const SLOT: Duration = Duration::from_secs(30);
const SLOTS: usize = 10;

/// What one copy took since the shipper was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CopyStats {
    /// Batches sent, whatever came of it; more than `batches` if some had to be sent again.
    pub attempts: u64,
    /// Batches that are proved to be there, durable.
    pub batches: u64,
    /// Their bytes as stored.
    pub bytes: u64,
    /// Exchanges that ended with an error, whatever it was about: looking, sending or proving.
    pub failures: u64,
    /// When the last batch was placed.
    pub last_success: Option<Seen>,
    /// When the last exchange failed, and with what error.
    pub last_failure: Option<(Seen, String)>,
    slots: [Slot; SLOTS],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Slot {
    /// Which slot of the clock this is, from 1; 0 is none.
    turn: u64,
    batches: u64,
    failures: u64,
}

impl CopyStats {
    pub(super) fn placed(&mut self, bytes: u64, seen: Seen) {
        self.batches += 1;
        self.bytes += bytes;
        self.last_success = Some(seen);
        self.slot(seen.steady).batches += 1;
    }

    pub(super) fn failed(&mut self, error: String, seen: Seen) {
        self.failures += 1;
        self.last_failure = Some((seen, error));
        self.slot(seen.steady).failures += 1;
    }

    fn slot(&mut self, now: Monotonic) -> &mut Slot {
        let turn = turn_of(now);
        let slot = &mut self.slots[usize::try_from(turn % SLOTS as u64).expect("below SLOTS")];
        if slot.turn != turn {
            *slot = Slot { turn, ..Slot::default() };
        }
        slot
    }

    /// Batches placed, over those and the exchanges that failed, in the last [`RATE_WINDOW`] (the slot of 30 s that is
    /// running and the nine before it). `None` if nothing was tried: no evidence is no success.
    #[allow(clippy::cast_precision_loss)] // counts of five minutes
    pub fn success_rate(&self, now: Monotonic) -> Option<f64> {
        let turn = turn_of(now);
        let recent = self.slots.iter().filter(|slot| slot.turn > 0 && slot.turn + SLOTS as u64 > turn);
        let (batches, failures) =
            recent.fold((0, 0), |(good, bad), slot| (good + slot.batches, bad + slot.failures));
        (batches + failures > 0).then(|| batches as f64 / (batches + failures) as f64)
    }
}

fn turn_of(now: Monotonic) -> u64 {
    now.since_origin().as_secs() / SLOT.as_secs() + 1
}

/// The spool and what was sealed into it, as of the last step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpoolStats {
    /// Bytes of sealed batches on the local disk.
    pub bytes: u64,
    /// Batches there; the newest one always stays.
    pub batches: u64,
    /// Since when sealing has been waiting for room; `None` while there is some.
    pub full_since: Option<Seen>,
    /// Batches sealed since the shipper was opened.
    pub sealed: u64,
    /// Bytes of log frames in them.
    pub plain_bytes: u64,
    /// Bytes of them as stored: compressed, encrypted, with their heads.
    pub stored_bytes: u64,
}

impl SpoolStats {
    /// Bytes of log frames per byte stored, over everything sealed since the shipper was opened; `None` before that.
    #[allow(clippy::cast_precision_loss)] // a ratio for people and thresholds
    pub fn compression_ratio(&self) -> Option<f64> {
        (self.stored_bytes > 0).then(|| self.plain_bytes as f64 / self.stored_bytes as f64)
    }
}

#[cfg(test)]
mod tests {
    use rpo_core::Timestamp;

    use super::*;

    fn at(seconds: u64) -> Seen {
        Seen { wall: Timestamp::EPOCH, steady: Monotonic::new(Duration::from_secs(seconds)) }
    }

    #[test]
    fn success_rate_counts_five_minutes_and_forgets_what_is_older() {
        let mut stats = CopyStats::default();
        assert_eq!(stats.success_rate(at(0).steady), None, "nothing tried is no success");
        stats.failed("away".to_owned(), at(0));
        for second in 1..4 {
            stats.placed(10, at(second));
        }
        assert_eq!(stats.success_rate(at(5).steady), Some(0.75));
        assert_eq!(stats.success_rate(at(299).steady), Some(0.75));
        assert_eq!(stats.success_rate(at(300).steady), None);
        stats.placed(10, at(301));
        assert_eq!(stats.success_rate(at(301).steady), Some(1.0), "the slot was used again");
        assert_eq!((stats.batches, stats.bytes, stats.failures), (4, 40, 1));
    }
}
