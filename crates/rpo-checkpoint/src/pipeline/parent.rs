//! The parent's entries: read by the source to recognise what is unchanged, and by the pipeline for their chunks.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rpo_core::ports::{Entry, EntryPath, EntryStream, SourceError};

use crate::CheckpointError;
use crate::manifest::StoredEntry;
use crate::stream::ChainReader;

/// The parent's state. Each entry is seen once by the source and once by the pipeline, in any interleaving.
pub(super) struct Parent(Arc<Mutex<Inner>>);

struct Inner {
    chain: Option<ChainReader>,
    /// Read for the source, not yet taken by the pipeline.
    for_pipeline: VecDeque<StoredEntry>,
    /// Read for the pipeline, not yet seen by the source.
    for_source: VecDeque<Entry>,
    source_reads: bool,
    /// What ended the stream, if not its end.
    failure: Option<CheckpointError>,
}

/// What the source reads.
struct SourceSide(Arc<Mutex<Inner>>);

impl Parent {
    pub(super) fn new(chain: Option<ChainReader>) -> Self {
        let inner = Inner {
            chain,
            for_pipeline: VecDeque::new(),
            for_source: VecDeque::new(),
            source_reads: false,
            failure: None,
        };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// The stream to give to the source.
    pub(super) fn for_source(&self) -> Box<dyn EntryStream> {
        lock(&self.0).source_reads = true;
        Box::new(SourceSide(Arc::clone(&self.0)))
    }

    /// The next entry if its path is not after `path`; `None` as path means "whatever comes".
    pub(super) fn next_up_to(
        &self,
        path: Option<&EntryPath>,
    ) -> Result<Option<StoredEntry>, CheckpointError> {
        let mut inner = lock(&self.0);
        if inner.for_pipeline.is_empty()
            && let Some(stored) = inner.read()?
        {
            if inner.source_reads {
                inner.for_source.push_back(stored.entry.clone());
            }
            inner.for_pipeline.push_back(stored);
        }
        let due = inner
            .for_pipeline
            .front()
            .is_some_and(|stored| path.is_none_or(|path| stored.entry.path <= *path));
        Ok(if due { inner.for_pipeline.pop_front() } else { None })
    }

    /// The error that the source was told about as a text.
    pub(super) fn take_failure(&self) -> Option<CheckpointError> {
        lock(&self.0).failure.take()
    }
}

impl Inner {
    fn read(&mut self) -> Result<Option<StoredEntry>, CheckpointError> {
        match &mut self.chain {
            Some(chain) => chain.next().map_err(|error| CheckpointError::Parent { source: Box::new(error) }),
            None => Ok(None),
        }
    }
}

impl EntryStream for SourceSide {
    fn next(&mut self) -> Result<Option<Entry>, SourceError> {
        let mut inner = lock(&self.0);
        if let Some(entry) = inner.for_source.pop_front() {
            return Ok(Some(entry));
        }
        match inner.read() {
            Ok(None) => Ok(None),
            Ok(Some(stored)) => {
                let entry = stored.entry.clone();
                inner.for_pipeline.push_back(stored);
                Ok(Some(entry))
            }
            Err(error) => {
                let told = SourceError::Parent(error.to_string());
                inner.failure = Some(error);
                inner.chain = None;
                Err(told)
            }
        }
    }
}

impl Drop for SourceSide {
    fn drop(&mut self) {
        let mut inner = lock(&self.0);
        inner.source_reads = false;
        inner.for_source.clear();
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}
