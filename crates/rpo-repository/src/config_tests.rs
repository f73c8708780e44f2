//! The config's bytes, and what is refused of them.

use rpo_core::ErrorKind;
use rpo_crypto::{RootKey, sha256};

use super::*;
use crate::layout;

fn keys() -> KeyRing {
    KeyRing::new(RootKey::from_bytes([1; 32]), RepositoryId::from_bytes([7; 16]), 1)
}

fn sample() -> Vec<u8> {
    let id = keys().repository();
    let config = Config::first(id, Timestamp::EPOCH, Encryption::Aes256Gcm, Cutters::default());
    config.encode(&keys()).unwrap()
}

fn decode(bytes: &[u8]) -> Result<Config, RepositoryError> {
    Config::decode("memory://x", &layout::config(1), bytes)
}

/// The document with one text replaced, its SHA-256 made right again: altered on purpose.
fn altered(from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(sample()).unwrap();
    assert!(text.contains(from), "{text}");
    let text = text.replace(from, to);
    let end = text.trim_end().rfind('\n').unwrap() + 1;
    format!("{}sha256 {}\n", &text[..end], hex::encode(sha256(&text.as_bytes()[..end]))).into_bytes()
}

#[test]
fn golden_document_of_version_0() {
    assert_eq!(String::from_utf8(sample()).unwrap(), GOLDEN);
}

#[test]
fn fields_are_the_ones_in_the_spec() {
    let json = serde_json::to_value(decode(&sample()).unwrap()).unwrap();
    for (name, value) in json.as_object().unwrap() {
        let inner = value.as_object().into_iter().flat_map(|object| object.keys());
        for field in inner.chain([name]) {
            assert!(include_str!("config.md").contains(&format!("\"{field}\":")), "config.md lacks {field}");
        }
    }
}

#[test]
fn every_single_byte_flip_is_told_as_damage() {
    let good = sample();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x01;
        let error = decode(&bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}: {error}");
        assert!(error.to_string().contains("config/0000000000000001"), "{error}");
    }
}

#[test]
fn what_was_altered_without_the_key_is_found_once_there_is_a_key() {
    let bytes = altered("fixed-16k", "fixed-99k");
    assert!(decode(&bytes).is_ok(), "without a key it looks right");
    let error = Config::check_mac("memory://x", &layout::config(1), &bytes, &keys()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(Config::check_mac("memory://x", &layout::config(1), &sample(), &keys()).is_ok());
}

#[test]
fn an_older_rpo_refuses_clearly_whatever_else_a_newer_config_holds() {
    let newer = altered("\"reader\": 0", "\"something-new\": true, \"reader\": 3");

    let error = decode(&newer).unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("needs rpo with reader version 3, this one has 0"), "{error}");
    assert_eq!(
        decode(&altered("\"version\": 0", "\"version\": 1")).unwrap_err().kind(),
        ErrorKind::Unsupported
    );
}

#[test]
fn a_config_under_another_number_or_with_unknown_fields_is_refused() {
    assert_eq!(decode(&altered("\"number\": 1", "\"number\": 2")).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(decode(&altered("\"created\"", "\"begun\"")).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(decode(&altered("rpo-config", "rpo-bill")).unwrap_err().kind(), ErrorKind::Corrupt);
    let mixed = altered("\"key-generation\": 1", "\"key-generation\": 0");
    assert_eq!(decode(&mixed).unwrap_err().kind(), ErrorKind::Corrupt);
}

/// Root key 32 times 01, repository 16 times 07.
const GOLDEN: &str = r#"{
  "format": "rpo-config",
  "version": 0,
  "number": 1,
  "repository": "07070707070707070707070707070707",
  "created": "1970-01-01T00:00:00.000000Z",
  "minimum": {
    "reader": 0,
    "writer": 0,
    "collector": 0
  },
  "encryption": "aes-256-gcm",
  "key-generation": 1,
  "cutters": {
    "files": "fastcdc-v2020-256k",
    "pages": "fixed-16k"
  },
  "chunk-id": "blake3-keyed",
  "formats": {
    "envelope": 0,
    "pack": 0,
    "index": 0,
    "manifest": 0,
    "session": 0,
    "batch": 0,
    "bill": 0
  }
}
hmac-sha256 74c4a67fdbcca2316070e9543e9875a7f7504f73ea9a127ff36201c969da9955
sha256 4dbcdcf9d698c725f4dd527279ab069b040d9f4a6b22267f4432ef4e3cd4eee9
"#;
