//! Clear documents as objects: what reading a config and reading a bill have in common.

use rpo_crypto::document::Document;
use rpo_storage::Key;
use serde::de::DeserializeOwned;

use crate::{RepositoryError, layout};

/// A sort of clear document, and what is said where it is another.
pub(crate) struct Sort {
    pub(crate) format: &'static str,
    pub(crate) version: u32,
    /// What a newer version is a version of.
    pub(crate) role: &'static str,
    /// Said of a document of another format.
    pub(crate) another: &'static str,
}

/// A document of the right sort, read from the object at `key`; its SHA-256 line is right.
pub(crate) struct Clear<'a> {
    store: &'a str,
    key: &'a Key,
    document: Document<'a>,
}

impl<'a> Clear<'a> {
    /// Checks SHA-256, `format` and `version`, in this order.
    pub(crate) fn decode(
        sort: &Sort,
        store: &'a str,
        key: &'a Key,
        bytes: &'a [u8],
    ) -> Result<Self, RepositoryError> {
        let of_document = |error| RepositoryError::of_document(store, key, error);
        let document = Document::decode(key.as_str(), bytes).map_err(of_document)?;
        let head = document.head().map_err(of_document)?;
        let clear = Self { store, key, document };
        if head.format != sort.format {
            return Err(clear.damaged(sort.another));
        }
        if head.version != sort.version {
            return Err(clear.too_old(sort.role, head.version, sort.version));
        }
        Ok(clear)
    }

    /// The fields of `T`, whatever else the document holds (unless `T` refuses that).
    pub(crate) fn fields<T: DeserializeOwned>(&self) -> Result<T, RepositoryError> {
        self.document.lenient().map_err(|error| RepositoryError::of_document(self.store, self.key, error))
    }

    pub(crate) fn has_mac(&self) -> bool {
        self.document.mac().is_some()
    }

    /// The number inside has to be the one in the name.
    pub(crate) fn check_number(&self, number: u64) -> Result<(), RepositoryError> {
        if layout::number_of(self.key) == Some(number) {
            return Ok(());
        }
        Err(self.damaged("its number is not the one in its name"))
    }

    pub(crate) fn damaged(&self, why: &str) -> RepositoryError {
        RepositoryError::Damaged { store: self.store.to_owned(), key: self.key.clone(), why: why.to_owned() }
    }

    pub(crate) fn too_old(&self, role: &'static str, needed: u32, found: u32) -> RepositoryError {
        RepositoryError::TooOld {
            store: self.store.to_owned(),
            what: self.key.to_string(),
            role,
            needed,
            found,
        }
    }
}
