//! `rpo status`: how much would be lost now.

use std::path::Path;

use rpo::config::Config;
use rpo::core::{ByteSize, HumanDuration};
use rpo::report::{StatusReport, SystemReport};
use rpo::{SiteParts, ops};

use super::Refused;
use crate::arguments::Status;
use crate::exit;
use crate::output::{Output, table};

pub(crate) async fn run(path: &Path, status: &Status, output: Output) -> anyhow::Result<u8> {
    let mut report = ops::status(&Config::load(path)?, &SiteParts::os()).await?;
    if let Some(system) = &status.system {
        report.systems.retain(|found| found.name == *system);
        let found = report.systems.first().map(|found| found.status);
        report.overall =
            found.ok_or_else(|| Refused::new(exit::NOT_FOUND, format!("there is no system `{system}`")))?;
    }
    output.result(&report, || text(&report))?;
    Ok(if status.exit_code { exit::of_status(report.overall) } else { exit::OK })
}

/// The report for people. A dash means that nothing was promised.
pub(crate) fn text(report: &StatusReport) -> String {
    let mut text = format!("{}   overall: {}\n", report.taken_at, report.overall);
    let mut rows = Vec::new();
    for system in &report.systems {
        for (number, domain) in system.domains.iter().enumerate() {
            let risk = match (domain.loss.commits_at_risk, domain.loss.bytes_at_risk) {
                (Some(commits), Some(bytes)) => format!("{commits} commits, {}", ByteSize::new(bytes)),
                (None, Some(bytes)) if bytes > 0 => ByteSize::new(bytes).to_string(),
                _ => "-".to_owned(),
            };
            rows.push(vec![
                if number == 0 { system.name.to_string() } else { String::new() },
                domain.loss.domain.to_string(),
                if domain.survivors.is_empty() {
                    "everything".to_owned()
                } else {
                    domain.loss.window.to_string()
                },
                domain.limit.map_or_else(|| "-".to_owned(), |limit| limit.to_string()),
                risk,
                domain.status.to_string(),
                evidence(domain.loss.evidence_age),
                if domain.declared { "declared".to_owned() } else { String::new() },
            ]);
        }
    }
    text +=
        &table(&["SYSTEM", "IF LOST", "WOULD LOSE", "PROMISED", "AT RISK", "STATUS", "EVIDENCE", ""], rows);
    for system in &report.systems {
        text += &details(system);
    }
    text
}

fn evidence(age: Option<HumanDuration>) -> String {
    age.map_or_else(|| "none".to_owned(), |age| format!("{} old", rounded(age)))
}

fn rounded(age: HumanDuration) -> HumanDuration {
    HumanDuration::from_millis(u64::try_from(age.get().as_millis() / 100 * 100).unwrap_or(u64::MAX))
}

fn details(system: &SystemReport) -> String {
    let mut text = String::new();
    if let Some(checkpoint) = &system.checkpoint {
        text += &format!("\n{}: newest checkpoint {checkpoint}", system.name);
    }
    for copy in &system.copies {
        let held = copy.checkpoint.map_or_else(|| "no checkpoint".to_owned(), |n| format!("checkpoint {n}"));
        text += &format!("\n  copy {} ({}): {}, {held}", copy.name, copy.role, copy.health);
    }
    if let Some(trouble) = &system.trouble {
        text += &format!("\n  trouble: {trouble}");
    }
    text
}
