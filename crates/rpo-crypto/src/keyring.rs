//! The root key and all that is derived from it.

use std::fmt;
use std::sync::Arc;

use ring::{hkdf, hmac};
use rpo_core::{Entropy, RepositoryId};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::envelope::Algorithm;
use crate::{ChunkId, CryptoError, ObjectType};

/// The 256-bit root of a repository's keys. Never used on data, only to derive keys; wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct RootKey([u8; 32]);

impl RootKey {
    /// A fresh one.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self, CryptoError> {
        let mut root = Self([0; 32]);
        entropy.fill(&mut root.0)?;
        Ok(root)
    }

    /// The root key with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The keys of one repository, derived on demand; cheap to clone, wiped with its last clone.
///
/// An *unencrypted* ring derives the same way from a public root (zeros): its objects keep the envelope and its
/// integrity checks, and protect against accidents only.
#[derive(Clone)]
pub struct KeyRing(Arc<Inner>);

struct Inner {
    repository: RepositoryId,
    generation: u32,
    encrypted: bool,
    root: RootKey,
    chunk_key: Zeroizing<[u8; 32]>,
    mac_key: Zeroizing<[u8; 32]>,
}

impl KeyRing {
    /// The keys of `repository` under `root`; objects are sealed under `generation`, and opened under it and earlier ones.
    pub fn new(root: RootKey, repository: RepositoryId, generation: u32) -> Self {
        Self::build(root, repository, generation, true)
    }

    /// The keys of a repository that was explicitly made without encryption. Generation 0.
    pub fn unencrypted(repository: RepositoryId) -> Self {
        Self::build(RootKey([0; 32]), repository, 0, false)
    }

    fn build(root: RootKey, repository: RepositoryId, generation: u32, encrypted: bool) -> Self {
        let derive = |purpose: &str| {
            derive::<32>(root.expose(), repository.as_bytes(), &[b"rpo/v0/", purpose.as_bytes()])
        };
        let (chunk_key, mac_key) = (derive("chunk-id"), derive("mac"));
        Self(Arc::new(Inner { repository, generation, encrypted, root, chunk_key, mac_key }))
    }

    /// Whose keys these are.
    pub fn repository(&self) -> RepositoryId {
        self.0.repository
    }

    /// The generation new objects are sealed under.
    pub fn generation(&self) -> u32 {
        self.0.generation
    }

    /// False for a repository that was explicitly made without encryption.
    pub fn is_encrypted(&self) -> bool {
        self.0.encrypted
    }

    /// The name of a chunk with these plain bytes.
    pub fn chunk_id(&self, plain: &[u8]) -> ChunkId {
        ChunkId(*blake3::keyed_hash(&self.0.chunk_key, plain).as_bytes())
    }

    /// Starts a chunk's name piece by piece: update, then [`ChunkId::from_bytes`] of the final hash.
    pub fn chunk_hasher(&self) -> blake3::Hasher {
        blake3::Hasher::new_keyed(&self.0.chunk_key)
    }

    /// HMAC-SHA256 of `bytes` under this repository's key for clear documents.
    pub fn mac(&self, bytes: &[u8]) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &*self.0.mac_key);
        let mut out = [0; 32];
        out.copy_from_slice(hmac::sign(&key, bytes).as_ref());
        out
    }

    /// True if `tag` is [`mac`](Self::mac) of `bytes`; takes the same time for every wrong tag.
    pub fn mac_matches(&self, bytes: &[u8], tag: &[u8; 32]) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &*self.0.mac_key);
        hmac::verify(&key, bytes, tag).is_ok()
    }

    pub(crate) fn root(&self) -> &RootKey {
        &self.0.root
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        if self.0.encrypted { Algorithm::Aes256Gcm } else { Algorithm::None }
    }

    /// Key (first half) and commitment (second half) of one object.
    pub(crate) fn object_key(
        &self,
        object_type: ObjectType,
        algorithm: Algorithm,
        generation: u32,
        salt: &[u8; 32],
    ) -> Zeroizing<[u8; 64]> {
        let purpose = derive::<32>(
            self.0.root.expose(),
            self.0.repository.as_bytes(),
            &[b"rpo/v0/object/", &[object_type as u8], &generation.to_le_bytes()],
        );
        derive(&*purpose, salt, &[b"rpo/v0/object-key/", &[object_type as u8, algorithm as u8]])
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing")
            .field("repository", &self.0.repository)
            .field("generation", &self.0.generation)
            .field("encrypted", &self.0.encrypted)
            .finish_non_exhaustive()
    }
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-SHA256 (RFC 5869) of `secret` with `salt` and the concatenated `info`.
pub(crate) fn derive<const N: usize>(secret: &[u8], salt: &[u8], info: &[&[u8]]) -> Zeroizing<[u8; N]> {
    const { assert!(N <= 255 * 32, "RFC 5869 ends there") };
    let mut out = Zeroizing::new([0; N]);
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    prk.expand(info, Length(N)).and_then(|okm| okm.fill(&mut *out)).expect("N is within HKDF's bound");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: RepositoryId = RepositoryId::from_bytes([7; 16]);

    #[test]
    fn derivation_is_hkdf_sha256() {
        // RFC 5869, appendix A.1
        let salt: Vec<u8> = (0..=0x0c).collect();
        let info: Vec<u8> = (0xf0..=0xf9).collect();
        let okm = derive::<42>(&[0x0b; 22], &salt, &[&info]);
        let known = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865";
        assert_eq!(hex::encode(*okm), known);
    }

    #[test]
    fn every_purpose_type_generation_and_repository_has_its_own_key() {
        let ring = KeyRing::new(RootKey::from_bytes([1; 32]), ID, 2);
        let other = KeyRing::new(RootKey::from_bytes([1; 32]), RepositoryId::from_bytes([8; 16]), 2);
        let mut keys = vec![ring.mac(b"x"), other.mac(b"x"), ring.chunk_id(b"x").0, other.chunk_id(b"x").0];
        for ring in [&ring, &other] {
            for (object_type, generation) in
                [(ObjectType::Pack, 1), (ObjectType::Pack, 2), (ObjectType::Index, 2)]
            {
                for algorithm in [Algorithm::None, Algorithm::Aes256Gcm] {
                    let key = ring.object_key(object_type, algorithm, generation, &[3; 32]);
                    keys.extend(key.chunks(32).map(|half| <[u8; 32]>::try_from(half).unwrap()));
                }
            }
        }
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }

    #[test]
    fn debug_shows_no_key() {
        let ring = KeyRing::new(RootKey::from_bytes([0xab; 32]), ID, 1);
        let text = format!("{ring:?}");
        assert!(!text.contains("171") && !text.contains("ab, ab") && !text.contains("abab"), "{text}");
        assert!(text.contains("repository"), "{text}");
    }

    #[test]
    fn a_mac_fits_its_bytes_only() {
        let ring = KeyRing::new(RootKey::from_bytes([1; 32]), ID, 1);
        let tag = ring.mac(b"config");
        assert!(ring.mac_matches(b"config", &tag));
        assert!(!ring.mac_matches(b"confiG", &tag));
        assert!(!KeyRing::new(RootKey::from_bytes([2; 32]), ID, 1).mac_matches(b"config", &tag));
    }

    #[test]
    fn a_chunk_hashed_in_pieces_has_the_same_name() {
        let ring = KeyRing::unencrypted(ID);
        let mut hasher = ring.chunk_hasher();
        hasher.update(b"one ");
        hasher.update(b"chunk");
        assert_eq!(ChunkId::from_bytes(*hasher.finalize().as_bytes()), ring.chunk_id(b"one chunk"));
    }
}
