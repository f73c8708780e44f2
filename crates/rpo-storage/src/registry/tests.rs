//! Which URL opens which store, and what an error may show.

use bytes::Bytes;

use super::*;
use crate::Key;

#[tokio::test]
async fn the_same_name_is_the_same_store() {
    let registry = Registry::with_defaults();
    let key = Key::new("a").unwrap();

    registry.open("memory://one").unwrap().create(&key, Bytes::from_static(b"x")).await.unwrap();

    assert!(registry.open("memory://one").unwrap().stat(&key).await.is_ok());
    assert!(registry.clone().open("memory://one").unwrap().stat(&key).await.is_ok());
    assert!(registry.open("memory://two").unwrap().stat(&key).await.is_err());
    assert!(registry.open("memory://").unwrap().stat(&key).await.is_err());
}

#[test]
fn a_directory_is_opened_by_its_absolute_path() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}/with%20space", dir.path().display());
    let store = Registry::with_defaults().open(&url).unwrap();
    assert_eq!(store.identity().url, url);
    assert!(Registry::with_defaults().open("file://host/srv/backup").is_err());
}

#[test]
fn an_unknown_scheme_is_refused_with_the_known_ones() {
    let error =
        Registry::with_defaults().open("ftp://user:secret@host/x?token=secret").unwrap_err().to_string();
    assert!(error.contains("`ftp`") && error.contains("file://, memory://"), "{error}");
    assert!(!error.contains("secret"), "{error}");
}

#[test]
fn errors_show_no_credentials() {
    let registry = Registry::with_defaults();
    for url in [
        "memory://user:secret@x",
        "memory://x?key=secret",
        "file:///x?password=secret",
        "s3:// :secret@/",
        "key=secret@x",
    ] {
        let error = registry.open(url).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
    }
}
