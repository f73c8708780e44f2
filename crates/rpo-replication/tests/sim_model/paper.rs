//! A log on paper: durable at once, never lost, so that everything that goes wrong goes wrong on the way to the copies.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rpo_core::frame::{CommitDraft, FrameBuilder, FrameFields};
use rpo_core::{Clock, Epoch, Lsn, MarkerKind, Position, Timestamp};
use rpo_replication::{FrameSource, SourceFault};

#[derive(Debug)]
pub(crate) struct PaperLog {
    first: Position,
    clock: Arc<dyn Clock>,
    pages: Mutex<Pages>,
}

#[derive(Debug)]
struct Pages {
    frames: Vec<(Lsn, Vec<u8>)>,
    end: Position,
    chain: u32,
    time: Timestamp,
}

impl PaperLog {
    pub(crate) fn new(first: Position, time: Timestamp, clock: Arc<dyn Clock>) -> Self {
        Self { first, clock, pages: Mutex::new(Pages { frames: Vec::new(), end: first, chain: 0, time }) }
    }

    /// One frame with one commit; returns where it begins and ends.
    pub(crate) fn commit(&self, payload: Bytes) -> (Lsn, Position) {
        let mut builder = FrameBuilder::new();
        builder.push_commit(&CommitDraft::one(payload)).expect("a small commit");
        self.write(builder)
    }

    fn write(&self, builder: FrameBuilder) -> (Lsn, Position) {
        let mut pages = self.pages.lock().expect("one thread");
        pages.time = pages.time.max(self.clock.wall());
        let fields = FrameFields {
            base_lsn: pages.end.lsn,
            base_seq: pages.end.sequence.expect("a stream of our own"),
            epoch: pages.end.epoch,
            durable_lsn: pages.end.lsn,
            commit_time: pages.time,
            prev_chain: pages.chain,
            salt: 7,
        };
        let (head, bytes) = builder.finish(&fields).expect("the rules of frames");
        let from = pages.end.lsn;
        pages.frames.push((from, bytes));
        pages.end = head.end();
        pages.chain = head.chain();
        (from, pages.end)
    }
}

impl FrameSource for PaperLog {
    fn epoch(&self) -> Epoch {
        self.first.epoch
    }

    fn first(&self) -> Position {
        self.first
    }

    fn durable(&self) -> Position {
        self.pages.lock().expect("one thread").end
    }

    fn read_frames(&self, from: Lsn, bytes_max: usize) -> Result<Bytes, SourceFault> {
        let pages = self.pages.lock().expect("one thread");
        let mut out = Vec::new();
        for (_, frame) in pages.frames.iter().skip_while(|(lsn, _)| *lsn < from) {
            if !out.is_empty() && out.len() + frame.len() > bytes_max {
                break;
            }
            out.extend_from_slice(frame);
        }
        Ok(out.into())
    }

    fn heartbeat(&self) -> Result<(), SourceFault> {
        let mut builder = FrameBuilder::new();
        builder.push_marker(&MarkerKind::Heartbeat).expect("a marker fits");
        self.write(builder);
        Ok(())
    }
}
