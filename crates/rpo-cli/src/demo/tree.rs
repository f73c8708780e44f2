//! The directory: two checkpoints with changes between, lost, restored, compared byte for byte and attribute for attribute.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use rpo::Site;
use rpo::checkpoint::{Cancel, CheckpointKind};
use rpo::config::{
    CheckpointConfig, Config, CopyConfig, DaemonConfig, RepositoryConfig, SourceConfig, SystemConfig,
};
use rpo::core::target::{Bound, Target};
use rpo::core::{ByteSize, CheckpointId, SourceId};
use rpo::ops::{self, CheckpointReport, CheckpointRequest, RestoreRequest};
use rpo::source_dir::compare_trees;

use super::record::Record;
use super::{Chance, Stage, change, replica};

/// Entries that the changes between the two checkpoints can touch, directories included.
const CHANGES_MAX: u64 = 64;
/// The coarsest file times that captures allow for, and a little more.
const SETTLE: Duration = Duration::from_millis(2_200);

/// The tree that is changed and lost, and the untouched copies of both its states.
struct Places {
    live: PathBuf,
    first: PathBuf,
    second: PathBuf,
    restored_first: PathBuf,
}

/// Plays the directory's part. The tree itself is only read.
pub(super) async fn play(stage: &Stage, tree: &Path, record: &mut Record) -> anyhow::Result<()> {
    let below = |name: &str| stage.dir.join("tree").join(name);
    std::fs::create_dir(stage.dir.join("tree"))?;
    let places = Places {
        live: below("live"),
        first: below("untouched-first"),
        second: below("untouched-second"),
        restored_first: below("restored-first"),
    };
    let (site, name) = record
        .step("directory: create a repository, copy the tree aside", prepare(stage, tree, &places))
        .await?;
    let full =
        record.step("directory: first checkpoint (full)", checkpoint(stage, &site, &name, true)).await?;
    record.check("directory: the first checkpoint holds everything", is_whole(&full, CheckpointKind::Full));

    let changes = alter(stage, &places);
    record.step("directory: change it", changes).await?;
    let second = record
        .step("directory: second checkpoint (incremental)", checkpoint(stage, &site, &name, false))
        .await?;
    let verdict =
        is_whole(&second, CheckpointKind::Incremental).and_then(|detail| reads_little(&second, detail));
    record.check("directory: the second holds everything, and read only what changed", verdict);

    let live = places.live.clone();
    record
        .step("directory: lose it", blocking(move || Ok((std::fs::remove_dir_all(&live)?, String::new()))))
        .await?;
    let latest = restore(stage, &site, &name, Target::Latest, places.live.clone());
    record.step("directory: restore the latest state", latest).await?;
    let id = CheckpointId { source: name.clone(), number: full.checkpoint.id.number };
    let earlier = restore(stage, &site, &name, Target::Checkpoint(id), places.restored_first.clone());
    record.step("directory: restore the first checkpoint", earlier).await?;

    for (state, restored, untouched) in
        [("latest", places.live, places.second), ("first checkpoint", places.restored_first, places.first)]
    {
        let verdict = record.step(&format!("directory: compare, {state}"), same(untouched, restored)).await?;
        record.check(format!("directory, {state}: every byte and attribute is as it was"), verdict);
    }
    Ok(())
}

/// Work that blocks, off the threads that wait.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await?
}

async fn prepare(stage: &Stage, tree: &Path, places: &Places) -> anyhow::Result<((Site, SourceId), String)> {
    let (from, except) = (tree.to_owned(), stage.except.clone());
    let (live, first) = (places.live.clone(), places.first.clone());
    let (size, left) = blocking(move || {
        let left = replica::copy(&from, &live, &except)?;
        change::plant(&live)?;
        untouched_copy(&live, &first)?;
        Ok((replica::measure(&live, &[]), left))
    })
    .await?;
    for left in &left {
        stage.output.say(format!("left out: {left}"));
    }
    // A file that changes just before a capture is read again by the next one, because its times cannot prove that it did
    // not change once more: let the new copy grow older than that.
    tokio::time::sleep(SETTLE).await;
    let (config, name) = config(stage, places)?;
    Site::create(&config, &stage.parts).await?;
    let site = Site::open(config, stage.parts.clone()).await?;
    let left = if left.is_empty() { String::new() } else { format!(", {} left out", left.len()) };
    Ok(((site, name), format!("{} entries, {}{left}", size.entries, ByteSize::new(size.bytes))))
}

/// A copy to compare with later. It has to be the same now: what it lacked could not be missed then.
fn untouched_copy(live: &Path, copy: &Path) -> anyhow::Result<()> {
    let left = replica::copy(live, copy, &[])?;
    anyhow::ensure!(
        left.is_empty(),
        "no faithful copy to compare with can be made here: {}",
        left.join("; ")
    );
    let differences = compare_trees(live, copy);
    let shown: Vec<_> = differences.iter().take(5).map(ToString::to_string).collect();
    anyhow::ensure!(
        differences.is_empty(),
        "no faithful copy to compare with can be made here: {}",
        shown.join("; ")
    );
    Ok(())
}

fn config(stage: &Stage, places: &Places) -> anyhow::Result<(Config, SourceId)> {
    let passphrase = stage.dir.join("passphrase");
    std::fs::write(&passphrase, &stage.passphrase).context("the passphrase cannot be kept")?;
    let url = format!("file://{}", stage.dir.join("tree/repository").display());
    let name = SourceId::new("tree")?;
    let source =
        SourceConfig::Directory { path: places.live.clone(), exclude: Vec::new(), one_file_system: false };
    let system =
        SystemConfig { name: name.clone(), source, objective: None, checkpoint: CheckpointConfig::default() };
    let config = Config {
        repository: RepositoryConfig { passphrase_file: Some(passphrase), ..RepositoryConfig::default() },
        daemon: DaemonConfig { state_dir: stage.dir.join("tree/state"), ..DaemonConfig::default() },
        copies: vec![CopyConfig { name: "copy".parse()?, url, role: None, machine: None, region: None }],
        systems: vec![system],
    };
    Ok((config, name))
}

async fn checkpoint(
    stage: &Stage,
    site: &Site,
    name: &SourceId,
    full: bool,
) -> anyhow::Result<(CheckpointReport, String)> {
    let progress = stage.output.progress();
    let request = CheckpointRequest { system: name.clone(), full, name: None };
    let made = ops::checkpoint(site, &request, &progress, &Cancel::new()).await;
    progress.done();
    let made = made?;
    let counts = &made.checkpoint.statistics;
    let (read, added) = (ByteSize::new(counts.read_bytes), ByteSize::new(counts.added_bytes));
    let detail =
        format!("{} entries, {} changed; {read} read, {added} stored", counts.entries, counts.changed);
    Ok((made, detail))
}

async fn alter(stage: &Stage, places: &Places) -> anyhow::Result<((), String)> {
    let (live, second, seed) = (places.live.clone(), places.second.clone(), stage.seed);
    blocking(move || {
        let done = change::change(&live, &mut Chance(seed))?;
        untouched_copy(&live, &second)?;
        Ok(((), done.join(", ")))
    })
    .await
}

async fn restore(
    stage: &Stage,
    site: &Site,
    name: &SourceId,
    target: Target,
    into: PathBuf,
) -> anyhow::Result<((), String)> {
    let progress = stage.output.progress();
    let request = RestoreRequest {
        system: name.clone(),
        target,
        bound: Bound::Inclusive,
        replay: true,
        skip_damaged: false,
        from: None,
        into,
    };
    let restored = ops::restore(site, &request, &progress, &Cancel::new()).await;
    progress.done();
    let outcome = restored?.outcome;
    Ok(((), format!("{} entries, {}", outcome.entries, ByteSize::new(outcome.bytes))))
}

/// Compares the untouched copy with what was restored.
async fn same(untouched: PathBuf, restored: PathBuf) -> anyhow::Result<(Result<String, String>, String)> {
    blocking(move || {
        let size = replica::measure(&untouched, &[]);
        let differences = compare_trees(&untouched, &restored);
        let shown: Vec<_> = differences.iter().take(5).map(ToString::to_string).collect();
        let verdict = match differences.len() {
            0 if size.entries == 0 => Err("there was nothing to compare: this proves nothing".to_owned()),
            0 => Ok(format!("{} entries, {}", size.entries, ByteSize::new(size.bytes))),
            count => Err(format!("{count} differences: {}", shown.join("; "))),
        };
        Ok((verdict, format!("{} differences", differences.len())))
    })
    .await
}

fn is_whole(made: &CheckpointReport, kind: CheckpointKind) -> Result<String, String> {
    let (found, counts) = (made.checkpoint.kind, &made.checkpoint.statistics);
    if found != kind {
        return Err(format!("it is {found}, not {kind}"));
    }
    if counts.lost + counts.vanished + counts.changed_while_read + counts.skipped > 0 {
        let lost = made
            .checkpoint
            .lost
            .first()
            .map_or_else(String::new, |lost| format!(": {}: {}", lost.path, lost.reason));
        return Err(format!("{} lost, {} changed while read{lost}", counts.lost, counts.changed_while_read));
    }
    Ok(format!("{kind}, {} entries", counts.entries))
}

/// What did not change is not read again.
fn reads_little(made: &CheckpointReport, detail: String) -> Result<String, String> {
    let counts = &made.checkpoint.statistics;
    if counts.changed > CHANGES_MAX || counts.changed == 0 {
        return Err(format!("{} of {} entries were taken for changed", counts.changed, counts.entries));
    }
    Ok(format!("{detail}, {} changed, {} not read", counts.changed, counts.unchanged))
}
