//! What the oracle knows: the commits that were acknowledged, and which of them a target means.

use rpo_core::target::{Bound, Target};
use rpo_core::{CheckpointId, Lsn, Sequence, Timestamp, TransactionId};
use rpo_testkit::sim::Rng;

use super::ledger::{Change, State};

/// One acknowledged commit: all the oracle knows.
#[derive(Debug, Clone)]
pub(crate) struct Issued {
    pub(crate) changes: Vec<Change>,
    pub(crate) end: Lsn,
    pub(crate) time: Timestamp,
    pub(crate) transaction: Option<TransactionId>,
}

/// What was acknowledged in one history, in order, and what was named.
#[derive(Debug, Clone, Default)]
pub(crate) struct Oracle {
    pub(crate) issued: Vec<Issued>,
    /// Each name with the number of commits before it.
    pub(crate) tags: Vec<(String, usize)>,
    /// Each checkpoint with the number of commits in it.
    pub(crate) bases: Vec<(CheckpointId, usize)>,
}

impl Oracle {
    /// The state after the first `count` commits.
    pub(crate) fn state(&self, count: usize) -> State {
        let mut state = State::default();
        self.issued[..count].iter().for_each(|commit| state.apply(commit.transaction, &commit.changes));
        state
    }

    /// How many commits `target` means.
    pub(crate) fn count(&self, target: &Target, bound: Bound) -> Option<usize> {
        let inclusive = bound == Bound::Inclusive;
        let those = |fits: &dyn Fn(&Issued) -> bool| Some(self.issued.iter().filter(|c| fits(c)).count());
        match target {
            Target::Latest => Some(self.issued.len()),
            Target::Sequence(n) if inclusive => usize::try_from(n.get()).ok(),
            Target::Sequence(n) => usize::try_from(n.get()).ok()?.checked_sub(1),
            Target::Time(time) => those(&|c| c.time < *time || inclusive && c.time == *time),
            Target::Lsn(lsn) => those(&|c| c.end < *lsn || inclusive && c.end == *lsn),
            Target::Transaction(id) => {
                let at = self.issued.iter().position(|c| c.transaction == Some(*id))?;
                Some(at + usize::from(inclusive))
            }
            Target::Named(name) => Some(self.tags.iter().rfind(|(known, _)| known == name.as_str())?.1),
            Target::Checkpoint(id) => Some(self.bases.iter().find(|(known, _)| known == id)?.1),
        }
    }

    /// The commits of the newest checkpoint that is not past the first `count` commits.
    pub(crate) fn base_before(&self, count: usize) -> Option<usize> {
        self.bases.iter().map(|(_, commits)| *commits).filter(|commits| *commits <= count).max()
    }

    /// A target that can be reached, of any form.
    pub(crate) fn random_target(&self, rng: &mut Rng) -> (Target, Bound) {
        let bound = if rng.coin() { Bound::Inclusive } else { Bound::Exclusive };
        let any = |rng: &mut Rng| &self.issued[rng.index(self.issued.len())];
        let target = match rng.below(8) {
            0 | 1 => Target::Time(any(rng).time),
            2 => {
                // Between two commits, or at one.
                let (first, last) =
                    (self.issued[0].time.as_micros(), self.issued[self.issued.len() - 1].time.as_micros());
                Target::Time(Timestamp::from_micros(first + rng.below((last - first) as u64 + 1) as i64))
            }
            3 => Target::Sequence(Sequence::new(rng.below(self.issued.len() as u64) + 1)),
            4 => Target::Lsn(any(rng).end),
            5 => Target::Lsn(Lsn::new(1 + rng.below(self.issued[self.issued.len() - 1].end.get()))),
            6 => match any(rng).transaction {
                Some(id) => Target::Transaction(id),
                None => Target::Latest,
            },
            _ if self.tags.is_empty() => Target::Latest,
            _ => Target::Named(self.tags[rng.index(self.tags.len())].0.parse().unwrap()),
        };
        // The newest state names no commit that could be left out.
        let bound = if target == Target::Latest { Bound::Inclusive } else { bound };
        (target, bound)
    }
}
