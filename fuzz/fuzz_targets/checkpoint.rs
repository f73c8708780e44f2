//! What checkpoints are made of: tables of packs, index objects, manifest roots and pieces.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = rpo_checkpoint::pack::decode_head(data);
    let _ = rpo_checkpoint::index::decode(&[Bytes::copy_from_slice(data)]);
    let _ = rpo_checkpoint::manifest::decode_piece(data);
    let _ = rpo_checkpoint::manifest::decode_root(&[Bytes::copy_from_slice(data)]);
});
