//! Rigs with a disk that fails inside the victim's process: `shim/faults.c`, preloaded.

use std::path::Path;

use super::{Options, close, each, fresh, heard, mix};
use crate::child::{Place, Run, spawn};
use crate::judge::Journal;
use crate::summary::Summary;

fn shimmed(
    place: &Place,
    mode: &str,
    victim: (&str, &[u64]),
    at: u64,
    seed: u64,
    dir: &Path,
) -> anyhow::Result<(Run, [u64; 3])> {
    let count = dir.join("count");
    let mut command = place.victim(victim.0, &dir.join("log"), 1, victim.1);
    place.shimmed(&mut command, &dir.join("log"), mode, at, seed, &count);
    let run = spawn(command)?.finish()?;
    let text = std::fs::read_to_string(count).unwrap_or_default();
    let mut counts = text.split_whitespace().map(|n| n.parse().unwrap_or(0));
    Ok((run, [0; 3].map(|_: u64| counts.next().unwrap_or(0))))
}

const WRITERS: u64 = 64;

/// One sync fails below 64 writers: nobody hangs, nobody is told a lie.
pub(super) fn fsync_64(place: &Place, options: &Options) -> anyhow::Result<Summary> {
    each(options.cycles(6, 200), options, |case| {
        let at = 8 + mix(options.seed, case) % 40;
        let again = format!("again: --rig fsync-64 --seed {}, sync {at}", options.seed);
        let (dir, mut sum, mut journal) =
            (fresh(place, &format!("fsync-{case}"))?, Summary::default(), Journal::default());
        let (run, [_, syncs, _]) = shimmed(place, "eio-once", ("once", &[WRITERS]), at, 1, &dir)?;
        heard(&mut sum, &mut journal, &run, &again);
        sum.faults += u64::from(syncs >= at);
        let errors: Vec<&str> = run.out.lines().filter_map(|line| line.strip_prefix("ERR ")).collect();
        if syncs >= at && errors.len() != WRITERS as usize {
            sum.fail(format!("{} of {WRITERS} writers were told; {again}", errors.len()));
        }
        for error in errors {
            let mut words = error.split(' ');
            let kind = words.next().unwrap_or_default();
            if !["Unknown", "Refused"].contains(&kind) {
                sum.fail(format!("neither `may or may not survive` nor `refused`: {error}; {again}"));
            }
            let millis = words.next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(u64::MAX);
            if millis > 1_000 {
                sum.fail(format!("a writer waited {millis} ms for its error; {again}"));
            }
        }
        close(place, &dir, &mut journal, false, &mut sum, &again)?;
        Ok(sum)
    })
}

/// The power goes at a step: unsynced sectors and names are taken back at random.
pub(super) fn cut(place: &Place, options: &Options) -> anyhow::Result<Summary> {
    each(options.cycles(80, 5_000), options, |case| {
        let (at, seed) = (1 + mix(options.seed, case) % 260, mix(options.seed, case) | 1);
        let again = format!("again: --rig cut --seed {}, case {case}, step {at}", options.seed);
        let (dir, mut sum, mut journal) =
            (fresh(place, &format!("cut-{case}"))?, Summary::default(), Journal::default());
        let victim: (&str, &[u64]) = if case % 2 == 0 { ("script", &[1, 200]) } else { ("load", &[4, 200]) };
        let (run, _) = shimmed(place, "cut", victim, at, seed, &dir)?;
        heard(&mut sum, &mut journal, &run, &again);
        sum.faults += u64::from(run.signal == Some(9));
        close(place, &dir, &mut journal, false, &mut sum, &again)?;
        Ok(sum)
    })
}

/// Faults that strace cannot make: done and reported as failed, failed once and fine later, half a write, a lying disk.
pub(super) fn shim(place: &Place, options: &Options) -> anyhow::Result<Summary> {
    let modes = ["done-eio", "eio-once", "half", "lie"];
    each(options.cycles(40, 800), options, |case| {
        let (mode, at) = (modes[(case % 4) as usize], 2 + mix(options.seed, case) % 60);
        let again = format!("again: --rig shim --seed {}, {mode} at {at}", options.seed);
        let (dir, mut sum, mut journal) =
            (fresh(place, &format!("shim-{case}"))?, Summary::default(), Journal::default());
        let (run, [_, syncs, writes]) = shimmed(place, mode, ("load", &[3, 120]), at, case + 1, &dir)?;
        heard(&mut sum, &mut journal, &run, &again);
        sum.faults += u64::from(if mode == "half" { writes >= at } else { syncs >= at });
        if mode != "lie" {
            close(place, &dir, &mut journal, false, &mut sum, &again)?;
            return Ok(sum);
        }
        let verdict = journal.judge(place, &dir.join("log"), false)?;
        let lost = !verdict.lost.is_empty() || verdict.refused.is_some();
        sum.expected_losses[0] += u64::from(lost);
        sum.expected_losses[1] += u64::from(verdict.refused.is_some());
        sum.hangs += u64::from(verdict.hung.is_some());
        std::fs::remove_dir_all(dir)?;
        Ok(sum)
    })
}
