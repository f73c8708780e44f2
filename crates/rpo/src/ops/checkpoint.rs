//! Taking a checkpoint now.

use rpo_checkpoint::{Cancel, CheckpointInfo, CheckpointKind, Progress};
use rpo_core::{CopyName, PointName, SourceId};
use rpo_replication::{Mirror, MirrorConfig};
use rpo_repository::Repository;
use serde::Serialize;

use crate::config::{CopyConfig, Role};
use crate::report::SCHEMA_VERSION;
use crate::{Error, Site};

/// Which system, and how.
#[derive(Debug, Clone)]
pub struct CheckpointRequest {
    /// The system.
    pub system: SourceId,
    /// A self-contained manifest and every file looked at anew.
    pub full: bool,
    /// A name for this moment.
    pub name: Option<PointName>,
}

/// What a checkpoint did.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CheckpointReport {
    /// Version of this shape.
    pub schema_version: u32,
    /// The checkpoint.
    pub checkpoint: CheckpointInfo,
    /// The other copies, each with the trouble it had.
    pub mirrored: Vec<Mirrored>,
    /// Why the checkpoint before could not be built on, if so: everything was read again, and what is stored already was
    /// not stored twice, so damage there may be damage here.
    pub parent_unusable: Option<String>,
    /// How long it took, seconds.
    pub seconds: f64,
}

/// Whether a mirror has it now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Mirrored {
    /// The copy.
    pub name: CopyName,
    /// Why it has not, if it has not.
    pub trouble: Option<String>,
}

impl CheckpointReport {
    /// Whether something that should have been captured was not, a copy does not have it, or it stands beside damage.
    pub fn is_partial(&self) -> bool {
        let counts = &self.checkpoint.statistics;
        counts.lost > 0
            || counts.changed_while_read > 0
            || self.parent_unusable.is_some()
            || self.mirrored.iter().any(|copy| copy.trouble.is_some())
    }
}

/// Takes a checkpoint of one system in home and brings the mirrors up to it.
///
/// # Errors
/// It could not be made, or its name is taken; what was there before is untouched.
pub async fn checkpoint(
    site: &Site,
    request: &CheckpointRequest,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<CheckpointReport, Error> {
    let clock = site.parts().clock.clone();
    let begin = clock.monotonic();
    let system = site.system(&request.system)?;
    let checkpointer = site.checkpointer(system, site.home()?)?;
    if let Some(name) = &request.name {
        let known = checkpointer.list(&system.name).await?;
        let tagged = |info: &&CheckpointInfo| info.tags.iter().any(|tag| tag == name.as_str());
        if let Some(info) = known.iter().find(tagged) {
            return Err(Error::NameTaken { name: name.clone(), taken: info.id.clone() });
        }
    }
    let kind = if request.full { CheckpointKind::Full } else { CheckpointKind::Incremental };
    let tags = request.name.iter().map(ToString::to_string).collect();
    let labels = rpo_checkpoint::Labels { tags, ..Default::default() };
    let made = checkpointer
        .checkpoint_labelled(&system.name, site.source(system)?, kind, labels, progress, cancel)
        .await?;
    let mirrored = mirror_all(site, cancel).await?;
    let seconds = clock.monotonic().since(begin).as_secs_f64();
    Ok(CheckpointReport {
        schema_version: SCHEMA_VERSION,
        checkpoint: made.info,
        mirrored,
        parent_unusable: made.parent_unusable,
        seconds,
    })
}

/// Brings every mirror up to home, as far as that goes now.
async fn mirror_all(site: &Site, cancel: &Cancel) -> Result<Vec<Mirrored>, Error> {
    let mut mirrored = Vec::new();
    let home = site.home()?;
    for (copy, opened) in site.copies().filter(|(copy, _)| site.config().role(copy) == Role::Mirror) {
        let trouble = match opened {
            Err(error) => Some(error.to_string()),
            Ok(repository) => {
                catch_up(site, home, copy, repository, cancel).await.err().map(|error| error.to_string())
            }
        };
        mirrored.push(Mirrored { name: copy.name.clone(), trouble });
    }
    Ok(mirrored)
}

/// Replays home's bills until the mirror has everything that home was seen to have.
async fn catch_up(
    site: &Site,
    home: &Repository,
    copy: &CopyConfig,
    repository: &Repository,
    cancel: &Cancel,
) -> Result<(), Error> {
    let mut mirror = Mirror::new(
        site.spec(site.config().home().unwrap_or(copy), home.clone()),
        site.spec(copy, repository.clone()),
        site.parts().clock.clone(),
        MirrorConfig::default(),
    )?;
    while !mirror.step().await?.caught_up {
        if cancel.is_cancelled() {
            return Err(rpo_checkpoint::CheckpointError::Cancelled.into());
        }
    }
    Ok(())
}
