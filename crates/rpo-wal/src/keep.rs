//! Housekeeping off the hot path: naming bound segments, preparing spares, and carrying out witnesses when idle.

use std::io;
use std::time::Duration;

use rpo_core::frame::EncodedEntry;
use rpo_core::{LogId, Lsn, MarkerKind, Monotonic};

use crate::catalog::SegmentView;
use crate::control::ControlFile;
use crate::engine::{Drive, Engine, LogParts};
use crate::error::IoCause;
use crate::event::WalEvent;
use crate::prepare::Preparing;
use crate::seal::Sealing;
use crate::state::{Life, Trouble, Want};
use crate::survey::Spare;
use crate::sync::locked;

/// How soon a spare that could not be prepared is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// What a step of the keeper did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    Did,
    /// Nothing to do before this much time has passed, or before something new comes.
    Idle(Option<Duration>),
    /// There is more to do, after a rest, unless it becomes urgent.
    Rest(Duration),
    /// A spare could not be prepared.
    Short(Duration),
}

#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) log: LogId,
    pub(crate) control: ControlFile,
    pub(crate) preparing: Option<Preparing>,
    pub(crate) tried: Option<Monotonic>,
    pub(crate) control_failed: bool,
    pub(crate) sealing: Option<Sealing>,
}

impl Engine {
    /// Does one piece of housekeeping, if there is one.
    pub(crate) fn keep_once(&self) -> Kept {
        let mut keeper = locked(&self.keeper);
        if !matches!(locked(&self.state).life, Life::Running | Life::Closing) {
            return Kept::Idle(None);
        }
        let bound = locked(&self.state).to_rename.pop_front();
        if let Some(view) = bound {
            self.name_segment(&view);
            return Kept::Did;
        }
        if let Some(kept) = self.prepare_if_short(&mut keeper) {
            return kept;
        }
        if let Some(kept) = self.seal_once(keeper.log, &mut keeper.sealing) {
            return kept;
        }
        self.witness_if_idle(&mut keeper)
    }

    /// Gives a bound segment its name; one that it replaces as a whole is moved aside, not removed.
    fn name_segment(&self, view: &SegmentView) {
        match give_name(&self.parts, &self.dir, view) {
            Ok(()) => {}
            Err(error) => {
                // It goes on under a spare's name, and opening looks there too: nothing is in danger.
                tracing::warn!(path = %view.path().display(), %error, "a bound segment could not be renamed");
                return;
            }
        }
        if let Err(error) = self.sync_dir() {
            self.poison(&format!("sync of {} failed: {error}", self.dir.display()));
        }
    }

    fn prepare_if_short(&self, keeper: &mut Keeper) -> Option<Kept> {
        let state = locked(&self.state);
        if state.spares_free() >= self.config.spares as usize || !matches!(state.life, Life::Running) {
            return None;
        }
        drop(state);
        let now = self.parts.clock.monotonic();
        if self.drive != Drive::Manual
            && let Some(left) = keeper.tried.map(|t| RETRY_AFTER.saturating_sub(now.since(t)))
            && !left.is_zero()
        {
            return Some(Kept::Short(left));
        }
        let prepared = match self.prepare_piece(keeper) {
            Ok(Some(spare)) => Ok(spare),
            Ok(None) => return Some(self.pace(now)),
            Err(error) => Err(error),
        };
        let named = prepared.and_then(|spare| match self.sync_dir() {
            Ok(()) => Ok(spare),
            Err(error) => {
                self.poison(&format!("sync of {} failed: {error}", self.dir.display()));
                Err(error)
            }
        });
        let event;
        let mut state = locked(&self.state);
        let kept = match named {
            Ok(spare) => {
                state.spares.push_back(spare);
                event = state.trouble.take().map(|_| WalEvent::SpareBack);
                keeper.tried = None;
                Kept::Did
            }
            Err(error) => {
                tracing::warn!(dir = %self.dir.display(), %error, "no spare segment could be prepared");
                let news = state.trouble.is_none();
                event = news.then(|| WalEvent::NoSpare { cause: error.to_string() });
                state.trouble = Some(trouble(error));
                keeper.tried = Some(now);
                Kept::Short(RETRY_AFTER)
            }
        };
        drop(state);
        self.announce();
        if let Some(event) = event {
            self.tell_event(&event);
        }
        Some(kept)
    }

    fn prepare_piece(&self, keeper: &mut Keeper) -> io::Result<Option<Spare>> {
        let mut preparing = match keeper.preparing.take() {
            Some(preparing) => preparing,
            None => match locked(&self.state).used.pop_front() {
                Some(used) => Preparing::again(&self.parts, keeper.log, used)?,
                None => {
                    let capacity = self.config.segment_bytes.get();
                    Preparing::begin(&self.parts, &self.dir, keeper.log, capacity)?
                }
            },
        };
        match preparing.advance(&self.parts, &self.dir) {
            Ok(None) => keeper.preparing = Some(preparing),
            Ok(spare) => return Ok(spare),
            Err(error) => {
                preparing.discard(&self.parts);
                return Err(error);
            }
        }
        Ok(None)
    }

    /// A piece was prepared: while there is a spare, the disk is left to commits for as long as that took.
    fn pace(&self, began: Monotonic) -> Kept {
        if self.drive == Drive::Manual || locked(&self.state).spares_free() == 0 {
            return Kept::Did;
        }
        Kept::Rest(self.parts.clock.monotonic().since(began))
    }

    /// After a quiet time, a heartbeat carries out what is durable; the control file does the same.
    fn witness_if_idle(&self, keeper: &mut Keeper) -> Kept {
        let after = self.config.heartbeat_after.get();
        let state = locked(&self.state);
        let (durable, proven) = (state.durable.lsn, keeper.control.last().durable);
        let told = proven >= durable || keeper.control_failed;
        if after.is_zero()
            || !state.is_idle()
            || !matches!(state.life, Life::Running)
            || (told && state.witnessed >= state.last_commit_end)
        {
            return Kept::Idle(None);
        }
        let left = after.saturating_sub(self.parts.clock.monotonic().since(state.last_flush));
        if !left.is_zero() {
            return Kept::Idle(Some(left));
        }
        let unwitnessed =
            state.witnessed < state.last_commit_end && state.durable.lsn >= state.last_commit_end;
        drop(state);
        let beat = EncodedEntry::marker(&MarkerKind::Heartbeat).ok().filter(|_| unwitnessed);
        if beat.is_some_and(|beat| self.admit(&beat, Want::Durable).is_ok()) {
            return Kept::Did;
        }
        if told {
            return Kept::Idle(Some(after)); // no room for a heartbeat: the control file has said it
        }
        self.write_control(keeper, durable, false);
        Kept::Did
    }

    /// Tells the control file what is durable. A failure leaves the witness as old as it was.
    pub(crate) fn write_control(&self, keeper: &mut Keeper, durable: Lsn, closed: bool) {
        let update = keeper.control.update(|control| {
            control.durable = control.durable.max(durable);
            control.closed = closed && control.durable == durable;
        });
        match update {
            Ok(()) => {
                let mut state = locked(&self.state);
                state.witnessed = state.witnessed.max(durable);
            }
            Err(error) => {
                keeper.control_failed = true;
                tracing::warn!(%error, "the control file witnesses no more");
                self.tell_event(&WalEvent::WitnessLost { cause: error.to_string() });
            }
        }
    }
}

fn trouble(error: io::Error) -> Trouble {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Trouble::NoSpace,
        _ => Trouble::Io(IoCause::from(error)),
    }
}

/// Renames a bound segment to its name; not yet durable.
pub(crate) fn give_name(parts: &LogParts, dir: &std::path::Path, view: &SegmentView) -> io::Result<()> {
    let path = dir.join(view.bound.file_name());
    let old = view.path();
    if old == path {
        return Ok(());
    }
    match parts.disk.open(&path, rpo_core::ports::Access::Read) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
        Ok(replaced) => {
            let mut block = [0; crate::segment::BLOCK_BYTES];
            replaced.read_at(&mut block, crate::segment::BLOCK_BYTES as u64)?;
            let bound = crate::segment::Bound::decode(&block).map_err(io::Error::other)?;
            parts.disk.rename(&path, &dir.join(bound.cut_name()))?;
        }
    }
    parts.disk.rename(&old, &path)?;
    view.set_path(path);
    Ok(())
}
