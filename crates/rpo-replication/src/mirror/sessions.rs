//! Publishing a session in a mirror: its manifest, once every object billed before it is there.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rpo_core::{CheckpointId, SourceId};
use rpo_repository::layout;
use rpo_storage::Key;

use super::queue::listed_numbers;
use super::resend::send_again;
use super::{is_manifest, place};
use crate::ReplicationError;
use crate::copies::CopySpec;

/// The sessions of one source, as the mirror has them.
#[derive(Debug, Default)]
struct Followed {
    /// The next session number to look for at home.
    next: u64,
    /// Begun here, and not known to have ended here.
    open: BTreeSet<u64>,
    /// Their end is here.
    published: BTreeSet<u64>,
    /// The newest of them that made a checkpoint.
    newest: Option<u64>,
}

/// The end of a session at home, and the bill up to which objects must be here before it may be.
#[derive(Debug)]
struct Ended {
    bytes: Bytes,
    bills: u64,
}

/// Sessions of home, by source, and how far each is here.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    sources: BTreeMap<SourceId, Followed>,
    ended: BTreeMap<(SourceId, u64), Ended>,
}

/// Ends of sessions just seen at home, before bills were read.
pub(super) type NewlyEnded = Vec<((SourceId, u64), Bytes)>;

impl Sessions {
    /// Copies the records of sessions that were begun at home.
    pub(super) async fn follow(
        &mut self,
        home: &CopySpec,
        mirror: &CopySpec,
        mut sources: BTreeSet<SourceId>,
    ) -> Result<(), ReplicationError> {
        // The listing finds sources that have no bill yet; what it misses is found with its first bill.
        sources.extend(home.repository.sources().await.map_err(|error| home.repository_fault(error))?);
        sources.extend(self.sources.keys().cloned());
        for source in sources {
            if !self.sources.contains_key(&source) {
                let followed = Followed::resume(home, mirror, &source).await?;
                self.sources.insert(source.clone(), followed);
            }
            let followed = self.sources.entry(source.clone()).or_default();
            loop {
                let key = layout::session(&source, followed.next);
                let Some(bytes) = home.fetch(&key).await? else { break };
                place(mirror, &key, &bytes).await?;
                followed.open.insert(followed.next);
                followed.next += 1;
            }
        }
        Ok(())
    }

    /// Sessions whose end stands at home and not here.
    pub(super) async fn newly_ended(&self, home: &CopySpec) -> Result<NewlyEnded, ReplicationError> {
        let mut ended = Vec::new();
        for (source, followed) in &self.sources {
            for number in &followed.open {
                let session = (source.clone(), *number);
                if self.ended.contains_key(&session) {
                    continue;
                }
                let key = layout::checkpoint(source, *number);
                if let Some(bytes) = home.fetch_up_to(&key, super::MIRRORED_BYTES_MAX).await? {
                    rpo_crypto::check_digest(key.as_str(), &bytes)
                        .map_err(|source| ReplicationError::Envelope { key: key.to_string(), source })?;
                    ended.push((session, bytes));
                }
            }
        }
        Ok(ended)
    }

    /// Notes ends that may come here once all bills up to `bills` are complete.
    pub(super) fn require(&mut self, ended: NewlyEnded, bills: u64) {
        self.ended.extend(ended.into_iter().map(|(session, bytes)| (session, Ended { bytes, bills })));
    }

    /// Puts the ends whose objects are all here; returns the checkpoints that are complete thereby.
    pub(super) async fn publish(
        &mut self,
        mirror: &CopySpec,
        complete: u64,
    ) -> Result<Vec<CheckpointId>, ReplicationError> {
        let mut published = Vec::new();
        let ready: Vec<_> =
            self.ended.iter().filter(|(_, end)| end.bills <= complete).map(|(id, _)| id.clone()).collect();
        for (source, number) in ready {
            let Some(end) = self.ended.get(&(source.clone(), number)) else { continue };
            let key = layout::checkpoint(&source, number);
            place(mirror, &key, &end.bytes).await?;
            let manifest = is_manifest(&key, &end.bytes);
            self.ended.remove(&(source.clone(), number));
            let followed = self.sources.entry(source.clone()).or_default();
            followed.open.remove(&number);
            followed.published.insert(number);
            if manifest {
                followed.newest = followed.newest.max(Some(number));
                published.push(CheckpointId { source, number });
            }
        }
        Ok(published)
    }

    /// Compares what was believed to be here with what is: records of sessions are sent again, ends that are gone are
    /// forgotten, so that the next step sends them. Returns how many were gone.
    pub(super) async fn recheck(
        &mut self,
        home: &CopySpec,
        mirror: &CopySpec,
    ) -> Result<u64, ReplicationError> {
        let mut gone = 0;
        for (source, followed) in &mut self.sources {
            let begun = listed_numbers(mirror, &format!("sessions/{source}/")).await?;
            for number in (1..followed.next).filter(|number| !begun.contains(number)) {
                gone += u64::from(send_again(home, mirror, layout::session(source, number)).await?);
            }
            let ended = listed_numbers(mirror, &format!("checkpoints/{source}/")).await?;
            let unlisted: Vec<u64> = followed.published.difference(&ended).copied().collect();
            for number in unlisted {
                if mirror.length(&layout::checkpoint(source, number)).await?.is_some() {
                    continue; // a listing is a hint
                }
                gone += 1;
                followed.published.remove(&number);
                followed.open.insert(number);
                if followed.newest == Some(number) {
                    followed.newest = newest_manifest(mirror, source, &followed.published).await?;
                }
            }
        }
        Ok(gone)
    }

    pub(super) fn is_published(&self, source: &SourceId, number: u64) -> bool {
        self.sources.get(source).is_some_and(|followed| followed.published.contains(&number))
    }

    pub(super) fn has_unpublished(&self) -> bool {
        !self.ended.is_empty()
    }

    pub(super) fn newest(&self) -> Vec<(SourceId, u64)> {
        self.sources
            .iter()
            .filter_map(|(source, followed)| Some((source.clone(), followed.newest?)))
            .collect()
    }
}

impl Followed {
    /// What the mirror already has: a listing proves what is there.
    async fn resume(home: &CopySpec, mirror: &CopySpec, source: &SourceId) -> Result<Self, ReplicationError> {
        let begun = listed_numbers(mirror, &format!("sessions/{source}/")).await?;
        let published = listed_numbers(mirror, &format!("checkpoints/{source}/")).await?;
        if let Some(last) = published.last() {
            same_or_gone(home, mirror, layout::checkpoint(source, *last)).await?;
        }
        let mut next = 1;
        while begun.contains(&next) {
            next += 1;
        }
        let open = (1..next).filter(|number| !published.contains(number)).collect();
        let newest = newest_manifest(mirror, source, &published).await?;
        Ok(Self { next, open, published, newest })
    }
}

/// The newest of these ends that is a manifest.
async fn newest_manifest(
    mirror: &CopySpec,
    source: &SourceId,
    published: &BTreeSet<u64>,
) -> Result<Option<u64>, ReplicationError> {
    for number in published.iter().rev() {
        let key = layout::checkpoint(source, *number);
        let header = 0..rpo_crypto::envelope::HEADER_BYTES as u64;
        let bytes =
            mirror.repository.storage().read(&key, header).await.map_err(|error| mirror.fault(error))?;
        if is_manifest(&key, &bytes) {
            return Ok(Some(*number));
        }
    }
    Ok(None)
}

/// Copies that went separate ways show it at their newest ends; one that home has expired tells nothing.
async fn same_or_gone(home: &CopySpec, mirror: &CopySpec, key: Key) -> Result<(), ReplicationError> {
    let limit = super::MIRRORED_BYTES_MAX;
    let (at_home, here) = (home.fetch_up_to(&key, limit).await?, mirror.fetch_up_to(&key, limit).await?);
    match at_home {
        Some(bytes) if here.is_some_and(|here| here != bytes) => {
            Err(ReplicationError::Conflict { copy: mirror.name.clone(), key })
        }
        _ => Ok(()),
    }
}
