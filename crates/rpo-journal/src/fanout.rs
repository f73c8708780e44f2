//! Several targets in parallel, each on its own way: one that fails, hangs or is slow holds up no other.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rpo_core::{Disk, Entropy, SourceId};
use rpo_wal::Drive;

use crate::config::FanoutConfig;
use crate::cursor::CursorFile;
use crate::error::{Asked, JournalError};
use crate::journal::{Journal, locked};
use crate::target::{Target, TargetState, TargetStatus, TargetStep};
use crate::worker::{Lane, Surroundings};

/// What a fan-out stands on, given in from outside.
#[derive(Debug, Clone)]
pub struct FanoutParts {
    /// Where cursors are.
    pub disk: Arc<dyn Disk>,
    /// What retries are spread with.
    pub entropy: Arc<dyn Entropy>,
    /// Directory of the cursors, none else's; created if absent, its parent must exist. Not the log's.
    pub dir: PathBuf,
    /// `Thread`: one thread per target, and one that watches. `Manual`: [`Fanout::step`] and [`Fanout::watch`].
    pub drive: Drive,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Running,
    Draining,
    Stopped,
}

#[derive(Debug)]
struct Signal {
    life: Life,
    /// Counts news: something durable, something resumed.
    news: u64,
    working: usize,
}

struct Shared {
    journal: Journal,
    config: FanoutConfig,
    parts: FanoutParts,
    lanes: RwLock<Vec<Arc<Lane>>>,
    signal: Mutex<Signal>,
    changed: Condvar,
}

/// Gives the events of a journal to several targets.
pub struct Fanout {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl fmt::Debug for Fanout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fanout").field("dir", &self.shared.parts.dir).finish_non_exhaustive()
    }
}

/// Where a target stood when the fan-out stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stopped {
    /// How it stood.
    pub status: TargetStatus,
    /// Whether it had applied all that was durable.
    pub is_drained: bool,
    /// Whether it was still within a call of [`Target::apply`]: what becomes of that batch is not known, and it comes again.
    pub is_busy: bool,
}

impl Fanout {
    /// A fan-out of `journal` without targets yet.
    ///
    /// # Errors
    /// Kind `Invalid`: the configuration. Else of the system, for the directory and the thread that watches.
    pub fn new(journal: Journal, config: FanoutConfig, parts: FanoutParts) -> Result<Self, JournalError> {
        config.validate()?;
        match parts.disk.create_dir(&parts.dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(JournalError::io("create", &parts.dir, e));
            }
            _ => {}
        }
        if let Some(parent) = parts.dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            parts.disk.sync_dir(parent).map_err(|e| JournalError::io("sync of the directory", parent, e))?;
        }
        let signal = Mutex::new(Signal { life: Life::Running, news: 0, working: 0 });
        let (lanes, changed) = (RwLock::default(), Condvar::new());
        let shared = Arc::new(Shared { journal, config, parts, lanes, signal, changed });
        let threads: Mutex<Vec<JoinHandle<()>>> = Mutex::default();
        if shared.parts.drive != Drive::Manual {
            let hears: Weak<Shared> = Arc::downgrade(&shared);
            shared.journal.inner.log.on_durable(Box::new(move |_, _, _| {
                if let Some(shared) = hears.upgrade() {
                    shared.news();
                }
            }));
            let watcher = Arc::clone(&shared);
            locked(&threads).push(spawn(&shared, "rpo-journal-watch", move || watch(&watcher))?);
        }
        Ok(Self { shared, threads })
    }

    /// Adds a target. It goes on after the last event its cursor names; a new one begins at `begin`.
    ///
    /// # Errors
    /// Kind `Invalid`: the name is taken, or none a file can have, or `begin` lies ahead. [`JournalError::Uncovered`]: a new
    /// one cannot begin there. `Corrupt`: the cursor cannot be read, or the journal does not reach it: it was rewound.
    pub fn add(&self, name: &str, target: Box<dyn Target>, begin: Asked) -> Result<(), JournalError> {
        let shared = &self.shared;
        let bad = |what| JournalError::Target { name: name.to_owned(), what };
        let id =
            SourceId::new(name).map_err(|_| bad("names have letters a to z, digits, `-`, `_` and `.`"))?;
        let mut lanes = shared.lanes.write().unwrap_or_else(PoisonError::into_inner);
        if lanes.iter().any(|lane| lane.name == id) {
            return Err(bad("is there already"));
        }
        let cursor = shared.open_cursor(&id, begin)?;
        let lane = Arc::new(Lane::new(id, target, cursor));
        lanes.push(Arc::clone(&lane));
        drop(lanes);
        if shared.parts.drive != Drive::Manual {
            locked(&shared.signal).working += 1;
            let mine = Arc::clone(shared);
            let thread = spawn(shared, &format!("rpo-to-{name}"), move || work(&mine, &lane));
            locked(&self.threads).push(thread.inspect_err(|_| locked(&shared.signal).working -= 1)?);
        }
        Ok(())
    }

    /// Does one step of one target. For [`Drive::Manual`].
    ///
    /// # Errors
    /// Kind `Invalid`: there is no such target.
    pub fn step(&self, name: &str) -> Result<TargetStep, JournalError> {
        Ok(self.lane(name)?.step(&self.shared.around()))
    }

    /// Does one step of each target; true if one of them applied something. For [`Drive::Manual`].
    pub fn step_all(&self) -> bool {
        let around = self.shared.around();
        let steps: Vec<_> = self.shared.lanes().iter().map(|lane| lane.step(&around)).collect();
        self.watch();
        steps.iter().any(|step| matches!(step, TargetStep::Applied(_)))
    }

    /// Looks at the lag of each target, and tells of those that fell behind or caught up. Waits for no target.
    pub fn watch(&self) {
        let around = self.shared.around();
        self.shared.lanes().iter().for_each(|lane| lane.watch(&around));
    }

    /// How each target stands, in the order they were added. Waits for no target.
    pub fn status(&self) -> Vec<TargetStatus> {
        let around = self.shared.around();
        self.shared.lanes().iter().map(|lane| lane.status(&around)).collect()
    }

    /// Gives a target nothing more, across restarts too; returns when the batch it is at is through. A target that has
    /// failed stays so.
    ///
    /// # Errors
    /// Kind `Invalid`: there is no such target. Else of the system: it is paused, but a restart may forget it.
    pub fn pause(&self, name: &str) -> Result<(), JournalError> {
        let lane = self.lane(name)?;
        {
            let mut standing = locked(&lane.standing);
            if matches!(standing.state, TargetState::Failed { .. }) {
                return Ok(());
            }
            standing.state = TargetState::Paused;
        }
        let mut worker = locked(&lane.worker);
        let event = worker.cursor.last.event;
        if worker.cursor.last.paused { Ok(()) } else { worker.cursor.update(event, true) }
    }

    /// Has a target that was paused or has failed go on after its cursor, with a fresh count of attempts.
    ///
    /// # Errors
    /// Kind `Invalid`: there is no such target. Else of the cursor's file: it stays as it was.
    pub fn resume(&self, name: &str) -> Result<(), JournalError> {
        self.set(name, None)
    }

    /// Has a target go on with the event that `asked` begins with, whatever it was at: to skip what it cannot take or
    /// what is no longer covered, or to give it something again. The events between are never given to it.
    ///
    /// # Errors
    /// As [`Fanout::resume`] and [`Journal::since`].
    pub fn reset(&self, name: &str, asked: Asked) -> Result<(), JournalError> {
        self.set(name, Some(asked))
    }

    fn set(&self, name: &str, asked: Option<Asked>) -> Result<(), JournalError> {
        let lane = self.lane(name)?;
        let mut worker = locked(&lane.worker);
        if worker.cursor.failed {
            worker.cursor = self.shared.open_cursor(&lane.name, Asked::Start)?;
        }
        let event = match asked {
            Some(asked) => self.shared.journal.event_before(asked)?,
            None => worker.cursor.last.event,
        };
        if worker.cursor.last.paused || worker.cursor.last.event != event {
            worker.cursor.update(event, false)?;
        }
        worker.start_over();
        let mut standing = locked(&lane.standing);
        (standing.state, standing.applied) = (TargetState::Running, event);
        drop(standing);
        drop(worker);
        self.shared.news();
        Ok(())
    }

    /// Stops: lets each target apply what is durable, for at most `deadline`, then says where each stands. A target that
    /// hangs in [`Target::apply`] past the deadline is left behind and reported as busy.
    pub fn stop(self, deadline: Duration) -> Vec<Stopped> {
        let shared = &self.shared;
        let clock = &shared.journal.inner.clock;
        let began = clock.monotonic();
        let left = || deadline.saturating_sub(clock.monotonic().since(began));
        shared.live(Life::Draining);
        match shared.parts.drive {
            Drive::Manual => while !left().is_zero() && self.step_all() {},
            Drive::Thread | Drive::Loop => {
                shared.wait_for_workers(&left);
                shared.live(Life::Stopped);
                let grace = clock.monotonic();
                // Those that only waited go at once; one that applies is not waited for.
                shared.wait_for_workers(&|| {
                    Duration::from_millis(50).saturating_sub(clock.monotonic().since(grace))
                });
                for thread in locked(&self.threads).drain(..).filter(JoinHandle::is_finished) {
                    let _ = thread.join(); // a panic of a target was caught and told
                }
            }
        }
        let around = shared.around();
        let stood = |lane: &Arc<Lane>| {
            let is_busy = lane.worker.try_lock().is_err();
            let status = lane.status(&around);
            Stopped { is_drained: status.lag_events == 0, is_busy, status }
        };
        shared.lanes().iter().map(stood).collect()
    }

    fn lane(&self, name: &str) -> Result<Arc<Lane>, JournalError> {
        let found = self.shared.lanes().into_iter().find(|lane| lane.name.as_str() == name);
        found
            .ok_or_else(|| JournalError::Target { name: name.to_owned(), what: "there is none of that name" })
    }
}

impl Drop for Fanout {
    fn drop(&mut self) {
        self.shared.live(Life::Stopped);
    }
}

impl Journal {
    /// Number of the event before the first that `asked` begins with.
    fn event_before(&self, asked: Asked) -> Result<u64, JournalError> {
        let mut state = locked(&self.inner.state);
        state.absorb();
        let (first, next) = (state.ledger.begin(asked)?.event, state.ledger.next);
        let last = next - 1;
        if first > next {
            return Err(JournalError::Ahead { asked, last, end: self.inner.log.durable() });
        }
        Ok(first.saturating_sub(1))
    }
}

impl Shared {
    fn around(&self) -> Surroundings<'_> {
        Surroundings { journal: &self.journal, config: &self.config, entropy: &*self.parts.entropy }
    }

    fn lanes(&self) -> Vec<Arc<Lane>> {
        self.lanes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn open_cursor(&self, name: &SourceId, begin: Asked) -> Result<CursorFile, JournalError> {
        let (disk, dir, log) = (&*self.parts.disk, &*self.parts.dir, self.journal.inner.id);
        let cursor = CursorFile::open(disk, dir, name, log, || self.journal.event_before(begin))?;
        let last = self.journal.next_event() - 1;
        if cursor.last.event > last {
            let what = format!(
                "`{name}` has applied event {}, but the journal ends with {last}: it was rewound; restore the target to \
                 an event the journal has, move the file away, and add it again there",
                cursor.last.event
            );
            return Err(JournalError::Cursor { file: dir.join(format!("{name}.cursor")), what });
        }
        Ok(cursor)
    }

    fn news(&self) {
        locked(&self.signal).news += 1;
        self.changed.notify_all();
    }

    fn live(&self, life: Life) {
        locked(&self.signal).life = life;
        self.news();
    }

    fn wait_for_workers(&self, left: &dyn Fn() -> Duration) {
        let mut signal = locked(&self.signal);
        while signal.working > 0 && !left().is_zero() {
            let wait = left().min(Duration::from_millis(20));
            signal = self.changed.wait_timeout(signal, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn spawn(
    shared: &Shared,
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, JournalError> {
    let failed = |e| JournalError::io("start of a thread", &shared.parts.dir, e);
    thread::Builder::new().name(name.to_owned()).spawn(body).map_err(failed)
}

/// The thread of one target.
fn work(shared: &Shared, lane: &Lane) {
    loop {
        let (seen, life) = {
            let signal = locked(&shared.signal);
            (signal.news, signal.life)
        };
        if life == Life::Stopped {
            break;
        }
        let around = shared.around();
        let step = lane.step(&around);
        lane.watch(&around);
        let wait = match step {
            TargetStep::Applied(_) => continue,
            TargetStep::Idle | TargetStep::Halted if life == Life::Draining => break,
            TargetStep::Waiting(left) => left,
            TargetStep::Idle | TargetStep::Halted => Duration::from_secs(1),
        };
        let signal = locked(&shared.signal);
        if signal.news == seen {
            drop(shared.changed.wait_timeout(signal, wait.max(Duration::from_millis(1))));
        }
    }
    locked(&shared.signal).working -= 1;
    shared.changed.notify_all();
}

/// The thread that looks at lags: a target that hangs cannot tell its own.
fn watch(shared: &Shared) {
    let every = (shared.config.lag_max.get() / 4).clamp(Duration::from_millis(10), Duration::from_secs(1));
    while locked(&shared.signal).life == Life::Running {
        let around = shared.around();
        shared.lanes().iter().for_each(|lane| lane.watch(&around));
        let signal = locked(&shared.signal);
        if signal.life == Life::Running {
            drop(shared.changed.wait_timeout(signal, every));
        }
    }
}
