//! What the envelope lets through (exactly what was sealed) and what it refuses (everything else).

use std::io;
use std::ops::Range;

use rpo_core::{Entropy, ErrorKind, RepositoryId};

use super::header::{ALGORITHM, COMMITMENT, GENERATION, MAGIC, REPOSITORY, SALT, TYPE, VERSION};
use super::*;
use crate::{CryptoError, KeyRing, RootKey, sha256};

const NAME: &str = "packs/ab/abcd";

/// Bytes 0, 1, 2, …: the same salt each time, for golden bytes.
#[derive(Debug)]
struct FixedEntropy;

impl Entropy for FixedEntropy {
    fn fill(&self, out: &mut [u8]) -> io::Result<()> {
        out.iter_mut().enumerate().for_each(|(at, byte)| *byte = at as u8);
        Ok(())
    }
}

/// A source of randomness that has none.
#[derive(Debug)]
struct NoEntropy;

impl Entropy for NoEntropy {
    fn fill(&self, _: &mut [u8]) -> io::Result<()> {
        Err(io::Error::other("none"))
    }
}

fn id(byte: u8) -> RepositoryId {
    RepositoryId::from_bytes([byte; 16])
}

fn keys(root: u8) -> KeyRing {
    KeyRing::new(RootKey::from_bytes([root; 32]), id(7), 1)
}

fn rings() -> [KeyRing; 2] {
    [keys(1), KeyRing::unencrypted(id(7))]
}

fn sample(keys: &KeyRing) -> Vec<u8> {
    seal(keys, ObjectType::Pack, NAME, &[b"first", b"", b"the third frame"], &FixedEntropy).unwrap().to_vec()
}

fn try_open(keys: &KeyRing, bytes: &[u8]) -> Result<Vec<bytes::Bytes>, CryptoError> {
    open(keys, ObjectType::Pack, NAME, bytes)
}

/// What somebody does who alters an object on purpose: a fresh digest at the end.
fn with_fresh_digest(mut content: Vec<u8>) -> Vec<u8> {
    let digest = sha256(&content);
    content.extend_from_slice(&digest);
    content
}

fn content(sealed: &[u8]) -> &[u8] {
    &sealed[..sealed.len() - DIGEST_BYTES]
}

/// Header and frames, each apart.
fn taken_apart(sealed: &[u8]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let spans = frames(NAME, sealed).unwrap();
    (sealed[..HEADER_BYTES].to_vec(), spans.iter().map(|span| sealed[span.range()].to_vec()).collect())
}

fn put_together(header: &[u8], frames: &[&[u8]]) -> Vec<u8> {
    with_fresh_digest([header, &frames.concat()].concat())
}

#[test]
fn what_was_sealed_is_what_is_opened() {
    for keys in rings() {
        let sealed = sample(&keys);
        assert_eq!(try_open(&keys, &sealed).unwrap(), [&b"first"[..], b"", b"the third frame"]);
        assert_eq!(check_digest(NAME, &sealed).unwrap(), sha256(&sealed));
    }
}

#[test]
fn layout_is_the_one_in_the_spec() {
    let fields: [(&str, Range<usize>); 8] = [
        ("magic", MAGIC),
        ("version", VERSION),
        ("type", TYPE),
        ("algorithm", ALGORITHM),
        ("repository", REPOSITORY),
        ("generation", GENERATION),
        ("salt", SALT),
        ("commitment", COMMITMENT),
    ];
    let mut end = 0;
    for (field, at) in fields {
        let row = format!("| {} | {} | `{field}` |", at.start, at.len());
        assert!(include_str!("../envelope.md").contains(&row), "envelope.md lacks: {row}");
        assert_eq!(at.start, end, "{field} follows the one before");
        end = at.end;
    }
    assert_eq!(end, HEADER_BYTES);
    let heading = format!("## Header, {HEADER_BYTES} bytes");
    assert!(include_str!("../envelope.md").contains(&heading));
}

#[test]
fn golden_bytes_of_version_0() {
    for (keys, golden) in rings().iter().zip([GOLDEN_GCM, GOLDEN_PLAIN]) {
        let sealed = seal(keys, ObjectType::Pack, NAME, &[b"abc", b""], &FixedEntropy).unwrap();
        assert_eq!(hex::encode(&sealed), golden.replace(['\n', ' '], ""));
    }
}

#[test]
fn every_single_byte_flip_is_refused() {
    for keys in rings() {
        let sealed = sample(&keys);
        for at in 0..sealed.len() {
            for bit in [0x01, 0x80] {
                let mut bad = sealed.clone();
                bad[at] ^= bit;
                assert!(try_open(&keys, &bad).is_err(), "rot at byte {at}");
                assert!(check_digest(NAME, &bad).is_err(), "rot at byte {at}, without a key");
                if at < content(&sealed).len() {
                    let forged = with_fresh_digest(content(&bad).to_vec());
                    assert!(try_open(&keys, &forged).is_err(), "altered on purpose at byte {at}");
                }
            }
        }
    }
}

#[test]
fn an_object_cut_anywhere_or_with_bytes_added_is_refused() {
    for keys in rings() {
        let sealed = sample(&keys);
        for end in 0..sealed.len() {
            assert!(try_open(&keys, &sealed[..end]).is_err(), "cut at {end}");
            if end >= HEADER_BYTES {
                let forged = with_fresh_digest(sealed[..end].to_vec());
                assert!(
                    end == content(&sealed).len() || try_open(&keys, &forged).is_err(),
                    "cut at {end} on purpose"
                );
            }
        }
        let longer = [&sealed[..], b"x"].concat();
        assert!(matches!(try_open(&keys, &longer), Err(CryptoError::Appended { extra: 1, .. })));
        let forged = with_fresh_digest(sealed.clone());
        assert!(matches!(try_open(&keys, &forged), Err(CryptoError::Appended { extra: 32, .. })));
    }
}

#[test]
fn a_missing_last_frame_is_told_as_truncation() {
    for keys in rings() {
        let (header, frames) = taken_apart(&sample(&keys));
        let forged = put_together(&header, &[&frames[0], &frames[1]]);
        assert!(matches!(try_open(&keys, &forged), Err(CryptoError::Truncated { .. })));

        let half_uploaded = &sample(&keys)[..HEADER_BYTES + 60];
        assert!(matches!(try_open(&keys, half_uploaded), Err(CryptoError::Truncated { .. })));
    }
}

#[test]
fn an_earlier_frame_made_the_last_is_refused() {
    for keys in rings() {
        let (header, mut frames) = taken_apart(&sample(&keys));
        frames[1][3] |= 0x80;
        let forged = put_together(&header, &[&frames[0], &frames[1]]);
        assert!(matches!(try_open(&keys, &forged), Err(CryptoError::Frame { frame: 1, .. })));
    }
}

#[test]
fn exchanged_left_out_and_repeated_frames_are_refused() {
    for keys in rings() {
        let equal_lengths: [&[u8]; 4] = [b"aaaa", b"bbbb", b"cccc", b"dddd"];
        let sealed = seal(&keys, ObjectType::Pack, NAME, &equal_lengths, &FixedEntropy).unwrap();
        let (header, f) = taken_apart(&sealed);
        let cases: [(&[&[u8]], u64); 3] = [
            (&[&f[0], &f[2], &f[1], &f[3]], 1),        // exchanged
            (&[&f[0], &f[1], &f[3]], 2),               // left out
            (&[&f[0], &f[1], &f[1], &f[2], &f[3]], 2), // repeated
        ];
        for (order, bad) in cases {
            match try_open(&keys, &put_together(&header, order)) {
                Err(CryptoError::Frame { frame, .. }) => assert_eq!(frame, bad),
                other => panic!("{other:?}"),
            }
        }
        let swapped_first = put_together(&header, &[&f[1], &f[0], &f[2], &f[3]]);
        assert!(matches!(try_open(&keys, &swapped_first), Err(CryptoError::Misplaced { .. })));
    }
}

#[test]
fn a_frame_of_another_object_is_refused() {
    for keys in rings() {
        #[derive(Debug)]
        struct Other;
        impl Entropy for Other {
            fn fill(&self, out: &mut [u8]) -> io::Result<()> {
                out.fill(9);
                Ok(())
            }
        }
        let other =
            seal(&keys, ObjectType::Pack, NAME, &[b"first", b"", b"the third frame"], &Other).unwrap();
        let (header, mine) = taken_apart(&sample(&keys));
        let (_, theirs) = taken_apart(&other);
        let forged = put_together(&header, &[&mine[0], &theirs[1], &mine[2]]);
        assert!(matches!(try_open(&keys, &forged), Err(CryptoError::Frame { frame: 1, .. })));
    }
}

#[test]
fn an_object_under_another_type_or_name_is_refused() {
    for keys in rings() {
        let sealed = sample(&keys);
        let as_manifest = open(&keys, ObjectType::Manifest, NAME, &sealed);
        assert!(matches!(as_manifest, Err(CryptoError::WrongType { found: ObjectType::Pack, .. })));
        let elsewhere = open(&keys, ObjectType::Pack, "packs/ab/abce", &sealed);
        assert!(matches!(elsewhere, Err(CryptoError::Misplaced { .. })));

        let mut relabelled = content(&sealed).to_vec();
        relabelled[TYPE][0] = ObjectType::Manifest as u8;
        let relabelled = open(&keys, ObjectType::Manifest, NAME, with_fresh_digest(relabelled));
        assert!(matches!(relabelled, Err(CryptoError::WrongKey { .. })), "another type has another key");
    }
}

#[test]
fn another_key_is_told_before_anything_is_opened() {
    let sealed = sample(&keys(1));
    let error = try_open(&keys(2), &sealed).unwrap_err();
    assert!(matches!(error, CryptoError::WrongKey { .. }));
    assert_eq!(error.kind(), ErrorKind::Key);
    assert!(Opener::new(&keys(2), ObjectType::Pack, NAME, &sealed[..HEADER_BYTES]).is_err());
}

#[test]
fn another_repository_and_a_later_generation_are_refused() {
    let sealed = sample(&keys(1));
    let other = KeyRing::new(RootKey::from_bytes([1; 32]), id(8), 1);
    assert!(matches!(try_open(&other, &sealed), Err(CryptoError::WrongRepository { .. })));

    let later = KeyRing::new(RootKey::from_bytes([1; 32]), id(7), 2);
    assert!(try_open(&later, &sealed).is_ok(), "earlier generations stay readable");
    assert!(matches!(
        try_open(&keys(1), &sample(&later)),
        Err(CryptoError::UnknownGeneration { found: 2, .. })
    ));
}

#[test]
fn plain_objects_cannot_be_passed_off_on_an_encrypted_repository_nor_the_reverse() {
    let [encrypted, plain] = rings();
    assert!(matches!(try_open(&encrypted, &sample(&plain)), Err(CryptoError::WrongAlgorithm { .. })));
    assert!(matches!(try_open(&plain, &sample(&encrypted)), Err(CryptoError::WrongAlgorithm { .. })));
    // Saying "AES" over a plain object does not help either: the commitment is to the algorithm too.
    let mut forged = content(&sample(&plain)).to_vec();
    forged[ALGORITHM][0] = 1;
    forged[GENERATION].copy_from_slice(&1_u32.to_le_bytes());
    assert!(matches!(try_open(&encrypted, &with_fresh_digest(forged)), Err(CryptoError::WrongKey { .. })));
}

#[test]
fn what_a_newer_rpo_wrote_is_unsupported_not_corrupt() {
    for (at, byte) in [(VERSION, 1), (TYPE, 99), (ALGORITHM, 99)] {
        let mut newer = content(&sample(&keys(1))).to_vec();
        newer[at][0] = byte;
        let error = try_open(&keys(1), &with_fresh_digest(newer)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
}

#[test]
fn a_length_from_outside_is_checked_before_it_is_used() {
    let (header, _) = taken_apart(&sample(&keys(1)));
    let huge = with_fresh_digest([&header[..], &[0xff; 4], &[0; 64]].concat());
    assert!(matches!(try_open(&keys(1), &huge), Err(CryptoError::FrameLength { frame: 0, .. })));
    let long = with_fresh_digest([&header[..], &(200_u32 << 20).to_le_bytes(), &[0; 64]].concat());
    assert!(matches!(try_open(&keys(1), &long), Err(CryptoError::Truncated { .. })));
    for bytes in [&b""[..], b"RPOOBJ\r\n", &[0; 200]] {
        assert!(try_open(&keys(1), bytes).is_err());
        assert!(ObjectHeader::decode(NAME, bytes).is_err());
    }
}

#[test]
fn one_frame_alone_is_opened_by_its_number_and_no_other() {
    for keys in rings() {
        let sealed = seal_object(&keys, ObjectType::Pack, NAME, &[b"aaaa", b"bbbb"], &FixedEntropy).unwrap();
        let opener = Opener::new(&keys, ObjectType::Pack, NAME, &sealed.bytes[..HEADER_BYTES]).unwrap();
        let span = &sealed.frames[1];
        let frame = &sealed.bytes[span.start as usize..span.end as usize];
        assert_eq!(opener.open_frame(1, frame).unwrap(), (bytes::Bytes::from_static(b"bbbb"), true));
        assert!(opener.open_frame(0, frame).is_err());
        assert!(opener.open_frame(2, frame).is_err());
        let cut = opener.open_frame(1, &frame[..frame.len() - 1]);
        assert!(matches!(cut, Err(CryptoError::FrameLength { frame: 1, .. })));
        assert_eq!(sealed.sha256, sha256(&sealed.bytes));
    }
}

#[test]
fn a_streamed_object_is_the_same_as_one_sealed_at_once() {
    let keys = keys(1);
    let mut sealer = Sealer::new(&keys, ObjectType::Pack, NAME, &FixedEntropy).unwrap();
    let mut out = sealer.header().to_vec();
    sealer.frame(b"first", false, &mut out).unwrap();
    sealer.frame(b"", false, &mut out).unwrap();
    let span = sealer.frame(b"the third frame", true, &mut out).unwrap();
    assert_eq!(span.end, out.len() as u64);
    let digest = sealer.finish(&mut out).unwrap();
    assert_eq!(out, sample(&keys));
    assert_eq!(digest, SealedDigest { len: out.len() as u64, sha256: sha256(&out) });
}

#[test]
fn a_sealer_refuses_frames_after_the_last_and_an_end_before_it() {
    let keys = keys(1);
    let begin = || Sealer::new(&keys, ObjectType::Pack, NAME, &FixedEntropy).unwrap();
    assert!(begin().finish(&mut Vec::new()).is_err());
    let mut sealer = begin();
    sealer.frame(b"last", true, &mut Vec::new()).unwrap();
    assert_eq!(sealer.frame(b"more", true, &mut Vec::new()).unwrap_err().kind(), ErrorKind::Invalid);
    assert!(seal(&keys, ObjectType::Pack, NAME, &[], &FixedEntropy).is_err());
}

#[test]
fn without_randomness_nothing_is_sealed() {
    assert!(matches!(
        seal(&keys(1), ObjectType::Pack, NAME, &[b"x"], &NoEntropy),
        Err(CryptoError::Entropy(_))
    ));
}

#[test]
fn equal_content_is_sealed_differently_in_an_encrypted_repository() {
    let entropy = rpo_os::OsEntropy::new();
    let once = || seal(&keys(1), ObjectType::Pack, NAME, &[b"the same"], &entropy).unwrap();
    let (one, two) = (once(), once());
    assert_ne!(one[SALT], two[SALT]);
    assert_ne!(one[HEADER_BYTES + WORD_BYTES..][..8], two[HEADER_BYTES + WORD_BYTES..][..8]);
    assert!(!one.windows(8).any(|window| window == b"the same"));
}

/// Checked once against another implementation (pyca/cryptography 48), as the slot's golden document is.
/// Root key 32 times 01, repository 16 times 07, salt 00 01 … 1f, type pack, frames "abc" and "".
const GOLDEN_GCM: &str = "\
    52504f4f424a0d0a000001010707070707070707070707070707070701000000000102030405060708090a0b0c0d0e0f
    101112131415161718191a1b1c1d1e1f0b493bdd289f945a59a8cf49ead9f4375e58b93f683b16850d862b439e03dc4a
    03000000fe781f282cdd53ee7077eba014b70e08cb55d000000080f38c47b05d81164df60265e26132467c02c2b8bdad
    67adb3e1371a96f43d72f2af62a2da8c1d44a56545196070d4fa19";
/// The same in an unencrypted repository (header, key derivation and digest are those of above; BLAKE3 by the crate).
const GOLDEN_PLAIN: &str = "\
    52504f4f424a0d0a000001000707070707070707070707070707070700000000000102030405060708090a0b0c0d0e0f
    101112131415161718191a1b1c1d1e1ff119cfd2ce861d5163d947dcb1d81ef4343993d2c04fea7951e95b10db78f71e
    0300000061626331ed224b4f122030cbbba54d2b55ecc100000080b634ac0d66002136165cd890c95448ac6678659814
    8a00224ef4716a52cbc57a32961f79063d8a91b14c3073b98bb24a";
