//! Seals beside segments: as they are, and with a checksum made right, so that the body is reached too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rpo_core::TransactionId;
use rpo_wal::seal::Seal;

fuzz_target!(|data: &[u8]| {
    judge(data);
    if data.len() >= 16 {
        let mut mended = data.to_vec();
        mended[..8].copy_from_slice(b"RPOSEAL\n");
        let crc = rpo_wal::seal::checksum(&mended);
        mended[12..16].copy_from_slice(&crc.to_le_bytes());
        judge(&mended);
    }
});

fn judge(bytes: &[u8]) {
    if let Ok(seal) = Seal::decode(bytes) {
        let _ = seal.may_hold(TransactionId(7));
        let again = seal.encode().expect("what was read is not too long");
        assert_eq!(Seal::decode(&again).expect("what was written is read"), seal);
    }
}
