use bytes::Bytes;
use proptest::prelude::*;
use rpo_core::{Entropy, ErrorKind, RepositoryId};
use rpo_crypto::KeyRing;

use super::*;
use crate::object::{ArchiveObject, Place, open_object, seal_fence};

#[derive(Debug)]
struct Fixed;

impl Entropy for Fixed {
    fn fill(&self, out: &mut [u8]) -> std::io::Result<()> {
        out.fill(0x5a);
        Ok(())
    }
}

fn fence() -> Fence {
    Fence {
        stream: StreamId::new("orders").unwrap(),
        epoch: Epoch::FIRST,
        number: 8,
        by: Epoch::new(2).unwrap(),
        claim: [0x44; 16],
        time: Timestamp::from_micros(1_700_000_000_000_000),
        note: "failover to us".to_owned(),
    }
}

#[test]
fn layout_is_the_one_in_the_spec() {
    let fields = [
        ("magic", MAGIC),
        ("version", VERSION),
        ("note_length", NOTE_LENGTH),
        ("epoch", EPOCH),
        ("number", NUMBER),
        ("by_epoch", BY_EPOCH),
        ("reserved", RESERVED),
        ("claim", CLAIM),
        ("time", TIME),
        ("stream_length", STREAM_LENGTH..STREAM_LENGTH + 1),
        ("stream", STREAM),
    ];
    let mut end = 0;
    for (field, at) in fields {
        assert_eq!(at.start, end, "{field} leaves a hole");
        end = at.end;
        let row = format!("| {} | {} | `{field}` |", at.start, at.len());
        assert!(include_str!("fence.md").contains(&row), "fence.md lacks: {row}");
    }
    assert_eq!(end, FIXED_BYTES);
    assert!(include_str!("fence.md").contains("| 120 | … | `note` |"));
}

#[test]
fn golden_bytes_of_version_0() {
    let golden = concat!(
        "52504f46454e4345",
        "0000",
        "0e00",
        "01000000",
        "0800000000000000",
        "02000000",
        "00000000",
        "44444444444444444444444444444444",
        "00401e18240a0600",
        "06",
        "6f7264657273",
        "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
        "6661696c6f76657220746f207573",
    );
    assert_eq!(hex::encode(fence().encode()), golden);
    assert_eq!(Fence::decode(&hex::decode(golden).unwrap()).unwrap(), fence());
}

#[test]
fn a_long_note_is_cut_at_a_character() {
    let long = Fence { note: "ä".repeat(400), ..fence() };
    let read = Fence::decode(&long.encode()).unwrap();
    assert_eq!(read.note, "ä".repeat(256));
}

#[test]
fn every_flipped_byte_of_a_stored_fence_is_refused() {
    let keys = KeyRing::unencrypted(RepositoryId::from_bytes([9; 16]));
    let sealed = seal_fence(&keys, &Fixed, &fence()).unwrap();
    let stream = fence().stream;
    let place = Place { stream: &stream, epoch: fence().epoch, number: fence().number };
    assert_eq!(open_object(&keys, place, &sealed).unwrap(), ArchiveObject::Fence(fence()));
    for at in 0..sealed.len() {
        let mut bytes = sealed.to_vec();
        bytes[at] ^= 1;
        assert!(open_object(&keys, place, &Bytes::from(bytes)).is_err(), "byte {at}");
    }
}

#[test]
fn what_no_fence_can_say_is_refused() {
    let broken = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fence().encode();
        change(&mut bytes);
        Fence::decode(&bytes).unwrap_err()
    };
    assert_eq!(broken(&|b| b[0] = b'X'), FormatError::Magic("a fence"));
    assert_eq!(broken(&|b| b[VERSION.start] = 1).kind(), ErrorKind::Unsupported);
    assert!(matches!(broken(&|b| b.push(0)), FormatError::Length { .. }));
    assert!(matches!(broken(&|b| b.truncate(50)), FormatError::Length { .. }));
    for change in [
        &(|b: &mut Vec<u8>| b[NUMBER].fill(0)) as &dyn Fn(&mut Vec<u8>),
        &|b| b[BY_EPOCH.start] = 1,
        &|b| b[EPOCH].fill(0),
        &|b| b[RESERVED.start] = 1,
        &|b| b[STREAM_LENGTH] = 0,
        &|b| b[NOTE_LENGTH].fill(0xff),
        &|b| b[FIXED_BYTES] = 0xff,
    ] {
        assert!(matches!(broken(change), FormatError::Field { .. }));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), keep in 0..134_usize) {
        let keep = keep.min(bytes.len());
        bytes[..keep].copy_from_slice(&fence().encode()[..keep]);
        if let Ok(fence) = Fence::decode(&bytes) {
            prop_assert_eq!(Fence::decode(&fence.encode()).unwrap(), fence);
        }
    }
}
