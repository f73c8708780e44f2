//! Two hundred times a real process is killed while it appends; an ack journal outside of it says what must be there.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rpo_core::frame::CommitDraft;
use rpo_core::objective::AckLevel;
use rpo_core::{Entropy, HumanDuration, LogEntry, Sequence};
use rpo_wal::{Drive, Log, LogParts, OpenAs, WalConfig};

const CYCLES: u32 = 200;
const WRITERS: u64 = 3;
const DIR_VARIABLE: &str = "RPO_WAL_KILL_DIR";

fn config() -> WalConfig {
    let mut config = WalConfig::zero_loss();
    config.segment_bytes = "64KiB".parse().unwrap();
    config.frame_bytes_max = "4KiB".parse().unwrap();
    config.heartbeat_after = HumanDuration::from_millis(2);
    config
}

fn open(dir: &Path, drive: Drive) -> Log {
    let (log, report) = Log::open(dir, config(), LogParts::os(), drive, OpenAs::Continue)
        .unwrap_or_else(|error| panic!("after a kill the log must open: {error}"));
    assert_eq!(report.end, log.durable());
    log
}

/// Not a test of its own: what the parent starts and kills. Appends and tells of each acknowledgement, for ever.
#[test]
fn child_that_appends_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIR_VARIABLE) else { return };
    tell("up");
    let log = open(Path::new(&dir), Drive::Thread);
    tell("open");
    let first = log.durable().sequence.map_or(0, Sequence::get);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let log = log.clone();
            scope.spawn(move || {
                for number in first.. {
                    let text = format!("{writer} {number} {}", "x".repeat((number % 1000) as usize));
                    log.append(CommitDraft::one(text), AckLevel::Durable).unwrap();
                    tell(&format!("ack {writer} {number} ."));
                }
            });
        }
    });
}

fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// When a child is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// So long after the child said this.
    After(&'static str, Duration),
    /// After so many acknowledgements.
    Acknowledged(usize),
}

/// Runs the child, kills it at its moment, and returns what it acknowledged.
fn one_life(dir: &Path, moment: Moment) -> Vec<(u64, u64)> {
    let me = std::env::current_exe().unwrap();
    let mut child = Command::new(me)
        .args(["--exact", "child_that_appends_until_it_is_killed", "--nocapture"])
        .env(DIR_VARIABLE, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut child = Some(child);
    let mut killer = None;
    let mut acknowledged = Vec::new();
    for line in lines {
        let line = line.unwrap();
        acknowledged.extend(acknowledgement(&line));
        let wait = match moment {
            Moment::After(word, wait) if line.ends_with(word) => wait,
            Moment::Acknowledged(count) if acknowledged.len() == count => Duration::ZERO,
            _ => continue,
        };
        // Reading goes on meanwhile: what was told before the kill counts.
        killer = killer.or(child.take().map(|child| std::thread::spawn(move || kill(child, wait))));
    }
    killer.expect("the child came as far as it should").join().unwrap();
    acknowledged
}

fn kill(mut child: Child, after: Duration) {
    std::thread::sleep(after);
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
}

/// Writer and number of an acknowledged commit; the last line may be cut short.
fn acknowledgement(line: &str) -> Option<(u64, u64)> {
    let (writer, number) = line.strip_prefix("ack ")?.strip_suffix(" .")?.split_once(' ')?;
    Some((writer.parse().ok()?, number.parse().ok()?))
}

/// Commit number in the log → writer and number in the writer's life.
type Found = BTreeMap<u64, (u64, u64)>;

fn read_back(log: &Log) -> Found {
    let mut found = Found::new();
    for entry in log.replay(log.start().lsn) {
        let LogEntry::Commit(commit) = entry.expect("the log is whole") else { continue };
        let text = String::from_utf8(commit.records[0].payload.to_vec()).unwrap();
        let mut words = text.split(' ').map(|word| word.parse::<u64>().ok());
        let (writer, number) = (words.next().flatten().unwrap(), words.next().flatten().unwrap());
        assert_eq!(text.len(), format!("{writer} {number} ").len() + (number % 1000) as usize);
        found.insert(commit.sequence.get(), (writer, number));
    }
    let dense = found.keys().zip(found.keys().skip(1)).all(|(a, b)| b - a == 1);
    assert!(dense, "sequences are dense");
    found
}

#[test]
fn nothing_acknowledged_is_lost_by_two_hundred_kills() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("log");
    let mut seed = [0; 8];
    rpo_os::OsEntropy::new().fill(&mut seed).unwrap();
    let mut state = u64::from_le_bytes(seed);
    println!("seed {state}");
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut known = Found::new();
    let mut acknowledged_in_all = 0;
    for cycle in 0..CYCLES {
        let acknowledged = one_life(
            &dir,
            match cycle % 3 {
                0 => Moment::After("up", Duration::from_micros(random(10_000))),
                1 => Moment::After("open", Duration::from_micros(random(10_000))),
                _ => Moment::Acknowledged(1 + random(60) as usize),
            },
        );
        acknowledged_in_all += acknowledged.len();

        let log = open(&dir, Drive::Manual);
        let found = read_back(&log);
        let start = log.start().sequence.unwrap().get();
        known.retain(|sequence, _| *sequence > start);
        for (sequence, commit) in &known {
            assert_eq!(found.get(sequence), Some(commit), "cycle {cycle}: what was read once is read again");
        }
        let base = known.keys().last().map_or(start, |last| *last);
        for (writer, number) in &acknowledged {
            let survived = found.range(base + 1..).any(|(_, commit)| commit == &(*writer, *number));
            assert!(
                survived,
                "cycle {cycle}: commit {number} of writer {writer} was acknowledged and is lost"
            );
        }
        for writer in 0..WRITERS {
            let numbers: Vec<_> =
                found.range(base + 1..).filter(|(_, c)| c.0 == writer).map(|(_, c)| c.1).collect();
            assert!(
                numbers.windows(2).all(|pair| pair[1] == pair[0] + 1),
                "cycle {cycle}: a gap in {numbers:?}"
            );
        }
        known = found;
        if cycle % 20 == 19 {
            log.release(log.durable().lsn).unwrap();
        }
        if cycle % 4 == 0 {
            log.close().unwrap(); // otherwise dropped as it is: the next life finds it unclosed
        }
    }
    println!("{acknowledged_in_all} commits were acknowledged");
}
