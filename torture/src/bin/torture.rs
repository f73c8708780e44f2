//! Runs the rigs and says what they counted; `cargo xtask torture` builds everything and starts it.
#![allow(clippy::disallowed_methods)] // the seed of a run without one

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use clap::Parser;
use rpo_torture::{Options, Place, RIGS, run};

/// Planted bugs (the victim's word, the name in the code), and a rig that must see each in so many cases.
const PLANTED: &[(&str, &str, &str, u64)] = &[
    ("ack-before-sync", "AckBeforeSync", "cut", 400),
    ("ack-before-sync", "AckBeforeSync", "powercut", 300),
    ("retried-fsync", "RetriedFsync", "shim", 200),
    ("retried-fsync", "RetriedFsync", "errno", 400),
    ("no-dir-sync", "NoDirSync", "cut", 400),
    // Not `powercut`: ext4 saves names with the next sync of a file, mostly. 51 images did not show it.
];

/// The exit status when nothing was broken, and not everything ran.
const SKIPPED: u8 = 3;

#[derive(Debug, Parser)]
struct Arguments {
    #[arg(long)]
    victim: PathBuf,
    #[arg(long)]
    shim: PathBuf,
    #[arg(long)]
    scratch: PathBuf,
    #[arg(long)]
    rig: Vec<String>,
    #[arg(long)]
    cycles: Option<u64>,
    #[arg(long)]
    seconds: Option<u64>,
    #[arg(long)]
    quick: bool,
    #[arg(long)]
    seed: Option<u64>,
    #[arg(long)]
    json: bool,
    #[arg(long)]
    planted: bool,
    /// Ends well though a rig could not run here
    #[arg(long)]
    skips_allowed: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let a = Arguments::parse();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_micros();
    let seed = a.seed.unwrap_or(u64::try_from(now)? % 1_000_000_007);
    let scratch = a.scratch.join(format!("{}", std::process::id()));
    std::fs::create_dir_all(&scratch)?;
    let place = Place { victim: a.victim, shim: a.shim, scratch: scratch.clone(), plant: None };
    if a.planted {
        return planted(&place, seed).map(|()| ExitCode::SUCCESS);
    }
    eprintln!("seed {seed}");
    let options = Options { cycles: a.cycles, seconds: a.seconds, quick: a.quick, seed };
    let names =
        if a.rig.is_empty() { RIGS.iter().map(|(name, _)| (*name).to_owned()).collect() } else { a.rig };
    let (mut bad, mut skipped, mut lines) = (0, 0, Vec::new());
    for name in names {
        let summary = run(&name, &place, &options)?;
        bad += u32::from(!summary.is_good());
        skipped += u32::from(summary.skipped.is_some());
        if a.json {
            lines.push(summary.json())
        } else {
            println!("{}", summary.line())
        }
        summary.failures.iter().for_each(|failure| eprintln!("  {failure}"));
    }
    if a.json {
        println!("{:#}", serde_json::json!({ "seed": seed, "rigs": lines }));
    }
    if bad > 0 {
        bail!("{bad} rig(s) saw a broken promise; what they saw is kept in {}", scratch.display());
    }
    std::fs::remove_dir_all(scratch)?;
    if skipped > 0 {
        eprintln!("{skipped} rig(s) SKIPPED: they show nothing");
    }
    Ok(if skipped > 0 && !a.skips_allowed { ExitCode::from(SKIPPED) } else { ExitCode::SUCCESS })
}

fn planted(place: &Place, seed: u64) -> anyhow::Result<()> {
    let mut missed = 0;
    for (word, bug, rig, cycles) in PLANTED {
        let place = Place { plant: Some((*word).to_owned()), ..place.clone() };
        let options = Options { cycles: Some(*cycles), seconds: Some(30), quick: false, seed };
        let summary = run(rig, &place, &options)?;
        let caught = summary.lost + summary.false_acks + summary.wrong + summary.refused > 0;
        missed += u32::from(!caught && summary.skipped.is_none());
        match &summary.skipped {
            Some(why) => println!("planted {bug} SKIPPED by {rig}: {why}"),
            None if caught => println!("planted {bug} caught by {rig} after {} runs", summary.runs),
            None => println!("planted {bug} MISSED by {rig} in {} runs", summary.runs),
        }
        eprintln!("    {}", summary.line());
    }
    std::fs::remove_dir_all(&place.scratch)?;
    if missed > 0 { bail!("{missed} planted bug(s) were not caught") } else { Ok(()) }
}
