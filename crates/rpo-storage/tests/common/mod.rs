//! What several tests of the stores need.
#![allow(dead_code, reason = "each test file uses a part")]

use std::sync::Arc;

use rpo_core::HumanDuration;
use rpo_os::{OsClock, OsDisk, OsEntropy};
use rpo_storage::{Key, LocalStorage, RetryConfig, RetryStorage, Storage};
use rpo_testkit::storage::Scratch;

pub(crate) fn key(text: &str) -> Key {
    Key::new(text).expect("a legal key")
}

/// A store in a directory that goes with it.
pub(crate) fn local() -> Scratch {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = LocalStorage::open(dir.path().join("a/store"), Arc::new(OsDisk::new()))
        .expect("a fresh directory opens");
    Scratch::keeping(store, dir)
}

/// Patient, and quick about it.
pub(crate) fn quick_retries() -> RetryConfig {
    let mut config = RetryConfig::default();
    config.attempts_max = 30;
    config.pause_first = HumanDuration::from_millis(1);
    config.pause_max = HumanDuration::from_millis(2);
    config.budget = 100_000;
    config
}

pub(crate) fn retrying<S: Storage>(inner: S, config: RetryConfig) -> RetryStorage<S> {
    RetryStorage::new(inner, config, Arc::new(OsClock::new()), Arc::new(OsEntropy::new()))
        .expect("the configuration keeps the rules")
}
