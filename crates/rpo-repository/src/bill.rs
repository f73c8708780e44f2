#![doc = include_str!("bill.md")]

use rpo_core::{RepositoryId, SourceId, Timestamp};
use rpo_crypto::digest;
use rpo_crypto::document;
use rpo_storage::Key;
use serde::{Deserialize, Serialize};

use crate::clear::{Clear, Sort};
use crate::{Receipt, Repository, RepositoryError, layout};

/// The `format` of the document.
pub const FORMAT: &str = "rpo-bill";
/// The `version` of the document.
pub const VERSION: u32 = 0;
/// Most objects on one bill; a larger part is split.
pub const OBJECTS_MAX: usize = 65_536;

const SEQUENCE: &str = "bills";
const SORT: Sort = Sort { format: FORMAT, version: VERSION, role: "bill format", another: "it is no bill" };

/// Objects that a part of a session has stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bill {
    /// Whose session.
    pub source: SourceId,
    /// Its number.
    pub session: u64,
    /// Which part of it, from 1.
    pub part: u32,
    /// The objects, in the order a mirror should fetch them.
    pub objects: Vec<Receipt>,
    /// The name whose object ends the session.
    pub commit_key: Key,
}

/// A bill as it stands in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBill {
    /// Its number, from 1.
    pub number: u64,
    /// Whose it is.
    pub repository: RepositoryId,
    /// When it was written, by the writer's clock.
    pub created: Timestamp,
    /// What it says.
    pub bill: Bill,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Content {
    format: String,
    version: u32,
    number: u64,
    repository: RepositoryId,
    salt: String,
    created: Timestamp,
    source: SourceId,
    session: u64,
    part: u32,
    commit_key: String,
    objects: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: String,
    len: u64,
    sha256: String,
}

impl StoredBill {
    /// The document's bytes; `salt` is fresh random bytes.
    ///
    /// # Errors
    /// Kind `Invalid`: too many objects.
    pub fn encode(&self, salt: [u8; 16]) -> Result<Vec<u8>, rpo_crypto::CryptoError> {
        let bill = &self.bill;
        if bill.objects.len() > OBJECTS_MAX {
            let why =
                format!("{} objects, at most {OBJECTS_MAX} fit: split it into parts", bill.objects.len());
            return Err(rpo_crypto::CryptoError::Invalid { what: "bill", why });
        }
        let line = |receipt: &Receipt| Line {
            key: receipt.key.to_string(),
            len: receipt.len,
            sha256: hex::encode(receipt.sha256),
        };
        let content = Content {
            format: FORMAT.to_owned(),
            version: VERSION,
            number: self.number,
            repository: self.repository,
            salt: hex::encode(salt),
            created: self.created,
            source: bill.source.clone(),
            session: bill.session,
            part: bill.part,
            commit_key: bill.commit_key.to_string(),
            objects: bill.objects.iter().map(line).collect(),
        };
        document::encode("bill", &content, None)
    }

    /// Reads the document stored as `key`. Needs no key of the repository.
    ///
    /// # Errors
    /// `Damaged` names `key`; `TooOld` for a version that is not known here.
    pub fn decode(store: &str, key: &Key, bytes: &[u8]) -> Result<Self, RepositoryError> {
        let clear = Clear::decode(&SORT, store, key, bytes)?;
        let content: Content = clear.fields()?;
        clear.check_number(content.number)?;
        let damaged = |why: &str| clear.damaged(why);
        if clear.has_mac() || content.objects.len() > OBJECTS_MAX {
            return Err(damaged("it has a line, or more objects, than a bill can have"));
        }
        let object = |line: Line| {
            let key = Key::new(line.key).map_err(|_| damaged("an object's name is no key"))?;
            let sha256 =
                digest::from_hex(&line.sha256).ok_or_else(|| damaged("an object's SHA-256 is none"))?;
            Ok(Receipt { key, len: line.len, sha256 })
        };
        Ok(Self {
            number: content.number,
            repository: content.repository,
            created: content.created,
            bill: Bill {
                source: content.source,
                session: content.session,
                part: content.part,
                commit_key: Key::new(content.commit_key).map_err(|_| damaged("`commit-key` is no key"))?,
                objects: content.objects.into_iter().map(object).collect::<Result<_, RepositoryError>>()?,
            },
        })
    }
}

impl Repository {
    /// Writes a bill under the next number; gives the number. To be called on the home copy only, after the objects it
    /// names were stored and before their session is committed.
    ///
    /// # Errors
    /// As [`put`](Self::put); kind `Invalid` for too many objects.
    pub async fn put_bill(&self, bill: Bill) -> Result<u64, RepositoryError> {
        self.check_writable(SEQUENCE)?;
        let salt = self.random_id()?;
        let mut stored = StoredBill { number: 0, repository: self.id(), created: self.clock().wall(), bill };
        loop {
            stored.number = self.last_bill().await? + 1;
            let bytes = stored.encode(salt).map_err(|source| self.crypto(source))?;
            match self.put_bytes(&layout::bill(stored.number), bytes.into()).await {
                Ok(_) => {
                    self.seen().note(SEQUENCE, stored.number);
                    return Ok(stored.number);
                }
                // Somebody else's: the next look finds at least this one, so the loop goes forward.
                Err(RepositoryError::Conflict { .. }) => self.seen().note(SEQUENCE, stored.number),
                Err(error) => return Err(error),
            }
        }
    }

    /// Bill `number`, or `None` if there is none (yet).
    ///
    /// # Errors
    /// `Damaged` if its bytes are not what was written; `OtherRepository` if it belongs to another one.
    pub async fn bill(&self, number: u64) -> Result<Option<Bill>, RepositoryError> {
        Ok(self.stored_bill(number).await?.map(|stored| stored.bill))
    }

    /// Bill `number` with when it was written.
    ///
    /// # Errors
    /// As [`bill`](Self::bill).
    pub async fn stored_bill(&self, number: u64) -> Result<Option<StoredBill>, RepositoryError> {
        let key = layout::bill(number);
        let Some(bytes) = self.store().read(&key, document::DOCUMENT_BYTES_MAX as u64).await? else {
            return Ok(None);
        };
        let stored = StoredBill::decode(self.store_name(), &key, &bytes)?;
        self.check_id(stored.repository)?;
        Ok(Some(stored))
    }

    /// Number of the last bill, or 0 if there is none.
    ///
    /// # Errors
    /// The store's.
    pub async fn last_bill(&self) -> Result<u64, RepositoryError> {
        self.seen().last(self.store(), SEQUENCE, layout::bill).await
    }
}

#[cfg(test)]
#[path = "bill_tests.rs"]
mod tests;
