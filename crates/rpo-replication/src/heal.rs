//! What came before an epoch: its line of parents, fences, and completing a copy that was fenced while it lagged.

use bytes::Bytes;
use rpo_core::{Entropy, Epoch, StreamId, Timestamp};

use crate::ReplicationError;
use crate::adopt::adopt;
use crate::batch::ParentLink;
use crate::copies::CopySpec;
use crate::fence::Fence;
use crate::names::{batch_key, healed_key};
use crate::object::{ArchiveObject, Place, open_object, seal_fence};
use crate::store::{Placed, fetch_from_any};

/// Who fences, and why.
pub(crate) struct Claim<'a> {
    pub(crate) by: Epoch,
    pub(crate) id: [u8; 16],
    pub(crate) time: Timestamp,
    pub(crate) note: &'a str,
    pub(crate) entropy: &'a dyn Entropy,
}

/// The links from `epoch` back to the first, nearest first. Ends early where retention has taken an epoch's start.
pub(crate) async fn lineage(
    copies: &[CopySpec],
    stream: &StreamId,
    epoch: Epoch,
) -> Result<Vec<ParentLink>, ReplicationError> {
    let mut links = Vec::new();
    let mut at = epoch;
    loop {
        let place = Place { stream, epoch: at, number: 1 };
        let Some((ArchiveObject::Batch(batch), _)) = fetch_from_any(copies.iter(), place).await? else {
            return Ok(links);
        };
        let Some(link) = batch.head.parent else { return Ok(links) };
        at = link.epoch; // smaller than before: the format says so
        links.push(link);
    }
}

/// Makes sure that `copy` holds a fence in `epoch`, and returns it: ours, or that of whoever was there first.
pub(crate) async fn fence_copy(
    copy: &CopySpec,
    stream: &StreamId,
    epoch: Epoch,
    claim: &Claim<'_>,
) -> Result<Fence, ReplicationError> {
    let (mut number, ended) = copy.end(stream, epoch).await?;
    if let Some(fence) = ended {
        return Ok(fence);
    }
    loop {
        // What is merged or expired may be gone by the time the fence lands: a fence among that stops nobody.
        number = number.max(copy.covered(stream, epoch).await? + 1);
        let note = claim.note.to_owned();
        let Claim { by, id, time, .. } = *claim;
        let fence = Fence { stream: stream.clone(), epoch, number, by, claim: id, time, note };
        let bytes = seal_fence(copy.repository.keys(), claim.entropy, &fence)?;
        match copy.place(&batch_key(stream, epoch, number), &bytes).await? {
            // Looked at again, now that it is there: only a fence that nothing covers stands where the writer goes on.
            Placed::Ours if copy.covered(stream, epoch).await? < number => return Ok(fence),
            Placed::Ours => {}
            Placed::Taken(found) => {
                let place = Place { stream, epoch, number };
                if let Ok(ArchiveObject::Fence(fence)) = open_object(copy.repository.keys(), place, &found)
                    && copy.covered(stream, epoch).await? < number
                {
                    return Ok(fence);
                }
                number += 1; // the writer was quicker by one batch
            }
        }
    }
}

/// Gives `copy` what it lacks of the parent's history up to `link`, and fences the parent there. Returns the objects given.
///
/// Before its fence an object goes under its own name, where the old writer would have put the same bytes; after the fence
/// under `healed/`.
pub(crate) async fn bring_up(
    copy: &CopySpec,
    peers: &[CopySpec],
    stream: &StreamId,
    link: &ParentLink,
    claim: &Claim<'_>,
) -> Result<u64, ReplicationError> {
    let epoch = link.epoch;
    let mut given = adopt(copy, peers, stream, epoch).await?;
    given += fill(copy, peers, stream, link).await?;
    let fenced_at = fence_copy(copy, stream, epoch, claim).await?.number;
    let held = copy.healed_end(stream, epoch, fenced_at - 1).await?;
    let mut lacking = Vec::new();
    for number in kept_by_peers(peers, stream, epoch, held + 1..=link.number).await? {
        if copy.length(&healed_key(stream, epoch, number)).await?.is_none() {
            lacking.push(number);
        }
    }
    for number in &lacking {
        let key = healed_key(stream, epoch, *number);
        let bytes = from_peers(peers, Place { stream, epoch, number: *number }).await?;
        if let Placed::Taken(_) = copy.place(&key, &bytes).await? {
            return Err(ReplicationError::Conflict { copy: copy.name.clone(), key });
        }
    }
    Ok(given + lacking.len() as u64)
}

/// Objects under their own names, up to the link or to a fence.
async fn fill(
    copy: &CopySpec,
    peers: &[CopySpec],
    stream: &StreamId,
    link: &ParentLink,
) -> Result<u64, ReplicationError> {
    let epoch = link.epoch;
    let (next, ended) = copy.end(stream, epoch).await?;
    if ended.is_some() {
        return Ok(0);
    }
    let mut given = 0;
    for number in kept_by_peers(peers, stream, epoch, next..=link.number).await? {
        let place = Place { stream, epoch, number };
        let bytes = from_peers(peers, place).await?;
        if let Placed::Taken(found) = copy.place(&place.key(), &bytes).await? {
            return match open_object(copy.repository.keys(), place, &found)? {
                ArchiveObject::Fence(_) => Ok(given), // fenced meanwhile: the rest is healed
                ArchiveObject::Batch(_) => {
                    Err(ReplicationError::Conflict { copy: copy.name.clone(), key: place.key() })
                }
            };
        }
        given += 1;
    }
    Ok(given)
}

/// Those of `numbers` that peers hold without a break up to the last: what is missing before them, retention has taken.
async fn kept_by_peers(
    peers: &[CopySpec],
    stream: &StreamId,
    epoch: Epoch,
    numbers: std::ops::RangeInclusive<u64>,
) -> Result<Vec<u64>, ReplicationError> {
    let mut kept = Vec::new();
    for number in numbers.rev() {
        let mut trouble = None;
        let mut found = false;
        for peer in peers {
            for key in [batch_key(stream, epoch, number), healed_key(stream, epoch, number)] {
                match peer.length(&key).await {
                    Ok(length) => found |= length.is_some(),
                    Err(error) => trouble = Some(error),
                }
            }
        }
        match trouble {
            _ if found => kept.push(number),
            Some(error) => return Err(error), // it may be there: absence is not concluded from silence
            None => break,
        }
    }
    kept.reverse();
    Ok(kept)
}

async fn from_peers(peers: &[CopySpec], place: Place<'_>) -> Result<Bytes, ReplicationError> {
    match fetch_from_any(peers.iter(), place).await? {
        Some((_, bytes)) => Ok(bytes),
        None => Err(ReplicationError::Gap {
            stream: place.stream.clone(),
            epoch: place.epoch,
            number: place.number,
            hint: "a copy that lagged needs it and no copy that answers has it; bring one back that does",
        }),
    }
}
