//! What has been accepted and is not written yet, and where the log stands. Decides; does no I/O.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::Duration;

use rpo_core::frame::{Encoded, EncodedEntry, FrameBuilder, HEAD_BYTES, padded};
use rpo_core::time::{ClockAnomaly, HybridClock};
use rpo_core::{Clock, Epoch, Lsn, MarkerKind, Monotonic, Position, Sequence, Timestamp};

use crate::catalog::SegmentView;
use crate::cohort::Cohort;
use crate::config::WalConfig;
use crate::error::IoCause;
use crate::gather::Gathering;
use crate::prepare::Used;
use crate::segment::FRAMES_OFFSET;
use crate::sleepers::{Released, Sleepers};
use crate::survey::Spare;

/// Kept free in every frame for the record of a clock anomaly.
const RESERVE_BYTES: usize = 64;
/// A frame whose time was told takes commits for so long: so much earlier than it came may a commit be stamped.
const STAMP_GRAIN: Duration = Duration::from_millis(1);
/// What is buffered is handed to the system from so many bytes on.
const WRITE_BEHIND_BYTES: u64 = 1 << 20;
/// Buffers of written frames that are kept for the next ones.
const BUFFERS_KEPT: usize = 8;

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

/// The commit time of an entry.
#[derive(Debug, Clone)]
pub(crate) enum Stamp {
    /// It was told when the entry was accepted.
    Known(Timestamp),
    /// Set when the frame is closed.
    Later(Arc<OnceLock<Timestamp>>),
}

impl Stamp {
    pub(crate) fn get(&self) -> Option<Timestamp> {
        match self {
            Self::Known(time) => Some(*time),
            Self::Later(time) => time.get().copied(),
        }
    }
}

/// A place in the log that was given to an entry.
#[derive(Debug, Clone)]
pub(crate) struct Accepted {
    pub(crate) lsn: Lsn,
    pub(crate) end: Position,
    pub(crate) want: Want,
    /// The group it goes with.
    pub(crate) group: u64,
    pub(crate) time: Stamp,
}

#[derive(Debug)]
struct OpenFrame {
    builder: FrameBuilder,
    base_lsn: Lsn,
    base_seq: Sequence,
    switch: bool,
    time: Arc<OnceLock<Timestamp>>,
    /// Its time was told to somebody, and when.
    stamped: Option<(Timestamp, Monotonic)>,
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
    pub(crate) frames: VecDeque<ClosedFrame>,
    pub(crate) sync: bool,
    pub(crate) acknowledge_written: bool,
    /// Which group it is, and how many wait for it.
    pub(crate) group: u64,
    pub(crate) gathered: u32,
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
    /// Released segments that wait to be made spares.
    pub(crate) used: VecDeque<Used>,
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
    /// Since when somebody carries out a plan, and whether that was told as a stall.
    pub(crate) flushing_since: Option<(Monotonic, bool)>,
    /// Clock anomalies that nobody was told of yet.
    pub(crate) stepped: Vec<ClockAnomaly>,
    pub(crate) last_sync: Option<Timestamp>,
    pub(crate) to_rename: VecDeque<Arc<SegmentView>>,
    /// Who gathers for the next group, and who sees to it that it goes.
    pub(crate) gathering: Gathering,
    pub(crate) for_written: Sleepers,
    pub(crate) for_durable: Sleepers,
    /// Those who wait for anything to change.
    wakers: Vec<(u64, Waker)>,
    next_waiter: u64,
    buffers: Vec<Vec<u8>>,
    /// Emptied, for the next plan.
    emptied: VecDeque<ClosedFrame>,
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
            used: VecDeque::new(),
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
            flushing_since: None,
            stepped: Vec::new(),
            last_sync: None,
            to_rename: VecDeque::new(),
            gathering: Gathering::new(Cohort::new(config.cohort_wait_max.get())),
            for_written: Sleepers::default(),
            for_durable: Sleepers::default(),
            wakers: Vec::new(),
            next_waiter: 0,
            buffers: Vec::new(),
            emptied: VecDeque::new(),
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
        entry: &impl Encoded,
        want: Want,
        config: &WalConfig,
        clock: &dyn Clock,
    ) -> Result<Accepted, Refusal> {
        if !matches!(self.life, Life::Running) {
            return Err(Refusal::Life(self.life.clone()));
        }
        let len = entry.bytes() as u64;
        if self.pending_bytes > 0 && self.pending_bytes + len > config.pending_bytes_max.get() {
            return Err(Refusal::Full { pending: self.pending_bytes });
        }
        if !self.fits_open(entry, config, clock) {
            self.close_frame(clock); // may add the record of a clock anomaly, so places are given after it
            self.open_frame(entry.bytes(), config, clock)?;
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
        (self.next_lsn, self.next_seq) = (end_lsn, end_seq);
        self.pending_bytes += len;
        if entry.commits() > 0 {
            self.last_commit_end = end_lsn;
        }
        let end = self.position();
        let time = match want {
            Want::Accepted => {
                self.acknowledged = end;
                Stamp::Known(self.stamp_open(clock))
            }
            Want::Written | Want::Durable => {
                self.write_wanted |= want == Want::Written;
                self.sync_wanted |= want == Want::Durable;
                self.gathering.gathered += 1;
                self.open.as_ref().map_or(Stamp::Known(self.clock.last()), |open| match open.stamped {
                    Some((time, _)) => Stamp::Known(time),
                    None => Stamp::Later(Arc::clone(&open.time)),
                })
            }
        };
        Ok(Accepted { lsn, end, want, group: self.gathering.group, time })
    }

    fn fits_open(&self, entry: &impl Encoded, config: &WalConfig, clock: &dyn Clock) -> bool {
        self.open.as_ref().is_some_and(|open| {
            let body = open.builder.body_len() + entry.bytes();
            // One record number is kept for the anomaly too.
            open.builder.records() < u16::MAX / 2
                && open.builder.fits(entry)
                && body as u64 <= config.frame_bytes_max.get()
                && frame_need(body) <= self.room
                && open.stamped.is_none_or(|(_, at)| clock.monotonic().since(at) < STAMP_GRAIN)
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
        let first_at = clock.monotonic();
        if self.gathering.gathered == 0 {
            self.gathering.cohort.begins(first_at);
        }
        self.open = Some(OpenFrame {
            builder: FrameBuilder::reusing(self.buffers.pop().unwrap_or_default()),
            base_lsn: self.next_lsn,
            base_seq: self.next_seq,
            switch,
            time: Arc::default(),
            stamped: None,
            first_at,
        });
        Ok(())
    }

    fn stamp(&mut self, clock: &dyn Clock) -> (Timestamp, Monotonic) {
        let now = clock.monotonic();
        let (time, anomaly) = self.clock.stamp(clock.wall(), now);
        self.anomaly = self.anomaly.take().or(anomaly);
        (time, now)
    }

    /// The commit time of the open frame, which from now on cannot change.
    fn stamp_open(&mut self, clock: &dyn Clock) -> Timestamp {
        if let Some((time, _)) = self.open.as_ref().and_then(|open| open.stamped) {
            return time;
        }
        let stamped = self.stamp(clock);
        if let Some(open) = &mut self.open {
            open.stamped = Some(stamped);
            let _ = open.time.set(stamped.0); // set once: it was not stamped before
        }
        stamped.0
    }

    /// Stamps and closes the open frame, if there is one.
    fn close_frame(&mut self, clock: &dyn Clock) {
        if self.open.is_none() {
            return;
        }
        let time = self.stamp_open(clock);
        let Some(mut open) = self.open.take() else { return };
        if let Some(anomaly) = self.anomaly
            && let Ok(entry) = EncodedEntry::marker(&MarkerKind::ClockAnomaly(anomaly))
            && let Some(next) = self.next_lsn.checked_add(entry.len() as u64)
            && open.builder.push(&entry).is_ok()
        {
            self.next_lsn = next;
            self.anomaly = None;
            self.stepped.push(anomaly);
        }
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

    /// Everything accepted so far must become durable soon; what stands for it is to be waited for.
    pub(crate) fn want_sync(&mut self, target: Position) -> Accepted {
        self.sync_wanted = true;
        self.gathering.gathered += 1;
        let time = Stamp::Known(self.clock.last());
        let lsn = self.durable.lsn;
        Accepted { lsn, end: target, want: Want::Durable, group: self.gathering.group, time }
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

    /// Whether so much is buffered that it is to be handed to the system.
    pub(crate) fn is_full(&self, config: &WalConfig) -> bool {
        self.pending_bytes > WRITE_BEHIND_BYTES.min(config.pending_bytes_max.get() / 2)
    }

    /// Whether somebody waits for a write or a sync.
    pub(crate) fn is_wanted(&self) -> bool {
        (self.sync_wanted && (!self.is_idle() || self.written.lsn > self.durable.lsn))
            || (self.write_wanted && !self.is_idle())
    }

    /// Whether something is to be flushed now; and if so, whether it is to be synced.
    pub(crate) fn flush_is_due(&self, config: &WalConfig, clock: &dyn Clock) -> Option<bool> {
        if !matches!(self.life, Life::Running | Life::Closing) || self.gathering.flushing {
            return None;
        }
        let behind = !self.is_idle() || self.written.lsn > self.durable.lsn;
        let closing = matches!(self.life, Life::Closing);
        let due = || self.due_in(clock.monotonic(), config).is_some_and(|left| left.is_zero());
        let sync = behind && (self.sync_wanted || closing || due());
        let write = !self.is_idle() && (self.write_wanted || self.is_full(config));
        (sync || write).then_some(sync)
    }

    /// Takes what is to be flushed now, if anything is. Whoever takes it carries it out and says when that is done.
    pub(crate) fn plan(&mut self, config: &WalConfig, clock: &dyn Clock) -> Option<Plan> {
        let sync = self.flush_is_due(config, clock)?;
        self.close_frame(clock);
        self.pending_bytes = 0;
        self.sync_wanted = false;
        let acknowledge_written = std::mem::take(&mut self.write_wanted);
        let frames = std::mem::replace(&mut self.queue, std::mem::take(&mut self.emptied));
        let (group, gathered) = self.gathering.begin();
        self.flushing_since = Some((clock.monotonic(), false));
        Some(Plan { frames, sync, acknowledge_written, group, gathered })
    }

    /// Takes back what a plan needs no more.
    pub(crate) fn recycle(&mut self, mut frames: VecDeque<ClosedFrame>, buffers: &mut Vec<Vec<u8>>) {
        frames.clear();
        self.emptied = frames;
        buffers.truncate(BUFFERS_KEPT.saturating_sub(self.buffers.len()));
        self.buffers.append(buffers);
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

    /// For how long a write or sync has been under way, if that is news.
    pub(crate) fn stalled(&mut self, now: Monotonic, after: Duration) -> Option<Duration> {
        let (since, told) = self.flushing_since.as_mut().filter(|(_, told)| !*told)?;
        let elapsed = now.since(*since);
        *told = !after.is_zero() && elapsed > after;
        told.then_some(elapsed)
    }

    /// Those who waited for what is written and durable now.
    pub(crate) fn release(&mut self) -> Released {
        let mut released = Released::default();
        self.for_written.release(self.written.lsn.max(self.durable.lsn), &mut released);
        self.for_durable.release(self.durable.lsn, &mut released);
        released
    }

    /// Where those wait who want this.
    pub(crate) fn queue_of(&mut self, want: Want) -> Option<&mut Sleepers> {
        match want {
            Want::Accepted => None,
            Want::Written => Some(&mut self.for_written),
            Want::Durable => Some(&mut self.for_durable),
        }
    }

    /// Refuses everything from now on. Called before any waiter is released.
    pub(crate) fn poison(&mut self, cause: &str) -> Released {
        if !matches!(self.life, Life::Poisoned(_)) {
            self.life = Life::Poisoned(cause.to_owned());
        }
        self.queue.clear();
        self.open = None;
        self.pending_bytes = 0;
        self.gathering.flushing = false;
        self.flushing_since = None;
        self.release_all()
    }

    /// Everybody: nothing more will be reached.
    pub(crate) fn release_all(&mut self) -> Released {
        let mut released = Released::default();
        self.for_written.release_all(&mut released);
        self.for_durable.release_all(&mut released);
        released
    }

    /// A number for a future that waits for any change.
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
