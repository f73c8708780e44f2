//! Snapshots: a chain merged into a manifest that needs no other, without reading data.

use std::sync::Arc;

use rpo_core::CheckpointId;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::CheckpointError;
use crate::board::Board;
use crate::checkpointer::{CheckpointSummary, Checkpointer};
use crate::info::{CheckpointInfo, CheckpointKind, Statistics};
use crate::manifest::{ManifestItem, ManifestRoot, PieceWriter};
use crate::options::CheckpointOptions;
use crate::pipeline::{Made, Packer, PieceSink, SealedPack};
use crate::progress::{Cancel, Phase, Progress, Progressed};
use crate::session::Draft;
use crate::store::Store;
use crate::stream::{ChainReader, load_chain};

impl Checkpointer {
    /// Merges the chain of `of` into a checkpoint of its own with the same state, time and position. Reads manifests
    /// only. On `Ok` it is durable, and needs no other manifest.
    ///
    /// # Errors
    /// Nothing was committed. `NoCheckpoint`, `BrokenChain`, `Cancelled`, and those of storing.
    pub async fn snapshot(
        &self,
        of: &CheckpointId,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<CheckpointSummary, CheckpointError> {
        self.options.validate()?;
        let session = self.store.repository.begin_session(&of.source, "snapshot").await?;
        let chain = match load_chain(&self.store, of).await {
            Ok(chain) => chain,
            Err(error) => {
                let _ = self.store.repository.fence_session(&of.source, session.number()).await;
                return Err(error);
            }
        };
        let board = Board::new(cancel);
        let origin = chain[0].info.clone();
        let merge = Merge {
            store: self.store.clone(),
            options: self.options.clone(),
            handle: Handle::current(),
            board: Arc::clone(&board),
            chain,
        };
        let draft = move |id, made| draft(id, origin, made);
        let work = move |packs, _| merge.run(packs);
        let info = self.in_session(session, &board, progress, None, work, draft).await?;
        Ok(CheckpointSummary { info, parent_unusable: None })
    }
}

fn draft(id: CheckpointId, origin: CheckpointInfo, made: Made) -> Draft {
    let whole = &origin.statistics;
    let statistics = Statistics {
        entries: whole.entries,
        files: whole.files,
        bytes: whole.bytes,
        unchanged: whole.entries,
        skipped: whole.skipped,
        lost: whole.lost, // the same state lacks the same things
        ..Statistics::default()
    };
    let info = CheckpointInfo {
        id,
        kind: CheckpointKind::Snapshot,
        parent: None,
        origin: Some(origin.id),
        statistics,
        ..origin
    };
    Draft { info, made }
}

struct Merge {
    store: Store,
    options: CheckpointOptions,
    handle: Handle,
    board: Arc<Board>,
    chain: Vec<ManifestRoot>,
}

impl Merge {
    fn run(self, packs: mpsc::Sender<SealedPack>) -> Result<Made, CheckpointError> {
        let mut entries = ChainReader::open(&self.handle, &self.store, &self.chain);
        let mut pieces = PieceSink::new(&self.options, &self.chain)?;
        let packer = Packer::new(self.store.clone(), self.options.pack_size.get(), packs);
        let mut writer = PieceWriter::new();
        let mut done = 0;
        while let Some(stored) = entries.next()? {
            self.board.check()?;
            writer.push(ManifestItem::Entry(stored), |piece| pieces.take(&self.store, &packer, piece))?;
            done += 1;
            self.board.update(Progressed { phase: Phase::Plan, done, total: None, bytes: 0 });
        }
        let mut made = Made { records: writer.total(), ..Made::empty() };
        if let Some(piece) = writer.finish() {
            pieces.take(&self.store, &packer, piece)?;
        }
        made.pieces = pieces.finish(packer.finish()?)?;
        Ok(made)
    }
}
