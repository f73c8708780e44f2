//! Making a checkpoint: one thread walks, as many as there are cores read, cut, hash, look up and compress, a task
//! stores packs. Every queue between them is bounded.

mod assemble;
mod packer;
mod parent;
mod queue;
mod tally;
mod upload;
mod walk;
mod worker;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rpo_core::ports::{CaptureReport, Entry, Source};
use rpo_core::{Position, Timestamp};
use rpo_crypto::ChunkId;
use tokio::sync::mpsc;

use crate::CheckpointError;
use crate::board::Board;
use crate::compress::Compressor;
use crate::cutter::Cutter;
use crate::info::{Lost, Statistics};
use crate::known::Known;
use crate::manifest::{ManifestItem, ManifestRoot, PieceRef};
use crate::options::CheckpointOptions;
use crate::progress::{Phase, Progressed};
use crate::store::Store;
use crate::stream::ChainReader;

use assemble::Assembly;
pub(crate) use packer::{Packer, RawFrame, SealedPack, row};
use queue::Queue;
use tally::Tally;
pub(crate) use upload::{Uploaded, Uploader};
use worker::{Worker, pack_frame};

/// A file to read.
#[derive(Debug)]
struct ReadEntry {
    slot: u64,
    /// Whether a manifest of changes must say that it is gone if it cannot be read.
    in_parent: bool,
    entry: Entry,
}

type Reads = Vec<ReadEntry>;

/// The first thing that went wrong; everybody stops because of it.
#[derive(Debug, Default)]
pub(crate) struct Failure(Mutex<Option<CheckpointError>>);

impl Failure {
    pub(crate) fn set(&self, error: CheckpointError) {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // "Cancelled" is also what others say when their channel closed because of the real reason.
        if first.as_ref().is_none_or(|first| matches!(first, CheckpointError::Cancelled)) {
            *first = Some(error);
        }
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    pub(crate) fn take(&self) -> Option<CheckpointError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What all threads of a run share.
struct Shared {
    store: Store,
    options: CheckpointOptions,
    cutter: Cutter,
    known: Arc<Known>,
    packer: Packer,
    queue: Queue<Reads, RawFrame>,
    assembly: Assembly,
    pieces: Mutex<PieceSink>,
    tally: Tally,
    failure: Arc<Failure>,
    board: Arc<Board>,
}

impl Shared {
    /// # Errors
    /// `Cancelled` if the run is to stop, for whatever reason.
    fn check(&self) -> Result<(), CheckpointError> {
        self.board.check()?;
        if self.failure.is_set() { Err(CheckpointError::Cancelled) } else { Ok(()) }
    }

    fn fill(
        &self,
        filled: impl IntoIterator<Item = (u64, Option<ManifestItem>)>,
    ) -> Result<(), CheckpointError> {
        self.assembly.fill(filled, |piece| {
            self.pieces.lock().unwrap_or_else(PoisonError::into_inner).take(&self.store, &self.packer, piece)
        })?;
        let (done, bytes) = self.tally.so_far();
        if done.is_multiple_of(64) || bytes > 0 {
            self.board.update(Progressed { phase: Phase::Capture, done, total: None, bytes });
        }
        Ok(())
    }

    fn stop(&self, error: CheckpointError) {
        self.failure.set(error);
        self.queue.abort();
        self.assembly.abort();
    }
}

/// Lets nobody wait for a thread that panicked.
struct StopOnPanic<'a>(&'a Shared);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop(CheckpointError::Worker("it panicked".to_owned()));
        }
    }
}

/// Stores pieces of the manifest, but those that an earlier manifest of the chain has.
pub(crate) struct PieceSink {
    stored_before: HashMap<ChunkId, PieceRef>,
    order: Vec<ChunkId>,
    compressor: Compressor,
}

impl PieceSink {
    pub(crate) fn new(options: &CheckpointOptions, chain: &[ManifestRoot]) -> Result<Self, CheckpointError> {
        let stored = chain.iter().flat_map(|root| root.pieces.iter().map(|piece| (piece.id, *piece)));
        Ok(Self {
            stored_before: stored.collect(),
            order: Vec::new(),
            compressor: Compressor::new(options.compression)?,
        })
    }

    pub(crate) fn take(
        &mut self,
        store: &Store,
        packer: &Packer,
        piece: Vec<u8>,
    ) -> Result<(), CheckpointError> {
        let id = store.chunk_id(&piece);
        self.order.push(id);
        if self.stored_before.contains_key(&id) {
            return Ok(());
        }
        let chunks = vec![row(id, piece.len())];
        packer.add_piece(pack_frame(&mut self.compressor, RawFrame { bytes: piece, chunks }, true)?)
    }

    /// All pieces in order, `stored` being those of this run.
    pub(crate) fn finish(self, stored: Vec<PieceRef>) -> Result<Vec<PieceRef>, CheckpointError> {
        let mut places = self.stored_before;
        places.extend(stored.into_iter().map(|piece| (piece.id, piece)));
        let place = |id: &ChunkId| places.get(id).copied();
        let all: Option<Vec<_>> = self.order.iter().map(place).collect();
        all.ok_or_else(|| CheckpointError::Worker("a piece of the manifest was not stored".to_owned()))
    }
}

/// What a run works on.
pub(crate) struct Run {
    pub(crate) store: Store,
    pub(crate) options: CheckpointOptions,
    pub(crate) cutter: Cutter,
    pub(crate) known: Arc<Known>,
    pub(crate) source: Arc<dyn Source>,
    /// The parent's chain, newest first; empty if everything is new.
    pub(crate) chain: Vec<ManifestRoot>,
    pub(crate) parent: Option<ChainReader>,
    pub(crate) only_changes: bool,
    pub(crate) failure: Arc<Failure>,
    pub(crate) board: Arc<Board>,
    pub(crate) packs: mpsc::Sender<SealedPack>,
}

/// What a run made, the packs being on their way.
pub(crate) struct Made {
    pub(crate) started: Timestamp,
    pub(crate) finished: Timestamp,
    pub(crate) position: Option<Position>,
    pub(crate) statistics: Statistics,
    pub(crate) lost: Vec<Lost>,
    pub(crate) records: u64,
    pub(crate) pieces: Vec<PieceRef>,
}

impl Run {
    /// Does it. Blocks: for a thread of its own.
    pub(crate) fn run(self) -> Result<Made, CheckpointError> {
        let clock = Arc::clone(self.store.repository.clock());
        let pieces = PieceSink::new(&self.options, &self.chain)?;
        let workers = self.options.worker_count();
        let shared = Shared {
            packer: Packer::new(self.store.clone(), self.options.pack_size.get(), self.packs),
            queue: Queue::new(workers * 4),
            assembly: Assembly::new(),
            pieces: Mutex::new(pieces),
            tally: Tally::default(),
            store: self.store,
            options: self.options,
            cutter: self.cutter,
            known: self.known,
            failure: self.failure,
            board: self.board,
        };
        let parent = parent::Parent::new(self.parent);
        let for_source = shared.options.trust_unchanged.then(|| parent.for_source());
        let started = clock.wall();
        let capture = self.source.capture(for_source);
        let mut capture =
            capture.map_err(|error| parent.take_failure().unwrap_or(CheckpointError::Source(error)))?;
        let position = capture.position();
        let reader = capture.reader();

        std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for _ in 0..workers {
                threads.push(scope.spawn(|| {
                    let _guard = StopOnPanic(&shared);
                    let worked = Worker::new(&shared, Arc::clone(&reader)).and_then(Worker::run);
                    worked.unwrap_or_else(|error| shared.stop(error));
                }));
            }
            let _guard = StopOnPanic(&shared);
            let walked = walk::Walk::new(&shared, parent, self.only_changes).run(&mut *capture);
            match walked {
                Ok(()) => shared.queue.close(),
                Err(error) => shared.stop(error),
            }
            for thread in threads {
                if thread.join().is_err() {
                    shared.stop(CheckpointError::Worker("it panicked".to_owned()));
                }
            }
        });
        if let Some(error) = shared.failure.take() {
            return Err(error);
        }
        let _report: CaptureReport = capture.finish()?;
        let finished = clock.wall();
        finish(shared, Made { started, finished, position, ..Made::empty() })
    }
}

impl Made {
    pub(crate) fn empty() -> Self {
        Self {
            started: Timestamp::EPOCH,
            finished: Timestamp::EPOCH,
            position: None,
            statistics: Statistics::default(),
            lost: Vec::new(),
            records: 0,
            pieces: Vec::new(),
        }
    }
}

fn finish(shared: Shared, mut made: Made) -> Result<Made, CheckpointError> {
    let (last, records) = shared.assembly.finish()?;
    let mut pieces = shared.pieces.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(piece) = last {
        pieces.take(&shared.store, &shared.packer, piece)?;
    }
    made.pieces = pieces.finish(shared.packer.finish()?)?;
    made.records = records;
    (made.statistics, made.lost) = shared.tally.finish();
    Ok(made)
}
