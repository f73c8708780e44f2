//! A slot opens with its secret and no other; a damaged one says so.

use std::io;

use rpo_core::ErrorKind;

use super::*;

#[derive(Debug)]
struct FixedEntropy;

impl Entropy for FixedEntropy {
    fn fill(&self, out: &mut [u8]) -> io::Result<()> {
        out.iter_mut().enumerate().for_each(|(at, byte)| *byte = at as u8);
        Ok(())
    }
}

fn keys() -> KeyRing {
    KeyRing::new(RootKey::from_bytes([1; 32]), RepositoryId::from_bytes([7; 16]), 1)
}

fn draft() -> SlotDraft<'static> {
    SlotDraft { slot: 3, label: "alice", created: Timestamp::EPOCH, params: SlotParams::weak_for_tests() }
}

fn slot(secret: &Secret) -> KeySlot {
    KeySlot::wrap(&keys(), secret, &draft(), &FixedEntropy).unwrap()
}

fn secret() -> Secret {
    Secret::passphrase("correct horse")
}

/// The document with one text replaced, its SHA-256 made right again: altered on purpose.
fn altered(slot: &KeySlot, from: &str, to: &str) -> Vec<u8> {
    let text = std::str::from_utf8(slot.document()).unwrap();
    assert!(text.contains(from), "{text}");
    let text = text.replace(from, to);
    let end = text.trim_end().rfind('\n').unwrap() + 1;
    format!("{}sha256 {}\n", &text[..end], hex::encode(crate::sha256(&text.as_bytes()[..end]))).into_bytes()
}

#[test]
fn a_slot_gives_the_same_keys_to_its_secret() {
    let file = Secret::KeyFile([5; 32]);
    for secret in [secret(), file] {
        let stored = slot(&secret).document().to_vec();
        let read = KeySlot::decode("keys/3", &stored).unwrap();
        assert_eq!((read.number(), read.label(), read.generation()), (3, "alice", 1));
        let opened = read.unwrap_keys("keys/3", &secret).unwrap();
        assert_eq!(opened.mac(b"x"), keys().mac(b"x"));
        assert_eq!(opened.chunk_id(b"x"), keys().chunk_id(b"x"));
    }
}

#[test]
fn another_secret_is_told_as_the_wrong_key() {
    for wrong in [Secret::passphrase("correct hors"), Secret::KeyFile([5; 32])] {
        let error = slot(&secret()).unwrap_keys("keys/3", &wrong).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Key, "{error}");
    }
}

#[test]
fn every_single_byte_flip_is_told_as_damage_not_as_a_wrong_passphrase() {
    let slot = slot(&secret());
    for at in 0..slot.document().len() {
        let mut bad = slot.document().to_vec();
        bad[at] ^= 0x01;
        let error = KeySlot::decode("keys/3", &bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}: {error}");
    }
}

#[test]
fn a_slot_altered_on_purpose_opens_nothing() {
    let slot = slot(&secret());
    let one_digit = |text: &str| {
        let flipped = if text.starts_with('0') { "1" } else { "0" };
        format!("{flipped}{}", &text[1..])
    };
    let cases = [
        ("\"slot\": 3".to_owned(), "\"slot\": 4".to_owned()),
        ("\"generation\": 1".to_owned(), "\"generation\": 2".to_owned()),
        ("alice".to_owned(), "malice".to_owned()),
        (hex::encode([7; 16]), hex::encode([8; 16])),
        (slot.content.wrapped.clone(), one_digit(&slot.content.wrapped)),
        (slot.content.commitment.clone(), one_digit(&slot.content.commitment)),
        (slot.content.salt.clone(), one_digit(&slot.content.salt)),
    ];
    for (from, to) in cases {
        let read = KeySlot::decode("keys/3", &altered(&slot, &from, &to)).unwrap();
        let error = read.unwrap_keys("keys/3", &secret()).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Key), "{from}: {error}");
    }
}

#[test]
fn a_hostile_slot_cannot_exhaust_the_reader() {
    let slot = slot(&secret());
    let costs = [
        ("\"memory-kib\": 8", "\"memory-kib\": 4294967295"),
        ("\"memory-kib\": 8", "\"memory-kib\": 0"),
        ("\"passes\": 1", "\"passes\": 1000000"),
        ("\"lanes\": 1", "\"lanes\": 1000000000"),
    ];
    for (from, to) in costs {
        let error = KeySlot::decode("keys/3", &altered(&slot, from, to)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{to}");
    }
    let newer = KeySlot::decode("keys/3", &altered(&slot, "\"version\": 0", "\"version\": 9"));
    assert_eq!(newer.unwrap_err().kind(), ErrorKind::Unsupported);
    assert!(KeySlot::decode("keys/3", &altered(&slot, "\"label\"", "\"colour\"")).is_err(), "unknown fields");
}

#[test]
fn weak_passphrases_and_unencrypted_rings_get_no_slot() {
    let short = KeySlot::wrap(&keys(), &Secret::passphrase("1234567"), &draft(), &FixedEntropy);
    assert_eq!(short.unwrap_err().kind(), ErrorKind::Invalid);
    let plain = KeyRing::unencrypted(RepositoryId::from_bytes([7; 16]));
    assert!(KeySlot::wrap(&plain, &secret(), &draft(), &FixedEntropy).is_err());
}

#[test]
fn no_secret_is_in_a_document_an_error_or_a_debug_text() {
    let keys = KeyRing::new(RootKey::from_bytes([0x5a; 32]), RepositoryId::from_bytes([7; 16]), 1);
    let secret = Secret::passphrase("canary-passphrase");
    let slot = KeySlot::wrap(&keys, &secret, &draft(), &FixedEntropy).unwrap();
    let error = slot.unwrap_keys("keys/3", &Secret::passphrase("canary-other")).unwrap_err();
    let file = Secret::KeyFile([0x5a; 32]);
    let told = format!("{slot:?} {error} {error:?} {secret:?} {file:?} {keys:?}");
    for canary in ["canary", &hex::encode([0x5a; 8]), "90, 90"] {
        assert!(!told.contains(canary), "{canary} in {told}");
    }
}

#[test]
fn a_key_file_reads_back_as_written() {
    let (secret, text) = Secret::new_key_file(&FixedEntropy).unwrap();
    let read = Secret::parse_key_file(text.as_bytes()).unwrap();
    assert!(slot(&secret).unwrap_keys("keys/3", &read).is_ok());
    assert!(matches!(Secret::parse_key_file(&[9; 32]), Ok(Secret::KeyFile(key)) if key == [9; 32]));
    for bad in ["", "rpo-key-0:", "rpo-key-1:00", &text[..text.len() - 2]] {
        assert!(Secret::parse_key_file(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn golden_document_of_version_0() {
    let slot = slot(&secret());
    assert_eq!(std::str::from_utf8(slot.document()).unwrap(), GOLDEN);
    for field in serde_json::to_value(&slot.content).unwrap().as_object().unwrap().keys() {
        assert!(include_str!("../slot.md").contains(&format!("\"{field}\":")), "slot.md lacks {field}");
    }
}

#[test]
fn the_default_cost_is_the_one_in_the_spec() {
    let params = SlotParams::default();
    assert_eq!((params.memory_kib, params.passes, params.lanes), (65_536, 3, 1));
    assert!(params.validate().is_ok());
}

/// Root key 32 times 01, repository 16 times 07, salt 00 01 … 1f, passphrase "correct horse", weak cost.
const GOLDEN: &str = r#"{
  "format": "rpo-key-slot",
  "version": 0,
  "slot": 3,
  "repository": "07070707070707070707070707070707",
  "generation": 1,
  "kind": "passphrase",
  "label": "alice",
  "created": "1970-01-01T00:00:00.000000Z",
  "kdf": {
    "memory-kib": 8,
    "passes": 1,
    "lanes": 1
  },
  "salt": "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
  "commitment": "6638578e0cd9fe0f674d64fd7bb7f483f0ae8a591f59225a4fbf24bc3e01cc40",
  "wrapped": "527af1bf070ae98766b9691cce07e0d3ad12fd48b0290951bb271c681f4bbab44cf56e3613a3b4f68844ceea853da86f"
}
hmac-sha256 189555987ea9dd462a26893657720d6228fa64097d256fcbe27dbff52043ae4e
sha256 e8b0aadae2ec37786b4e7684a5db90232f390c511c76fb6f1ab11046d16d5f8a
"#;
