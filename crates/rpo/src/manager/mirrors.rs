//! Keeping a mirror up to home: opened if it was absent, bills replayed at intervals, what it lost sent again.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rpo_core::ErrorKind;
use rpo_core::event::EventKind;
use rpo_replication::{CopySpec, Mirror, MirrorConfig, MirrorStep};
use tokio::sync::watch;
use tokio::time::Instant;

use super::member::{Member, Reopen};
use super::{Shared, audit};
use crate::Error;

/// Longest time between two looks at home while nothing is wrong.
const EVERY_MAX: Duration = Duration::from_secs(10);

/// Longest time between two attempts to open a copy.
const REOPEN_EVERY_MAX: Duration = Duration::from_secs(60);

/// Replays home's bills into `member` until it is told to stop; then once more, so that what home has is there too.
pub(super) async fn run(
    shared: Arc<Shared>,
    home: CopySpec,
    member: Arc<Member>,
    open: Option<Reopen>,
    every: Duration,
    mut stopping: watch::Receiver<bool>,
) {
    let mirror = match (member.opened(), open) {
        (Some(mirror), _) => mirror,
        (None, Some(open)) => match reopen(&shared, &home, &member, open, every, &mut stopping).await {
            Some(mirror) => mirror,
            None => return,
        },
        (None, None) => return,
    };
    let clock = shared.parts.clock.clone();
    let work = match Mirror::new(home, mirror, clock, MirrorConfig::default()) {
        Ok(work) => work,
        Err(error) => {
            tracing::error!(copy = %member.name, %error, "this copy cannot be a mirror");
            let kind = EventKind::RegionFailed { copy: member.name.clone(), reason: error.to_string() };
            member.is_replayed(); // as far as it ever will be
            return shared.teller.tell(None, kind);
        }
    };
    let mut follower = Follower { shared, member, work, audit_at: None, failing: None, copied: (0, 0) };
    loop {
        let last = *stopping.borrow();
        let known = follower.audit_at.is_some();
        tokio::select! {
            () = follower.audit_if_due(last) => {}
            // Without a first look nothing counts in the last report: that one is waited for.
            _ = stopping.wait_for(|stop| *stop), if known && !last => continue,
        }
        if follower.step().await {
            continue; // there is more, and it goes well
        }
        if last {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(every.min(EVERY_MAX)) => {}
            () = follower.member.alarmed() => follower.audit_at = Some(Instant::now()),
            _ = stopping.wait_for(|stop| *stop) => {}
        }
    }
}

/// Tries to open a copy until it is there, less and less often. None if it is told to stop before.
async fn reopen(
    shared: &Shared,
    home: &CopySpec,
    member: &Member,
    open: Reopen,
    every: Duration,
    stopping: &mut watch::Receiver<bool>,
) -> Option<CopySpec> {
    let mut pause = every;
    loop {
        let attempt = async {
            tokio::time::sleep(pause).await;
            open().await
        };
        let opened = tokio::select! {
            opened = attempt => opened,
            _ = stopping.wait_for(|stop| *stop) => return None,
        };
        let opened = opened.and_then(|repository| match (home.repository.id(), repository.id()) {
            (expected, found) if expected != found => {
                Err(Error::NotACopy { copy: member.name.clone(), found, expected })
            }
            _ => Ok(repository),
        });
        match opened {
            Ok(repository) => {
                tracing::debug!(copy = %member.name, "this copy is back");
                let kind = EventKind::ReplicationStarted { copy: member.name.clone() };
                shared.teller.tell(None, kind);
                return Some(member.joins(repository));
            }
            Err(error) if member.is_absent(error.to_string()) => {
                tracing::warn!(copy = %member.name, %error, "this copy still cannot be opened");
            }
            Err(_) => {}
        }
        pause = (pause * 2).min(REOPEN_EVERY_MAX);
    }
}

/// Looks the copy through when that is due, again and again.
async fn audits(shared: &Shared, member: &Member, at: Option<Instant>, lost: &AtomicBool) -> Infallible {
    let mut at = at.unwrap_or_else(|| Instant::now() + shared.audit_pause(false));
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(at) => {}
            () = member.alarmed() => {}
        }
        let sound = shared.audit(member).await;
        lost.store(!sound && member.audit_trouble().is_none(), Ordering::Relaxed);
        at = Instant::now() + shared.audit_pause(sound);
    }
}

/// One mirror being kept up to home.
struct Follower {
    shared: Arc<Shared>,
    member: Arc<Member>,
    work: Mirror,
    /// When the next audit is due; none: it has not had its first.
    audit_at: Option<Instant>,
    /// Why the last step failed, if it did.
    failing: Option<String>,
    /// Objects and bytes copied since it had everything last.
    copied: (u64, u64),
}

impl Follower {
    /// Looks whether the mirror still has what it had, and sends again what it lost.
    async fn audit_if_due(&mut self, last: bool) {
        let due = match self.audit_at {
            None => true,
            Some(at) => !last && Instant::now() >= at,
        };
        if !due {
            return;
        }
        let mut sound = self.shared.audit(&self.member).await;
        if !sound && self.member.audit_trouble().is_none() {
            match self.mend().await {
                Ok(sent) => tracing::info!(copy = %self.member.name, sent, "what was lost was sent again"),
                Err(error) => {
                    tracing::warn!(copy = %self.member.name, %error, "what was lost could not be sent again");
                }
            }
            sound = self.shared.audit(&self.member).await;
        }
        let heard = self.member.audit_trouble().is_none();
        let pause = self.shared.audit_pause(sound);
        // One that never answered is asked again with the next step.
        self.audit_at = (heard || self.audit_at.is_some()).then(|| Instant::now() + pause);
    }

    async fn mend(&mut self) -> Result<u64, Error> {
        let kind = EventKind::ReplicationStarted { copy: self.member.name.clone() };
        self.shared.teller.tell(None, kind);
        let Some(found) = self.member.audited() else { return Ok(0) };
        let receipts = audit::receipts(&self.shared.readable(), &found).await?;
        let records = self.work.recheck().await?;
        let sent = self.work.resend(&receipts).await?;
        self.work.step().await?; // ends of sessions that were gone
        Ok(records + sent)
    }

    /// Copies what home has and the mirror lacks. True if there is more.
    async fn step(&mut self) -> bool {
        let first = self.shared.systems.iter().all(|system| *system.first_round.borrow());
        let lost = AtomicBool::new(false);
        // A step may wait long for a store that fails; what is gone is seen meanwhile.
        let stepped = tokio::select! {
            stepped = self.work.step() => stepped,
            never = audits(&self.shared, &self.member, self.audit_at, &lost) => match never {},
        };
        if first {
            self.member.is_replayed();
        }
        if lost.into_inner() {
            self.audit_at = Some(Instant::now()); // and then it is mended
        }
        match stepped {
            Ok(step) => {
                self.went_well(&step);
                !step.caught_up && step.objects > 0
            }
            Err(error) => {
                let reason = error.to_string();
                if self.failing.as_ref() != Some(&reason) {
                    let fatal = error.kind() == ErrorKind::Corrupt;
                    tracing::warn!(copy = %self.member.name, %error, fatal, "mirroring fails");
                }
                if self.failing.is_none() {
                    let kind =
                        EventKind::RegionFailed { copy: self.member.name.clone(), reason: reason.clone() };
                    self.shared.teller.tell(None, kind);
                }
                self.failing = Some(reason);
                false
            }
        }
    }

    fn went_well(&mut self, step: &MirrorStep) {
        if self.failing.take().is_some() {
            tracing::info!(copy = %self.member.name, "mirroring goes on");
        }
        self.copied = (self.copied.0 + step.objects, self.copied.1 + step.bytes);
        if step.caught_up && self.copied.0 > 0 {
            let (objects, bytes) = std::mem::take(&mut self.copied);
            tracing::info!(copy = %self.member.name, objects, bytes, "this mirror has everything that home has");
        }
    }
}
