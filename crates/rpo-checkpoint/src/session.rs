//! One session: packs while the work goes on, then index, bill, manifest, in this order.

use std::sync::Arc;

use rpo_core::{CheckpointId, ErrorKind};
use rpo_repository::{Bill, Receipt, RepositoryError, Session, SessionEnd};
use tokio::sync::mpsc;

use crate::CheckpointError;
use crate::board::Board;
use crate::checkpointer::Checkpointer;
use crate::info::CheckpointInfo;
use crate::known::Known;
use crate::manifest::{ManifestRoot, decode_root};
use crate::pipeline::{Failure, Made, SealedPack, Uploaded, Uploader};
use crate::progress::{Phase, Progress, Progressed};

/// What a session turns into once its objects are stored.
pub(crate) struct Draft {
    pub(crate) info: CheckpointInfo,
    pub(crate) made: Made,
}

impl Checkpointer {
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
        let ended = match made {
            Ok(made) => {
                let draft = draft(session.checkpoint(), made);
                self.commit(&session, uploader, known, draft, board, progress).await
            }
            Err(error) => {
                // What was stored is indexed, so that the next run finds it.
                if let Err(index) = uploader.finish().await {
                    tracing::debug!(%index, "packs of a run that failed could not be indexed");
                }
                Err(error)
            }
        };
        let mut error = match ended {
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
