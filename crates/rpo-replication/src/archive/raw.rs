//! Reading a history as the frames that were shipped, byte for byte: for mending a log, and for comparing one.

use std::pin::Pin;

use futures::{Stream, StreamExt, TryStreamExt, stream};
use rpo_core::Lsn;
use rpo_core::frame::Frame;

use super::{Archive, History};
use crate::ReplicationError;
use crate::frames::decode_run;

/// Whole frames in LSN order; ends with the first error.
pub type FrameStream = Pin<Box<dyn Stream<Item = Result<Frame, ReplicationError>> + Send>>;

impl Archive {
    /// The frames of `history` that end after `from`, in order, each checked by itself and against the one before in its
    /// object; what they follow on across objects is the caller's to check. Holds one object in memory.
    ///
    /// # Errors
    /// At once: none of the objects can be found. In the stream, as its last item: what is wrong with an object.
    pub async fn frames(&self, history: &History, from: Lsn) -> Result<FrameStream, ReplicationError> {
        let mut objects = Vec::new();
        for leg in history.legs.iter().filter(|leg| leg.to.lsn > from) {
            let first = if leg.from.lsn < from { self.number_at(leg, from).await? } else { leg.first };
            objects.push((leg.clone(), first));
        }
        let archive = self.clone();
        let numbers = objects.into_iter().flat_map(|(leg, first)| {
            let last = leg.last;
            (first..=last).map(move |number| (leg.clone(), number))
        });
        let frames = stream::iter(numbers).then(move |(leg, number)| {
            let archive = archive.clone();
            async move {
                let batch = archive.batch(leg.epoch, number, None).await?;
                let mut frames = Vec::new();
                if batch.head.frames > 0 {
                    let key = archive.place(leg.epoch, number).key();
                    let misplaced = |why: String| ReplicationError::Misplaced { key: key.clone(), why };
                    let bytes = batch.frames().map_err(|source| misplaced(source.to_string()))?;
                    frames = decode_run(&bytes, leg.epoch).map_err(|error| misplaced(error.to_string()))?;
                }
                frames.retain(|frame| frame.head().end_lsn() > from && frame.head().end_lsn() <= leg.to.lsn);
                Ok::<_, ReplicationError>(stream::iter(frames.into_iter().map(Ok)))
            }
        });
        Ok(frames.try_flatten().boxed())
    }
}
