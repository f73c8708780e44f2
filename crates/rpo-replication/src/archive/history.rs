use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use rpo_core::{CopyName, Epoch, Position, Timestamp};

use super::Archive;
use crate::ReplicationError;
use crate::batch::ParentLink;
use crate::object::ArchiveObject;

/// What a history takes from one epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leg {
    /// Which epoch.
    pub epoch: Epoch,
    /// The first object that is there; larger than 1 once retention has taken some.
    pub first: u64,
    /// The last object that this history uses.
    pub last: u64,
    /// Where it begins.
    pub from: Position,
    /// Where it ends: at the fork, if another epoch follows.
    pub to: Position,
    /// Time of its first frame.
    pub first_time: Timestamp,
    /// Time of the last frame of its last object; a fork inside that object may lie a little earlier.
    pub last_time: Timestamp,
    /// What its first object says it follows, if that one is an epoch start.
    pub parent: Option<ParentLink>,
}

/// One line of events: an epoch and what it took over from its parents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// The epoch it is named by: its last.
    pub tip: Epoch,
    /// What each epoch gives to it, oldest first; never empty. Contiguous from the first to the last.
    pub legs: Vec<Leg>,
    /// True for the one that goes on; the others end where a newer epoch left them.
    pub current: bool,
}

impl History {
    /// Where the part that is kept begins.
    pub fn from(&self) -> Position {
        self.legs.first().expect("a history has a leg").from
    }

    /// Where it ends.
    pub fn to(&self) -> Position {
        self.legs.last().expect("a history has a leg").to
    }

    /// Time of its first frame that is kept, and of its last.
    pub fn times(&self) -> (Timestamp, Timestamp) {
        let (first, last) = self.legs.first().zip(self.legs.last()).expect("a history has a leg");
        (first.first_time, last.last_time)
    }
}

/// What an archive holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    /// Every history, the current one first, then by epoch, newest first.
    pub histories: Vec<History>,
    /// Copies that did not answer, each with the reason: they may hold more.
    pub unreached: BTreeMap<CopyName, String>,
    /// Epochs that nothing current needs and that could not be read to their end, each with what is wrong.
    pub damaged: BTreeMap<Epoch, String>,
}

impl Coverage {
    /// The history that goes on.
    pub fn current(&self) -> &History {
        self.histories.first().expect("coverage holds the current history")
    }

    /// The history named by `epoch`: what was written in it, also past where a newer one left it.
    pub fn of_epoch(&self, epoch: Epoch) -> Option<&History> {
        self.histories.iter().find(|history| history.tip == epoch)
    }
}

impl Archive {
    /// Finds every history, by name; reads the heads of first and last objects only.
    ///
    /// # Errors
    /// `NotFound` if there is nothing of this stream; `Gap` or what is wrong with an object that the current history needs.
    pub async fn coverage(&self) -> Result<Coverage, ReplicationError> {
        let (epochs, unreached) = self.epochs().await?;
        let (mut starts, mut whole, mut damaged) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for epoch in epochs {
            match self.start_of(epoch).await {
                Ok(None) => continue,
                Ok(Some(start)) => match self.whole_leg(&start).await {
                    Ok(leg) => {
                        starts.insert(epoch, start);
                        whole.insert(epoch, leg);
                    }
                    Err(error) => {
                        starts.insert(epoch, start);
                        damaged.insert(epoch, error);
                    }
                },
                Err(error) => {
                    damaged.insert(epoch, error);
                }
            }
        }
        let nothing = || {
            ReplicationError::NotFound(format!(
                "no object of stream {} is in the copies asked",
                self.stream()
            ))
        };
        let top = whole.keys().chain(damaged.keys()).max().copied().ok_or_else(nothing)?;
        if let Some(error) = damaged.remove(&top) {
            return Err(error);
        }
        let mut histories = Vec::new();
        for Reverse(epoch) in tips(&whole, top) {
            histories.push(self.assemble(&starts, &whole[&epoch], epoch == top).await?);
        }
        let damaged = damaged.into_iter().map(|(epoch, error)| (epoch, error.to_string())).collect();
        Ok(Coverage { histories, unreached, damaged })
    }

    async fn assemble(
        &self,
        starts: &BTreeMap<Epoch, Leg>,
        tip: &Leg,
        current: bool,
    ) -> Result<History, ReplicationError> {
        let mut legs = vec![tip.clone()];
        let mut parent = tip.parent;
        while let Some(link) = parent.filter(|link| link.number > 0) {
            let Some(leg) = self.leg_up_to(starts, &link).await? else { break };
            parent = leg.parent;
            legs.push(leg);
        }
        legs.reverse();
        Ok(History { tip: tip.epoch, legs, current })
    }

    /// What a child takes from its parent; `None` once retention has taken all of that.
    async fn leg_up_to(
        &self,
        starts: &BTreeMap<Epoch, Leg>,
        link: &ParentLink,
    ) -> Result<Option<Leg>, ReplicationError> {
        let start = match starts.get(&link.epoch) {
            Some(start) => Some(start.clone()),
            None => self.start_of(link.epoch).await?, // says again what is wrong with it
        };
        let Some(start) = start.filter(|start| start.first <= link.number) else { return Ok(None) };
        let last = self.known_head(link.epoch, link.number).await?;
        Ok(Some(Leg { last: link.number, to: link.fork, last_time: last.last_time, ..start }))
    }

    /// Where an epoch begins and which object is its last; the end of the leg is not known yet.
    async fn start_of(&self, epoch: Epoch) -> Result<Option<Leg>, ReplicationError> {
        let last = self.last_number(epoch).await?;
        let Some(first) = self.first_number(epoch, last).await? else { return Ok(None) };
        let head = self.known_head(epoch, first).await?;
        Ok(Some(Leg {
            epoch,
            first,
            last,
            from: head.from,
            to: head.to,
            first_time: head.first_time,
            last_time: head.last_time,
            parent: head.parent,
        }))
    }

    /// Everything of an epoch that any copy holds, up to where no further object exists.
    async fn whole_leg(&self, start: &Leg) -> Result<Leg, ReplicationError> {
        let tail = self.known_head(start.epoch, start.last).await?;
        Ok(Leg { to: tail.to, last_time: tail.last_time, ..start.clone() })
    }

    /// The highest batch of an epoch that any copy holds before its fence, or healed; 0 without any.
    async fn last_number(&self, epoch: Epoch) -> Result<u64, ReplicationError> {
        let (mut last, mut answered, mut trouble) = (0, false, None);
        for copy in &self.0.copies {
            match self.last_in(copy, epoch).await {
                Ok(found) => {
                    last = last.max(found);
                    answered = true;
                }
                Err(error) => trouble = Some(error),
            }
        }
        match trouble {
            Some(error) if !answered => Err(error),
            _ => Ok(last),
        }
    }

    async fn last_in(&self, copy: &crate::CopySpec, epoch: Epoch) -> Result<u64, ReplicationError> {
        let next = copy.next_number(self.stream(), epoch).await?;
        if next == 1 {
            return Ok(0);
        }
        let fenced = match copy.open(self.place(epoch, next - 1)).await {
            Ok(Some((ArchiveObject::Fence(_), _))) => true,
            // Damaged or gone since: it counts, and reading it says what is wrong with it.
            Ok(_) | Err(ReplicationError::Envelope { .. } | ReplicationError::Format { .. }) => {
                return Ok(next - 1);
            }
            Err(error) => return Err(error),
        };
        let mut last = next - 1 - u64::from(fenced);
        while copy.length(&crate::names::healed_key(self.stream(), epoch, last + 1)).await?.is_some() {
            last += 1;
        }
        Ok(last)
    }

    /// The first batch of an epoch that any copy holds.
    async fn first_number(&self, epoch: Epoch, last: u64) -> Result<Option<u64>, ReplicationError> {
        if last == 0 {
            return Ok(None);
        }
        if self.head(epoch, 1).await?.is_some() {
            return Ok(Some(1));
        }
        let mut first = last;
        for copy in &self.0.copies {
            if let Ok(Some(found)) = copy.first_number(self.stream(), epoch).await {
                first = first.min(found);
            }
        }
        // A fence is listed too: begin at the first batch.
        while first < last && self.head(epoch, first).await?.is_none() {
            first += 1;
        }
        Ok(Some(first))
    }
}

/// Epochs that hold something which no other continues; the newest first.
fn tips(own: &BTreeMap<Epoch, Leg>, top: Epoch) -> BTreeSet<Reverse<Epoch>> {
    let mut tips = BTreeSet::from([Reverse(top)]);
    for (epoch, leg) in own {
        let forks = own.values().filter_map(|leg| leg.parent).filter(|link| link.epoch == *epoch);
        let continued = forks.map(|link| link.fork.lsn).max();
        if leg.to.lsn > continued.unwrap_or(leg.from.lsn) {
            tips.insert(Reverse(*epoch));
        }
    }
    tips
}
