//! A source, a restorer and a store in memory, with the misbehaviour that tests ask for.
#![allow(dead_code, unused_imports, unreachable_pub, missing_docs, clippy::unwrap_used)] // every test file takes what it needs

mod store;
mod tree;

use std::sync::Arc;

use rpo_checkpoint::{
    Cancel, CheckpointError, CheckpointKind, CheckpointOptions, CheckpointSummary, Checkpointer, NoProgress,
};
use rpo_core::{CheckpointId, SourceId};
use rpo_crypto::{Secret, SlotParams};
use rpo_repository::{InitOptions, Repository, RepositoryParts};

pub use store::TrickStorage;
pub use tree::{MemoryRestorer, MemoryTree, Restored, noise, path, text};

/// A repository with one source in it.
pub struct Site {
    pub storage: TrickStorage,
    pub repository: Repository,
    pub checkpointer: Checkpointer,
    pub tree: Arc<MemoryTree>,
    pub docs: SourceId,
}

pub fn parts(storage: &TrickStorage) -> RepositoryParts {
    RepositoryParts {
        storage: Arc::new(storage.clone()),
        clock: Arc::new(rpo_os::OsClock::new()),
        entropy: Arc::new(rpo_os::OsEntropy::new()),
    }
}

pub fn small_options() -> CheckpointOptions {
    let mut options = CheckpointOptions::default();
    options.pack_size = rpo_core::ByteSize::mib(1);
    options.workers = Some(2);
    options
}

impl Site {
    pub async fn new() -> Self {
        Self::with(small_options()).await
    }

    pub async fn with(options: CheckpointOptions) -> Self {
        let storage = TrickStorage::default();
        let mut init = InitOptions::encrypted(Secret::passphrase("correct horse battery staple"));
        init.slot_params = SlotParams::weak_for_tests();
        let repository = Repository::init(parts(&storage), init).await.expect("a fresh repository");
        let checkpointer = Checkpointer::new(repository.clone(), options);
        let docs = SourceId::new("docs").unwrap();
        Self { storage, repository, checkpointer, tree: Arc::new(MemoryTree::default()), docs }
    }

    /// The same site, seen by a program that has just begun.
    pub async fn reopened(&self) -> Self {
        let secret = Secret::passphrase("correct horse battery staple");
        let repository = Repository::open(parts(&self.storage), Some(&secret)).await.expect("it opens");
        Self {
            storage: self.storage.clone(),
            checkpointer: Checkpointer::new(repository.clone(), small_options()),
            repository,
            tree: Arc::clone(&self.tree),
            docs: self.docs.clone(),
        }
    }

    pub fn id(&self, number: u64) -> CheckpointId {
        CheckpointId { source: self.docs.clone(), number }
    }

    pub async fn try_checkpoint(&self, kind: CheckpointKind) -> Result<CheckpointSummary, CheckpointError> {
        let tree = Arc::clone(&self.tree);
        self.checkpointer.checkpoint(&self.docs, tree, kind, &NoProgress, &Cancel::new()).await
    }

    pub async fn full(&self) -> CheckpointSummary {
        self.try_checkpoint(CheckpointKind::Full).await.expect("a full checkpoint")
    }

    pub async fn incremental(&self) -> CheckpointSummary {
        self.try_checkpoint(CheckpointKind::Incremental).await.expect("an incremental checkpoint")
    }

    pub async fn try_restore(&self, number: u64) -> Result<Restored, CheckpointError> {
        let into = Arc::new(MemoryRestorer::default());
        let restored = Arc::clone(&into);
        self.checkpointer.restore(&self.id(number), restored, &NoProgress, &Cancel::new()).await?;
        Ok(into.restored())
    }

    /// Restores checkpoint `number` and holds it against what the source was.
    pub async fn assert_restores(&self, number: u64, was: &Restored) {
        let restored =
            self.try_restore(number).await.unwrap_or_else(|error| panic!("restore of {number}: {error}"));
        restored.assert_equals(was);
    }
}
