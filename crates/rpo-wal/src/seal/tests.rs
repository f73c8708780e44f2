use super::*;

const SPEC: &str = include_str!("../seal.md");

fn place(offset: u64, lsn: u64, seq: u64, time: i64) -> Place {
    let time = Timestamp::from_micros(1_772_000_000_000_000 + time);
    Place { offset, lsn: Lsn::new(lsn), seq: Sequence::new(seq), chain: 0xdead_beef, time }
}

fn seal() -> Seal {
    let mut filter = TransactionFilter::full_size();
    filter.insert(7);
    filter.insert(900);
    let anomaly = ClockAnomaly { expected: Timestamp::from_micros(5), found: Timestamp::from_micros(-5) };
    let note = |end: u64, kind| SealNote {
        frame: place(73_728, 0x2000, 12, 9_000_000),
        end: Lsn::new(end),
        sequence: Sequence::new(12),
        kind,
    };
    Seal {
        log: LogId::from_bytes([0xa1; 16]),
        salt: 0x1122_3344_5566_7788,
        ordinal: 3,
        base_lsn: Lsn::new(0x1000),
        base_seq: Sequence::new(7),
        epoch: Epoch::new(2).unwrap(),
        end_lsn: Lsn::new(0x3000),
        end_seq: Sequence::new(40),
        end_offset: 81_920,
        last_chain: 0x0bad_cafe,
        frames_crc: 0x1234_5678,
        first_time: place(0, 0, 0, 0).time,
        last_time: place(0, 0, 0, 9_500_000).time,
        transactions: 2,
        transaction_range: Some((7, 900)),
        notes_complete: false,
        marks: vec![
            SealMark { place: place(8192, 0x1000, 7, 0), transactions: Some((7, 900)) },
            SealMark { place: place(73_728, 0x2000, 12, 9_000_000), transactions: None },
        ],
        filter: filter.folded(2),
        notes: vec![
            note(0x2010, NoteKind::Point(PointName::new("before-upgrade").unwrap())),
            note(0x2020, NoteKind::Checkpoint("docs@12".parse().unwrap())),
            note(0x2030, NoteKind::Anomaly(anomaly)),
        ],
    }
}

#[test]
fn layout_is_the_one_in_the_spec() {
    let fields = [
        ("magic", MAGIC),
        ("version", VERSION),
        ("flags", FLAGS),
        ("crc", CRC),
        ("log_id", LOG_ID),
        ("salt", SALT),
        ("ordinal", ORDINAL),
        ("base_lsn", BASE_LSN),
        ("base_seq", BASE_SEQ),
        ("epoch", EPOCH),
        ("last_chain", LAST_CHAIN),
        ("end_lsn", END_LSN),
        ("end_seq", END_SEQ),
        ("end_offset", END_OFFSET),
        ("first_time", FIRST_TIME),
        ("last_time", LAST_TIME),
        ("transactions", TRANSACTIONS),
        ("transaction_min", TRANSACTION_MIN),
        ("transaction_max", TRANSACTION_MAX),
        ("frames_crc", FRAMES_CRC),
        ("body_len", BODY_LEN),
    ];
    let mut next = 0;
    for (field, at) in fields {
        let row = format!("| {} | {} | `{field}` |", at.start, at.len());
        assert!(SPEC.contains(&row), "seal.md lacks: {row}");
        assert_eq!(at.start, next, "{field} follows the field before it");
        next = at.end;
    }
    assert_eq!(next, HEAD_LEN);
}

#[test]
fn golden_bytes_of_version_0_are_still_read_and_written() {
    let bytes = seal().encode().unwrap();
    let hex = bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!(hex, GOLDEN);
    assert_eq!(Seal::decode(&bytes), Ok(seal()));
}

const GOLDEN: &str = "\
    52504f5345414c0a00000100e6cb38afa1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a188776655443322110300000000000000\
    0010000000000000070000000000000002000000fecaad0b003000000000000028000000000000000040010000000000\
    00c08ae69f4b060060b51be79f4b0600020000000000000007000000000000008403000000000000785634128f010000\
    0200000000000000002000000000000000100000000000000700000000000000efbeadde00c08ae69f4b060001070000\
    00000000008403000000000000002001000000000000200000000000000c00000000000000efbeadde401414e79f4b06\
    000040000000000000000000021000000000000000000000004000000000000000000000000001000000000000000000\
    000000200100000800004000000002800010000080000000000003000000000000000020010000000000002000000000\
    00000c00000000000000efbeadde401414e79f4b060010200000000000000c00000000000000000000000e0000000000\
    00006265666f72652d75706772616465002001000000000000200000000000000c00000000000000efbeadde401414e7\
    9f4b060020200000000000000c00000000000000010000000700000000000000646f6373403132002001000000000000\
    200000000000000c00000000000000efbeadde401414e79f4b060030200000000000000c000000000000000200000005\
    00000000000000fbffffffffffffff";

#[test]
fn every_single_byte_flip_and_every_cut_is_refused() {
    let bytes = seal().encode().unwrap();
    for at in 0..bytes.len() {
        for bit in [0x01, 0x10, 0x80] {
            let mut flipped = bytes.clone();
            flipped[at] ^= bit;
            assert!(Seal::decode(&flipped).is_err(), "byte {at}");
        }
        assert!(Seal::decode(&bytes[..at]).is_err(), "cut at {at}");
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(Seal::decode(&longer).is_err());
}

#[test]
fn any_bytes_under_a_right_checksum_are_refused_or_read_back_as_they_are() {
    let whole = seal().encode().unwrap();
    let (mut state, mut read) = (1u64, 0);
    let mut below = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    for _ in 0..40_000 {
        let mut bytes = whole.clone();
        for _ in 0..1 + below(4) {
            let at = 16 + below(bytes.len() - 16);
            bytes[at] = [0, 1, 0xff, 0x7f, bytes[at] ^ (1 << below(8))][below(5)];
        }
        if below(10) == 0 {
            bytes.truncate(HEAD_LEN + below(bytes.len() - HEAD_LEN));
        }
        let crc = checksum(&bytes);
        bytes[CRC].copy_from_slice(&crc.to_le_bytes());
        if let Ok(seal) = Seal::decode(&bytes) {
            assert_eq!(Seal::decode(&seal.encode().unwrap()), Ok(seal));
            read += 1;
        }
    }
    assert!(read > 1000, "{read}: most of what is changed keeps the rules");
}

#[test]
fn a_whole_seal_that_breaks_a_rule_is_refused() {
    let break_one: [fn(&mut Seal); 9] = [
        |s| s.marks.clear(),
        |s| s.marks[0].place.offset += 8,
        |s| s.marks[1].place.lsn = s.end_lsn,
        |s| s.marks[1].place.offset = s.end_offset,
        |s| s.marks[1].place.time = Timestamp::from_micros(0),
        |s| s.marks[0].transactions = Some((9, 8)),
        |s| s.notes[1].end = s.notes[0].end,
        |s| s.notes[2].end = Lsn::new(s.end_lsn.get() + 1),
        |s| s.transaction_range = Some((900, 7)),
    ];
    for (n, change) in break_one.into_iter().enumerate() {
        let mut broken = seal();
        change(&mut broken);
        let error = Seal::decode(&broken.encode().unwrap()).unwrap_err();
        assert!(matches!(error, FormatError::Rule(_)), "{n}: {error}");
    }
}

#[test]
fn other_versions_are_unsupported_not_corrupt() {
    let mut bytes = seal().encode().unwrap();
    bytes[VERSION].copy_from_slice(&1u16.to_le_bytes());
    let crc = checksum(&bytes);
    bytes[CRC].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(Seal::decode(&bytes).unwrap_err().kind(), rpo_core::ErrorKind::Unsupported);
    assert_eq!(Seal::decode(&[0; 200]), Err(FormatError::Zero));
}

#[test]
fn a_seal_is_only_of_the_segment_as_it_ended() {
    let (seal, log) = (seal(), LogId::from_bytes([0xa1; 16]));
    let bound = Bound {
        salt: seal.salt,
        ordinal: 3,
        base_lsn: seal.base_lsn,
        base_seq: seal.base_seq,
        epoch: seal.epoch,
        prev_chain: Some(0xdead_beef),
    };
    let next = Bound {
        salt: 1,
        ordinal: 4,
        base_lsn: seal.end_lsn,
        base_seq: seal.end_seq,
        epoch: seal.epoch,
        prev_chain: Some(seal.last_chain),
    };
    assert!(seal.is_of(log, &bound, &next));
    assert!(!seal.is_of(LogId::from_bytes([0; 16]), &bound, &next));
    for other in
        [Bound { salt: 9, ..bound }, Bound { ordinal: 9, ..bound }, Bound { base_lsn: Lsn::ZERO, ..bound }]
    {
        assert!(!seal.is_of(log, &other, &next));
    }
    for cut in [
        Bound { base_lsn: Lsn::new(0x2ff0), ..next },
        Bound { base_seq: Sequence::new(39), ..next },
        Bound { prev_chain: Some(1), ..next },
        Bound { prev_chain: None, ..next },
    ] {
        assert!(!seal.is_of(log, &bound, &cut));
    }
}
