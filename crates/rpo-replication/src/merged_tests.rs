use bytes::Bytes;
use proptest::prelude::*;
use rpo_core::frame::{CommitDraft, FrameBuilder, FrameFields};
use rpo_core::{Entropy, Lsn, Position, RepositoryId, Sequence};
use rpo_crypto::{KeyRing, RootKey};

use super::*;
use crate::batch::{BatchHead, Digest};
use crate::frames::summarize;
use crate::names::merged_key;
use crate::object::OpenBatch;

#[derive(Debug)]
struct Fixed;

impl Entropy for Fixed {
    fn fill(&self, out: &mut [u8]) -> std::io::Result<()> {
        out.fill(0x5a);
        Ok(())
    }
}

fn head() -> MergedHead {
    MergedHead {
        stream: StreamId::new("orders").unwrap(),
        epoch: Epoch::new(3).unwrap(),
        number: 7,
        first: 40,
        last: 42,
        plain_bytes: 5000,
        table_codec: BatchCodec::Zstd,
        table_bytes: 300,
        blocks: 2,
        merged_at: Timestamp::from_micros(1_700_000_001_000_000),
        merger: [0x22; 16],
    }
}

/// Opened batches of whole frames, as a shipper would have made them.
fn parts(count: u64, payload: usize) -> Vec<OpenBatch> {
    let epoch = Epoch::new(3).unwrap();
    let mut end = Position { epoch, lsn: Lsn::new(4096), sequence: Some(Sequence::new(10)) };
    let (mut chain, mut previous) = (5, Digest([0x11; 32]));
    let mut parts = Vec::new();
    for number in 40..40 + count {
        let mut frames = Vec::new();
        for frame in 0..2_u8 {
            let mut builder = FrameBuilder::new();
            builder.push_commit(&CommitDraft::one(vec![frame ^ number as u8; payload])).unwrap();
            let fields = FrameFields {
                base_lsn: end.lsn,
                base_seq: end.sequence.unwrap(),
                epoch,
                durable_lsn: end.lsn,
                commit_time: Timestamp::from_micros(1_700_000_000_000_000 + number as i64),
                prev_chain: chain,
                salt: 7,
            };
            let (head, bytes) = builder.finish(&fields).unwrap();
            frames.extend_from_slice(&bytes);
            (end, chain) = (head.end(), head.chain());
        }
        let body = Bytes::from(frames);
        let run = summarize(&body, epoch).unwrap();
        let head = BatchHead {
            stream: StreamId::new("orders").unwrap(),
            number,
            previous,
            from: run.from,
            to: run.to,
            first_time: run.first_time,
            last_time: run.last_time,
            codec: BatchCodec::None,
            plain_bytes: body.len() as u64,
            frames: run.frames,
            points: run.points,
            transactions: run.transactions,
            prev_chain: run.prev_chain,
            last_chain: run.last_chain,
            sealed_at: run.last_time,
            writer: [3; 16],
            parent: None,
            gap_before: 0,
        };
        previous = Digest([number as u8; 32]);
        parts.push(OpenBatch { head, body, digest: previous });
    }
    parts
}

fn seal(keys: &KeyRing, parts: &[OpenBatch]) -> Result<Bytes, crate::ReplicationError> {
    seal_merged(keys, &Fixed, Timestamp::from_micros(9), 1, parts)
}

#[test]
fn layout_is_the_one_in_the_spec() {
    let one = |at: usize| at..at + 1;
    let fields = [
        ("magic", MAGIC),
        ("version", VERSION),
        ("table_codec", one(TABLE_CODEC)),
        ("stream_length", one(STREAM_LENGTH)),
        ("epoch", EPOCH),
        ("number", NUMBER),
        ("first", FIRST),
        ("last", LAST),
        ("plain_bytes", PLAIN_BYTES),
        ("table_bytes", TABLE_BYTES),
        ("blocks", BLOCKS),
        ("merged_at", MERGED_AT),
        ("merger", MERGER),
        ("stream", STREAM),
        ("reserved", one(RESERVED)),
    ];
    let mut end = 0;
    for (field, at) in fields {
        assert_eq!(at.start, end, "{field} leaves a hole");
        end = at.end;
        let row = format!("| {} | {} | `{field}` |", at.start, at.len());
        assert!(include_str!("merged.md").contains(&row), "merged.md lacks: {row}");
    }
    assert_eq!(end, HEAD_BYTES);
}

#[test]
fn golden_bytes_of_version_0() {
    // Made from the table in merged.md by hand.
    let golden = [
        "52504f4d45524745",
        "0000",
        "01",
        "06",
        "03000000",
        "0700000000000000",
        "2800000000000000",
        "2a00000000000000",
        "8813000000000000",
        "2c010000",
        "02000000",
        "40822d18240a0600",
        &"22".repeat(16),
        "6f7264657273",
        &"00".repeat(58),
    ]
    .concat();
    assert_eq!(hex::encode(head().encode()), golden);
    assert_eq!(MergedHead::decode(&hex::decode(golden).unwrap()).unwrap(), head());
}

#[test]
fn every_rule_of_the_head_is_checked_and_named() {
    let named = |change: &dyn Fn(&mut [u8])| {
        let mut bytes = head().encode();
        change(&mut bytes);
        match MergedHead::decode(&bytes).unwrap_err() {
            FormatError::Field { field, .. } => field,
            FormatError::Magic(_) => "magic",
            FormatError::Version { .. } => "version",
            other => panic!("{other}"),
        }
    };
    assert_eq!(named(&|b| b[0] = b'X'), "magic");
    assert_eq!(named(&|b| b[VERSION.start] = 1), "version");
    assert_eq!(named(&|b| b[TABLE_CODEC] = 2), "table_codec");
    assert_eq!(named(&|b| b[EPOCH].fill(0)), "epoch");
    assert_eq!(named(&|b| b[NUMBER].fill(0)), "number");
    assert_eq!(named(&|b| b[FIRST].fill(0)), "first");
    assert_eq!(named(&|b| b[LAST.start] = 40), "last");
    assert_eq!(named(&|b| b[LAST].fill(0xff)), "last");
    assert_eq!(named(&|b| b[PLAIN_BYTES].fill(0xff)), "plain_bytes");
    assert_eq!(named(&|b| b[TABLE_BYTES].fill(0xff)), "table_bytes");
    assert_eq!(named(&|b| b[BLOCKS].fill(0)), "blocks");
    assert_eq!(named(&|b| b[STREAM_LENGTH] = 5), "stream");
    assert_eq!(named(&|b| b[RESERVED] = 1), "reserved");
}

#[test]
fn parts_come_back_with_every_frame_and_digest() {
    let keys = KeyRing::unencrypted(RepositoryId::from_bytes([9; 16]));
    for (count, payload) in [(2, 10), (5, 300_000), (40, 700)] {
        let parts = parts(count, payload);
        let sealed = seal(&keys, &parts).unwrap();
        let key = merged_key(&parts[0].head.stream, parts[0].head.epoch(), 1);
        let (head, opened) = open_merged(&keys, &key, &sealed).unwrap();
        assert_eq!((head.first, head.last), (40, 39 + count));
        assert_eq!(opened, parts);
        if payload == 300_000 {
            assert!(head.blocks >= 4, "{} blocks: a reader fetches only what it needs", head.blocks);
        }
    }
}

#[test]
fn what_is_no_run_is_never_sealed() {
    let keys = KeyRing::unencrypted(RepositoryId::from_bytes([9; 16]));
    let whole = parts(4, 50);
    assert!(seal(&keys, &[]).is_err());
    assert!(seal(&keys, &whole[..1]).is_err(), "one part");
    let refused = |change: &dyn Fn(&mut Vec<OpenBatch>)| {
        let mut parts = whole.clone();
        change(&mut parts);
        assert!(seal(&keys, &parts).is_err());
    };
    refused(&|parts| drop(parts.remove(1)));
    refused(&|parts| parts.swap(1, 2));
    refused(&|parts| parts[2].head.previous = Digest([0xee; 32]));
    refused(&|parts| parts[2].body = parts[3].body.clone());
    refused(&|parts| parts[2].body = parts[2].body.slice(..parts[2].body.len() - 8));
    refused(&|parts| parts[3].head.epoch_for_test(9));
}

impl BatchHead {
    fn epoch_for_test(&mut self, epoch: u32) {
        (self.from.epoch, self.to.epoch) = (Epoch::new(epoch).unwrap(), Epoch::new(epoch).unwrap());
    }
}

#[test]
fn every_flipped_byte_of_a_stored_merged_object_is_refused() {
    let repository = RepositoryId::from_bytes([9; 16]);
    for keys in [KeyRing::unencrypted(repository), KeyRing::new(RootKey::from_bytes([1; 32]), repository, 1)]
    {
        let parts = parts(3, 20);
        let sealed = seal(&keys, &parts).unwrap();
        let key = merged_key(&parts[0].head.stream, parts[0].head.epoch(), 1);
        for at in 0..sealed.len() {
            for mask in [0x01, 0x80, 0xff] {
                let mut bytes = sealed.to_vec();
                bytes[at] ^= mask;
                let error = open_merged(&keys, &key, &Bytes::from(bytes)).unwrap_err();
                assert!(error.to_string().contains(key.as_str()), "byte {at}: {error}");
            }
        }
        for len in 0..sealed.len() {
            assert!(open_merged(&keys, &key, &sealed.slice(..len)).is_err(), "cut off after {len} bytes");
        }
        let elsewhere = merged_key(&parts[0].head.stream, parts[0].head.epoch(), 2);
        assert!(open_merged(&keys, &elsewhere, &sealed).is_err(), "moved to another name");
    }
}

#[test]
fn every_flipped_byte_of_a_table_is_refused_or_reads_as_what_it_says() {
    // Below the envelope: what a decoder makes of bytes that somebody with the key has written.
    let parts = parts(3, 20);
    let rows: Vec<Part> =
        parts.iter().map(|part| Part { head: part.head.clone(), digest: part.digest }).collect();
    let plain_bytes: u64 = parts.iter().map(|part| part.head.plain_bytes).sum();
    let block =
        Block { plain_bytes: plain_bytes as u32, stored_bytes: plain_bytes as u32, codec: BatchCodec::None };
    let table = MergedTable { parts: rows, blocks: vec![block] };
    let (stored, table_codec) = table.encode().unwrap();
    let head = MergedHead { plain_bytes, table_codec, table_bytes: stored.len() as u32, blocks: 1, ..head() };
    assert_eq!(MergedTable::decode(&head, &stored).unwrap(), table);
    for at in 0..stored.len() {
        let mut bytes = stored.clone();
        bytes[at] ^= 0xff;
        if let Ok(found) = MergedTable::decode(&head, &bytes) {
            assert_eq!(found.parts.len(), 3, "byte {at}");
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_head_decoder_panic(mut bytes in proptest::collection::vec(any::<u8>(), HEAD_BYTES), keep in 0..HEAD_BYTES) {
        bytes[..keep].copy_from_slice(&head().encode()[..keep]);
        if let Ok(found) = MergedHead::decode(&bytes) {
            prop_assert_eq!(MergedHead::decode(&found.encode()).unwrap(), found);
        }
    }

    #[test]
    fn no_bytes_make_the_table_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 300), plain in any::<bool>()) {
        let codec = if plain { BatchCodec::None } else { BatchCodec::Zstd };
        let head = MergedHead { table_codec: codec, ..head() };
        let _ = MergedTable::decode(&head, &bytes);
    }
}
