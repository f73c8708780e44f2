//! The command line: what can be asked for, with the help a person reads.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use rpo::core::target::Target;
use rpo::core::{CopyName, HumanDuration, PointName, SourceId, StreamId};

/// Protects data and says at every moment how much would be lost if a disk, a machine or a region vanished now.
#[derive(Debug, Parser)]
#[command(
    name = "rpo",
    version,
    max_term_width = 110,
    after_help = "\
First steps:
  rpo demo                                          see it protect, lose and restore
  rpo protect ~/documents --to file:///mnt/nas/rpo  protect a directory
  rpo status                                        how much would be lost now

Exit codes: 0 done · 1 failed · 2 usage · 3 partial · 10 not found · 11 in use or fenced · 12 wrong key · 13 configuration
14 not permitted · 20 breached · 21 not restorable · 22 damaged · 24 unknown · 25 warning or critical · 30 refused · 130 interrupted"
)]
pub(crate) struct Arguments {
    /// The configuration file.
    #[arg(long, short, global = true, env = "RPO_CONFIG", default_value = "rpo.toml", value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Print data instead of text: one JSON document, or JSON lines for long work.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say less: no progress, no hints.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// See it work: protect, lose and restore real data, with every promise checked
    Demo(Demo),
    /// Write a configuration if there is none, and create the repository in every copy that lacks it
    Init(Init),
    /// Protect one directory: write the configuration, create the repository, take the first checkpoint
    Protect(Protect),
    /// Say in plain words what the configuration promises, and refuse what it contradicts
    Check(Check),
    /// The daemon in the foreground: checkpoints, copies, the loss window; SIGTERM lets work in hand finish
    Run(Run),
    /// How much would be lost now, per system and failure domain
    Status(Status),
    /// What can be restored
    #[command(visible_alias = "list-backups")]
    Points(Points),
    /// Take a checkpoint now
    #[command(visible_alias = "backup")]
    Checkpoint(Checkpoint),
    /// Plan a restore and carry it out
    #[command(visible_alias = "point-in-time-recovery")]
    Restore(Restore),
    /// Check that everything stored is there, or read and check every byte
    Verify(Verify),
    /// Name this moment: takes a checkpoint that can be restored by its name
    Tag(Tag),
    /// Look into a log's directory, check every byte of it, mend it from copies
    #[command(subcommand)]
    Wal(Wal),
    /// Print a completion script for a shell
    Completions(Completions),
    #[command(hide = true)]
    DemoLedger(crate::demo::ledger::Arguments),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  rpo demo\n  rpo demo --tree ~/documents\n  rpo demo --json | jq .checks"
)]
pub(crate) struct Demo {
    /// The directory to checkpoint, lose and restore. It is only read. Default: this project's checkout, or the
    /// current directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) tree: Option<PathBuf>,
    /// Where to work; kept afterwards. Default: a temporary directory that is removed.
    #[arg(long, value_name = "DIR")]
    pub(crate) work: Option<PathBuf>,
    /// Seed of the load, to repeat a run.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  rpo init                                     create the repository of an existing rpo.toml\n  rpo init --to file:///mnt/nas/rpo --to s3://bucket/rpo?region=eu-west-1"
)]
pub(crate) struct Init {
    /// Where copies are kept; the first is home. Only without a configuration file.
    #[arg(long, value_name = "URL")]
    pub(crate) to: Vec<String>,
    #[command(flatten)]
    pub(crate) labels: Labels,
    #[command(flatten)]
    pub(crate) secret: SecretFrom,
}

/// Where copies stand: one that is labelled with another machine or region than this one survives its loss.
#[derive(Debug, Args)]
pub(crate) struct Labels {
    /// The machine a copy stands on, if not this one. Without COPY: all of them. Copies are named main, second, third,
    /// copy-4, … in the order of --to.
    #[arg(long, value_name = "[COPY=]NAME")]
    pub(crate) machine: Vec<String>,
    /// The region a copy stands in, if not this one. Without COPY: all of them.
    #[arg(long, value_name = "[COPY=]NAME")]
    pub(crate) region: Vec<String>,
}

/// Where the passphrase comes from.
#[derive(Debug, Args)]
pub(crate) struct SecretFrom {
    /// A file whose first line is the passphrase. Default: the environment variable RPO_PASSPHRASE.
    #[arg(long, value_name = "FILE", conflicts_with = "no_encryption")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Store everything readable to anyone who can read the store.
    #[arg(long)]
    pub(crate) no_encryption: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  rpo protect ~/documents --to file:///mnt/nas/rpo --machine nas --rpo 10m\n  rpo protect /srv/data --name data --to file:///mnt/nas/rpo --to 's3://bucket/rpo?region=eu-west-1' --every 5m"
)]
pub(crate) struct Protect {
    /// The directory.
    pub(crate) directory: PathBuf,
    /// Where copies are kept; the first is home.
    #[arg(long, value_name = "URL", required = true)]
    pub(crate) to: Vec<String>,
    /// Its name. Default: made from the name of the directory.
    #[arg(long)]
    pub(crate) name: Option<SourceId>,
    /// How much may be lost at most, where a copy survives. Default: twice --every.
    #[arg(long, visible_alias = "objective", value_name = "DURATION")]
    pub(crate) rpo: Option<HumanDuration>,
    /// How often `rpo run` takes a checkpoint. Default: half of --rpo, at most 5m.
    #[arg(long, value_name = "DURATION")]
    pub(crate) every: Option<HumanDuration>,
    #[command(flatten)]
    pub(crate) labels: Labels,
    /// Paths below the directory to leave out.
    #[arg(long, value_name = "PATH")]
    pub(crate) exclude: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) secret: SecretFrom,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Also open every copy: reachable, right repository, right key, honest about exclusive creates.
    #[arg(long)]
    pub(crate) open: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Stop after the first round of checkpoints, copies and measurements.
    #[arg(long)]
    pub(crate) once: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Only this system.
    pub(crate) system: Option<SourceId>,
    /// Exit with 20 if breached, 24 if unknown, 25 if warning or critical.
    #[arg(long)]
    pub(crate) exit_code: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Points {
    /// Which system.
    pub(crate) system: SourceId,
    /// Ask this copy. Default: home, or the first that answers.
    #[arg(long, value_name = "COPY")]
    pub(crate) from: Option<CopyName>,
}

#[derive(Debug, Args)]
pub(crate) struct Checkpoint {
    /// Which system. Default: all.
    pub(crate) system: Option<SourceId>,
    /// Describe everything anew instead of only what changed, and store again what the store lacks. Files that look unchanged
    /// (size, times, inode) are not read again as long as what is stored of them is there.
    #[arg(long)]
    pub(crate) full: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Targets:
  latest                    the newest restorable state
  2026-03-01T14:06:23Z      a time (also time:…)
  checkpoint:docs@12        a checkpoint as it is
  tag:before-upgrade        a named moment
  seq:500  lsn:4096  txn:7  positions of a system with a log

Examples:
  rpo restore docs --to latest --into ./restored --plan
  rpo restore docs --to 2026-03-01T14:06:23Z --into ./then
  rpo restore docs --to latest --from far --into ./from-far
  rpo restore docs --to latest --skip-damaged --into ./what-is-whole")]
pub(crate) struct Restore {
    /// Which system.
    pub(crate) system: SourceId,
    /// What to restore; see below.
    #[arg(long, value_name = "TARGET", value_parser = target, default_value = "latest")]
    pub(crate) to: Target,
    /// Leave out the commit the target names.
    #[arg(long)]
    pub(crate) exclusive: bool,
    /// Where to: an absent or empty directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) into: PathBuf,
    /// Use this copy alone. Default: home, or the first that answers.
    #[arg(long, value_name = "COPY")]
    pub(crate) from: Option<CopyName>,
    /// Only show what would be done.
    #[arg(long, visible_alias = "dry-run")]
    pub(crate) plan: bool,
    /// Restore the newest checkpoint at or before the target, without replaying the log.
    #[arg(long)]
    pub(crate) no_replay: bool,
    /// Restore everything that is whole, and leave out what is damaged in the store: each file is named, also in
    /// DIR.rpo-incomplete.txt, and the exit code is 3. Only for systems without a log.
    #[arg(long)]
    pub(crate) skip_damaged: bool,
}

/// A target, or a bare time.
fn target(text: &str) -> Result<Target, String> {
    let begins_with_a_year = text.len() > 4 && text.bytes().take(4).all(|byte| byte.is_ascii_digit());
    match (text.parse::<Target>(), text.parse().map(Target::Time)) {
        (Ok(target), _) | (Err(_), Ok(target)) => Ok(target),
        (Err(_), Err(no_time)) if begins_with_a_year && text.contains('-') => Err(no_time.to_string()),
        (Err(no_target), Err(_)) => Err(no_target.to_string()),
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  rpo verify                       every object of every copy is there\n  rpo verify docs --read-data      every byte of docs in every copy\n  rpo verify --copy far --read-data"
)]
pub(crate) struct Verify {
    /// Only this system.
    pub(crate) system: Option<SourceId>,
    /// Only this copy.
    #[arg(long, value_name = "COPY")]
    pub(crate) copy: Option<CopyName>,
    /// Read and check every byte, instead of only names and lengths.
    #[arg(long)]
    pub(crate) read_data: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Tag {
    /// Which system.
    pub(crate) system: SourceId,
    /// The name of this moment.
    pub(crate) name: PointName,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Wal {
    /// What is in the directory: segments, gaps, how it ends and why; takes no lock, changes nothing
    Inspect(WalInspect),
    /// Read and check every byte of every frame; exit code 22 if anything is damaged or differs from a copy
    Verify(WalVerify),
    /// Mend the log: fetch what is damaged from copies, keep the damaged files as evidence
    Repair(WalRepair),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  rpo wal inspect /var/lib/bank/log\n  rpo wal inspect /var/lib/bank/log --entries --from 4096 --limit 20\n  rpo wal inspect /var/lib/bank/log --json | jq '.pieces[] | select(.gap)'"
)]
pub(crate) struct WalInspect {
    /// The directory of the log.
    pub(crate) dir: PathBuf,
    /// Begin with the frame or entry that holds this LSN.
    #[arg(long, value_name = "LSN", default_value_t = 0)]
    pub(crate) from: u64,
    /// List at most so many frames or entries.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: usize,
    /// List the frames: one for each group of commits that was synced together.
    #[arg(long, conflicts_with = "entries")]
    pub(crate) frames: bool,
    /// List the commits and markers.
    #[arg(long)]
    pub(crate) entries: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  rpo wal verify /var/lib/bank/log\n  rpo wal verify /var/lib/bank/log --against 's3://bucket/rpo?region=eu-west-1' --stream bank"
)]
pub(crate) struct WalVerify {
    /// The directory of the log.
    pub(crate) dir: PathBuf,
    /// Compare frame by frame with the archive in this repository; may be given several times.
    #[arg(long, value_name = "URL")]
    pub(crate) against: Vec<String>,
    /// Name of the log in the repository. Default: the only one that is there.
    #[arg(long, value_name = "NAME")]
    pub(crate) stream: Option<StreamId>,
    #[command(flatten)]
    pub(crate) secret: SecretFrom,
}

#[derive(Debug, Args)]
#[command(
    after_help = "The plan is printed first. Damaged files are never overwritten or removed: they keep their content under a
name that ends in .damaged-N. What was done is written to repairs.jsonl in the directory of the log.

Examples:
  rpo wal repair /var/lib/bank/log --from file:///mnt/nas/rpo --dry-run
  rpo wal repair /var/lib/bank/log --from file:///mnt/nas/rpo --from 's3://bucket/rpo?region=eu-west-1'
  rpo wal repair /var/lib/bank/log --accept-loss     give up what no copy has, for good"
)]
pub(crate) struct WalRepair {
    /// The directory of the log.
    pub(crate) dir: PathBuf,
    /// A repository whose archive may have what is missing; may be given several times.
    #[arg(long, value_name = "URL")]
    pub(crate) from: Vec<String>,
    /// Name of the log in the repository. Default: the only one that is there.
    #[arg(long, value_name = "NAME")]
    pub(crate) stream: Option<StreamId>,
    /// Only show what would be done.
    #[arg(long, visible_alias = "plan")]
    pub(crate) dry_run: bool,
    /// Give up what no copy has: the log is cut before it, everything after goes aside, and it goes on in a new epoch.
    #[arg(long)]
    pub(crate) accept_loss: bool,
    #[command(flatten)]
    pub(crate) secret: SecretFrom,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// Which shell.
    pub(crate) shell: Shell,
}
