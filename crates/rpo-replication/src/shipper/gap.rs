//! Recording that a range of the log is lost: explicit, named, and in the chain like a batch.

use rpo_core::Position;

use super::LogShipper;
use crate::ReplicationError;
use crate::batch::{BatchCodec, BatchHead, Digest};
use crate::gap::{GapRecord, GapSpan};
use crate::object::{Place, format_error, seal_batch};
use crate::spool::Tip;

impl LogShipper {
    /// Records that nothing between the last batch and `to` will ever be shipped, because the log or the spool lost it and
    /// somebody accepted that. The next batch begins at `to`. On `Ok` the record is durable in the spool, and goes to the
    /// copies with the next steps like a batch; nothing is retried or dropped by itself.
    ///
    /// # Errors
    /// `Invalid`: `to` is of another epoch, lies at or before the end of the last batch, or past the durable end of the log;
    /// or a text is empty or too long. Else as [`step`](Self::step).
    pub async fn record_gap(&mut self, to: Position, record: GapRecord) -> Result<GapSpan, ReplicationError> {
        self.stop_on_incident()?;
        self.settle().await?;
        let shared = &*self.shared;
        let tip = shared.spool.tip().expect("the spool has an origin once it is settled");
        let durable = shared.parts.source.durable();
        if to.epoch != shared.epoch || to.lsn <= tip.position.lsn || to.lsn > durable.lsn {
            return Err(ReplicationError::Invalid(format!(
                "a gap of {} from {} to {to} cannot be: it ends in epoch {}, after the last batch and at most at {durable}, where the log ends",
                shared.stream, tip.position, shared.epoch
            )));
        }
        if to.sequence < tip.position.sequence || to.sequence.is_some() != tip.position.sequence.is_some() {
            let why = format!("a gap from {} to {to} would count commits backwards", tip.position);
            return Err(ReplicationError::Invalid(why));
        }
        let number = tip.number + 1;
        let key = Place { stream: &shared.stream, epoch: shared.epoch, number }.key();
        let body = record.encode().map_err(|error| ReplicationError::Invalid(error.to_string()))?;
        let head = BatchHead {
            stream: shared.stream.clone(),
            number,
            previous: tip.digest,
            from: tip.position,
            to,
            first_time: tip.time,
            last_time: tip.time,
            codec: BatchCodec::None,
            plain_bytes: body.len() as u64,
            frames: 0,
            points: 0,
            transactions: None,
            prev_chain: tip.chain,
            last_chain: 0, // that of the frame before `to`, which is lost
            sealed_at: shared.parts.clock.wall(),
            writer: shared.writer,
            parent: None,
            gap_before: tip.newest_gap,
        };
        let sealed = seal_batch(&shared.keys, &*shared.parts.entropy, &head, &body)?;
        shared.spool.append(Tip::of(&head, Digest::of(&sealed)), &sealed)?;
        GapSpan::of(&head, &body).map_err(|source| format_error(&key, source))
    }
}
