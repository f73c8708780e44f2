//! Points, plans and restores.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rpo_checkpoint::{Cancel, Progress};
use rpo_core::ports::{RestoreError, Restorer};
use rpo_core::target::{Bound, RestorePoint, Target};
use rpo_core::{CheckpointId, CopyName, SourceId};
use rpo_recovery::{Base, Coverage, Outcome, Plan, PlanOptions, Recovery};
use rpo_source_dir::{DirectoryRestorer, RestoreOptions, incomplete_marker};
use serde::Serialize;

use crate::config::SourceConfig;
use crate::report::SCHEMA_VERSION;
use crate::{Error, Site};

/// What can be restored of one system.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PointsReport {
    /// Version of this shape.
    pub schema_version: u32,
    /// The system.
    pub system: SourceId,
    /// The copy that was asked.
    pub copy: CopyName,
    /// Its checkpoints, oldest first; one with `left-out` above zero is partial.
    pub checkpoints: Vec<Base>,
    /// Checkpoints that are there and cannot be read.
    pub unreadable: Vec<Unreadable>,
    /// Stretches of log in which every commit can be restored.
    pub coverage: Vec<Coverage>,
    /// Moments somebody named in the log.
    pub named: Vec<RestorePoint>,
}

/// A checkpoint that is there and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Unreadable {
    /// Which one.
    pub id: CheckpointId,
    /// What is wrong.
    pub why: String,
}

/// What to restore, and where to.
#[derive(Debug, Clone)]
pub struct RestoreRequest {
    /// The system.
    pub system: SourceId,
    /// What to restore.
    pub target: Target,
    /// With or without the commit the target names.
    pub bound: Bound,
    /// Replay the log after the base.
    pub replay: bool,
    /// Restore everything that is whole, and leave out, named, what is damaged in the store; else damage ends the restore.
    pub skip_damaged: bool,
    /// Use this copy alone; none takes home, or the first that answers.
    pub from: Option<CopyName>,
    /// An absent or empty directory.
    pub into: PathBuf,
}

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RestoreReport {
    /// Version of this shape.
    pub schema_version: u32,
    /// The system.
    pub system: SourceId,
    /// The copy it came from.
    pub copy: CopyName,
    /// Where it is now.
    pub into: PathBuf,
    /// What was planned, and reached.
    pub plan: Plan,
    /// What was done.
    pub outcome: Outcome,
    /// The text beside `into` that names what is missing from it; only where files were skipped.
    pub marker: Option<PathBuf>,
    /// What earlier restores to the same place began and did not end, as it was found before this one.
    pub leftovers: Vec<PathBuf>,
    /// How long it took, seconds.
    pub seconds: f64,
}

/// What restores to `into` began beside it and neither ended nor removed: they were killed, or run now.
pub fn leftovers(into: &Path) -> Vec<PathBuf> {
    // Where the directory cannot be listed, the restore itself says so.
    rpo_source_dir::partials_beside(into).unwrap_or_default()
}

/// What a restore to `into` that left files out wrote beside it; none if there is no such text.
pub fn marker_of(into: &Path) -> Option<PathBuf> {
    Some(incomplete_marker(into)).filter(|marker| marker.symlink_metadata().is_ok())
}

/// What can be restored of `system` from one copy.
///
/// # Errors
/// There is no such system or copy, or it cannot be read.
pub async fn points(site: &Site, system: &SourceId, from: Option<&CopyName>) -> Result<PointsReport, Error> {
    site.system(system)?;
    let (copy, repository) = site.copy(from)?;
    let recovery = Recovery::load(repository, system, None).await?;
    Ok(PointsReport {
        schema_version: SCHEMA_VERSION,
        system: system.clone(),
        copy: copy.clone(),
        checkpoints: recovery.catalogue().bases().to_vec(),
        unreadable: recovery
            .unreadable()
            .iter()
            .map(|(id, why)| Unreadable { id: id.clone(), why: why.clone() })
            .collect(),
        coverage: recovery.catalogue().restorable(),
        named: recovery.named_points().await?,
    })
}

/// What a restore would do.
///
/// # Errors
/// The target cannot be restored; the error names the nearest that can. Or the place is refused, as the restore would.
pub async fn plan(site: &Site, request: &RestoreRequest) -> Result<Plan, Error> {
    refuse_own_places(site, request)?;
    rpo_source_dir::check_target(&request.into)?;
    let (_, recovery) = load(site, request).await?;
    Ok(planned(site, &recovery, request).await?)
}

/// Restores: plan, build beside the target, check, one rename. The target is complete on `Ok`, untouched on error.
///
/// # Errors
/// Whatever stopped it.
pub async fn restore(
    site: &Site,
    request: &RestoreRequest,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<RestoreReport, Error> {
    let clock = &site.parts().clock;
    let begin = clock.monotonic();
    refuse_own_places(site, request)?;
    let leftovers = leftovers(&request.into);
    // Refuse a target that is in use before anything is read.
    let restorer: Arc<dyn Restorer> = Arc::new(DirectoryRestorer::new(
        request.into.clone(),
        site.parts().entropy.as_ref(),
        RestoreOptions::default(),
    )?);
    let prepared = async {
        let (copy, recovery) = load(site, request).await?;
        let plan = planned(site, &recovery, request).await?;
        Ok::<_, Error>((copy, recovery, plan))
    };
    let (copy, recovery, plan) = match prepared.await {
        Ok(prepared) => prepared,
        Err(error) => {
            if let Err(left) = restorer.abandon() {
                tracing::warn!(error = %left, "what was prepared beside the target is left there");
            }
            return Err(error);
        }
    };
    let outcome = recovery.execute(&plan, restorer, progress, cancel).await?;
    let took: Duration = clock.monotonic().since(begin);
    Ok(RestoreReport {
        schema_version: SCHEMA_VERSION,
        system: request.system.clone(),
        copy,
        into: request.into.clone(),
        plan,
        marker: (!outcome.skipped.is_empty()).then(|| incomplete_marker(&request.into)),
        outcome,
        leftovers,
        seconds: took.as_secs_f64(),
    })
}

async fn load(site: &Site, request: &RestoreRequest) -> Result<(CopyName, Recovery), Error> {
    site.system(&request.system)?;
    let (copy, repository) = site.copy(request.from.as_ref())?;
    Ok((copy.clone(), Recovery::load(repository, &request.system, None).await?))
}

async fn planned(
    site: &Site,
    recovery: &Recovery,
    request: &RestoreRequest,
) -> Result<Plan, rpo_recovery::RecoveryError> {
    let options = PlanOptions { replay: request.replay, skip_damaged: request.skip_damaged };
    let mut plan = recovery.plan(&request.target, request.bound, options).await?;
    let now = site.parts().clock.wall();
    if matches!(request.target, Target::Time(time) if time > now) {
        plan.notes.insert(0, format!("the target lies in the future: it is {now} now"));
    }
    Ok(plan)
}

/// A restore into a repository would be taken for damage there, one inside the source for a change of it.
fn refuse_own_places(site: &Site, request: &RestoreRequest) -> Result<(), Error> {
    let system = site.system(&request.system)?;
    let SourceConfig::Directory { path: source, .. } = &system.source;
    let refuse = |why: String| {
        Err(Error::from(RestoreError::Target { path: request.into.display().to_string(), why }))
    };
    for (copy, place) in site.config().copies.iter().filter_map(|copy| Some((copy, copy.directory()?))) {
        if request.into.starts_with(&place) {
            return refuse(format!("copy {} is kept there: restore to a directory of its own", copy.name));
        }
    }
    if request.into != *source && request.into.starts_with(source) {
        return refuse("it lies inside what is protected: restore beside it".to_owned());
    }
    Ok(())
}
