#![doc = include_str!("session.md")]

use std::ops::RangeInclusive;

use bytes::Bytes;
use rpo_core::{CheckpointId, SourceId, Timestamp};
use rpo_crypto::{ObjectHeader, ObjectType, check_digest, open};
use rpo_storage::{Key, ListRequest, StorageError};
use serde::{Deserialize, Serialize};

use crate::store::OBJECT_BYTES_MAX;
use crate::{Receipt, Repository, RepositoryError, layout};

/// The `version` of session and fence records.
pub const VERSION: u32 = 0;
/// Longest note, bytes.
pub const NOTE_BYTES_MAX: usize = 1024;

/// What a session said when it began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionRecord {
    version: u32,
    /// Whose session.
    pub source: SourceId,
    /// Its number, from 1.
    pub number: u64,
    /// When it began, by the writer's clock.
    pub started: Timestamp,
    /// What the writer wants people to know.
    pub note: String,
}

/// What stands at the commit key of a session that somebody else ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FenceRecord {
    version: u32,
    /// Whose session.
    pub source: SourceId,
    /// Its number.
    pub number: u64,
    /// When it was fenced, by the fencer's clock.
    pub fenced: Timestamp,
}

impl SessionRecord {
    /// Reads the frame of a `session` object.
    pub fn decode(frame: &[u8]) -> Option<Self> {
        serde_json::from_slice(frame).ok().filter(|record: &Self| record.version == VERSION)
    }
}

impl FenceRecord {
    /// Reads the frame of a `fence` object at a commit key.
    pub fn decode(frame: &[u8]) -> Option<Self> {
        serde_json::from_slice(frame).ok().filter(|record: &Self| record.version == VERSION)
    }
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEnd {
    /// Its manifest was there first.
    Committed(Receipt),
    /// A fence was there first.
    Fenced,
}

/// A session that was begun. Dropping it ends nothing: it stays open until it is committed or fenced.
#[derive(Debug, Clone)]
pub struct Session {
    repository: Repository,
    record: SessionRecord,
}

impl Session {
    /// Whose session.
    pub fn source(&self) -> &SourceId {
        &self.record.source
    }

    /// Its number.
    pub fn number(&self) -> u64 {
        self.record.number
    }

    /// When it began.
    pub fn started(&self) -> Timestamp {
        self.record.started
    }

    /// The checkpoint it will have made once it is committed.
    pub fn checkpoint(&self) -> CheckpointId {
        CheckpointId { source: self.record.source.clone(), number: self.record.number }
    }

    /// The one name that ends it.
    pub fn commit_key(&self) -> Key {
        layout::checkpoint(&self.record.source, self.record.number)
    }

    /// Commits: creates the manifest of these frames under the commit key. On `Ok` the checkpoint exists and is durable.
    /// May be called again, with the same frames, after an error of kind `Unknown`: it commits once.
    ///
    /// # Errors
    /// `Fenced`: somebody ended the session; nothing was committed. `Lost` (kind `Unknown`): it may be committed; ask
    /// [`Repository::session_outcome`] or call again. `Conflict`: another manifest is there.
    pub async fn commit(&self, frames: &[&[u8]]) -> Result<Receipt, RepositoryError> {
        let key = self.commit_key();
        match self.repository.put(ObjectType::Manifest, &key, frames).await {
            Err(RepositoryError::Conflict { store, .. }) => {
                match self.repository.end_at(&self.record.source, self.record.number).await? {
                    Some((SessionEnd::Committed(receipt), found)) if found == frames => Ok(receipt),
                    Some((SessionEnd::Fenced, _)) => Err(RepositoryError::Fenced {
                        source_id: self.record.source.clone(),
                        number: self.record.number,
                    }),
                    _ => Err(RepositoryError::Conflict { store, key }),
                }
            }
            answer => answer,
        }
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    /// As [`Repository::session_outcome`].
    pub async fn outcome(&self) -> Result<Option<SessionEnd>, RepositoryError> {
        self.repository.session_outcome(&self.record.source, self.record.number).await
    }
}

impl Repository {
    /// Begins the next session of a source. On `Ok` its record is durable: collectors will see it.
    ///
    /// # Errors
    /// As [`put`](Self::put). After kind `Unknown` a session may have been begun that nobody continues: it counts as open
    /// until it is fenced.
    pub async fn begin_session(&self, source: &SourceId, note: &str) -> Result<Session, RepositoryError> {
        if note.len() > NOTE_BYTES_MAX {
            let why = format!("{} bytes, at most {NOTE_BYTES_MAX} fit", note.len());
            return Err(RepositoryError::Invalid { what: "session note", why });
        }
        let sequence = sequence(source);
        loop {
            let number = *self.sessions(source).await?.end() + 1;
            let (source, started, note) = (source.clone(), self.clock().wall(), note.to_owned());
            let record = SessionRecord { version: VERSION, source, number, started, note };
            let frame = serde_json::to_vec(&record).expect("a record is plain JSON");
            let key = layout::session(&record.source, number);
            match self.put(ObjectType::Session, &key, &[&frame]).await {
                // The record of an older session of this number was lost: that one has ended, and this one has not begun.
                Ok(_) if self.exists(&layout::checkpoint(&record.source, number)).await? => {
                    tracing::warn!(source = %record.source, number, "the record of this session had been lost");
                    self.seen().note(&sequence, number);
                }
                Ok(_) => {
                    self.seen().note(&sequence, number);
                    return Ok(Session { repository: self.clone(), record });
                }
                // Another writer took the number; the next look goes past it.
                Err(RepositoryError::Conflict { .. }) => self.seen().note(&sequence, number),
                Err(error) => return Err(error),
            }
        }
    }

    /// Numbers of all sessions of a source that were begun: `1..=last`, empty if there are none. Found by name; a listing
    /// adds what stands past a record that was lost, and takes nothing away.
    ///
    /// # Errors
    /// The store's.
    pub async fn sessions(&self, source: &SourceId) -> Result<RangeInclusive<u64>, RepositoryError> {
        let mut last =
            self.seen().last(self.store(), &sequence(source), |n| layout::session(source, n)).await?;
        loop {
            let prefix = format!("checkpoints/{source}/");
            let start_after = (last > 0).then(|| layout::checkpoint(source, last));
            let request = ListRequest { prefix, start_after, limit: None };
            let page = self.storage().list(request).await?;
            let listed = page.objects.iter().filter_map(|object| layout::number_of(&object.key)).max();
            match listed.filter(|listed| *listed > last) {
                Some(listed) => last = listed,
                None => return Ok(1..=last),
            }
        }
    }

    /// What session `number` said when it began, or `None` if it was not begun.
    ///
    /// # Errors
    /// Kind `Corrupt` if its record is not what was written.
    pub async fn session(
        &self,
        source: &SourceId,
        number: u64,
    ) -> Result<Option<SessionRecord>, RepositoryError> {
        let key = layout::session(source, number);
        let frames = match self.get(ObjectType::Session, &key).await {
            Err(RepositoryError::Storage(StorageError::NotFound { .. })) => return Ok(None),
            answer => answer?,
        };
        let record = frames.first().and_then(|frame| SessionRecord::decode(frame));
        let fits =
            record.filter(|record| frames.len() == 1 && record.source == *source && record.number == number);
        fits.map(Some).ok_or_else(|| self.damaged(key, "it is no record of this session"))
    }

    /// Takes up a session that was begun before, by this program or another, to commit it.
    ///
    /// # Errors
    /// Kind `Invalid` if it was never begun; as [`session`](Self::session).
    pub async fn resume_session(&self, source: &SourceId, number: u64) -> Result<Session, RepositoryError> {
        let record = self.session(source, number).await?.ok_or_else(|| never_begun(source, number))?;
        Ok(Session { repository: self.clone(), record })
    }

    /// Ends a session with a fence, unless it has ended; says how it did. After `Ok` no commit of it can succeed later.
    ///
    /// # Errors
    /// Kind `Invalid` if the session was never begun; kind `Unknown` if the fence may be there.
    pub async fn fence_session(&self, source: &SourceId, number: u64) -> Result<SessionEnd, RepositoryError> {
        if !self.exists(&layout::session(source, number)).await? {
            return Err(never_begun(source, number));
        }
        let key = layout::checkpoint(source, number);
        let record =
            FenceRecord { version: VERSION, source: source.clone(), number, fenced: self.clock().wall() };
        let frame = serde_json::to_vec(&record).expect("a record is plain JSON");
        match self.put(ObjectType::Fence, &key, &[&frame]).await {
            Ok(_) => Ok(SessionEnd::Fenced),
            Err(RepositoryError::Conflict { store, key }) => {
                let end = self.session_outcome(source, number).await?;
                end.ok_or(RepositoryError::Conflict { store, key })
            }
            Err(error) => Err(error),
        }
    }

    /// How a session ended; `None` if it has not (yet), or if its checkpoint was expired since.
    ///
    /// # Errors
    /// Kind `Corrupt` if what stands at its commit key is not what was written.
    pub async fn session_outcome(
        &self,
        source: &SourceId,
        number: u64,
    ) -> Result<Option<SessionEnd>, RepositoryError> {
        Ok(self.end_at(source, number).await?.map(|(end, _)| end))
    }

    /// The end of a session with the frames of its object.
    async fn end_at(
        &self,
        source: &SourceId,
        number: u64,
    ) -> Result<Option<(SessionEnd, Vec<Bytes>)>, RepositoryError> {
        let key = layout::checkpoint(source, number);
        let Some(bytes) = self.store().read(&key, OBJECT_BYTES_MAX).await? else { return Ok(None) };
        let crypto = |error| self.crypto(error);
        let sha256 = check_digest(key.as_str(), &bytes).map_err(crypto)?;
        let found = ObjectHeader::decode(key.as_str(), &bytes).map_err(crypto)?.object_type;
        // A fence is opened as a fence; anything else has to be a manifest, or `open` says what it is.
        let object_type = if found == ObjectType::Fence { found } else { ObjectType::Manifest };
        let frames = open(self.keys(), object_type, key.as_str(), &bytes).map_err(crypto)?;
        if object_type == ObjectType::Manifest {
            let len = bytes.len() as u64;
            return Ok(Some((SessionEnd::Committed(Receipt { key, len, sha256 }), frames)));
        }
        let record = frames.first().and_then(|frame| FenceRecord::decode(frame));
        if !record.is_some_and(|record| record.source == *source && record.number == number) {
            return Err(self.damaged(key, "it is no fence of this session"));
        }
        Ok(Some((SessionEnd::Fenced, frames)))
    }

    fn damaged(&self, key: Key, why: &str) -> RepositoryError {
        RepositoryError::Damaged { store: self.store_name().to_owned(), key, why: why.to_owned() }
    }
}

fn sequence(source: &SourceId) -> String {
    format!("sessions/{source}")
}

fn never_begun(source: &SourceId, number: u64) -> RepositoryError {
    RepositoryError::Invalid { what: "session", why: format!("{source} has not begun a session {number}") }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
