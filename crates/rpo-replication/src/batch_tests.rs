use bytes::Bytes;
use proptest::prelude::*;
use rpo_core::{Entropy, RepositoryId};
use rpo_crypto::{KeyRing, RootKey};

use super::*;
use crate::object::{ArchiveObject, Place, open_object, seal_batch};

#[derive(Debug)]
struct Fixed;

impl Entropy for Fixed {
    fn fill(&self, out: &mut [u8]) -> std::io::Result<()> {
        out.fill(0x5a);
        Ok(())
    }
}

fn head() -> BatchHead {
    let at = |lsn, sequence| Position {
        epoch: Epoch::new(3).unwrap(),
        lsn: Lsn::new(lsn),
        sequence: Some(Sequence::new(sequence)),
    };
    BatchHead {
        stream: StreamId::new("orders").unwrap(),
        number: 7,
        previous: Digest([0x11; 32]),
        from: at(4096, 10),
        to: at(8192, 25),
        first_time: Timestamp::from_micros(1_700_000_000_000_000),
        last_time: Timestamp::from_micros(1_700_000_000_500_000),
        codec: BatchCodec::Zstd,
        plain_bytes: 5000,
        frames: 4,
        points: 1,
        transactions: Some((TransactionId(5), TransactionId(9))),
        prev_chain: 0xaabb_ccdd,
        last_chain: 0x1122_3344,
        sealed_at: Timestamp::from_micros(1_700_000_001_000_000),
        writer: [0x22; 16],
        parent: None,
        gap_before: 0,
    }
}

fn epoch_start() -> BatchHead {
    let from = Position { epoch: Epoch::new(3).unwrap(), ..head().to };
    let fork = Position { epoch: Epoch::FIRST, ..from };
    BatchHead {
        number: 1,
        previous: Digest::NONE,
        from,
        to: from,
        codec: BatchCodec::None,
        plain_bytes: 0,
        frames: 0,
        points: 0,
        transactions: None,
        prev_chain: 0,
        last_chain: 0,
        parent: Some(ParentLink { epoch: Epoch::FIRST, number: 6, fork, digest: Digest([0x33; 32]) }),
        ..head()
    }
}

#[test]
fn layout_is_the_one_in_the_spec() {
    let one = |at: usize| at..at + 1;
    let fields = [
        ("magic", MAGIC),
        ("version", VERSION),
        ("kind", one(KIND)),
        ("codec", one(CODEC)),
        ("epoch", EPOCH),
        ("number", NUMBER),
        ("previous", PREVIOUS),
        ("from_lsn", FROM_LSN),
        ("from_sequence", FROM_SEQUENCE),
        ("to_lsn", TO_LSN),
        ("to_sequence", TO_SEQUENCE),
        ("first_time", FIRST_TIME),
        ("last_time", LAST_TIME),
        ("plain_bytes", PLAIN_BYTES),
        ("frames", FRAMES),
        ("points", POINTS),
        ("first_transaction", FIRST_TRANSACTION),
        ("last_transaction", LAST_TRANSACTION),
        ("prev_chain", PREV_CHAIN),
        ("last_chain", LAST_CHAIN),
        ("sealed_at", SEALED_AT),
        ("writer", WRITER),
        ("flags", FLAGS),
        ("parent_epoch", PARENT_EPOCH),
        ("parent_number", PARENT_NUMBER),
        ("parent_digest", PARENT_DIGEST),
        ("stream_length", one(STREAM_LENGTH)),
        ("stream", STREAM),
        ("gap_before", GAP_BEFORE),
    ];
    let mut end = 0;
    for (field, at) in fields {
        assert_eq!(at.start, end, "{field} leaves a hole");
        end = at.end;
        let row = format!("| {} | {} | `{field}` |", at.start, at.len());
        assert!(include_str!("batch.md").contains(&row), "batch.md lacks: {row}");
    }
    assert_eq!(end, HEAD_BYTES);
}

#[test]
fn golden_bytes_of_version_0() {
    // Made from the table in batch.md by another program.
    let batch = concat!(
        "52504f4241544348",
        "0000",
        "01",
        "01",
        "03000000",
        "0700000000000000",
        "1111111111111111111111111111111111111111111111111111111111111111",
        "0010000000000000",
        "0a00000000000000",
        "0020000000000000",
        "1900000000000000",
        "00401e18240a0600",
        "20e12518240a0600",
        "8813000000000000",
        "04000000",
        "01000000",
        "0500000000000000",
        "0900000000000000",
        "ddccbbaa",
        "44332211",
        "40822d18240a0600",
        "22222222222222222222222222222222",
        "03000000",
        "00000000",
        "0000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "06",
        "6f7264657273000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000",
    );
    let start = concat!(
        "52504f4241544348",
        "0000",
        "02",
        "00",
        "03000000",
        "0100000000000000",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0020000000000000",
        "1900000000000000",
        "0020000000000000",
        "1900000000000000",
        "00401e18240a0600",
        "20e12518240a0600",
        "0000000000000000",
        "00000000",
        "00000000",
        "0000000000000000",
        "0000000000000000",
        "00000000",
        "00000000",
        "40822d18240a0600",
        "22222222222222222222222222222222",
        "01000000",
        "01000000",
        "0600000000000000",
        "3333333333333333333333333333333333333333333333333333333333333333",
        "06",
        "6f7264657273000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000",
    );
    assert_eq!(hex::encode(head().encode()), batch);
    assert_eq!(hex::encode(epoch_start().encode()), start);
    assert_eq!(BatchHead::decode(&hex::decode(batch).unwrap()).unwrap(), head());
}

#[test]
fn a_head_reads_back_as_written() {
    for head in [head(), epoch_start()] {
        assert_eq!(BatchHead::decode(&head.encode()).unwrap(), head);
    }
    let foreign = |position: Position| Position { sequence: None, ..position };
    let raw = BatchHead { from: foreign(head().from), to: foreign(head().to), ..head() };
    assert_eq!(BatchHead::decode(&raw.encode()).unwrap(), raw);
}

#[test]
fn a_field_with_what_it_cannot_hold_is_named() {
    let broken = |change: &dyn Fn(&mut [u8])| {
        let mut bytes = head().encode();
        change(&mut bytes);
        BatchHead::decode(&bytes).unwrap_err()
    };
    let named = |change: &dyn Fn(&mut [u8])| match broken(change) {
        FormatError::Field { field, .. } => field,
        other => panic!("{other}"),
    };
    assert_eq!(broken(&|b| b[0] = b'X'), FormatError::Magic("a batch"));
    assert_eq!(broken(&|b| b[VERSION.start] = 1).kind(), ErrorKind::Unsupported);
    assert_eq!(named(&|b| b[KIND] = 9), "kind");
    assert_eq!(named(&|b| b[CODEC] = 3), "codec");
    assert_eq!(named(&|b| b[EPOCH].fill(0)), "epoch");
    assert_eq!(named(&|b| b[NUMBER].fill(0)), "number");
    assert_eq!(named(&|b| b[PREVIOUS].fill(0)), "previous");
    assert_eq!(named(&|b| b[TO_LSN].fill(0)), "to_lsn");
    assert_eq!(named(&|b| b[TO_SEQUENCE].fill(0)), "to_sequence");
    assert_eq!(named(&|b| b[LAST_TIME].fill(0)), "last_time");
    assert_eq!(named(&|b| b[PLAIN_BYTES].fill(0xff)), "plain_bytes");
    assert_eq!(named(&|b| b[FRAMES].fill(0)), "frames");
    assert_eq!(named(&|b| b[LAST_TRANSACTION].fill(0)), "last_transaction");
    assert_eq!(named(&|b| b[FLAGS.start] = 0x80), "flags");
    assert_eq!(named(&|b| b[PARENT_NUMBER.start] = 1), "parent_epoch");
    assert_eq!(named(&|b| b[STREAM_LENGTH] = 64), "stream");
    assert_eq!(named(&|b| b[STREAM.end - 1] = b'a'), "stream");
    assert_eq!(named(&|b| b[GAP_BEFORE.start] = 7), "gap_before");
    assert!(matches!(BatchHead::decode(&head().encode()[1..]), Err(FormatError::Length { .. })));
}

#[test]
fn every_flipped_byte_of_a_stored_batch_is_refused() {
    let repository = RepositoryId::from_bytes([9; 16]);
    for keys in [KeyRing::unencrypted(repository), KeyRing::new(RootKey::from_bytes([1; 32]), repository, 1)]
    {
        let head = BatchHead { codec: BatchCodec::None, plain_bytes: 100, ..head() };
        let sealed = seal_batch(&keys, &Fixed, &head, &[0x77; 100]).unwrap();
        let stream = head.stream.clone();
        let place = Place { stream: &stream, epoch: head.epoch(), number: head.number };
        assert!(
            matches!(open_object(&keys, place, &sealed), Ok(ArchiveObject::Batch(batch)) if batch.head == head)
        );
        for at in 0..sealed.len() {
            for mask in [0x01, 0x80, 0xff] {
                let mut bytes = sealed.to_vec();
                bytes[at] ^= mask;
                let error = open_object(&keys, place, &Bytes::from(bytes)).unwrap_err();
                assert!(
                    error.to_string().contains("logs/orders/00000003/0000000000000007"),
                    "byte {at}: {error}"
                );
            }
        }
        for len in 0..sealed.len() {
            assert!(open_object(&keys, place, &sealed.slice(..len)).is_err(), "cut off after {len} bytes");
        }
        let elsewhere = Place { number: 8, ..place };
        assert!(open_object(&keys, elsewhere, &sealed).is_err(), "moved to another name");
    }
}

#[test]
fn a_body_that_does_not_become_smaller_is_kept_as_it_is() {
    let dull = vec![b'a'; 10_000];
    for codec in [BatchCodec::Zstd, BatchCodec::Lz4] {
        let (packed, used) = compress(&dull, codec).unwrap();
        assert!(used == codec && packed.len() < 200);
        let (kept, used) = compress(b"ab", codec).unwrap();
        assert_eq!((kept.as_slice(), used), (&b"ab"[..], BatchCodec::None));
    }
}

#[test]
fn a_body_longer_or_shorter_than_told_is_refused() {
    let plain = vec![b'a'; 10_000];
    for codec in [BatchCodec::None, BatchCodec::Zstd, BatchCodec::Lz4] {
        let (body, codec) = compress(&plain, codec).unwrap();
        for wrong in [0, 9_999, 10_001, PLAIN_BYTES_MAX + 1, u64::MAX] {
            let head = BatchHead { codec, plain_bytes: wrong, ..head() };
            assert!(decompress(&head, &body).is_err(), "{codec:?} told {wrong}");
        }
    }
}

proptest! {
    #[test]
    fn any_body_comes_back(plain in proptest::collection::vec(any::<u8>(), 1..5000), codec in 0..3_usize) {
        let codec = [BatchCodec::None, BatchCodec::Zstd, BatchCodec::Lz4][codec];
        let (body, codec) = compress(&plain, codec).unwrap();
        let head = BatchHead { codec, plain_bytes: plain.len() as u64, ..head() };
        prop_assert_eq!(decompress(&head, &body).unwrap(), plain);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(mut bytes in proptest::collection::vec(any::<u8>(), 288), keep in 0..288_usize) {
        bytes[..keep].copy_from_slice(&head().encode()[..keep]);
        if let Ok(head) = BatchHead::decode(&bytes) {
            prop_assert_eq!(BatchHead::decode(&head.encode()).unwrap(), head);
        }
    }
}
