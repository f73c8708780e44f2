//! One call of `checkpoint`: finds what to build on, runs the pipeline, says what was made.

use std::sync::Arc;

use rpo_core::ports::Source;
use rpo_core::{CheckpointId, SourceId};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::CheckpointError;
use crate::board::Board;
use crate::checkpointer::{CheckpointSummary, Checkpointer};
use crate::cutter::Cutter;
use crate::info::{CheckpointInfo, CheckpointKind};
use crate::known::Known;
use crate::manifest::ManifestRoot;
use crate::options::{CheckpointOptions, Labels};
use crate::pipeline::{Failure, Made, Run, SealedPack};
use crate::progress::{Cancel, Progress};
use crate::session::Draft;
use crate::store::Store;
use crate::stream::{ChainReader, load_chain, load_root};

/// One call of `checkpoint`.
pub(crate) struct Job<'a> {
    pub(crate) checkpointer: &'a Checkpointer,
    pub(crate) source: &'a SourceId,
    pub(crate) what: Arc<dyn Source>,
    pub(crate) labels: Labels,
    pub(crate) progress: &'a dyn Progress,
    pub(crate) cancel: &'a Cancel,
}

impl Job<'_> {
    pub(crate) async fn run(
        &self,
        kind: CheckpointKind,
        with_parent: bool,
    ) -> Result<CheckpointSummary, CheckpointError> {
        let Checkpointer { store, options, cache } = self.checkpointer;
        self.cancel.check()?;
        let session = store.repository.begin_session(self.source, kind_note(kind)).await?;
        // The session stands before anything is read that it may reuse: a collector sees it from now on.
        let number = session.number();
        let chain = if with_parent { self.parent_chain(kind, number).await } else { Ok(Vec::new()) };
        let chain = match chain {
            Ok(chain) => chain,
            Err(error) => {
                let _ = store.repository.fence_session(self.source, number).await;
                return Err(error);
            }
        };
        let too_long = kind == CheckpointKind::Incremental && chain.len() >= options.chain_max as usize;
        let kind = if chain.is_empty() || too_long { CheckpointKind::Full } else { kind };
        let parent = (!kind.is_self_contained()).then(|| chain[0].info.id.clone());

        let handle = Handle::current();
        let board = Board::new(self.cancel);
        let known = Arc::new(Known::new(
            store.clone(),
            handle.clone(),
            (self.source.clone(), number),
            Arc::clone(cache),
        ));
        let run = RunParts {
            store: store.clone(),
            options: options.clone(),
            cutter: Cutter::new(options.cutter, |input| store.repository.keys().mac(input)),
            known: Arc::clone(&known),
            source: Arc::clone(&self.what),
            only_changes: !kind.is_self_contained(),
            board: Arc::clone(&board),
            chain,
            handle,
        };
        let work = move |packs, failure| run.start(packs, failure);
        let draft = |id, made: Made| self.draft(id, kind, parent, made);
        let info =
            self.checkpointer.in_session(session, &board, self.progress, Some(known), work, draft).await?;
        Ok(CheckpointSummary { info, parent_unusable: None })
    }

    fn draft(
        &self,
        id: CheckpointId,
        kind: CheckpointKind,
        parent: Option<CheckpointId>,
        mut made: Made,
    ) -> Draft {
        let info = CheckpointInfo {
            id,
            kind,
            parent,
            origin: None,
            source_kind: self.what.kind().to_owned(),
            started: made.started,
            finished: made.finished,
            written: made.finished,
            position: made.position,
            cutter: self.checkpointer.options.cutter,
            statistics: std::mem::take(&mut made.statistics),
            lost: std::mem::take(&mut made.lost),
            tags: self.labels.tags.clone(),
            metadata: self.labels.metadata.clone(),
        };
        Draft { info, made }
    }

    /// The chain of the checkpoint to build on, newest first; empty if there is none.
    async fn parent_chain(
        &self,
        kind: CheckpointKind,
        below: u64,
    ) -> Result<Vec<ManifestRoot>, CheckpointError> {
        let store = &self.checkpointer.store;
        let Some(newest) = self.newest_before(below).await? else { return Ok(Vec::new()) };
        let (found, expected) = (&newest.info.source_kind, self.what.kind());
        if found != expected {
            let source = self.source;
            return Err(CheckpointError::Invalid(format!(
                "`{source}` has checkpoints of a `{found}`, this is a `{expected}`: give it a name of its own"
            )));
        }
        let chain = load_chain(store, &newest.info.id).await;
        let mut chain = chain.map_err(|error| match error.is_damage() {
            true => CheckpointError::Parent { source: Box::new(error) },
            false => error,
        })?;
        if kind == CheckpointKind::Differential {
            chain.drain(..chain.len() - 1);
        }
        Ok(chain)
    }

    /// The newest state before session `below`. Damaged manifests are passed over: they cannot be built on.
    async fn newest_before(&self, below: u64) -> Result<Option<ManifestRoot>, CheckpointError> {
        let mut newest: Option<ManifestRoot> = None;
        for number in (1..below).rev() {
            let id = CheckpointId { source: self.source.clone(), number };
            let root = match load_root(&self.checkpointer.store, &id).await {
                Ok(Some(root)) => root,
                Ok(None) => continue,
                Err(error) if error.is_damage() => {
                    tracing::warn!(%id, %error, "a damaged checkpoint is not built on");
                    continue;
                }
                Err(error) => return Err(error),
            };
            // A snapshot may be of an old state: look one further.
            if root.info.kind == CheckpointKind::Snapshot && newest.is_none() {
                newest = Some(root);
                continue;
            }
            let newer = newest.is_none_or_older(&root);
            return Ok(Some(if newer { root } else { newest.expect("not older than something") }));
        }
        Ok(newest)
    }
}

trait NoneOrOlder {
    fn is_none_or_older(&self, than: &ManifestRoot) -> bool;
}

impl NoneOrOlder for Option<ManifestRoot> {
    fn is_none_or_older(&self, than: &ManifestRoot) -> bool {
        self.as_ref().is_none_or(|root| root.info.started < than.info.started)
    }
}

fn kind_note(kind: CheckpointKind) -> &'static str {
    match kind {
        CheckpointKind::Full => "full checkpoint",
        CheckpointKind::Incremental => "incremental checkpoint",
        CheckpointKind::Differential => "differential checkpoint",
        CheckpointKind::Snapshot => "snapshot",
    }
}

/// Everything a run needs but its channel.
struct RunParts {
    store: Store,
    options: CheckpointOptions,
    cutter: Cutter,
    known: Arc<Known>,
    source: Arc<dyn Source>,
    only_changes: bool,
    board: Arc<Board>,
    chain: Vec<ManifestRoot>,
    handle: Handle,
}

impl RunParts {
    fn start(self, packs: mpsc::Sender<SealedPack>, failure: Arc<Failure>) -> Result<Made, CheckpointError> {
        let parent =
            (!self.chain.is_empty()).then(|| ChainReader::open(&self.handle, &self.store, &self.chain));
        let run = Run {
            parent,
            store: self.store,
            options: self.options,
            cutter: self.cutter,
            known: self.known,
            source: self.source,
            chain: self.chain,
            only_changes: self.only_changes,
            failure,
            board: self.board,
            packs,
        };
        run.run()
    }
}
