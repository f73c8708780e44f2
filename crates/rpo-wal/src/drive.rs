//! What drives a log: its own threads, or somebody who steps; and how it is shut down.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::{Drive, Engine};
use crate::error::WalError;
use crate::event::WalEvent;
use crate::flush::Flushed;
use crate::gather::{Armed, Patience, Watch};
use crate::keep::Kept;
use crate::state::Life;
use crate::sync::{Builder, JoinHandle, Mutex, locked, wait_for};

/// What a call of [`Log::step`](crate::Log::step) did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Wrote, and perhaps synced, one group.
    Flushed,
    /// Did one piece of housekeeping.
    Kept,
    /// There is nothing to do now.
    Idle,
    /// A segment could not be prepared: there is no room, or the disk refused.
    Short,
    /// The log refuses writes since a failure.
    Poisoned,
}

pub(crate) fn step(engine: &Engine) -> Step {
    match engine.flush_once() {
        Flushed::Did => return Step::Flushed,
        Flushed::Poisoned => return Step::Poisoned,
        Flushed::Idle(_) => {}
    }
    if engine.drive == Drive::Loop && matches!(locked(&engine.state).life, Life::Running) {
        return Step::Idle; // a thread keeps house
    }
    match engine.keep_once() {
        Kept::Did | Kept::Rest(_) => Step::Kept,
        Kept::Idle(_) => Step::Idle,
        Kept::Short(_) => Step::Short,
    }
}

impl Engine {
    /// Waits while somebody flushes.
    fn wait_for_flush(&self) {
        loop {
            let seen = self.moved.seen();
            if !locked(&self.state).gathering.flushing {
                return;
            }
            self.moved.wait(seen, None);
        }
    }
}

/// Shuts the log down when the last clone of [`Log`](crate::Log) goes.
#[derive(Debug)]
pub(crate) struct Owner {
    engine: Arc<Engine>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Owner {
    /// Takes charge of `engine`, and starts its threads if it is to have some.
    pub(crate) fn new(engine: &Arc<Engine>) -> Result<Self, WalError> {
        let owner = Self { engine: Arc::clone(engine), threads: Mutex::default() };
        if engine.drive != Drive::Manual {
            locked(&owner.threads).push(spawn(engine, "rpo-wal-keep", keeper)?);
        }
        if engine.drive == Drive::Thread {
            locked(&owner.threads).push(spawn(engine, "rpo-wal-flush", flusher)?);
        }
        Ok(owner)
    }

    pub(crate) fn shut_down(&self) -> Result<(), WalError> {
        let engine = &*self.engine;
        {
            let mut state = locked(&engine.state);
            match state.life {
                Life::Running => state.life = Life::Closing,
                Life::Closed => return Ok(()),
                Life::Closing | Life::Poisoned(_) => {}
            }
        }
        engine.work.notify_all();
        engine.upkeep.notify_all();
        for thread in locked(&self.threads).drain(..) {
            let _ = thread.join(); // a panic in it has poisoned the log
        }
        engine.wait_for_flush(); // of a writer that carries its group out itself
        while matches!(step(engine), Step::Flushed | Step::Kept) {}
        let mut keeper = locked(&engine.keeper);
        if let Some(preparing) = keeper.preparing.take() {
            preparing.discard(&engine.parts);
        }
        let mut state = locked(&engine.state);
        let result = match &state.life {
            Life::Poisoned(cause) => Err(WalError::Poisoned { cause: cause.clone() }),
            _ => {
                state.life = Life::Closed;
                Ok((state.durable.lsn, state.is_idle() && state.written.lsn == state.durable.lsn))
            }
        };
        engine.follow(&state);
        let released = state.release_all();
        drop(state);
        if let Ok((durable, all)) = result {
            engine.write_control(&mut keeper, durable, all);
        }
        drop(keeper);
        engine.announce_all(released);
        *locked(&engine.lock) = None;
        result.map(|_| ())
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if self.engine.drive != Drive::Manual {
            let _ = self.shut_down(); // `close` is for those who want to know
        } else {
            let mut state = locked(&self.engine.state);
            if matches!(state.life, Life::Running) {
                state.life = Life::Closed; // like a kill: whoever drives it has stopped
            }
            self.engine.follow(&state);
            let released = state.release_all();
            drop(state);
            self.engine.announce_all(released);
            *locked(&self.engine.lock) = None;
        }
    }
}

fn spawn(engine: &Arc<Engine>, name: &str, run: fn(&Engine)) -> Result<JoinHandle<()>, WalError> {
    let mine = Arc::clone(engine);
    let body = move || {
        let guard = Guard(&mine);
        run(&mine);
        std::mem::forget(guard);
    };
    Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map_err(|e| WalError::io("start of a thread", &*engine.dir, e))
}

/// Poisons the log if its thread panics, so that nobody waits for ever.
struct Guard<'a>(&'a Engine);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.poison("a thread of the log has panicked");
    }
}

fn flusher(engine: &Engine) {
    let priority = engine.config.realtime_priority;
    if priority > 0
        && let Err(error) = rpo_os::run_in_real_time(priority)
    {
        tracing::warn!(dir = %engine.dir.display(), %error, "the flusher runs at normal priority");
    }
    let mut patience = Patience::default();
    let mut state = locked(&engine.state);
    loop {
        state.gathering.armed = Armed::Awake;
        let now = engine.parts.clock.monotonic();
        if let Some(elapsed) = state.stalled(now, engine.config.stall_after.get()) {
            drop(state);
            engine.tell_event(&WalEvent::Stalled { elapsed });
            state = locked(&engine.state);
            continue;
        }
        match state.watch(&engine.config, now, &mut patience) {
            Watch::Stop => return,
            Watch::Flush => {
                if let Some(plan) = state.plan(&engine.config, &*engine.parts.clock) {
                    drop(state);
                    patience.led = engine.carry_out(plan);
                    state = locked(&engine.state);
                }
            }
            Watch::Sleep(left) => {
                // A writer whose sync never comes back tells nobody: that is seen by looking now and then.
                let look = engine.config.stall_after.get();
                let look = if look.is_zero() { Duration::from_secs(60) } else { look };
                let left = left.unwrap_or(look).min(look).max(Duration::from_micros(20));
                state = wait_for(&engine.work, state, &engine.state, left);
            }
        }
    }
}

fn keeper(engine: &Engine) {
    loop {
        let kept = engine.keep_once();
        let now = engine.parts.clock.monotonic();
        let mut state = locked(&engine.state);
        if let Some(elapsed) = state.stalled(now, engine.config.stall_after.get()) {
            drop(state);
            engine.tell_event(&WalEvent::Stalled { elapsed });
            continue;
        }
        if !matches!(state.life, Life::Running) {
            return;
        }
        let urgent = state.spares_free() == 0 && state.trouble.is_none();
        let short = state.spares_free() < engine.config.spares as usize && state.trouble.is_none();
        let left = match kept {
            Kept::Did => continue,
            Kept::Rest(_) if urgent => continue,
            Kept::Rest(left) | Kept::Short(left) => Some(left),
            Kept::Idle(_) if short || !state.to_rename.is_empty() => continue,
            Kept::Idle(left) => left,
        };
        // Going idle is not announced: look again after the time a heartbeat would be due.
        let quiet = engine.config.heartbeat_after.get();
        let left = left.or((!quiet.is_zero()).then_some(quiet)).unwrap_or(Duration::from_secs(1));
        // Nor is a stall: a sync that never comes back tells nobody.
        let stall = engine.config.stall_after.get();
        let left = if stall.is_zero() { left } else { left.min(stall) };
        drop(wait_for(&engine.upkeep, state, &engine.state, left.max(Duration::from_millis(1))));
    }
}
