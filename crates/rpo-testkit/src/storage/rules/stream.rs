//! Creating from parts: all or nothing, and the same rules as in one call.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use rpo_storage::{ByteStream, Storage, StorageError};

use super::{assert_invisible, assert_taken, below, bytes, create, key, keys, stream, whole};

/// Parts of any size arrive in their order.
pub async fn streams_keep_the_order_of_their_parts(store: Arc<dyn Storage>) {
    let sent = bytes(7, 50_000);
    let cuts = [0, 1, 1, 17, 4_096, 4_097, 40_000, 50_000];
    let parts = cuts.windows(2).map(|cut| sent.slice(cut[0]..cut[1])).collect();
    store.create_streaming(&key("s"), stream(parts)).await.expect("created from parts");
    assert_eq!(whole(&store, "s").await, sent);
}

/// A taken key is refused as `AlreadyExists`; the stored bytes stay. The refusal may come before all parts are taken.
pub async fn streams_refuse_an_existing_key(store: Arc<dyn Storage>) {
    let first = bytes(1, 1_000);
    create(&store, "s", first.clone()).await;
    for other in [vec![bytes(2, 1_000)], vec![], vec![bytes(3, 5), bytes(4, 70_000)]] {
        assert_taken(store.create_streaming(&key("s"), stream(other)).await, "s");
        assert_eq!(whole(&store, "s").await, first, "the stored bytes are untouched");
    }
}

/// While parts are still coming nothing can be seen; after `Ok` everything.
pub async fn streams_are_invisible_until_done(store: Arc<dyn Storage>) {
    let (parts, upload) = begin(&store, "s/open");
    for number in 0..4 {
        parts.send(Ok(bytes(number, 3 << 20))).await.expect("the store takes parts");
        assert_invisible(&store, "s/open").await;
    }
    drop(parts);
    upload.await.expect("no panic").expect("created from parts");
    let sent: Vec<u8> = (0..4).flat_map(|number| bytes(number, 3 << 20)).collect();
    assert!(whole(&store, "s/open").await == sent, "four parts of 3 MiB must be read back as sent");
}

/// If the stream of parts fails, nothing can be seen, and the key is still free.
pub async fn streams_that_fail_leave_nothing(store: Arc<dyn Storage>) {
    for sent in [0, 10, 9 << 20] {
        let parts = [Ok(bytes(1, sent)), Err(io::Error::other("the source ran dry"))];
        let failed = store.create_streaming(&key("s"), Box::pin(futures::stream::iter(parts))).await;
        assert!(matches!(failed, Err(StorageError::Failed { .. })), "after {sent} bytes: {failed:?}");
        assert_invisible(&store, "s").await;
    }
    create(&store, "s", bytes(2, 10)).await;
    assert_eq!(whole(&store, "s").await, bytes(2, 10));
}

/// If the caller stops waiting while parts are still to come, nothing can be seen, and the key is still free.
pub async fn streams_that_are_dropped_leave_nothing(store: Arc<dyn Storage>) {
    let (parts, upload) = begin(&store, "s");
    for number in 0..3 {
        parts.send(Ok(bytes(number, 3 << 20))).await.expect("the store takes parts");
    }
    upload.abort();
    assert!(upload.await.expect_err("it was stopped").is_cancelled());
    assert_invisible(&store, "s").await;
    create(&store, "s", bytes(9, 10)).await;
    assert_eq!(whole(&store, "s").await, bytes(9, 10));
}

/// 24 MiB in parts that fit no block size arrive whole.
pub async fn large_streams_keep_every_byte(store: Arc<dyn Storage>) {
    let sent = bytes(42, 24 << 20);
    let parts: Vec<Bytes> =
        (0..sent.len()).step_by(700_001).map(|at| sent.slice(at..sent.len().min(at + 700_001))).collect();
    store.create_streaming(&key("s/large"), stream(parts)).await.expect("created from parts");
    assert!(whole(&store, "s/large").await == sent, "24 MiB must be read back as sent");
    assert_eq!(keys(&store, below("s/")).await, ["s/large"]);
}

/// A stream without parts, or with empty ones, is an empty object.
pub async fn streams_may_be_empty(store: Arc<dyn Storage>) {
    for (name, parts) in [("none", vec![]), ("empty", vec![Bytes::new(), Bytes::new()])] {
        store.create_streaming(&key(name), stream(parts)).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(store.stat(&key(name)).await.unwrap_or_else(|e| panic!("{name}: {e}")).len, 0);
    }
}

type Upload = tokio::task::JoinHandle<Result<(), StorageError>>;

/// An upload that takes its parts from the sender, with room for one on the way.
fn begin(store: &Arc<dyn Storage>, name: &str) -> (tokio::sync::mpsc::Sender<io::Result<Bytes>>, Upload) {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let received =
        futures::stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
    let parts: ByteStream = received.boxed();
    let (store, key) = (Arc::clone(store), key(name));
    (sender, tokio::spawn(async move { store.create_streaming(&key, parts).await }))
}
