use std::time::Duration;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::{ByteSize, CheckpointId, HumanDuration, LogId, MarkerKind, Position, RepositoryId, Timestamp};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Sample {
    small: u8,
    number: u32,
    text: String,
    maybe: Option<u16>,
    list: Vec<u64>,
    time: Timestamp,
    id: RepositoryId,
}

fn sample() -> Sample {
    Sample {
        small: 7,
        number: 0x0102_0304,
        text: "né".to_owned(),
        maybe: Some(0xbeef),
        list: vec![1],
        time: Timestamp::from_micros(-2),
        id: RepositoryId::from_bytes([0xa5; 16]),
    }
}

/// The layout: every integer at its own width, little-endian; lengths `u64`; an option is one byte.
const GOLDEN: &str = concat!(
    "07",
    "04030201",
    "0300000000000000",
    "6ec3a9",
    "01efbe",
    "0100000000000000",
    "0100000000000000",
    "feffffffffffffff",
    "a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5"
);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_bytes_are_the_golden_ones() {
    let bytes = encode(&sample()).unwrap();

    assert_eq!(hex(&bytes), GOLDEN);
    assert_eq!(decode::<Sample>(&bytes).unwrap(), sample());
}

#[test]
fn enums_take_a_fixed_four_byte_number() {
    assert_eq!(hex(&encode(&MarkerKind::Heartbeat).unwrap()), "00000000");
    assert_eq!(hex(&encode(&MarkerKind::Seal).unwrap()), "05000000");
}

#[test]
fn trailing_and_missing_bytes_are_refused() {
    let bytes = encode(&sample()).unwrap();
    let mut longer = bytes.clone();
    longer.push(0);

    assert!(matches!(decode::<Sample>(&longer), Err(CodecError::Trailing { trailing: 1, .. })));
    for end in 0..bytes.len() {
        let error = decode::<Sample>(&bytes[..end]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "cut at {end}");
    }
}

#[test]
fn a_value_that_could_not_be_read_back_is_never_written() {
    let fits = "x".repeat(ENCODED_BYTES_MAX - 8);
    let bytes = encode(&fits).unwrap();
    assert_eq!(bytes.len(), ENCODED_BYTES_MAX);
    assert_eq!(decode::<String>(&bytes).unwrap(), fits);

    let error = encode(&"x".repeat(ENCODED_BYTES_MAX - 7)).unwrap_err();

    assert!(matches!(error, CodecError::TooLong { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[test]
fn a_lying_length_is_refused_before_anything_is_allocated_for_it() {
    for length in [ENCODED_BYTES_MAX as u64, u64::MAX, u64::MAX / 8] {
        let bytes = length.to_le_bytes();
        assert!(decode::<String>(&bytes).is_err());
        assert!(decode::<Vec<u64>>(&bytes).is_err());
        assert!(decode::<Vec<String>>(&bytes).is_err());
    }
}

#[test]
fn words_of_the_core_travel_unchanged() {
    fn travels<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: T) {
        assert_eq!(decode::<T>(&encode(&value).unwrap()).unwrap(), value);
    }
    travels(Position::START);
    travels(Timestamp::from_micros(i64::MIN));
    travels(Timestamp::from_micros(i64::MAX));
    travels(HumanDuration::from(Duration::new(3, 7)));
    travels(ByteSize::new(u64::MAX));
    travels(LogId::from_bytes([9; 16]));
    travels("docs@12".parse::<CheckpointId>().unwrap());
    travels(crate::AckLevel::Protected(crate::Domain::Region));
    travels(crate::Status::Breached);
}

proptest! {
    #[test]
    fn any_bytes_give_a_value_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode::<Sample>(&bytes);
        let _ = decode::<Vec<MarkerKind>>(&bytes);
    }

    #[test]
    fn a_flipped_bit_never_reads_as_the_same_value(at in 0usize..51, bit in 0u8..8) {
        let mut bytes = encode(&sample()).unwrap();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        if let Ok(read) = decode::<Sample>(&bytes) {
            prop_assert_ne!(read, sample());
        }
    }
}
