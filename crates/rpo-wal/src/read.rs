//! Reading a log: whole frames for those who copy it, entries for those who replay it.
//! Nobody sees more than the durable prefix.

use std::iter::FusedIterator;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rpo_core::frame::{Entries, Frame};
use rpo_core::{LogEntry, Lsn, Position, Timestamp};

use crate::catalog::SegmentView;
use crate::engine::Engine;
use crate::error::WalError;
use crate::scan::{self, Expect, Next, Window};
use crate::state::Life;
use crate::sync::locked;

/// Whole frames, as they stand in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameRange {
    /// Heads, bodies, padding, one frame after the other.
    pub bytes: Bytes,
    /// Where the first frame begins; at or before what was asked for.
    pub from: Position,
    /// Where the last frame ends.
    pub to: Position,
    /// Commit time of the first frame; none if there is no frame.
    pub first_time: Option<Timestamp>,
    /// Commit time of the last frame; none if there is no frame.
    pub last_time: Option<Timestamp>,
    /// How many frames.
    pub frames: u64,
}

/// Walks the frames of the durable prefix.
#[derive(Debug)]
pub(crate) struct Cursor {
    engine: Arc<Engine>,
    segment: Option<(Arc<SegmentView>, Window)>,
    at: Expect,
    /// What was durable when the window was begun: what lies past it may have been read too early.
    fresh_to: Lsn,
}

impl Cursor {
    /// At the frame that holds `from`, or would.
    pub(crate) fn at(engine: &Arc<Engine>, from: Lsn) -> Result<Self, WalError> {
        let durable = locked(&engine.state).durable.lsn;
        if from > durable {
            return Err(WalError::Ahead { from, durable });
        }
        let catalog = engine.catalog.read().unwrap_or_else(PoisonError::into_inner);
        let start = catalog.start.lsn;
        let view = catalog.holding(from);
        drop(catalog);
        if from < start {
            return Err(WalError::Released { from, start });
        }
        let nothing = scan::Expect {
            offset: 0,
            lsn: from,
            seq: rpo_core::Sequence::ZERO,
            chain: 0,
            time: Timestamp::from_micros(i64::MIN),
            epoch: rpo_core::Epoch::FIRST,
            salt: 0,
        };
        let mut cursor = Self { engine: Arc::clone(engine), segment: None, at: nothing, fresh_to: durable };
        if let Some(view) = view {
            cursor.at = view.before_lsn(from);
            cursor.enter(view);
        }
        while let Some(frame) = cursor.peek()? {
            if frame.head().end_lsn() > from {
                break;
            }
            cursor.pass(&frame);
        }
        Ok(cursor)
    }

    fn enter(&mut self, view: Arc<SegmentView>) {
        let window = Window::new(Arc::clone(&view.file));
        self.segment = Some((view, window));
    }

    /// The next durable frame; none at the end of the durable prefix.
    fn peek(&mut self) -> Result<Option<Frame>, WalError> {
        let durable = locked(&self.engine.state).durable.lsn;
        if self.at.lsn >= durable {
            return Ok(None);
        }
        let left =
            self.segment.as_ref().is_none_or(|(view, _)| view.end().is_some_and(|end| end <= self.at.lsn));
        if left || self.at.lsn >= self.fresh_to {
            self.fresh_to = durable;
            let catalog = self.engine.catalog.read().unwrap_or_else(PoisonError::into_inner);
            let view = catalog.holding(self.at.lsn);
            let start = catalog.start.lsn;
            drop(catalog);
            let Some(view) = view else { return Err(WalError::Released { from: self.at.lsn, start }) };
            if left {
                self.at = view.before_lsn(self.at.lsn);
            }
            self.enter(view);
        }
        let Some((view, window)) = &mut self.segment else { return Ok(None) };
        let next =
            scan::next(window, &self.at, view.capacity).map_err(|e| WalError::io("read", view.path(), e))?;
        match next {
            Next::Frame(frame) => Ok(Some(frame)),
            other => {
                // A released segment may be used again while it is read.
                let start = self.engine.catalog.read().unwrap_or_else(PoisonError::into_inner).start.lsn;
                let released = self.at.lsn < start;
                #[cfg(feature = "planted-bugs")]
                let released = released && !self.engine.has_bug(crate::planted::Bug::ReleasedReadAsWritten);
                if released {
                    return Err(WalError::Released { from: self.at.lsn, start });
                }
                Err(WalError::Corrupt {
                    file: view.path(),
                    lsn: self.at.lsn,
                    offset: self.at.offset,
                    what: format!("{} (it was durable)", what(&other)),
                })
            }
        }
    }

    fn pass(&mut self, frame: &Frame) {
        self.at = self.at.after(frame.head());
    }

    fn next_frame(&mut self) -> Result<Option<Frame>, WalError> {
        let frame = self.peek()?;
        if let Some(frame) = &frame {
            self.pass(frame);
        }
        Ok(frame)
    }
}

pub(crate) fn what(next: &Next) -> String {
    match next {
        Next::Frame(_) => "a frame".to_owned(),
        Next::Unwritten => "nothing where a frame was".to_owned(),
        Next::Misplaced(what) => (*what).to_owned(),
        Next::BadBody(_, error) | Next::BadHead(error) => error.to_string(),
    }
}

/// Whole frames from the one that holds `from`, at least one if there is one, else at most `max_bytes`.
pub(crate) fn read_frames(engine: &Arc<Engine>, from: Lsn, max_bytes: usize) -> Result<FrameRange, WalError> {
    let mut cursor = Cursor::at(engine, from)?;
    let mut bytes = BytesMut::new();
    let mut range: Option<FrameRange> = None;
    while let Some(frame) = cursor.peek()? {
        let head = *frame.head();
        if range.is_some() && bytes.len() + head.frame_len() > max_bytes {
            break;
        }
        bytes.extend_from_slice(frame.bytes());
        let so_far = range.get_or_insert_with(|| FrameRange {
            bytes: Bytes::new(),
            from: head.start(),
            to: head.end(),
            first_time: Some(head.commit_time),
            last_time: None,
            frames: 0,
        });
        so_far.to = head.end();
        so_far.last_time = Some(head.commit_time);
        so_far.frames += 1;
        cursor.pass(&frame);
    }
    let durable = locked(&engine.state).durable;
    let nothing = || FrameRange {
        bytes: Bytes::new(),
        from: durable,
        to: durable,
        first_time: None,
        last_time: None,
        frames: 0,
    };
    let mut range = range.unwrap_or_else(nothing);
    range.bytes = bytes.freeze();
    Ok(range)
}

/// The entries of a log in LSN order, to the end of the durable prefix as it is when that is reached.
#[derive(Debug)]
pub struct Replay {
    cursor: Option<Cursor>,
    entries: Option<Entries>,
    from: Lsn,
    failed: Option<WalError>,
}

impl Replay {
    pub(crate) fn new(engine: &Arc<Engine>, from: Lsn) -> Self {
        let (cursor, failed) = match Cursor::at(engine, from) {
            Ok(cursor) => (Some(cursor), None),
            Err(error) => (None, Some(error)),
        };
        Self { cursor, entries: None, from, failed }
    }

    fn advance(&mut self) -> Result<Option<LogEntry>, WalError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        loop {
            // An entry is yielded if it begins at or past the start: never half of one.
            if let Some(entry) = self.entries.as_mut().and_then(|e| e.find(|entry| entry.lsn() >= self.from))
            {
                return Ok(Some(entry));
            }
            let Some(cursor) = &mut self.cursor else { return Ok(None) };
            match cursor.next_frame()? {
                Some(frame) => self.entries = Some(frame.entries()),
                None => return Ok(None),
            }
        }
    }
}

impl Iterator for Replay {
    type Item = Result<LogEntry, WalError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        if next.is_err() {
            self.cursor = None; // nothing after an error: it would be a hole
            self.entries = None;
        }
        next.transpose()
    }
}

impl FusedIterator for Replay {}

/// The entries of a log in LSN order, waiting for new ones.
#[derive(Debug)]
pub struct Follow {
    engine: Arc<Engine>,
    replay: Replay,
}

impl Follow {
    pub(crate) fn new(engine: &Arc<Engine>, from: Lsn) -> Result<Self, WalError> {
        let mut replay = Replay::new(engine, from);
        match replay.failed.take() {
            Some(error) => Err(error),
            None => Ok(Self { engine: Arc::clone(engine), replay }),
        }
    }

    /// The next durable entry, if there is one now.
    ///
    /// # Errors
    /// As [`Log::replay`](crate::Log::replay).
    pub fn try_next(&mut self) -> Result<Option<LogEntry>, WalError> {
        self.replay.advance()
    }

    /// The next durable entry, waited for up to `timeout`; none if none came, or the log takes no more.
    ///
    /// With [`Drive::Manual`](crate::Drive::Manual) somebody else must step meanwhile.
    ///
    /// # Errors
    /// As [`Log::replay`](crate::Log::replay).
    pub fn next(&mut self, timeout: Duration) -> Result<Option<LogEntry>, WalError> {
        let began = self.engine.parts.clock.monotonic();
        loop {
            let seen = locked(&self.engine.state).durable.lsn;
            if let Some(entry) = self.replay.advance()? {
                return Ok(Some(entry));
            }
            let left = timeout.saturating_sub(self.engine.parts.clock.monotonic().since(began));
            let state = locked(&self.engine.state);
            if left.is_zero() || matches!(state.life, Life::Closed | Life::Poisoned(_)) {
                return Ok(None);
            }
            let told = self.engine.moved.seen(); // read under the lock: what moves after it is told
            let moved = state.durable.lsn != seen;
            drop(state);
            if !moved {
                self.engine.moved.wait(told, Some(left));
            }
        }
    }
}
