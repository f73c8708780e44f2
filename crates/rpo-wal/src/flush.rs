//! One group: one write, one sync, then everybody is told. The only place that writes to live segments.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rpo_core::frame::FrameFields;
use rpo_core::{DiskFile, Lsn, Monotonic, Position, Sequence, Timestamp};

use crate::catalog::SegmentView;
use crate::engine::{Drive, Engine};
use crate::error::WalError;
use crate::event::WalEvent;
use crate::scan::Expect;
use crate::segment::{Bound, FRAMES_OFFSET};
use crate::sleepers::Released;
use crate::state::{Accepted, ClosedFrame, Life, Plan, segment_room};
use crate::sync::locked;

/// Frames from this size on are written from where they are; smaller ones are gathered into one write.
const ALONE_BYTES: usize = 64 << 10;

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
    /// Buffer for small frames that are written together.
    pub(crate) gathered: Vec<u8>,
    /// Room for the buffers of a group that was written.
    pub(crate) buffers: Vec<Vec<u8>>,
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

/// What became durable, and when.
#[derive(Debug, Clone, Copy)]
struct Synced {
    durable: Position,
    /// What the frames that were synced say is durable.
    witnessed: Lsn,
    wall: Timestamp,
    steady: Monotonic,
    took: Duration,
}

/// Poisons the log if whoever carries out a group panics, so that nobody waits for ever.
struct Leading<'a>(&'a Engine);

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        self.0.poison("a thread panicked while it wrote to the log");
    }
}

impl Engine {
    /// Flushes one group, if there is one and nobody else does.
    pub(crate) fn flush_once(&self) -> Flushed {
        let mut state = locked(&self.state);
        if matches!(state.life, Life::Poisoned(_)) {
            return Flushed::Poisoned;
        }
        let Some(plan) = state.plan(&self.config, &*self.parts.clock) else {
            let now = self.parts.clock.monotonic();
            return Flushed::Idle(state.due_in(now, &self.config));
        };
        drop(state);
        if self.carry_out(plan) { Flushed::Did } else { Flushed::Poisoned }
    }

    /// Writes and syncs a group, and tells those who wait for it; false if that failed and the log is poisoned.
    pub(crate) fn carry_out(&self, mut plan: Plan) -> bool {
        self.moved.notify_all(); // there is room for more
        let guard = Leading(self);
        let mut writer = locked(&self.writer);
        let mut buffers = std::mem::take(&mut writer.buffers);
        let result = self.write_and_sync(&mut writer, &mut plan, &mut buffers);
        drop(writer);
        std::mem::forget(guard);
        match result {
            Ok(synced) => {
                self.complete(plan, synced, buffers);
                true
            }
            Err(cause) => {
                #[cfg(feature = "planted-bugs")]
                self.acknowledge_first(&plan);
                self.poison(&cause); // before anyone is released
                false
            }
        }
    }

    /// The group is done: whoever waits for it is told, after somebody is free to take the next one.
    fn complete(&self, plan: Plan, synced: Option<Synced>, mut buffers: Vec<Vec<u8>>) {
        let mut state = locked(&self.state);
        if let Some(synced) = synced {
            state.note_durable(synced.durable, synced.witnessed, synced.steady, synced.wall);
            let queued = state.gathering.gathered;
            state.gathering.cohort.released(plan.gathered, queued, synced.took, synced.steady);
        }
        self.follow(&state);
        state.recycle(plan.frames, &mut buffers);
        let released = state.release();
        let next = state.hand_over(&self.config, self.leads_inline());
        #[cfg(feature = "planted-bugs")]
        let next =
            if self.has_bug(crate::planted::Bug::NoHandOver) { crate::gather::Next::Nobody } else { next };
        let gathering = state.gathering.group;
        let began = state.flushing_since.take();
        let stepped = std::mem::take(&mut state.stepped);
        drop(state);
        let told = plan.gathered > 0;
        #[cfg(feature = "planted-bugs")]
        let told = told && !self.has_bug(crate::planted::Bug::LostWakeup);
        if told {
            self.done[(plan.group % 2) as usize].notify_all();
        }
        if self.drive != Drive::Manual {
            self.tell_next(next, gathering);
        }
        self.tell(released);
        self.announce();
        let slow = began.zip(synced).map(|((since, _), synced)| synced.steady.since(since));
        let after = self.config.stall_after.get();
        if let Some(took) = slow.filter(|took| !after.is_zero() && *took > after) {
            if began.is_some_and(|(_, told)| !told) {
                self.tell_event(&WalEvent::Stalled { elapsed: took });
            }
            self.tell_event(&WalEvent::Resumed { took });
        }
        for anomaly in stepped {
            self.tell_event(&WalEvent::ClockStepped(anomaly));
        }
    }

    #[cfg(feature = "planted-bugs")]
    fn acknowledge_first(&self, plan: &Plan) {
        if self.has_bug(crate::planted::Bug::AckOnFailedSync) {
            let durable = locked(&self.state).written;
            let (steady, wall, took) =
                (self.parts.clock.monotonic(), self.parts.clock.wall(), Duration::ZERO);
            self.publish(Some(Synced { durable, witnessed: Lsn::ZERO, wall, steady, took }), plan.group);
        }
    }

    fn tell(&self, released: Released) {
        #[cfg(feature = "planted-bugs")]
        if self.has_bug(crate::planted::Bug::Untold) {
            return;
        }
        let lost = |a: &Accepted| WalError::Indeterminate {
            lsn: a.lsn,
            end: a.end.lsn,
            cause: "its place was not reached".to_owned(), // never: it was released for having been
        };
        released.tell(|accepted| self.look(accepted).unwrap_or_else(|| Err(lost(accepted))));
    }

    fn write_and_sync(
        &self,
        writer: &mut Writer,
        plan: &mut Plan,
        buffers: &mut Vec<Vec<u8>>,
    ) -> Result<Option<Synced>, Failure> {
        while let Some(next) = plan.frames.front() {
            let bind = next.switch && writer.written.lsn > writer.durable.lsn;
            #[cfg(feature = "planted-bugs")]
            let bind = bind && !self.has_bug(crate::planted::Bug::BindBeforeSync);
            if bind {
                let synced = self.sync(writer)?; // a new segment is bound only once all before it is durable
                self.publish(synced, plan.group);
            }
            self.write_run(writer, &mut plan.frames, plan.acknowledge_written, buffers)?;
            if plan.acknowledge_written {
                self.done[(plan.group % 2) as usize].notify_all();
            }
        }
        if plan.sync { self.sync(writer) } else { Ok(None) }
    }

    /// Writes the frames up to the next switch of segments: one write for each large one, and for many small ones.
    fn write_run(
        &self,
        writer: &mut Writer,
        frames: &mut VecDeque<ClosedFrame>,
        acknowledge: bool,
        buffers: &mut Vec<Vec<u8>>,
    ) -> Result<(), Failure> {
        let Some(first) = frames.front() else { return Ok(()) };
        let first_at = first.first_at;
        let mut bytes = std::mem::take(&mut writer.gathered);
        bytes.clear();
        if first.switch {
            self.bind(writer, first.base_lsn, first.base_seq, &mut bytes)?;
        }
        let Some(current) = &mut writer.current else {
            return Err("a frame has no segment to go to".to_owned()); // never: admit plans the switches
        };
        let mut start = if bytes.is_empty() { current.offset } else { 0 };
        let salt = current.view.bound.salt as u32; // the low half, by the format
        let mut first_of_run = true;
        while frames.front().is_some_and(|f| first_of_run || !f.switch) {
            let Some(frame) = frames.pop_front() else { break };
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
            #[cfg(feature = "planted-bugs")]
            let fields = match self.has_bug(crate::planted::Bug::DurableLsnAhead) {
                true => FrameFields { durable_lsn: writer.written.lsn, ..fields },
                false => fields,
            };
            let (head, frame) = frame.builder.finish(&fields).map_err(|e| e.to_string())?;
            let alone =
                bytes.is_empty() && (frame.len() >= ALONE_BYTES || frames.front().is_none_or(|f| f.switch));
            if alone {
                self.write_at(current, &frame, start)?;
                start += frame.len() as u64;
            } else {
                bytes.extend_from_slice(&frame);
                if bytes.len() >= ALONE_BYTES {
                    self.write_at(current, &bytes, start)?;
                    start += bytes.len() as u64;
                    bytes.clear();
                }
            }
            buffers.push(frame);
            current.view.note(place, time);
            writer.chain = Some(head.chain());
            writer.time = time;
            writer.written = Position { lsn: end, sequence: Some(Sequence::new(seq)), ..writer.written };
        }
        if !bytes.is_empty() {
            self.write_at(current, &bytes, start)?;
            start += bytes.len() as u64;
        }
        current.offset = start;
        bytes.shrink_to(2 * ALONE_BYTES);
        writer.gathered = bytes;
        let mut state = locked(&self.state);
        state.note_written(writer.written, first_at, acknowledge);
        self.follow(&state);
        Ok(())
    }

    fn write_at(&self, current: &Current, bytes: &[u8], offset: u64) -> Result<(), Failure> {
        current.file.write_at(bytes, offset).map_err(|e| failure("write", &current.view, offset, &e))?;
        self.counters.writes.fetch_add(1, Ordering::Relaxed);
        self.counters.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Takes a spare into use; `header` gets the bytes that go before its first frame.
    fn bind(
        &self,
        writer: &mut Writer,
        base_lsn: Lsn,
        base_seq: Sequence,
        header: &mut Vec<u8>,
    ) -> Result<(), Failure> {
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
        header.extend_from_slice(&spare.prepared.encode());
        header.extend_from_slice(&bound.encode());
        Ok(())
    }

    /// Makes everything written durable; nobody is told yet, but those who measure.
    fn sync(&self, writer: &mut Writer) -> Result<Option<Synced>, Failure> {
        let Some(current) = &mut writer.current else { return Ok(None) };
        let witnessed = writer.durable.lsn; // what the frames being synced say is durable
        let began = self.parts.clock.monotonic();
        #[cfg(feature = "planted-bugs")]
        if self.has_bug(crate::planted::Bug::AckBeforeSync) {
            let (steady, wall) = (began, self.parts.clock.wall());
            let took = Duration::ZERO;
            self.publish(Some(Synced { durable: writer.written, witnessed, wall, steady, took }), 0);
            self.publish(None, 1);
        }
        let result = current.file.sync();
        #[cfg(feature = "planted-bugs")]
        let result = match result {
            Err(_) if self.has_bug(crate::planted::Bug::RetriedFsync) => current.file.sync(),
            other => other,
        };
        result.map_err(|e| failure("sync", &current.view, current.offset, &e))?;
        let (steady, wall) = (self.parts.clock.monotonic(), self.parts.clock.wall()); // before anybody is told
        self.counters.syncs.fetch_add(1, Ordering::Relaxed);
        writer.durable = writer.written;
        if std::mem::take(&mut current.unnamed) {
            locked(&self.state).to_rename.push_back(Arc::clone(&current.view));
            self.upkeep.notify_one();
        }
        self.tell_listeners(writer.durable, wall, steady);
        Ok(Some(Synced { durable: writer.durable, witnessed, wall, steady, took: steady.since(began) }))
    }

    /// Part of a group is durable: those who wait for no more than that are told.
    fn publish(&self, synced: Option<Synced>, group: u64) {
        if let Some(synced) = synced {
            let mut state = locked(&self.state);
            state.note_durable(synced.durable, synced.witnessed, synced.steady, synced.wall);
            self.follow(&state);
            let released = state.release();
            drop(state);
            self.tell(released);
        }
        self.done[(group % 2) as usize].notify_all();
        self.announce();
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
