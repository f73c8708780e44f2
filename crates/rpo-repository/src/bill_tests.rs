//! A bill's bytes, and what is refused of them.

use rpo_core::ErrorKind;

use super::*;

fn sample() -> StoredBill {
    let source = SourceId::new("docs").unwrap();
    let receipt = |byte, len| Receipt { key: layout::pack(&[byte; 16]), len, sha256: [byte; 32] };
    let commit_key = layout::checkpoint(&source, 12);
    let bill = Bill {
        source,
        session: 12,
        part: 1,
        objects: vec![receipt(0xab, 16_777_216), receipt(1, 0)],
        commit_key,
    };
    let repository = RepositoryId::from_bytes([7; 16]);
    StoredBill { number: 5, repository, created: Timestamp::EPOCH, bill }
}

fn bytes() -> Vec<u8> {
    sample().encode([9; 16]).unwrap()
}

fn decode(bytes: &[u8]) -> Result<StoredBill, RepositoryError> {
    StoredBill::decode("memory://x", &layout::bill(5), bytes)
}

#[test]
fn a_bill_reads_back_as_written_and_needs_no_key() {
    assert_eq!(decode(&bytes()).unwrap(), sample());
}

#[test]
fn golden_document_of_version_0() {
    assert_eq!(String::from_utf8(bytes()).unwrap(), GOLDEN);
}

#[test]
fn fields_are_the_ones_in_the_spec() {
    for line in GOLDEN.lines().filter_map(|line| line.trim().strip_prefix('"')) {
        let field = line.split('"').next().unwrap();
        assert!(include_str!("bill.md").contains(&format!("\"{field}\":")), "bill.md lacks {field}");
    }
    assert!(include_str!("bill.md").contains("at most 65,536"));
}

#[test]
fn every_single_byte_flip_is_told_as_damage_of_this_bill() {
    let good = bytes();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x01;
        let error = decode(&bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}: {error}");
        assert!(error.to_string().contains("bills/0000000000000005"), "{error}");
    }
}

#[test]
fn a_bill_under_another_number_is_refused() {
    let error = StoredBill::decode("memory://x", &layout::bill(6), &bytes()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn too_long_a_bill_is_refused_before_it_is_written() {
    let mut long = sample();
    long.bill.objects = vec![long.bill.objects[0].clone(); OBJECTS_MAX + 1];
    assert_eq!(long.encode([9; 16]).unwrap_err().kind(), ErrorKind::Invalid);
    long.bill.objects.pop();
    assert!(decode(&long.encode([9; 16]).unwrap()).is_ok());
}

const GOLDEN: &str = r#"{
  "format": "rpo-bill",
  "version": 0,
  "number": 5,
  "repository": "07070707070707070707070707070707",
  "salt": "09090909090909090909090909090909",
  "created": "1970-01-01T00:00:00.000000Z",
  "source": "docs",
  "session": 12,
  "part": 1,
  "commit-key": "checkpoints/docs/000000000000000c",
  "objects": [
    {
      "key": "packs/ab/abababababababababababababababab",
      "len": 16777216,
      "sha256": "abababababababababababababababababababababababababababababababab"
    },
    {
      "key": "packs/01/01010101010101010101010101010101",
      "len": 0,
      "sha256": "0101010101010101010101010101010101010101010101010101010101010101"
    }
  ]
}
sha256 8859c7137edc88fb1f5004f9bdd3cfb0b696e3ce160f83eb7d7d701f8b80a963
"#;
