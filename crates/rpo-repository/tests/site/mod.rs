//! Scene for the tests of this crate: parts over a store, and a repository made with weak and therefore fast key slots.

#![allow(dead_code, unreachable_pub)] // each test binary uses some of it

use std::sync::Arc;

use rpo_core::{ErrorKind, SourceId};
use rpo_crypto::{Secret, SlotParams};
use rpo_repository::{InitOptions, Repository, RepositoryError, RepositoryParts};
use rpo_storage::{MemoryStorage, Storage};
use rpo_testkit::storage::FaultyStorage;

pub type Scripted = Arc<FaultyStorage<MemoryStorage>>;

pub fn parts(storage: Arc<dyn Storage>) -> RepositoryParts {
    let clock = Arc::new(rpo_os::OsClock::new());
    RepositoryParts { storage, clock, entropy: Arc::new(rpo_os::OsEntropy::new()) }
}

pub fn memory() -> RepositoryParts {
    parts(Arc::new(MemoryStorage::new()))
}

/// A store that goes wrong as told, and parts over it.
pub fn scripted() -> (Scripted, RepositoryParts) {
    let store = Arc::new(FaultyStorage::scripted(MemoryStorage::new()));
    (store.clone(), parts(store))
}

pub fn secret() -> Secret {
    Secret::passphrase("correct horse")
}

pub fn options() -> InitOptions {
    InitOptions { slot_params: SlotParams::weak_for_tests(), ..InitOptions::encrypted(secret()) }
}

pub async fn repository(parts: RepositoryParts) -> Repository {
    Repository::init(parts, options()).await.expect("init")
}

pub fn docs() -> SourceId {
    SourceId::new("docs").expect("a name")
}

/// The kind of the error this must be.
#[track_caller]
pub fn kind<T: std::fmt::Debug>(answer: Result<T, RepositoryError>) -> ErrorKind {
    answer.expect_err("an error was expected").kind()
}
