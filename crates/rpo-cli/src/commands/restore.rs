//! `rpo restore SYSTEM --to TARGET --into DIR`: plan, then restore.

use std::path::Path;

use rpo::core::ByteSize;
use rpo::core::target::Bound;
use rpo::ops::{self, RestoreRequest};
use rpo::recovery::Plan;
use serde::Serialize;

use super::init::absolute;
use super::{Named, say_if_not_home, site_read_only, stop_on_signal};
use crate::arguments::Restore;
use crate::exit;
use crate::output::Output;
use crate::text;

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
        let plan = ops::plan(&site, &request).await?;
        let planned = Planned { schema_version: rpo::SCHEMA_VERSION, plan: &plan };
        output.result(&planned, || plan.to_string())?;
        return Ok(exit::OK);
    }
    let cancel = stop_on_signal()?;
    let progress = output.progress();
    let restored = ops::restore(&site, &request, &progress, &cancel).await;
    progress.done();
    let report = restored?;
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
        said
    })?;
    Ok(if report.outcome.approximated.is_empty() { exit::OK } else { exit::PARTIAL })
}
