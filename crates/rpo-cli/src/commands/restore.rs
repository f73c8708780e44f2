//! `rpo restore SYSTEM --to TARGET --into DIR`: plan, then restore.

use std::path::Path;

use rpo::Site;
use rpo::checkpoint::CheckpointError;
use rpo::core::target::Bound;
use rpo::core::{ByteSize, ErrorKind};
use rpo::ops::{self, RestoreReport, RestoreRequest};
use rpo::recovery::{Plan, RecoveryError};
use serde::Serialize;

use super::init::absolute;
use super::{Named, count, say_if_not_home, site_read_only, stop_on_signal};
use crate::arguments::Restore;
use crate::exit;
use crate::failure::Advised;
use crate::output::Output;
use crate::text;

/// How many files that were left out are named on the screen; the text beside the target names all.
const NAMED_MAX: usize = 100;

/// What `--plan --json` says.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Planned<'a> {
    schema_version: u32,
    #[serde(flatten)]
    plan: &'a Plan,
}

pub(crate) async fn run(path: &Path, restore: Restore, output: Output) -> anyhow::Result<u8> {
    let named = Named { system: Some(&restore.system), copy: restore.from.as_ref() };
    let site = site_read_only(path, named).await?;
    say_if_not_home(&site, restore.from.as_ref(), output)?;
    let request = RestoreRequest {
        system: restore.system,
        target: restore.to,
        bound: if restore.exclusive { Bound::Exclusive } else { Bound::Inclusive },
        replay: !restore.no_replay,
        skip_damaged: restore.skip_damaged,
        from: restore.from,
        into: absolute(&restore.into),
    };
    for left in ops::leftovers(&request.into) {
        output.say(format!(
            "{} was left by a restore that did not end; if none is running there, it may be deleted",
            text::path(&left)
        ));
    }
    if restore.plan {
        let plan = ops::plan(&site, &request).await.map_err(|error| advised(&site, &request, error))?;
        let planned = Planned { schema_version: rpo::SCHEMA_VERSION, plan: &plan };
        output.result(&planned, || plan.to_string())?;
        return Ok(exit::OK);
    }
    let cancel = stop_on_signal()?;
    let progress = output.progress();
    let restored = ops::restore(&site, &request, &progress, &cancel).await;
    progress.done();
    let report = restored.map_err(|error| advised(&site, &request, error))?;
    if let (None, Some(stale)) = (&report.marker, ops::marker_of(&report.into)) {
        output.say(format!(
            "{} is of an earlier restore: this one left nothing out; it may be deleted",
            text::path(&stale)
        ));
    }
    output.result(&report, || {
        let mut said = report.plan.to_string();
        let outcome = &report.outcome;
        said += &format!(
            "restored  {} entries, {}{} from copy {} into {} in {:.1} s\n",
            outcome.entries,
            ByteSize::new(outcome.bytes),
            if outcome.commits > 0 { format!(", {} commits", outcome.commits) } else { String::new() },
            report.copy,
            text::path(&report.into),
            report.seconds
        );
        if !outcome.checks.is_empty() {
            let checks: Vec<_> = outcome.checks.iter().map(ToString::to_string).collect();
            said += &format!("checked   {}\n", checks.join(", "));
        }
        for note in &outcome.approximated {
            said += &format!("not exact {}\n", text::line(note));
        }
        said += &skipped(&report);
        said
    })?;
    let complete = report.outcome.approximated.is_empty() && report.outcome.skipped.is_empty();
    Ok(if complete { exit::OK } else { exit::PARTIAL })
}

/// The files that were left out because they are damaged in the store.
fn skipped(report: &RestoreReport) -> String {
    let files = &report.outcome.skipped;
    let mut said = String::new();
    for file in files.iter().take(NAMED_MAX) {
        said += &format!("missing   {}: {}\n", text::line(&file.path), text::line(&file.reason));
    }
    if files.len() > NAMED_MAX {
        said += &format!("missing   {} more\n", files.len() - NAMED_MAX);
    }
    if let Some(marker) = &report.marker {
        let count = count(files.len() as u64, "file");
        said += &format!("incomplete: {count} missing, all named in {}\n", text::path(marker));
    }
    said
}

/// Damage, with what helps against it here: another copy if there is one, and doing without what is damaged.
fn advised(site: &Site, request: &RestoreRequest, error: rpo::Error) -> anyhow::Error {
    if error.kind() != ErrorKind::Corrupt {
        return error.into();
    }
    let mut next = "rpo verify --read-data names what is damaged".to_owned();
    let used = site.copy(request.from.as_ref()).ok().map(|(name, _)| name);
    let others: Vec<_> = site
        .copies()
        .filter(|(copy, opened)| opened.is_ok() && Some(&copy.name) != used)
        .map(|(copy, _)| format!("--from {}", copy.name))
        .collect();
    if !others.is_empty() {
        next += &format!("; another copy may be whole: {}", others.join(" or "));
    }
    if let rpo::Error::Recovery(inner) = &error
        && let RecoveryError::Checkpoint(CheckpointError::Damaged(_)) = &**inner
    {
        next += "; --skip-damaged restores all other files and names what is missing";
    }
    Advised { source: error, next }.into()
}
