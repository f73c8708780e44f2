//! Sealed objects, as a hostile store would hand them out: without the key, and with it.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use rpo_core::RepositoryId;
use rpo_crypto::{KeyRing, ObjectType};

fuzz_target!(|data: &[u8]| {
    let _ = rpo_crypto::envelope::check_digest("object", data);
    let _ = rpo_crypto::envelope::frames("object", data);
    let keys = KeyRing::unencrypted(RepositoryId::from_bytes([7; 16]));
    let _ = rpo_crypto::envelope::open(&keys, ObjectType::Pack, "object", &Bytes::copy_from_slice(data));
});
