//! The one handle: makes, lists, restores and checks checkpoints.

use std::sync::Arc;

use futures::StreamExt;
use rpo_core::ports::Source;
use rpo_core::{CheckpointId, ErrorKind, SourceId};
use rpo_repository::{Bill, Receipt, Repository, RepositoryError, Session, SessionEnd};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::CheckpointError;
use crate::board::Board;
use crate::cutter::Cutter;
use crate::info::{CheckpointInfo, CheckpointKind};
use crate::known::Known;
use crate::locate::READS_AT_ONCE;
use crate::manifest::{ManifestRoot, decode_root};
use crate::options::{CheckpointOptions, Labels};
use crate::pipeline::{Failure, Made, Run, SealedPack, Uploaded, Uploader};
use crate::progress::{Cancel, Phase, Progress, Progressed};
use crate::store::Store;
use crate::stream::{ChainReader, load_chain, load_root};

/// Makes, lists, restores and checks the checkpoints of one repository. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Checkpointer {
    pub(crate) store: Store,
    pub(crate) options: CheckpointOptions,
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

/// What a session turns into once its objects are stored.
pub(crate) struct Draft {
    pub(crate) info: CheckpointInfo,
    pub(crate) made: Made,
}

impl Checkpointer {
    /// Works on `repository` as `options` say; they are checked when they are used.
    pub fn new(repository: Repository, options: CheckpointOptions) -> Self {
        Self { store: Store::new(repository), options }
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

    /// Runs one session: `work` makes packs on a thread of its own, they are stored meanwhile; then index, bill,
    /// manifest, in this order.
    pub(crate) async fn in_session<W, D>(
        &self,
        session: Session,
        board: &Arc<Board>,
        progress: &dyn Progress,
        known: Option<Arc<Known>>,
        work: W,
        draft: D,
    ) -> Result<CheckpointInfo, CheckpointError>
    where
        W: FnOnce(mpsc::Sender<SealedPack>, Arc<Failure>) -> Result<Made, CheckpointError> + Send + 'static,
        D: FnOnce(CheckpointId, Made) -> Draft,
    {
        let failure = Arc::new(Failure::default());
        let (send, packs) = mpsc::channel(1);
        let uploader = Uploader::new(
            self.store.clone(),
            session.source().clone(),
            session.number(),
            Arc::clone(&failure),
        );
        let uploading = tokio::spawn(uploader.run(packs));
        let seen_by_work = Arc::clone(&failure);
        let made = board.blocking(progress, move || work(send, seen_by_work)).await;
        let uploader = uploading.await.map_err(|error| CheckpointError::Worker(error.to_string()))?;

        let made = match (made, failure.take()) {
            (Ok(made), None) => Ok(made),
            // A run that stopped because storing failed says "cancelled": the reason is the failure.
            (Ok(_) | Err(CheckpointError::Cancelled), Some(reason)) => Err(reason),
            (Err(error), _) => Err(error),
        };
        let ended = async {
            let made = made?;
            board.check()?;
            let draft = draft(session.checkpoint(), made);
            self.commit(&session, uploader, known, draft, board, progress).await
        };
        let mut error = match ended.await {
            Ok(info) => return Ok(info),
            Err(error) => error,
        };
        // Nobody will go on with this session: say so, unless it was committed after all.
        match self.store.repository.fence_session(session.source(), session.number()).await {
            Ok(SessionEnd::Committed(_)) => return self.show(&session.checkpoint()).await,
            Ok(SessionEnd::Fenced) => {}
            Err(fence) => tracing::debug!(%fence, "a session that failed could not be ended"),
        }
        if let CheckpointError::Repository(RepositoryError::Fenced { source_id, number }) = &error {
            error = CheckpointError::Fenced { owner: source_id.clone(), number: *number };
        }
        Err(error)
    }

    async fn commit(
        &self,
        session: &Session,
        mut uploader: Uploader,
        known: Option<Arc<Known>>,
        draft: Draft,
        board: &Arc<Board>,
        progress: &dyn Progress,
    ) -> Result<CheckpointInfo, CheckpointError> {
        if let Some(known) = known {
            for record in known.adopted().await? {
                let receipt =
                    Receipt { key: record.pack.key(), len: record.object_len, sha256: record.sha256 };
                uploader.adopt(receipt, &record.encode()).await?;
            }
        }
        let uploaded = uploader.finish().await?;
        let Draft { mut info, made } = draft;
        info.statistics.added_bytes = uploaded.bytes();
        info.statistics.added_objects = (uploaded.packs.len() + uploaded.indexes.len()) as u64;
        info.written = self.store.repository.clock().wall();
        let index_parts = uploaded.indexes.len() as u32;
        let done = info.statistics.added_objects;
        self.put_bills(session, uploaded).await?;

        let root = ManifestRoot { info, records: made.records, index_parts, pieces: made.pieces };
        let frames = root.encode()?;
        let encoded: Vec<bytes::Bytes> =
            frames.iter().map(|frame| bytes::Bytes::copy_from_slice(frame)).collect();
        if decode_root(&encoded)? != root {
            return Err(CheckpointError::object(
                session.commit_key(),
                "does not read back as written: not stored",
            ));
        }
        board.check()?;
        let plain: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        match session.commit(&plain).await {
            // Its answer was lost: whoever asks again commits once.
            Err(error) if error.kind() == ErrorKind::Unknown => session.commit(&plain).await?,
            answer => answer?,
        };
        let bytes = root.info.statistics.added_bytes;
        progress.update(Progressed { phase: Phase::Commit, done: done + 1, total: Some(done + 1), bytes });
        Ok(root.info)
    }

    /// One bill for all objects, or several if they are very many; one even if there are none, so that mirrors learn
    /// of the manifest.
    async fn put_bills(&self, session: &Session, uploaded: Uploaded) -> Result<(), CheckpointError> {
        let mut objects: Vec<Receipt> = uploaded.packs;
        objects.extend(uploaded.indexes);
        let mut part = 1;
        loop {
            let rest = objects.split_off(objects.len().min(rpo_repository::bill::OBJECTS_MAX));
            let bill = Bill {
                source: session.source().clone(),
                session: session.number(),
                part,
                objects,
                commit_key: session.commit_key(),
            };
            self.store.repository.put_bill(bill).await?;
            if rest.is_empty() {
                return Ok(());
            }
            objects = rest;
            part += 1;
        }
    }
}

/// One call of `checkpoint`.
struct Job<'a> {
    checkpointer: &'a Checkpointer,
    source: &'a SourceId,
    what: Arc<dyn Source>,
    labels: Labels,
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
}

impl Job<'_> {
    async fn run(
        &self,
        kind: CheckpointKind,
        with_parent: bool,
    ) -> Result<CheckpointSummary, CheckpointError> {
        let Checkpointer { store, options } = self.checkpointer;
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
        let known = Arc::new(Known::new(store.clone(), handle.clone(), (self.source.clone(), number)));
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
