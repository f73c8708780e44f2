//! Reading an archive: which histories it holds, their entries with every check, moments by time, transaction and name.

mod entries;
mod history;
mod parts;
mod raw;
mod search;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use rpo_core::{CopyName, Epoch, ErrorKind, StreamId};
use rpo_crypto::envelope::{FRAME_OVERHEAD, HEADER_BYTES};
use rpo_crypto::{CryptoError, ObjectType, Opener};
use rpo_repository::Repository;
use rpo_storage::{Key, StorageError};

pub use self::entries::EntryStream;
pub use self::history::{Break, Coverage, History, Leg};
pub use self::raw::FrameStream;
pub use self::search::{ArchivePoint, FoundTransaction};
use crate::ReplicationError;
use crate::batch::{self, BatchHead, Digest};
use crate::copies::{CopyDomain, CopySpec, Role};
use crate::names::healed_key;
use crate::object::{ArchiveObject, OpenBatch, Place, format_error, open_object};

/// The archive of one stream, read from one or several copies: what one of them lacks or has damaged comes from another.
#[derive(Debug, Clone)]
pub struct Archive(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    copies: Vec<CopySpec>,
    stream: StreamId,
    heads: Mutex<BTreeMap<(Epoch, u64), BatchHead>>,
    /// Merged objects that were opened, by epoch and first part.
    merged: Mutex<BTreeMap<(Epoch, u64), parts::Known>>,
    #[cfg(feature = "planted-bugs")]
    planted: Mutex<Option<crate::PlantedBug>>,
}

impl Archive {
    /// The archive of `stream` in `copies`, which are asked in this order. Reads nothing yet.
    ///
    /// # Errors
    /// `Invalid` without any copy.
    pub fn new(copies: Vec<CopySpec>, stream: StreamId) -> Result<Self, ReplicationError> {
        if copies.is_empty() {
            return Err(ReplicationError::Invalid(format!("no copy to read {stream} from")));
        }
        Ok(Self::over(copies, stream))
    }

    /// The archive of `stream` in one repository.
    pub fn of(repository: Repository, stream: StreamId) -> Self {
        let url = repository.storage().identity().url;
        let name = CopyName::new("archive").expect("`archive` is a name");
        let copy = CopySpec { name, domain: CopyDomain::default(), url, role: Role::Home, repository };
        Self::over(vec![copy], stream)
    }

    fn over(copies: Vec<CopySpec>, stream: StreamId) -> Self {
        let (heads, merged) = (Mutex::default(), Mutex::default());
        #[cfg(feature = "planted-bugs")]
        let planted = Mutex::default();
        Self(Arc::new(Inner {
            copies,
            stream,
            heads,
            merged,
            #[cfg(feature = "planted-bugs")]
            planted,
        }))
    }

    /// Makes this archive break its promises, for tests of the tests.
    #[cfg(feature = "planted-bugs")]
    pub fn plant(&self, bug: crate::PlantedBug) {
        *self.0.planted.lock().unwrap_or_else(PoisonError::into_inner) = Some(bug);
    }

    fn passes_over_gaps(&self) -> bool {
        #[cfg(feature = "planted-bugs")]
        return *self.0.planted.lock().unwrap_or_else(PoisonError::into_inner)
            == Some(crate::PlantedBug::GapPassedOver);
        #[cfg(not(feature = "planted-bugs"))]
        false
    }

    /// Whose history it holds.
    pub fn stream(&self) -> &StreamId {
        &self.0.stream
    }

    pub(crate) fn copies(&self) -> &[CopySpec] {
        &self.0.copies
    }

    fn place(&self, epoch: Epoch, number: u64) -> Place<'_> {
        Place { stream: &self.0.stream, epoch, number }
    }

    fn gap(&self, epoch: Epoch, number: u64) -> ReplicationError {
        let hint = "no copy asked has it; read from a copy that does, or restore up to where it is missing";
        ReplicationError::Gap { stream: self.0.stream.clone(), epoch, number, hint }
    }

    /// Epochs that any copy holds, in order, and the copies that did not answer.
    async fn epochs(&self) -> Result<(BTreeSet<Epoch>, BTreeMap<CopyName, String>), ReplicationError> {
        let (mut epochs, mut unreached) = (BTreeSet::new(), BTreeMap::new());
        let mut last_error = None;
        for copy in &self.0.copies {
            match copy.epochs(self.stream()).await {
                Ok(found) => epochs.extend(found),
                Err(error) => {
                    unreached.insert(copy.name.clone(), error.to_string());
                    last_error = Some(error);
                }
            }
        }
        match last_error {
            Some(error) if unreached.len() == self.0.copies.len() => Err(error),
            _ => Ok((epochs, unreached)),
        }
    }

    /// A whole batch from the first copy that has it in order. `previous` is what it must name, if that is known.
    async fn batch(
        &self,
        epoch: Epoch,
        number: u64,
        previous: Option<Digest>,
    ) -> Result<OpenBatch, ReplicationError> {
        if let Some(batch) = self.known_part(epoch, number).await
            && previous.is_none_or(|previous| previous == batch.head.previous)
        {
            return Ok(batch);
        }
        let place = self.place(epoch, number);
        let mut trouble = None;
        for copy in &self.0.copies {
            for key in [place.key(), healed_key(place.stream, epoch, number)] {
                let object = match copy.fetch(&key).await {
                    Ok(Some(bytes)) => open_object(copy.repository.keys(), place, &bytes),
                    Ok(None) => continue,
                    Err(error) => Err(error),
                };
                match object {
                    Ok(ArchiveObject::Batch(batch)) => match previous {
                        Some(found) if found != batch.head.previous => {
                            let named = batch.head.previous;
                            trouble.get_or_insert(ReplicationError::ChainBroken { key, named, found });
                        }
                        _ => return Ok(*batch),
                    },
                    Ok(ArchiveObject::Fence(_)) => {}
                    Err(error) => {
                        tracing::warn!(copy = %copy.name, %key, %error, "batch cannot be used; asking the next copy");
                        trouble = Some(error);
                    }
                }
            }
        }
        for (index, copy) in self.0.copies.iter().enumerate() {
            match self.part_from(index, place).await {
                Ok(Some(batch)) => match previous {
                    Some(found) if found != batch.head.previous => {
                        let (key, named) = (place.key(), batch.head.previous);
                        trouble.get_or_insert(ReplicationError::ChainBroken { key, named, found });
                    }
                    _ => return Ok(batch),
                },
                Ok(None) => {}
                Err(error) => {
                    let key = place.key();
                    tracing::warn!(copy = %copy.name, %key, %error, "merged part cannot be used; asking the next copy");
                    trouble = Some(error);
                }
            }
        }
        Err(trouble.unwrap_or_else(|| self.gap(epoch, number)))
    }

    /// The head of a batch, read without its body; `None` if no copy has a batch there.
    async fn head(&self, epoch: Epoch, number: u64) -> Result<Option<BatchHead>, ReplicationError> {
        if let Some(head) = self.cached(epoch, number) {
            return Ok(Some(head));
        }
        let place = self.place(epoch, number);
        let mut trouble = None;
        for copy in &self.0.copies {
            for key in [place.key(), healed_key(place.stream, epoch, number)] {
                match read_head(copy, place, &key).await {
                    Ok(Some(head)) => {
                        self.heads().insert((epoch, number), head.clone());
                        return Ok(Some(head));
                    }
                    Ok(None) => {}
                    Err(error) => trouble = Some(error),
                }
            }
        }
        for copy in 0..self.0.copies.len() {
            match self.head_from(copy, place).await {
                Ok(Some(head)) => return Ok(Some(head)),
                Ok(None) => {}
                Err(error) => trouble = Some(error),
            }
        }
        trouble.map_or(Ok(None), Err)
    }

    /// The head of a batch that must be there.
    pub(crate) async fn known_head(&self, epoch: Epoch, number: u64) -> Result<BatchHead, ReplicationError> {
        self.head(epoch, number).await?.ok_or_else(|| self.gap(epoch, number))
    }

    fn cached(&self, epoch: Epoch, number: u64) -> Option<BatchHead> {
        self.heads().get(&(epoch, number)).cloned()
    }

    fn merged(&self) -> std::sync::MutexGuard<'_, BTreeMap<(Epoch, u64), parts::Known>> {
        // As below.
        self.0.merged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heads(&self) -> std::sync::MutexGuard<'_, BTreeMap<(Epoch, u64), BatchHead>> {
        // A cache of immutable objects: a panic elsewhere cannot make it wrong.
        self.0.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Header and first frame of an object; `None` if it is absent or a fence.
pub(crate) async fn read_head(
    copy: &CopySpec,
    place: Place<'_>,
    key: &Key,
) -> Result<Option<BatchHead>, ReplicationError> {
    let range = 0..(HEADER_BYTES + FRAME_OVERHEAD + batch::HEAD_BYTES) as u64;
    let bytes = match copy.repository.storage().read(key, range).await {
        Ok(bytes) => bytes,
        Err(StorageError::RangeNotSatisfied { .. }) => return Ok(None), // too short for a batch: a fence
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(copy.fault(error)),
    };
    let sealed_for = place.key();
    let envelope = |source| ReplicationError::Envelope { key: key.to_string(), source };
    let opener = match Opener::new(copy.repository.keys(), ObjectType::Batch, sealed_for.as_str(), &bytes) {
        Ok(opener) => opener,
        Err(CryptoError::WrongType { found: ObjectType::Fence, .. }) => return Ok(None),
        Err(source) => return Err(envelope(source)),
    };
    let (plain, _) = opener.open_frame(0, &bytes[HEADER_BYTES..]).map_err(envelope)?;
    let head = BatchHead::decode(&plain).map_err(|source| format_error(key, source))?;
    let found = Place { stream: &head.stream, epoch: head.epoch(), number: head.number };
    if found != place {
        return Err(ReplicationError::Misplaced {
            why: format!("its head says it is {}", found.key()),
            key: key.clone(),
        });
    }
    Ok(Some(head))
}
