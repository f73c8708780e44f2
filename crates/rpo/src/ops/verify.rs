//! Checking what is stored.

use rpo_checkpoint::{Cancel, DamagedObject, Depth, Progress, VerifyReport};
use rpo_core::{CheckpointId, CopyName, ErrorKind, SourceId};
use rpo_repository::{Repository, layout};
use rpo_storage::Key;
use serde::Serialize;

use crate::config::Role;
use crate::report::SCHEMA_VERSION;
use crate::{Error, Site};

/// What to check, and how deep.
#[derive(Debug, Clone, Default)]
pub struct VerifyRequest {
    /// Only this system; none checks all.
    pub system: Option<SourceId>,
    /// Only this copy; none checks all.
    pub copy: Option<CopyName>,
    /// Read every byte, instead of only names and lengths.
    pub read_data: bool,
}

/// What was found, copy by copy.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct VerifyOutcome {
    /// Version of this shape.
    pub schema_version: u32,
    /// Each copy.
    pub copies: Vec<CopyVerdict>,
}

/// What was found in one copy.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CopyVerdict {
    /// The copy.
    pub copy: CopyName,
    /// Why it could not be checked, if it could not.
    pub trouble: Option<String>,
    /// Checkpoints checked.
    pub checkpoints: u64,
    /// Those of them that lack something which could not be read when they were made. No damage.
    pub partial: u64,
    /// Sessions checked: attempts to make a checkpoint.
    pub sessions: u64,
    /// Bills read.
    pub bills: u64,
    /// Indexes read.
    pub indexes: u64,
    /// Packs checked.
    pub packs: u64,
    /// Chunks checked.
    pub chunks: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Packs and indexes of sessions that were killed, given up, or still run. No damage.
    pub unreferenced: u64,
    /// Sessions that stored everything and have no end: running, killed at the last step, or their manifest was lost.
    pub unfinished: Vec<CheckpointId>,
    /// Checkpoints that were certainly there and whose manifests are not; each is among what is damaged.
    pub missing: Vec<CheckpointId>,
    /// Checkpoints that another copy has, and this mirror not yet. No damage.
    pub behind: Vec<CheckpointId>,
    /// What is damaged or missing, with the files it costs.
    pub damaged: Vec<Finding>,
}

/// Something that is damaged or missing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// What, and whom it hits.
    #[serde(flatten)]
    pub damaged: DamagedObject,
    /// Copies that were checked just now and have it, with nothing wrong found.
    #[serde(rename = "sound-in")]
    pub sound_in: Vec<CopyName>,
}

impl VerifyOutcome {
    /// Whether nothing is damaged.
    pub fn is_sound(&self) -> bool {
        self.copies.iter().all(|copy| copy.damaged.is_empty())
    }
}

/// A copy that could be checked.
struct Checked<'a> {
    name: &'a CopyName,
    role: Role,
    repository: &'a Repository,
    report: VerifyReport,
    behind: Vec<CheckpointId>,
}

/// Checks the copies, each by itself and against the others.
///
/// # Errors
/// There is no such system or copy, or it was cancelled. Damage is a finding, not an error.
pub async fn verify(
    site: &Site,
    request: &VerifyRequest,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<VerifyOutcome, Error> {
    if let Some(system) = &request.system {
        site.system(system)?;
    }
    if let Some(copy) = &request.copy {
        site.copy(Some(copy))?;
    }
    let mut checked = Vec::new();
    for (copy, opened) in site.copies() {
        if let Ok(repository) = opened
            && request.copy.as_ref().is_none_or(|name| copy.name == *name)
        {
            let role = site.config().role(copy);
            let report = check(repository, role, request, progress, cancel).await?;
            checked.push(Checked { name: &copy.name, role, repository, report, behind: Vec::new() });
        }
    }
    compare(&mut checked).await?;
    let mut copies = Vec::new();
    for (copy, opened) in
        site.copies().filter(|(copy, _)| request.copy.as_ref().is_none_or(|n| copy.name == *n))
    {
        copies.push(match opened {
            Err(error) => verdict(&copy.name, Some(error.to_string()), VerifyReport::default()),
            Ok(_) => match checked.iter().position(|checked| *checked.name == copy.name) {
                Some(at) => judge(&checked, at).await,
                None => continue,
            },
        });
    }
    Ok(VerifyOutcome { schema_version: SCHEMA_VERSION, copies })
}

async fn check(
    repository: &Repository,
    role: Role,
    request: &VerifyRequest,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<VerifyReport, Error> {
    let depth = if request.read_data { Depth::ReadAll } else { Depth::Exists };
    let checkpointer = rpo_checkpoint::Checkpointer::new(repository.clone(), Default::default());
    let source = request.system.as_ref();
    Ok(match role {
        Role::Home => checkpointer.verify(source, depth, progress, cancel).await?,
        Role::Mirror => checkpointer.verify_mirror(source, depth, progress, cancel).await?,
    })
}

/// Manifests that other copies have. They are made at home, and a mirror puts a bill after the manifest: so one that home
/// lacks, or a mirror with its bill, was lost there. What else a mirror lacks, it does not have yet.
async fn compare(checked: &mut [Checked<'_>]) -> Result<(), Error> {
    for at in 0..checked.len() {
        let here = &checked[at].report;
        let known = |id: &&CheckpointId| here.committed.contains(id) || here.missing.contains(id);
        let mut elsewhere: Vec<(CheckpointId, CopyName)> = Vec::new();
        for other in checked.iter().filter(|other| other.name != checked[at].name) {
            for id in other.report.committed.iter().filter(|id| !known(id)) {
                if !elsewhere.iter().any(|(there, _)| there == id) {
                    elsewhere.push((id.clone(), other.name.clone()));
                }
            }
        }
        for (id, other) in elsewhere {
            let key = layout::checkpoint(&id.source, id.number);
            // Asked again: it may have come since this copy was looked at.
            if checked[at].repository.exists(&key).await.map_err(rpo_checkpoint::CheckpointError::from)? {
                continue;
            }
            let copy = &mut checked[at];
            if copy.role == Role::Mirror && !copy.report.unfinished.contains(&id) {
                copy.behind.push(id);
                continue;
            }
            copy.report.note_missing(id, &format!("copy {other} has it"));
        }
    }
    Ok(())
}

/// What is said of one copy, with what others have of what is damaged in it.
async fn judge(checked: &[Checked<'_>], at: usize) -> CopyVerdict {
    let this = &checked[at];
    let mut verdict = verdict(this.name, None, this.report.clone());
    verdict.behind.clone_from(&this.behind);
    for finding in &mut verdict.damaged {
        let object = &finding.damaged.object;
        let Ok(key) = Key::new(object.clone()) else { continue };
        for other in checked.iter().filter(|other| other.name != this.name) {
            let bad = other.report.damage.objects.iter().any(|bad| bad.object == *object);
            if !bad && has(other.repository, &key).await {
                finding.sound_in.push(other.name.clone());
            }
        }
    }
    verdict
}

/// Whether a copy can be named for an object: only where it surely has it.
async fn has(repository: &Repository, key: &Key) -> bool {
    match repository.storage().stat(key).await {
        Ok(_) => true,
        Err(error) => {
            if error.kind() != ErrorKind::NotFound {
                tracing::debug!(%key, %error, "could not be asked for");
            }
            false
        }
    }
}

fn verdict(copy: &CopyName, trouble: Option<String>, report: VerifyReport) -> CopyVerdict {
    let damaged = report.damage.objects.into_iter();
    CopyVerdict {
        copy: copy.clone(),
        trouble,
        checkpoints: report.checkpoints,
        partial: report.partial,
        sessions: report.sessions,
        bills: report.bills,
        indexes: report.indexes,
        packs: report.packs,
        chunks: report.chunks,
        read_bytes: report.read_bytes,
        unreferenced: report.unreferenced,
        unfinished: report.unfinished,
        missing: report.missing,
        behind: Vec::new(),
        damaged: damaged.map(|damaged| Finding { damaged, sound_in: Vec::new() }).collect(),
    }
}
