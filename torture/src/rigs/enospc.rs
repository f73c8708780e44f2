//! A file system that is full, and gets room again below a running log.

use std::sync::Arc;

use super::{Options, each, fresh, heard, mix};
use crate::child::{Place, spawn_heard};
use crate::judge::Journal;
use crate::powercut::mount::{self, Mounted};
use crate::summary::Summary;

/// Too little for what the victim writes, enough for the log to begin.
const SMALL: u64 = 320 << 10;
const LARGE: u64 = 4 << 20;
const COMMITS: u64 = 700;

/// Fills a small file system; gives it room when the victim says that it is full: it must go on by itself. Every third
/// victim is killed when full instead, and opened with room.
pub(super) fn enospc(place: &Place, options: &Options) -> anyhow::Result<Summary> {
    if !rustix::process::geteuid().is_root() {
        return Ok(Summary { skipped: Some("mounting needs root".to_owned()), ..Summary::default() });
    }
    mount::clear_leftovers(&place.scratch)?;
    each(options.cycles(4, 60), options, |case| {
        let small = SMALL + mix(options.seed, case) % 64 * 4096;
        let again = format!("again: --rig enospc --seed {}, case {case}, {small} bytes", options.seed);
        let (mut sum, mut journal) = (Summary::default(), Journal::default());
        let dir = fresh(place, &format!("enospc-{case}"))?;
        let room = Arc::new(Mounted::small(&dir.join("fs"), small)?);
        let (kill, inside) = (case % 3 == 2, Arc::clone(&room));
        let (full, is_full) = std::sync::mpsc::channel();
        let hear = move |line: &str| {
            if line.starts_with("FULL") {
                let _ = full.send(if kill { Ok(()) } else { inside.resize(LARGE) });
            }
        };
        let log = dir.join("fs/log");
        let mut child = spawn_heard(place.victim("fill", &log, 1, &[1, COMMITS]), hear)?;
        if kill && is_full.recv_timeout(std::time::Duration::from_secs(20)).is_ok() {
            sum.faults += 1;
            child.kill();
        }
        let run = child.finish()?;
        heard(&mut sum, &mut journal, &run, &again);
        while let Ok(resized) = is_full.try_recv() {
            resized?;
            sum.faults += 1;
        }
        if !kill && (run.code != Some(0) || !run.out.ends_with("DONE .\n")) {
            sum.fail(format!("did not go on when there was room: {}; {again}", run.err.trim()));
        }
        room.resize(LARGE)?;
        sum.promises += journal.promises() as u64;
        sum.false_acks += journal.false_acks();
        let verdict = journal.judge(place, &log, kill)?;
        sum.count(&verdict, &dir, &again);
        drop(room);
        if sum.is_good() {
            std::fs::remove_dir_all(dir)?;
        }
        Ok(sum)
    })
}
