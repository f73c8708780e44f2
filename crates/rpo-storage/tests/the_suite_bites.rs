//! Negative controls: a store that breaks a rule fails that rule's test.

use std::collections::BTreeSet;
use std::sync::Arc;

use rpo_storage::{MemoryStorage, Storage};
use rpo_testkit::storage::{Fault, FaultyStorage, Operation, RULES};

/// The rules that stores made by `fresh` break.
async fn broken<S: Storage>(fresh: impl Fn() -> S) -> BTreeSet<&'static str> {
    let mut broken = BTreeSet::new();
    for (name, rule) in RULES {
        let store: Arc<dyn Storage> = Arc::new(fresh());
        match tokio::spawn(rule(store)).await {
            Ok(()) => {}
            Err(error) if error.is_panic() => _ = broken.insert(*name),
            Err(error) => panic!("{name}: {error}"),
        }
    }
    broken
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_keeps_the_rules_breaks_none() {
    assert_eq!(broken(MemoryStorage::new).await, BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_ignores_the_condition_of_create_is_found_out() {
    let broken = broken(|| FaultyStorage::ignoring_create_conditions(MemoryStorage::new())).await;
    for rule in [
        "create_refuses_an_existing_key",
        "racing_creates_have_exactly_one_winner",
        "racing_streams_have_exactly_one_winner",
        "streams_refuse_an_existing_key",
        "capabilities_are_honest",
    ] {
        assert!(broken.contains(rule), "{rule} must fail; {broken:?} did");
    }
    assert!(!broken.contains("list_is_sorted_by_bytes"), "{broken:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_without_the_rule_of_reading_back_are_found_out() {
    let broken = broken(|| {
        let store = FaultyStorage::scripted(MemoryStorage::new());
        store.next(Operation::Create, Fault::LostAnswer);
        store
    });
    assert!(broken.await.contains("what_was_created_is_read_back"));
}
