//! Records of sessions and fences.

use super::*;

#[test]
fn golden_records_of_version_0() {
    let source = SourceId::new("docs").unwrap();
    let started = Timestamp::EPOCH;
    let session = SessionRecord {
        version: VERSION,
        source: source.clone(),
        number: 12,
        started,
        note: "nightly".into(),
    };
    let fence = FenceRecord { version: VERSION, source, number: 12, fenced: started };
    let text = r#"{"version":0,"source":"docs","number":12,"started":"1970-01-01T00:00:00.000000Z","note":"nightly"}"#;
    assert_eq!(serde_json::to_string(&session).unwrap(), text);
    assert_eq!(SessionRecord::decode(text.as_bytes()), Some(session));
    let text = r#"{"version":0,"source":"docs","number":12,"fenced":"1970-01-01T00:00:00.000000Z"}"#;
    assert_eq!(serde_json::to_string(&fence).unwrap(), text);
    assert_eq!(FenceRecord::decode(text.as_bytes()), Some(fence));
}

#[test]
fn records_of_other_versions_and_with_unknown_fields_are_not_read() {
    let base = r#"{"version":0,"source":"docs","number":12,"fenced":"1970-01-01T00:00:00.000000Z"}"#;
    for bad in [
        base.replace(":0,", ":1,"),
        base.replace("fenced", "ended"),
        base.replace("docs", "../x"),
        base[1..].into(),
    ] {
        assert_eq!(FenceRecord::decode(bad.as_bytes()), None, "{bad}");
    }
}

#[test]
fn records_are_the_ones_in_the_spec() {
    let spec = include_str!("session.md");
    let source = SourceId::new("docs").unwrap();
    let (started, fenced) = (Timestamp::EPOCH, Timestamp::EPOCH);
    let session = SessionRecord {
        version: VERSION,
        source: source.clone(),
        number: 12,
        started,
        note: "nightly".into(),
    };
    let fence = FenceRecord { version: VERSION, source, number: 12, fenced };
    for written in [serde_json::to_string(&session).unwrap(), serde_json::to_string(&fence).unwrap()] {
        let shown = written.replace("1970-01-01T00:00:00.000000Z", "<time>");
        assert!(spec.contains(&shown), "session.md lacks: {shown}");
    }
    assert!(spec.contains("# Sessions, version 0") && VERSION == 0);
    assert!(spec.contains("1,024 bytes") && NOTE_BYTES_MAX == 1_024);
}
