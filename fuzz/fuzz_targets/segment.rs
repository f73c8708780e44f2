//! Segments of the log: both header blocks, the control file's slot, and the scan of a whole image.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = rpo_wal::inspect_segment(&bytes::Bytes::copy_from_slice(data));
});
