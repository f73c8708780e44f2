use super::*;
use crate::format::{CRC, MAGIC, VERSION};

fn stamp() -> Stamp {
    Stamp {
        first: 100,
        count: 3,
        dropped: Dropped { event: 40, end: Lsn::new(4096), time: Timestamp::from_micros(7) },
        lost: Some(Lost {
            events: 12,
            last: 39,
            last_time: Timestamp::from_micros(6),
            since: Timestamp::from_micros(8),
            reason: LossReason::Overrun,
        }),
    }
}

#[test]
fn layout_is_the_one_in_the_spec() {
    let spec = include_str!("../stamp.md");
    let fields = [
        ("magic", MAGIC),
        ("version", VERSION),
        ("reason", REASON..REASON + 1),
        ("reserved", RESERVED..RESERVED + 1),
        ("crc", CRC),
        ("first", FIRST),
        ("count", COUNT),
        ("reserved2", RESERVED2),
        ("dropped_id", DROPPED_ID),
        ("dropped_end", DROPPED_END),
        ("dropped_time", DROPPED_TIME),
        ("lost", LOST),
        ("lost_id", LOST_ID),
        ("lost_time", LOST_TIME),
        ("lost_since", LOST_SINCE),
    ];
    let mut next = 0;
    for (field, at) in fields {
        let row = format!("| {} | {} | `{field}` |", at.start, at.len());
        assert!(spec.contains(&row), "stamp.md lacks: {row}");
        assert_eq!(at.start, next, "{field} follows the field before it");
        next = at.end;
    }
    assert_eq!(next, STAMP_BYTES);
}

#[test]
fn golden_bytes_of_version_0_are_still_read_and_written() {
    let bytes = stamp().encode();
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, GOLDEN);
    assert_eq!(Stamp::decode(&bytes), Ok(stamp()));
    let fresh = Stamp { first: 1, count: 0, dropped: Dropped::default(), lost: None };
    assert_eq!(Stamp::decode(&fresh.encode()), Ok(fresh));
}

const GOLDEN: &str = "\
    52504f53544d500a0000010032d417ec6400000000000000030000000000000028000000000000000010000000000000\
    07000000000000000c00000000000000270000000000000006000000000000000800000000000000";

#[test]
fn every_single_byte_flip_is_refused() {
    for at in 0..STAMP_BYTES {
        for mask in [0x01, 0x40, 0xff] {
            let mut bytes = stamp().encode();
            bytes[at] ^= mask;
            assert!(Stamp::decode(&bytes).is_err(), "byte {at}");
        }
    }
    assert!((0..STAMP_BYTES).all(|len| Stamp::decode(&stamp().encode()[..len]).is_err()));
}

#[test]
fn a_stamp_that_claims_what_cannot_be_is_refused() {
    let wrong = [
        Stamp { first: 0, ..stamp() },
        Stamp { first: 40, ..stamp() },
        Stamp { lost: stamp().lost.map(|lost| Lost { last: 41, ..lost }), ..stamp() },
        Stamp { lost: stamp().lost.map(|lost| Lost { events: 0, ..lost }), ..stamp() },
    ];
    for stamp in wrong {
        assert!(matches!(Stamp::decode(&stamp.encode()), Err(FormatError::Rule { .. })), "{stamp:?}");
    }
}
