use super::*;

/// Stands in for a keyed function: fixed, so that golden positions stay.
fn mac(input: &[u8]) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, input);
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Bytes without pattern, the same on every machine (xorshift64*).
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

#[test]
fn the_names_in_the_spec_are_the_names_in_the_code() {
    for name in CutterName::ALL {
        assert!(include_str!("../cutter.md").contains(&format!("| `{name}` |")), "cutter.md lacks {name}");
        assert_eq!(name.as_str().parse::<CutterName>().unwrap(), name);
    }
    let (least, aim, most) = FASTCDC_256K;
    assert!(include_str!("../cutter.md").contains(&format!("| {least} | {aim} | {most} |")));
    assert!("fastcdc".parse::<CutterName>().is_err());
}

#[test]
fn fastcdc_v2020_256k_cuts_where_it_always_did() {
    let cutter = Cutter::new(CutterName::FastCdc256k, mac);
    assert_eq!(cutter.cuts(0, &noise(3 << 20, 7)), GOLDEN_FASTCDC);
}

#[test]
fn fixed_cuts_fall_on_multiples_of_the_page_counted_from_the_file_start() {
    let cutter = Cutter::new(CutterName::Fixed16k, mac);
    assert_eq!(cutter.cuts(0, &vec![1; 40_000]), [16_384, 32_768, 40_000]);
    assert_eq!(cutter.cuts(16_384 + 1_000, &vec![1; 40_000]), [15_384, 31_768, 40_000]);
}

#[test]
fn bytes_inserted_at_the_front_move_few_cuts() {
    let cutter = Cutter::new(CutterName::FastCdc256k, mac);
    let old = noise(4 << 20, 9);
    let new = [&b"inserted"[..], &old].concat();

    let before = cutter.cuts(0, &old);
    let after: Vec<usize> = cutter.cuts(0, &new).into_iter().map(|end| end.saturating_sub(8)).collect();

    let kept = before.iter().filter(|end| after.contains(end)).count();
    assert!(kept + 3 >= before.len(), "kept {kept} of {}", before.len());
}

#[test]
fn another_key_cuts_elsewhere() {
    let data = noise(4 << 20, 5);
    let other = |input: &[u8]| mac(&[b"other", input].concat());
    assert_ne!(
        Cutter::new(CutterName::FastCdc256k, mac).cuts(0, &data),
        Cutter::new(CutterName::FastCdc256k, other).cuts(0, &data)
    );
}

#[test]
fn cuts_do_not_depend_on_how_much_was_read_ahead() {
    let cutter = Cutter::new(CutterName::FastCdc256k, mac);
    let data = noise(3 << 20, 21);
    let mut ends = Vec::new();
    let mut at = 0;
    while at < data.len() {
        let seen = data.len().min(at + CHUNK_BYTES_MAX);
        at += cutter.next_cut(at as u64, &data[at..seen]);
        ends.push(at);
    }
    assert_eq!(ends, cutter.cuts(0, &data));
}

const GOLDEN_FASTCDC: &[usize] = &[
    331_683, 607_882, 949_788, 1_289_678, 1_589_247, 1_778_336, 2_070_751, 2_462_910, 2_746_407, 3_009_704,
    3_128_106, 3_145_728,
];
