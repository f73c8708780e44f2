//! `rpo demo`: protects real data, loses it, restores it, and checks every promise with code of its own.
//!
//! Two parts: a directory tree ([`tree`]) and a bank that is killed under load ([`bank_killed`]). What is checked, and how
//! long each step took, is in the [`Record`]; the judges in [`check`] are pure and are tested with planted losses.

mod bank_killed;
mod change;
mod check;
mod child;
mod journal;
#[allow(dead_code, reason = "a link to the library's example, which is a program of its own too")]
pub(crate) mod ledger;
mod record;
mod replica;
mod tree;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use rpo::SiteParts;
use rpo::core::ByteSize;

use crate::arguments::Demo;
use crate::exit;
use crate::failure::message_of;
use crate::output::Output;
use record::Record;
use replica::Size;

/// Longest time for the part with the bank; it takes about a tenth of it.
const BANK_LIMIT: Duration = Duration::from_secs(180);
/// Longest time for the part with the directory: a beginning, and so long for each GiB.
const TREE_LIMIT: Duration = Duration::from_secs(180);
const TREE_LIMIT_PER_GIB: u32 = 300;

/// Where the demo works, and what it works with.
struct Stage {
    dir: PathBuf,
    /// Places in the tree that are left out.
    except: Vec<PathBuf>,
    parts: SiteParts,
    passphrase: String,
    seed: u64,
    output: Output,
}

/// Runs both parts; the exit code says whether every check passed.
pub(crate) async fn run(arguments: &Demo, output: Output) -> anyhow::Result<u8> {
    let tree = match &arguments.tree {
        Some(tree) => tree.clone(),
        None => default_tree()?,
    };
    let tree = tree.canonicalize().with_context(|| tree.display().to_string())?;
    let (dir, _removed_when_dropped) = work_dir(arguments.work.as_deref())?;
    let mut except = vec![dir.clone()];
    if arguments.tree.is_none() {
        except.extend(built(&tree)); // what a checkout has built is not part of it
    }
    let parts = SiteParts::os();
    let mut random = [0; 16];
    parts.entropy.fill(&mut random)?;
    let stage = Stage { dir, except, parts, passphrase: hex::encode(random), seed: arguments.seed, output };
    let mut record = Record::new(stage.seed, &tree, stage.parts.clock.clone(), output);
    tokio::select! {
        played = play(&stage, &tree, &mut record) => played?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            // What was begun is killed and removed on the way out.
            output.say("stopped on request: the tree was only read; what the demo made is gone, but for a --work directory");
            return Ok(exit::INTERRUPTED);
        }
    }
    let shown = record.finish();
    output.result(&shown, || shown.to_string())?;
    Ok(if shown.passed { exit::OK } else { exit::FAILED })
}

/// Plays both parts. One that cannot be played to its end is a check that failed; without room there is no demo.
async fn play(stage: &Stage, tree: &Path, record: &mut Record) -> anyhow::Result<()> {
    let size = replica::measure(tree, &stage.except);
    if size.bytes > 2 << 30 {
        let bytes = ByteSize::new(size.bytes);
        stage
            .output
            .say(format!("{} holds {bytes}: this takes a while, and five times that space", tree.display()));
    }
    let gib = u32::try_from(size.bytes >> 30).unwrap_or(u32::MAX);
    let limit = TREE_LIMIT + Duration::from_secs(u64::from(gib) * u64::from(TREE_LIMIT_PER_GIB));
    let played = tokio::time::timeout(limit, tree::play(stage, tree, record)).await;
    ended(stage, size, record, "directory", limit, played)?;
    let played = tokio::time::timeout(BANK_LIMIT, bank_killed::play(stage, record)).await;
    ended(stage, size, record, "ledger", BANK_LIMIT, played)
}

fn ended(
    stage: &Stage,
    size: Size,
    record: &mut Record,
    part: &str,
    limit: Duration,
    played: Result<anyhow::Result<()>, tokio::time::error::Elapsed>,
) -> anyhow::Result<()> {
    let trouble = match played {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) if lacks_room(&error) => return Err(no_room(stage, size, &error)),
        Ok(Err(error)) => message_of(&error),
        Err(_) => format!("not over after {} s", limit.as_secs()),
    };
    record.check(format!("{part}: played to its end"), Err(trouble));
    Ok(())
}

/// What a full disk says, here or in the words of the child that had to stop for it.
fn lacks_room(error: &anyhow::Error) -> bool {
    crate::failure::lacks_room(error) || message_of(error).contains("No space left on device")
}

fn no_room(stage: &Stage, size: Size, error: &anyhow::Error) -> anyhow::Error {
    let text = format!(
        "there is no room for the demo in {}: {}; it takes five times the tree's {} and some 100 MiB more; next: --work DIR \
         where there is more, or --tree DIR of a smaller one",
        stage.dir.display(),
        message_of(error),
        ByteSize::new(size.bytes)
    );
    crate::commands::Refused::new(exit::FAILED, text)
}

/// The project's own checkout if this runs inside one, else the current directory.
fn default_tree() -> anyhow::Result<PathBuf> {
    let current = std::env::current_dir().context("there is no current directory: name one with --tree")?;
    let starts =
        std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).into_iter().chain([current.clone()]);
    let is_root = |dir: &Path| {
        let manifest = std::fs::read_to_string(dir.join("Cargo.toml")).unwrap_or_default();
        manifest.lines().any(|line| line.trim() == "[workspace]")
    };
    for start in starts {
        if let Some(root) = start.ancestors().find(|dir| is_root(dir)) {
            return Ok(root.to_owned());
        }
    }
    Ok(current)
}

/// Where cargo builds, for the workspace at `root` and those directly below it.
fn built(root: &Path) -> Vec<PathBuf> {
    let below = std::fs::read_dir(root).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    below.chain([root.to_owned()]).map(|dir| dir.join("target")).filter(|target| target.is_dir()).collect()
}

/// The directory to work in: the one that was asked for, which is kept, or a temporary one, which goes when it is dropped.
fn work_dir(asked: Option<&Path>) -> anyhow::Result<(PathBuf, Option<tempfile::TempDir>)> {
    let Some(dir) = asked else {
        let temporary = tempfile::Builder::new().prefix("rpo-demo-").tempdir()?;
        return Ok((temporary.path().canonicalize()?, Some(temporary)));
    };
    std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    if std::fs::read_dir(dir)?.next().is_some() {
        let text = format!("{} is not empty: name an empty or absent directory", dir.display());
        return Err(crate::commands::Refused::new(exit::REFUSED, text));
    }
    Ok((dir.canonicalize()?, None))
}

/// Chance that follows from a seed (splitmix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit.max(1)
    }
}
