use rpo_core::Position;

use super::*;
use crate::format::{CRC, MAGIC, VERSION};

fn event() -> ChangeEvent {
    ChangeEvent {
        id: 77,
        time: Timestamp::from_micros(5),
        position: Position::START,
        part: 2,
        parts: 3,
        transaction: Some(TransactionId(9)),
        context: Some(Bytes::from_static(b"alice")),
        change: Change::update(
            &SourceId::new("shop").unwrap(),
            "orders",
            &b"k1"[..],
            Some(Bytes::from_static(b"one")),
            &b"two!"[..],
        ),
    }
}

fn decode(bytes: Vec<u8>) -> Result<ChangeEvent, FormatError> {
    ChangeEvent::decode(&bytes.into(), Timestamp::from_micros(5), Position::START)
}

#[test]
fn layout_is_the_one_in_the_spec() {
    let spec = include_str!("../event.md");
    let fields = [
        ("magic", MAGIC),
        ("version", VERSION),
        ("operation", OPERATION..OPERATION + 1),
        ("flags", FLAGS..FLAGS + 1),
        ("crc", CRC),
        ("id", ID),
        ("part", PART),
        ("parts", PARTS),
        ("transaction", TRANSACTION),
        ("source_len", SOURCE_LEN),
        ("collection_len", COLLECTION_LEN),
        ("key_len", KEY_LEN),
        ("context_len", CONTEXT_LEN),
        ("before_len", BEFORE_LEN),
        ("after_len", AFTER_LEN),
        ("reserved", RESERVED),
    ];
    let mut next = 0;
    for (field, at) in fields {
        let row = format!("| {} | {} | `{field}` |", at.start, at.len());
        assert!(spec.contains(&row), "event.md lacks: {row}");
        assert_eq!(at.start, next, "{field} follows the field before it");
        next = at.end;
    }
    assert_eq!(next, HEAD_BYTES);
}

#[test]
fn golden_bytes_of_version_0_are_still_read_and_written() {
    let bytes = event().encode().unwrap();
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, GOLDEN);
    assert_eq!(decode(bytes), Ok(event()));
}

const GOLDEN: &str = "\
    52504f4556540d0a0000020fa1e92f394d00000000000000020000000300000009000000000000000400060002000500\
    0300000004000000000000000000000073686f706f72646572736b31616c6963656f6e6574776f21";

#[test]
fn every_single_byte_flip_is_refused() {
    let bytes = event().encode().unwrap();
    for at in 0..bytes.len() {
        for mask in [0x01, 0x40, 0xff] {
            let mut flipped = bytes.clone();
            flipped[at] ^= mask;
            assert!(decode(flipped).is_err(), "byte {at}");
        }
    }
}

#[test]
fn an_event_cut_short_or_made_longer_is_refused() {
    let bytes = event().encode().unwrap();
    for len in 0..bytes.len() {
        assert!(decode(bytes[..len].to_vec()).is_err(), "{len} bytes");
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(decode(longer).is_err());
}

#[test]
fn rules_hold_even_where_the_checksum_does() {
    type Break = fn(&mut Vec<u8>);
    let breaks: [(&str, Break); 6] = [
        ("operations are 1 to 5", |b| b[OPERATION] = 6),
        ("flags are bits 0 to 3", |b| b[FLAGS] |= 0x10),
        ("reserved bytes are zero", |b| b[60] = 1),
        ("ids and parts count from 1, and parts lie within their transaction", |b| b[PART.start] = 4),
        ("a before has its flag", |b| b[FLAGS] &= !FLAG_BEFORE),
        ("a delete has no after", |b| b[OPERATION] = 3),
    ];
    for (expected, mend) in breaks {
        let mut bytes = event().encode().unwrap();
        mend(&mut bytes);
        seal(&mut bytes, MAGIC_BYTES);
        assert_eq!(decode(bytes), Err(rule(expected)));
    }
    let mut newer = event().encode().unwrap();
    newer[VERSION.start] = 1;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&newer[..12]), &newer[16..]);
    newer[CRC].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(decode(newer), Err(FormatError::Version { what: WHAT, found: 1 }));
}

#[test]
fn empty_and_absent_are_two_things() {
    let source = SourceId::new("shop").unwrap();
    let mut one = event();
    one.change = Change::update(&source, "t", &b""[..], Some(Bytes::new()), &b""[..]);
    one.context = Some(Bytes::new());
    let back = decode(one.encode().unwrap()).unwrap();
    assert_eq!(back, one);
    assert_eq!((back.change.before, back.context), (Some(Bytes::new()), Some(Bytes::new())));
}

#[test]
fn what_is_too_large_or_makes_no_sense_is_refused_before_it_is_recorded() {
    let source = SourceId::new("shop").unwrap();
    let bad = [
        Change::insert(&source, "", &b"k"[..], &b"v"[..]),
        Change { after: None, ..Change::insert(&source, "t", &b"k"[..], &b"v"[..]) },
        Change { key: Bytes::from_static(b"k"), ..Change::truncate(&source, "t") },
        Change::insert(&source, "t".repeat(1025), &b"k"[..], &b"v"[..]),
        Change::insert(&source, "t", vec![0; KEY_BYTES_MAX + 1], &b"v"[..]),
        Change::insert(&source, "t", &b"k"[..], vec![0; EVENT_BYTES_MAX]),
    ];
    for change in bad {
        assert!(check(&change, None).is_err(), "{} {}", change.operation, change.collection.len());
    }
    check(&Change::schema(&source, "", None), None).unwrap();
    check(&Change::truncate(&source, "t"), None).unwrap();
}
