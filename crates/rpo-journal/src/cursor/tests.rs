use rpo_os::OsDisk;

use super::*;
use crate::format::{CRC, MAGIC, VERSION};

fn cursor() -> Cursor {
    let (log, name) = (LogId::from_bytes([0xc3; 16]), SourceId::new("search").unwrap());
    Cursor { counter: 5, log, event: 1234, paused: true, name }
}

#[test]
fn layout_is_the_one_in_the_spec() {
    let spec = include_str!("../cursor.md");
    let fields = [
        ("magic", MAGIC),
        ("version", VERSION),
        ("paused", PAUSED..PAUSED + 1),
        ("reserved", RESERVED..RESERVED + 1),
        ("crc", CRC),
        ("counter", COUNTER),
        ("log_id", LOG_ID),
        ("event", EVENT),
        ("name_len", NAME_LEN..NAME_LEN + 1),
        ("name", NAME),
    ];
    let mut next = 0;
    for (field, at) in fields {
        let row = format!("| {} | {} | `{field}` |", at.start, at.len());
        assert!(spec.contains(&row), "cursor.md lacks: {row}");
        assert_eq!(at.start, next, "{field} follows the field before it");
        next = at.end;
    }
}

#[test]
fn golden_bytes_of_version_0_are_still_read_and_written() {
    let slot = cursor().encode();
    let hex: String = slot[..NAME.end].iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, GOLDEN);
    assert_eq!(Cursor::decode(&slot), Ok(cursor()));
}

const GOLDEN: &str = "\
    52504f435552530a00000100ad8fb1b90500000000000000c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3c3d204000000000000\
    067365617263680000000000000000000000000000000000000000000000000000000000000000000000000000000000\
    00000000000000000000000000000000";

#[test]
fn every_single_byte_flip_is_refused() {
    for at in 0..SLOT_BYTES {
        let mut slot = cursor().encode();
        slot[at] ^= 0x40;
        assert!(Cursor::decode(&slot).is_err(), "byte {at}");
    }
}

#[test]
fn a_torn_write_leaves_the_cursor_before() {
    let scratch = tempfile::tempdir().unwrap();
    let disk = OsDisk::new();
    let open = || {
        let Cursor { log, name, .. } = cursor();
        CursorFile::open(&disk, scratch.path(), &name, log, || Ok(7)).unwrap()
    };
    let mut file = open();
    assert_eq!(file.last.event, 7);
    for event in [8, 9, 10] {
        file.update(event, false).unwrap();
        // The write that would come next is cut short.
        let next = (file.last.counter + 2) % 2 * SLOT_EVERY;
        file.file.write_at(&[0xee; 100], next).unwrap();

        assert_eq!(open().last, file.last);
    }
}

#[test]
fn the_cursor_of_another_log_is_refused_and_so_is_one_that_cannot_be_read() {
    let scratch = tempfile::tempdir().unwrap();
    let disk = OsDisk::new();
    let name = cursor().name;
    let open = |log| CursorFile::open(&disk, scratch.path(), &name, LogId::from_bytes([log; 16]), || Ok(0));
    let file = open(1).unwrap();
    assert!(matches!(open(2), Err(JournalError::Cursor { .. })));

    file.file.write_at(&[0xee; 8], 0).unwrap();

    let error = open(1).unwrap_err();
    assert!(error.to_string().contains("neither slot can be read"), "{error}");
}
