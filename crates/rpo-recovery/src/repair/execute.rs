//! Carrying a plan out: build beside, write down, put in place, look again.

use std::path::{Path, PathBuf};

use futures::TryStreamExt;
use rpo_core::{Epoch, ErrorKind, LogId, Lsn, Position};
use rpo_replication::ReplicationError;
use rpo_wal::repair::{Condition, SegmentBuilder, Workshop, examine_dir};
use rpo_wal::{Drive, Log, LogParts, OpenAs, WalConfig};
use serde::Serialize;

use super::ask::{Part, RepairCopy, history_of, own_epoch};
use super::error::RepairError;
use super::plan::{Loss, RepairPlan, SegmentPlan, SourcePart};
use super::record;

/// What a repair did.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RepairOutcome {
    /// Segments that were built.
    pub segments: u64,
    /// Where what was damaged is kept.
    pub evidence: Vec<PathBuf>,
    /// What was given up.
    pub lost: Option<Loss>,
    /// Where the log ends now.
    pub end: Option<Position>,
    /// The epoch in which it goes on.
    pub epoch: Option<Epoch>,
}

/// Carries `plan` out. On `Ok` the log opens, and holds everything the plan said, durably. After a crash at any step, plan
/// and execute again. `config` is used to begin a new epoch after a loss.
///
/// # Errors
/// `LossNotAccepted` before anything is touched; `Busy` if the log is open; `Changed`; what failed otherwise: then the old
/// state stands, or a part of the new one that still refuses to open.
pub async fn execute_repair(
    plan: &RepairPlan,
    copies: &[RepairCopy],
    parts: &LogParts,
    config: &WalConfig,
    accept_loss: bool,
) -> Result<RepairOutcome, RepairError> {
    if let Some(loss) = plan.loss.as_ref().filter(|_| !accept_loss) {
        return Err(RepairError::LossNotAccepted(told(loss)));
    }
    let (disk, dir) = (&*parts.disk, plan.dir.as_path());
    let workshop = Workshop::enter(disk, dir)?;
    let before = examine_dir(disk, dir, Lsn::ZERO)?;
    if !same(&before, &plan.condition) {
        return Err(RepairError::Changed(dir.to_owned()));
    }
    let log = plan.log.ok_or_else(|| RepairError::NoLog(dir.to_owned()))?;
    let now = parts.clock.wall();
    for segment in &plan.segments {
        build(segment, copies, &workshop, log, own_epoch(&before), parts).await?;
    }
    workshop.sync_names()?;
    record::write(disk, dir, "begin", now, plan, &[])?;
    workshop.open_control()?;
    let evidence = put_in_place(plan, &workshop)?;
    workshop.remove_unfinished()?;
    let after = examine_dir(disk, dir, Lsn::ZERO)?;
    check(plan, &after)?;
    drop(workshop);
    if let Some(epoch) = plan.begins_epoch.filter(|_| after.end().is_some()) {
        begin_epoch(&after, epoch, dir, parts, config)?;
    }
    let names: Vec<String> = evidence.iter().map(|path| path.display().to_string()).collect();
    record::write(disk, dir, "done", parts.clock.wall(), plan, &names)?;
    Ok(RepairOutcome {
        segments: plan.segments.len() as u64,
        evidence,
        lost: plan.loss.clone(),
        end: plan.end,
        epoch: plan.begins_epoch,
    })
}

/// What would be given up, in one sentence.
fn told(loss: &Loss) -> String {
    let to = match loss.unreadable_to {
        Some(to) => format!("to {to}"),
        None => format!("on (at least to lsn {})", loss.at_least),
    };
    let mut text = format!("nobody asked has {} {to}", loss.cut);
    if let Some((from, _)) = loss.set_aside.first() {
        let last = loss.set_aside.last().map_or(*from, |(_, to)| *to);
        text.push_str(&format!("; without it, what is whole from {from} to {last} would go aside, too"));
    }
    if let Some(commits) = loss.commits {
        text.push_str(&format!("; {commits} commits in all"));
    }
    text
}

/// Whether the log still looks as it did.
fn same(a: &Condition, b: &Condition) -> bool {
    let shown = |condition: &Condition| serde_json::to_string(&(&condition.pieces, &condition.control)).ok();
    shown(a).is_some() && shown(a) == shown(b)
}

async fn build(
    plan: &SegmentPlan,
    copies: &[RepairCopy],
    workshop: &Workshop<'_>,
    log: LogId,
    own: Epoch,
    parts: &LogParts,
) -> Result<(), RepairError> {
    let now = parts.clock.wall();
    let mut builder = SegmentBuilder::create(workshop.disk(), workshop.dir(), log, plan.spec, now)?;
    for source in &plan.from {
        match source {
            SourcePart::Local(run) => {
                for frame in run.frames() {
                    builder.push(&frame?)?;
                }
            }
            SourcePart::Copy { copy, part } => fetch(&copies[*copy], part, own, &mut builder).await?,
        }
    }
    builder.finish()?;
    Ok(())
}

async fn fetch(
    copy: &RepairCopy,
    part: &Part,
    own: Epoch,
    builder: &mut SegmentBuilder,
) -> Result<(), RepairError> {
    let coverage = copy.archive.coverage().await?;
    let history = history_of(&coverage.histories, own);
    let gone = || ReplicationError::NotFound(format!("copy {}: the history is gone that it had", copy.name));
    let history = history.ok_or_else(gone)?;
    let mut frames = copy.archive.frames(history, part.from.lsn).await?;
    let mut left = part.frames;
    while left > 0 {
        let frame = frames.try_next().await?.ok_or_else(gone)?;
        builder.push(&frame)?;
        left -= 1;
    }
    Ok(())
}

/// From the end of the log to its beginning: until the last step something is missing, and it refuses to open.
fn put_in_place(plan: &RepairPlan, workshop: &Workshop<'_>) -> Result<Vec<PathBuf>, RepairError> {
    let mut evidence = Vec::new();
    // After a loss the witness is lowered last: as long as it speaks of more than is there, the log refuses to open.
    let (first, last) = if plan.loss.is_some() { (None, plan.control) } else { (plan.control, None) };
    if let Some(control) = first {
        evidence.extend(workshop.write_control(control)?);
    }
    for segment in plan.segments.iter().rev() {
        evidence.extend(workshop.put_in_place(&segment.spec)?);
    }
    let names: Vec<String> = plan.segments.iter().map(|segment| segment.spec.file_name()).collect();
    for path in &plan.set_aside {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !names.iter().any(|taken| *taken == name) {
            evidence.push(workshop.set_aside(path)?);
        }
    }
    if let Some(control) = last {
        evidence.extend(workshop.write_control(control)?);
    }
    Ok(evidence)
}

fn check(plan: &RepairPlan, after: &Condition) -> Result<(), RepairError> {
    if !after.is_whole() {
        let gap = after.gaps().next().map(|gap| format!("{} at lsn {}", gap.why, gap.from.lsn));
        let why = after.refuses.clone().or(gap).unwrap_or_else(|| "a file is still damaged".to_owned());
        return Err(RepairError::NotWhole(why));
    }
    let end = after.end().map(|end| end.position());
    if end.is_some() && end.map(|end| end.lsn) != plan.end.map(|end| end.lsn) {
        let shown = |end: Option<Position>| end.map_or_else(|| "nothing".to_owned(), |end| end.to_string());
        return Err(RepairError::NotWhole(format!("it ends at {}, not {}", shown(end), shown(plan.end))));
    }
    Ok(())
}

/// Begins the epoch in which the log goes on after a loss.
fn begin_epoch(
    after: &Condition,
    epoch: Epoch,
    dir: &Path,
    parts: &LogParts,
    config: &WalConfig,
) -> Result<(), RepairError> {
    let Some(end) = after.end() else { return Ok(()) };
    let (at, parent, not_before) = (end.position(), Some(end.epoch), end.time);
    let open_as = OpenAs::Takeover { epoch, at, parent, not_before };
    let (log, _) = Log::open(dir, config.clone(), parts.clone(), Drive::Manual, open_as)?;
    match log.close() {
        Err(error) if error.kind() != ErrorKind::Refused => Err(error.into()),
        _ => Ok(()),
    }
}
