//! An operation whose answer was lost is told as done, not done or unknown, and never happens twice.

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{key, quick_retries, retrying};
use futures::StreamExt as _;
use rpo_core::{ErrorKind, HumanDuration};
use rpo_storage::{ByteStream, MemoryStorage, RetryConfig, RetryStorage, Storage, StorageError};
use rpo_testkit::storage::{Fault, FaultyStorage, Operation};

type Store = RetryStorage<FaultyStorage<MemoryStorage>>;

fn store(script: &[(Operation, Fault)]) -> Store {
    store_with(quick_retries(), script)
}

fn store_with(config: RetryConfig, script: &[(Operation, Fault)]) -> Store {
    let faulty = FaultyStorage::scripted(MemoryStorage::new());
    for (operation, fault) in script {
        faulty.next(*operation, *fault);
    }
    retrying(faulty, config)
}

/// What is there, past all faults.
async fn stored(store: &Store) -> Option<Bytes> {
    store.inner().inner().read_all(&key("o"), 100).await.ok()
}

fn parts(parts: &[&'static str]) -> ByteStream {
    let parts: Vec<_> = parts.iter().map(|part| Ok(Bytes::from_static(part.as_bytes()))).collect();
    futures::stream::iter(parts).boxed()
}

#[tokio::test]
async fn a_create_that_happened_is_told_as_done() {
    let store = store(&[(Operation::Create, Fault::LostAnswer)]);
    store.create(&key("o"), "ours".into()).await.expect("it is there");
    assert_eq!(store.inner().injected(), 1);
}

#[tokio::test]
async fn a_create_that_did_not_happen_is_sent_again() {
    let store = store(&[(Operation::Create, Fault::Vanished), (Operation::Create, Fault::Refused)]);
    store.create(&key("o"), "ours".into()).await.expect("the third attempt lands");
    assert_eq!(stored(&store).await.unwrap(), "ours");
    assert_eq!(store.inner().injected(), 2);
}

#[tokio::test]
async fn someone_elses_bytes_are_a_conflict_however_alike() {
    for theirs in ["urso", "longer", ""] {
        let store = store(&[(Operation::Create, Fault::Vanished)]);
        store.inner().inner().create(&key("o"), theirs.into()).await.unwrap();
        let outcome = store.create(&key("o"), "ours".into()).await;
        assert!(matches!(outcome, Err(StorageError::AlreadyExists { .. })), "{outcome:?}");
        assert_eq!(stored(&store).await.unwrap(), theirs);
    }
}

#[tokio::test]
async fn a_taken_key_is_a_conflict_even_with_equal_bytes_if_no_answer_was_lost() {
    let store = store(&[(Operation::Create, Fault::Refused)]);
    store.inner().inner().create(&key("o"), "ours".into()).await.unwrap();
    let outcome = store.create(&key("o"), "ours".into()).await;
    assert!(matches!(outcome, Err(StorageError::AlreadyExists { .. })), "{outcome:?}");
}

#[tokio::test]
async fn reading_back_is_itself_repeated() {
    let store = store(&[
        (Operation::Create, Fault::LostAnswer),
        (Operation::Stat, Fault::Refused),
        (Operation::Stat, Fault::LostAnswer),
        (Operation::Read, Fault::Vanished),
    ]);
    store.create(&key("o"), "ours".into()).await.expect("found at last");
    assert_eq!(store.inner().injected(), 4);
}

#[tokio::test]
async fn what_cannot_be_found_out_is_told_as_unknown() {
    let mut config = quick_retries();
    config.attempts_max = 3;
    let faults = [(Operation::Create, Fault::LostAnswer)];
    let store = store_with(config, &faults);
    for _ in 0..9 {
        store.inner().next(Operation::Stat, Fault::Refused); // certainly without effect: but the create was not
    }
    let outcome = store.create(&key("o"), "ours".into()).await.unwrap_err();
    assert_eq!(outcome.kind(), ErrorKind::Unknown, "{outcome}");
}

#[tokio::test]
async fn what_certainly_did_not_happen_is_told_as_that() {
    let mut config = quick_retries();
    config.attempts_max = 2;
    let store =
        store_with(config, &[(Operation::Create, Fault::Refused), (Operation::Create, Fault::Refused)]);
    let outcome = store.create(&key("o"), "ours".into()).await.unwrap_err();
    assert_eq!(outcome.kind(), ErrorKind::Retry, "{outcome}");
    assert_eq!(stored(&store).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_never_answered_is_given_up_as_unknown_and_looked_after() {
    let mut config = quick_retries();
    config.attempt_time_max = HumanDuration::from_secs(5);
    let store = store_with(
        config,
        &[(Operation::Create, Fault::Hang), (Operation::Stat, Fault::Hang), (Operation::List, Fault::Hang)],
    );
    store.create(&key("o"), "ours".into()).await.expect("sent again once it was seen to be absent");
    assert_eq!(store.list(Default::default()).await.expect("listed again").objects.len(), 1);
    assert_eq!(store.inner().injected(), 3);
}

#[tokio::test]
async fn a_stream_whose_answer_was_lost_is_read_back() {
    let lost = store(&[(Operation::CreateStreaming, Fault::LostAnswer)]);
    lost.create_streaming(&key("o"), parts(&["ou", "rs"])).await.expect("it is there");

    let conflict = store(&[(Operation::CreateStreaming, Fault::Vanished)]);
    conflict.inner().inner().create(&key("o"), "urso".into()).await.unwrap();
    let outcome = conflict.create_streaming(&key("o"), parts(&["ou", "rs"])).await;
    assert!(matches!(outcome, Err(StorageError::AlreadyExists { .. })), "{outcome:?}");

    let absent = store(&[(Operation::CreateStreaming, Fault::Vanished)]);
    let outcome = absent.create_streaming(&key("o"), parts(&["ou", "rs"])).await.unwrap_err();
    assert_eq!(outcome.kind(), ErrorKind::Unknown, "its parts are gone: {outcome}");
    assert_eq!(stored(&absent).await, None);
}

#[tokio::test]
async fn a_used_up_budget_stops_pressing_on_a_store_that_is_down() {
    let mut config = quick_retries();
    config.budget = 3;
    let store = store_with(config, &[]);
    for _ in 0..30 {
        store.inner().next(Operation::Stat, Fault::Refused);
    }
    for _ in 0..5 {
        assert!(store.stat(&key("o")).await.is_err());
    }
    assert_eq!(store.inner().injected(), 5 + 3, "five calls and three retries among them");
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_in_time_is_an_answer() {
    let store = store(&[(Operation::Create, Fault::Stall(Duration::from_secs(20)))]);
    store.create(&key("o"), "ours".into()).await.expect("late but in time");
}
