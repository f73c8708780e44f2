//! When commits were acknowledged: bounded memory, and where it is not exact it errs towards more loss.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Moment, bug};
use crate::{Lsn, Position, Timestamp};

/// The first commit at or after a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oldest {
    /// There is none.
    None,
    /// It was acknowledged then, or (where runs were merged) later.
    Since(Moment),
    /// There may be one, and nobody knows since when.
    Undated,
}

/// Remembers when the commits of one stream were acknowledged, to answer "since when is the first commit at or after
/// P waiting?".
///
/// At most `capacity` runs of commits are kept. When there are more, neighbours are merged and the merged run counts as
/// old as its first commit; the error is at most four times the time covered divided by the capacity (when the runs
/// were merged), and [`CommitTimeline::resolution`] tells it. What lies before the memory begins is answered from the oldest moment known, or `Undated`.
#[derive(Debug, Clone)]
pub struct CommitTimeline {
    capacity: usize,
    /// Commits closer together than this join one run.
    grain: Duration,
    /// Before this, single runs are no longer kept; `past` speaks for all of it.
    floor: Position,
    past: Oldest,
    head: Position,
    runs: VecDeque<Run>,
}

/// One or more commits, acknowledged from `first` to `last`, the last of them ending at `end`.
#[derive(Debug, Clone, Copy)]
struct Run {
    end: Position,
    first: Moment,
    last: Moment,
}

impl CommitTimeline {
    /// A memory that begins at `start`. Unless that is the beginning of the stream, it knows nothing of what is before.
    /// `capacity` in runs, 4 to 2^24; a run takes about 80 bytes.
    pub fn new(start: Position, capacity: usize) -> Self {
        let past = if start.lsn == Lsn::ZERO { Oldest::None } else { Oldest::Undated };
        let capacity = capacity.clamp(4, 1 << 24);
        Self { capacity, grain: Duration::ZERO, floor: start, past, head: start, runs: VecDeque::new() }
    }

    /// The last position acknowledged, as far as told.
    pub fn head(&self) -> Position {
        self.head
    }

    /// How much older than it is a commit may be taken for, at most.
    pub fn resolution(&self) -> Duration {
        self.runs.iter().map(|run| run.last.since(run.first)).max().unwrap_or(Duration::ZERO)
    }

    /// Commits were acknowledged at `at`, the last of them ending at `end`. What is already known is passed over.
    pub fn record(&mut self, end: Position, at: Moment) {
        if end.lsn <= self.head.lsn {
            return;
        }
        self.head = end;
        for run in self.runs.iter_mut().rev().take_while(|run| run.first > at) {
            run.first = at; // a clock fault: what comes before a commit counts at least as old
        }
        match self.runs.back_mut() {
            Some(run) if joins(run.first, at, self.grain) => (run.end, run.last) = (end, run.last.max(at)),
            _ => self.runs.push_back(Run { end, first: at, last: at }),
        }
        if self.runs.len() > self.capacity {
            self.merge();
        }
    }

    /// The head moved without a commit: markers only.
    pub fn advance(&mut self, head: Position) {
        if head.lsn > self.head.lsn {
            self.head = head;
        }
    }

    /// Commits before `position` are protected everywhere: their times need not be kept one by one.
    pub fn release(&mut self, position: Position) {
        while let Some(run) = self.runs.front().copied().filter(|run| run.end.lsn <= position.lsn) {
            self.runs.pop_front();
            self.floor = run.end;
            if self.past == Oldest::None {
                self.past = Oldest::Since(run.first);
            }
        }
        if self.runs.len() < self.capacity / 4 {
            self.grain = self.grain.min(self.fitting_grain());
        }
    }

    /// The history now ends at `fork`: a new writer took over there, and what was past it is another history's.
    pub fn fork(&mut self, fork: Position) {
        self.head = fork;
        while self.runs.back().is_some_and(|run| run.end.lsn > fork.lsn) {
            let run = self.runs.pop_back().expect("a last run was just seen");
            let before = self.runs.back().map_or(self.floor.lsn, |previous| previous.end.lsn);
            if before < fork.lsn {
                self.runs.push_back(Run { end: fork, ..run }); // some of its commits may lie before the fork
                break;
            }
        }
        if self.floor.lsn > fork.lsn {
            self.floor = fork;
        }
    }

    /// The first commit at or after `from`; none given means that nothing is protected.
    pub fn oldest_from(&self, from: Option<Position>) -> Oldest {
        let counted = from.and_then(|position| position.sequence).zip(self.head.sequence);
        if counted.is_some_and(|(from, head)| from >= head) && !bug!(AgeFromLastProtected) {
            return Oldest::None; // the counts prove it, whatever is remembered
        }
        let lsn = from.map_or(Lsn::ZERO, |position| position.lsn);
        if lsn < self.floor.lsn
            && !self.nothing_between(from)
            && self.past != Oldest::None
            && !bug!(PastIsSafe)
        {
            return self.past;
        }
        let at = self.runs.partition_point(|run| run.end.lsn <= lsn);
        if bug!(AgeFromLastProtected) {
            return at.checked_sub(1).map_or(Oldest::None, |before| Oldest::Since(self.runs[before].first));
        }
        self.runs.get(at).map_or(Oldest::None, |run| Oldest::Since(run.first))
    }

    /// True if the counts prove that no commit lies between `from` and the floor.
    fn nothing_between(&self, from: Option<Position>) -> bool {
        let from = from.and_then(|position| position.sequence);
        from.is_some() && from == self.floor.sequence
    }

    /// Two neighbours of merged runs span at least a grain, so half the capacity is enough for all.
    fn fitting_grain(&self) -> Duration {
        match (self.runs.front(), self.runs.back()) {
            (Some(oldest), Some(newest)) => newest.last.since(oldest.first) / (self.capacity as u32 / 4),
            _ => Duration::ZERO,
        }
    }

    fn merge(&mut self) {
        self.grain = self.fitting_grain() + Duration::from_nanos(1);
        let mut merged: VecDeque<Run> = VecDeque::with_capacity(self.runs.len());
        for run in self.runs.drain(..) {
            match merged.back_mut() {
                Some(before) if joins(before.first, run.last, self.grain) => {
                    (before.end, before.last) = (run.end, before.last.max(run.last));
                    if bug!(MergeKeepsNewer) {
                        before.first = run.first;
                    }
                }
                _ => merged.push_back(run),
            }
        }
        self.runs = merged;
    }

    /// What the next run needs to know, taken at `now`. Write it down durably; see [`CommitTimeline::restore`].
    pub fn save(&self, now: Moment) -> SavedTimeline {
        SavedTimeline {
            saved_at: now.wall(),
            floor: self.floor,
            past: match self.past {
                Oldest::None => SavedPast::None,
                Oldest::Since(moment) => SavedPast::Since(moment.written(now)),
                Oldest::Undated => SavedPast::Undated,
            },
            head: self.head,
            runs: self
                .runs
                .iter()
                .map(|run| SavedRun { end: run.end, first: run.first.written(now) })
                .collect(),
        }
    }

    /// The memory of an earlier run, continued at the `head` found when the log was opened.
    ///
    /// Commits made after it was saved count as old as the save. If the wall clock is behind the save, no age of
    /// before is known: all of it is `Undated`, never zero. Ages of earlier runs stand on the wall clock: a step back
    /// that is shorter than the time the program was down cannot be seen here.
    pub fn restore(saved: &SavedTimeline, head: Position, now: Moment, capacity: usize) -> Self {
        let unknown = Self { past: Oldest::Undated, ..Self::new(head, capacity) };
        let Some(saved_at) = Moment::recalled(saved.saved_at, now) else { return unknown };
        let past = match saved.past {
            SavedPast::Since(wall) => Moment::recalled(wall, now).map_or(Oldest::Undated, Oldest::Since),
            SavedPast::None => Oldest::None,
            SavedPast::Undated => Oldest::Undated,
        };
        let mut timeline = Self { past, ..Self::new(saved.floor, capacity) };
        for run in &saved.runs {
            let Some(first) = Moment::recalled(run.first, now) else { return unknown };
            timeline.record(run.end, first);
        }
        timeline.advance(saved.head);
        if head.lsn < timeline.head.lsn {
            timeline.fork(head);
        } else if head.sequence.is_some() && head.sequence == saved.head.sequence {
            timeline.advance(head);
        } else {
            timeline.record(head, saved_at);
        }
        timeline
    }
}

/// Whether a run that began at `first` may go on to `last`.
fn joins(first: Moment, last: Moment, grain: Duration) -> bool {
    let apart = last.since(first);
    apart.is_zero() || apart < grain
}

/// A [`CommitTimeline`] at rest, in wall time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SavedTimeline {
    saved_at: Timestamp,
    floor: Position,
    past: SavedPast,
    head: Position,
    runs: Vec<SavedRun>,
}

impl SavedTimeline {
    /// How many runs of commits it holds.
    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    /// When it was saved.
    pub fn saved_at(&self) -> Timestamp {
        self.saved_at
    }
}

/// A run of commits at rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct SavedRun {
    end: Position,
    first: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum SavedPast {
    None,
    Since(Timestamp),
    Undated,
}
