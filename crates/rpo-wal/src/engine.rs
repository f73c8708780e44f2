//! The shared heart of an open log: state, writer, keeper, catalog, and how waiters are told.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rpo_core::frame::Encoded;
use rpo_core::ports::DiskLock;
use rpo_core::{Clock, Disk, Entropy, Lsn, Monotonic, Position, Timestamp};
use rpo_os::EventCount;

use crate::catalog::Catalog;
use crate::config::WalConfig;
use crate::error::WalError;
use crate::event::{EventListener, WalEvent};
use crate::flush::Writer;
use crate::gather::{Next, Patience};
use crate::keep::Keeper;
use crate::sleepers::{Completion, Released};
use crate::state::{Accepted, Life, Refusal, State, Trouble, Want, entry_bytes_max};
use crate::sync::{AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard, RwLock, locked};

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
    /// The threads that append carry groups out; two threads of the log's own help: one flushes what nobody waits for on a
    /// thread, one prepares segments and keeps house.
    Thread,
    /// A program with an event loop of its own flushes, by [`Log::step`](crate::Log::step), when its tasks have nothing else
    /// to do (and within the sync delay, where there is one); a thread of the log's keeps house. Futures and callbacks are told
    /// on the thread that steps, so that many appenders need no second thread and no switch between threads.
    Loop,
    /// The caller does everything, by [`Log::step`](crate::Log::step): for a simulator. Blocking calls step by themselves until
    /// they are done.
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
    /// What of the state is read without its lock; set under it, before anybody is told.
    pub(crate) reached: Reached,
    /// Threads that wait for their group: of even number, of odd number. So whoever is told of one group is not of the next.
    pub(crate) done: [EventCount; 2],
    /// Anything moved: readers that follow, writers that wait for room.
    pub(crate) moved: EventCount,
    /// The flusher.
    pub(crate) work: Condvar,
    /// The keeper.
    pub(crate) upkeep: Condvar,
    pub(crate) writer: Mutex<Writer>,
    pub(crate) keeper: Mutex<Keeper>,
    pub(crate) catalog: RwLock<Catalog>,
    pub(crate) listeners: RwLock<Vec<Listener>>,
    pub(crate) event_listeners: RwLock<Vec<EventListener>>,
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

/// How far the log is.
#[derive(Debug, Default)]
pub(crate) struct Reached {
    written: AtomicU64,
    durable: AtomicU64,
    /// It takes nothing more: see the state.
    ended: AtomicBool,
}

impl Reached {
    pub(crate) fn at(end: Lsn) -> Self {
        Self {
            written: AtomicU64::new(end.get()),
            durable: AtomicU64::new(end.get()),
            ended: AtomicBool::new(false),
        }
    }

    fn follow(&self, state: &State) {
        self.written.store(state.written.lsn.get(), Ordering::Release);
        self.durable.store(state.durable.lsn.get(), Ordering::Release);
        if !matches!(state.life, Life::Running | Life::Closing) {
            self.ended.store(true, Ordering::Release);
        }
    }

    fn has(&self, accepted: &Accepted) -> bool {
        let end = accepted.end.lsn.get();
        match accepted.want {
            Want::Accepted => true,
            Want::Written => {
                self.written.load(Ordering::Acquire) >= end || self.durable.load(Ordering::Acquire) >= end
            }
            Want::Durable => self.durable.load(Ordering::Acquire) >= end,
        }
    }
}

impl Engine {
    /// Accepts an entry, or says why not. Never waits.
    pub(crate) fn admit(&self, entry: &impl Encoded, want: Want) -> Result<Accepted, WalError> {
        self.admit_and(entry, want, |_, _| ())
    }

    /// [`Engine::admit`], and something else under the same lock.
    pub(crate) fn admit_and(
        &self,
        entry: &impl Encoded,
        want: Want,
        and: impl FnOnce(&mut State, &Accepted),
    ) -> Result<Accepted, WalError> {
        let want = self.fit(entry, want)?;
        let mut state = locked(&self.state);
        let admitted = state.admit(entry, want, &self.config, &*self.parts.clock);
        if let Ok(accepted) = &admitted {
            and(&mut state, accepted);
        }
        let next = self.hand_on(&mut state);
        drop(state);
        self.tell_next(next, 0);
        self.count(entry, admitted)
    }

    /// Accepts an entry and waits for it, and carries its group out if nobody else does. Not for [`Drive::Manual`].
    pub(crate) fn append(&self, entry: &impl Encoded, want: Want) -> Result<Appended, WalError> {
        let want = self.fit(entry, want)?;
        let mut state = locked(&self.state);
        let admitted = loop {
            match state.admit(entry, want, &self.config, &*self.parts.clock) {
                Err(Refusal::Full { .. } | Refusal::NotReady) => {}
                other => break other,
            }
            let seen = self.moved.seen(); // read under the lock: what moves after it is told
            let next = self.hand_on(&mut state);
            drop(state);
            self.tell_next(next, 0);
            self.upkeep.notify_one();
            self.moved.wait(seen, None);
            state = locked(&self.state);
        };
        if want == Want::Accepted || admitted.is_err() {
            let next = self.hand_on(&mut state);
            drop(state);
            self.tell_next(next, 0);
            let accepted = self.count(entry, admitted)?;
            let time = accepted.time.get().unwrap_or(Timestamp::EPOCH); // it is known at this level
            return Ok(Appended { lsn: accepted.lsn, end: accepted.end, time });
        }
        let accepted = self.count(entry, admitted)?;
        self.see_to(state, &accepted)
    }

    /// Waits until `accepted` reached what is wanted, and carries its group out if nobody else does.
    pub(crate) fn see_to<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        accepted: &Accepted,
    ) -> Result<Appended, WalError> {
        let event = &self.done[(accepted.group % 2) as usize];
        let now = || self.parts.clock.monotonic();
        let (mut parked, mut patience) = (false, Patience::default());
        loop {
            if let Some(outcome) = Self::outcome(&state, accepted) {
                return outcome;
            }
            if self.leads_inline()
                && (state.may_lead() || state.goes_without(now, &mut patience))
                && let Some(plan) = state.plan(&self.config, &*self.parts.clock)
            {
                drop(state);
                self.carry_out(plan);
            } else {
                let seen = event.seen(); // read under the lock: what changes after it is told
                if !parked && state.gathering.group == accepted.group {
                    parked = true;
                    state.gathering.parked += 1;
                }
                let mine = state.gathering.group == accepted.group && self.leads_inline();
                let watch = if mine { state.watch_parked(now, &mut patience) } else { None };
                let next = self.hand_on(&mut state);
                drop(state);
                self.tell_next(next, 0);
                event.wait(seen, watch);
            }
            if self.reached.has(accepted)
                && let Some(time) = accepted.time.get()
            {
                return Ok(Appended { lsn: accepted.lsn, end: accepted.end, time });
            }
            state = locked(&self.state);
        }
    }

    /// Accepts an entry; `call` is called with what became of it.
    pub(crate) fn admit_then(
        &self,
        entry: &impl Encoded,
        want: Want,
        call: Completion,
    ) -> Result<Accepted, WalError> {
        let mut call = Some(call);
        let accepted = self.admit_and(entry, want, |state, accepted| {
            let queue = match accepted.want {
                Want::Accepted => return,
                Want::Written => &mut state.for_written,
                Want::Durable => &mut state.for_durable,
            };
            if let Some(call) = call.take() {
                queue.call_at(accepted.clone(), call);
            }
        })?;
        if let (Some(call), Some(time)) = (call, accepted.time.get()) {
            call(Ok(Appended { lsn: accepted.lsn, end: accepted.end, time }));
        }
        Ok(accepted)
    }

    /// Whether writers that wait carry groups out themselves.
    pub(crate) fn leads_inline(&self) -> bool {
        match self.drive {
            Drive::Thread => self.config.realtime_priority == 0, // else the flusher's thread is faster at it
            Drive::Loop => true,
            Drive::Manual => false,
        }
    }

    fn fit(&self, entry: &impl Encoded, want: Want) -> Result<Want, WalError> {
        let limit = entry_bytes_max(&self.config);
        let bytes = entry.bytes() as u64;
        if bytes > limit {
            return Err(WalError::TooLarge { bytes, limit });
        }
        Ok(if self.config.sync_delay_max.get().is_zero() { Want::Durable } else { want })
    }

    fn count(&self, entry: &impl Encoded, admitted: Result<Accepted, Refusal>) -> Result<Accepted, WalError> {
        match admitted {
            Ok(accepted) => {
                self.counters.commits.fetch_add(entry.commits().into(), Ordering::Relaxed);
                Ok(accepted)
            }
            Err(refusal) => Err(self.refused(refusal)),
        }
    }

    /// Who has to be told that there is something to do.
    fn hand_on(&self, state: &mut State) -> Next {
        if self.drive == Drive::Thread { state.after_admit(&self.config) } else { Next::Nobody }
    }

    pub(crate) fn tell_next(&self, next: Next, group: u64) {
        match next {
            Next::Nobody => {}
            Next::Parked => self.done[(group % 2) as usize].notify_one(),
            Next::Flusher => self.work.notify_one(),
        }
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
            return Some(Ok(Appended { lsn: accepted.lsn, end: accepted.end, time }));
        }
        let lost = |cause: String| WalError::Indeterminate { lsn: accepted.lsn, end, cause };
        match &state.life {
            Life::Poisoned(cause) => Some(Err(lost(cause.clone()))),
            Life::Closed => Some(Err(lost("the log was closed before it was durable".to_owned()))),
            Life::Running | Life::Closing => None,
        }
    }

    /// As [`Engine::outcome`], without the lock where it went well; none if it is not known yet.
    pub(crate) fn look(&self, accepted: &Accepted) -> Option<Result<Appended, WalError>> {
        if self.reached.has(accepted)
            && let Some(time) = accepted.time.get()
        {
            return Some(Ok(Appended { lsn: accepted.lsn, end: accepted.end, time }));
        }
        if !self.reached.ended.load(Ordering::Acquire) {
            return None;
        }
        Self::outcome(&locked(&self.state), accepted)
    }

    /// Lets what is read without the lock follow the state. Under its lock, before anybody is told.
    pub(crate) fn follow(&self, state: &State) {
        self.reached.follow(state);
    }

    /// Tells whoever waits for anything that something changed. The state is right before this is called.
    pub(crate) fn announce(&self) {
        let wakers = locked(&self.state).take_wakers();
        self.moved.notify_all();
        for (_, waker) in wakers {
            waker.wake();
        }
    }

    /// Tells everybody, whatever they wait for.
    pub(crate) fn announce_all(&self, released: Released) {
        for event in &self.done {
            event.notify_all();
        }
        self.announce();
        released.tell(|accepted| {
            let lost =
                |cause: String| WalError::Indeterminate { lsn: accepted.lsn, end: accepted.end.lsn, cause };
            self.look(accepted).unwrap_or_else(|| Err(lost("the log ended".to_owned())))
        });
    }

    pub(crate) fn tell_listeners(&self, position: Position, wall: Timestamp, steady: Monotonic) {
        let listeners = self.listeners.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        for listener in listeners.iter() {
            listener(position, wall, steady);
        }
    }

    /// Refuses writes from now on, then tells the waiters.
    pub(crate) fn poison(&self, cause: &str) {
        tracing::error!(dir = %self.dir.display(), cause, "log poisoned");
        let mut state = locked(&self.state);
        let again = matches!(state.life, Life::Poisoned(_));
        let released = state.poison(cause);
        self.follow(&state);
        drop(state);
        self.announce_all(released);
        if !again {
            self.tell_event(&WalEvent::Poisoned { cause: cause.to_owned() });
        }
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
