//! What a copy cannot get as batches any more: merged objects and expiry notes of other copies, taken over byte for byte.

use rpo_core::{Epoch, StreamId};
use rpo_storage::Key;

use crate::ReplicationError;
use crate::copies::CopySpec;
use crate::merged::Line;
use crate::names::{expired_key, healed_merged_key, merged_key};
use crate::store::Placed;

/// Gives `copy` the notes and merged objects of whichever peer has gone furthest, if they speak for numbers that `copy`
/// lacks; their parts may be gone everywhere. Returns the objects given. A peer that does not answer is passed over.
///
/// In a copy that is fenced merged objects go under `healed/`: under their own names they would stand for the fence.
pub(crate) async fn adopt(
    copy: &CopySpec,
    peers: &[CopySpec],
    stream: &StreamId,
    epoch: Epoch,
) -> Result<u64, ReplicationError> {
    let Some((peer, theirs, covered)) = furthest(peers, stream, epoch).await else { return Ok(0) };
    let (next, fence) = copy.end(stream, epoch).await?;
    let held = match fence {
        None => next - 1,
        Some(_) => copy.healed_end(stream, epoch, next - 2).await?,
    };
    if held >= covered {
        return Ok(0);
    }
    let mut given = 0;
    if let Some(note) = theirs.note.as_ref().filter(|note| note.first_kept > held + 1 && fence.is_none()) {
        for number in 1..=note.number {
            let key = expired_key(stream, epoch, number);
            given += carry(copy, peer, &key, &[&key]).await?;
        }
    }
    let ours = copy.line(stream, epoch).await?;
    for number in theirs.first.max(ours.last + 1)..=theirs.last {
        let (own, healed) = (merged_key(stream, epoch, number), healed_merged_key(stream, epoch, number));
        let to = if fence.is_none() { &own } else { &healed };
        given += carry(copy, peer, to, &[&own, &healed]).await?;
    }
    Ok(given)
}

/// The peer whose merged objects and notes speak for the highest number.
async fn furthest<'a>(
    peers: &'a [CopySpec],
    stream: &StreamId,
    epoch: Epoch,
) -> Option<(&'a CopySpec, Line, u64)> {
    let mut best: Option<(&CopySpec, Line, u64)> = None;
    for peer in peers {
        let found = async {
            let line = peer.line(stream, epoch).await?;
            let expired = line.note.as_ref().map_or(0, |note| note.first_kept - 1);
            let merged = match line.last >= line.first {
                true => peer.merged(stream, epoch, line.last).await?.map_or(0, |index| index.head.last),
                false => 0,
            };
            Ok::<_, ReplicationError>((line, merged.max(expired)))
        };
        match found.await {
            Ok((line, covered)) if covered > best.as_ref().map_or(0, |best| best.2) => {
                best = Some((peer, line, covered));
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(copy = %peer.name, %error, "passed over while a copy is completed"),
        }
    }
    best
}

/// The bytes under one of `from` in `peer`, placed under `to` in `copy`; 1 if they were not there.
async fn carry(copy: &CopySpec, peer: &CopySpec, to: &Key, from: &[&Key]) -> Result<u64, ReplicationError> {
    if copy.length(to).await?.is_some() {
        return Ok(0);
    }
    for key in from {
        let Some(bytes) = peer.fetch(key).await? else { continue };
        rpo_crypto::check_digest(key.as_str(), &bytes)
            .map_err(|source| ReplicationError::Envelope { key: key.to_string(), source })?;
        return match copy.place(to, &bytes).await? {
            Placed::Ours => Ok(1),
            Placed::Taken(_) => Err(ReplicationError::Conflict { copy: copy.name.clone(), key: to.clone() }),
        };
    }
    Err(ReplicationError::NotFound(format!("copy {}: {to} was there and is not any more", peer.name)))
}
