//! Checking what is stored.

use rpo_checkpoint::{Cancel, DamagedObject, Depth, Progress};
use rpo_core::{CopyName, SourceId};
use serde::Serialize;

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
    /// Packs checked.
    pub packs: u64,
    /// Chunks checked.
    pub chunks: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// What is damaged or missing, with the files it costs.
    pub damaged: Vec<DamagedObject>,
}

impl VerifyOutcome {
    /// Whether nothing is damaged.
    pub fn is_sound(&self) -> bool {
        self.copies.iter().all(|copy| copy.damaged.is_empty())
    }
}

/// Checks the copies.
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
    let depth = if request.read_data { Depth::ReadAll } else { Depth::Exists };
    let mut copies = Vec::new();
    for (copy, opened) in
        site.copies().filter(|(copy, _)| request.copy.as_ref().is_none_or(|name| copy.name == *name))
    {
        let mut verdict = CopyVerdict {
            copy: copy.name.clone(),
            trouble: None,
            checkpoints: 0,
            packs: 0,
            chunks: 0,
            read_bytes: 0,
            damaged: Vec::new(),
        };
        match opened {
            Err(error) => verdict.trouble = Some(error.to_string()),
            Ok(repository) => {
                let checkpointer = rpo_checkpoint::Checkpointer::new(repository.clone(), Default::default());
                let report = checkpointer.verify(request.system.as_ref(), depth, progress, cancel).await?;
                verdict.checkpoints = report.checkpoints;
                verdict.packs = report.packs;
                verdict.chunks = report.chunks;
                verdict.read_bytes = report.read_bytes;
                verdict.damaged = report.damage.objects;
            }
        }
        copies.push(verdict);
    }
    Ok(VerifyOutcome { schema_version: SCHEMA_VERSION, copies })
}
