//! Replay to a moment: from the last base at or before it, each event once and in order, and never short of it in silence.

use std::error::Error;

use rpo_core::{Bound, CheckpointId, ErrorKind, Lsn, Position, Timestamp};

use crate::error::{Asked, JournalError};
use crate::event::ChangeEvent;
use crate::journal::{Journal, locked};
use crate::read::{Reader, Recorded};

/// A state from which events can be replayed, such as a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Which checkpoint it is, if it is one.
    pub checkpoint: Option<CheckpointId>,
    /// The state holds exactly the commits before this position of the journal's log.
    pub position: Position,
    /// Commit time of the last commit in it.
    pub time: Timestamp,
}

impl Base {
    /// Nothing: what there was before the first event. Only of use while the journal still covers all it ever recorded.
    pub fn empty() -> Self {
        Self { checkpoint: None, position: Position::START, time: Timestamp::from_micros(i64::MIN) }
    }
}

/// What a replay did. It reached the target.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replayed {
    /// The base chosen: the last at or before the target.
    pub base: Base,
    /// Events applied.
    pub events: u64,
    /// Transactions applied.
    pub transactions: u64,
    /// Number of the last event applied; none if there was nothing between base and target.
    pub last: Option<u64>,
    /// Commit time of the last transaction applied.
    pub time: Option<Timestamp>,
}

/// Where a replay stops.
#[derive(Debug, Clone, Copy)]
struct Stop {
    target: Asked,
    bound: Bound,
}

impl Stop {
    /// Whether a commit with this time, these events and this end is part of what was asked for.
    fn includes(&self, time: Timestamp, first: u64, last: u64, end: Lsn) -> bool {
        match (self.target, self.bound) {
            (Asked::Start, _) => false,
            (Asked::Time(target), Bound::Inclusive) => time <= target,
            (Asked::Time(target), Bound::Exclusive) => time < target,
            (Asked::Position(target), Bound::Inclusive) => end <= target,
            (Asked::Position(target), Bound::Exclusive) => end < target,
            // A transaction is never halved: it is in if the event it holds is.
            (Asked::Event(target), Bound::Inclusive) => first <= target,
            (Asked::Event(target), Bound::Exclusive) => last < target,
        }
    }
}

impl Journal {
    /// Gives `apply` each event between the last of `bases` at or before `target` and `target`, once and in order.
    ///
    /// `Asked::Time(t)` means the commits with commit time at most t (before t, if exclusive), as of now: a time that has
    /// not come yet is refused. `Asked::Position` means the commits that end at it or before, `Asked::Event` those up to
    /// the transaction that holds the event, whole. `Asked::Start` is no target.
    ///
    /// # Errors
    /// [`JournalError::Callback`] names the event that `apply` refused. [`JournalError::NoBase`],
    /// [`JournalError::Uncovered`]: no base reaches, or the events after it are gone. [`JournalError::Ahead`]: the target
    /// has not happened. Whatever the error: the target was not reached, and what was applied is an unfinished state.
    pub fn replay_to(
        &self,
        target: Asked,
        bound: Bound,
        bases: &[Base],
        mut apply: impl FnMut(&ChangeEvent) -> Result<(), Box<dyn Error + Send + Sync>>,
    ) -> Result<Replayed, JournalError> {
        let stop = Stop { target, bound };
        self.has_happened(&stop)?;
        let base = self.choose(&stop, bases)?;
        let expected = self.expected(&stop, &base)?;
        let mut reader = Reader::since(self, Asked::Position(base.position.lsn))?;
        let mut done = Replayed { base, events: 0, transactions: 0, last: None, time: None };
        #[cfg(feature = "planted-bugs")]
        let mut spare = u32::from(crate::planted::has(crate::planted::Bug::OneTooMany));
        while let Some(Recorded { lsn, position, time, events }) = reader.next()? {
            let (first, last) = (events[0].id, events[events.len() - 1].id);
            if !stop.includes(time, first, last, position.lsn) {
                #[cfg(feature = "planted-bugs")]
                if spare > 0 {
                    spare -= 1;
                } else {
                    break;
                }
                #[cfg(not(feature = "planted-bugs"))]
                break;
            }
            for event in &events {
                apply(event).map_err(|cause| JournalError::Callback {
                    event: event.id,
                    lsn,
                    applied: done.events,
                    cause: cause.to_string(),
                })?;
                done.events += 1;
            }
            done.transactions += 1;
            (done.last, done.time) = (Some(last), Some(time));
        }
        if done.events < expected {
            let what = format!("{expected} events lie between base and target, {} were found", done.events);
            return Err(JournalError::Corrupt { lsn: done.base.position.lsn, what });
        }
        Ok(done)
    }

    /// Whether everything up to the target is durable and, as far as clocks do not step back, can no longer change.
    fn has_happened(&self, stop: &Stop) -> Result<(), JournalError> {
        let target = stop.target;
        if self.inner.log.durable().lsn < self.inner.log.head().lsn {
            match self.inner.log.sync() {
                // Readable though it takes nothing more: what is durable tells below whether it reaches.
                Err(error) if error.kind() == ErrorKind::Refused => {}
                other => drop(other?),
            }
        }
        let end = self.inner.log.durable();
        let (last, time) = {
            let mut state = locked(&self.inner.state);
            state.absorb();
            let coverage = state.ledger.coverage(self.inner.now(), end.lsn, &self.inner.config);
            (coverage.to.map_or(state.ledger.dropped.event, |to| to.event), coverage.to.map(|to| to.time))
        };
        let reached = match target {
            Asked::Start => true,
            Asked::Event(id) => id <= last,
            Asked::Position(lsn) => lsn <= end.lsn,
            // A commit of this very moment may still come, unless the history is past it.
            Asked::Time(target) => {
                time.is_some_and(|time| time > target || (time == target && stop.bound == Bound::Exclusive))
                    || self.inner.clock.wall() > target
            }
        };
        if reached { Ok(()) } else { Err(JournalError::Ahead { asked: target, last, end }) }
    }

    /// The last base that holds nothing past the target.
    fn choose(&self, stop: &Stop, bases: &[Base]) -> Result<Base, JournalError> {
        let state = locked(&self.inner.state);
        let holds = |base: &&Base| {
            let marks = &state.ledger.marks;
            let before = marks.partition_point(|mark| mark.end <= base.position.lsn);
            // What the journal knows itself goes before what the base says of its time.
            let within = before
                .checked_sub(1)
                .and_then(|at| marks.get(at))
                .is_none_or(|mark| stop.includes(mark.time, mark.first, mark.last(), mark.end));
            within
                && match (stop.target, stop.bound) {
                    (Asked::Time(target), Bound::Inclusive) => base.time <= target,
                    (Asked::Time(target), Bound::Exclusive) => base.time < target,
                    (Asked::Position(target), _) => base.position.lsn <= target,
                    (Asked::Event(_) | Asked::Start, _) => true,
                }
        };
        let chosen = bases.iter().filter(holds).max_by_key(|base| base.position.lsn).cloned();
        chosen.ok_or_else(|| JournalError::NoBase {
            target: stop.target,
            earliest: bases.iter().map(|base| base.time).min(),
        })
    }

    /// Events that lie between base and target, as the journal counts them.
    fn expected(&self, stop: &Stop, base: &Base) -> Result<u64, JournalError> {
        let state = locked(&self.inner.state);
        let begin = state.ledger.begin(Asked::Position(base.position.lsn))?;
        let durable = self.inner.log.durable().lsn;
        let marks = &state.ledger.marks;
        let wanted = |mark: &&crate::ledger::Mark| {
            mark.first >= begin.event
                && mark.end <= durable
                && stop.includes(mark.time, mark.first, mark.last(), mark.end)
        };
        Ok(marks.iter().filter(wanted).map(|mark| u64::from(mark.count)).sum())
    }
}
