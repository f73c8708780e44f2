//! Counting tells what was asked and what came of it.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::key;
use rpo_storage::{MemoryStorage, MeteredStorage, Storage};
use rpo_testkit::sim::{FaultPlan, World};
use rpo_testkit::storage::{Fault, FaultyStorage, Operation};

#[tokio::test]
async fn calls_bytes_refusals_and_errors_are_told_apart() {
    let faulty = FaultyStorage::scripted(MemoryStorage::new());
    let world = World::with_plan(1, FaultPlan::calm());
    let store = MeteredStorage::new(faulty, Arc::new(world.machine("a").clock()));

    store.create(&key("a"), "12345".into()).await.unwrap();
    store.create(&key("a"), "12345".into()).await.unwrap_err(); // refused
    store.inner().next(Operation::Create, Fault::Vanished);
    store.create(&key("b"), "12345".into()).await.unwrap_err(); // failed
    store.read(&key("a"), 1..4).await.unwrap();
    store.read(&key("a"), 1..9).await.unwrap_err(); // refused
    store.stat(&key("absent")).await.unwrap_err(); // refused

    let seen = store.snapshot();
    assert_eq!(
        (seen.create.calls, seen.create.refusals, seen.create.errors, seen.create.bytes),
        (3, 1, 1, 5)
    );
    assert_eq!((seen.read.calls, seen.read.refusals, seen.read.bytes), (2, 1, 3));
    assert_eq!((seen.stat.refusals, seen.delete.calls), (1, 0));
    for (name, operation) in seen.operations() {
        assert_eq!(
            operation.latency.iter().sum::<u64>(),
            operation.calls,
            "{name}: each call is in one bucket"
        );
        assert!(operation.time_total < Duration::from_secs(1), "the world's clock hardly moved");
    }
}
