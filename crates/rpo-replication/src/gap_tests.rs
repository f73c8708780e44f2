use proptest::prelude::*;

use super::*;

fn record() -> GapRecord {
    GapRecord {
        cause: GapCause::Spool,
        who: "ada".to_owned(),
        why: "the spool's disk died".to_owned(),
        accepted_at: Timestamp::from_micros(1_700_000_001_000_000),
    }
}

#[test]
fn layout_is_the_one_in_the_spec() {
    let one = |at: usize| at..at + 1;
    let fields = [
        ("magic", MAGIC),
        ("version", VERSION),
        ("cause", one(CAUSE)),
        ("reserved", one(RESERVED)),
        ("who_length", WHO_LENGTH),
        ("why_length", WHY_LENGTH),
        ("accepted_at", ACCEPTED_AT),
    ];
    let mut end = 0;
    for (field, at) in fields {
        assert_eq!(at.start, end, "{field} leaves a hole");
        end = at.end;
        let row = format!("| {} | {} | `{field}` |", at.start, at.len());
        assert!(include_str!("gap.md").contains(&row), "gap.md lacks: {row}");
    }
    assert_eq!(end, FIXED_BYTES);
}

#[test]
fn golden_bytes_of_version_0() {
    // Made from the table in gap.md by hand.
    let golden = concat!(
        "52504f2d47415021", // RPO-GAP!
        "0000",
        "02",
        "00",
        "0300",
        "1500",
        "40822d18240a0600",
        "616461",
        "7468652073706f6f6c2773206469736b2064696564",
    );
    assert_eq!(hex::encode(record().encode().unwrap()), golden);
    assert_eq!(GapRecord::decode(&hex::decode(golden).unwrap()).unwrap(), record());
}

#[test]
fn every_rule_is_checked_and_named() {
    let broken = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = record().encode().unwrap();
        change(&mut bytes);
        GapRecord::decode(&bytes).unwrap_err()
    };
    let named = |change: &dyn Fn(&mut Vec<u8>)| match broken(change) {
        FormatError::Field { field, .. } => field,
        other => panic!("{other}"),
    };
    assert_eq!(broken(&|b| b[0] = b'X'), FormatError::Magic("a gap record"));
    assert!(matches!(broken(&|b| b[VERSION.start] = 1), FormatError::Version { found: 1, .. }));
    assert_eq!(named(&|b| b[CAUSE] = 0), "cause");
    assert_eq!(named(&|b| b[CAUSE] = 4), "cause");
    assert_eq!(named(&|b| b[RESERVED] = 1), "reserved");
    assert_eq!(named(&|b| b[WHO_LENGTH].fill(0)), "who_length");
    assert_eq!(named(&|b| b[WHY_LENGTH].fill(0xff)), "why_length");
    assert_eq!(named(&|b| b[FIXED_BYTES] = 0xff), "who");
    assert!(matches!(broken(&|b| b.truncate(30)), FormatError::Length { .. }));
    assert!(matches!(broken(&|b| b.push(0)), FormatError::Length { .. }));
    assert!(GapRecord { who: String::new(), ..record() }.encode().is_err());
    assert!(GapRecord { why: "x".repeat(1025), ..record() }.encode().is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..80), keep in 0..48_usize) {
        let good = record().encode().unwrap();
        let keep = keep.min(bytes.len()).min(good.len());
        bytes[..keep].copy_from_slice(&good[..keep]);
        if let Ok(found) = GapRecord::decode(&bytes) {
            prop_assert_eq!(found.encode().unwrap(), bytes);
        }
    }
}
