//! Clear documents: key slots, the repository's config, bills.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rpo_storage::Key;

fuzz_target!(|data: &[u8]| {
    let key = Key::new("config/0000000000000001").expect("a plain key");
    let _ = rpo_crypto::KeySlot::decode("slot", data);
    let _ = rpo_repository::config::Config::decode("store", &key, data);
    let _ = rpo_repository::bill::StoredBill::decode("store", &key, data);
});
