//! `rpo verify`: what is stored is there, and is what was stored.

use std::collections::BTreeMap;
use std::path::Path;

use rpo::Site;
use rpo::config::{CopyConfig, Role};
use rpo::core::{ByteSize, CheckpointId};
use rpo::ops::{self, CopyVerdict, Finding, VerifyRequest};

use super::{Named, count, site_read_only, stop_on_signal};
use crate::arguments::Verify;
use crate::exit;
use crate::output::Output;

/// How many checkpoints are named in one line; all are counted.
const NAMED_MAX: usize = 10;

pub(crate) async fn run(path: &Path, verify: Verify, output: Output) -> anyhow::Result<u8> {
    let named = Named { system: verify.system.as_ref(), copy: verify.copy.as_ref() };
    let site = site_read_only(path, named).await?;
    let cancel = stop_on_signal()?;
    let request = VerifyRequest { system: verify.system, copy: verify.copy, read_data: verify.read_data };
    let progress = output.progress();
    let verified = ops::verify(&site, &request, &progress, &cancel).await;
    progress.done();
    let outcome = verified?;
    output.result(&outcome, || {
        let lines = outcome.copies.iter().flat_map(|copy| of_copy(copy, &site, request.read_data));
        lines.collect::<Vec<_>>().join("\n")
    })?;
    if !outcome.is_sound() {
        return Ok(exit::DAMAGED);
    }
    Ok(if outcome.copies.iter().any(|copy| copy.trouble.is_some()) { exit::PARTIAL } else { exit::OK })
}

fn of_copy(copy: &CopyVerdict, site: &Site, read_data: bool) -> Vec<String> {
    if let Some(trouble) = &copy.trouble {
        return vec![format!("copy {}: {trouble}", copy.copy)];
    }
    let mut lines = vec![format!(
        "copy {}: {}, {}, {}, {}, {}; {}; {}",
        copy.copy,
        count(copy.checkpoints, "checkpoint"),
        count(copy.packs, "pack"),
        count(copy.sessions, "session"),
        count(copy.bills, "bill"),
        match copy.indexes {
            1 => "1 index".to_owned(),
            indexes => format!("{indexes} indexes"),
        },
        if read_data {
            format!("{} read", ByteSize::new(copy.read_bytes))
        } else {
            "data not read (--read-data does)".to_owned()
        },
        match copy.damaged.len() as u64 {
            0 => "nothing damaged".to_owned(),
            damaged => format!("{} damaged or missing", count(damaged, "object")),
        }
    )];
    lines.extend(notes(copy));
    // What belongs to a checkpoint of which nothing is left can be named only as far as its files are known.
    let blind = copy.damaged.iter().any(|finding| !finding.damaged.checkpoints.is_empty());
    let place = site.config().copies.iter().find(|here| here.name == copy.copy);
    for finding in &copy.damaged {
        lines.extend(of_object(finding, blind));
        lines.push(format!("    next: {}", next(finding, place, site, read_data)));
    }
    lines
}

/// What is no damage, and to be known.
fn notes(copy: &CopyVerdict) -> Vec<String> {
    let mut notes = Vec::new();
    if copy.partial > 0 {
        let partial = count(copy.partial, "checkpoint");
        notes.push(format!("  note: {partial} partial: something could not be read when they were made"));
    }
    if !copy.unfinished.is_empty() {
        notes.push(format!(
            "  note: stored and never finished: {}; being made now, killed at the last step, or the manifest was lost",
            named(&copy.unfinished)
        ));
    }
    if !copy.behind.is_empty() {
        notes.push(format!("  note: not here yet: {}", named(&copy.behind)));
    }
    if copy.unreferenced > 0 {
        let objects = count(copy.unreferenced, "object");
        notes.push(format!("  note: {objects} unreferenced: of checkpoints that have no manifest"));
    }
    notes
}

/// Checkpoints, those that follow on each other as one stretch: `docs@1–docs@30, docs@32`.
fn named<'a>(checkpoints: impl IntoIterator<Item = &'a CheckpointId>) -> String {
    let mut stretches: Vec<(&CheckpointId, &CheckpointId)> = Vec::new();
    for id in checkpoints {
        match stretches.last_mut() {
            Some((_, last)) if last.source == id.source && last.number + 1 == id.number => *last = id,
            _ => stretches.push((id, id)),
        }
    }
    let shown = stretches.iter().take(NAMED_MAX);
    let names: Vec<String> = shown
        .map(|(first, last)| match last.number - first.number {
            0 => first.to_string(),
            1 => format!("{first}, {last}"),
            _ => format!("{first}–{last}"),
        })
        .collect();
    let more: u64 =
        stretches.iter().skip(NAMED_MAX).map(|(first, last)| last.number - first.number + 1).sum();
    if more == 0 { names.join(", ") } else { format!("{} and {more} more", names.join(", ")) }
}

/// An object, and what it costs.
fn of_object(finding: &Finding, blind: bool) -> Vec<String> {
    let damaged = &finding.damaged;
    let prefix = format!("{}: ", damaged.object);
    let mut lines =
        vec![format!("  {prefix}{}", damaged.what.strip_prefix(&prefix).unwrap_or(&damaged.what))];
    if !damaged.checkpoints.is_empty() {
        lines.push(format!("    lost: all files of {}", named(&damaged.checkpoints)));
    }
    let mut files: BTreeMap<&str, Vec<&CheckpointId>> = BTreeMap::new();
    for file in &damaged.affected {
        files.entry(&file.path).or_default().push(&file.checkpoint);
    }
    lines.extend(files.into_iter().map(|(path, of)| format!("    lost: {path} of {}", named(of))));
    let more = damaged.affected_count - damaged.affected.len() as u64;
    if more > 0 {
        lines.push(format!("    lost: {more} more, {} in all", count(damaged.affected_count, "file")));
    }
    let family = damaged.object.split('/').next().unwrap_or_default();
    if damaged.costs_nothing() {
        lines.push(format!(
            "    costs no file: {}",
            match family {
                "indexes" => "a restore reads what is in the packs themselves, which takes longer",
                "bills" => "but no other copy can follow past it",
                "sessions" => "it says when a checkpoint was begun",
                _ if blind =>
                    "none that can still be named; it may have held files of checkpoints that are lost whole",
                _ => "nothing that can be restored needs it",
            }
        ));
    }
    lines
}

/// What to do about an object of the copy at `place`.
fn next(finding: &Finding, place: Option<&CopyConfig>, site: &Site, read_data: bool) -> String {
    let damaged = &finding.damaged;
    let family = damaged.object.split('/').next().unwrap_or_default();
    let costly = !damaged.costs_nothing();
    let again = match family {
        // A pack that is there is built upon, whatever it holds by now: it has to go first.
        "packs" if costly && !damaged.missing && finding.sound_in.is_empty() => {
            let at = match place.and_then(CopyConfig::directory) {
                Some(directory) => directory.join(&damaged.object).display().to_string(),
                None => {
                    format!("{} of {}", damaged.object, place.map_or("the store", |copy| copy.url.as_str()))
                }
            };
            match place.filter(|copy| site.config().role(copy) == Role::Home) {
                Some(_) => format!(
                    "move {at} out of the store (keep it: parts may be readable), then rpo checkpoint --full stores again what \
                     still stands at its source"
                ),
                None => "check home, too, before anything is moved".to_owned(),
            }
        }
        "packs" | "checkpoints" if costly => {
            "what still stands at its source is stored again by rpo checkpoint --full".to_owned()
        }
        _ => String::new(),
    };
    let first = match finding.sound_in.first() {
        Some(copy) => {
            let sound = if read_data { " sound" } else { "" };
            let until =
                if costly { format!("; until then restore with --from {copy}") } else { String::new() };
            format!("copy {copy} has it{sound}: put it back from there, under the same name{until}")
        }
        None if damaged.object.ends_with('/') => "put back what else is named here".to_owned(),
        None if site.config().copies.len() == 1 => "there is no other copy".to_owned(),
        None => "no other copy that was checked has it".to_owned(),
    };
    if again.is_empty() { first } else { format!("{first}; {again}") }
}
