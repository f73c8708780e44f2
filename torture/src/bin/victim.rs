//! The program that is tortured: opens a log, appends by script or by load, and tells on standard output what it was
//! promised, only after it was. `torture-victim help` lists its modes.
#![allow(clippy::disallowed_methods)] // it sleeps and reads the clock as programs do

use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rpo_core::frame::CommitDraft;
use rpo_core::objective::AckLevel;
use rpo_core::{ErrorKind, HumanDuration, LogEntry, Lsn};
use rpo_wal::{Drive, Log, LogParts, OpenAs, Step, Tail, WalConfig, WalError};

const MODES: &str = "torture-victim MODE DIR LIFE [WRITERS] [COMMITS]
  load    writers append for ever (or COMMITS each), on the log's own threads
  script  one thread appends, tags, releases, closes and opens again; COMMITS commits
  once    every writer appends until its first error, and tells it with the time it took
  fill    one writer appends through `no space`, COMMITS commits
  judge   opens the log as a new process would, prints all of it, closes it";

fn main() -> anyhow::Result<()> {
    plant()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, dir, life, rest @ ..] = arguments.as_slice() else { bail!("{MODES}") };
    let number = |at: usize, default: u64| rest.get(at).map_or(Ok(default), |n| n.parse());
    let (writers, commits) = (number(0, 3)?, number(1, u64::MAX)?);
    let (dir, life) = (Path::new(dir), life.parse::<u64>()?);
    match mode.as_str() {
        "load" => load(dir, life, writers, commits),
        "script" => script(dir, life, commits),
        "once" => once(dir, life, writers),
        "fill" => fill(dir, life, commits),
        "judge" => judge(dir),
        _ => bail!("{MODES}"),
    }
}

#[cfg(feature = "planted-bugs")]
fn plant() -> anyhow::Result<()> {
    use rpo_wal::planted::{Bug, set};
    match std::env::var("RPO_TORTURE_PLANT").as_deref() {
        Err(_) => {}
        Ok("ack-before-sync") => set(Bug::AckBeforeSync),
        Ok("retried-fsync") => set(Bug::RetriedFsync),
        Ok("no-dir-sync") => set(Bug::NoDirSync),
        Ok(other) => bail!("no planted bug `{other}`"),
    }
    Ok(())
}

#[cfg(not(feature = "planted-bugs"))]
fn plant() -> anyhow::Result<()> {
    anyhow::ensure!(
        std::env::var_os("RPO_TORTURE_PLANT").is_none(),
        "built without the feature planted-bugs"
    );
    Ok(())
}

fn config() -> anyhow::Result<WalConfig> {
    let mut config = WalConfig::group_commit(); // so that the lower levels are lower indeed
    config.segment_bytes = std::env::var("RPO_TORTURE_SEGMENT").as_deref().unwrap_or("32KiB").parse()?;
    config.frame_bytes_max = "4KiB".parse()?;
    config.heartbeat_after = HumanDuration::from_millis(3);
    Ok(config)
}

fn open(dir: &Path, drive: Drive) -> anyhow::Result<Log> {
    let (log, report) = Log::open(dir, config()?, LogParts::os(), drive, OpenAs::Continue)?;
    let tail = match report.tail {
        Tail::Clean => "clean",
        Tail::Torn { .. } => "torn",
        _ => "unordered",
    };
    tell(&format!("OPEN {tail} {}", report.repersisted_bytes));
    Ok(log)
}

/// One line in one write, so that a kill leaves whole lines or a last one without its full stop.
fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(format!("{line} .\n").as_bytes()).and_then(|()| out.flush());
}

/// The text of a commit says whose it is, and is long or short in a way that the judge can work out.
fn payload(life: u64, writer: u64, number: u64) -> String {
    let letter = char::from(b'a' + ((life * 7 + writer * 3 + number) % 26) as u8);
    format!("{life} {writer} {number} {}", letter.to_string().repeat((number * 131 % 1500) as usize))
}

fn append(log: &Log, life: u64, writer: u64, number: u64, level: AckLevel) -> Result<(), WalError> {
    tell(&format!("TRY {life} {writer} {number}"));
    let draft = CommitDraft::one(payload(life, writer, number));
    let durable = matches!(level, AckLevel::Durable);
    log.append(draft, level)?;
    tell(&format!("{} {life} {writer} {number}", if durable { "ACK" } else { "SOFT" }));
    Ok(())
}

/// Mostly durable; now and then a level that promises less, and is judged by that.
fn level(number: u64) -> AckLevel {
    match number % 7 {
        3 => AckLevel::Buffered,
        5 => AckLevel::Os,
        _ => AckLevel::Durable,
    }
}

fn tell_error(error: &WalError, since: Instant) {
    tell(&format!("ERR {:?} {} {error}", error.kind(), since.elapsed().as_millis()));
}

fn load(dir: &Path, life: u64, writers: u64, commits: u64) -> anyhow::Result<()> {
    tell("UP");
    let log = open(dir, Drive::Thread)?;
    let failed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for writer in 0..writers {
            let (log, failed) = (log.clone(), &failed);
            scope.spawn(move || {
                for number in 0..commits {
                    let since = Instant::now();
                    if let Err(error) = append(&log, life, writer, number, level(number)) {
                        tell_error(&error, since);
                        failed.fetch_add(1, Ordering::Relaxed);
                        return;
                    }
                    if number % 40 == 39 && writer == 0 {
                        let _ = log.heartbeat();
                        let _ = log.tag(format!("point-{life}-{number}").parse().expect("a plain name"));
                    }
                }
            });
        }
    });
    log.close()?;
    tell("DONE");
    Ok(())
}

/// Everything a log does, on one thread, so that the n-th system call is the same one in every run.
fn script(dir: &Path, life: u64, commits: u64) -> anyhow::Result<()> {
    tell("UP");
    let since = Instant::now();
    let log = open(dir, Drive::Manual)?;
    for number in 0..commits {
        if let Err(error) = append(&log, life, 0, number, level(number)) {
            tell_error(&error, since);
            return Err(error.into());
        }
        if number % 16 == 15 {
            log.tag(format!("point-{life}-{number}").parse().expect("a plain name"))?;
            log.heartbeat()?;
        }
        while matches!(log.step(), Step::Flushed | Step::Kept) {}
    }
    log.sync()?;
    // What the oldest lives wrote may go; the judge is told before, since a kill may fall into the middle.
    if std::env::var_os("RPO_TORTURE_RELEASE").is_some() {
        tell("RELEASE");
        log.release(log.durable().lsn)?;
    }
    log.close()?;
    tell("DONE");
    Ok(())
}

fn once(dir: &Path, life: u64, writers: u64) -> anyhow::Result<()> {
    tell("UP");
    let log = open(dir, Drive::Thread)?;
    std::thread::scope(|scope| {
        for writer in 0..writers {
            let log = log.clone();
            scope.spawn(move || {
                for number in 0..400 {
                    let since = Instant::now();
                    if let Err(error) = append(&log, life, writer, number, AckLevel::Durable) {
                        tell_error(&error, since);
                        return;
                    }
                }
            });
        }
    });
    tell("DONE");
    Ok(())
}

fn fill(dir: &Path, life: u64, commits: u64) -> anyhow::Result<()> {
    tell("UP");
    let log = open(dir, Drive::Thread)?;
    let mut refused = 0_u64;
    let mut number = 0;
    while number < commits {
        let since = Instant::now();
        match append(&log, life, 0, number, AckLevel::Durable) {
            Ok(()) => number += 1,
            Err(error) if error.kind() == ErrorKind::NoSpace => {
                refused += 1;
                if refused % 20 == 1 {
                    tell("FULL");
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => {
                tell_error(&error, since);
                return Err(error.into());
            }
        }
    }
    log.close()?;
    tell("DONE");
    Ok(())
}

fn judge(dir: &Path) -> anyhow::Result<()> {
    let log = open(dir, Drive::Manual).context("reopening")?;
    let start = log.start().lsn;
    tell(&format!("START {}", u64::from(start != Lsn::ZERO)));
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for entry in log.replay(start) {
        if let LogEntry::Commit(commit) = entry? {
            for record in &commit.records {
                writeln!(out, "GOT {}", String::from_utf8_lossy(&record.payload))?;
            }
        }
    }
    writeln!(out, "END .")?;
    out.flush()?;
    drop(out);
    log.close()?;
    Ok(())
}
