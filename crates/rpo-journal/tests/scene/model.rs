//! A list of events, and the limits applied to it by hand: what a journal must look like. Shares no code with it.

use std::time::Duration;

use rpo_core::Clock as _;
use rpo_core::{AckLevel, Bound, Timestamp};
use rpo_journal::{Asked, Base, Journal, JournalError, LossReason, Overrun};
use rpo_testkit::sim::{Case, FaultPlan, Rng};

use super::{Scene, changes, ids};

#[derive(Debug, Clone, Copy)]
struct Commit {
    first: u64,
    last: u64,
    time: Timestamp,
    end: rpo_core::Position,
}

#[derive(Debug, Default)]
struct Model {
    /// All that was ever recorded.
    commits: Vec<Commit>,
    /// How many of them are no longer covered.
    dropped: usize,
    lost: u64,
}

impl Model {
    fn last(&self) -> u64 {
        self.commits.last().map_or(0, |c| c.last)
    }

    fn dropped_last(&self) -> u64 {
        self.dropped.checked_sub(1).map_or(0, |at| self.commits[at].last)
    }

    /// Lets go by the limits, for `incoming` more; false if that is refused.
    fn limit(&mut self, now: Timestamp, incoming: u64, scene: &Scene) -> bool {
        let before = self.dropped;
        while self.commits.get(self.dropped).is_some_and(|c| now.since(c.time) > scene.config.window.get()) {
            self.dropped += 1;
        }
        while self.last() - self.dropped_last() + incoming > scene.config.events_max {
            if scene.config.overrun == Overrun::Refuse {
                if incoming > 0 {
                    self.dropped = before;
                }
                return incoming == 0;
            }
            let gone = self.commits[self.dropped];
            self.lost += gone.last - gone.first + 1;
            self.dropped += 1;
        }
        true
    }

    fn judge(&self, journal: &Journal) -> Result<(), String> {
        let coverage = journal.coverage();
        let wrong = |what: &str| Err(format!("{what}: {coverage:#?}, but {self:#?}"));
        let left = &self.commits[self.dropped..];
        if coverage.from.map(|edge| edge.event) != left.first().map(|c| c.first) {
            return wrong("coverage begins elsewhere");
        }
        if coverage.to.map(|edge| (edge.event, edge.time)) != left.last().map(|c| (c.last, c.time)) {
            return wrong("coverage ends elsewhere");
        }
        if coverage.lost.map_or(0, |lost| lost.events) != self.lost {
            return wrong("lost coverage is counted otherwise");
        }
        if coverage.lost.is_some_and(|lost| lost.reason != LossReason::Overrun) {
            return wrong("lost for another reason");
        }
        let all: Vec<u64> = (self.dropped_last() + 1..=self.last()).collect();
        match ids(journal, Asked::Start) {
            Ok(found) if found == all => Ok(()),
            other => wrong(&format!("since the start: {other:?}")),
        }
    }

    /// Asks for a random point.
    fn ask(&self, journal: &Journal, rng: &mut Rng) -> Result<(), String> {
        let id = 1 + rng.below(self.last() + 1);
        let found = ids(journal, Asked::Event(id));
        let gone = self.dropped_last();
        match found {
            Ok(found) if id > gone && found == (id..=self.last()).collect::<Vec<_>>() => {}
            Err(JournalError::Uncovered { nearest, .. })
                if id <= gone
                    && nearest.map(|n| n.event) == self.commits.get(self.dropped).map(|c| c.first) => {}
            other => return Err(format!("since event {id}, {gone} are gone: {other:?}")),
        }
        let Some(commit) = self.commits.get(rng.index(self.commits.len().max(1))) else { return Ok(()) };
        let found = ids(journal, Asked::Time(commit.time));
        let gone_time = self.dropped.checked_sub(1).map(|at| self.commits[at].time);
        let expected: Vec<u64> =
            (self.commits.iter()).filter(|c| c.time >= commit.time).flat_map(|c| c.first..=c.last).collect();
        match found {
            Ok(found) if gone_time.is_none_or(|gone| commit.time > gone) && found == expected => Ok(()),
            Err(JournalError::Uncovered { .. }) if gone_time.is_some_and(|gone| commit.time <= gone) => {
                Ok(())
            }
            other => Err(format!("since {}, up to {gone_time:?} is gone: {other:?}", commit.time)),
        }
    }

    /// Replays to a random time from bases at random commits.
    fn replay(&self, journal: &Journal, rng: &mut Rng) -> Result<(), String> {
        if self.commits.is_empty() {
            return Ok(());
        }
        let pick = |rng: &mut Rng| rng.index(self.commits.len());
        let at: Vec<usize> = (0..3).map(|_| pick(rng)).collect();
        let base = |at: &usize| Base {
            checkpoint: None,
            position: self.commits[*at].end,
            time: self.commits[*at].time,
        };
        let bases: Vec<Base> = at.iter().map(base).collect();
        let target = self.commits[pick(rng)].time;
        let bound = if rng.coin() { Bound::Inclusive } else { Bound::Exclusive };
        let within = |time: Timestamp| if bound == Bound::Inclusive { time <= target } else { time < target };
        let mut seen = Vec::new();
        let result = journal.replay_to(Asked::Time(target), bound, &bases, |event| {
            seen.push(event.id);
            Ok(())
        });
        let last = self.commits[self.commits.len() - 1].time;
        if bound == Bound::Inclusive && target == last && matches!(result, Err(JournalError::Ahead { .. })) {
            return Ok(()); // the moment is still going on: more may be committed in it
        }
        let chosen = at.iter().filter(|at| within(self.commits[**at].time)).max();
        let Some(chosen) = chosen else {
            let right = matches!(result, Err(JournalError::NoBase { .. }));
            return if right { Ok(()) } else { Err(format!("no base, and still {result:?}")) };
        };
        if chosen + 1 < self.dropped {
            let right = matches!(result, Err(JournalError::Uncovered { .. }));
            return if right { Ok(()) } else { Err(format!("events are gone, and still {result:?}")) };
        }
        let expected: Vec<u64> = self.commits[chosen + 1..]
            .iter()
            .filter(|c| within(c.time))
            .flat_map(|c| c.first..=c.last)
            .collect();
        match result {
            Ok(done) if seen == expected && done.events == seen.len() as u64 => Ok(()),
            other => Err(format!("{other:?} gave {seen:?}, not {expected:?}")),
        }
    }
}

/// Random recording, trimming, restarts, questions and replays; the journal must be as the model after each.
pub fn random(case: &mut Case) -> Result<(), String> {
    let world = case.world_with(FaultPlan::calm());
    let mut rng = Rng::named(case.seed(), "script");
    let mut scene = Scene::in_world(world).limits(5 + rng.below(60), 5 + rng.below(60));
    scene.config.overrun = if rng.coin() { Overrun::DropOldest } else { Overrun::Refuse };
    let mut model = Model::default();
    let mut journal = scene.open();
    for _ in 0..60 {
        match rng.below(10) {
            0..=4 => step_record(&scene, &journal, &mut model, &mut rng)?,
            5 => scene.clock.advance(Duration::from_millis(rng.below(15_000))),
            6 => {
                let report = journal.trim().map_err(|e| e.to_string())?;
                model.limit(scene.clock.wall(), 0, &scene);
                if report.segments_released > 0 {
                    scene.world.sometimes("segments were released");
                }
            }
            7 => {
                journal = scene.reopen(journal);
                model.limit(scene.clock.wall(), 0, &scene);
                scene.world.sometimes("reopened");
            }
            8 => model.ask(&journal, &mut rng)?,
            _ => model.replay(&journal, &mut rng)?,
        }
        model.judge(&journal)?;
    }
    if model.lost > 0 {
        scene.world.sometimes("coverage was lost");
    }
    Ok(())
}

fn step_record(scene: &Scene, journal: &Journal, model: &mut Model, rng: &mut Rng) -> Result<(), String> {
    if rng.coin() {
        scene.clock.advance(Duration::from_millis(rng.below(1000)));
    }
    let count = 1 + rng.below(5);
    let first = model.last() + 1;
    let allowed = model.limit(scene.clock.wall(), count, scene);
    match journal.record(changes(first..first + count), AckLevel::Durable) {
        Ok(receipt) if allowed && receipt.first == first && receipt.last == first + count - 1 => {
            model.commits.push(Commit { first, last: receipt.last, time: receipt.time, end: receipt.end });
            Ok(())
        }
        Err(JournalError::Full { .. }) if !allowed => {
            scene.world.sometimes("a full journal refused");
            Ok(())
        }
        other => Err(format!("recording {count} from {first}, allowed {allowed}: {other:?}")),
    }
}
