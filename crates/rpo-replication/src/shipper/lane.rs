//! The exchange with one copy: finds out what it has, sends what it lacks, meets fences.

use std::sync::Arc;

use bytes::Bytes;
use rpo_core::{Epoch, ErrorKind, StreamId, Timestamp};

use super::Shared;
use super::board::{Incident, Learnt};
use crate::ReplicationError;
use crate::adopt::adopt;
use crate::batch::Digest;
use crate::copies::{CopySpec, Health, Seen};
use crate::decide::{self, next_lane};
use crate::heal::{Claim, bring_up};
use crate::merged::Before;
use crate::names::batch_key;
use crate::object::{ArchiveObject, Place, open_object};
use crate::spool::Tip;
use crate::store::{Placed, fetch_from_any};

/// The exchange with one copy. Owns its cursor; shares nothing with other copies but the spool and the board.
pub(crate) struct Lane {
    copy: CopySpec,
    shared: Arc<Shared>,
    /// The number the copy gets next, once that is known.
    next: Option<u64>,
    /// Digest of the last object there, once that is known.
    last: Option<Digest>,
    /// The history before this epoch is complete there.
    rooted: bool,
}

enum Met {
    Fence(Epoch),
    Nothing,
}

impl Lane {
    pub(crate) fn new(copy: CopySpec, shared: Arc<Shared>) -> Self {
        Self { copy, shared, next: None, last: None, rooted: false }
    }

    /// One round of exchange; what came of it is on the board.
    pub(crate) async fn run(mut self: Box<Self>) -> Box<Self> {
        let board = Arc::clone(&self.shared.board);
        let name = self.copy.name.clone();
        if board.is_paused(&name) {
            return self;
        }
        match self.exchange().await {
            Ok(()) if board.is_paused(&name) => {}
            Ok(()) => board.set_health(&name, Health::Good),
            Err(error) => {
                tracing::debug!(copy = %name, stream = %self.shared.stream, %error, "exchange failed");
                if error.kind() != ErrorKind::Fenced {
                    board.failed(&name, error.to_string(), self.now());
                }
                let health = match error.kind() {
                    ErrorKind::Fenced => Health::Fenced,
                    kind => Health::Failing { since: self.now(), kind, error: error.to_string() },
                };
                board.set_health(&name, health);
            }
        }
        self
    }

    async fn exchange(&mut self) -> Result<(), ReplicationError> {
        let mut sent = 0;
        loop {
            if self.shared.board.incident().is_some() || self.shared.board.is_paused(&self.copy.name) {
                return Ok(());
            }
            let tip = self.shared.spool.tip().expect("the spool has an origin once it is settled");
            match next_lane(self.next, &tip) {
                decide::Lane::Locate => self.locate(&tip).await?,
                decide::Lane::Send(_) if sent >= self.shared.config.batches_per_step => return Ok(()),
                decide::Lane::Send(_) if !self.may_send() => {
                    // Held back by its bandwidth: a fence is met all the same.
                    return if sent > 0 { Ok(()) } else { self.prove(tip.number).await };
                }
                decide::Lane::Send(number) => {
                    self.send(number).await?;
                    sent += 1;
                }
                decide::Lane::Prove if sent > 0 => return Ok(()), // creating the newest one was the proof
                decide::Lane::Prove => return self.prove(tip.number).await,
            }
        }
    }

    fn may_send(&self) -> bool {
        self.shared.board.may_send(&self.copy.name, self.now().steady)
    }

    fn now(&self) -> Seen {
        Seen::now(&*self.shared.parts.clock)
    }

    fn place(&self, number: u64) -> Place<'_> {
        Place { stream: &self.shared.stream, epoch: self.shared.epoch, number }
    }

    fn peers(&self) -> impl Iterator<Item = &CopySpec> {
        self.shared.parts.copies.all().iter().filter(|copy| copy.name != self.copy.name)
    }

    /// Finds what the copy has of this epoch, after giving it what it lacks of the history before.
    async fn locate(&mut self, tip: &Tip) -> Result<(), ReplicationError> {
        if !self.rooted {
            self.root().await?;
            self.rooted = true;
        }
        let Shared { stream, epoch, spool, board, .. } = &*self.shared;
        let peers: Vec<CopySpec> = self.peers().cloned().collect();
        adopt(&self.copy, &peers, stream, *epoch).await?;
        let seen = self.now();
        let next = self.copy.next_number(stream, *epoch).await?;
        if next == 1 {
            let begin = self.first_number_of_peers().await?;
            let origin = spool.origin().map(|origin| origin.tip).filter(|origin| origin.number + 1 == begin);
            let (position, time) = (origin.map(|tip| tip.position), None);
            board.learnt(&self.copy.name, Learnt { next: begin, position, time, seen });
            (self.next, self.last) = (Some(begin), None);
            return Ok(());
        }
        let number = next - 1;
        let (digest, position, time) = match self.copy.before(stream, *epoch, next).await? {
            None => return Err(vanished(stream, *epoch, number)),
            Some(Before::Fence(fence)) => return Err(self.fenced(fence.by, number)),
            Some(Before::Batch { digest, position, time }) => (digest, position, time),
        };
        if number > tip.number {
            return Err(self.ahead(position, number));
        }
        let known = spool.tip_of(number).or_else(|| Some(*tip).filter(|tip| tip.number == number));
        if known.is_some_and(|known| known.digest != digest) {
            return Err(self.conflict(number));
        }
        let (position, time) = (Some(position), Some(time));
        board.learnt(&self.copy.name, Learnt { next, position, time, seen });
        (self.next, self.last) = (Some(next), Some(digest));
        Ok(())
    }

    /// Completes and fences, in this copy, every epoch that this one goes back to.
    async fn root(&self) -> Result<(), ReplicationError> {
        let Shared { stream, epoch, parents, writer, parts, .. } = &*self.shared;
        let claim = Claim {
            by: *epoch,
            id: *writer,
            time: parts.clock.wall(),
            note: "shipper",
            entropy: &*parts.entropy,
        };
        let peers: Vec<CopySpec> = self.peers().cloned().collect();
        // Oldest first: a copy that is cut off in between holds a shorter history, not one with a hole.
        for link in parents.get().into_iter().flatten().rev() {
            bring_up(&self.copy, &peers, stream, link, &claim).await?;
        }
        Ok(())
    }

    /// An empty copy begins at 1, or where the others do: retention may have taken the first numbers.
    async fn first_number_of_peers(&self) -> Result<u64, ReplicationError> {
        let Shared { stream, epoch, spool, .. } = &*self.shared;
        let spooled = spool.extent().0.map(|numbers| *numbers.start());
        let fresh = spool.origin().is_some_and(|origin| origin.tip.number == 0);
        if spooled == Some(1) || spooled.is_none() && fresh {
            return Ok(1);
        }
        let mut first: Option<u64> = None;
        let mut trouble = None;
        for peer in self.peers() {
            match peer.first_number(stream, *epoch).await {
                Ok(Some(found)) => first = Some(first.map_or(found, |first| first.min(found))),
                Ok(None) => {}
                Err(error) => trouble = Some(error),
            }
        }
        let hint = "the spool has let go of it, and no copy that answers has it";
        let gap = || ReplicationError::Gap { stream: stream.clone(), epoch: *epoch, number: 1, hint };
        first.ok_or_else(|| trouble.unwrap_or_else(gap))
    }

    async fn send(&mut self, number: u64) -> Result<(), ReplicationError> {
        let sealed = self.sealed(number).await;
        if matches!(sealed, Err(ReplicationError::Gap { .. })) {
            self.next = None; // merged or expired meanwhile: locating takes that over from a peer
        }
        let (tip, bytes) = sealed?;
        let seen = self.now();
        let key = batch_key(&self.shared.stream, self.shared.epoch, number);
        self.shared.board.sends(&self.copy.name, bytes.len() as u64, seen.steady);
        match self.copy.place(&key, &bytes).await? {
            Placed::Ours => {}
            Placed::Taken(_) if self.shared.config.takes_any_answer() => {} // planted: not looked at
            Placed::Taken(found) => match self.met(number, &found)? {
                Met::Fence(by) if !self.shared.config.ignores_fences() => return Err(self.fenced(by, number)),
                Met::Fence(_) => {} // planted: goes on as if it had been taken
                Met::Nothing => return Err(self.conflict(number)),
            },
        }
        (self.next, self.last) = (Some(number + 1), Some(tip.digest));
        let time = Some(tip.time).filter(|time| *time > Timestamp::from_micros(i64::MIN));
        let learnt = Learnt { next: number + 1, position: Some(tip.position), time, seen };
        self.shared.board.learnt(&self.copy.name, learnt);
        self.shared.board.placed(&self.copy.name, bytes.len() as u64, self.now());
        Ok(())
    }

    /// The sealed bytes of a batch: from the spool, else from a copy that has it. Always the same bytes.
    async fn sealed(&self, number: u64) -> Result<(Tip, Bytes), ReplicationError> {
        let Shared { stream, epoch, spool, .. } = &*self.shared;
        if let Some(tip) = spool.tip_of(number)
            && let Some(bytes) = spool.read(number)?
        {
            return Ok((tip, bytes));
        }
        let place = self.place(number);
        let Some((ArchiveObject::Batch(batch), bytes)) = fetch_from_any(self.peers(), place).await? else {
            let hint = "no copy that answers has it; bring one back that does";
            return Err(ReplicationError::Gap { stream: stream.clone(), epoch: *epoch, number, hint });
        };
        if self.last.is_some_and(|last| last != batch.head.previous) {
            let found = self.last.unwrap_or_default();
            return Err(ReplicationError::ChainBroken {
                key: place.key(),
                named: batch.head.previous,
                found,
            });
        }
        Ok((Tip::of(&batch.head, batch.digest), bytes))
    }

    /// Everything was sent, or nothing may be now: the last object is still there, and no fence stands after it.
    async fn prove(&mut self, newest: u64) -> Result<(), ReplicationError> {
        let Shared { stream, epoch, board, .. } = &*self.shared;
        let next = self.next.expect("only a located copy is proved");
        let seen = self.now();
        if next > 1 && self.copy.length(&batch_key(stream, *epoch, next - 1)).await?.is_none() {
            let error = vanished(stream, *epoch, next - 1);
            board.forget(&self.copy.name);
            self.next = None;
            return Err(error);
        }
        let key = batch_key(stream, *epoch, next);
        if self.copy.length(&key).await?.is_some() && !self.shared.config.ignores_fences() {
            let found = self.copy.fetch(&key).await?.ok_or_else(|| vanished(stream, *epoch, next))?;
            match self.met(next, &found)? {
                Met::Fence(by) => return Err(self.fenced(by, next)),
                Met::Nothing if next > newest => return Err(self.conflict(next)),
                Met::Nothing => {} // may be ours, sent when its answer was lost: sending it tells
            }
        }
        board.proved(&self.copy.name, seen);
        Ok(())
    }

    /// What stands where our batch belongs.
    fn met(&self, number: u64, bytes: &Bytes) -> Result<Met, ReplicationError> {
        Ok(match open_object(&self.shared.keys, self.place(number), bytes)? {
            ArchiveObject::Fence(fence) => Met::Fence(fence.by),
            ArchiveObject::Batch(_) => Met::Nothing,
        })
    }

    fn fenced(&self, by: Epoch, number: u64) -> ReplicationError {
        let Shared { stream, epoch, board, .. } = &*self.shared;
        let copy = self.copy.name.clone();
        board.report(Incident::Fenced { copy: copy.clone(), by, number });
        ReplicationError::Fenced { stream: stream.clone(), epoch: *epoch, by, copy, number }
    }

    /// The copy has more of this epoch than the spool ever made.
    fn ahead(&self, archive: rpo_core::Position, number: u64) -> ReplicationError {
        let log = self.shared.parts.source.durable();
        if archive.lsn <= log.lsn {
            return self.conflict(number);
        }
        self.shared.board.report(Incident::Rewound { archive });
        ReplicationError::Rewound { stream: self.shared.stream.clone(), log, archive }
    }

    fn conflict(&self, number: u64) -> ReplicationError {
        let key = batch_key(&self.shared.stream, self.shared.epoch, number);
        ReplicationError::Conflict { copy: self.copy.name.clone(), key }
    }
}

pub(crate) fn vanished(stream: &StreamId, epoch: Epoch, number: u64) -> ReplicationError {
    let hint = "it was there before: objects are being deleted in this copy, or its store loses them";
    ReplicationError::Gap { stream: stream.clone(), epoch, number, hint }
}
