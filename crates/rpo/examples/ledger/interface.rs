//! How the bank is asked and how it answers: arguments, one JSON line for each fact, and the chance in its load.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use rpo::config::CopyConfig;
use rpo::core::target::{RestorePoint, Target};
use rpo::core::{Epoch, HumanDuration, PointName, Position, Timestamp};
use rpo::report::DomainReport;
use serde::Serialize;

use super::bank::Transfer;

/// A small bank that loses nothing it was told to keep.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Book transfers until told to stop; one JSON line per fact on stdout, commands (`tag NAME`, `stop`) on stdin
    Run(Run),
    /// Restore the bank from one copy into a file
    Restore(Restore),
    /// Check the books of a restored bank
    Audit {
        /// What `restore` wrote.
        file: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Run {
    /// Where the bank lives: its log, and its state if it was restored.
    #[arg(long)]
    pub(super) dir: PathBuf,
    /// A copy, as `NAME=URL@REGION`; the first is home, and its region is where the bank runs.
    #[arg(long = "copy", required = true, value_parser = copy)]
    pub(super) copies: Vec<CopyConfig>,
    /// Seed of the transfers.
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Accounts of a new bank.
    #[arg(long, default_value_t = 100)]
    pub(super) accounts: u32,
    /// Tellers that book at the same time.
    #[arg(long, default_value_t = 8)]
    pub(super) writers: u32,
    /// How much may be lost with this machine or region; the log is shipped four times as often.
    #[arg(long, default_value = "2s")]
    pub(super) rpo: HumanDuration,
    /// Time between two checkpoints of the whole bank.
    #[arg(long, default_value = "2s")]
    pub(super) checkpoint_every: HumanDuration,
    /// Time between two reports.
    #[arg(long, default_value = "50ms")]
    pub(super) report_every: HumanDuration,
    /// If there is no log here: take the stream over from whoever wrote it, at the state restored into DIR/state.json,
    /// or with all that the copies hold.
    #[arg(long)]
    pub(super) takeover: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Restore {
    /// The copy to restore from; no other is asked.
    #[arg(long, value_name = "URL")]
    pub(super) from: String,
    /// `latest`, `time:2026-03-01T14:06:23Z`, `tag:NAME`, `seq:N`, `lsn:N`, `txn:N`, `checkpoint:ledger@N`.
    #[arg(long, default_value = "latest")]
    pub(super) target: Target,
    /// Leave out the commit the target names.
    #[arg(long)]
    pub(super) exclusive: bool,
    /// The file to write; it must not exist.
    #[arg(long, value_name = "FILE")]
    pub(super) into: PathBuf,
    /// Accounts the bank began with, for targets before its first checkpoint.
    #[arg(long, default_value_t = 100)]
    pub(super) accounts: u32,
}

/// What is told on stdout, one JSON line each: `{"ack":{…}}`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Fact {
    /// The bank is open and stands here.
    Opened { epoch: Epoch, position: Option<Position>, taken_over: bool },
    /// A client was told, at `told`, that its transfer is done at the level it asked for; `time` is when it was committed.
    Ack {
        #[serde(flatten)]
        transfer: Transfer,
        seq: u64,
        lsn: u64,
        time: Timestamp,
        level: String,
        told: Timestamp,
    },
    /// How much would be lost now.
    Report { head: Option<Position>, machine: Option<Box<DomainReport>>, region: Option<Box<DomainReport>> },
    /// A moment got a name.
    Tagged { name: PointName, seq: u64, lsn: u64, time: Timestamp },
    /// Everything is shipped and closed.
    Stopped { position: Position },
    /// A restore is in place.
    Restored { target: String, reached: RestorePoint, position: Option<Position>, checks: Vec<String> },
    /// What an audit found.
    Audit { transfers: usize, balances: i64, expected: i64, ids: Vec<u64>, wrong: Vec<String> },
}

/// Tells one fact. A reader that went away is an error: nobody would know what was acknowledged.
pub(super) fn tell(fact: &Fact) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(fact)?;
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    out.write_all(&line).and_then(|()| out.flush()).context("nobody listens")
}

/// `NAME=URL@REGION`.
fn copy(text: &str) -> anyhow::Result<CopyConfig> {
    let (name, rest) = text.split_once('=').context("write NAME=URL@REGION")?;
    let (url, region) = rest.rsplit_once('@').context("the region is missing: write NAME=URL@REGION")?;
    let region = Some(region.to_owned());
    Ok(CopyConfig { name: name.parse()?, url: url.to_owned(), role: None, machine: None, region })
}

/// The transfers of a run follow from its seed (splitmix64).
pub(super) struct Random(pub(super) u64);

impl Random {
    /// A number below `limit`.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit.max(1)
    }
}
