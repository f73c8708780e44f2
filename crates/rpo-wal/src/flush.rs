//! One group: one write, one sync, then everybody is told. The only place that writes to live segments.

use std::io;
use std::iter::Peekable;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rpo_core::frame::FrameFields;
use rpo_core::{DiskFile, Lsn, Monotonic, Position, Sequence, Timestamp};

use crate::catalog::SegmentView;
use crate::engine::Engine;
use crate::scan::Expect;
use crate::segment::{Bound, FRAMES_OFFSET};
use crate::state::{ClosedFrame, Life, Plan, segment_room};
use crate::sync::locked;

/// What a step of the flusher did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flushed {
    Did,
    /// Nothing to do before this much time has passed, or before something new comes.
    Idle(Option<Duration>),
    Poisoned,
}

/// The segment that is being written, and what the next frame must carry.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) current: Option<Current>,
    /// Chain value of the last frame; none if there is no frame before.
    pub(crate) chain: Option<u32>,
    pub(crate) time: Timestamp,
    pub(crate) ordinal: u64,
    pub(crate) written: Position,
    pub(crate) durable: Position,
}

#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) view: Arc<SegmentView>,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) offset: u64,
    /// Its name is still that of a spare.
    pub(crate) unnamed: bool,
}

type Failure = String;

impl Engine {
    /// Flushes one group, if there is one.
    pub(crate) fn flush_once(&self) -> Flushed {
        let mut writer = locked(&self.writer);
        let mut state = locked(&self.state);
        if matches!(state.life, Life::Poisoned(_)) {
            return Flushed::Poisoned;
        }
        let Some(plan) = state.plan(&self.config, &*self.parts.clock) else {
            let now = self.parts.clock.monotonic();
            return Flushed::Idle(state.due_in(now, &self.config));
        };
        drop(state);
        match self.carry_out(&mut writer, plan) {
            Ok(()) => Flushed::Did,
            Err(cause) => {
                self.poison(&cause); // before anyone is released
                Flushed::Poisoned
            }
        }
    }

    fn carry_out(&self, writer: &mut Writer, plan: Plan) -> Result<(), Failure> {
        let mut frames = plan.frames.into_iter().peekable();
        while frames.peek().is_some() {
            if frames.peek().is_some_and(|f| f.switch) && writer.written.lsn > writer.durable.lsn {
                self.sync(writer)?; // a new segment is bound only once all before it is durable
            }
            self.write_run(writer, &mut frames, plan.acknowledge_written)?;
        }
        if plan.sync { self.sync(writer) } else { Ok(()) }
    }

    /// Writes the frames up to the next switch of segments, in one write.
    fn write_run(
        &self,
        writer: &mut Writer,
        frames: &mut Peekable<impl Iterator<Item = ClosedFrame>>,
        acknowledge: bool,
    ) -> Result<(), Failure> {
        let Some(first) = frames.peek() else { return Ok(()) };
        let first_at = first.first_at;
        let mut bytes =
            if first.switch { self.bind(writer, first.base_lsn, first.base_seq)? } else { Vec::new() };
        let Some(current) = &mut writer.current else {
            return Err("a frame has no segment to go to".to_owned()); // never: admit plans the switches
        };
        let start = if bytes.is_empty() { current.offset } else { 0 };
        let salt = current.view.bound.salt as u32; // the low half, by the format
        let mut first_of_run = true;
        while let Some(frame) = frames.next_if(|f| first_of_run || !f.switch) {
            first_of_run = false;
            let place = Expect {
                offset: start + bytes.len() as u64,
                lsn: frame.base_lsn,
                seq: frame.base_seq,
                chain: writer.chain.unwrap_or(0),
                time: writer.time,
                epoch: writer.written.epoch,
                salt,
            };
            let (time, end) = (frame.time, frame.end_lsn());
            let seq = frame.base_seq.get() + u64::from(frame.builder.commits());
            let fields = FrameFields {
                base_lsn: place.lsn,
                base_seq: place.seq,
                epoch: place.epoch,
                durable_lsn: writer.durable.lsn,
                commit_time: time,
                prev_chain: place.chain,
                salt,
            };
            let (head, frame) = frame.builder.finish(&fields).map_err(|e| e.to_string())?;
            bytes.extend_from_slice(&frame);
            current.view.note(place, time);
            writer.chain = Some(head.chain());
            writer.time = time;
            writer.written = Position { lsn: end, sequence: Some(Sequence::new(seq)), ..writer.written };
        }
        current.offset = start + bytes.len() as u64;
        let result = current.file.write_at(&bytes, start);
        result.map_err(|e| failure("write", &current.view, start, &e))?;
        self.counters.writes.fetch_add(1, Ordering::Relaxed);
        self.counters.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        locked(&self.state).note_written(writer.written, first_at, acknowledge);
        if acknowledge {
            self.announce(None);
        }
        Ok(())
    }

    /// Takes a spare into use; returns the header bytes that go before its first frame.
    fn bind(&self, writer: &mut Writer, base_lsn: Lsn, base_seq: Sequence) -> Result<Vec<u8>, Failure> {
        let spare = locked(&self.state).take_spare().ok_or("a segment was promised and is not there")?;
        self.upkeep.notify_one();
        writer.ordinal += 1;
        let epoch = locked(&self.state).epoch;
        writer.written.epoch = epoch;
        writer.durable.epoch = epoch;
        let bound = Bound {
            salt: spare.prepared.salt,
            ordinal: writer.ordinal,
            base_lsn,
            base_seq,
            epoch,
            prev_chain: writer.chain,
        };
        let capacity = spare.prepared.capacity;
        let view = Arc::new(SegmentView::new(bound, capacity, Arc::clone(&spare.file), spare.path));
        let mut catalog = self.catalog.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        catalog.add(Arc::clone(&view));
        drop(catalog);
        writer.current = Some(Current { view, file: spare.file, offset: FRAMES_OFFSET, unnamed: true });
        Ok([spare.prepared.encode(), bound.encode()].concat())
    }

    /// Makes everything written durable, and tells.
    fn sync(&self, writer: &mut Writer) -> Result<(), Failure> {
        let Some(current) = &mut writer.current else { return Ok(()) };
        let carried = writer.durable.lsn; // what the frames being synced say is durable
        #[cfg(feature = "planted-bugs")]
        if self.has_bug(crate::planted::Bug::AckBeforeSync) {
            self.publish(writer.written, carried);
        }
        let result = current.file.sync();
        #[cfg(feature = "planted-bugs")]
        let result = match result {
            Err(_) if self.has_bug(crate::planted::Bug::RetriedFsync) => current.file.sync(),
            other => other,
        };
        result.map_err(|e| failure("sync", &current.view, current.offset, &e))?;
        self.counters.syncs.fetch_add(1, Ordering::Relaxed);
        writer.durable = writer.written;
        if std::mem::take(&mut current.unnamed) {
            locked(&self.state).to_rename.push_back(Arc::clone(&current.view));
            self.upkeep.notify_one();
        }
        self.publish(writer.durable, carried);
        Ok(())
    }

    fn publish(&self, durable: Position, witnessed: Lsn) {
        let (now, wall): (Monotonic, Timestamp) = (self.parts.clock.monotonic(), self.parts.clock.wall());
        locked(&self.state).note_durable(durable, witnessed, now, wall);
        self.announce(Some((durable, wall, now))); // the time before anybody could be told
    }
}

fn failure(op: &str, view: &SegmentView, offset: u64, error: &io::Error) -> Failure {
    format!("{op} of {} up to offset {offset} failed: {error}", view.path().display())
}

impl Writer {
    /// Bytes left for frames in the segment being written.
    pub(crate) fn room(&self) -> u64 {
        self.current.as_ref().map_or(0, |c| c.view.capacity.saturating_sub(c.offset))
    }
}

/// Whether a spare of this capacity can take what `admit` plans for.
pub(crate) fn usable(capacity: u64, config: &crate::config::WalConfig) -> bool {
    capacity == segment_room(config) + FRAMES_OFFSET
}
