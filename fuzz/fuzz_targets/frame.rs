//! Frames of the log: heads, records, entries.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use rpo_core::frame::Frame;

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok((frame, consumed)) = Frame::decode(&bytes) {
        assert!(consumed <= bytes.len());
        frame.entries().for_each(drop);
    }
});
