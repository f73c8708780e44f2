//! Segments of the log: both header blocks, the control file's slot, and the scan of a whole image.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    rpo_wal::fuzz_segment_image(data);
});
