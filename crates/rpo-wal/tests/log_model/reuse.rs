//! Segments that are let go of and used again: a crash at every step of it, and a reader in the middle of one.

use rpo_core::{ByteSize, Lsn};
use rpo_testkit::sim::{Case, FaultPlan, Rng};
use rpo_wal::WalConfig;

use super::promises::{Reader, Underway};
use super::script::{End, Level, Life, Op, Script};
use super::site::Site;

/// A log that fills segments, lets go of them and fills them again, with a power cut at every single step.
pub(crate) fn every_step(case: &mut Case) -> Result<(), String> {
    let script = Script { config: config(16 << 10), lives: vec![life(case.rng()), life(case.rng())] };
    let play = |case: &mut Case, at: Option<u64>| {
        let mut site = Site::new(case.world_with(FaultPlan::calm()), script.config.clone());
        if let Some(step) = at {
            site.world.crash_at(step);
        }
        site.play(&script).map_err(|error| format!("power cut at {at:?}: {error}"))?;
        Ok(site.world.steps())
    };
    let steps = play(case, None)?;
    (0..steps).try_for_each(|step| play(case, Some(step)).map(drop))
}

fn config(segment: u64) -> WalConfig {
    let mut config = WalConfig::zero_loss();
    config.segment_bytes = ByteSize::new(segment);
    config.frame_bytes_max = ByteSize::new(4 << 10);
    config.spares = 4; // there is always one to be made
    config
}

fn life(rng: &mut Rng) -> Life {
    let mut ops = Vec::new();
    for _ in 0..3 {
        let appends = 3 + rng.below(3);
        ops.extend((0..appends).map(|_| Op::Append { records: vec![3000], level: Level::Durable }));
        ops.push(Op::Step(1)); // the newest segment gets its name
        ops.push(Op::Release(2000));
        ops.push(Op::Step(1 + rng.below(6)));
    }
    Life { ops, end: End::PowerCut, replaying: rng.coin() }
}

/// A reader that is half way through a segment when that is let go of, zeroed and made a spare.
pub(crate) fn half_read(case: &mut Case) -> Result<(), String> {
    let world = case.world_with(FaultPlan::calm());
    let mut site = Site::new(world, config(1 << 20));
    let log = site.open(false, Lsn::ZERO).map_err(|error| error.to_string())?.0;
    for _ in 0..400 + case.rng().below(50) {
        site.append(&log, &[3900], Level::Durable)?;
    }
    let mut underway = Underway::default();
    let at = site.oracle.start();
    underway.reader = Some(Reader { replay: log.replay(at.0), at, faults: 0 });
    let before = case.rng().below(40);
    (0..before).try_for_each(|_| site.hear(&log, &mut underway))?;
    site.oracle.let_go(Lsn::new(u64::MAX));
    log.release(Lsn::new(u64::MAX)).map_err(|error| error.to_string())?;
    (0..8).for_each(|_| _ = log.step());
    while underway.reader.is_some() {
        site.hear(&log, &mut underway)?;
    }
    Ok(())
}
