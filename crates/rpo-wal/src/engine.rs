//! The shared heart of an open log: state, writer, keeper, catalog, and how waiters are told.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, RwLock};

use rpo_core::frame::EncodedEntry;
use rpo_core::ports::DiskLock;
use rpo_core::{Clock, Disk, Entropy, Monotonic, Position, Timestamp};

use crate::catalog::Catalog;
use crate::config::WalConfig;
use crate::error::WalError;
use crate::flush::Writer;
use crate::keep::Keeper;
use crate::state::{Accepted, Life, Refusal, State, Trouble, Want, entry_bytes_max};
use crate::sync::locked;

/// What a log stands on, given in from outside.
#[derive(Debug, Clone)]
pub struct LogParts {
    /// Where files are.
    pub disk: Arc<dyn Disk>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where salts come from.
    pub entropy: Arc<dyn Entropy>,
}

impl LogParts {
    /// The system's own.
    pub fn os() -> Self {
        Self {
            disk: Arc::new(rpo_os::OsDisk::new()),
            clock: Arc::new(rpo_os::OsClock::new()),
            entropy: Arc::new(rpo_os::OsEntropy::new()),
        }
    }
}

/// Who drives the log's background work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drive {
    /// Two threads of the log's own: one flushes, one prepares segments and keeps house.
    Thread,
    /// The caller, by [`Log::step`](crate::Log::step): for a simulator, or a program with its own loop. Blocking calls
    /// step by themselves until they are done.
    Manual,
}

type Listener = Box<dyn Fn(Position, Timestamp, Monotonic) + Send + Sync>;

/// Counts since the log was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) commits: AtomicU64,
    pub(crate) writes: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) bytes: AtomicU64,
}

pub(crate) struct Engine {
    pub(crate) dir: PathBuf,
    pub(crate) config: WalConfig,
    pub(crate) parts: LogParts,
    pub(crate) drive: Drive,
    pub(crate) state: Mutex<State>,
    /// Waiters, and readers that follow.
    pub(crate) done: Condvar,
    /// The flusher.
    pub(crate) work: Condvar,
    /// The keeper.
    pub(crate) upkeep: Condvar,
    pub(crate) writer: Mutex<Writer>,
    pub(crate) keeper: Mutex<Keeper>,
    pub(crate) catalog: RwLock<Catalog>,
    pub(crate) listeners: RwLock<Vec<Listener>>,
    pub(crate) lock: Mutex<Option<Box<dyn DiskLock>>>,
    pub(crate) counters: Counters,
    pub(crate) seals: Mutex<crate::seal::SealStats>,
    #[cfg(feature = "planted-bugs")]
    pub(crate) planted: crate::planted::Planted,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("dir", &self.dir).field("drive", &self.drive).finish_non_exhaustive()
    }
}

impl Engine {
    /// Accepts an entry, or says why not. Never waits.
    pub(crate) fn admit(&self, entry: &EncodedEntry, want: Want) -> Result<Accepted, WalError> {
        let limit = entry_bytes_max(&self.config);
        let bytes = entry.len() as u64;
        if bytes > limit {
            return Err(WalError::TooLarge { bytes, limit });
        }
        let want = if self.config.sync_delay_max.get().is_zero() { Want::Durable } else { want };
        let mut state = locked(&self.state);
        let admitted = state.admit(entry, want, &self.config, &*self.parts.clock);
        drop(state);
        if admitted.is_ok() {
            self.counters.commits.fetch_add(entry.commits().into(), Ordering::Relaxed);
            self.work.notify_one();
        }
        admitted.map_err(|refusal| self.refused(refusal))
    }

    fn refused(&self, refusal: Refusal) -> WalError {
        match refusal {
            Refusal::Full { pending } => {
                WalError::Full { pending_bytes: pending, limit: self.config.pending_bytes_max.get() }
            }
            Refusal::NotReady => WalError::NotReady,
            Refusal::Trouble(Trouble::NoSpace) => {
                WalError::NoSpace { dir: self.dir.clone(), segment_bytes: self.config.segment_bytes }
            }
            Refusal::Trouble(Trouble::Io(cause)) => {
                WalError::Io { op: "preparing the next segment", path: self.dir.clone(), cause }
            }
            Refusal::Life(Life::Poisoned(cause)) => WalError::Poisoned { cause },
            Refusal::Life(_) => WalError::Closed,
        }
    }

    /// Whether an accepted entry reached what its caller waits for; none if it has not yet.
    pub(crate) fn outcome(state: &State, accepted: &Accepted) -> Option<Result<Appended, WalError>> {
        let end = accepted.end.lsn;
        let reached = match accepted.want {
            Want::Accepted => true,
            Want::Written => state.written.lsn >= end || state.durable.lsn >= end,
            Want::Durable => state.durable.lsn >= end,
        };
        if let (true, Some(time)) = (reached, accepted.time.get()) {
            return Some(Ok(Appended { lsn: accepted.lsn, end: accepted.end, time: *time }));
        }
        let lost = |cause: String| WalError::Indeterminate { lsn: accepted.lsn, end, cause };
        match &state.life {
            Life::Poisoned(cause) => Some(Err(lost(cause.clone()))),
            Life::Closed => Some(Err(lost("the log was closed before it was durable".to_owned()))),
            Life::Running | Life::Closing => None,
        }
    }

    /// Tells everybody who waits that something changed. The state is right before this is called.
    pub(crate) fn announce(&self, durable: Option<(Position, Timestamp, Monotonic)>) {
        let wakers = locked(&self.state).take_wakers();
        self.done.notify_all();
        for (_, waker) in wakers {
            waker.wake();
        }
        if let Some((position, wall, steady)) = durable {
            let listeners = self.listeners.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            for listener in listeners.iter() {
                listener(position, wall, steady);
            }
        }
    }

    /// Refuses writes from now on, then tells the waiters.
    pub(crate) fn poison(&self, cause: &str) {
        tracing::error!(dir = %self.dir.display(), cause, "log poisoned");
        locked(&self.state).poison(cause);
        self.announce(None);
        self.work.notify_all();
        self.upkeep.notify_all();
    }

    #[cfg(feature = "planted-bugs")]
    pub(crate) fn has_bug(&self, bug: crate::planted::Bug) -> bool {
        self.planted.has(bug)
    }

    /// Makes the names in the log's directory durable.
    pub(crate) fn sync_dir(&self) -> std::io::Result<()> {
        #[cfg(feature = "planted-bugs")]
        if self.has_bug(crate::planted::Bug::NoDirSync) {
            return Ok(());
        }
        self.parts.disk.sync_dir(&self.dir)
    }
}

/// Where a commit or marker stands now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Where its first record begins.
    pub lsn: rpo_core::Lsn,
    /// Where the history stands once it is included.
    pub end: Position,
    /// Its commit time.
    pub time: rpo_core::Timestamp,
}
