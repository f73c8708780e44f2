use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::record::LogEntry;
use crate::time::ClockAnomaly;
use crate::{CheckpointId, Epoch, Lsn, MarkerKind, PointName, Sequence, Timestamp, TransactionId};

const SPEC: &str = include_str!("../frame.md");

fn fields() -> FrameFields {
    FrameFields {
        base_lsn: Lsn::new(0x1000),
        base_seq: Sequence::new(7),
        epoch: Epoch::new(3).unwrap(),
        durable_lsn: Lsn::new(0x0ff0),
        commit_time: Timestamp::from_micros(1_772_000_000_000_000),
        prev_chain: 0xdead_beef,
        salt: 0x0bad_cafe,
    }
}

/// Two commits and a marker.
fn sample() -> Bytes {
    let mut builder = FrameBuilder::new();
    builder
        .push_commit(&CommitDraft::one("a").with_transaction(TransactionId(5)).with_context("who"))
        .unwrap();
    builder.push_marker(&MarkerKind::RestorePoint(PointName::new("before-migration").unwrap())).unwrap();
    builder.push_commit(&CommitDraft::many([Bytes::from("bb"), Bytes::new(), Bytes::from("ccc")])).unwrap();
    builder.finish(&fields()).unwrap().1.into()
}

/// A frame whose body is `body`, with right checksums: what a faulty or hostile writer could make.
fn forged(body: &[u8], records: u16, commits: u16) -> Result<(Frame, usize), FrameError> {
    let f = fields();
    let head = FrameHead {
        body_len: u32::try_from(body.len()).unwrap(),
        body_crc: crc32c::crc32c(body),
        base_lsn: f.base_lsn,
        base_seq: f.base_seq,
        record_count: records,
        commit_count: commits,
        epoch: f.epoch,
        durable_lsn: f.durable_lsn,
        commit_time: f.commit_time,
        prev_chain: 0,
        salt: 0,
    };
    let mut bytes = [&head.encode()[..], body].concat();
    bytes.resize(head.frame_len(), 0);
    Frame::decode(&bytes.into())
}

fn record(kind: u8, flags: u8, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    super::record::append(&mut out, kind, flags, &[content]);
    out
}

#[test]
fn layout_is_the_one_in_the_spec() {
    use super::head as h;
    use super::record as r;
    let heads = [
        ("magic", h::MAGIC),
        ("head_crc", h::HEAD_CRC),
        ("body_len", h::BODY_LEN),
        ("body_crc", h::BODY_CRC),
        ("base_lsn", h::BASE_LSN),
        ("base_seq", h::BASE_SEQ),
        ("record_count", h::RECORD_COUNT),
        ("commit_count", h::COMMIT_COUNT),
        ("epoch", h::EPOCH),
        ("durable_lsn", h::DURABLE_LSN),
        ("commit_time", h::COMMIT_TIME),
        ("prev_chain", h::PREV_CHAIN),
        ("salt", h::SALT),
    ];
    let records = [
        ("crc", r::CRC),
        ("len", r::LEN),
        ("kind", r::KIND..r::KIND + 1),
        ("flags", r::FLAGS..r::FLAGS + 1),
        ("reserved", r::RESERVED),
        ("aux", r::AUX),
    ];
    for (fields, total) in [(&heads[..], HEAD_BYTES), (&records[..], RECORD_HEAD_BYTES)] {
        let mut next = 0;
        for (field, at) in fields {
            let row = format!("| {} | {} | `{field}` |", at.start, at.len());
            assert!(SPEC.contains(&row), "frame.md lacks: {row}");
            assert_eq!(at.start, next, "{field} follows the field before it");
            next = at.end;
        }
        assert_eq!(next, total);
    }
}

#[test]
fn what_was_pushed_is_read_back_with_lsns_and_sequences() {
    let bytes = sample();

    let (frame, consumed) = Frame::decode(&bytes).unwrap();
    let entries: Vec<_> = frame.entries().collect();

    assert_eq!(consumed, bytes.len());
    let [LogEntry::Commit(first), LogEntry::Marker(point), LogEntry::Commit(second)] = &entries[..] else {
        panic!("{entries:#?}");
    };
    assert_eq!((first.lsn, first.sequence), (Lsn::new(0x1000), Sequence::new(8)));
    assert_eq!((first.transaction, first.context.as_deref()), (Some(TransactionId(5)), Some(&b"who"[..])));
    assert_eq!(first.records[0].payload, "a");
    assert_eq!(
        (point.lsn, point.sequence),
        (first.end, Sequence::new(8)),
        "markers take an LSN and no sequence"
    );
    assert_eq!((second.lsn, second.sequence), (point.end, Sequence::new(9)));
    assert_eq!(second.records.iter().map(|r| r.payload.len()).collect::<Vec<_>>(), [2, 0, 3]);
    assert_eq!(second.position(), frame.head().end());
    assert!(entries.iter().all(|e| e.time() == frame.head().commit_time));
}

#[test]
fn every_kind_of_marker_is_read_back() {
    let anomaly =
        ClockAnomaly { expected: Timestamp::from_micros(i64::MIN), found: Timestamp::from_micros(i64::MAX) };
    for kind in [
        MarkerKind::Heartbeat,
        MarkerKind::Seal,
        MarkerKind::RestorePoint(PointName::new("p").unwrap()),
        MarkerKind::Checkpoint("docs@12".parse::<CheckpointId>().unwrap()),
        MarkerKind::EpochStart { parent: None, fork: Lsn::MAX },
        MarkerKind::EpochStart { parent: Epoch::new(9), fork: Lsn::ZERO },
        MarkerKind::ClockAnomaly(anomaly),
    ] {
        let mut builder = FrameBuilder::new();
        builder.push_marker(&kind).unwrap();
        let (_, bytes) = builder.finish(&fields()).unwrap();
        let (frame, _) = Frame::decode(&bytes.into()).unwrap();
        let [LogEntry::Marker(marker)] = &frame.entries().collect::<Vec<_>>()[..] else { panic!("{kind:?}") };
        assert_eq!(marker.kind, kind);
    }
}

#[test]
fn golden_bytes_of_version_0_are_still_read_and_written() {
    let mut builder = FrameBuilder::new();
    builder
        .push_commit(&CommitDraft::one("hi").with_transaction(TransactionId(1)).with_context("c"))
        .unwrap();
    builder.push_marker(&MarkerKind::EpochStart { parent: Epoch::new(2), fork: Lsn::new(0x1000) }).unwrap();
    let (_, bytes) = builder.finish(&fields()).unwrap();
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, GOLDEN);
    assert_eq!(Frame::decode(&bytes.into()).unwrap().0.entries().count(), 2);
}

const GOLDEN: &str = "\
    52504f46b847ebf539000000c6ee1cfe001000000000000007000000000000000200010003000000f00f000000000000\
    00c08ae69f4b0600efbeaddefecaad0bc989edb60d000000010700000000000001000000000000000100636869fec9cb\
    b20c000000050000000000000002000000001000000000000000000000000000";

#[test]
fn every_single_byte_flip_is_refused() {
    let bytes = sample();
    for at in 0..bytes.len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut broken = bytes.to_vec();
            broken[at] ^= mask;
            assert!(Frame::decode(&broken.into()).is_err(), "byte {at} ^ {mask:#04x}");
        }
    }
}

#[test]
fn every_cut_is_refused() {
    let bytes = sample();
    for len in 0..bytes.len() {
        assert!(matches!(Frame::decode(&bytes.slice(..len)), Err(FrameError::Short { .. })), "{len} bytes");
    }
}

#[test]
fn a_zero_head_is_told_from_a_damaged_one() {
    assert_eq!(FrameHead::decode(&[0; HEAD_BYTES]), Err(FrameError::Unwritten));
    let mut one = [0; HEAD_BYTES];
    one[63] = 1;
    assert!(matches!(FrameHead::decode(&one), Err(FrameError::HeadCrc { .. })));
}

#[test]
fn content_that_breaks_the_format_is_refused_though_its_checksums_hold() {
    let cases: [(&str, Vec<u8>, u16, u16); 9] = [
        ("open commit", record(1, 0, b"x"), 1, 1),
        ("marker in commit", [record(1, 0, b"x"), record(2, 0, b""), record(1, 1, b"y")].concat(), 3, 1),
        ("txid on second record", [record(1, 0, b"x"), record(1, 3, &[0; 8])].concat(), 2, 1),
        ("marker with flags", record(2, 1, b""), 1, 0),
        ("heartbeat with payload", record(2, 0, b"x"), 1, 0),
        ("context longer than record", record(1, 5, &[255, 255]), 1, 1),
        ("unknown flag", record(1, 9, b""), 1, 1),
        ("miscounted records", record(1, 1, b""), 2, 1),
        ("trailing name bytes", record(3, 0, b"\x01\0\0\0\0\0\0\0pX"), 1, 0),
    ];
    for (what, mut body, records, commits) in cases {
        if what == "miscounted records" {
            body.extend(record(1, 1, b""));
            assert!(forged(&body, 2, 1).is_err());
            assert!(forged(&body, 2, 2).is_ok(), "the forger itself is right");
            continue;
        }
        assert!(matches!(forged(&body, records, commits), Err(FrameError::Malformed { .. })), "{what}");
    }
    assert_eq!(forged(&record(8, 0, b""), 1, 0), Err(FrameError::Kind { kind: 8 }));
    assert_eq!(FrameError::Kind { kind: 8 }.kind(), crate::ErrorKind::Unsupported);
}

#[test]
fn what_is_too_large_is_refused_before_it_is_written() {
    let payload = |len| Bytes::from(vec![0; len]);
    let invalid = |draft: CommitDraft| {
        assert_eq!(EncodedEntry::commit(&draft).unwrap_err().kind(), crate::ErrorKind::Invalid)
    };
    invalid(CommitDraft::default());
    invalid(CommitDraft::one(payload(PAYLOAD_BYTES_MAX + 1)));
    invalid(CommitDraft::one("x").with_context(payload(CONTEXT_BYTES_MAX + 1)));
    invalid(CommitDraft::many((0..4).map(|_| payload(PAYLOAD_BYTES_MAX))));
    invalid(CommitDraft::many((0..=u16::MAX).map(|_| Bytes::new())));
    assert!(FrameBuilder::new().finish(&fields()).is_err(), "an empty frame");
    let future = FrameFields { durable_lsn: Lsn::new(0x1001), ..fields() };
    let mut builder = FrameBuilder::new();
    builder.push_commit(&CommitDraft::one("x")).unwrap();
    assert!(builder.finish(&future).is_err(), "durable before it is written");
}

proptest! {
    #[test]
    fn any_commits_are_read_back(drafts in prop::collection::vec(
        (prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..5), any::<Option<u64>>(),
         prop::option::of(prop::collection::vec(any::<u8>(), 0..20))), 1..8)
    ) {
        let drafts: Vec<_> = drafts.into_iter().map(|(records, txid, context)| CommitDraft {
            records: records.into_iter().map(Bytes::from).collect(),
            transaction: txid.map(TransactionId),
            context: context.map(Bytes::from),
        }).collect();
        let mut builder = FrameBuilder::new();
        for draft in &drafts {
            builder.push_commit(draft).unwrap();
        }
        let (head, bytes) = builder.finish(&fields()).unwrap();
        let (frame, consumed) = Frame::decode(&Bytes::from(bytes)).unwrap();
        prop_assert_eq!(consumed, head.frame_len());
        let read: Vec<_> = frame.entries().map(|entry| match entry {
            LogEntry::Commit(c) => CommitDraft {
                records: c.records.into_iter().map(|r| r.payload).collect(),
                transaction: c.transaction,
                context: c.context,
            },
            LogEntry::Marker(m) => panic!("{m:?}"),
        }).collect();
        prop_assert_eq!(read, drafts);
    }

    #[test]
    fn any_bytes_are_read_or_refused_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), records in 0u16..4) {
        let _ = Frame::decode(&bytes.clone().into());
        let mut body = bytes;
        body.resize(body.len().max(16), 0);
        let _ = forged(&body, records, records);
    }
}
