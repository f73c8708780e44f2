use proptest::prelude::*;
use rpo_core::RepositoryId;
use rpo_crypto::RootKey;

use super::*;

#[derive(Debug)]
struct Fixed;

impl Entropy for Fixed {
    fn fill(&self, out: &mut [u8]) -> std::io::Result<()> {
        out.fill(0x5a);
        Ok(())
    }
}

fn note() -> ExpiryNote {
    ExpiryNote {
        stream: StreamId::new("orders").unwrap(),
        number: 2,
        first_kept: 41,
        merged_kept: 3,
        from: Position {
            epoch: Epoch::new(3).unwrap(),
            lsn: Lsn::new(4096),
            sequence: Some(Sequence::new(10)),
        },
        last_time: Timestamp::from_micros(1_700_000_000_000_000),
        noted_at: Timestamp::from_micros(1_700_000_001_000_000),
        before: Digest([0x11; 32]),
        decision: [0x22; 16],
    }
}

#[test]
fn layout_is_the_one_in_the_spec() {
    let one = |at: usize| at..at + 1;
    let fields = [
        ("magic", MAGIC),
        ("version", VERSION),
        ("flags", one(FLAGS)),
        ("stream_length", one(STREAM_LENGTH)),
        ("epoch", EPOCH),
        ("number", NUMBER),
        ("first_kept", FIRST_KEPT),
        ("merged_kept", MERGED_KEPT),
        ("from_lsn", FROM_LSN),
        ("from_sequence", FROM_SEQUENCE),
        ("last_time", LAST_TIME),
        ("noted_at", NOTED_AT),
        ("before", BEFORE),
        ("decision", DECISION),
        ("stream", STREAM),
        ("reserved", one(RESERVED)),
    ];
    let mut end = 0;
    for (field, at) in fields {
        assert_eq!(at.start, end, "{field} leaves a hole");
        end = at.end;
        let row = format!("| {} | {} | `{field}` |", at.start, at.len());
        assert!(include_str!("expired.md").contains(&row), "expired.md lacks: {row}");
    }
    assert_eq!(end, NOTE_BYTES);
}

#[test]
fn golden_bytes_of_version_0() {
    // Made from the table in expired.md by hand.
    let golden = [
        "52504f4558504952",
        "0000",
        "01",
        "06",
        "03000000",
        "0200000000000000",
        "2900000000000000",
        "0300000000000000",
        "0010000000000000",
        "0a00000000000000",
        "00401e18240a0600",
        "40822d18240a0600",
        &"11".repeat(32),
        &"22".repeat(16),
        "6f7264657273",
        &"00".repeat(58),
    ]
    .concat();
    assert_eq!(hex::encode(note().encode()), golden);
    assert_eq!(ExpiryNote::decode(&hex::decode(golden).unwrap()).unwrap(), note());
}

#[test]
fn every_rule_is_checked_and_named() {
    let named = |change: &dyn Fn(&mut [u8])| {
        let mut bytes = note().encode();
        change(&mut bytes);
        match ExpiryNote::decode(&bytes).unwrap_err() {
            FormatError::Field { field, .. } => field,
            FormatError::Magic(_) => "magic",
            FormatError::Version { .. } => "version",
            other => panic!("{other}"),
        }
    };
    assert_eq!(named(&|b| b[0] = b'X'), "magic");
    assert_eq!(named(&|b| b[VERSION.start] = 1), "version");
    assert_eq!(named(&|b| b[FLAGS] = 2), "flags");
    assert_eq!(named(&|b| b[FLAGS] = 0), "from_sequence");
    assert_eq!(named(&|b| b[EPOCH].fill(0)), "epoch");
    assert_eq!(named(&|b| b[NUMBER].fill(0)), "number");
    assert_eq!(named(&|b| b[FIRST_KEPT.start] = 1), "first_kept");
    assert_eq!(named(&|b| b[MERGED_KEPT].fill(0)), "merged_kept");
    assert_eq!(named(&|b| b[BEFORE].fill(0)), "before");
    assert_eq!(named(&|b| b[STREAM_LENGTH] = 5), "stream");
    assert_eq!(named(&|b| b[RESERVED] = 1), "reserved");
}

#[test]
fn every_flipped_byte_of_a_stored_note_is_refused() {
    let repository = RepositoryId::from_bytes([9; 16]);
    for keys in [KeyRing::unencrypted(repository), KeyRing::new(RootKey::from_bytes([1; 32]), repository, 1)]
    {
        let sealed = note().seal(&keys, &Fixed).unwrap();
        let key = expired_key(&note().stream, note().epoch(), 2);
        assert_eq!(ExpiryNote::open(&keys, &key, &sealed).unwrap(), note());
        for at in 0..sealed.len() {
            for mask in [0x01, 0x80, 0xff] {
                let mut bytes = sealed.to_vec();
                bytes[at] ^= mask;
                assert!(ExpiryNote::open(&keys, &key, &Bytes::from(bytes)).is_err(), "byte {at}");
            }
        }
        let elsewhere = expired_key(&note().stream, note().epoch(), 3);
        assert!(ExpiryNote::open(&keys, &elsewhere, &sealed).is_err(), "moved to another name");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(mut bytes in proptest::collection::vec(any::<u8>(), NOTE_BYTES), keep in 0..NOTE_BYTES) {
        bytes[..keep].copy_from_slice(&note().encode()[..keep]);
        if let Ok(found) = ExpiryNote::decode(&bytes) {
            prop_assert_eq!(ExpiryNote::decode(&found.encode()).unwrap(), found);
        }
    }
}
