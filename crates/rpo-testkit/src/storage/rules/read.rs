//! Reading: exactly what was asked for, or an error.

use std::sync::Arc;

use rpo_core::ErrorKind;
use rpo_storage::{Storage, StorageError};

use super::{assert_missing, bytes, create, key};

/// A range gives its bytes, neither more nor fewer.
pub async fn read_returns_exactly_the_range(store: Arc<dyn Storage>) {
    let sent = bytes(1, 10_000);
    create(&store, "o", sent.clone()).await;
    for (start, end) in [(0, 1), (0, 10_000), (1, 2), (17, 4_113), (9_999, 10_000), (5_000, 10_000)] {
        let read = store.read(&key("o"), start..end).await.unwrap_or_else(|e| panic!("{start}..{end}: {e}"));
        assert_eq!(read, sent.slice(start as usize..end as usize), "{start}..{end}");
    }
}

/// A range that reaches past the end is `RangeNotSatisfied` with the true length, never a short read.
pub async fn read_past_the_end_fails(store: Arc<dyn Storage>) {
    create(&store, "o", bytes(1, 100)).await;
    create(&store, "empty", bytes(1, 0)).await;
    for (name, true_len, from, to) in [
        ("o", 100, 0, 101),
        ("o", 100, 50, 1_000),
        ("o", 100, 99, 101),
        ("o", 100, 100, 101),
        ("o", 100, 101, 101),
        ("o", 100, 200, 300),
        ("o", 100, 0, u64::MAX),
        ("o", 100, u64::MAX, u64::MAX),
        ("empty", 0, 0, 1),
    ] {
        match store.read(&key(name), from..to).await {
            Err(StorageError::RangeNotSatisfied { len, start, end, .. }) => {
                assert_eq!((len, start, end), (true_len, from, to));
            }
            other => panic!("{name} has {true_len} bytes, reading {from}..{to} must fail; got {other:?}"),
        }
    }
}

/// An empty range within the object, its end included, is read as nothing.
pub async fn empty_ranges_are_read(store: Arc<dyn Storage>) {
    create(&store, "o", bytes(1, 100)).await;
    create(&store, "empty", bytes(1, 0)).await;
    for (name, at) in [("o", 0), ("o", 50), ("o", 100), ("empty", 0)] {
        let read = store.read(&key(name), at..at).await.unwrap_or_else(|e| panic!("{name} {at}..{at}: {e}"));
        assert!(read.is_empty(), "{name} {at}..{at}");
    }
    assert_missing(store.read(&key("absent"), 0..0).await, "absent");
}

/// What is not there is `NotFound`, also beside and below what is there.
pub async fn what_is_missing_is_not_found(store: Arc<dyn Storage>) {
    create(&store, "there/is", bytes(1, 10)).await;
    for name in ["absent", "there", "there/i", "there/iss", "there/is-not", "deep/er/still"] {
        assert_missing(store.stat(&key(name)).await, name);
        assert_missing(store.read(&key(name), 0..1).await, name);
        assert_missing(store.read_all(&key(name), 100).await, name);
    }
}

/// `stat` tells the key and the length.
pub async fn stat_tells_key_and_length(store: Arc<dyn Storage>) {
    for len in [0, 1, 4_095, 4_096, 100_000] {
        let name = format!("len/{len}");
        create(&store, &name, bytes(1, len)).await;
        let meta = store.stat(&key(&name)).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!((meta.key.as_str(), meta.len), (name.as_str(), len as u64));
    }
}

/// `read_all` reads objects up to its limit, and refuses larger ones as `Corrupt`.
pub async fn read_all_keeps_its_limit(store: Arc<dyn Storage>) {
    let sent = bytes(1, 1_000);
    create(&store, "o", sent.clone()).await;
    assert_eq!(store.read_all(&key("o"), 1_000).await.expect("just fits"), sent);
    let refused = store.read_all(&key("o"), 999).await.expect_err("one byte too many");
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
}
