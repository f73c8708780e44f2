//! First checkpoint, unchanged checkpoint, restore: `rpo` beside `restic` on one tree in one run, turn by turn.
//!
//! `cargo xtask compare [TREE]`. Without a tree, one is made of the unpacked crate sources that this
//! machine has, and of seeded binaries: at least 20,000 files and 1 GiB. Prints medians and ratios, and whether the
//! restored tree equals the original by `rsync --checksum`.
#![allow(clippy::disallowed_methods)] // this program is a stopwatch

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};

const ROUNDS: usize = 3;
const FILES_MIN: u64 = 20_000;
const BYTES_MIN: u64 = 1 << 30;

fn main() -> anyhow::Result<()> {
    let work = PathBuf::from("target/compare");
    fs::create_dir_all(&work)?;
    let tree = match std::env::args_os().nth(1) {
        Some(tree) => PathBuf::from(tree),
        None => make_tree(&work.join("tree"))?,
    };
    let (files, bytes) = size_of(&tree)?;
    println!(
        "tree: {} files, {:.2} GiB; {ROUNDS} rounds; load {}",
        files,
        bytes as f64 / (1u64 << 30) as f64,
        load()
    );
    build_rpo()?;
    let mut rows: Vec<Row> = Vec::new();
    for round in 0..ROUNDS {
        let mut tools: Vec<Box<dyn Tool>> = vec![Box::new(Rpo::new(&work)), Box::new(Restic::new(&work))];
        if round % 2 == 1 {
            tools.reverse();
        }
        for tool in tools {
            rows.push(run(tool.as_ref(), &tree, &work)?);
        }
    }
    report(&rows);
    Ok(())
}

/// What one tool took for one round, seconds.
struct Row {
    tool: &'static str,
    first: f64,
    unchanged: f64,
    restore: f64,
    stored: u64,
    same: bool,
}

trait Tool {
    fn name(&self) -> &'static str;
    fn store(&self) -> PathBuf;
    fn init(&self, tree: &Path) -> Command;
    fn checkpoint(&self, tree: &Path) -> Command;
    fn restore(&self, into: &Path) -> Command;
    /// Where the tree lies below `into` after a restore.
    fn restored(&self, into: &Path, tree: &Path) -> PathBuf;
}

struct Rpo {
    store: PathBuf,
    config: PathBuf,
}

impl Rpo {
    fn new(work: &Path) -> Self {
        Self { store: work.join("rpo-store"), config: work.join("rpo.toml") }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("target/release/rpo");
        command.arg("--config").arg(&self.config).args(arguments).env("RPO_PASSPHRASE", "compare the two");
        command
    }
}

impl Tool for Rpo {
    fn name(&self) -> &'static str {
        "rpo"
    }

    fn store(&self) -> PathBuf {
        self.store.clone()
    }

    fn init(&self, tree: &Path) -> Command {
        let here = std::env::current_dir().unwrap_or_default();
        let text = format!(
            "[daemon]\nstate-dir = \"{}\"\n[[copy]]\nname = \"local\"\nurl = \"file://{}\"\n[[system]]\nname = \"tree\"\n\
             source = {{ kind = \"directory\", path = \"{}\" }}\n",
            here.join(&self.store).with_extension("state").display(),
            here.join(&self.store).display(),
            fs::canonicalize(tree).unwrap_or_default().display()
        );
        fs::write(&self.config, text).expect("the work folder is writable");
        self.command(&["init"])
    }

    fn checkpoint(&self, _tree: &Path) -> Command {
        self.command(&["checkpoint", "tree"])
    }

    fn restore(&self, into: &Path) -> Command {
        let mut command = self.command(&["restore", "tree", "--to", "latest", "--into"]);
        command.arg(into);
        command
    }

    fn restored(&self, into: &Path, _tree: &Path) -> PathBuf {
        into.to_owned()
    }
}

struct Restic {
    store: PathBuf,
    cache: PathBuf,
}

impl Restic {
    fn new(work: &Path) -> Self {
        Self { store: work.join("restic-store"), cache: work.join("restic-cache") }
    }

    fn command(&self) -> Command {
        let mut command = Command::new("restic");
        command
            .arg("-r")
            .arg(&self.store)
            .arg("--cache-dir")
            .arg(&self.cache)
            .env("RESTIC_PASSWORD", "compare the two");
        command
    }
}

impl Tool for Restic {
    fn name(&self) -> &'static str {
        "restic"
    }

    fn store(&self) -> PathBuf {
        self.store.clone()
    }

    fn init(&self, _tree: &Path) -> Command {
        let mut command = self.command();
        command.arg("init");
        command
    }

    fn checkpoint(&self, tree: &Path) -> Command {
        let mut command = self.command();
        command.arg("backup").arg(fs::canonicalize(tree).unwrap_or_default());
        command
    }

    fn restore(&self, into: &Path) -> Command {
        let mut command = self.command();
        command.args(["restore", "latest", "--target"]).arg(into);
        command
    }

    fn restored(&self, into: &Path, tree: &Path) -> PathBuf {
        let tree = fs::canonicalize(tree).unwrap_or_default();
        into.join(tree.strip_prefix("/").unwrap_or(&tree))
    }
}

fn run(tool: &dyn Tool, tree: &Path, work: &Path) -> anyhow::Result<Row> {
    let into = work.join(format!("{}-restored", tool.name()));
    for gone in [tool.store(), into.clone(), work.join("restic-cache"), tool.store().with_extension("state")]
    {
        if gone.exists() {
            fs::remove_dir_all(&gone)?;
        }
    }
    timed(tool.init(tree))?;
    let first = timed(tool.checkpoint(tree))?;
    let unchanged = timed(tool.checkpoint(tree))?;
    let restore = timed(tool.restore(&into))?;
    let (_, stored) = size_of(&tool.store())?;
    let same = same_tree(tree, &tool.restored(&into, tree))?;
    fs::remove_dir_all(&into)?;
    Ok(Row { tool: tool.name(), first, unchanged, restore, stored, same })
}

fn timed(mut command: Command) -> anyhow::Result<f64> {
    // Start from a quiet disk: what the one before left in the cache is not this one's to write.
    Command::new("sync").status()?;
    let begin = Instant::now();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    let seconds = begin.elapsed().as_secs_f64();
    if !output.status.success() {
        std::io::stderr().write_all(&output.stderr)?;
        bail!("{command:?} ended with {}", output.status);
    }
    Ok(seconds)
}

/// `rsync -aHXnc --delete --itemize-changes` says nothing when the trees are the same.
fn same_tree(original: &Path, restored: &Path) -> anyhow::Result<bool> {
    let slash = |path: &Path| format!("{}/", path.display());
    let mut rsync = Command::new("rsync");
    rsync.args(["-aHXnc", "--delete", "--itemize-changes"]).args([slash(original), slash(restored)]);
    let output = rsync.output().context("rsync")?;
    ensure!(output.status.success(), "rsync ended with {}", output.status);
    let said = String::from_utf8_lossy(&output.stdout);
    said.lines().take(10).for_each(|line| println!("   rsync: {line}"));
    Ok(output.stdout.is_empty())
}

/// A name and what it shows of a row.
type Line = (&'static str, fn(&Row) -> f64);

fn report(rows: &[Row]) {
    let median = |tool: &str, pick: fn(&Row) -> f64| {
        let mut values: Vec<f64> = rows.iter().filter(|row| row.tool == tool).map(pick).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    println!("{:24} {:>10} {:>10} {:>8}", "medians", "rpo", "restic", "ratio");
    let lines: [Line; 4] = [
        ("first checkpoint, s", |row| row.first),
        ("unchanged checkpoint, s", |row| row.unchanged),
        ("restore, s", |row| row.restore),
        ("stored, MiB", |row| row.stored as f64 / (1u64 << 20) as f64),
    ];
    for (name, pick) in lines {
        let (ours, theirs) = (median("rpo", pick), median("restic", pick));
        println!("{name:24} {ours:>10.2} {theirs:>10.2} {:>8.2}", ours / theirs);
    }
    for tool in ["rpo", "restic"] {
        let same = rows.iter().filter(|row| row.tool == tool).all(|row| row.same);
        println!(
            "{tool}: restored tree {} the original (rsync -aHXnc --delete)",
            if same { "equals" } else { "DIFFERS from" }
        );
    }
    println!("load at the end {}", load());
}

fn build_rpo() -> anyhow::Result<()> {
    let status = Command::new("cargo").args(["build", "--release", "--quiet", "-p", "rpo-cli"]).status()?;
    ensure!(status.success(), "the release build failed");
    Ok(())
}

fn load() -> String {
    fs::read_to_string("/proc/loadavg").unwrap_or_default().split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn size_of(dir: &Path) -> anyhow::Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for entry in fs::read_dir(dir).with_context(|| format!("{}", dir.display()))? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            let (f, b) = size_of(&entry.path())?;
            files += f;
            bytes += b;
        } else if kind.is_file() {
            files += 1;
            bytes += entry.metadata()?.len();
        }
    }
    Ok((files, bytes))
}

/// Unpacked sources, and seeded files and binaries until both minima are met.
fn make_tree(tree: &Path) -> anyhow::Result<PathBuf> {
    if tree.exists() {
        return Ok(tree.to_owned());
    }
    println!("making a tree in {}", tree.display());
    let partial = tree.with_extension("partial");
    fs::create_dir_all(&partial)?;
    let home = PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?);
    let sources = home.join(".cargo/registry/src");
    if sources.exists() {
        let status = Command::new("cp").arg("-a").arg(&sources).arg(partial.join("sources")).status()?;
        ensure!(status.success(), "cp ended with {status}");
    }
    let (files, bytes) = size_of(&partial)?;
    let mut seed = 0x5eed;
    let small = partial.join("small");
    fs::create_dir_all(&small)?;
    for number in files..FILES_MIN {
        fs::write(
            small.join(format!("{number}.txt")),
            format!("{number} {:x}\n", next(&mut seed)).repeat(40),
        )?;
    }
    // Large binaries in blocks of 1 MiB, every second one compressible to about a quarter, as machine code and images are.
    let missing = BYTES_MIN.saturating_sub(bytes).max(256 << 20);
    for number in 0..missing.div_ceil(64 << 20) {
        let mut big = fs::File::create(partial.join(format!("big-{number}.bin")))?;
        for block in 0..64u64 {
            let spread = if block % 2 == 0 { u64::MAX } else { 0x0000_ffff_0000_0000 };
            let bytes: Vec<u8> =
                (0..131_072).flat_map(|_| (next(&mut seed) & spread).to_le_bytes()).collect();
            big.write_all(&bytes)?;
        }
        big.sync_all()?;
    }
    fs::rename(&partial, tree)?;
    Ok(tree.to_owned())
}

/// SplitMix64: the same bytes on every machine.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
