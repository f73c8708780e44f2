//! How much would be lost now: from the daemon's last report, or from the stores themselves.

use std::time::Duration;

use rpo_checkpoint::CheckpointInfo;
use rpo_core::objective::{Domain, Status};
use rpo_core::window::{CheckpointCopy, Moment, PolledTimeline, judge, protected_checkpoint};
use rpo_core::{CheckpointId, HumanDuration, SourceId};
use rpo_repository::Repository;
use tokio::sync::RwLock;

use crate::config::{Config, CopyConfig, SystemConfig};
use crate::manager::audit::{self, Audited, Ledger};
use crate::manager::{is_running, last_report, partial, unreadable};
use crate::report::{CopyReport, DomainReport, StatusReport, SystemReport, polled_risk, unpromised};
use crate::{Error, Site, SiteParts};

/// A report older than this is not the daemon's present: then the stores are asked.
const REPORT_AGE_MAX: Duration = Duration::from_secs(60);

/// Scans of one system that are looked back on.
const SCANS: usize = 64;

/// The daemon's last report, aged to now; without a daemon of this configuration, what the stores themselves say.
///
/// # Errors
/// There is no daemon's report and no copy can be opened.
pub async fn status(config: &Config, parts: &SiteParts) -> Result<StatusReport, Error> {
    let now = parts.clock.wall();
    let state_dir = &config.daemon.state_dir;
    let present = |report: &StatusReport| {
        report.live && report.taken_at <= now && now.since(report.taken_at) <= REPORT_AGE_MAX
    };
    let kept = last_report(parts.disk.as_ref(), state_dir)?.filter(present);
    // A daemon that was killed cannot say so: its lock does.
    let mut note = None;
    if let Some(report) = kept.filter(|_| is_running(parts.disk.as_ref(), state_dir)) {
        if report.configuration.as_ref() == Some(&config.identity()) {
            return Ok(report.aged(now));
        }
        note = Some(format!(
            "the rpo run that uses {} has other copies or systems than this configuration, so its report is not used and the \
             stores were asked; next: start rpo run again if the file was changed, or give each configuration a state-dir of \
             its own",
            state_dir.display()
        ));
    }
    let site = Site::open_read_only(config.clone(), parts.clone()).await?;
    Ok(StatusReport { note, ..survey(&site).await? })
}

/// What the stores themselves say now.
///
/// # Errors
/// A copy that was opened can no longer be read.
pub async fn survey(site: &Site) -> Result<StatusReport, Error> {
    let copies = audit_copies(site).await;
    let mut systems = Vec::new();
    for system in &site.config().systems {
        systems.push(survey_system(site, system, &copies).await?);
    }
    let mut report = StatusReport::new(site.parts().clock.wall(), systems);
    report.configuration = Some(site.config().identity());
    Ok(report)
}

/// A copy, and what was found when it was looked through.
struct Looked<'a> {
    copy: &'a CopyConfig,
    found: Result<(&'a Repository, Audited), String>,
}

/// Looks through every copy once, whatever the number of systems.
async fn audit_copies(site: &Site) -> Vec<Looked<'_>> {
    let home = site.config().home();
    let mut opened: Vec<_> = site.copies().filter_map(|(copy, opened)| Some((copy, opened.ok()?))).collect();
    opened.sort_by_key(|(copy, _)| Some(*copy) != home);
    let all: Vec<_> = opened.into_iter().map(|(_, repository)| repository.clone()).collect();
    let sources: Vec<SourceId> = site.config().systems.iter().map(|system| system.name.clone()).collect();
    let ledger = RwLock::new(Ledger::default());
    let mut copies = Vec::new();
    for (copy, opened) in site.copies() {
        let found = match opened {
            Err(error) => Err(error.to_string()),
            Ok(repository) => match audit::look(repository, &all, &ledger, &sources).await {
                Ok(audited) => Ok((repository, audited)),
                Err(error) => Err(error.to_string()),
            },
        };
        copies.push(Looked { copy, found });
    }
    copies
}

/// What one copy says of one system.
struct Asked<'a> {
    copy: &'a CopyConfig,
    /// Its readable checkpoints.
    known: Vec<CheckpointInfo>,
    /// The newest that is whole there.
    counted: Option<u64>,
    at: Moment,
    health: String,
    answered: bool,
    /// What stands there and cannot be read.
    unreadable: Option<String>,
}

async fn ask<'a>(site: &Site, system: &SystemConfig, looked: &Looked<'a>) -> Result<Asked<'a>, Error> {
    let copy = looked.copy;
    let at = Moment::now(site.parts().clock.as_ref());
    let silent = |why: &str| Asked {
        copy,
        known: Vec::new(),
        counted: None,
        at,
        health: format!("failing: {why}"),
        answered: false,
        unreadable: None,
    };
    let (repository, audited) = match &looked.found {
        Ok(found) => found,
        Err(why) => return Ok(silent(why)),
    };
    let found = match site.checkpointer(system, repository)?.survey(&system.name).await {
        Ok(found) => found,
        Err(error) => return Ok(silent(&error.to_string())),
    };
    let unreadable = unreadable(&found).map(|text| format!("copy {}: {text}", copy.name));
    let newest = found.checkpoints.last().map(|info| info.id.number);
    Ok(Asked {
        copy,
        counted: audited.counts(&system.name, newest),
        known: found.checkpoints,
        at,
        health: audited.damage(&system.name).unwrap_or_else(|| "good".to_owned()),
        answered: true,
        unreadable,
    })
}

async fn survey_system(
    site: &Site,
    system: &SystemConfig,
    copies: &[Looked<'_>],
) -> Result<SystemReport, Error> {
    let mut asked = Vec::new();
    for looked in copies {
        asked.push(ask(site, system, looked).await?);
    }
    let now = Moment::now(site.parts().clock.as_ref());
    let mut known: Vec<&CheckpointInfo> = asked.iter().flat_map(|asked| &asked.known).collect();
    known.sort_by_key(|info| info.id.number);
    known.dedup_by_key(|info| info.id.number);
    let newest = known.last().copied();
    let timeline = timeline(&known, now);
    let domains = judge_domains(site, system, &asked, &timeline, newest, now);
    let copies: Vec<_> = asked.iter().map(|asked| copy_report(site, asked, now)).collect();
    let mut troubles: Vec<String> = newest.and_then(partial).into_iter().collect();
    troubles.extend(asked.iter().filter_map(|asked| asked.unreadable.clone()));
    let home = copies.iter().filter(|copy| copy.role == "home");
    troubles.extend(home.filter_map(CopyReport::home_damage));
    let crate::config::SourceConfig::Directory { .. } = &system.source;
    let kind = rpo_source_dir::KIND.to_owned();
    Ok(SystemReport {
        checkpoint: newest.map(|info| CheckpointId { source: system.name.clone(), number: info.id.number }),
        trouble: (!troubles.is_empty()).then(|| troubles.join("; ")),
        ..SystemReport::new(system.name.clone(), kind, domains, copies)
    })
}

/// The scans behind checkpoints that lack nothing: a partial one protects nothing that was not protected before.
fn timeline(known: &[&CheckpointInfo], now: Moment) -> PolledTimeline {
    let mut timeline = PolledTimeline::new(SCANS);
    for info in &known[known.len().saturating_sub(SCANS)..] {
        // A start in the future is no evidence: the wall clock has stepped, and the window is unknown.
        if let Some(started) = Moment::recalled(info.started, now)
            && partial(info).is_none()
        {
            timeline.record(started, info.id.number, info.statistics.read_bytes);
        }
    }
    timeline
}

fn judge_domains(
    site: &Site,
    system: &SystemConfig,
    asked: &[Asked<'_>],
    timeline: &PolledTimeline,
    newest: Option<&CheckpointInfo>,
    now: Moment,
) -> Vec<DomainReport> {
    let copies: Vec<_> = asked
        .iter()
        .map(|asked| CheckpointCopy {
            name: asked.copy.name.clone(),
            survives: site.survives(asked.copy),
            newest: asked.counted,
            proven_at: asked.answered.then_some(asked.at),
        })
        .collect();
    let judged = |domain| {
        let protected = protected_checkpoint(&copies, 1, domain);
        let mut loss = timeline.report(domain, protected.as_ref(), now, REPORT_AGE_MAX);
        let content = newest.map(|info| info.statistics.bytes);
        loss.bytes_at_risk = polled_risk(loss.bytes_at_risk, protected.is_some(), content);
        let limit = system.objective.as_ref().and_then(|o| o.limit(domain));
        let status = match &limit {
            Some(limit) if newest.is_some() => judge(&loss, limit),
            Some(_) => Status::Pending,
            None => unpromised(),
        };
        let by = protected.map(|p| p.by).unwrap_or_default();
        let declared = !by.is_empty() && by.iter().all(|name| site.is_declared(name));
        let survivors = copies.iter().filter(|copy| copy.survives.contains(&domain));
        let survivors = survivors.map(|copy| copy.name.clone()).collect();
        let limit = limit.map(|limit| limit.most);
        DomainReport { declared, status, limit, protected: None, survivors, by, loss }
    };
    [Domain::Machine, Domain::Region].into_iter().map(judged).collect()
}

fn copy_report(site: &Site, asked: &Asked<'_>, now: Moment) -> CopyReport {
    CopyReport {
        name: asked.copy.name.clone(),
        role: if site.config().home() == Some(asked.copy) { "home" } else { "mirror" }.to_owned(),
        health: asked.health.clone(),
        log: None,
        lag_bytes: None,
        lag_commits: None,
        checkpoint: asked.counted,
        evidence_age: asked.answered.then(|| HumanDuration::from(now.since(asked.at))),
    }
}
