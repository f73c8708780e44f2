//! The rules. Each takes a fresh, empty store and panics, with what it saw, if the store breaks it.

mod create;
mod delete;
mod list;
mod read;
mod stream;
mod whole;

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use rpo_storage::{ByteStream, Key, ListRequest, Storage, StorageError};

pub use create::*;
pub use delete::*;
pub use list::*;
pub use read::*;
pub use stream::*;
pub use whole::*;

fn key(text: &str) -> Key {
    Key::new(text).expect("the suite uses legal keys")
}

/// Bytes that differ at every position from those of another seed more often than not, and never repeat soon.
fn bytes(seed: u64, len: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out.into()
}

fn stream(parts: Vec<Bytes>) -> ByteStream {
    Box::pin(futures::stream::iter(parts).map(Ok))
}

async fn create(store: &dyn Storage, name: &str, bytes: impl Into<Bytes>) {
    let created = store.create(&key(name), bytes.into()).await;
    created.unwrap_or_else(|e| panic!("{name} could not be created: {e}"));
}

async fn whole(store: &dyn Storage, name: &str) -> Bytes {
    let read = store.read_all(&key(name), u64::MAX).await;
    read.unwrap_or_else(|e| panic!("{name} could not be read: {e}"))
}

async fn keys(store: &dyn Storage, request: ListRequest) -> Vec<String> {
    let page = store.list(request.clone()).await;
    let page = page.unwrap_or_else(|e| panic!("{request:?} failed: {e}"));
    page.objects.into_iter().map(|o| o.key.to_string()).collect()
}

fn below(prefix: &str) -> ListRequest {
    ListRequest { prefix: prefix.to_owned(), ..ListRequest::default() }
}

#[track_caller]
fn assert_taken(outcome: Result<(), StorageError>, name: &str) {
    match outcome {
        Err(StorageError::AlreadyExists { key, .. }) => assert_eq!(key.as_str(), name),
        other => panic!("{name} exists, so creating it must be refused as AlreadyExists; got {other:?}"),
    }
}

#[track_caller]
fn assert_missing<T: std::fmt::Debug>(outcome: Result<T, StorageError>, name: &str) {
    match outcome {
        Err(StorageError::NotFound { key, .. }) => assert_eq!(key.as_str(), name),
        other => panic!("{name} is not there, so the answer must be NotFound; got {other:?}"),
    }
}

/// Nothing can be seen of `name`, whichever way one looks.
async fn assert_invisible(store: &dyn Storage, name: &str) {
    assert_missing(store.stat(&key(name)).await, name);
    assert_missing(store.read(&key(name), 0..0).await, name);
    let listed = keys(store, below("")).await;
    assert!(!listed.iter().any(|k| k == name), "{name} must not be listed: {listed:?}");
}

/// Runs `count` tasks at once, on several threads, and gives their results in order.
async fn at_once<T, F>(count: usize, task: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let barrier = Arc::new(tokio::sync::Barrier::new(count));
    let tasks: Vec<_> = (0..count)
        .map(|number| {
            let (barrier, work) = (Arc::clone(&barrier), task(number));
            tokio::spawn(async move {
                barrier.wait().await;
                work.await
            })
        })
        .collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.expect("a task of the suite does not panic"));
    }
    results
}
