//! Sending again what a mirror had and has lost: mirroring itself asks for each object once.

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use rpo_repository::Receipt;
use rpo_storage::Key;

use super::{Mirror, place};
use crate::ReplicationError;
use crate::copies::CopySpec;

impl Mirror {
    /// Sends the objects of `receipts` that the mirror does not have, each checked against its receipt as the first time.
    /// Returns how many were sent.
    ///
    /// # Errors
    /// `NotFound`: home does not have one either. `MirrorDigest`: at home it is not what its bill says. `Conflict`: the
    /// mirror holds other bytes under the name. Else what a store said. What was sent before stays.
    pub async fn resend(&self, receipts: &[Receipt]) -> Result<u64, ReplicationError> {
        let copies: Vec<_> = receipts.iter().map(|receipt| self.copy_object(receipt).boxed()).collect();
        let copied: Vec<u64> =
            stream::iter(copies).buffered(self.config.parallel_objects).try_collect().await?;
        Ok(copied.iter().filter(|length| **length > 0).count() as u64)
    }

    /// Looks again whether the records that steps have put into the mirror are still there: sessions and bills are sent
    /// again, the ends of sessions with the next [`step`](Self::step). Returns how many were gone.
    ///
    /// # Errors
    /// What a store said; the next look goes on.
    pub async fn recheck(&mut self) -> Result<u64, ReplicationError> {
        let records = self.sessions.recheck(&self.home, &self.mirror).await?;
        Ok(records + self.queue.recheck(&self.home, &self.mirror).await?)
    }
}

/// Copies `key` as it stands at home, unless the mirror has it after all (a listing is a hint) or home has it no more.
/// Returns whether it was gone.
pub(super) async fn send_again(
    home: &CopySpec,
    mirror: &CopySpec,
    key: Key,
) -> Result<bool, ReplicationError> {
    if mirror.length(&key).await?.is_some() {
        return Ok(false);
    }
    let Some(bytes) = home.fetch(&key).await? else { return Ok(false) };
    place(mirror, &key, &bytes).await?;
    Ok(true)
}
