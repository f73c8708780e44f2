use proptest::prelude::*;

use super::*;
use crate::compress::Codec;
use crate::pack::{ChunkRow, FrameRow};
use rpo_crypto::ChunkId;

fn record() -> PackRecord {
    let chunks =
        vec![ChunkRow { id: ChunkId([1; 32]), len: 100 }, ChunkRow { id: ChunkId([2; 32]), len: 200 }];
    let table =
        PackTable { frames: vec![FrameRow { codec: Codec::Zstd, raw_len: 300, stored_len: 120, chunks }] };
    PackRecord { pack: PackId([9; 16]), object_len: table.object_len(), sha256: [8; 32], table }
}

fn frames(records: &[PackRecord]) -> Vec<Bytes> {
    encode(records.iter().map(PackRecord::encode).collect()).into_iter().map(Bytes::from).collect()
}

#[test]
fn layout_is_the_one_in_the_spec() {
    let fields = [
        ("magic", MAGIC),
        ("version", VERSION),
        ("reserved", RESERVED),
        ("packs", PACKS),
        ("pack", PACK),
        ("object_len", OBJECT_LEN),
        ("sha256", SHA256),
    ];
    for (field, at) in fields {
        let row = format!("| {} | {} | `{field}` |", at.start, at.len());
        assert!(include_str!("../index.md").contains(&row), "index.md lacks: {row}");
    }
}

#[test]
fn version_0_has_these_bytes() {
    let frames = frames(&[record()]);
    assert_eq!(hex::encode(&frames[0]), "52504f494e4458000000000001000000");
    let golden = format!(
        "{}{}{}{}{}",
        "09".repeat(16),
        "ac01000000000000",
        "08".repeat(32),
        "52504f5041434b00000000005800000001000000020000002c01000000000000",
        format_args!(
            "010000002c0100007800000002000000{}64000000{}c8000000",
            "01".repeat(32),
            "02".repeat(32)
        ),
    );
    assert_eq!(hex::encode(&frames[1]), golden);
    assert_eq!(decode(&frames).unwrap(), [record()]);
}

#[test]
fn a_flipped_byte_is_refused_or_changes_what_only_the_seal_protects() {
    let good = frames(&[record()]);
    for frame in 0..good.len() {
        for at in 0..good[frame].len() {
            let mut bad = good.clone();
            let mut bytes = bad[frame].to_vec();
            bytes[at] ^= 1;
            bad[frame] = bytes.into();
            if let Ok(read) = decode(&bad) {
                assert_ne!(read, [record()], "frame {frame}, byte {at}");
            }
        }
    }
}

#[test]
fn an_index_is_known_by_its_key() {
    let owners = [IndexOwner::Session(SourceId::new("docs").unwrap(), 18), IndexOwner::Rebuilt(1)];
    for owner in owners {
        assert_eq!(owner_of(&key(&owner, 3)), Some((owner, 3)));
    }
    for foreign in ["indexes/docs/12-0", "indexes/docs/zz", "packs/aa/bb", "indexes/docs/a/b"] {
        assert_eq!(owner_of(&Key::new(foreign).unwrap()), None, "{foreign}");
    }
}

proptest! {
    #[test]
    fn any_bytes_give_an_error_or_an_index(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..4)) {
        let frames: Vec<Bytes> = frames.into_iter().map(Bytes::from).collect();
        let _ = decode(&frames);
    }
}
