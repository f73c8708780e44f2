//! What is covered: one mark per commit, and the pure decision what gives way. No I/O, no clock.

use std::collections::VecDeque;
use std::fmt;

use rpo_core::{Lsn, Timestamp};

use crate::config::{JournalConfig, Overrun};
use crate::error::{Asked, JournalError};
use crate::stamp::{Dropped, LossReason, Lost};

/// Where an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// Its number.
    pub event: u64,
    /// LSN where its commit begins; for the end of a range: where it ends.
    pub lsn: Lsn,
    /// Its commit time.
    pub time: Timestamp,
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event {} of {} at lsn {}", self.event, self.time, self.lsn)
    }
}

/// What a journal covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coverage {
    /// The first event covered; none: nothing is.
    pub from: Option<Edge>,
    /// The last durable event covered, and the LSN where its commit ends.
    pub to: Option<Edge>,
    /// Events from `from` to `to`, both included.
    pub events: u64,
    /// The end of what is no longer covered, for whatever reason; none: everything ever recorded is.
    pub dropped: Option<Dropped>,
    /// What was dropped though it was within the window; none: nothing ever was.
    pub lost: Option<Lost>,
    /// Whether coverage is shorter than the window because of such a loss, now.
    pub is_short: bool,
}

/// One commit of the journal that is covered. 40 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) lsn: Lsn,
    pub(crate) end: Lsn,
    pub(crate) time: Timestamp,
}

impl Mark {
    pub(crate) fn last(&self) -> u64 {
        self.first + u64::from(self.count) - 1 // a mark has at least one event
    }

    fn edge(&self) -> Edge {
        Edge { event: self.first, lsn: self.lsn, time: self.time }
    }
}

/// What gives way, decided and not yet done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    commits: usize,
    pub(crate) dropped: Dropped,
    pub(crate) lost: Option<Lost>,
    pub(crate) newly_expired: u64,
    pub(crate) newly_lost: u64,
}

impl Plan {
    pub(crate) fn is_nothing(&self) -> bool {
        self.newly_expired == 0 && self.newly_lost == 0
    }
}

/// Where reading begins: at `lsn`, with the event `event` or the first after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Begin {
    pub(crate) lsn: Lsn,
    pub(crate) event: u64,
}

/// Which events there are and which of them are covered.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) marks: VecDeque<Mark>,
    /// Number of the next event.
    pub(crate) next: u64,
    /// Where what is not in `marks` yet will be found.
    pub(crate) tail: Lsn,
    pub(crate) dropped: Dropped,
    pub(crate) lost: Option<Lost>,
}

impl Ledger {
    pub(crate) fn new(next: u64, tail: Lsn) -> Self {
        Self { marks: VecDeque::new(), next, tail, dropped: Dropped::default(), lost: None }
    }

    /// Events covered, those still being written included.
    pub(crate) fn covered(&self) -> u64 {
        self.next - 1 - self.dropped.event
    }

    /// What has to give way for `incoming` more events at `now`.
    pub(crate) fn plan(
        &self,
        now: Timestamp,
        incoming: u64,
        config: &JournalConfig,
    ) -> Result<Plan, JournalError> {
        let horizon = now.saturating_sub(config.window.get());
        let mut plan =
            Plan { commits: 0, dropped: self.dropped, lost: self.lost, newly_expired: 0, newly_lost: 0 };
        let mut covered = self.covered();
        let mut marks = self.marks.iter();
        let mut next = marks.next();
        while let Some(mark) = next.filter(|mark| mark.time < horizon) {
            covered -= plan.pass(mark);
            plan.newly_expired += u64::from(mark.count);
            next = marks.next();
        }
        if covered + incoming > config.events_max && config.overrun == Overrun::Refuse && incoming > 0 {
            let oldest = next.map_or(now, |mark| mark.time);
            return Err(JournalError::Full { events: covered, limit: config.events_max, oldest });
        }
        while covered + incoming > config.events_max && config.overrun == Overrun::DropOldest {
            let Some(mark) = next else { return Err(JournalError::Writing) };
            covered -= plan.pass(mark);
            plan.lose(u64::from(mark.count), now, horizon, LossReason::Overrun);
            next = marks.next();
        }
        Ok(plan)
    }

    /// What is gone because the log no longer holds it, as opening found; none if nothing is.
    pub(crate) fn plan_released(&self, now: Timestamp, config: &JournalConfig) -> Option<Plan> {
        let first = self.marks.front();
        let last_gone = first.map_or(self.next, |mark| mark.first) - 1;
        let gone = last_gone.checked_sub(self.dropped.event).filter(|gone| *gone > 0)?;
        // When they were committed is no longer known: at the latest when the first that is left was.
        let (end, time) = first.map_or((self.tail, now), |mark| (mark.lsn, mark.time));
        let dropped = Dropped { event: last_gone, end, time };
        let mut plan = Plan { commits: 0, dropped, lost: self.lost, newly_expired: 0, newly_lost: 0 };
        plan.lose(gone, now, now.saturating_sub(config.window.get()), LossReason::Released);
        Some(plan)
    }

    /// Does what was planned.
    pub(crate) fn apply(&mut self, plan: &Plan) {
        self.marks.drain(..plan.commits);
        self.dropped = plan.dropped;
        self.lost = plan.lost;
    }

    pub(crate) fn coverage(&self, now: Timestamp, durable: Lsn, config: &JournalConfig) -> Coverage {
        let horizon = now.saturating_sub(config.window.get());
        let durable = self.marks.partition_point(|mark| mark.end <= durable);
        let last = durable.checked_sub(1).and_then(|last| self.marks.get(last));
        let from = last.and(self.marks.front()).map(Mark::edge);
        let to = last.map(|mark| Edge { event: mark.last(), lsn: mark.end, time: mark.time });
        Coverage {
            from,
            to,
            events: from.zip(to).map_or(0, |(from, to)| to.event - from.event + 1),
            dropped: (self.dropped.event > 0).then_some(self.dropped),
            lost: self.lost,
            is_short: self.lost.is_some_and(|lost| lost.last_time >= horizon),
        }
    }

    /// Where reading since `asked` begins.
    pub(crate) fn begin(&self, asked: Asked) -> Result<Begin, JournalError> {
        let covered = match asked {
            Asked::Start => true,
            Asked::Event(id) => id > self.dropped.event || self.dropped.event == 0,
            Asked::Position(lsn) => lsn >= self.dropped.end,
            Asked::Time(time) => time > self.dropped.time || self.dropped.event == 0,
        };
        #[cfg(feature = "planted-bugs")]
        let covered = covered || crate::planted::has(crate::planted::Bug::SilentGap);
        if !covered {
            return Err(self.uncovered(asked));
        }
        let at = match asked {
            Asked::Start => 0,
            Asked::Event(id) => self.marks.partition_point(|mark| mark.last() < id),
            Asked::Position(lsn) => self.marks.partition_point(|mark| mark.lsn < lsn),
            Asked::Time(time) => self.marks.partition_point(|mark| mark.time < time),
        };
        let after = self.marks.back().map_or(self.dropped.event + 1, |mark| mark.last() + 1);
        let begin = self.marks.get(at).map_or(Begin { lsn: self.tail, event: after }, |mark| Begin {
            lsn: mark.lsn,
            event: mark.first,
        });
        let wanted = if let Asked::Event(id) = asked { id } else { 0 };
        Ok(Begin { event: begin.event.max(wanted), ..begin })
    }

    pub(crate) fn uncovered(&self, asked: Asked) -> JournalError {
        let nearest = self.marks.front().map(Mark::edge);
        JournalError::Uncovered { asked, dropped: self.dropped, nearest }
    }

    /// The mark of the commit that holds event `id`.
    pub(crate) fn holding(&self, id: u64) -> Option<&Mark> {
        self.marks.get(self.marks.partition_point(|mark| mark.last() < id)).filter(|mark| mark.first <= id)
    }
}

impl Plan {
    fn pass(&mut self, mark: &Mark) -> u64 {
        self.commits += 1;
        self.dropped = Dropped { event: mark.last(), end: mark.end, time: mark.time };
        u64::from(mark.count)
    }

    fn lose(&mut self, events: u64, now: Timestamp, horizon: Timestamp, reason: LossReason) {
        let going_on = self.lost.filter(|lost| lost.last_time >= horizon);
        self.lost = Some(Lost {
            events: self.lost.map_or(0, |lost| lost.events).saturating_add(events),
            last: self.dropped.event,
            last_time: self.dropped.time,
            since: going_on.map_or(now, |lost| lost.since),
            reason,
        });
        self.newly_lost += events;
    }
}

#[cfg(test)]
mod tests;
