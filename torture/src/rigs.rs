//! The rigs. Each is a list of independent cases, run by two workers; a case that fails keeps its directory.

use std::path::{Path, PathBuf};
use std::process::Command;
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
    fn cycles(&self, quick: u64, full: u64) -> u64 {
        self.cycles.unwrap_or(if self.quick { quick } else { full })
    }
}

type Rig = fn(&Place, &Options) -> anyhow::Result<Summary>;

/// Every rig by its name.
pub const RIGS: [(&str, Rig); 7] = [
    ("kill", kill),
    ("syscalls", syscalls),
    ("errno", errno),
    ("fsync-64", fsync_64),
    ("cut", cut),
    ("shim", shim),
    ("powercut", powercut),
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
fn mix(seed: u64, index: u64) -> u64 {
    let mut x = seed ^ index.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

fn each(
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

fn fresh(place: &Place, name: &str) -> anyhow::Result<PathBuf> {
    let dir = place.scratch.join(name);
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// Judges, counts, and removes what is good.
fn close(
    place: &Place,
    dir: &Path,
    journal: &mut Journal,
    killed: bool,
    sum: &mut Summary,
    again: &str,
) -> anyhow::Result<()> {
    let verdict = journal.judge(place, &dir.join("log"), killed)?;
    sum.promises += journal.promises() as u64;
    sum.count(&verdict, dir, again);
    if sum.is_good() {
        std::fs::remove_dir_all(dir)?;
    }
    Ok(())
}

fn heard(sum: &mut Summary, journal: &mut Journal, run: &Run, again: &str) {
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

const CALLS: [&str; 8] = ["openat", "pwrite64", "fdatasync", "fsync", "rename", "unlink", "mkdir", "flock"];

/// How often the script makes each call, or why that cannot be seen.
fn sites(place: &Place, commits: u64) -> anyhow::Result<Result<Vec<(&'static str, u64)>, String>> {
    if Command::new("strace").arg("-V").output().is_err() {
        return Ok(Err("strace is not installed".to_owned()));
    }
    let dir = fresh(place, "sites")?;
    let trace = dir.join("trace");
    let wrap =
        ["strace", "-f", "-qq", "-o", &trace.to_string_lossy(), "-e", &format!("trace={}", CALLS.join(","))]
            .map(str::to_owned);
    let run = spawn(place.wrapped(&wrap, "script", &dir.join("log"), 1, &[1, commits]))?.finish()?;
    if run.code != Some(0) {
        return Ok(Err(format!("strace cannot trace here: {}", run.err.trim())));
    }
    let trace = std::fs::read_to_string(trace)?;
    let count = |call: &str| trace.lines().filter(|l| l.contains(&format!(" {call}("))).count() as u64;
    std::fs::remove_dir_all(dir)?;
    Ok(Ok(CALLS.into_iter().map(|call| (call, count(call))).collect()))
}

fn inject(
    place: &Place,
    what: &str,
    options: &Options,
    commits: u64,
    cases: &[(&'static str, u64, String)],
) -> anyhow::Result<Summary> {
    let stride = if options.quick { (cases.len() as u64 / 60).max(1) } else { 1 };
    each((cases.len() as u64).div_ceil(stride), options, |index| {
        let (call, n, fault) = &cases[(index * stride) as usize];
        let again =
            format!("again: --rig {what}: strace -f -e trace={call} -e inject={call}:{fault}:when={n}");
        let dir = fresh(place, &format!("{what}-{call}-{n}-{}", fault.replace(['=', ':'], "-")))?;
        let (mut sum, mut journal) = (Summary::default(), Journal::default());
        let trace = format!("trace={call}");
        let rule = format!("inject={call}:{fault}:when={n}");
        let wrap = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &rule].map(str::to_owned);
        // The odd ones strike a log that was killed before: opening is swept as well.
        if index % 2 == 1 {
            let mut child = spawn(place.victim("load", &dir.join("log"), 7, &[1]))?;
            std::thread::sleep(Duration::from_millis(15));
            child.kill();
            heard(&mut sum, &mut journal, &child.finish()?, &again);
        }
        let run = spawn(place.wrapped(&wrap, "script", &dir.join("log"), 1, &[1, commits]))?.finish()?;
        heard(&mut sum, &mut journal, &run, &again);
        sum.faults += 1;
        close(place, &dir, &mut journal, fault.starts_with("signal"), &mut sum, &again)?;
        Ok(sum)
    })
}

/// SIGKILL at every system call of the script.
fn syscalls(place: &Place, options: &Options) -> anyhow::Result<Summary> {
    let commits = 60;
    let sites = match sites(place, commits)? {
        Ok(sites) => sites,
        Err(why) => return Ok(Summary { skipped: Some(why), ..Summary::default() }),
    };
    let each_call =
        sites.iter().flat_map(|(call, count)| (1..=*count).map(|n| (*call, n, "signal=SIGKILL".to_owned())));
    inject(place, "syscalls", options, commits, &each_call.collect::<Vec<_>>())
}

/// Every error at every system call of the script.
fn errno(place: &Place, options: &Options) -> anyhow::Result<Summary> {
    let commits = if options.quick { 60 } else { 400 };
    let sites = match sites(place, commits)? {
        Ok(sites) => sites,
        Err(why) => return Ok(Summary { skipped: Some(why), ..Summary::default() }),
    };
    let errors = ["EIO", "ENOSPC", "EINTR", "EDQUOT"];
    let mut cases: Vec<_> = sites
        .iter()
        .flat_map(|(call, count)| (1..=*count).map(move |n| (*call, n)))
        .flat_map(|(call, n)| errors.map(|error| (call, n, format!("error={error}"))))
        .collect();
    // Done-nothing-and-said-so is a short write as a lying kernel gives it only for the part that is reported missing: a
    // return of 0 bytes makes the caller go on or fail, and never lies about bytes.
    let writes = sites.iter().find(|(call, _)| *call == "pwrite64").map_or(0, |(_, count)| *count);
    cases.extend((1..=writes).map(|n| ("pwrite64", n, "retval=0".to_owned())));
    inject(place, "errno", options, commits, &cases)
}

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

/// One sync fails below 64 writers: nobody hangs, nobody is told a lie.
fn fsync_64(place: &Place, options: &Options) -> anyhow::Result<Summary> {
    each(options.cycles(6, 200), options, |case| {
        let at = 8 + mix(options.seed, case) % 40;
        let again = format!("again: --rig fsync-64 --seed {}, sync {at}", options.seed);
        let (dir, mut sum, mut journal) =
            (fresh(place, &format!("fsync-{case}"))?, Summary::default(), Journal::default());
        let (run, [_, syncs, _]) = shimmed(place, "eio-once", ("once", &[64]), at, 1, &dir)?;
        heard(&mut sum, &mut journal, &run, &again);
        sum.faults += u64::from(syncs >= at);
        for error in run.out.lines().filter_map(|line| line.strip_prefix("ERR ")) {
            let millis = error.split(' ').nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(u64::MAX);
            if millis > 1_000 {
                sum.fail(format!("a writer waited {millis} ms for its error; {again}"));
            }
        }
        close(place, &dir, &mut journal, false, &mut sum, &again)?;
        Ok(sum)
    })
}

/// The power goes at a step: unsynced sectors and names are taken back at random.
fn cut(place: &Place, options: &Options) -> anyhow::Result<Summary> {
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
fn shim(place: &Place, options: &Options) -> anyhow::Result<Summary> {
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

/// A file system of the kernel on a recorded disk.
fn powercut(_: &Place, _: &Options) -> anyhow::Result<Summary> {
    let why = "not built: needs the recording FUSE disk; `cut` takes back unsynced sectors and names in the process";
    Ok(Summary { skipped: Some(why.to_owned()), ..Summary::default() })
}
