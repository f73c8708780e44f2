//! Keys, key slots, the object envelope, digests: what makes bytes in a store unreadable to others and unforgeable.
//!
//! - **Promises**: what [`open`] returns is exactly what [`seal`] was given, under this type, this name, this repository,
//!   in this order and to the end; anything else is a typed error. No nonce is used twice under one key
//!   (the argument is in [`envelope`]). A wrong key is told before anything is decrypted.
//! - **Knows nothing of** stores, chunks, logs: objects are frames with a type and a logical name.
//! - **Start at** [`KeyRing`], then [`seal`] and [`open`]; [`slot`] for how a passphrase opens a repository,
//!   [`document`] for the clear texts (config, slots, bills).
//! - **Units**: lengths are bytes, memory of key derivation KiB. Secrets are wiped when dropped and have no `Debug`
//!   that shows them; what `ring` holds while it works is dropped at once but not wiped by it.
//!
//! ```
//! use rpo_core::{Entropy, RepositoryId};
//! use rpo_crypto::{KeyRing, ObjectType, RootKey, open, seal};
//!
//! # #[derive(Debug)] struct SystemEntropy;
//! # impl Entropy for SystemEntropy {
//! #     fn fill(&self, out: &mut [u8]) -> std::io::Result<()> {
//! #         use std::io::Read;
//! #         std::fs::File::open("/dev/urandom")?.read_exact(out)
//! #     }
//! # }
//! # fn main() -> Result<(), rpo_crypto::CryptoError> {
//! let entropy = SystemEntropy; // in a program: `rpo_os::OsEntropy`
//! let keys = KeyRing::new(RootKey::generate(&entropy)?, RepositoryId::from_bytes([7; 16]), 1);
//!
//! let sealed = seal(&keys, ObjectType::Manifest, "checkpoints/docs/1", &[b"head", b"body"], &entropy)?;
//!
//! assert_eq!(open(&keys, ObjectType::Manifest, "checkpoints/docs/1", &sealed)?, [&b"head"[..], b"body"]);
//! assert!(open(&keys, ObjectType::Manifest, "checkpoints/docs/2", &sealed).is_err(), "moved to another name");
//! # Ok(())
//! # }
//! ```

mod chunk_id;
pub mod digest;
pub mod document;
pub mod envelope;
mod error;
mod keyring;
#[cfg(feature = "planted-bugs")]
pub mod planted;
pub mod slot;

pub use chunk_id::ChunkId;
pub use digest::{Sha256, sha256};
pub use envelope::{
    FrameSpan, ObjectHeader, ObjectType, Opener, Sealed, Sealer, check_digest, open, seal, seal_object,
};
pub use error::CryptoError;
pub use keyring::{KeyRing, RootKey};
pub use slot::{KeySlot, Secret, SecretText, SlotParams};
