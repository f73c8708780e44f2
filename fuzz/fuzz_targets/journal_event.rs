//! What the journal of changes decodes: events, stamps, cursors.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use rpo_core::{Position, Timestamp};
use rpo_journal::cursor::Cursor;
use rpo_journal::{ChangeEvent, Stamp};

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(event) = ChangeEvent::decode(&bytes, Timestamp::EPOCH, Position::START) {
        assert_eq!(event.encode().expect("what was read can be written"), data);
    }
    if let Ok(stamp) = Stamp::decode(data) {
        assert_eq!(stamp.encode(), data);
    }
    if let Ok(cursor) = Cursor::decode(data) {
        assert_eq!(cursor.encode(), data);
    }
});
