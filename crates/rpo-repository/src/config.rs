#![doc = include_str!("config.md")]

use rpo_core::{RepositoryId, Timestamp};
use rpo_crypto::KeyRing;
use rpo_crypto::document::{self, Document};
use rpo_storage::Key;
use serde::{Deserialize, Serialize};

use crate::RepositoryError;
use crate::clear::{Clear, Sort};

/// The `format` of the document.
pub const FORMAT: &str = "rpo-config";
/// The `version` of the document.
pub const VERSION: u32 = 0;
/// What this rpo is as a reader, a writer, a collector: a config with a larger minimum is refused.
pub const CAPABLE: Minimum = Minimum { reader: 0, writer: 0, collector: 0 };
/// The chunk id function: keyed BLAKE3.
pub const CHUNK_ID: &str = "blake3-keyed";

const SORT: Sort =
    Sort { format: FORMAT, version: VERSION, role: "config format", another: "it is no config" };

/// Oldest versions that may touch a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Minimum {
    /// To read and restore.
    pub reader: u32,
    /// To add checkpoints and logs.
    pub writer: u32,
    /// To delete what is no longer needed.
    pub collector: u32,
}

/// Whether objects are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Encryption {
    /// AES-256-GCM.
    #[serde(rename = "aes-256-gcm")]
    Aes256Gcm,
    /// Not at all, by explicit choice.
    None,
}

/// Names of the ways content is cut into chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Cutters {
    /// For files.
    pub files: String,
    /// For databases and block images.
    pub pages: String,
}

impl Default for Cutters {
    /// `fastcdc-v2020-256k` for files, `fixed-16k` for pages.
    fn default() -> Self {
        Self { files: "fastcdc-v2020-256k".to_owned(), pages: "fixed-16k".to_owned() }
    }
}

/// Versions that new objects are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[allow(missing_docs)] // each is the version of the format it is named after
pub struct Formats {
    pub envelope: u32,
    pub pack: u32,
    pub index: u32,
    pub manifest: u32,
    pub session: u32,
    pub batch: u32,
    pub bill: u32,
}

/// The configuration of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    format: String,
    version: u32,
    /// Its number, from 1; the highest holds.
    pub number: u64,
    /// Identity: the same in all copies.
    pub repository: RepositoryId,
    /// When this number was written.
    pub created: Timestamp,
    /// Oldest versions that may touch the repository.
    pub minimum: Minimum,
    /// Whether objects are encrypted.
    pub encryption: Encryption,
    /// Generation new objects are sealed under; 0 without encryption.
    pub key_generation: u32,
    /// How content is cut.
    pub cutters: Cutters,
    /// How chunks are named.
    pub chunk_id: String,
    /// Versions that new objects are written in.
    pub formats: Formats,
}

/// The only fields that are read before it is known that all can be, whatever stands beside them.
#[derive(Deserialize)]
struct Versions {
    minimum: MinimumReader,
}

#[derive(Deserialize)]
struct MinimumReader {
    reader: u32,
}

impl Config {
    /// The first config of a new repository.
    pub fn first(
        repository: RepositoryId,
        created: Timestamp,
        encryption: Encryption,
        cutters: Cutters,
    ) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            number: 1,
            repository,
            created,
            minimum: CAPABLE,
            encryption,
            key_generation: if encryption == Encryption::None { 0 } else { 1 },
            cutters,
            chunk_id: CHUNK_ID.to_owned(),
            formats: Formats::default(),
        }
    }

    /// The document's bytes, with the MAC of `keys`.
    ///
    /// # Errors
    /// Kind `Invalid` if it would be too long.
    pub fn encode(&self, keys: &KeyRing) -> Result<Vec<u8>, rpo_crypto::CryptoError> {
        document::encode("config", self, Some(&|text| keys.mac(text)))
    }

    /// Reads a config's document. Needs no key; the MAC is still to be [checked](Self::check_mac).
    ///
    /// # Errors
    /// `Damaged` names `key`; `TooOld` says what this rpo lacks.
    pub fn decode(store: &str, key: &Key, bytes: &[u8]) -> Result<Self, RepositoryError> {
        let clear = Clear::decode(&SORT, store, key, bytes)?;
        let Versions { minimum } = clear.fields()?;
        if minimum.reader > CAPABLE.reader {
            return Err(clear.too_old("reader", minimum.reader, CAPABLE.reader));
        }
        let config: Self = clear.fields()?;
        clear.check_number(config.number)?;
        if (config.encryption == Encryption::None) != (config.key_generation == 0) {
            return Err(clear.damaged("`key-generation` does not go with `encryption`"));
        }
        if !clear.has_mac() {
            return Err(clear.damaged("it has no HMAC"));
        }
        Ok(config)
    }

    /// Checks the MAC of a document that was [decoded](Self::decode).
    ///
    /// # Errors
    /// `Damaged`: who wrote it did not have the repository's key.
    pub fn check_mac(store: &str, key: &Key, bytes: &[u8], keys: &KeyRing) -> Result<(), RepositoryError> {
        let document = Document::decode(key.as_str(), bytes)
            .map_err(|error| RepositoryError::of_document(store, key, error))?;
        let fits = document.mac().is_some_and(|mac| keys.mac_matches(document.json().as_bytes(), &mac));
        fits.then_some(()).ok_or_else(|| RepositoryError::Damaged {
            store: store.to_owned(),
            key: key.clone(),
            why: "its HMAC does not match: it was written without the repository's key".to_owned(),
        })
    }

    /// Refuses a repository that wants a newer writer.
    pub(crate) fn check_writer(&self, store: &str) -> Result<(), RepositoryError> {
        self.check("writing", "writer", self.minimum.writer, CAPABLE.writer, store)
    }

    /// Refuses a repository that wants a newer collector; to be asked before anything is deleted.
    ///
    /// # Errors
    /// `TooOld` names the version that is needed.
    pub fn check_collector(&self, store: &str) -> Result<(), RepositoryError> {
        self.check("collecting", "collector", self.minimum.collector, CAPABLE.collector, store)
    }

    fn check(
        &self,
        what: &str,
        role: &'static str,
        needed: u32,
        found: u32,
        store: &str,
    ) -> Result<(), RepositoryError> {
        if needed <= found {
            return Ok(());
        }
        Err(RepositoryError::TooOld { store: store.to_owned(), what: what.to_owned(), role, needed, found })
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
