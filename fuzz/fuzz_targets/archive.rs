//! Batches and fences of the log archive.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = rpo_replication::batch::BatchHead::decode(data);
    let _ = rpo_replication::fence::Fence::decode(data);
});
