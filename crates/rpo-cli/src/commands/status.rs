//! `rpo status`: how much would be lost now.

use std::path::Path;

use rpo::config::Config;
use rpo::core::window::Window;
use rpo::core::{ByteSize, CopyName, HumanDuration};
use rpo::report::{DomainReport, StatusReport, SystemReport};
use rpo::{SiteParts, ops};

use super::Refused;
use crate::arguments::Status;
use crate::exit;
use crate::output::{Output, table};

pub(crate) async fn run(path: &Path, status: &Status, output: Output) -> anyhow::Result<u8> {
    let config = Config::load(path)?;
    if let Some(system) = &status.system {
        config.require_system(system)?;
    }
    let mut report = ops::status(&config, &SiteParts::os()).await?;
    if let Some(system) = &status.system {
        report.systems.retain(|found| found.name == *system);
        if report.systems.is_empty() {
            let text = format!("the daemon's report does not know `{system}` yet; next: start rpo run again");
            return Err(Refused::new(exit::NOT_FOUND, text));
        }
        report.sum_up();
    }
    output.result(&report, || text(&report))?;
    Ok(if status.exit_code { exit::of_status(report.overall) } else { exit::OK })
}

/// The report for people. A dash means that nothing was promised.
pub(crate) fn text(report: &StatusReport) -> String {
    if report.systems.is_empty() {
        return "nothing is protected: the file has no [[system]]".to_owned();
    }
    let overall = if report.promised { report.overall.to_string() } else { "nothing promised".to_owned() };
    let mut text = format!("{}   overall: {overall}\n", report.taken_at);
    let mut rows = Vec::new();
    for system in &report.systems {
        for (number, domain) in system.domains.iter().enumerate() {
            rows.push(vec![
                if number == 0 { system.name.to_string() } else { String::new() },
                domain.loss.domain.to_string(),
                if all_gone(system, domain) { "everything".to_owned() } else { window(&domain.loss.window) },
                domain.limit.map_or_else(|| "-".to_owned(), |limit| limit.to_string()),
                risk(domain),
                domain.limit.map_or_else(|| "-".to_owned(), |_| domain.status.to_string()),
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
    if let Some(note) = &report.note {
        text += &format!("\n{}", crate::text::line(note));
    }
    text
}

/// Whether nothing would be left, and that is known: no copy survives, or those that do have told that they have nothing whole.
fn all_gone(system: &SystemReport, domain: &DomainReport) -> bool {
    let has_nothing = |name: &CopyName| {
        let told = |health: &str| health.starts_with("missing: ") || health.starts_with("damaged: ");
        let copy = system.copies.iter().find(|copy| copy.name == *name);
        copy.is_some_and(|copy| copy.checkpoint.is_none() && copy.log.is_none() && told(&copy.health))
    };
    domain.by.is_empty() && domain.survivors.iter().all(has_nothing)
}

/// How much is at risk beside the time: counted where it is known, everything where nothing is protected.
fn risk(domain: &DomainReport) -> String {
    let nothing_protected = domain.by.is_empty() && domain.protected.is_none();
    match (domain.loss.commits_at_risk, domain.loss.bytes_at_risk) {
        (Some(commits), Some(bytes)) => format!("{commits} commits, {}", ByteSize::new(bytes)),
        (None, Some(bytes)) if nothing_protected && !domain.survivors.is_empty() => {
            format!("up to {}", ByteSize::new(bytes))
        }
        (None, Some(bytes)) if bytes > 0 => ByteSize::new(bytes).to_string(),
        _ if domain.survivors.is_empty() => "everything".to_owned(),
        _ if nothing_protected => "unknown".to_owned(),
        _ => "what changed".to_owned(), // since the scan; nobody has looked how much that is
    }
}

fn evidence(age: Option<HumanDuration>) -> String {
    age.map_or_else(|| "none".to_owned(), |age| format!("{} old", short(age)))
}

fn window(window: &Window) -> String {
    match window {
        Window::None => "nothing".to_owned(),
        Window::Age(age) => short(*age),
        Window::Unknown { bound: Some(bound) } => format!("unknown (at most {})", short(*bound)),
        Window::Unknown { bound: None } => "unknown".to_owned(),
    }
}

/// Rounded up, never down: to a tenth of a second, or to a second above a minute.
pub(crate) fn short(age: HumanDuration) -> String {
    let age = age.get();
    let step = if age < std::time::Duration::from_secs(60) { 100 } else { 1_000 };
    let steps = age.as_nanos().div_ceil(step * 1_000_000);
    HumanDuration::from_millis(u64::try_from(steps * step).unwrap_or(u64::MAX)).to_string()
}

fn details(system: &SystemReport) -> String {
    let mut text = String::new();
    text += &match &system.checkpoint {
        Some(checkpoint) => format!("\n{}: newest checkpoint {checkpoint}", system.name),
        None => format!("\n{}: no checkpoint yet", system.name),
    };
    for copy in &system.copies {
        let held = copy.checkpoint.map_or_else(|| "no checkpoint".to_owned(), |n| format!("checkpoint {n}"));
        text += &format!("\n  copy {} ({}): {held}, {}", copy.name, copy.role, copy.health);
    }
    if let Some(trouble) = &system.trouble {
        text += &format!("\n  trouble: {}", crate::text::line(trouble));
    }
    text
}
