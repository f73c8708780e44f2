//! Deleting: idempotent, and nothing but what was named.

use std::sync::Arc;

use rpo_storage::Storage;

use super::{assert_invisible, below, bytes, create, key, keys, whole};

/// Deleting what is gone, or was never there, is no error.
pub async fn delete_is_idempotent(store: Arc<dyn Storage>) {
    create(&store, "a/o", bytes(1, 10)).await;
    for name in ["a/o", "a/o", "a/never", "never/at/all"] {
        store.delete(&key(name)).await.unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

/// A deleted object cannot be seen in any way; its key can be created again.
pub async fn deleted_objects_are_gone(store: Arc<dyn Storage>) {
    for round in 0..3 {
        create(&store, "a/o", bytes(round, 10)).await;
        assert_eq!(whole(&store, "a/o").await, bytes(round, 10));
        store.delete(&key("a/o")).await.expect("deleted");
        assert_invisible(&store, "a/o").await;
    }
}

/// Objects whose keys begin alike, or lie below or above, stay.
pub async fn delete_leaves_the_neighbours(store: Arc<dyn Storage>) {
    let names = ["a/o", "a/o-1", "a/o.1", "a/oo", "a/p/o"];
    for name in names {
        create(&store, name, bytes(1, 10)).await;
    }
    store.delete(&key("a/o")).await.expect("deleted");
    store.delete(&key("a/p")).await.expect("no object has this name");
    store.delete(&key("a")).await.expect("no object has this name");
    assert_eq!(keys(&store, below("")).await, names[1..]);
}
