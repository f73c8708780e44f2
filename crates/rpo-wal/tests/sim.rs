//! The log under everything that can go wrong with a machine: power cuts at every step, failed syncs and writes, full
//! disks, clock steps, killed processes. Promises 1, 2, 3 (DESIGN §3), judged by an oracle that shares no code with it.

mod log_model;

use rpo_testkit::sim::{Case, FaultKind, FaultPlan, assert_seen, run_seeds};

#[test]
fn acknowledged_commits_survive_whatever_the_seed_says() {
    let seen = run_seeds(0..500, log_model::swarm);

    println!("{seen}");
    assert_seen(
        &seen,
        &[
            "sync-error",
            "sync-dir-error",
            "write-error",
            "no-space",
            "writeback",
            "evict",
            "clock-back",
            "clock-forward",
            "crash: sector lost",
            "crash: name lost",
            "a commit was acknowledged as durable",
            "unacknowledged commits were lost",
            "recovery cut a torn tail",
            "recovery cut an unordered tail",
            "recovery read several segments",
            "recovery wrote the unproven tail again",
            "refused by a poisoned log",
            "told that the fate is unknown",
            "read-error",
            "sync-error-whole",
            "sync-error-nothing",
            "a callback was given",
            "a future was dropped half way",
            "refused for now",
            "refused for want of space",
            "a disk that was full has room again",
            "no room to open the log",
            "opening failed",
            "the log was closed",
            "opening found a log that was closed",
            "a poisoned log was opened again",
            "segments were released",
            "a reader was told that it reads what was released",
            "opening removed a segment that was being made a spare again",
            "opening finished a release that was interrupted",
            "opening moved a replaced segment aside",
            "opening removed a half-made spare",
            "opening found a segment under the name of a spare",
        ],
    );
}

#[test]
fn a_power_cut_at_every_single_step_loses_nothing_acknowledged() {
    run_seeds(0..3, every_step);
}

#[test]
fn every_single_sync_may_fail_once() {
    run_seeds(0..3, |case| {
        each_fault_once(case, &[FaultKind::SyncError, FaultKind::SyncDirError, FaultKind::WriteError])
    });
}

#[test]
fn the_disk_may_be_full_at_any_moment() {
    run_seeds(0..3, |case| each_fault_once(case, &[FaultKind::NoSpace]));
}

#[test]
fn rot_of_a_log_at_rest_is_named_or_touches_nothing_acknowledged() {
    let seen = run_seeds(0..1000, log_model::rot::rotten);

    println!("{seen}");
    assert_seen(
        &seen,
        &[
            "rot touched nothing that counts",
            "a header is damaged",
            "row 1: a later segment proves it",
            "row 4: rot",
            "row 5: a witness says there was more",
            "row 6: a later frame proves it",
            "row 8: misplaced",
        ],
    );
}

#[test]
fn a_power_cut_at_every_step_of_reusing_segments_loses_nothing_acknowledged() {
    run_seeds(0..2, log_model::reuse::every_step);
}

#[test]
fn a_reader_of_a_segment_that_is_used_again_is_told_so() {
    let seen = run_seeds(0..3, log_model::reuse::half_read);

    assert_seen(&seen, &["a reader was told that it reads what was released"]);
}

/// Plays the script again and again; in the nth round the nth opportunity of the fault is taken.
fn each_fault_once(case: &mut Case, kinds: &[FaultKind]) -> Result<(), String> {
    let calm = FaultPlan::calm().with(FaultKind::Evict, 500);
    for kind in kinds {
        for skip in 0.. {
            let (mut site, script) = log_model::site(case, &calm);
            site.world.arm(*kind, skip);
            site.play(&script).map_err(|error| format!("{} number {skip}: {error}", kind.name()))?;
            if site.world.seen().get(kind.name()) == 0 {
                break;
            }
        }
    }
    Ok(())
}

/// Plays the script of a seed without faults, then again with a power cut, and with a kill, at every single step.
fn every_step(case: &mut Case) -> Result<(), String> {
    let calm = FaultPlan::calm();
    let (mut site, script) = log_model::site(case, &calm);
    site.play(&script)?;
    (0..site.world.steps()).try_for_each(|step| {
        log_model::crashed_at(case, &calm, step, true)?;
        log_model::crashed_at(case, &calm, step, false)
    })
}
