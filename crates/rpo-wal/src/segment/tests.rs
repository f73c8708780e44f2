use super::*;

const SPEC: &str = include_str!("../segment.md");

fn prepared() -> Prepared {
    Prepared {
        log: LogId::from_bytes([0xa1; 16]),
        salt: 0x1122_3344_5566_7788,
        capacity: 65536,
        created: Timestamp::from_micros(1_772_000_000_000_000),
    }
}

fn bound() -> Bound {
    Bound {
        salt: 0x1122_3344_5566_7788,
        ordinal: 3,
        base_lsn: Lsn::new(0x1000),
        base_seq: Sequence::new(7),
        epoch: Epoch::new(2).unwrap(),
        prev_chain: Some(0xdead_beef),
    }
}

#[test]
fn layout_is_the_one_in_the_spec() {
    let block_1 = [
        ("magic", MAGIC),
        ("version", VERSION),
        ("min_reader", MIN_READER),
        ("crc", CRC),
        ("log_id", LOG_ID),
        ("salt", SALT_1),
        ("capacity", CAPACITY),
        ("created", CREATED),
    ];
    let block_2 = [
        ("magic", MAGIC),
        ("version", VERSION),
        ("flags", FLAGS),
        ("crc", CRC),
        ("salt", SALT_2),
        ("ordinal", ORDINAL),
        ("base_lsn", BASE_LSN),
        ("base_seq", BASE_SEQ),
        ("epoch", EPOCH),
        ("prev_chain", PREV_CHAIN),
        ("prev_end_lsn", PREV_END_LSN),
    ];
    for block in [&block_1[..], &block_2[..]] {
        let mut next = 0;
        for (field, at) in block {
            let row = format!("| {} | {} | `{field}` |", at.start, at.len());
            assert!(SPEC.contains(&row), "segment.md lacks: {row}");
            assert_eq!(at.start, next, "{field} follows the field before it");
            next = at.end;
        }
    }
}

#[test]
fn golden_bytes_of_version_0_are_still_read_and_written() {
    let hex = |block: &[u8]| block.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let (one, two) = (prepared().encode(), bound().encode());
    assert_eq!(hex(&one[..CREATED.end]), GOLDEN_1);
    assert_eq!(hex(&two[..PREV_END_LSN.end]), GOLDEN_2);
    assert_eq!(Prepared::decode(&one), Ok(prepared()));
    assert_eq!(Bound::decode(&two), Ok(bound()));
}

const GOLDEN_1: &str = "\
    52504f57414c0d0a000000001a3e3081a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a188776655443322110000010000000000\
    00c08ae69f4b0600";
const GOLDEN_2: &str = "\
    52504f42494e440a00000100b2d271118877665544332211030000000000000000100000000000000700000000000000\
    02000000efbeadde0010000000000000";

#[test]
fn every_single_byte_flip_is_refused() {
    for at in 0..BLOCK_BYTES {
        let (mut one, mut two) = (prepared().encode(), bound().encode());
        one[at] ^= 0x10;
        two[at] ^= 0x10;
        assert!(Prepared::decode(&one).is_err(), "byte {at}");
        assert!(Bound::decode(&two).is_err(), "byte {at}");
    }
}

#[test]
fn other_versions_are_unsupported_not_corrupt() {
    let mut block = prepared().encode();
    put(&mut block, VERSION, &1u16.to_le_bytes());
    seal(&mut block, CRC);
    let error = Prepared::decode(&block).unwrap_err();
    assert_eq!(error.kind(), rpo_core::ErrorKind::Unsupported);
    assert_eq!(Prepared::decode(&[0; BLOCK_BYTES]), Err(FormatError::Zero));
}

#[test]
fn names_sort_as_lsns_do_and_are_read_back() {
    let name = bound().file_name();
    assert_eq!(name, "0000000000001000-00000002.rwal");
    assert_eq!(FileName::parse(&name), FileName::Segment { base_lsn: Lsn::new(0x1000), epoch: 2 });
    assert_eq!(FileName::parse(&bound().cut_name()), FileName::Cut { base_lsn: Lsn::new(0x1000) });
    assert_eq!(FileName::parse(&spare_name(5)), FileName::Spare(5));
    for other in [
        "",
        "x",
        "spare-.tmp",
        "spare-5.tmp",
        "0-0.rwal",
        "0000000000001000-0000000Z.rwal",
        ".cut",
        "a-b.cut",
    ] {
        assert_eq!(FileName::parse(other), FileName::Other, "{other}");
    }
}
