//! What a store says of itself.

use std::sync::Arc;

use rpo_core::ErrorKind;
use rpo_storage::Storage;

use super::{assert_taken, bytes, create, key, whole};

/// What is declared is kept: exclusive creates refuse a second one, and objects of a pack's size are taken. What is not
/// declared is refused.
pub async fn capabilities_are_honest(store: Arc<dyn Storage>) {
    let capabilities = store.capabilities();
    assert_eq!(capabilities, store.capabilities(), "they do not change");
    assert!(capabilities.object_bytes_max >= 64 << 20, "rpo's largest objects have 64 MiB: {capabilities:?}");
    create(&store, "o", bytes(1, 10)).await;
    if capabilities.create_is_exclusive {
        assert_taken(store.create(&key("o"), bytes(2, 10)).await, "o");
    }
    let deleted = store.delete(&key("o")).await;
    if capabilities.delete {
        deleted.expect("it declares delete");
    } else {
        assert_eq!(deleted.expect_err("it does not declare delete").kind(), ErrorKind::Unsupported);
        assert_eq!(whole(&store, "o").await, bytes(1, 10));
    }
}

/// Where the store is can be shown to anyone: a URL with a scheme, without user and password.
pub async fn identity_is_a_url_without_credentials(store: Arc<dyn Storage>) {
    let identity = store.identity();
    let (scheme, rest) = identity.url.split_once("://").unwrap_or_else(|| panic!("no URL: {identity:?}"));
    assert!(!scheme.is_empty(), "{identity:?}");
    assert!(!rest.contains(['@', '?', '#']), "credentials could hide in this: {identity:?}");
    assert_eq!(identity, store.identity(), "it does not change");
}

/// An error tells which store and which key, so that it makes sense in a log.
pub async fn errors_name_store_and_key(store: Arc<dyn Storage>) {
    create(&store, "there", bytes(1, 10)).await;
    let url = store.identity().url;
    for error in [
        store.stat(&key("absent")).await.expect_err("absent"),
        store.read(&key("absent"), 0..1).await.expect_err("absent"),
        store.read(&key("there"), 0..11).await.expect_err("past the end"),
        store.create(&key("there"), bytes(2, 10)).await.expect_err("taken"),
    ] {
        let text = error.to_string();
        assert!(text.contains(&url), "must name the store {url}: {text}");
        assert!(text.contains("absent") || text.contains("there"), "must name the key: {text}");
    }
}
