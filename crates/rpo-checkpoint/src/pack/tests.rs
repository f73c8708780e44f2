use proptest::prelude::*;

use super::*;

fn sample() -> PackTable {
    PackTable {
        frames: vec![
            FrameRow {
                codec: Codec::Zstd,
                raw_len: 300,
                stored_len: 120,
                chunks: vec![
                    ChunkRow { id: ChunkId([1; 32]), len: 100 },
                    ChunkRow { id: ChunkId([2; 32]), len: 200 },
                ],
            },
            FrameRow {
                codec: Codec::Raw,
                raw_len: 7,
                stored_len: 7,
                chunks: vec![ChunkRow { id: ChunkId([3; 32]), len: 7 }],
            },
        ],
    }
}

fn read(head: &[u8], table: &[u8]) -> Result<PackTable, PackError> {
    PackTable::decode(&decode_head(head)?, table)
}

#[test]
fn layout_is_the_one_in_the_spec() {
    let fields = [
        ("magic", MAGIC),
        ("version", VERSION),
        ("reserved", RESERVED),
        ("table_bytes", TABLE_BYTES),
        ("frames", FRAMES),
        ("chunks", CHUNKS),
        ("raw_bytes", RAW_BYTES),
        ("codec", CODEC),
        ("row_reserved", ROW_RESERVED),
        ("raw_len", RAW_LEN),
        ("stored_len", STORED_LEN),
        ("chunk_count", CHUNK_COUNT),
        ("id", ID),
        ("len", LEN),
    ];
    for (field, at) in fields {
        let row = format!("| {} | {} | `{field}` |", at.start, at.len());
        assert!(include_str!("../pack.md").contains(&row), "pack.md lacks: {row}");
    }
}

#[test]
fn version_0_has_these_bytes() {
    let (head, table) = sample().encode();
    assert_eq!(hex::encode(head), "52504f5041434b00000000008c00000002000000030000003301000000000000");
    let ids = ["01".repeat(32), "02".repeat(32), "03".repeat(32)];
    let rows = format!(
        "010000002c0100007800000002000000{}64000000{}c8000000\
         00000000070000000700000001000000{}07000000",
        ids[0], ids[1], ids[2]
    );
    assert_eq!(hex::encode(&table), rows);
    assert_eq!(read(&head, &table).unwrap(), sample());
}

#[test]
fn a_flipped_byte_is_refused_or_changes_what_only_the_seal_protects() {
    let (head, table) = sample().encode();
    for at in 0..head.len() {
        let mut bad = head;
        bad[at] ^= 1;
        assert!(read(&bad, &table).is_err(), "head byte {at}");
    }
    for at in 0..table.len() {
        let mut bad = table.clone();
        bad[at] ^= 1;
        if let Ok(read) = read(&head, &bad) {
            assert_ne!(read, sample(), "table byte {at}");
        }
    }
}

#[test]
fn spans_follow_each_other_to_the_end_of_the_object() {
    let table = sample();
    let spans = table.frame_spans();
    assert_eq!(spans[0].end, spans[1].start);
    assert_eq!(spans[1].end + envelope::DIGEST_BYTES as u64, table.object_len());
}

#[test]
fn a_pack_is_found_by_its_key() {
    let id = PackId([0xab; 16]);
    assert_eq!(id.key().as_str(), format!("packs/ab/{}", "ab".repeat(16)));
    assert_eq!(PackId::of_key(&id.key()), Some(id));
    assert_eq!(PackId::of_key(&Key::new(format!("packs/aa/{}", "ab".repeat(16))).unwrap()), None);
}

proptest! {
    #[test]
    fn any_bytes_give_an_error_or_a_table(head in prop::collection::vec(any::<u8>(), 0..40), table in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&head, &table);
        let (good, _) = sample().encode();
        let _ = read(&good, &table);
    }
}
