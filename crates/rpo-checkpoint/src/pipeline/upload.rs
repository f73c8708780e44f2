//! Stores packs as they come, and publishes indexes of them.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use rpo_core::SourceId;
use rpo_crypto::ObjectType;
use rpo_repository::Receipt;
use tokio::sync::mpsc;

use super::Failure;
use super::packer::SealedPack;
use crate::CheckpointError;
use crate::index::{self, IndexOwner};
use crate::store::Store;

/// Packs on their way at the same time.
const UPLOADS_AT_ONCE: usize = 2;
/// An index is published once its records reach this size, …
const INDEX_PART_BYTES: usize = 4 << 20;
/// … or that many packs: what a crash can make a first run send again.
const INDEX_PART_PACKS: usize = 32;

/// What was stored.
#[derive(Debug, Default)]
pub(crate) struct Uploaded {
    /// Packs, then indexes: the order a mirror fetches them in.
    pub(crate) packs: Vec<Receipt>,
    pub(crate) indexes: Vec<Receipt>,
}

impl Uploaded {
    pub(crate) fn bytes(&self) -> u64 {
        self.packs.iter().chain(&self.indexes).map(|receipt| receipt.len).sum()
    }
}

/// Stores packs until the channel closes. What was stored is indexed even if something failed, so that the next run
/// finds it.
pub(crate) struct Uploader {
    store: Store,
    owner: IndexOwner,
    failure: Arc<Failure>,
    records: Vec<Vec<u8>>,
    records_bytes: usize,
    uploaded: Uploaded,
}

impl Uploader {
    pub(crate) fn new(store: Store, source: SourceId, session: u64, failure: Arc<Failure>) -> Self {
        let owner = IndexOwner::Session(source, session);
        Self { store, owner, failure, records: Vec::new(), records_bytes: 0, uploaded: Uploaded::default() }
    }

    /// `adopted` gives the records of packs of other sessions that this one relies on, once all packs are stored.
    pub(crate) async fn run(mut self, mut packs: mpsc::Receiver<SealedPack>) -> Self {
        let mut under_way = FuturesUnordered::new();
        let mut open = true;
        while open || !under_way.is_empty() {
            tokio::select! {
                pack = packs.recv(), if open && under_way.len() < UPLOADS_AT_ONCE => match pack {
                    Some(pack) => {
                        let store = self.store.clone();
                        under_way.push(async move {
                            let key = pack.record.pack.key();
                            let stored = store.repository.put_bytes(&key, pack.bytes).await;
                            stored.map(|receipt| (receipt, pack.record))
                        });
                    }
                    None => open = false,
                },
                Some(stored) = under_way.next(), if !under_way.is_empty() => {
                    let result = match stored {
                        Ok((receipt, record)) => self.note(receipt, &record.encode()).await,
                        Err(error) => Err(error.into()),
                    };
                    if let Err(error) = result {
                        self.failure.set(error);
                        packs.close();
                        open = false;
                    }
                }
            }
        }
        self
    }

    async fn note(&mut self, receipt: Receipt, record: &[u8]) -> Result<(), CheckpointError> {
        self.uploaded.packs.push(receipt);
        self.records_bytes += record.len();
        self.records.push(record.to_vec());
        if self.records_bytes >= INDEX_PART_BYTES || self.records.len() >= INDEX_PART_PACKS {
            self.publish().await?;
        }
        Ok(())
    }

    /// Lists a pack of another session that this one relies on.
    pub(crate) async fn adopt(&mut self, receipt: Receipt, record: &[u8]) -> Result<(), CheckpointError> {
        self.note(receipt, record).await
    }

    /// Publishes what is not indexed yet, and tells everything that was stored.
    pub(crate) async fn finish(mut self) -> Result<Uploaded, CheckpointError> {
        self.publish().await?;
        Ok(self.uploaded)
    }

    async fn publish(&mut self) -> Result<(), CheckpointError> {
        if self.records.is_empty() {
            return Ok(());
        }
        let key = index::key(&self.owner, self.uploaded.indexes.len() as u32);
        self.records_bytes = 0;
        let frames = index::encode(std::mem::take(&mut self.records));
        let receipt = self.store.put_compared(ObjectType::Index, &key, &frames).await?;
        self.uploaded.indexes.push(receipt);
        Ok(())
    }
}
