//! Who gathers for the next group, and who sees to it that it goes: a writer that waits, or the flusher's thread.
//!
//! One at a time flushes. Whoever does so hands over at the end; until then nobody need be told of what comes in. Decides; does
//! no I/O.

use std::time::Duration;

use rpo_core::Monotonic;

use crate::cohort::Cohort;
use crate::config::WalConfig;
use crate::state::{Life, State};

/// What the flusher's thread will look at without being told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Armed {
    /// Nothing: it sleeps until it is told.
    Asleep,
    /// When the sync delay is used up.
    Delay,
    /// When the patience for a cohort is used up.
    Cohort,
    /// Everything: it is awake, or told to be.
    Awake,
}

#[derive(Debug)]
pub(crate) struct Gathering {
    /// Number of the group that gathers.
    pub(crate) group: u64,
    /// Entries in it that somebody waits for.
    pub(crate) gathered: u32,
    /// Threads among those who wait.
    pub(crate) parked: u32,
    /// One of those threads looks after a time whether the cohort still comes.
    watched: bool,
    /// Somebody carries out a plan.
    pub(crate) flushing: bool,
    pub(crate) armed: Armed,
    pub(crate) cohort: Cohort,
}

/// Who is to see to the group that gathers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Somebody does already, or there is nothing to do.
    Nobody,
    /// One of the threads that wait in it.
    Parked,
    /// The flusher's thread.
    Flusher,
}

impl Gathering {
    pub(crate) fn new(cohort: Cohort) -> Self {
        Self {
            group: 0,
            gathered: 0,
            parked: 0,
            watched: false,
            flushing: false,
            armed: Armed::Awake,
            cohort,
        }
    }

    /// Groups go as they are.
    pub(crate) fn never_wait(&mut self) {
        self.cohort = Cohort::new(Duration::ZERO);
    }

    /// The group goes; returns its number and how many wait for it.
    pub(crate) fn begin(&mut self) -> (u64, u32) {
        let went = (self.group, self.gathered);
        self.cohort.goes(self.gathered);
        self.group += 1;
        (self.gathered, self.parked, self.watched) = (0, 0, false);
        self.flushing = true;
        went
    }

    /// Whether the flusher's thread has to be told that it must look at `what`.
    fn arm(&mut self, what: Armed) -> Next {
        if self.flushing || self.armed >= what || (self.watched && what == Armed::Cohort) {
            return Next::Nobody; // who flushes hands over; who is armed, or watches, looks by itself
        }
        self.armed = what;
        Next::Flusher
    }
}

/// What the flusher's thread does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watch {
    Flush,
    /// Sleeps, for so long at most.
    Sleep(Option<Duration>),
    /// The log is closed or poisoned.
    Stop,
}

/// How far the flusher's patience with a group is used up.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    group: Option<u64>,
    gathered: u32,
    began: Option<Monotonic>,
    look_at: Option<Monotonic>,
    /// The flusher's thread carried out the last group itself.
    pub(crate) led: bool,
}

impl State {
    /// Whether the group that gathers may go now, as far as those who wait are concerned.
    fn is_gathered(&self) -> bool {
        self.is_wanted() && self.gathering.cohort.is_ready(self.gathering.gathered, self.pending_bytes)
    }

    /// Whether a writer that waits carries the group out itself.
    pub(crate) fn may_lead(&self) -> bool {
        matches!(self.life, Life::Running) && !self.gathering.flushing && self.is_gathered()
    }

    /// Whether a thread that waits in the group that gathers is the one to watch over it; for how long until it looks.
    pub(crate) fn watch_parked(
        &mut self,
        now: impl FnOnce() -> Monotonic,
        patience: &mut Patience,
    ) -> Option<Duration> {
        let gathering = &self.gathering;
        let mine = patience.group == Some(gathering.group);
        let nobody = gathering.armed < Armed::Cohort && !gathering.watched;
        if gathering.flushing || !self.is_wanted() || !(mine || nobody) {
            return None;
        }
        self.gathering.watched = true;
        self.look_again_in(now(), patience)
    }

    /// Whether the thread that watches has no patience left.
    pub(crate) fn goes_without(&self, now: impl FnOnce() -> Monotonic, patience: &mut Patience) -> bool {
        let gathering = &self.gathering;
        patience.group == Some(gathering.group)
            && !gathering.flushing
            && matches!(self.life, Life::Running)
            && self.is_wanted()
            && self.look_again_in(now(), patience).is_none()
    }

    /// Who is to be told after an entry was accepted whose writer does not see to it itself.
    pub(crate) fn after_admit(&mut self, config: &WalConfig) -> Next {
        if self.is_gathered() || self.is_full(config) {
            self.gathering.arm(Armed::Awake)
        } else if self.is_wanted() {
            self.gathering.arm(Armed::Cohort)
        } else {
            self.gathering.arm(Armed::Delay)
        }
    }

    /// The flush is over: who goes on. `inline` if writers that wait carry groups out themselves.
    pub(crate) fn hand_over(&mut self, config: &WalConfig, inline: bool) -> Next {
        self.gathering.flushing = false;
        if matches!(self.life, Life::Closing) {
            return self.gathering.arm(Armed::Awake);
        }
        if self.is_idle() && self.written.lsn <= self.durable.lsn {
            return Next::Nobody;
        }
        if inline && self.gathering.parked > 0 && self.is_gathered() {
            return Next::Parked;
        }
        self.after_admit(config)
    }

    /// What the flusher's thread is to do now. Called with it awake; what it returns, it does.
    pub(crate) fn watch(&mut self, config: &WalConfig, now: Monotonic, patience: &mut Patience) -> Watch {
        match self.life {
            Life::Closed | Life::Poisoned(_) => return Watch::Stop,
            Life::Closing if !self.gathering.flushing => {
                let left = !self.is_idle() || self.written.lsn > self.durable.lsn;
                return if left { Watch::Flush } else { Watch::Stop };
            }
            Life::Closing | Life::Running => {}
        }
        if self.gathering.flushing {
            self.gathering.armed = Armed::Asleep; // whoever flushes tells
            return Watch::Sleep(None);
        }
        if self.is_gathered() || self.is_full(config) {
            return Watch::Flush;
        }
        if self.is_wanted() {
            return match self.look_again_in(now, patience) {
                None => Watch::Flush,
                Some(left) => {
                    self.gathering.armed = Armed::Cohort;
                    Watch::Sleep(Some(left))
                }
            };
        }
        match self.due_in(now, config) {
            Some(left) if left.is_zero() => Watch::Flush,
            Some(left) => {
                self.gathering.armed = Armed::Delay;
                Watch::Sleep(Some(left))
            }
            None => self.await_cohort(now, patience),
        }
    }

    /// Nothing is there yet. If a cohort was released just now by this thread, it looks again soon, so that the first to come
    /// back need not tell it.
    fn await_cohort(&mut self, now: Monotonic, patience: &mut Patience) -> Watch {
        let (gathering, mut left) = (&self.gathering, None);
        if patience.led && gathering.cohort.is_awaited() {
            left = self.look_again_in(now, patience);
        }
        patience.led &= left.is_some();
        self.gathering.armed = if left.is_some() { Armed::Cohort } else { Armed::Asleep };
        Watch::Sleep(left)
    }

    /// How long the group may still wait for its cohort; none if it goes without the rest.
    fn look_again_in(&self, now: Monotonic, patience: &mut Patience) -> Option<Duration> {
        let gathering = &self.gathering;
        let step = gathering.cohort.patience();
        if patience.group != Some(gathering.group) {
            let look_at = Some(now.plus(step));
            *patience = Patience {
                group: Some(gathering.group),
                gathered: gathering.gathered,
                began: Some(now),
                look_at,
                led: patience.led,
            };
            return Some(step);
        }
        let left = patience.look_at.map_or(Duration::ZERO, |at| at.since(now));
        if !left.is_zero() {
            return Some(left); // woken for another reason
        }
        let waited = patience.began.map_or(Duration::MAX, |began| now.since(began));
        if gathering.gathered <= patience.gathered || waited >= gathering.cohort.patience_in_all() {
            return None; // nobody came meanwhile, or it took too long
        }
        patience.gathered = gathering.gathered;
        patience.look_at = Some(now.plus(step));
        Some(step)
    }
}
