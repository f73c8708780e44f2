//! The rigs. Each is a list of independent cases, run by two workers; a case that fails keeps its directory.

mod enospc;
mod preload;
mod strace;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::child::{Place, Run, spawn};
use crate::judge::Journal;
use crate::summary::Summary;

/// How much is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Kills, cuts, or rounds; none takes the rig's own number.
    pub cycles: Option<u64>,
    /// Ends a rig after so long, wherever it is.
    pub seconds: Option<u64>,
    /// A few cases of everything.
    pub quick: bool,
    /// Where random choices begin.
    pub seed: u64,
}

impl Options {
    pub(crate) fn cycles(&self, quick: u64, full: u64) -> u64 {
        self.cycles.unwrap_or(if self.quick { quick } else { full })
    }
}

type Rig = fn(&Place, &Options) -> anyhow::Result<Summary>;

/// Every rig by its name.
pub const RIGS: [(&str, Rig); 8] = [
    ("kill", kill),
    ("syscalls", strace::syscalls),
    ("errno", strace::errno),
    ("fsync-64", preload::fsync_64),
    ("cut", preload::cut),
    ("shim", preload::shim),
    ("enospc", enospc::enospc),
    ("powercut", crate::powercut::rig),
];

/// Runs one rig.
///
/// # Errors
/// It could not be run at all, which says nothing of the log.
pub fn run(name: &str, place: &Place, options: &Options) -> anyhow::Result<Summary> {
    let (name, rig) =
        RIGS.iter().find(|(known, _)| *known == name).with_context(|| format!("no rig `{name}`"))?;
    let mut summary = rig(place, options).with_context(|| format!("rig {name}"))?;
    summary.rig = name;
    if summary.skipped.is_none() && summary.faults == 0 {
        summary.fail("no fault came to be: the rig shows nothing".to_owned());
    }
    Ok(summary)
}

/// A number that looks random, the same for the same `seed` and `index`.
pub(crate) fn mix(seed: u64, index: u64) -> u64 {
    let mut x = seed ^ index.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

pub(crate) fn each(
    cases: u64,
    options: &Options,
    case: impl Fn(u64) -> anyhow::Result<Summary> + Sync,
) -> anyhow::Result<Summary> {
    let (next, total, began) = (AtomicU64::new(0), Mutex::new(Summary::default()), Instant::now());
    let over = || options.seconds.is_some_and(|seconds| began.elapsed() > Duration::from_secs(seconds));
    let worker = || -> anyhow::Result<()> {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= cases || over() {
                return Ok(());
            }
            let part = case(index)?;
            total.lock().unwrap_or_else(std::sync::PoisonError::into_inner).add(part);
        }
    };
    std::thread::scope(|scope| {
        let workers = [scope.spawn(worker), scope.spawn(worker)];
        workers.into_iter().try_for_each(|w| w.join().unwrap_or_else(|_| bail!("a rig's worker panicked")))
    })?;
    Ok(total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}

pub(crate) fn fresh(place: &Place, name: &str) -> anyhow::Result<PathBuf> {
    let dir = place.scratch.join(name);
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// Judges, counts, and removes what is good.
pub(crate) fn close(
    place: &Place,
    dir: &Path,
    journal: &mut Journal,
    killed: bool,
    sum: &mut Summary,
    again: &str,
) -> anyhow::Result<()> {
    sum.promises += journal.promises() as u64;
    sum.false_acks += journal.false_acks();
    if journal.false_acks() > 0 {
        sum.fail(format!("a promise after the log had failed; kept in {}; {again}", dir.display()));
    }
    let verdict = journal.judge(place, &dir.join("log"), killed)?;
    sum.count(&verdict, dir, again);
    if sum.is_good() {
        std::fs::remove_dir_all(dir)?;
    }
    Ok(())
}

pub(crate) fn heard(sum: &mut Summary, journal: &mut Journal, run: &Run, again: &str) {
    sum.runs += 1;
    journal.hear(&run.out);
    if let Some(place) = &run.hung {
        sum.hangs += 1;
        sum.fail(format!("the victim did not end: {place}; {again}"));
    }
}

/// SIGKILL at random moments, ten lives for each log, while appending and while opening.
fn kill(place: &Place, options: &Options) -> anyhow::Result<Summary> {
    const LIVES: u64 = 10;
    let cycles = options.cycles(60, 10_000);
    each(cycles.div_ceil(LIVES), options, |case| {
        let again = format!("again: --rig kill --seed {}, log {case}", options.seed);
        let (dir, mut sum, mut journal) =
            (fresh(place, &format!("kill-{case}"))?, Summary::default(), Journal::default());
        for life in 1..=LIVES {
            let random = mix(options.seed, case * LIVES + life);
            let micros = if random.is_multiple_of(4) { random / 4 % 6_000 } else { random / 4 % 40_000 };
            let mut child = spawn(place.victim("load", &dir.join("log"), life, &[3]))?;
            std::thread::sleep(Duration::from_micros(micros));
            child.kill();
            heard(&mut sum, &mut journal, &child.finish()?, &again);
            sum.faults += 1;
            // Most lives begin where a kill left the log; now and then the judge looks in between.
            if random.is_multiple_of(3) && life < LIVES {
                let verdict = journal.judge(place, &dir.join("log"), true)?;
                sum.count(&verdict, &dir, &again);
            }
        }
        close(place, &dir, &mut journal, true, &mut sum, &again)?;
        Ok(sum)
    })
}
