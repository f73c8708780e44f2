//! What URLs of object stores say, and may not say.

use super::*;

fn open(url: &str) -> Result<Arc<dyn Storage>, StorageError> {
    let mut registry = Registry::with_defaults();
    register(&mut registry);
    registry.open(url)
}

#[test]
fn a_bucket_is_opened_by_its_url() {
    let store = open("s3://backups/a/b?region=eu-central-1").unwrap();
    assert_eq!(store.identity().url, "s3://backups/a/b");
    assert_eq!(store.identity().device, None);
    assert!(store.capabilities().create_is_exclusive && store.capabilities().durable);
}

#[test]
fn two_buckets_on_one_server_share_its_fate() {
    let device = |bucket| {
        open(&format!("s3://{bucket}?region=x&endpoint=http://127.0.0.1:9")).unwrap().identity().device
    };
    assert_eq!(device("one").as_deref(), Some("server 127.0.0.1:9"));
    assert_eq!(device("one"), device("two"));
}

#[test]
fn a_server_that_ignores_conditions_can_be_named() {
    let store = open("s3://b?region=x&create-conditions=no").unwrap();
    assert!(!store.capabilities().create_is_exclusive);
}

#[test]
fn what_makes_no_sense_is_refused_without_showing_credentials() {
    for (url, word) in [
        ("s3://user:secret@bucket?region=x", "environment"),
        ("s3://bucket?region=x&secret_access_key=secret", "unknown parameter `secret_access_key`"),
        ("s3://bucket?region=x&endpoint=http://user:secret@host", "`endpoint` is a URL"),
        ("s3://bucket?region=x&create-conditions=secret", "`yes` or `no`"),
        ("s3://bucket?region=x&region=secret", "`region` twice"),
        ("s3:///prefix", "no bucket"),
    ] {
        let error = open(url).unwrap_err();
        assert_eq!(error.kind(), rpo_core::ErrorKind::Invalid);
        assert!(error.to_string().contains(word), "{url}: {error}");
        assert!(!format!("{error} {error:?}").contains("secret\""), "{error:?}");
        assert!(!error.to_string().replace("secret_access_key", "").contains("secret"), "{error}");
    }
}
