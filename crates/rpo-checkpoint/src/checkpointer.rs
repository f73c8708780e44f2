//! The one handle: makes, lists, restores and checks checkpoints.

use std::sync::Arc;

use futures::StreamExt;
use rpo_core::ports::Source;
use rpo_core::{CheckpointId, SourceId};
use rpo_repository::Repository;

use crate::CheckpointError;
use crate::info::{CheckpointInfo, CheckpointKind};
use crate::job::Job;
use crate::known::KnownCache;
use crate::locate::READS_AT_ONCE;
use crate::manifest::ManifestRoot;
use crate::options::{CheckpointOptions, Labels};
use crate::progress::{Cancel, Progress};
use crate::store::Store;
use crate::stream::{load_chain, load_root};

/// Makes, lists, restores and checks the checkpoints of one repository. Cheap to clone; clones share what they read of
/// indexes, so keep one as long as the program runs.
#[derive(Debug, Clone)]
pub struct Checkpointer {
    pub(crate) store: Store,
    pub(crate) options: CheckpointOptions,
    /// What indexes said, kept from one checkpoint to the next.
    pub(crate) cache: Arc<KnownCache>,
}

/// A checkpoint that was made.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct CheckpointSummary {
    /// What was made. Its kind may be `full` where another was asked for: without a parent, or at the end of a chain.
    pub info: CheckpointInfo,
    /// Why the parent could not be used, if so: everything was read again.
    pub parent_unusable: Option<String>,
}

impl CheckpointSummary {
    /// The checkpoint's name.
    pub fn id(&self) -> &CheckpointId {
        &self.info.id
    }
}

/// The checkpoints of a source, and those that are there but cannot be read.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Survey {
    /// Readable ones, oldest first.
    pub checkpoints: Vec<CheckpointInfo>,
    /// Damaged ones, with what is wrong.
    pub unreadable: Vec<(CheckpointId, CheckpointError)>,
}

impl Checkpointer {
    /// Works on `repository` as `options` say; they are checked when they are used.
    pub fn new(repository: Repository, options: CheckpointOptions) -> Self {
        Self { store: Store::new(repository), options, cache: Arc::default() }
    }

    /// The repository it works on.
    pub fn repository(&self) -> &Repository {
        &self.store.repository
    }

    /// How checkpoints are made.
    pub fn options(&self) -> &CheckpointOptions {
        &self.options
    }

    /// Makes a checkpoint of `what`. On `Ok` it is durable and can be restored.
    ///
    /// An incremental or differential one becomes full if there is no parent, if its chain would grow past
    /// [`CheckpointOptions::chain_max`], or if its parent is damaged. A full one takes unchanged files from the last
    /// checkpoint all the same, without reading them. Two writers at once both succeed, each with a number of its own.
    ///
    /// # Errors
    /// Nothing was committed; what was stored already is found again by the next run. `Fenced`: somebody ended the
    /// session, start again. `NoSpace`: make room. `Cancelled`. An unreadable *file* is no error: it is counted and named
    /// in [`CheckpointInfo::lost`].
    pub async fn checkpoint(
        &self,
        source: &SourceId,
        what: Arc<dyn Source>,
        kind: CheckpointKind,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<CheckpointSummary, CheckpointError> {
        self.checkpoint_labelled(source, what, kind, Labels::default(), progress, cancel).await
    }

    /// [`checkpoint`](Self::checkpoint) with tags and free-form metadata.
    ///
    /// # Errors
    /// As [`checkpoint`](Self::checkpoint).
    pub async fn checkpoint_labelled(
        &self,
        source: &SourceId,
        what: Arc<dyn Source>,
        kind: CheckpointKind,
        labels: Labels,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<CheckpointSummary, CheckpointError> {
        self.options.validate()?;
        if kind == CheckpointKind::Snapshot {
            return Err(CheckpointError::Invalid(
                "a snapshot is made of a checkpoint, not of a source".to_owned(),
            ));
        }
        let job = Job { checkpointer: self, source, what, labels, progress, cancel };
        match job.run(kind, true).await {
            Err(CheckpointError::Parent { source: error }) if error.is_damage() => {
                tracing::warn!(source = %source, %error, "the parent is damaged: everything is read again");
                let mut summary = job.run(CheckpointKind::Full, false).await?;
                summary.parent_unusable = Some(error.to_string());
                Ok(summary)
            }
            answer => answer,
        }
    }

    /// Sources that have begun a session. From a listing, so a hint.
    ///
    /// # Errors
    /// The store's.
    pub async fn sources(&self) -> Result<Vec<SourceId>, CheckpointError> {
        Ok(self.store.repository.sources().await?)
    }

    /// The readable checkpoints of a source, oldest first.
    ///
    /// # Errors
    /// The store's. Damaged manifests are left out and logged: [`survey`](Self::survey) returns them too.
    pub async fn list(&self, source: &SourceId) -> Result<Vec<CheckpointInfo>, CheckpointError> {
        let survey = self.survey(source).await?;
        for (id, error) in &survey.unreadable {
            tracing::warn!(%id, %error, "a checkpoint cannot be read");
        }
        Ok(survey.checkpoints)
    }

    /// All checkpoints of a source, readable or not. Found by asking for numbers, not by listing.
    ///
    /// # Errors
    /// The store's.
    pub async fn survey(&self, source: &SourceId) -> Result<Survey, CheckpointError> {
        let mut survey = Survey::default();
        for (id, root) in self.roots(source).await? {
            match root {
                Ok(root) => survey.checkpoints.push(root.info),
                Err(error) => survey.unreadable.push((id, error)),
            }
        }
        Ok(survey)
    }

    /// Each session of a source that ended with a manifest.
    pub(crate) async fn roots(
        &self,
        source: &SourceId,
    ) -> Result<Vec<(CheckpointId, Result<ManifestRoot, CheckpointError>)>, CheckpointError> {
        let numbers = self.store.repository.sessions(source).await?;
        let mut loads = futures::stream::iter(numbers)
            .map(|number| async move {
                let id = CheckpointId { source: source.clone(), number };
                let root = load_root(&self.store, &id).await;
                (id, root)
            })
            .buffered(READS_AT_ONCE);
        let mut roots = Vec::new();
        while let Some((id, root)) = loads.next().await {
            match root {
                Ok(None) => {}
                Ok(Some(root)) => roots.push((id, Ok(root))),
                Err(error) if error.is_damage() => roots.push((id, Err(error))),
                Err(error) => return Err(error),
            }
        }
        Ok(roots)
    }

    /// What is known of one checkpoint.
    ///
    /// # Errors
    /// `NoCheckpoint`; kind `Corrupt` if its manifest is damaged.
    pub async fn show(&self, id: &CheckpointId) -> Result<CheckpointInfo, CheckpointError> {
        let root = load_root(&self.store, id).await?;
        root.map(|root| root.info).ok_or_else(|| CheckpointError::NoCheckpoint { id: id.clone() })
    }

    /// The manifests a checkpoint needs: itself first, the self-contained one last.
    ///
    /// # Errors
    /// `NoCheckpoint`, `BrokenChain`, or kind `Corrupt`.
    pub async fn chain(&self, id: &CheckpointId) -> Result<Vec<CheckpointInfo>, CheckpointError> {
        Ok(load_chain(&self.store, id).await?.into_iter().map(|root| root.info).collect())
    }
}
