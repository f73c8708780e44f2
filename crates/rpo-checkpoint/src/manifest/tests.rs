use proptest::prelude::*;
use rpo_core::ports::{FileTime, Fingerprint, Metadata};
use rpo_crypto::ChunkId;

use super::*;

fn file(path: &str, lens: &[u32]) -> StoredEntry {
    let len: u64 = lens.iter().map(|len| u64::from(*len)).sum();
    let mtime = FileTime { seconds: 3, nanos: 4 };
    StoredEntry {
        entry: Entry {
            path: EntryPath::new(path).unwrap(),
            kind: EntryKind::File,
            metadata: Metadata {
                mode: 0o644,
                uid: 1,
                gid: 2,
                mtime,
                xattrs: vec![(b"user.k".into(), b"v".into())],
            },
            len,
            extents: if len > 0 { vec![Extent { offset: 0, len }] } else { vec![] },
            fingerprint: Some(Fingerprint { len, mtime, ctime: mtime, inode: 9, trusted: true }),
            changed_while_read: false,
        },
        chunks: lens.iter().map(|len| ChunkRef { id: ChunkId([7; 32]), len: *len }).collect(),
    }
}

fn pieces(items: Vec<ManifestItem>) -> Vec<Vec<u8>> {
    let mut writer = PieceWriter::new();
    let mut done = Vec::new();
    for item in items {
        writer
            .push::<ManifestError>(item, |piece| {
                done.push(piece);
                Ok(())
            })
            .unwrap();
    }
    done.extend(writer.finish());
    done
}

fn items(pieces: &[Vec<u8>]) -> Result<Vec<ManifestItem>, ManifestError> {
    let mut assembler = Assembler::default();
    let mut out = VecDeque::new();
    for piece in pieces {
        for record in decode_piece(piece)? {
            assembler.push(record, &mut out)?;
        }
    }
    assembler.finish(&mut out)?;
    Ok(out.into())
}

#[test]
fn layout_is_the_one_in_the_spec() {
    for (field, at) in [("magic", MAGIC), ("version", VERSION), ("reserved", RESERVED), ("records", RECORDS)]
    {
        let row = format!("| {} | {} | `{field}` |", at.start, at.len());
        assert!(include_str!("../manifest.md").contains(&row), "manifest.md lacks: {row}");
    }
}

#[test]
fn version_0_of_a_piece_has_these_bytes() {
    let all = vec![ManifestItem::Entry(file("a", &[5])), ManifestItem::Removed(EntryPath::new("b").unwrap())];
    let pieces = pieces(all.clone());
    assert_eq!(hex::encode(&pieces[0]), GOLDEN_PIECE);
    assert_eq!(items(&pieces).unwrap(), all);
}

#[test]
fn a_flipped_byte_of_a_piece_is_refused_or_changes_what_only_its_id_protects() {
    let all = vec![ManifestItem::Entry(file("a", &[5])), ManifestItem::Removed(EntryPath::new("b").unwrap())];
    let good = pieces(all.clone());
    for at in 0..good[0].len() {
        let mut bad = good.clone();
        bad[0][at] ^= 1;
        if let Ok(read) = items(&bad) {
            assert_ne!(read, all, "byte {at}");
        }
    }
}

#[test]
fn a_change_in_the_middle_leaves_most_pieces_equal() {
    let all = |changed: Option<usize>| {
        (0..8_000).map(move |n| {
            ManifestItem::Entry(file(&format!("dir/{n:05}"), &[if Some(n) == changed { 6 } else { 5 }]))
        })
    };
    let before = pieces(all(None).collect());
    let after = pieces(all(Some(4_000)).collect());

    assert!(before.len() >= 8, "{} pieces", before.len());
    assert!(before.iter().all(|piece| piece.len() < 300 << 10));
    let kept = before.iter().filter(|piece| after.contains(piece)).count();
    assert!(kept + 1 >= before.len(), "{kept} of {}", before.len());
}

#[test]
fn a_file_of_many_chunks_and_holes_is_spread_over_records() {
    let mut big = file("big", &[]);
    for n in 0..20_000u64 {
        big.entry.extents.push(Extent { offset: n * 8, len: 4 });
        big.chunks.push(ChunkRef { id: ChunkId([1; 32]), len: 4 });
    }
    big.entry.len = 160_000;
    let all = vec![ManifestItem::Entry(big.clone()), ManifestItem::Entry(file("c", &[1]))];
    let pieces = pieces(all.clone());
    assert!(pieces.len() > 2);
    assert_eq!(items(&pieces).unwrap(), all);
    assert!(big.placed_chunks().map(|(at, _)| at).eq((0..20_000u64).map(|n| n * 8)));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut overlap = file("a", &[5]);
    overlap.entry.extents = vec![Extent { offset: 0, len: 3 }, Extent { offset: 2, len: 2 }];
    let mut past = file("a", &[5]);
    past.entry.len = 4;
    let mut missing = file("a", &[5]);
    missing.chunks.clear();
    let mut link = file("a", &[5]);
    link.entry.kind = EntryKind::Symlink { target: b"x".into() };
    let mut huge = file("a", &[5]);
    huge.entry.extents = vec![Extent { offset: u64::MAX, len: u64::MAX }];
    for bad in [overlap, past, missing, link, huge] {
        assert!(items(&pieces(vec![ManifestItem::Entry(bad.clone())])).is_err(), "{bad:?}");
    }
    let twice = vec![ManifestItem::Entry(file("a", &[5])), ManifestItem::Entry(file("a", &[5]))];
    assert!(items(&pieces(twice)).is_err());
}

proptest! {
    #[test]
    fn any_bytes_give_an_error_or_records(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode_piece(&bytes);
        let mut headed = b"RPOMANI\0\0\0\0\0\x01\0\0\0".to_vec();
        headed.extend(&bytes);
        let _ = items(&[headed]);
        let _ = decode_root(&[bytes.into()]);
    }
}

const GOLDEN_PIECE: &str = "\
    52504f4d414e49000000000002000000bf0000000000000001000000000000006101000000a4010000010000000200000003\
    000000000000000400000001000000000000000600000000000000757365722e6b0100000000000000760500000000000000\
    0100000000000000000000000000000005000000000000000105000000000000000300000000000000040000000300000000\
    0000000400000009000000000000000100010000000000000007070707070707070707070707070707070707070707070707\
    07070707070707050000000d00000002000000010000000000000062";
