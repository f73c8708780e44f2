//! `rpo wal inspect|verify|repair DIR`: a log's directory, looked into, checked and mended.

use rpo::config::Config;
use rpo::core::{ByteSize, LogEntry, MarkerKind, Position, StreamId};
use rpo::crypto::Secret;
use rpo::recovery::repair::{Answer, Comparison, Loss, RepairCopy, RepairPlan, SourcePart};
use rpo::wal::repair::{Condition, ControlState, GapEnd, Piece, Run, Use};
use rpo::{SiteParts, ops};
use serde::Serialize;
use serde_json::{Value, json};

use super::{count, init};
use crate::arguments::{SecretFrom, Wal, WalInspect, WalRepair, WalVerify};
use crate::exit;
use crate::output::{Output, table};
use crate::text;

pub(crate) async fn run(wal: &Wal, output: Output) -> anyhow::Result<u8> {
    match wal {
        Wal::Inspect(inspect) => self::inspect(inspect, output),
        Wal::Verify(verify) => self::verify(verify, output).await,
        Wal::Repair(repair) => self::repair(repair, output).await,
    }
}

/// Opens the archives, with the key that the options name.
async fn copies(
    parts: &SiteParts,
    urls: &[String],
    stream: Option<&StreamId>,
    secret: &SecretFrom,
) -> anyhow::Result<Vec<RepairCopy>> {
    if urls.is_empty() {
        return Ok(Vec::new());
    }
    let config = Config { repository: init::repository(secret), ..Config::default() };
    let secret: Option<Secret> = config.secret()?;
    Ok(ops::wal_copies(parts, urls, stream, secret.as_ref()).await?)
}

fn inspect(inspect: &WalInspect, output: Output) -> anyhow::Result<u8> {
    let condition = ops::wal_condition(&SiteParts::os(), &inspect.dir)?;
    let listed = match (inspect.frames, inspect.entries) {
        (true, _) => Some(("frames", frames(&condition, inspect)?)),
        (_, true) => Some(("entries", entries(&condition, inspect)?)),
        _ => None,
    };
    let mut value = serde_json::to_value(&condition)?;
    value["schema-version"] = json!(rpo::SCHEMA_VERSION);
    value["whole"] = json!(condition.is_whole());
    if let Some((name, rows)) = &listed {
        value[name] = json!(rows);
    }
    output.result(&value, || {
        let mut text = describe(&condition);
        if let Some((_, rows)) = &listed {
            text += "\n\n";
            text += &listing(rows);
        }
        text
    })?;
    if !condition.is_whole() {
        output.next(format!("rpo wal repair {} --from URL --dry-run", text::path(&inspect.dir)));
    }
    Ok(exit::OK)
}

fn frames(condition: &Condition, inspect: &WalInspect) -> anyhow::Result<Vec<Value>> {
    let mut rows = Vec::new();
    for run in condition.runs().filter(|run| run.to.lsn.get() > inspect.from) {
        for frame in run.frames() {
            let frame = frame.map_err(rpo::Error::from)?;
            let head = frame.head();
            if head.end_lsn().get() <= inspect.from {
                continue;
            }
            if rows.len() == inspect.limit {
                return Ok(rows);
            }
            rows.push(json!({
                "lsn": head.base_lsn, "end": head.end_lsn(), "epoch": head.epoch, "sequence": head.base_seq,
                "commits": head.commit_count, "records": head.record_count, "durable": head.durable_lsn,
                "time": head.commit_time, "bytes": head.frame_len(),
            }));
        }
    }
    Ok(rows)
}

fn entries(condition: &Condition, inspect: &WalInspect) -> anyhow::Result<Vec<Value>> {
    let mut rows = Vec::new();
    for run in condition.runs().filter(|run| run.to.lsn.get() > inspect.from) {
        for frame in run.frames() {
            for entry in frame.map_err(rpo::Error::from)?.entries() {
                if entry.position().lsn.get() <= inspect.from {
                    continue;
                }
                if rows.len() == inspect.limit {
                    return Ok(rows);
                }
                rows.push(entry_row(&entry));
            }
        }
    }
    Ok(rows)
}

fn entry_row(entry: &LogEntry) -> Value {
    let end = entry.position();
    let (what, bytes) = match entry {
        LogEntry::Commit(commit) => {
            let bytes: usize = commit.records.iter().map(|record| record.payload.len()).sum();
            let id = commit.transaction.map_or_else(String::new, |id| format!(", transaction {}", id.0));
            (format!("commit of {}{id}", count(commit.records.len() as u64, "record")), bytes)
        }
        LogEntry::Marker(marker) => (of_marker(&marker.kind), 0),
    };
    json!({
        "lsn": entry.lsn(), "end": end.lsn, "epoch": end.epoch, "sequence": end.sequence,
        "time": entry.time(), "bytes": bytes, "what": what,
    })
}

fn of_marker(kind: &MarkerKind) -> String {
    match kind {
        MarkerKind::RestorePoint(name) => format!("restore point {name}"),
        MarkerKind::Checkpoint(id) => format!("checkpoint {id}"),
        other => format!("{other:?}"),
    }
}

fn listing(rows: &[Value]) -> String {
    let Some(Value::Object(first)) = rows.first() else { return "nothing to list".to_owned() };
    let names: Vec<&str> = first.keys().map(String::as_str).collect();
    let cell = |value: &Value| match value {
        Value::String(text) => text::line(text).into_owned(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let rows = rows.iter().map(|row| names.iter().map(|name| cell(&row[*name])).collect());
    table(&names, rows)
}

/// What is in the directory, for people.
fn describe(condition: &Condition) -> String {
    let log = condition.log.map_or_else(|| "unknown log".to_owned(), |log| format!("log {log}"));
    let mut lines = vec![format!("{}: {log}", text::path(&condition.dir)), control(&condition.control)];
    let runs: Vec<&Run> = condition.runs().collect();
    let (frames, commits) = runs.iter().fold((0, 0), |(f, c), run| (f + run.frames, c + run.commits));
    lines.push(format!("{} of {} readable", count(frames, "frame"), count(commits, "commit")));
    lines.push(String::new());
    lines.push(segments(condition));
    lines.push(String::new());
    for file in condition.files.iter().filter(|file| file.what != Use::Live) {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy();
        let what = shown(&file.what);
        lines.push(format!("{what}: {} ({})", text::line(&name), ByteSize::new(file.len)));
    }
    for file in &condition.files {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy();
        lines.extend(file.trouble.iter().map(|why| format!("DAMAGED {}: {why}", text::line(&name))));
    }
    lines.extend(condition.pieces.iter().filter_map(|piece| match piece {
        Piece::Gap(gap) => {
            Some(format!("GAP {}: {}{}", span(gap.from.position(), gap.to), gap.why, place(gap)))
        }
        Piece::Run(_) => None,
    }));
    if let Some(tail) = &condition.tail {
        lines.push(format!(
            "ends at {}: {} (row {} of the decision table; durable to lsn {}, {} past the end)",
            tail.end,
            tail.verdict,
            tail.row,
            tail.durable,
            ByteSize::new(tail.bytes_past)
        ));
    }
    lines.extend(condition.notes.iter().map(|note| format!("note: {note}")));
    lines.push(match &condition.refuses {
        Some(why) => format!("does not open: {why}"),
        None => "opens".to_owned(),
    });
    lines.join("\n")
}

/// A word of the vocabulary, as it stands in JSON.
fn shown(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(text)) => text,
        _ => "?".to_owned(),
    }
}

fn control(control: &ControlState) -> String {
    match control {
        ControlState::Absent => "control file: none".to_owned(),
        ControlState::Damaged => "control file: DAMAGED, both slots".to_owned(),
        ControlState::Valid { start, durable, closed, one_slot_damaged, .. } => format!(
            "control file: begins at {start}, durable to lsn {durable}{}{}",
            if *closed { ", closed there" } else { "" },
            if *one_slot_damaged { "; one slot is damaged" } else { "" }
        ),
    }
}

fn segments(condition: &Condition) -> String {
    let rows = condition.segments().map(|file| {
        let runs: Vec<&Run> = condition.runs().filter(|run| run.file == file.path).collect();
        let times = runs.first().zip(runs.last()).map(|(first, last)| (first.first_time, last.to.time));
        let number = |n: Option<u64>| n.map_or_else(|| "?".to_owned(), |n| n.to_string());
        vec![
            text::line(&file.path.file_name().unwrap_or_default().to_string_lossy()).into_owned(),
            number(file.base.map(|base| base.lsn.get())),
            number(file.base.and_then(|base| base.sequence).map(|s| s.get())),
            number(file.base.map(|base| u64::from(base.epoch.get()))),
            number(file.ordinal),
            ByteSize::new(file.len).to_string(),
            runs.iter().map(|run| run.frames).sum::<u64>().to_string(),
            runs.iter().map(|run| run.commits).sum::<u64>().to_string(),
            times.map_or_else(|| "-".to_owned(), |(first, _)| first.to_string()),
            times.map_or_else(|| "-".to_owned(), |(_, last)| last.to_string()),
            if file.whole { "whole" } else { "DAMAGED" }.to_owned(),
        ]
    });
    let head = [
        "segment", "lsn", "sequence", "epoch", "ordinal", "size", "frames", "commits", "first", "last",
        "state",
    ];
    table(&head, rows.collect::<Vec<_>>())
}

fn span(from: Position, to: GapEnd) -> String {
    match to {
        GapEnd::Before(next) => format!("{from} to {}", next.position()),
        GapEnd::AtLeast(least) if least > from.lsn => format!("{from} to at least lsn {least}"),
        GapEnd::AtLeast(_) => format!("{from} on"),
    }
}

fn place(gap: &rpo::wal::repair::Gap) -> String {
    match (&gap.file, gap.offset) {
        (Some(file), Some(offset)) => format!(" ({}, offset {offset})", text::path(file)),
        (Some(file), None) => format!(" ({})", text::path(file)),
        _ => String::new(),
    }
}

async fn verify(verify: &WalVerify, output: Output) -> anyhow::Result<u8> {
    let parts = SiteParts::os();
    let condition = ops::wal_condition(&parts, &verify.dir)?;
    let copies = copies(&parts, &verify.against, verify.stream.as_ref(), &verify.secret).await?;
    let comparisons = ops::wal_compare(&condition, &copies).await?;
    let agrees =
        comparisons.iter().all(|comparison| comparison.agrees() && comparison.only_archive.is_empty());
    let value = json!({
        "schema-version": rpo::SCHEMA_VERSION, "whole": condition.is_whole(), "agrees": agrees, "condition": condition, "comparisons": comparisons,
    });
    output.result(&value, || {
        let mut text = describe(&condition);
        for comparison in &comparisons {
            text += "\n";
            text += &compared(comparison);
        }
        let verdict = if condition.is_whole() { "whole: every byte was read and checked" } else { "DAMAGED" };
        format!("{text}\n{verdict}")
    })?;
    if condition.is_whole() && agrees {
        return Ok(exit::OK);
    }
    output.next(format!("rpo wal repair {} --from URL --dry-run", text::path(&verify.dir)));
    Ok(exit::DAMAGED)
}

fn compared(comparison: &Comparison) -> String {
    let mut lines = vec![format!(
        "copy {}: {} the same, {} differ{}",
        text::line(&comparison.copy),
        count(comparison.same_frames, "frame"),
        comparison.differing_frames,
        comparison.archive_end.map_or_else(String::new, |end| format!("; it ends at {end}"))
    )];
    lines.extend(comparison.differences.iter().map(|d| format!("  DIFFERS at lsn {}: {}", d.lsn, d.what)));
    let only = |what: &str, ranges: &[(rpo::core::Lsn, rpo::core::Lsn)]| {
        ranges.iter().map(|(from, to)| format!("  only {what}: lsn {from} to {to}")).collect::<Vec<_>>()
    };
    lines.extend(only("here (not archived yet)", &comparison.only_local));
    lines.extend(only("in the copy", &comparison.only_archive));
    lines.extend(comparison.fenced_by.map(|epoch| format!("  note: there, epoch {epoch} took over")));
    lines.extend(
        comparison.trouble.iter().map(|why| format!("  it could not be read on: {}", text::line(why))),
    );
    lines.join("\n")
}

async fn repair(repair: &WalRepair, output: Output) -> anyhow::Result<u8> {
    let parts = SiteParts::os();
    let copies = copies(&parts, &repair.from, repair.stream.as_ref(), &repair.secret).await?;
    let plan = ops::wal_plan(&parts, &repair.dir, &copies).await?;
    if repair.dry_run || plan.is_empty() {
        let value = json!({ "schema-version": rpo::SCHEMA_VERSION, "message-type": "plan", "nothing-to-do": plan.is_empty(), "plan": plan });
        output.result(&value, || planned(&plan, &copies))?;
        return Ok(if plan.loss.is_some() && !repair.accept_loss { exit::REFUSED } else { exit::OK });
    }
    if !output.json {
        output.event(&plan, || planned(&plan, &copies))?;
    }
    let outcome = ops::wal_repair(&parts, &plan, &copies, repair.accept_loss).await?;
    let value = json!({ "schema-version": rpo::SCHEMA_VERSION, "message-type": "repaired", "plan": plan, "outcome": outcome });
    output.result(&value, || {
        let mut lines = vec![format!(
            "repaired: {} built{}",
            count(outcome.segments, "segment"),
            outcome.end.map_or_else(String::new, |end| format!(", the log ends at {end}"))
        )];
        lines.extend(outcome.lost.iter().map(|loss| format!("GIVEN UP: {}", lost(loss))));
        lines.extend(outcome.epoch.map(|epoch| format!("it goes on in epoch {epoch}")));
        lines.extend(outcome.evidence.iter().map(|path| format!("evidence: {}", text::path(path))));
        lines.push(format!("written down in {}", text::path(&repair.dir.join("repairs.jsonl"))));
        lines.join("\n")
    })?;
    Ok(exit::OK)
}

fn lost(loss: &Loss) -> String {
    let to = match loss.unreadable_to {
        Some(to) => format!("to {to}"),
        None => format!("on, at least to lsn {}", loss.at_least),
    };
    let mut text = format!("{} {to}, which nobody has", loss.cut);
    for (from, to) in &loss.set_aside {
        text += &format!("; {from} to {to}, which is whole and joins nothing any more (kept as evidence)");
    }
    match loss.commits {
        Some(commits) => text + &format!("; {} in all", count(commits, "commit")),
        None => text + "; how many commits is not known",
    }
}

fn planned(plan: &RepairPlan, copies: &[RepairCopy]) -> String {
    let name = |copy: usize| copies.get(copy).map_or("?", |copy| copy.name.as_str());
    let mut lines = Vec::new();
    if plan.is_empty() {
        lines.push("nothing to repair".to_owned());
    }
    for answer in plan.answers.iter().filter(|answer| !answer.filled || !answer.fills.is_empty()) {
        lines.extend(answered(answer, &name));
    }
    for segment in &plan.segments {
        let spec = &segment.spec;
        let from: Vec<String> = segment
            .from
            .iter()
            .map(|source| match source {
                SourcePart::Local(run) => format!("{} from here", count(run.frames, "frame")),
                SourcePart::Copy { copy, part } => {
                    format!("{} from {}", count(part.frames, "frame"), text::line(name(*copy)))
                }
            })
            .collect();
        lines.push(format!("build {}: {}", spec.file_name(), from.join(", ")));
    }
    lines.extend(plan.set_aside.iter().map(|path| format!("keep as evidence: {}", text::path(path))));
    if plan.control.is_some() {
        lines.push("write the control file anew".to_owned());
    }
    lines.extend(plan.loss.iter().map(|loss| format!("LOST with --accept-loss only: {}", lost(loss))));
    lines.extend(
        plan.begins_epoch.map(|epoch| format!("go on in epoch {epoch}, so that no position is held twice")),
    );
    lines.extend(plan.notes.iter().map(|note| format!("note: {note}")));
    lines.join("\n")
}

fn answered<'a>(answer: &Answer, name: &impl Fn(usize) -> &'a str) -> Vec<String> {
    let mut lines =
        vec![format!("missing {}: {}", span(answer.gap.from.position(), answer.gap.to), answer.gap.why)];
    for fill in &answer.fills {
        let (from, to) = (fill.part.from.position(), fill.part.to.position());
        lines.push(format!("  {} has {from} to {to}", text::line(name(fill.copy))));
    }
    if !answer.filled {
        lines.push(format!("  nobody asked has {} on", answer.reached().position()));
        lines.extend(answer.troubles.iter().map(|why| format!("  {}", text::line(why))));
    }
    lines
}
