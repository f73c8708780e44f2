//! The log as programs see it.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rpo_core::frame::{CommitDraft, Encoded, EncodedEntry, EncodedRecord, EntryRef};
use rpo_core::objective::AckLevel;
use rpo_core::{Lsn, MarkerKind, Monotonic, PointName, Position, Timestamp};

use crate::config::WalConfig;
use crate::drive::{Owner, Step, step};
use crate::engine::{Appended, Drive, Engine, LogParts};
use crate::error::WalError;
use crate::event::WalEvent;
use crate::open::{self, OpenAs};
use crate::read::{self, Follow, FrameRange, Replay};
use crate::recover;
use crate::report::RecoveryReport;
use crate::state::{Life, Want};
use crate::sync::locked;
use crate::ticket::{AppendFuture, DurablePast, Ticket};

/// An open log. Clones share it; it is closed by [`Log::close`], or when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Log {
    pub(crate) engine: Arc<Engine>,
    owner: Arc<Owner>,
}

/// Counts since the log was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct WalStats {
    /// Commits accepted.
    pub commits: u64,
    /// Writes of groups.
    pub writes: u64,
    /// Syncs of groups.
    pub syncs: u64,
    /// Bytes written, with heads and padding.
    pub bytes: u64,
    /// Groups that waited for the writers released before, and got all of them.
    pub cohorts_complete: u64,
    /// Groups that waited for some in vain: the cost of waiting.
    pub cohorts_expired: u64,
}

impl Log {
    /// Opens the log in `dir`, beginning one if there is none; the directory is created, its parent must exist.
    ///
    /// On `Ok` everything before [`RecoveryReport::end`] is durable: what could not be proven so was written and synced
    /// again. A torn tail is cut and reported.
    ///
    /// # Errors
    /// Kind `Busy`: somebody has it open. `Corrupt`: acknowledged data is damaged or missing; nothing was changed.
    /// `NoSpace`: what is not proven durable has to be copied, and there is no room. `Fenced`, `Refused`: the takeover does
    /// not fit what is there. `Invalid`: the configuration.
    pub fn open(
        dir: &Path,
        config: WalConfig,
        parts: LogParts,
        drive: Drive,
        open_as: OpenAs,
    ) -> Result<(Self, RecoveryReport), WalError> {
        Self::open_witnessed(dir, config, parts, drive, open_as, Lsn::ZERO)
    }

    /// [`Log::open`] for a caller who knows that everything before `witness` was durable, such as from its archive: a log
    /// that does not reach it is refused.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn open_witnessed(
        dir: &Path,
        config: WalConfig,
        parts: LogParts,
        drive: Drive,
        open_as: OpenAs,
        witness: Lsn,
    ) -> Result<(Self, RecoveryReport), WalError> {
        Self::open_replaying(dir, config, parts, drive, open_as, witness, &mut recover::unseen)
    }

    /// [`Log::open_witnessed`], and `visit` gets every entry that is here, in order, as opening reads it: a program that makes
    /// its state from the log reads the log once. Nothing is copied.
    ///
    /// If opening fails, what was visited counts for nothing: the log was not judged to be whole.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn open_replaying(
        dir: &Path,
        config: WalConfig,
        parts: LogParts,
        drive: Drive,
        open_as: OpenAs,
        witness: Lsn,
        visit: &mut dyn FnMut(EntryRef<'_>),
    ) -> Result<(Self, RecoveryReport), WalError> {
        let (engine, report) = open::open(dir, config, parts, drive, open_as, witness, visit)?;
        let owner = Owner::new(&engine)?;
        Ok((Self { engine, owner: Arc::new(owner) }, report))
    }

    /// Appends a commit and waits until it reached `level`. Under [`WalConfig::zero_loss`] that is always `Durable`.
    ///
    /// # Errors
    /// Kind `NoSpace`, `Invalid`, `Refused`, `Unsupported`: certainly not appended. `Unknown`: a write or sync failed, and it
    /// may or may not survive.
    pub fn append(&self, draft: CommitDraft, level: AckLevel) -> Result<Appended, WalError> {
        let (entry, want) = self.encode(&draft, &level)?;
        self.append_entry(&entry, want)
    }

    /// [`Log::append`] of one record without transaction or context. Nothing is allocated for it.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn append_record(&self, payload: &[u8], level: AckLevel) -> Result<Appended, WalError> {
        let want = want(&level)?;
        let entry = EncodedRecord::commit(payload).map_err(WalError::Draft)?;
        self.append_entry(&entry, want)
    }

    /// Accepts a commit without waiting; `done` is called once with what became of it, on the thread that found out: it must
    /// return soon and must not wait for this log.
    ///
    /// # Errors
    /// As [`Log::submit`]: certainly not appended, and `done` is not called.
    pub fn append_then(
        &self,
        draft: CommitDraft,
        level: AckLevel,
        done: impl FnOnce(Result<Appended, WalError>) + Send + 'static,
    ) -> Result<Ticket, WalError> {
        let (entry, want) = self.encode(&draft, &level)?;
        let accepted = self.engine.admit_then(&entry, want, Box::new(done))?;
        Ok(Ticket { engine: Arc::clone(&self.engine), accepted })
    }

    /// [`Log::append`] as a future; needs no runtime. Nothing is appended before it is polled.
    pub fn append_async(&self, draft: CommitDraft, level: AckLevel) -> AppendFuture {
        AppendFuture::new(Arc::clone(&self.engine), self.encode(&draft, &level))
    }

    /// Accepts a commit that is to become durable, without waiting.
    ///
    /// # Errors
    /// As [`Log::append`], and kind `Retry` where that would wait for room: certainly not appended.
    pub fn submit(&self, draft: CommitDraft) -> Result<Ticket, WalError> {
        self.submit_at(draft, AckLevel::Durable)
    }

    /// [`Log::submit`] at another level.
    ///
    /// # Errors
    /// As [`Log::submit`].
    pub fn submit_at(&self, draft: CommitDraft, level: AckLevel) -> Result<Ticket, WalError> {
        let (entry, want) = self.encode(&draft, &level)?;
        let accepted = self.engine.admit(&entry, want)?;
        Ok(Ticket { engine: Arc::clone(&self.engine), accepted })
    }

    /// Names this moment; durable on `Ok`.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn tag(&self, name: PointName) -> Result<Appended, WalError> {
        self.mark(&MarkerKind::RestorePoint(name))
    }

    /// Appends a marker; durable on `Ok`.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn mark(&self, kind: &MarkerKind) -> Result<Appended, WalError> {
        let entry = EncodedEntry::marker(kind).map_err(WalError::Draft)?;
        self.append_entry(&entry, Want::Durable)
    }

    /// Appends a marker that says nothing, in a frame that carries out what is durable; durable on `Ok`.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn heartbeat(&self) -> Result<Appended, WalError> {
        self.mark(&MarkerKind::Heartbeat)
    }

    /// Makes everything accepted so far durable; returns where that ends.
    ///
    /// # Errors
    /// Kind `Unknown` if a write or sync failed, `Refused` if the log was poisoned or closed before.
    pub fn sync(&self) -> Result<Position, WalError> {
        let mut state = locked(&self.engine.state);
        let target = state.position();
        if state.durable.lsn >= target.lsn {
            return Ok(state.durable);
        }
        match &state.life {
            Life::Poisoned(cause) => return Err(WalError::Poisoned { cause: cause.clone() }),
            Life::Closed => return Err(WalError::Closed),
            Life::Running | Life::Closing => {}
        }
        let awaited = state.want_sync(target);
        match self.engine.drive {
            Drive::Thread | Drive::Loop => self.engine.see_to(state, &awaited)?,
            Drive::Manual => {
                drop(state);
                self.wait(|engine| engine.look(&awaited))?
            }
        };
        Ok(self.durable())
    }

    /// H: the last position acknowledged at any level.
    pub fn head(&self) -> Position {
        locked(&self.engine.state).acknowledged
    }

    /// Everything before this is durable here.
    pub fn durable(&self) -> Position {
        locked(&self.engine.state).durable
    }

    /// Where the local log begins: what is before was released.
    pub fn start(&self) -> Position {
        self.engine.catalog.read().unwrap_or_else(PoisonError::into_inner).start
    }

    /// Calls `listener` after each sync, on the thread that synced, with the new durable position and the time of it on
    /// both clocks: before anybody was told, so that whoever measures ages never begins later than a client's promise. It
    /// must return soon, and neither append nor step.
    pub fn on_durable(&self, listener: Box<dyn Fn(Position, Timestamp, Monotonic) + Send + Sync>) {
        self.engine.listeners.write().unwrap_or_else(PoisonError::into_inner).push(listener);
    }

    /// Calls `listener` with what a person or a manager should know of at once, on the thread that found out: it must return
    /// soon. A disk that hangs for ever may hold every thread of the log: whoever must know ask [`Log::flushing_for`].
    pub fn on_event(&self, listener: Box<dyn Fn(&WalEvent) + Send + Sync>) {
        self.engine.event_listeners.write().unwrap_or_else(PoisonError::into_inner).push(listener);
    }

    /// For how long the write or sync under way has lasted; none if there is none.
    pub fn flushing_for(&self) -> Option<Duration> {
        let (since, _) = locked(&self.engine.state).flushing_since?;
        Some(self.engine.parts.clock.monotonic().since(since))
    }

    /// Resolves with the durable position once it is past `lsn`.
    pub fn durable_past(&self, lsn: Lsn) -> DurablePast {
        DurablePast { engine: Arc::clone(&self.engine), past: lsn, waiter: None }
    }

    /// Whole frames of the durable prefix, from the one that holds `from`: at least one if there is one, else at most
    /// `max_bytes`. At the durable end the range is empty.
    ///
    /// # Errors
    /// Kind `NotFound`: `from` was released. `Invalid`: `from` is past what is durable. `Corrupt`: the file is damaged.
    pub fn read_frames(&self, from: Lsn, max_bytes: usize) -> Result<FrameRange, WalError> {
        read::read_frames(&self.engine, from, max_bytes)
    }

    /// The durable entries that begin at `from` or later, in order. Ends for good after an error.
    ///
    /// # Errors
    /// Of each item: as [`Log::read_frames`].
    pub fn replay(&self, from: Lsn) -> Replay {
        Replay::new(&self.engine, from)
    }

    /// As [`Log::replay`], then waits for more.
    ///
    /// # Errors
    /// As [`Log::read_frames`].
    pub fn follow(&self, from: Lsn) -> Result<Follow, WalError> {
        Follow::new(&self.engine, from)
    }

    /// Removes segments that lie wholly before `before`; returns how many. Whether they are safe elsewhere is for the
    /// caller to know. The segment being written stays.
    ///
    /// # Errors
    /// Kind `Unknown`: some may be removed; call again after opening the log again.
    pub fn release(&self, before: Lsn) -> Result<usize, WalError> {
        self.engine.release(before)
    }

    /// Does one piece of background work, if there is one. With [`Drive::Thread`] there is seldom anything left to do.
    pub fn step(&self) -> Step {
        step(&self.engine)
    }

    /// When the log was last synced, by the wall clock; none since it was opened.
    pub fn last_sync(&self) -> Option<Timestamp> {
        locked(&self.engine.state).last_sync
    }

    /// How long the oldest accepted entry has waited to become durable; none if nothing waits.
    pub fn uncommitted_age(&self) -> Option<Duration> {
        let since = locked(&self.engine.state).waiting_since()?;
        Some(self.engine.parts.clock.monotonic().since(since))
    }

    /// Counts since the log was opened.
    pub fn stats(&self) -> WalStats {
        let counters = &self.engine.counters;
        let read = |n: &crate::sync::AtomicU64| n.load(Ordering::Relaxed);
        let cohorts = locked(&self.engine.state).gathering.cohort.counts;
        WalStats {
            commits: read(&counters.commits),
            writes: read(&counters.writes),
            syncs: read(&counters.syncs),
            bytes: read(&counters.bytes),
            cohorts_complete: cohorts.complete,
            cohorts_expired: cohorts.expired,
        }
    }

    /// Why the log refuses writes; none if it does not.
    pub fn poisoned(&self) -> Option<String> {
        match &locked(&self.engine.state).life {
            Life::Poisoned(cause) => Some(cause.clone()),
            _ => None,
        }
    }

    /// Directory of the log.
    pub fn dir(&self) -> PathBuf {
        self.engine.dir.clone()
    }

    /// Makes everything accepted durable, tells the control file, and closes the log for all its clones.
    ///
    /// # Errors
    /// Kind `Refused` if it was poisoned: what was not durable may or may not survive.
    pub fn close(self) -> Result<(), WalError> {
        self.owner.shut_down()
    }

    fn encode(&self, draft: &CommitDraft, level: &AckLevel) -> Result<(EncodedEntry, Want), WalError> {
        let want = want(level)?;
        Ok((EncodedEntry::commit(draft).map_err(WalError::Draft)?, want))
    }

    fn append_entry(&self, entry: &impl Encoded, want: Want) -> Result<Appended, WalError> {
        if self.engine.drive != Drive::Manual {
            return self.engine.append(entry, want);
        }
        let mut asked = false;
        let accepted = self.wait(|engine| match engine.admit(entry, want) {
            Err(WalError::Full { .. } | WalError::NotReady) => None,
            Err(WalError::NoSpace { .. } | WalError::Io { .. }) if !std::mem::replace(&mut asked, true) => {
                None
            }
            other => Some(other),
        })?;
        self.wait(|engine| engine.look(&accepted))
    }

    /// Drives the log until `done` says something.
    fn wait<T>(&self, mut done: impl FnMut(&Engine) -> Option<Result<T, WalError>>) -> Result<T, WalError> {
        let engine = &*self.engine;
        let mut idle = 0;
        loop {
            if let Some(result) = done(engine) {
                return result;
            }
            idle = if matches!(step(engine), Step::Flushed | Step::Kept) { 0 } else { idle + 1 };
            if idle > 2 {
                return Err(WalError::NotReady); // nothing more can be done here now
            }
        }
    }
}

fn want(level: &AckLevel) -> Result<Want, WalError> {
    match level {
        AckLevel::Buffered => Ok(Want::Accepted),
        AckLevel::Os => Ok(Want::Written),
        AckLevel::Durable => Ok(Want::Durable),
        other => Err(WalError::Level { level: format!("{other:?}").to_lowercase() }),
    }
}
