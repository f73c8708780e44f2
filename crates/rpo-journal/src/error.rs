//! Why an operation on the journal failed: the variant says where, [`JournalError::kind`] what to do next.

use std::fmt;
use std::io;
use std::path::PathBuf;

use rpo_core::{ConfigError, ErrorKind, Lsn, Position, Timestamp};
use rpo_wal::{IoCause, WalError};

use crate::format::FormatError;
use crate::ledger::Edge;
use crate::stamp::Dropped;

/// A point in the journal, as somebody asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// All that is covered.
    Start,
    /// An event by its number.
    Event(u64),
    /// A position in the log.
    Position(Lsn),
    /// A commit time.
    Time(Timestamp),
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("the first event covered"),
            Self::Event(id) => write!(f, "event {id}"),
            Self::Position(lsn) => write!(f, "lsn {lsn}"),
            Self::Time(time) => write!(f, "time {time}"),
        }
    }
}

/// Why an operation on the journal failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The configuration breaks rules.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The log failed or refused.
    #[error("{0}")]
    Log(#[from] WalError),
    /// The change cannot be recorded as it is. Nothing was.
    #[error("change {part} of the transaction: {source}")]
    Change {
        /// Which one, from 1.
        part: usize,
        /// What is wrong with it.
        source: FormatError,
    },
    /// The transaction has no changes, or too many. Nothing was recorded.
    #[error("a transaction of {found} changes: it takes 1 to {limit}; split it, or raise events-max")]
    Size {
        /// Changes it has.
        found: usize,
        /// Changes it may have.
        limit: u64,
    },
    /// The journal holds as many events as it may, all of them within the window, and `overrun = "refuse"`. Nothing was
    /// recorded.
    #[error(
        "the journal is full: {events} events of at most {limit} lie within the window; wait until older ones leave it \
         ({oldest} is the oldest), or raise events-max"
    )]
    Full {
        /// Events covered.
        events: u64,
        /// `events-max`.
        limit: u64,
        /// The first to leave the window.
        oldest: Timestamp,
    },
    /// Room has to be made, and what would give way is still being written: the same call will go through soon.
    #[error("the journal is being written: try again")]
    Writing,
    /// What was recorded has no verdict of the log: open it again and look for the event.
    #[error(
        "event {first} was accepted, and nothing drives the log to its end: open it again and look for it"
    )]
    Undecided {
        /// The first event of the transaction.
        first: u64,
    },
    /// An earlier commit failed: the journal records nothing more.
    #[error("the journal records nothing since a failure: {cause}; open the log and the journal again")]
    Broken {
        /// The failure.
        cause: String,
    },
    /// What was asked for is no longer covered.
    #[error(
        "{asked} is not covered: event {} and everything before is gone; the nearest is {}",
        dropped.event,
        nearest.map_or_else(|| "whatever comes next".to_owned(), |edge| edge.to_string())
    )]
    Uncovered {
        /// What was asked for.
        asked: Asked,
        /// The end of what is gone.
        dropped: Dropped,
        /// The nearest point that can be reached; none: nothing is covered now.
        nearest: Option<Edge>,
    },
    /// What was asked for has not happened, as far as is durable here.
    #[error("{asked} lies ahead: the journal is durable to event {last}, at {end}")]
    Ahead {
        /// What was asked for.
        asked: Asked,
        /// The last durable event.
        last: u64,
        /// Where the log is durable to.
        end: Position,
    },
    /// No base lies at or before the target.
    #[error(
        "no base at or before {target}: {}; give an older checkpoint, or ask for a later moment",
        earliest.map_or_else(|| "none was given".to_owned(), |time| format!("the earliest is of {time}"))
    )]
    NoBase {
        /// The target.
        target: Asked,
        /// The earliest base given.
        earliest: Option<Timestamp>,
    },
    /// The callback refused an event. Those before it were applied, it and those after it were not: the target was not
    /// reached.
    #[error("event {event} at lsn {lsn} could not be applied, after {applied} that were: {cause}")]
    Callback {
        /// The event refused.
        event: u64,
        /// Where its commit begins.
        lsn: Lsn,
        /// Events that were applied before.
        applied: u64,
        /// What the callback said.
        cause: String,
    },
    /// What is in the log is not what the journal wrote.
    #[error("the commit at lsn {lsn}: {what}; restore the log from a copy")]
    Corrupt {
        /// Where the commit begins.
        lsn: Lsn,
        /// What is wrong.
        what: String,
    },
    /// The log begins after its beginning, and holds nothing of the journal: which numbers were given is not known.
    #[error(
        "the log begins at {start} and holds nothing of the journal: events were numbered before, or none was; \
         restore the log from a copy, or begin at a number never given (`begin_at`)"
    )]
    Forgotten {
        /// Where the log begins.
        start: Lsn,
    },
    /// No such target, or one of that name is there already.
    #[error("target `{name}`: {what}")]
    Target {
        /// Its name.
        name: String,
        /// What is wrong, and what to do.
        what: &'static str,
    },
    /// A cursor's file is damaged or belongs to another.
    #[error("cursor {}: {what}", file.display())]
    Cursor {
        /// The file.
        file: PathBuf,
        /// What is wrong, and what to do.
        what: String,
    },
    /// The system refused something about a cursor's file or a thread.
    #[error("{}: {op} failed: {}", path.display(), cause.text)]
    Io {
        /// What was tried.
        op: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        cause: IoCause,
    },
}

impl JournalError {
    /// The stable part of the API: programs match on this, people read the rest.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Config(_) | Self::Size { .. } | Self::Ahead { .. } => ErrorKind::Invalid,
            Self::Log(error) => error.kind(),
            Self::Change { .. } => ErrorKind::Invalid,
            Self::Full { .. } | Self::Broken { .. } | Self::Forgotten { .. } => ErrorKind::Refused,
            Self::Writing => ErrorKind::Retry,
            Self::Undecided { .. } | Self::Callback { .. } => ErrorKind::Unknown,
            Self::Uncovered { .. } | Self::NoBase { .. } => ErrorKind::NotFound,
            Self::Corrupt { .. } | Self::Cursor { .. } => ErrorKind::Corrupt,
            Self::Target { .. } => ErrorKind::Invalid,
            Self::Io { cause, .. } => ErrorKind::of_io(&cause.kind.into()),
        }
    }

    pub(crate) fn io(op: &'static str, path: impl Into<PathBuf>, error: io::Error) -> Self {
        Self::Io { op, path: path.into(), cause: error.into() }
    }
}
