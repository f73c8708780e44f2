//! Merged objects, gaps and expiry notes of the log archive: heads by themselves, and tables under a head that fits them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rpo_replication::expired::ExpiryNote;
use rpo_replication::gap::GapRecord;
use rpo_replication::merged::{HEAD_BYTES, MergedHead, MergedTable};

fuzz_target!(|data: &[u8]| {
    let _ = GapRecord::decode(data);
    let _ = ExpiryNote::decode(data);
    if let Some((head, table)) = data.split_at_checked(HEAD_BYTES)
        && let Ok(mut head) = MergedHead::decode(head)
    {
        head.table_bytes = table.len() as u32;
        let _ = MergedTable::decode(&head, table);
    }
});
