#![doc = include_str!("slot.md")]

mod secret;
#[cfg(test)]
mod tests;

use argon2::Argon2;
use ring::{aead, hmac};
use rpo_core::{Entropy, RepositoryId, Timestamp};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

pub use secret::{PASSPHRASE_CHARS_MIN, Secret, SecretText};

use crate::document::{self, Document};
use crate::keyring::derive;
use crate::{CryptoError, KeyRing, RootKey, digest};

/// The `format` of the document.
pub const FORMAT: &str = "rpo-key-slot";
/// The `version` of the document.
pub const VERSION: u32 = 0;

const INFO: &[u8] = b"rpo/v0/slot";
const LABEL_BYTES_MAX: usize = 200;
const MEMORY_KIB_MAX: u32 = 1 << 20;
const PASSES_MAX: u32 = 16;
const LANES_MAX: u32 = 16;

/// Cost of deriving a key from a passphrase: what a guess costs an attacker, and an opening the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SlotParams {
    /// Memory, KiB; 8 per lane to 1 GiB.
    pub memory_kib: u32,
    /// Passes over the memory; 1 to 16.
    pub passes: u32,
    /// Lanes; 1 to 16.
    pub lanes: u32,
}

impl Default for SlotParams {
    /// 64 MiB, 3 passes, 1 lane: about 0.1 to 0.3 s per opening or guess.
    fn default() -> Self {
        Self { memory_kib: 64 << 10, passes: 3, lanes: 1 }
    }
}

impl SlotParams {
    /// **Weak**: protects nothing, opens at once. For tests and demonstrations with data that is no secret.
    pub const fn weak_for_tests() -> Self {
        Self { memory_kib: 8, passes: 1, lanes: 1 }
    }

    /// Checks the bounds, before anything is allocated.
    ///
    /// # Errors
    /// `Invalid` names the bounds.
    pub fn validate(&self) -> Result<(), CryptoError> {
        let within = (1..=LANES_MAX).contains(&self.lanes)
            && (1..=PASSES_MAX).contains(&self.passes)
            && (8 * self.lanes..=MEMORY_KIB_MAX).contains(&self.memory_kib);
        within.then_some(()).ok_or_else(|| CryptoError::Invalid {
            what: "key derivation",
            why: format!(
                "{} KiB, {} passes, {} lanes: allowed are 8 KiB per lane to {MEMORY_KIB_MAX} KiB, 1 to {PASSES_MAX} passes, 1 to {LANES_MAX} lanes",
                self.memory_kib, self.passes, self.lanes
            ),
        })
    }
}

/// Which kind of secret opens a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SlotKind {
    /// A passphrase, through Argon2id.
    Passphrase,
    /// A key file.
    KeyFile,
}

/// One key slot, as its document says. Holds no secret in clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySlot {
    content: Content,
    document: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Content {
    format: String,
    version: u32,
    slot: u64,
    repository: String,
    generation: u32,
    kind: SlotKind,
    label: String,
    created: Timestamp,
    kdf: Option<SlotParams>,
    salt: String,
    commitment: String,
    wrapped: String,
}

/// What a slot is made for.
#[derive(Debug, Clone)]
pub struct SlotDraft<'a> {
    /// Its number, as in its object's name.
    pub slot: u64,
    /// Whose it is, for people; at most 200 bytes, not secret.
    pub label: &'a str,
    /// When it was made.
    pub created: Timestamp,
    /// Cost of derivation; not used for a key file.
    pub params: SlotParams,
}

impl KeySlot {
    /// Wraps the root key of `keys` for `secret`. Takes as long as `params` cost.
    ///
    /// # Errors
    /// A weak passphrase, parameters out of bounds, an unencrypted ring, or no randomness.
    pub fn wrap(
        keys: &KeyRing,
        secret: &Secret,
        draft: &SlotDraft<'_>,
        entropy: &dyn Entropy,
    ) -> Result<Self, CryptoError> {
        let invalid = |why: &str| CryptoError::Invalid { what: "key slot", why: why.to_owned() };
        if !keys.is_encrypted() {
            return Err(invalid("an unencrypted repository has no key to wrap"));
        }
        if draft.label.len() > LABEL_BYTES_MAX {
            return Err(invalid("its label has more than 200 bytes"));
        }
        secret.check_strength()?;
        let mut salt = [0; 32];
        entropy.fill(&mut salt)?;
        let (kind, kdf) = match secret {
            Secret::Passphrase(_) => (SlotKind::Passphrase, Some(draft.params)),
            Secret::KeyFile(_) => (SlotKind::KeyFile, None),
        };
        let derived = DerivedKeys::from_secret(secret, kdf, &salt)?;
        let associated = associated_data(keys.repository(), keys.generation(), draft.slot);
        let mut wrapped = Zeroizing::new(keys.root().expose().to_vec());
        let tag = derived
            .wrap_key()
            .seal_in_place_separate_tag(zero_nonce(), aead::Aad::from(&associated), &mut wrapped)
            .expect("32 bytes are below GCM's bound");
        wrapped.extend_from_slice(tag.as_ref());
        let content = Content {
            format: FORMAT.to_owned(),
            version: VERSION,
            slot: draft.slot,
            repository: keys.repository().to_string(),
            generation: keys.generation(),
            kind,
            label: draft.label.to_owned(),
            created: draft.created,
            kdf,
            salt: hex::encode(salt),
            commitment: hex::encode(derived.commitment()),
            wrapped: hex::encode(&*wrapped),
        };
        let document = document::encode("key slot", &content, Some(&|text| derived.mac(text)))?;
        Ok(Self { content, document })
    }

    /// Reads a slot's document; `what` names it in errors. Needs no secret.
    ///
    /// # Errors
    /// [`CryptoError::Document`] if damaged, `Invalid` if its cost is out of bounds.
    pub fn decode(what: &str, bytes: &[u8]) -> Result<Self, CryptoError> {
        let damaged = |why: &str| CryptoError::Document { what: what.to_owned(), why: why.to_owned() };
        let document = Document::decode(what, bytes)?;
        let head = document.head()?;
        if head.format != FORMAT {
            return Err(damaged("it is no key slot"));
        }
        if head.version != VERSION {
            return Err(CryptoError::Version {
                object: what.to_owned(),
                found: u16::try_from(head.version).unwrap_or(u16::MAX),
            });
        }
        let content: Content = document.lenient()?;
        document.mac().ok_or_else(|| damaged("it has no HMAC"))?;
        content.repository.parse::<RepositoryId>().map_err(|_| damaged("`repository` is no identity"))?;
        let digits = digest::from_hex(&content.salt).is_some()
            && digest::from_hex(&content.commitment).is_some()
            && content.wrapped.len() == 96
            && hex::decode(&content.wrapped).is_ok();
        if !digits {
            return Err(damaged("a field has the wrong number of digits"));
        }
        match (content.kind, content.kdf) {
            (SlotKind::Passphrase, Some(params)) => params.validate()?,
            (SlotKind::KeyFile, None) => {}
            _ => return Err(damaged("`kdf` does not go with `kind`")),
        }
        Ok(Self { content, document: bytes.to_vec() })
    }

    /// The document's bytes.
    pub fn document(&self) -> &[u8] {
        &self.document
    }

    /// Its number, as in its object's name.
    pub fn number(&self) -> u64 {
        self.content.slot
    }

    /// Whose root key it wraps.
    pub fn repository(&self) -> RepositoryId {
        self.content.repository.parse().expect("checked when the slot was made or read")
    }

    /// Generation of the key it wraps.
    pub fn generation(&self) -> u32 {
        self.content.generation
    }

    /// Which kind of secret opens it.
    pub fn kind(&self) -> SlotKind {
        self.content.kind
    }

    /// Whose it is, for people.
    pub fn label(&self) -> &str {
        &self.content.label
    }

    /// When it was made.
    pub fn created(&self) -> Timestamp {
        self.content.created
    }

    /// Opens the slot. Takes as long as its parameters cost, for a passphrase.
    ///
    /// # Errors
    /// [`CryptoError::WrongKey`] if the secret is not for this slot; [`CryptoError::Document`] if it is, and the slot
    /// was altered.
    pub fn unwrap_keys(&self, what: &str, secret: &Secret) -> Result<KeyRing, CryptoError> {
        let wrong = || CryptoError::WrongKey { object: what.to_owned() };
        let altered =
            || CryptoError::Document { what: what.to_owned(), why: "its HMAC does not match".to_owned() };
        let same_kind = matches!(
            (secret, self.content.kind),
            (Secret::Passphrase(_), SlotKind::Passphrase) | (Secret::KeyFile(_), SlotKind::KeyFile)
        );
        if !same_kind {
            return Err(wrong());
        }
        let digits = |text: &str| digest::from_hex(text).ok_or_else(altered);
        let derived = DerivedKeys::from_secret(secret, self.content.kdf, &digits(&self.content.salt)?)?;
        if *derived.commitment() != digits(&self.content.commitment)? {
            return Err(wrong());
        }
        let document = Document::decode(what, &self.document)?;
        if !document.mac().is_some_and(|tag| derived.mac_matches(document.json().as_bytes(), &tag)) {
            return Err(altered());
        }
        let repository = self.repository();
        let associated = associated_data(repository, self.content.generation, self.content.slot);
        let mut wrapped = Zeroizing::new(hex::decode(&self.content.wrapped).map_err(|_| altered())?);
        let root = derived
            .wrap_key()
            .open_in_place(zero_nonce(), aead::Aad::from(&associated), &mut wrapped)
            .map_err(|_| altered())?;
        let root: &[u8; 32] = (&*root).try_into().map_err(|_| altered())?;
        Ok(KeyRing::new(RootKey::from_bytes(*root), repository, self.content.generation))
    }
}

/// Wrap key, commitment, MAC key.
struct DerivedKeys(Zeroizing<[u8; 96]>);

impl DerivedKeys {
    fn from_secret(secret: &Secret, kdf: Option<SlotParams>, salt: &[u8; 32]) -> Result<Self, CryptoError> {
        let mut own = Zeroizing::new([0; 32]);
        match secret {
            Secret::KeyFile(key) => own.copy_from_slice(key),
            Secret::Passphrase(text) => {
                let params = kdf.unwrap_or_default();
                params.validate()?;
                let failed = |error: argon2::Error| CryptoError::Invalid {
                    what: "key derivation",
                    why: error.to_string(),
                };
                let cost = argon2::Params::new(params.memory_kib, params.passes, params.lanes, Some(32))
                    .map_err(failed)?;
                let argon = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, cost);
                argon.hash_password_into(text.as_bytes(), salt, &mut *own).map_err(failed)?;
            }
        }
        Ok(Self(derive(&*own, salt, &[INFO])))
    }

    fn wrap_key(&self) -> aead::LessSafeKey {
        let key = aead::UnboundKey::new(&aead::AES_256_GCM, &self.0[..32]).expect("the key has 32 bytes");
        aead::LessSafeKey::new(key)
    }

    fn commitment(&self) -> &[u8; 32] {
        self.0[32..64].try_into().expect("32 of 96 bytes")
    }

    fn mac_key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.0[64..])
    }

    fn mac(&self, text: &[u8]) -> [u8; 32] {
        hmac::sign(&self.mac_key(), text).as_ref().try_into().expect("HMAC-SHA256 has 32 bytes")
    }

    fn mac_matches(&self, text: &[u8], tag: &[u8; 32]) -> bool {
        hmac::verify(&self.mac_key(), text, tag).is_ok()
    }
}

/// The wrap key is used once: its salt is fresh per slot.
fn zero_nonce() -> aead::Nonce {
    aead::Nonce::assume_unique_for_key([0; 12])
}

fn associated_data(repository: RepositoryId, generation: u32, slot: u64) -> Vec<u8> {
    [INFO, repository.as_bytes(), &generation.to_le_bytes(), &slot.to_le_bytes()].concat()
}
