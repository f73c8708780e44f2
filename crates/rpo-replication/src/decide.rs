//! What the shipper does next, as pure functions: they take what is known and return what to do.

use rpo_core::Position;

use crate::spool::Tip;

/// Idle rounds between two heartbeats.
pub(crate) const IDLE_ROUNDS: u32 = 10;

/// What to do about the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seal {
    /// Read frames from the tip on and seal them.
    Batch,
    /// Nothing is new; write nothing.
    Rest,
    /// Nothing has been new for long: let the log write a marker.
    Heartbeat,
    /// There is more, and no room in the spool.
    Full,
    /// The log ends before the tip: it lost what was sealed.
    Rewound,
}

/// What is known of log and spool.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogView {
    pub(crate) durable: Position,
    pub(crate) tip: Tip,
    /// Bytes in the spool that [`count`](held).
    pub(crate) spool_bytes: u64,
    pub(crate) spool_bytes_max: u64,
    pub(crate) idle_rounds: u32,
}

/// A full spool stops sealing, never shipping, and drops nothing: the frames stay in the log.
pub(crate) fn next_seal(view: &LogView) -> Seal {
    if view.durable.lsn < view.tip.position.lsn {
        Seal::Rewound
    } else if view.durable.lsn == view.tip.position.lsn {
        if view.idle_rounds >= IDLE_ROUNDS { Seal::Heartbeat } else { Seal::Rest }
    } else if view.spool_bytes >= view.spool_bytes_max {
        Seal::Full
    } else {
        Seal::Batch
    }
}

/// What to do with one copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Find out what it has.
    Locate,
    /// Send it this number.
    Send(u64),
    /// It has everything: prove that it still does, and that no fence has come.
    Prove,
}

/// What is known of a copy: the number it gets next, once that was found out.
pub(crate) fn next_lane(next: Option<u64>, tip: &Tip) -> Lane {
    match next {
        None => Lane::Locate,
        Some(next) if next <= tip.number => Lane::Send(next),
        Some(_) => Lane::Prove,
    }
}

/// Up to which number the spool may forget.
///
/// `next` holds, per copy that the writer has, the number it gets next (`None`: not known). What every copy has goes at
/// once. Under pressure, what at least `keepers` copies have goes too: a copy that lags gets it from them.
pub(crate) fn releasable(next: &[Option<u64>], keepers: usize, pressed: bool) -> u64 {
    let mut have: Vec<u64> = next.iter().map(|next| next.unwrap_or(1).saturating_sub(1)).collect();
    have.sort_unstable_by(|a, b| b.cmp(a));
    let needed = if pressed { keepers.clamp(1, have.len().max(1)) } else { have.len() };
    needed.checked_sub(1).and_then(|index| have.get(index)).copied().unwrap_or(0)
}

/// Bytes of the spool that count against its bound. The newest batch (number, bytes) always stays there, so it does not
/// count once the needed copies have it, up to `through`: alone at the bound it would stop sealing for ever.
pub(crate) fn held(bytes: u64, newest: Option<(u64, u64)>, through: u64) -> u64 {
    newest.filter(|(number, _)| *number <= through).map_or(bytes, |(_, own)| bytes.saturating_sub(own))
}

#[cfg(test)]
mod tests {
    use rpo_core::{Lsn, Timestamp};

    use super::*;
    use crate::batch::Digest;

    fn view(durable: u64, sealed: u64) -> LogView {
        let at = |lsn| Position { lsn: Lsn::new(lsn), ..Position::START };
        let tip = Tip {
            number: 3,
            digest: Digest::NONE,
            position: at(sealed),
            chain: 0,
            time: Timestamp::EPOCH,
            newest_gap: 0,
        };
        LogView { durable: at(durable), tip, spool_bytes: 0, spool_bytes_max: 100, idle_rounds: 0 }
    }

    #[test]
    fn nothing_new_writes_nothing_until_the_tenth_round() {
        assert_eq!(next_seal(&view(50, 50)), Seal::Rest);
        assert_eq!(next_seal(&LogView { idle_rounds: 9, ..view(50, 50) }), Seal::Rest);
        assert_eq!(next_seal(&LogView { idle_rounds: 10, ..view(50, 50) }), Seal::Heartbeat);
    }

    #[test]
    fn a_full_spool_blocks_and_a_log_behind_its_archive_is_told() {
        assert_eq!(next_seal(&view(51, 50)), Seal::Batch);
        assert_eq!(next_seal(&LogView { spool_bytes: 100, ..view(51, 50) }), Seal::Full);
        assert_eq!(next_seal(&LogView { spool_bytes: 100, ..view(50, 50) }), Seal::Rest, "nothing waits");
        assert_eq!(next_seal(&view(49, 50)), Seal::Rewound);
    }

    #[test]
    fn a_copy_is_located_then_fed_then_watched() {
        let tip = view(0, 0).tip;
        assert_eq!(next_lane(None, &tip), Lane::Locate);
        assert_eq!(next_lane(Some(2), &tip), Lane::Send(2));
        assert_eq!(next_lane(Some(4), &tip), Lane::Prove);
    }

    #[test]
    fn the_spool_forgets_only_what_others_keep() {
        assert_eq!(releasable(&[Some(8), Some(5)], 1, false), 4);
        assert_eq!(releasable(&[Some(8), Some(5)], 1, true), 7);
        assert_eq!(releasable(&[Some(8), Some(5), Some(2)], 2, true), 4);
        assert_eq!(releasable(&[Some(8), None], 1, false), 0);
        assert_eq!(releasable(&[None, None], 1, true), 0);
        assert_eq!(releasable(&[], 1, true), 0);
    }

    #[test]
    fn the_newest_batch_counts_until_the_needed_copies_have_it() {
        assert_eq!(held(150, Some((4, 100)), 3), 150);
        assert_eq!(held(150, Some((4, 100)), 4), 50);
        assert_eq!(held(0, None, 9), 0);
    }
}
