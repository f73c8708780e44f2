//! Reading: events since a point, in order, none missing; and the survey of the log when the journal is opened.

use std::iter::FusedIterator;

use rpo_core::{Commit, LogEntry, Lsn, Position, Timestamp};
use rpo_wal::{Follow, WalError};

use crate::error::{Asked, JournalError};
use crate::event::ChangeEvent;
use crate::journal::{Journal, JournalParts, locked};
use crate::ledger::{Begin, Ledger, Mark};
use crate::stamp::{Dropped, LossReason, Lost, Stamp};

/// Reads the log through: the numbers given, what is there, and the coverage that the newest stamp says.
pub(crate) fn survey(parts: &JournalParts) -> Result<(Ledger, Lsn), JournalError> {
    let start = parts.log.start();
    let mut found: Option<(Ledger, Lsn)> = None;
    for entry in parts.log.replay(start.lsn) {
        let LogEntry::Commit(commit) = entry? else { continue };
        let Some(stamp) = stamp_of(&commit)? else { continue };
        let (ledger, newest) =
            found.get_or_insert_with(|| (Ledger::new(stamp.first, commit.lsn), commit.lsn));
        if stamp.first != ledger.next {
            return Err(gap(&commit, ledger.next, stamp.first));
        }
        if stamp.count > 0 {
            let (lsn, end) = (commit.lsn, commit.end);
            ledger.marks.push_back(Mark {
                first: stamp.first,
                count: stamp.count,
                lsn,
                end,
                time: commit.time,
            });
        }
        ledger.next += u64::from(stamp.count);
        (ledger.dropped, ledger.lost) = (stamp.dropped, stamp.lost);
        (ledger.tail, *newest) = (commit.end, commit.lsn);
    }
    if let Some((mut ledger, newest)) = found {
        #[cfg(feature = "planted-bugs")]
        if crate::planted::has(crate::planted::Bug::ForgetLoss) {
            let before =
                |mark: &Mark| Dropped { event: mark.first - 1, end: mark.lsn, time: Timestamp::EPOCH };
            ledger.dropped = ledger.marks.front().map_or(Dropped::default(), before);
            ledger.lost = None;
        }
        let gone = ledger.marks.partition_point(|mark| mark.last() <= ledger.dropped.event);
        ledger.marks.drain(..gone);
        return Ok((ledger, newest));
    }
    if start.lsn > Lsn::ZERO && parts.begin_at.is_none() {
        return Err(JournalError::Forgotten { start: start.lsn });
    }
    let next = parts.begin_at.unwrap_or(1).max(1);
    let mut ledger = Ledger::new(next, start.lsn);
    if next > 1 {
        let now = parts.clock.wall();
        ledger.dropped = Dropped { event: next - 1, end: start.lsn, time: now };
        let reason = LossReason::NotNumbered;
        ledger.lost = Some(Lost { events: next - 1, last: next - 1, last_time: now, since: now, reason });
    }
    Ok((ledger, start.lsn))
}

fn gap(commit: &Commit, expected: u64, found: u64) -> JournalError {
    let what = format!("begins with event {found}, and {expected} comes next: events are missing");
    JournalError::Corrupt { lsn: commit.lsn, what }
}

/// The stamp of a commit; none if the commit is not the journal's.
fn stamp_of(commit: &Commit) -> Result<Option<Stamp>, JournalError> {
    let corrupt = |what: String| JournalError::Corrupt { lsn: commit.lsn, what };
    let Some(first) = commit.records.first().filter(|r| Stamp::is_one(&r.payload)) else { return Ok(None) };
    let stamp = Stamp::decode(&first.payload).map_err(|error| corrupt(error.to_string()))?;
    if commit.records.len() - 1 != stamp.count as usize {
        return Err(corrupt(format!("holds {} events, not {}", commit.records.len() - 1, stamp.count)));
    }
    Ok(Some(stamp))
}

/// The events of one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Where its commit begins.
    pub lsn: Lsn,
    /// Where the history stands once it is included.
    pub position: Position,
    /// Its commit time.
    pub time: Timestamp,
    /// All its events, in order; at least one.
    pub events: Vec<ChangeEvent>,
}

/// Decodes a commit; none if it is not the journal's, or a note.
fn decode(commit: &Commit) -> Result<Option<Recorded>, JournalError> {
    let Some(stamp) = stamp_of(commit)?.filter(|stamp| stamp.count > 0) else { return Ok(None) };
    let corrupt = |what: String| JournalError::Corrupt { lsn: commit.lsn, what };
    let (position, time) = (commit.position(), commit.time);
    let mut events = Vec::with_capacity(stamp.count as usize);
    for (part, record) in (1..=stamp.count).zip(&commit.records[1..]) {
        let event =
            ChangeEvent::decode(&record.payload, time, position).map_err(|e| corrupt(e.to_string()))?;
        let id = stamp.first + u64::from(part) - 1;
        if (event.id, event.part, event.parts) != (id, part, stamp.count) {
            return Err(corrupt(format!("event {} stands where {id} belongs", event.id)));
        }
        if event.transaction != commit.transaction || event.context != commit.context {
            return Err(corrupt(format!("event {id} and its commit name two transactions")));
        }
        events.push(event);
    }
    Ok(Some(Recorded { lsn: commit.lsn, position, time, events }))
}

/// Walks whole transactions, in order, and notices when one is missing.
#[derive(Debug)]
pub(crate) struct Reader {
    journal: Journal,
    follow: Follow,
    /// The first event wanted; then the next expected.
    next: u64,
    began: bool,
}

impl Reader {
    pub(crate) fn begin(journal: &Journal, begin: Begin) -> Result<Self, JournalError> {
        let follow = journal.inner.log.follow(begin.lsn).map_err(|e| gone(journal, begin.event, e))?;
        Ok(Self { journal: journal.clone(), follow, next: begin.event, began: false })
    }

    pub(crate) fn since(journal: &Journal, asked: Asked) -> Result<Self, JournalError> {
        let mut state = locked(&journal.inner.state);
        state.absorb();
        let begin = state.ledger.begin(asked)?;
        let last = state.ledger.next - 1;
        drop(state);
        let end = journal.inner.log.durable();
        let ahead = match asked {
            Asked::Event(id) => id > last + 1,
            Asked::Position(lsn) => lsn > end.lsn,
            Asked::Start | Asked::Time(_) => false,
        };
        if ahead {
            return Err(JournalError::Ahead { asked, last, end });
        }
        // What is still being written begins at the durable end, at the latest.
        Self::begin(journal, Begin { lsn: begin.lsn.min(end.lsn), ..begin })
    }

    /// The next durable transaction that holds a wanted event; none if there is none now.
    pub(crate) fn next(&mut self) -> Result<Option<Recorded>, JournalError> {
        loop {
            let entry = self.follow.try_next().map_err(|e| gone(&self.journal, self.next, e))?;
            let Some(entry) = entry else { return Ok(None) };
            let LogEntry::Commit(commit) = entry else { continue };
            let Some(recorded) = decode(&commit)? else { continue };
            let (first, last) = (recorded.events[0].id, recorded.events[recorded.events.len() - 1].id);
            if !self.began && last < self.next {
                continue; // begun a little early
            }
            if first > self.next || (self.began && first != self.next) {
                return Err(gap(&commit, self.next, first));
            }
            self.began = true;
            self.next = last + 1;
            return Ok(Some(recorded));
        }
    }
}

/// What was released while it was read is no longer covered.
fn gone(journal: &Journal, next: u64, error: WalError) -> JournalError {
    match error {
        WalError::Released { .. } => locked(&journal.inner.state).ledger.uncovered(Asked::Event(next)),
        other => other.into(),
    }
}

impl Journal {
    /// The durable events since `asked`, that included, in order and none missing, to the durable end. `Event(n)` begins
    /// with event n, even within its transaction; `Position` with the first transaction that begins there or later; `Time`
    /// with the first committed then or later.
    ///
    /// # Errors
    /// [`JournalError::Uncovered`] names the nearest point that can be reached; [`JournalError::Ahead`]: it has not
    /// happened; else as [`rpo_wal::Log::read_frames`]. So for each item; nothing follows an error.
    pub fn since(&self, asked: Asked) -> Result<Events, JournalError> {
        let reader = Reader::since(self, asked)?;
        let from = if let Asked::Event(id) = asked { id } else { 0 };
        Ok(Events { reader: Some(reader), held: Vec::new().into_iter(), from })
    }
}

/// Events in order. See [`Journal::since`].
#[derive(Debug)]
pub struct Events {
    reader: Option<Reader>,
    held: std::vec::IntoIter<ChangeEvent>,
    from: u64,
}

impl Iterator for Events {
    type Item = Result<ChangeEvent, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(event) = self.held.find(|event| event.id >= self.from) {
                return Some(Ok(event));
            }
            match self.reader.as_mut()?.next() {
                Ok(Some(recorded)) => self.held = recorded.events.into_iter(),
                Ok(None) => {
                    self.reader = None;
                    return None;
                }
                Err(error) => {
                    self.reader = None;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl FusedIterator for Events {}
