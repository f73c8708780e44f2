//! What has been accepted and is not written yet, and where the log stands. Decides; does no I/O.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::Duration;

use rpo_core::frame::{EncodedEntry, FrameBuilder, HEAD_BYTES, padded};
use rpo_core::time::{ClockAnomaly, HybridClock};
use rpo_core::{Clock, Epoch, Lsn, MarkerKind, Monotonic, Position, Sequence, Timestamp};

use crate::catalog::SegmentView;
use crate::config::WalConfig;
use crate::error::IoCause;
use crate::segment::FRAMES_OFFSET;
use crate::survey::Spare;

/// Kept free in every frame for the record of a clock anomaly.
const RESERVE_BYTES: usize = 64;

/// Whether the log takes commits.
#[derive(Debug, Clone)]
pub(crate) enum Life {
    Running,
    /// Writes out what was accepted, then closes.
    Closing,
    Closed,
    /// Since a failed write or sync.
    Poisoned(String),
}

/// When a waiter is released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Want {
    Accepted,
    Written,
    Durable,
}

/// Why there is no spare.
#[derive(Debug, Clone)]
pub(crate) enum Trouble {
    NoSpace,
    Io(IoCause),
}

/// Why an entry was not accepted; nothing of it was written.
#[derive(Debug)]
pub(crate) enum Refusal {
    Full { pending: u64 },
    NotReady,
    Trouble(Trouble),
    Life(Life),
}

/// A place in the log that was given to an entry.
#[derive(Debug, Clone)]
pub(crate) struct Accepted {
    pub(crate) lsn: Lsn,
    pub(crate) end: Position,
    pub(crate) want: Want,
    /// Set when the frame is closed.
    pub(crate) time: Arc<OnceLock<Timestamp>>,
}

#[derive(Debug)]
struct OpenFrame {
    builder: FrameBuilder,
    base_lsn: Lsn,
    base_seq: Sequence,
    switch: bool,
    time: Arc<OnceLock<Timestamp>>,
    first_at: Monotonic,
}

/// A frame that takes no more entries.
#[derive(Debug)]
pub(crate) struct ClosedFrame {
    pub(crate) builder: FrameBuilder,
    pub(crate) base_lsn: Lsn,
    pub(crate) base_seq: Sequence,
    /// Whether it is the first of a new segment.
    pub(crate) switch: bool,
    pub(crate) time: Timestamp,
    pub(crate) first_at: Monotonic,
}

impl ClosedFrame {
    pub(crate) fn end_lsn(&self) -> Lsn {
        Lsn::new(self.base_lsn.get() + self.builder.body_len() as u64) // admit keeps LSNs in range
    }
}

/// What the flusher is to do now.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) frames: Vec<ClosedFrame>,
    pub(crate) sync: bool,
    pub(crate) acknowledge_written: bool,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) life: Life,
    clock: HybridClock,
    anomaly: Option<ClockAnomaly>,
    pub(crate) epoch: Epoch,
    pub(crate) next_lsn: Lsn,
    pub(crate) next_seq: Sequence,
    open: Option<OpenFrame>,
    queue: VecDeque<ClosedFrame>,
    /// Frame bytes accepted and not yet handed to the flusher.
    pub(crate) pending_bytes: u64,
    /// Bytes left in the segment that the last closed frame goes to.
    room: u64,
    pub(crate) spares: VecDeque<Spare>,
    promised: usize,
    pub(crate) trouble: Option<Trouble>,
    pub(crate) written: Position,
    pub(crate) durable: Position,
    /// H: the last position acknowledged at any level.
    pub(crate) acknowledged: Position,
    sync_wanted: bool,
    write_wanted: bool,
    /// Since when the oldest written, unsynced entry waits.
    written_since: Option<Monotonic>,
    pub(crate) last_commit_end: Lsn,
    /// The highest LSN that a synced frame or the control file says is durable.
    pub(crate) witnessed: Lsn,
    pub(crate) last_flush: Monotonic,
    pub(crate) last_sync: Option<Timestamp>,
    pub(crate) to_rename: VecDeque<Arc<SegmentView>>,
    wakers: Vec<(u64, Waker)>,
    next_waiter: u64,
    version: u64,
}

impl State {
    pub(crate) fn new(end: Position, floor: Timestamp, config: &WalConfig, clock: &dyn Clock) -> Self {
        let wall = clock.wall();
        let behind = floor.since(wall) > config.clock_skew_max.get() && floor.as_micros() != i64::MIN;
        Self {
            life: Life::Running,
            clock: HybridClock::new(floor, config.clock_skew_max.get()),
            anomaly: behind.then_some(ClockAnomaly { expected: floor, found: wall }),
            epoch: end.epoch,
            next_lsn: end.lsn,
            next_seq: end.sequence.unwrap_or_default(),
            open: None,
            queue: VecDeque::new(),
            pending_bytes: 0,
            room: 0,
            spares: VecDeque::new(),
            promised: 0,
            trouble: None,
            written: end,
            durable: end,
            acknowledged: end,
            sync_wanted: false,
            write_wanted: false,
            written_since: None,
            last_commit_end: end.lsn,
            witnessed: end.lsn,
            last_flush: clock.monotonic(),
            last_sync: None,
            to_rename: VecDeque::new(),
            wakers: Vec::new(),
            next_waiter: 0,
            version: 0,
        }
    }

    pub(crate) fn position(&self) -> Position {
        Position { epoch: self.epoch, lsn: self.next_lsn, sequence: Some(self.next_seq) }
    }

    /// The segment that frames go to has so much left.
    pub(crate) fn set_room(&mut self, room: u64) {
        self.room = room;
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.open.is_none() && self.queue.is_empty()
    }

    /// Spares not yet promised to a frame.
    pub(crate) fn spares_free(&self) -> usize {
        self.spares.len() - self.promised
    }

    /// The spare for the frame that begins a new segment.
    pub(crate) fn take_spare(&mut self) -> Option<Spare> {
        self.promised = self.promised.saturating_sub(1);
        self.spares.pop_front()
    }

    /// Gives `entry` its place, or refuses it whole.
    pub(crate) fn admit(
        &mut self,
        entry: &EncodedEntry,
        want: Want,
        config: &WalConfig,
        clock: &dyn Clock,
    ) -> Result<Accepted, Refusal> {
        if !matches!(self.life, Life::Running) {
            return Err(Refusal::Life(self.life.clone()));
        }
        let len = entry.len() as u64;
        if self.pending_bytes > 0 && self.pending_bytes + len > config.pending_bytes_max.get() {
            return Err(Refusal::Full { pending: self.pending_bytes });
        }
        if !self.fits_open(entry, config) {
            self.close_frame(clock); // may add the record of a clock anomaly, so places are given after it
            self.open_frame(entry.len(), config, clock)?;
        }
        let lsn = self.next_lsn;
        let end_seq = self.next_seq.checked_add(entry.commits().into());
        let (Some(end_lsn), Some(end_seq)) = (lsn.checked_add(len), end_seq) else {
            return Err(Refusal::Life(Life::Poisoned("the numbers of the log are used up".to_owned())));
        };
        let Some(open) = &mut self.open else { return Err(Refusal::NotReady) };
        if open.builder.push(entry).is_err() {
            return Err(Refusal::NotReady); // never: checked above and by the caller's limit
        }
        let time = Arc::clone(&open.time);
        (self.next_lsn, self.next_seq) = (end_lsn, end_seq);
        self.pending_bytes += len;
        if entry.commits() > 0 {
            self.last_commit_end = end_lsn;
        }
        let end = self.position();
        match want {
            Want::Accepted => {
                self.acknowledged = end;
                self.close_frame(clock); // its commit time is told now, so nothing later may share it
            }
            Want::Written => self.write_wanted = true,
            Want::Durable => self.sync_wanted = true,
        }
        Ok(Accepted { lsn, end, want, time })
    }

    fn fits_open(&self, entry: &EncodedEntry, config: &WalConfig) -> bool {
        self.open.as_ref().is_some_and(|open| {
            let body = open.builder.body_len() + entry.len();
            // One record number is kept for the anomaly too.
            open.builder.records() < u16::MAX / 2
                && open.builder.fits(entry)
                && body as u64 <= config.frame_bytes_max.get()
                && frame_need(body) <= self.room
        })
    }

    fn open_frame(&mut self, len: usize, config: &WalConfig, clock: &dyn Clock) -> Result<(), Refusal> {
        let switch = frame_need(len) > self.room;
        if switch {
            if self.spares_free() == 0 {
                return Err(self.trouble.clone().map_or(Refusal::NotReady, Refusal::Trouble));
            }
            self.promised += 1;
            self.room = segment_room(config);
        }
        self.open = Some(OpenFrame {
            builder: FrameBuilder::new(),
            base_lsn: self.next_lsn,
            base_seq: self.next_seq,
            switch,
            time: Arc::default(),
            first_at: clock.monotonic(),
        });
        Ok(())
    }

    /// Stamps and closes the open frame, if there is one.
    fn close_frame(&mut self, clock: &dyn Clock) {
        let Some(mut open) = self.open.take() else { return };
        let (time, anomaly) = self.clock.stamp(clock.wall(), clock.monotonic());
        self.anomaly = self.anomaly.take().or(anomaly);
        if let Some(anomaly) = self.anomaly
            && let Ok(entry) = EncodedEntry::marker(&MarkerKind::ClockAnomaly(anomaly))
            && let Some(next) = self.next_lsn.checked_add(entry.len() as u64)
            && open.builder.push(&entry).is_ok()
        {
            self.next_lsn = next;
            self.anomaly = None;
        }
        let _ = open.time.set(time); // set here only
        self.room = self.room.saturating_sub(open.builder.frame_len() as u64);
        self.queue.push_back(ClosedFrame {
            builder: open.builder,
            base_lsn: open.base_lsn,
            base_seq: open.base_seq,
            switch: open.switch,
            time,
            first_at: open.first_at,
        });
    }

    /// Everything accepted so far must become durable soon.
    pub(crate) fn want_sync(&mut self) {
        self.sync_wanted = true;
    }

    /// Since when the oldest entry waits that is not durable.
    pub(crate) fn waiting_since(&self) -> Option<Monotonic> {
        let queued = self.queue.front().map(|f| f.first_at).or(self.open.as_ref().map(|f| f.first_at));
        self.written_since.or(queued)
    }

    /// How long until the sync delay is used up; none if nothing waits.
    pub(crate) fn due_in(&self, now: Monotonic, config: &WalConfig) -> Option<Duration> {
        let since = self.waiting_since()?;
        Some(config.sync_delay_max.get().saturating_sub(now.since(since)))
    }

    /// Whether something is to be flushed now; and if so, whether it is to be synced.
    pub(crate) fn flush_is_due(&self, config: &WalConfig, now: Monotonic) -> Option<bool> {
        if !matches!(self.life, Life::Running | Life::Closing) {
            return None;
        }
        let behind = !self.is_idle() || self.written.lsn > self.durable.lsn;
        let due = self.due_in(now, config).is_some_and(|left| left.is_zero());
        let sync = behind && (self.sync_wanted || due || matches!(self.life, Life::Closing));
        let full = self.pending_bytes > config.pending_bytes_max.get() / 2;
        let write = !self.is_idle() && (self.write_wanted || full);
        (sync || write).then_some(sync)
    }

    /// Takes what is to be flushed now, if anything is.
    pub(crate) fn plan(&mut self, config: &WalConfig, clock: &dyn Clock) -> Option<Plan> {
        let sync = self.flush_is_due(config, clock.monotonic())?;
        self.close_frame(clock);
        self.pending_bytes = 0;
        self.sync_wanted = false;
        let acknowledge_written = std::mem::take(&mut self.write_wanted);
        Some(Plan { frames: self.queue.drain(..).collect(), sync, acknowledge_written })
    }

    pub(crate) fn note_written(&mut self, end: Position, first_at: Monotonic, acknowledge: bool) {
        self.written = end;
        self.written_since = self.written_since.or(Some(first_at));
        if acknowledge {
            self.acknowledged = self.acknowledged.max(end);
        }
    }

    pub(crate) fn note_durable(&mut self, end: Position, witnessed: Lsn, now: Monotonic, wall: Timestamp) {
        self.durable = end;
        self.acknowledged = self.acknowledged.max(end);
        self.witnessed = self.witnessed.max(witnessed);
        if self.written.lsn <= end.lsn {
            self.written_since = None;
        }
        self.last_flush = now;
        self.last_sync = Some(wall);
    }

    /// Refuses everything from now on. Called before any waiter is released.
    pub(crate) fn poison(&mut self, cause: &str) {
        if !matches!(self.life, Life::Poisoned(_)) {
            self.life = Life::Poisoned(cause.to_owned());
        }
        self.queue.clear();
        self.open = None;
        self.pending_bytes = 0;
    }

    /// Changes whenever something happened that a waiter may wait for.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// A number for a future that waits.
    pub(crate) fn waiter(&mut self) -> u64 {
        self.next_waiter += 1;
        self.next_waiter
    }

    pub(crate) fn register(&mut self, waiter: u64, waker: &Waker) {
        match self.wakers.iter_mut().find(|(id, _)| *id == waiter) {
            Some((_, held)) => held.clone_from(waker),
            None => self.wakers.push((waiter, waker.clone())),
        }
    }

    pub(crate) fn forget(&mut self, waiter: u64) {
        self.wakers.retain(|(id, _)| *id != waiter);
    }

    pub(crate) fn take_wakers(&mut self) -> Vec<(u64, Waker)> {
        self.version += 1;
        std::mem::take(&mut self.wakers)
    }
}

/// Bytes a frame with such a body may take in a segment.
fn frame_need(body: usize) -> u64 {
    (HEAD_BYTES + padded(body + RESERVE_BYTES)) as u64
}

/// Bytes for frames in a segment.
pub(crate) fn segment_room(config: &WalConfig) -> u64 {
    config.segment_bytes.get() - FRAMES_OFFSET // validated to be larger
}

/// The largest entry that fits in a segment.
pub(crate) fn entry_bytes_max(config: &WalConfig) -> u64 {
    let room = segment_room(config) - frame_need(0) - 8;
    room.min((rpo_core::frame::BODY_BYTES_MAX - RESERVE_BYTES) as u64)
}
