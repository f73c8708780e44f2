//! The conformance suite on a real S3-compatible server. `cargo xtask s3` starts one and sets the environment.
#![cfg(feature = "s3")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use rpo_core::ErrorKind;
use rpo_storage::{Key, Registry, Storage};
use rpo_storage_opendal::OpendalStorage;
use rpo_storage_opendal::opendal::{Operator, services};
use rpo_testkit::storage::Scratch;

/// A store below a prefix of its own, if the environment names a server.
fn server() -> Result<Arc<dyn Storage>, String> {
    static SCRATCH: AtomicU32 = AtomicU32::new(0);
    let variable = |name| std::env::var(name).map_err(|_| format!("{name} is not set; run `cargo xtask s3`"));
    let (endpoint, bucket) = (variable("RPO_TEST_S3_ENDPOINT")?, variable("RPO_TEST_S3_BUCKET")?);
    let prefix = format!("{}-{}", std::process::id(), SCRATCH.fetch_add(1, Ordering::Relaxed));
    let mut registry = Registry::new();
    rpo_storage_opendal::register(&mut registry);
    let url = format!("s3://{bucket}/{prefix}?region=us-east-1&endpoint={endpoint}");
    Ok(registry.open(&url).expect("the URL is well formed"))
}

fn scratch() -> Scratch {
    server().map_or_else(Scratch::skipped, Scratch::from)
}

rpo_testkit::storage_conformance!(async { scratch() });

/// A port on which nobody listens.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("it is bound").port()
}

/// A server that is not there.
fn absent_server() -> services::S3 {
    let port = free_port();
    let endpoint = format!("http://127.0.0.1:{port}");
    services::S3::default()
        .bucket("b")
        .region("x")
        .endpoint(&endpoint)
        .disable_config_load()
        .disable_ec2_metadata()
}

#[tokio::test]
async fn a_server_that_is_not_there_leaves_creates_unknown_and_looks_to_be_repeated() {
    let server = absent_server().access_key_id("the-id").secret_access_key("the-secret");
    let store = OpendalStorage::new(Operator::new(server).unwrap());
    let key = Key::new("a").unwrap();

    let create = store.create(&key, Bytes::new()).await.unwrap_err();
    let read = store.read(&key, 0..1).await.unwrap_err();

    assert!(matches!(create.kind(), ErrorKind::Unknown), "{create}");
    assert!(matches!(read.kind(), ErrorKind::Retry), "{read}");
    for text in [format!("{create} {create:?}"), format!("{read} {read:?}"), format!("{store:?}")] {
        assert!(!text.contains("the-id") && !text.contains("the-secret"), "{text}");
    }
}

#[tokio::test]
async fn without_credentials_nothing_is_sent_and_that_is_told() {
    let store = OpendalStorage::new(Operator::new(absent_server()).unwrap());
    let create = store.create(&Key::new("a").unwrap(), Bytes::new()).await.unwrap_err();
    assert!(matches!(create.kind(), ErrorKind::Permission | ErrorKind::Retry), "{create}");
    let text = create.to_string();
    assert!(text.contains("no credentials") && text.contains("next: set AWS_ACCESS_KEY_ID"), "{text}");
    assert!(!text.contains('{'), "no dump: {text}");
}

/// A server that gives every request this one answer.
fn answering(status: &'static str, body: &'static str) -> OpendalStorage {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
    std::thread::spawn(move || {
        for mut connection in listener.incoming().map_while(Result::ok) {
            let mut request = [0; 16 << 10];
            let _ = connection.read(&mut request);
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            let _ = connection.write_all(format!("{head}{body}").as_bytes());
        }
    });
    let server = services::S3::default().bucket("b").region("x").endpoint(&endpoint).disable_config_load();
    let server = server.access_key_id("the-id").secret_access_key("the-secret");
    OpendalStorage::new(Operator::new(server).expect("the options are complete"))
}

#[tokio::test]
async fn what_a_server_refuses_is_told_in_its_words_and_not_as_a_dump() {
    let denied = "<Error><Code>AccessDenied</Code><Message>Not yours</Message><Resource>/b/a</Resource>\
                  <RequestId>7</RequestId></Error>";
    let no_bucket = "<Error><Code>NoSuchBucket</Code><Message>Not there</Message><Resource>/b</Resource>\
                     <RequestId>8</RequestId></Error>";
    for (status, body, kind, texts) in [
        (
            "403 Forbidden",
            denied,
            ErrorKind::Permission,
            ["Not yours (AccessDenied)", "next: see that AWS_ACCESS_KEY_ID"],
        ),
        (
            "404 Not Found",
            no_bucket,
            ErrorKind::Invalid,
            ["Not there (NoSuchBucket)", "next: make the bucket"],
        ),
    ] {
        let store = answering(status, body);
        let error = store.create(&Key::new("a").unwrap(), Bytes::from_static(b"x")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let text = error.to_string();
        assert!(texts.iter().all(|part| text.contains(part)), "{text}");
        assert!(!text.contains("S3Error") && !text.contains("request_id"), "no dump: {text}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_with_what_to_look_at() {
    let server = absent_server().access_key_id("the-id").secret_access_key("the-secret");
    let store = OpendalStorage::new(Operator::new(server).unwrap());
    let error = store.stat(&Key::new("a").unwrap()).await.unwrap_err().to_string();
    assert!(error.contains("the server cannot be reached: Connection refused"), "{error}");
    assert!(error.contains("next: check `endpoint`"), "{error}");
}
