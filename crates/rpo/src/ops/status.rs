//! How much would be lost now: from the daemon's last report, or from the stores themselves.

use std::sync::Mutex;
use std::time::Duration;

use rpo_checkpoint::CheckpointInfo;
use rpo_core::objective::{Domain, Status};
use rpo_core::window::{CheckpointCopy, Moment, PolledTimeline, judge, protected_checkpoint};
use rpo_core::{CheckpointId, HumanDuration};

use crate::config::{Config, CopyConfig, SystemConfig};
use crate::manager::{is_running, last_report};
use crate::report::{CopyReport, DomainReport, StatusReport, SystemReport, worst};
use crate::{Error, Site, SiteParts};

/// A report older than this is not the daemon's present: then the stores are asked.
const REPORT_AGE_MAX: Duration = Duration::from_secs(60);

/// The daemon's last report, aged to now; without a daemon, what the stores themselves say.
///
/// # Errors
/// There is no daemon's report and no copy can be opened.
pub async fn status(config: &Config, parts: &SiteParts) -> Result<StatusReport, Error> {
    let now = parts.clock.wall();
    let kept = last_report(parts.disk.as_ref(), &config.daemon.state_dir)?;
    let present = |report: &StatusReport| {
        report.live && report.taken_at <= now && now.since(report.taken_at) <= REPORT_AGE_MAX
    };
    // A daemon that was killed cannot say so: its lock does.
    if let Some(report) =
        kept.filter(present).filter(|_| is_running(parts.disk.as_ref(), &config.daemon.state_dir))
    {
        return Ok(report.aged(now));
    }
    survey(&Site::open_read_only(config.clone(), parts.clone()).await?).await
}

/// What the stores themselves say now.
///
/// # Errors
/// A copy that was opened can no longer be read.
pub async fn survey(site: &Site) -> Result<StatusReport, Error> {
    let mut systems = Vec::new();
    for system in &site.config().systems {
        systems.push(survey_system(site, system).await?);
    }
    Ok(StatusReport::new(site.parts().clock.wall(), systems))
}

/// What one copy says of one system.
struct Asked<'a> {
    copy: &'a CopyConfig,
    newest: Option<CheckpointInfo>,
    at: Moment,
    trouble: Option<String>,
}

async fn survey_system(site: &Site, system: &SystemConfig) -> Result<SystemReport, Error> {
    let clock = site.parts().clock.as_ref();
    let mut asked = Vec::new();
    for (copy, opened) in site.copies() {
        let at = Moment::now(clock);
        let (newest, trouble) = match opened {
            Err(error) => (None, Some(error.to_string())),
            Ok(repository) => match site.checkpointer(system, repository)?.list(&system.name).await {
                Ok(known) => (known.into_iter().next_back(), None),
                Err(error) => (None, Some(error.to_string())),
            },
        };
        asked.push(Asked { copy, newest, at, trouble });
    }
    let now = Moment::now(clock);
    let timeline = Mutex::new(PolledTimeline::new(64));
    let mut newest: Vec<&CheckpointInfo> = asked.iter().filter_map(|asked| asked.newest.as_ref()).collect();
    newest.sort_by_key(|info| info.id.number);
    for info in &newest {
        // A start in the future is no evidence: the wall clock has stepped, and the window is unknown.
        if let Some(started) = Moment::recalled(info.started, now)
            && info.statistics.lost == 0
        {
            let mut timeline = timeline.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            timeline.record(started, info.id.number, info.statistics.read_bytes);
        }
    }
    let copies: Vec<_> = asked
        .iter()
        .map(|asked| CheckpointCopy {
            name: asked.copy.name.clone(),
            survives: site.survives(asked.copy),
            newest: asked.newest.as_ref().map(|info| info.id.number),
            proven_at: asked.trouble.is_none().then_some(asked.at),
        })
        .collect();
    let domains: Vec<_> = [Domain::Machine, Domain::Region]
        .into_iter()
        .map(|domain| {
            let protected = protected_checkpoint(&copies, 1, domain);
            let timeline = timeline.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let loss = timeline.report(domain, protected.as_ref(), now, REPORT_AGE_MAX);
            let limit = system.objective.as_ref().and_then(|o| o.limit(domain));
            let status = match &limit {
                _ if newest.is_empty() => Status::Pending,
                Some(limit) => judge(&loss, limit),
                None => Status::Healthy,
            };
            let by = protected.map(|p| p.by).unwrap_or_default();
            let declared = !by.is_empty() && by.iter().all(|name| site.is_declared(name));
            let survivors = copies
                .iter()
                .filter(|copy| copy.survives.contains(&domain))
                .map(|copy| copy.name.clone())
                .collect();
            DomainReport {
                declared,
                status,
                limit: limit.map(|l| l.most),
                protected: None,
                survivors,
                by,
                loss,
            }
        })
        .collect();
    let copies = asked.iter().map(|asked| CopyReport {
        name: asked.copy.name.clone(),
        role: if site.config().home() == Some(asked.copy) { "home" } else { "mirror" }.to_owned(),
        health: asked.trouble.as_ref().map_or_else(|| "good".to_owned(), |t| format!("failing: {t}")),
        log: None,
        lag_bytes: None,
        lag_commits: None,
        checkpoint: asked.newest.as_ref().map(|info| info.id.number),
        evidence_age: asked.trouble.is_none().then(|| HumanDuration::from(now.since(asked.at))),
    });
    let crate::config::SourceConfig::Directory { .. } = &system.source;
    Ok(SystemReport {
        name: system.name.clone(),
        kind: rpo_source_dir::KIND.to_owned(),
        status: worst(domains.iter().map(|domain| domain.status)),
        head: None,
        checkpoint: newest
            .last()
            .map(|info| CheckpointId { source: system.name.clone(), number: info.id.number }),
        domains,
        copies: copies.collect(),
        trouble: None,
    })
}
