//! A journal with a target, everything stopping somewhere, and an oracle of numbers: what was acknowledged is there, what
//! was told as lost stays lost, and a target outside is given everything, in order.

use std::time::Duration;

use rpo_core::AckLevel;
use rpo_journal::{Asked, Fanout, FanoutConfig, Journal, JournalError};
use rpo_testkit::sim::{Case, FaultPlan, Rng};

use super::{Outside, Scene, change, changes};

#[derive(Debug, Default)]
struct Oracle {
    /// Events 1 to this were acknowledged as durable.
    acknowledged: u64,
    /// Events 1 to this were handed over; those after `acknowledged` may or may not survive.
    tried: u64,
    /// What the journal said of its coverage last.
    dropped: u64,
    lost: u64,
}

impl Oracle {
    fn saw(&mut self, journal: &Journal) {
        let coverage = journal.coverage();
        self.dropped = coverage.dropped.map_or(0, |dropped| dropped.event);
        self.lost = coverage.lost.map_or(0, |lost| lost.events);
    }

    /// Judges a journal that was opened again; what survived counts as acknowledged from then on.
    fn judge(&mut self, journal: &Journal, events_max: u64) -> Result<(), String> {
        let coverage = journal.coverage();
        let wrong = |what: String| Err(format!("{what}: {coverage:?}, {self:?}"));
        let dropped = coverage.dropped.map_or(0, |dropped| dropped.event);
        let lost = coverage.lost.map_or(0, |lost| lost.events);
        let last = coverage.to.map_or(dropped, |to| to.event);
        if dropped < self.dropped || lost < self.lost {
            return wrong("a restart forgot lost coverage".to_owned());
        }
        if lost != dropped {
            return wrong("what is not covered is not all told as lost".to_owned());
        }
        // A transaction of up to 4 gives way whole, and one that did not survive may have made room.
        if last < self.acknowledged || last > self.tried || dropped + events_max < last {
            return wrong("acknowledged events are missing, or some came from nowhere".to_owned());
        }
        if dropped > self.dropped.max((self.tried + 4).saturating_sub(events_max)) {
            return wrong("more gave way than had to".to_owned());
        }
        let mut next = dropped + 1;
        for event in journal.since(Asked::Start).map_err(|e| e.to_string())? {
            let event = event.map_err(|e| e.to_string())?;
            if event.id != next || event.change != change(next) {
                return wrong(format!("event {} where {next} belongs", event.id));
            }
            next += 1;
        }
        if next != last + 1 {
            return wrong(format!("reading ends before event {next}"));
        }
        if dropped > 0 {
            match journal.since(Asked::Event(dropped)) {
                Err(JournalError::Uncovered { .. }) => {}
                other => return wrong(format!("asked for what is gone: {:?}", other.map(|_| ()))),
            }
        }
        (self.acknowledged, self.tried, self.dropped, self.lost) = (last, last, dropped, lost);
        Ok(())
    }
}

/// What a target outside must have been given: each event at least once, none before all that came before it.
fn in_order(outside: &Outside) -> Result<u64, String> {
    let mut last = 0;
    for id in outside.given() {
        if id > last + 1 {
            return Err(format!("the target was given event {id} after {last}"));
        }
        last = last.max(id);
    }
    Ok(last)
}

struct Run {
    scene: Scene,
    oracle: Oracle,
    outside: Outside,
    verdict: Result<(), String>,
}

impl Run {
    fn life(&mut self, rng: &mut Rng, ops: u64) -> Result<(), JournalError> {
        let journal = self.scene.try_open()?;
        if let Err(verdict) = self.oracle.judge(&journal, self.scene.config.events_max) {
            self.verdict = Err(verdict);
            return Ok(());
        }
        let fanout = self.fanout(&journal)?;
        for _ in 0..ops {
            match rng.below(8) {
                0..=4 => {
                    let first = journal.next_event();
                    let count = 1 + rng.below(4);
                    self.oracle.tried = first + count - 1;
                    let receipt = journal.record(changes(first..first + count), AckLevel::Durable)?;
                    self.oracle.acknowledged = receipt.last;
                    // It goes on as soon as it can, so that coverage never leaves it behind.
                    while fanout.step_all() {}
                }
                5 => drop(journal.trim()?),
                6 => self.scene.clock.advance(Duration::from_secs(1)),
                _ => drop(fanout.step_all()),
            }
            self.oracle.saw(&journal);
        }
        Ok(())
    }

    fn fanout(&self, journal: &Journal) -> Result<Fanout, JournalError> {
        let fanout = self.scene.fanout(journal, FanoutConfig::default())?;
        fanout.add("outside", Box::new(self.outside.clone()), Asked::Start)?;
        Ok(fanout)
    }
}

/// Plays a script; everything stops at `step`, if one is given; then everything must be in order. Returns its steps.
fn play(case: &mut Case, step: Option<u64>) -> Result<u64, String> {
    let world = case.world_with(FaultPlan::calm());
    let mut rng = Rng::named(case.seed(), "script");
    let scene = Scene::in_world(world.clone()).limits(100_000, 20 + rng.below(20));
    let mut run = Run { scene, oracle: Oracle::default(), outside: Outside::default(), verdict: Ok(()) };
    if let Some(step) = step {
        world.crash_at(step);
    }
    for _ in 0..2 {
        match run.life(&mut rng, 25) {
            Ok(()) => run.verdict.clone()?,
            Err(_) if world.is_down() => world.sometimes("it all stopped"),
            Err(error) => return Err(format!("without a fault: {error}")),
        }
        world.reboot();
    }
    let steps = world.steps();
    let journal = run.scene.try_open().map_err(|e| format!("the fault is over, and still: {e}"))?;
    run.oracle.judge(&journal, run.scene.config.events_max)?;
    let fanout = run.fanout(&journal).map_err(|e| e.to_string())?;
    while fanout.step_all() {}
    let given = in_order(&run.outside)?;
    if given != run.oracle.acknowledged {
        let state = &fanout.status()[0].state;
        return Err(format!("the target was given {given} of {} events: {state:?}", run.oracle.acknowledged));
    }
    if run.outside.given().len() as u64 > given {
        world.sometimes("a target was given events twice");
    }
    if run.oracle.lost > 0 {
        world.sometimes("coverage was lost");
    }
    Ok(steps)
}

/// Plays the script of a seed without a crash, then with one at every step.
pub fn every_step(case: &mut Case) -> Result<(), String> {
    let steps = play(case, None)?;
    (0..steps).try_for_each(|step| play(case, Some(step)).map(drop).map_err(|e| format!("step {step}: {e}")))
}
