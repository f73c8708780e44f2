//! Which objects of a history are really there: the gaps between them are known before anything is promised.

use std::collections::BTreeSet;

use rpo_core::{Epoch, StreamId};
use rpo_replication::batch::BatchHead;
use rpo_replication::object::{OBJECT_BYTES_MAX, Place, open_object};
use rpo_replication::{Archive, ArchiveObject, Leg, ReplicationError, batch_key, epoch_prefix, healed_key};
use rpo_repository::Repository;
use rpo_storage::{Key, ListRequest};

use crate::RecoveryError;
use crate::catalogue::Range;

/// A leg of a history, cut where an object of it is missing.
pub(crate) async fn pieces(
    repository: &Repository,
    stream: &StreamId,
    leg: &Leg,
) -> Result<Vec<Leg>, RecoveryError> {
    let archive = Archive::of(repository.clone(), stream.clone());
    let looker = Looker { repository, stream, epoch: leg.epoch, archive };
    let mut missing = looker.missing(leg).await?;
    let mut pieces = Vec::new();
    let mut rest = leg.clone();
    while let Some(lost) = missing.pop_first() {
        if lost > rest.first {
            // A neighbour that cannot be read leads nowhere either: the gap begins before it.
            let before = looker.head_near((rest.first..lost).rev()).await;
            pieces.extend(before.map(|head| Leg {
                last: head.number,
                to: head.to,
                last_time: head.last_time,
                ..rest.clone()
            }));
        }
        let Some(head) = looker.head_near(lost + 1..=rest.last).await else { return Ok(pieces) };
        missing.retain(|number| *number >= head.number);
        rest = Leg {
            first: head.number,
            from: head.from,
            first_time: head.first_time,
            parent: head.parent,
            ..rest
        };
    }
    pieces.push(rest);
    Ok(pieces)
}

/// The pieces of all legs as recovery plans with them.
pub(crate) fn ranges(pieces: &[Leg]) -> Vec<Range> {
    let range = |leg: &Leg| Range {
        epoch: leg.epoch,
        from: leg.from,
        to: leg.to,
        first_time: leg.first_time,
        last_time: leg.last_time,
    };
    pieces.iter().map(range).collect()
}

#[derive(Default)]
struct Listed {
    all: BTreeSet<u64>,
    healed: BTreeSet<u64>,
    /// The highest number under its own name.
    own_last: Option<u64>,
}

struct Looker<'a> {
    repository: &'a Repository,
    stream: &'a StreamId,
    epoch: Epoch,
    archive: Archive,
}

impl Looker<'_> {
    /// Numbers of the leg that no object has, or that record a gap. The listing is a hint: what it lacks is asked for by name.
    async fn missing(&self, leg: &Leg) -> Result<BTreeSet<u64>, RecoveryError> {
        let listed = self.listed(leg).await?;
        let mut missing: BTreeSet<u64> = self.archive.gaps(leg).await.iter().map(|gap| gap.number).collect();
        let merged = self.archive.merged_ranges(self.epoch).await?;
        let merged = |number: &u64| merged.iter().any(|range| range.contains(number));
        for number in (leg.first..=leg.last).filter(|n| !listed.all.contains(n) && !merged(n)) {
            let mut there = false;
            for key in self.keys(number) {
                there = there || self.repository.exists(&key).await.map_err(lost_answer)?;
            }
            if !there {
                missing.insert(number);
            }
        }
        // A copy that was fenced while it lagged: its last object of the epoch's own is the fence, and is no batch.
        if let Some(fence) = listed.own_last.filter(|last| *last < leg.last && !listed.healed.contains(last))
            && self.head_near(fence..=fence).await.is_none()
        {
            missing.insert(fence);
        }
        Ok(missing)
    }

    async fn listed(&self, leg: &Leg) -> Result<Listed, RecoveryError> {
        let prefix = epoch_prefix(self.stream, self.epoch);
        let mut listed = Listed::default();
        let mut start_after =
            leg.first.checked_sub(1).map(|before| batch_key(self.stream, self.epoch, before));
        loop {
            let request = ListRequest { prefix: prefix.clone(), start_after, limit: None };
            let page = self.repository.storage().list(request).await.map_err(|e| lost_answer(e.into()))?;
            for key in page.objects.iter().map(|meta| &meta.key) {
                let Some(number) = rpo_repository::layout::number_of(key) else { continue };
                if *key == batch_key(self.stream, self.epoch, number) {
                    listed.own_last = listed.own_last.max(Some(number));
                } else if *key == healed_key(self.stream, self.epoch, number) {
                    listed.healed.insert(number);
                } else {
                    continue; // merged objects and notes have numbers of their own
                }
                listed.all.insert(number);
            }
            start_after = page.objects.last().map(|meta| meta.key.clone());
            if !page.more || start_after.is_none() {
                return Ok(listed);
            }
        }
    }

    fn keys(&self, number: u64) -> [Key; 2] {
        [batch_key(self.stream, self.epoch, number), healed_key(self.stream, self.epoch, number)]
    }

    /// The head of the first of these batches that can be read.
    async fn head_near(&self, numbers: impl Iterator<Item = u64>) -> Option<BatchHead> {
        for number in numbers {
            if let Ok(Some(head)) = self.archive.merged_head(self.epoch, number).await {
                return Some(head);
            }
            let place = Place { stream: self.stream, epoch: self.epoch, number };
            for key in self.keys(number) {
                let Ok(Some(bytes)) = self.repository.get_bytes(&key, OBJECT_BYTES_MAX).await else {
                    continue;
                };
                match open_object(self.repository.keys(), place, &bytes) {
                    Ok(ArchiveObject::Batch(batch)) if batch.head.is_gap() => {}
                    Ok(ArchiveObject::Batch(batch)) => return Some(batch.head),
                    Ok(ArchiveObject::Fence(_)) => {}
                    Err(error) => tracing::warn!(%key, %error, "a batch beside a gap cannot be read"),
                }
            }
        }
        None
    }
}

fn lost_answer(source: rpo_repository::RepositoryError) -> RecoveryError {
    let copy = rpo_core::CopyName::new("archive").expect("`archive` is a name");
    RecoveryError::Archive(ReplicationError::Repository { copy, source: Box::new(source) })
}
