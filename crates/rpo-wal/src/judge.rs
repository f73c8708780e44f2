//! Torn or rotten: the decision table of `segment.md`, as a pure function.

use rpo_core::Lsn;

/// What stands where the log seems to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stands {
    /// A zero head, with nothing but zeros after it.
    Nothing,
    /// A zero head, with something written after it.
    ZeroHead,
    /// Something that is no valid frame.
    Invalid,
    /// A valid frame that must not be here.
    Misplaced,
}

/// All that is known about the end of the newest segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TailFacts {
    pub(crate) stands: Stands,
    /// Where the valid part ends: L.
    pub(crate) lsn: Lsn,
    /// The highest LSN known to have been durable: F.
    pub(crate) proven: Lsn,
    /// Whether a sector of what stands there is still zero.
    pub(crate) zero_sector: bool,
    /// The highest `durable_lsn` of valid frames further on, if there are any.
    pub(crate) later_durable: Option<Lsn>,
}

/// What follows from it. The number is the row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// 2: nothing is missing.
    Clean,
    /// 3: the last write was cut short by a crash before it was synced.
    Torn,
    /// 7: writes of one unsynced window reached the disk out of order.
    Unordered,
    /// 4: damaged, and no crash does that.
    Rot,
    /// 5: a witness says there was more.
    Lost,
    /// 6: later frames prove that this was durable once.
    RotProven,
    /// 8: written by another log, or at another time.
    Misplaced,
}

pub(crate) fn judge(facts: &TailFacts) -> Verdict {
    if facts.stands == Stands::Misplaced {
        return Verdict::Misplaced;
    }
    if facts.later_durable.is_some_and(|durable| durable > facts.lsn) {
        return Verdict::RotProven;
    }
    if facts.proven > facts.lsn {
        return Verdict::Lost;
    }
    if facts.later_durable.is_some() {
        return Verdict::Unordered;
    }
    match facts.stands {
        Stands::Nothing => Verdict::Clean,
        _ if facts.zero_sector => Verdict::Torn,
        _ => Verdict::Rot,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_has_its_verdict() {
        let at = |lsn| Some(Lsn::new(lsn));
        let facts = |stands, proven, zero_sector, later_durable| TailFacts {
            stands,
            lsn: Lsn::new(100),
            proven: Lsn::new(proven),
            zero_sector,
            later_durable,
        };
        use Stands::{Invalid, Misplaced, Nothing, ZeroHead};
        for (row, facts, verdict) in [
            (2, facts(Nothing, 100, false, None), Verdict::Clean),
            (3, facts(Invalid, 100, true, None), Verdict::Torn),
            (3, facts(ZeroHead, 100, true, None), Verdict::Torn),
            (4, facts(Invalid, 100, false, None), Verdict::Rot),
            (4, facts(ZeroHead, 100, false, None), Verdict::Rot),
            (5, facts(Nothing, 101, false, None), Verdict::Lost),
            (5, facts(Invalid, 101, true, None), Verdict::Lost),
            (5, facts(Invalid, 101, true, at(100)), Verdict::Lost),
            (6, facts(Invalid, 100, true, at(101)), Verdict::RotProven),
            (6, facts(ZeroHead, 0, true, at(101)), Verdict::RotProven),
            (7, facts(Invalid, 100, false, at(100)), Verdict::Unordered),
            (7, facts(ZeroHead, 100, true, at(50)), Verdict::Unordered),
            (8, facts(Misplaced, 0, true, None), Verdict::Misplaced),
        ] {
            assert_eq!(judge(&facts), verdict, "row {row}: {facts:?}");
        }
    }
}
