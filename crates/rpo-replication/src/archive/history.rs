//! Which histories an archive holds: the current one, and what newer writers left behind.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use rpo_core::{CopyName, Epoch, ErrorKind, Position, Timestamp};

use super::Archive;
use crate::ReplicationError;
use crate::batch::ParentLink;
use crate::gap::GapSpan;
use crate::object::{OpenBatch, format_error};

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
    /// What is known to follow on [`to`](History::to) and cannot be read: then the end of what can be restored is not the
    /// end of what was written.
    pub broken: Option<Break>,
    /// What was lost and recorded as lost, oldest first: nothing that reaches into one of these is given out.
    pub gaps: Vec<GapSpan>,
}

/// Where a history is known to go on and cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Break {
    /// The epoch of the object that is missing or damaged.
    pub epoch: Epoch,
    /// Its number.
    pub number: u64,
    /// What is wrong with it.
    pub why: String,
}

impl History {
    /// Where the part that is kept begins.
    pub fn from(&self) -> Position {
        self.legs.first().expect("a history has a leg").from
    }

    /// Where it ends: everything before can be read, as far as heads tell.
    pub fn to(&self) -> Position {
        self.legs.last().expect("a history has a leg").to
    }

    /// Time of its first frame that is kept, and of its last.
    pub fn times(&self) -> (Timestamp, Timestamp) {
        let (first, last) = self.legs.first().zip(self.legs.last()).expect("a history has a leg");
        (first.first_time, last.last_time)
    }
}

/// A leg up to its last readable object, and what follows it unreadably.
type Whole = (Leg, Option<Break>);

/// What an archive holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    /// Every history, the current one first, then by epoch, newest first.
    pub histories: Vec<History>,
    /// Copies that did not answer, each with the reason: they may hold more.
    pub unreached: BTreeMap<CopyName, String>,
    /// Epochs whose beginning could not be read, each with what is wrong.
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
    /// Finds every history, by name; reads the heads of first and last objects only. What is damaged or missing at an end
    /// shortens a history and is told in [`History::broken`]; a hole in the middle shows when it is read.
    ///
    /// # Errors
    /// `NotFound` if there is nothing of this stream; else what is wrong, if nothing of it can be read.
    pub async fn coverage(&self) -> Result<Coverage, ReplicationError> {
        let (epochs, unreached) = self.epochs().await?;
        let (mut whole, mut damaged) = (BTreeMap::new(), BTreeMap::new());
        for epoch in epochs {
            let found = match self.start_of(epoch).await {
                Ok(None) => continue,
                Ok(Some(start)) => self.whole_leg(start).await,
                Err(error) => Err(error),
            };
            match found {
                Ok(found) => drop(whole.insert(epoch, found)),
                Err(error) => drop(damaged.insert(epoch, error)),
            }
        }
        let Some(&top) = whole.keys().next_back() else {
            let what = format!("no object of stream {} is in the copies asked", self.stream());
            return Err(damaged.into_values().next_back().unwrap_or(ReplicationError::NotFound(what)));
        };
        let mut histories = Vec::new();
        for Reverse(epoch) in tips(&whole, top) {
            histories.push(self.assemble(&whole, &damaged, epoch, epoch == top).await?);
        }
        let damaged: BTreeMap<_, _> =
            damaged.into_iter().map(|(epoch, error)| (epoch, error.to_string())).collect();
        if let (Some((epoch, why)), Some(current)) = (damaged.range(top..).next_back(), histories.first_mut())
        {
            // A newer epoch goes on from somewhere, nobody knows where.
            current.broken.get_or_insert(Break { epoch: *epoch, number: 1, why: why.clone() });
        }
        Ok(Coverage { histories, unreached, damaged })
    }

    async fn assemble(
        &self,
        whole: &BTreeMap<Epoch, Whole>,
        damaged: &BTreeMap<Epoch, ReplicationError>,
        tip: Epoch,
        current: bool,
    ) -> Result<History, ReplicationError> {
        let (leg, mut broken) = whole[&tip].clone();
        let (mut legs, mut parent) = (vec![leg.clone()], leg.parent);
        while let Some(link) = parent.filter(|link| link.number > 0) {
            if let Some(error) = damaged.get(&link.epoch) {
                let why = error.to_string();
                tracing::warn!(epoch = %link.epoch, %why, "a history cannot be followed back to its beginning");
                break;
            }
            let Some((whole, _)) = whole.get(&link.epoch).filter(|(leg, _)| leg.first <= link.number) else {
                break; // retention has taken it
            };
            let leg = match self.known_head(link.epoch, link.number).await {
                Ok(last) => {
                    Leg { last: link.number, to: link.fork, last_time: last.last_time, ..whole.clone() }
                }
                Err(error) if error.kind() == ErrorKind::Corrupt && whole.last < link.number => {
                    // What comes after cannot be reached from here.
                    broken =
                        Some(Break { epoch: link.epoch, number: whole.last + 1, why: error.to_string() });
                    legs.clear();
                    whole.clone()
                }
                Err(error) => return Err(error),
            };
            parent = leg.parent;
            legs.push(leg);
        }
        legs.reverse();
        let mut gaps = Vec::new();
        for leg in &legs {
            gaps.extend(self.gaps(leg).await);
        }
        Ok(History { tip, legs, current, broken, gaps })
    }

    /// The gaps of a leg, oldest first. Found from its last object back: each names the newest gap before it. What cannot be
    /// read is not told here, and met by whoever reads across it.
    pub async fn gaps(&self, leg: &Leg) -> Vec<GapSpan> {
        let mut gaps = Vec::new();
        let mut next = self.known_head(leg.epoch, leg.last).await.map(|head| head.newest_gap());
        while let Ok(number) = next
            && number >= leg.first.max(1)
        {
            next = match self.batch(leg.epoch, number, None).await {
                Ok(batch) => {
                    let span = GapSpan::of(&batch.head, &batch.body);
                    gaps.extend(span.ok().filter(|span| span.from.lsn < leg.to.lsn));
                    Ok(batch.head.gap_before)
                }
                Err(error) => Err(error),
            };
        }
        if let Err(error) = next {
            // Whoever reads across it meets the same trouble: nothing is passed over.
            tracing::warn!(epoch = %leg.epoch, %error, "the gaps of an epoch cannot be told");
        }
        gaps.reverse();
        gaps
    }

    pub(super) fn inside_gap(&self, batch: &OpenBatch) -> ReplicationError {
        let key = self.place(batch.head.epoch(), batch.head.number).key();
        match GapSpan::of(&batch.head, &batch.body) {
            Ok(gap) => ReplicationError::InsideGap { stream: self.stream().clone(), gap: Box::new(gap) },
            Err(source) => format_error(&key, source),
        }
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

    /// Everything of an epoch that any copy holds, up to the last object whose head can be read.
    async fn whole_leg(&self, start: Leg) -> Result<Whole, ReplicationError> {
        let mut broken = None;
        let mut number = start.last;
        loop {
            match self.known_head(start.epoch, number).await {
                Ok(tail) => {
                    let leg = Leg { last: number, to: tail.to, last_time: tail.last_time, ..start };
                    return Ok((leg, broken));
                }
                Err(error) if error.kind() == ErrorKind::Corrupt && number > start.first => {
                    broken = Some(Break { epoch: start.epoch, number, why: error.to_string() });
                    number -= 1;
                }
                Err(error) => return Err(error),
            }
        }
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
        let (next, fence) = copy.end(self.stream(), epoch).await?;
        let last = next - 1 - u64::from(fence.is_some());
        if fence.is_none() { Ok(last) } else { copy.healed_end(self.stream(), epoch, last).await }
    }

    /// The first batch of an epoch that any copy holds.
    async fn first_number(&self, epoch: Epoch, last: u64) -> Result<Option<u64>, ReplicationError> {
        if last == 0 {
            return Ok(None);
        }
        let mut noted = false;
        for copy in &self.0.copies {
            noted |= matches!(copy.newest_note(self.stream(), epoch).await, Ok(Some(_)));
        }
        if !noted && self.head(epoch, 1).await?.is_some() {
            return Ok(Some(1));
        }
        let mut first = None;
        for copy in &self.0.copies {
            if let Ok(Some(found)) = copy.first_number(self.stream(), epoch).await {
                first = Some(first.map_or(found, |first: u64| first.min(found)));
            }
        }
        let mut first = first.unwrap_or(last);
        if first > last {
            return Ok(None); // retention has taken it
        }
        // A fence is listed too: begin at the first batch.
        while first < last && self.head(epoch, first).await?.is_none() {
            first += 1;
        }
        Ok(Some(first))
    }
}

/// Epochs that hold something which no other continues; the newest first.
fn tips(whole: &BTreeMap<Epoch, Whole>, top: Epoch) -> BTreeSet<Reverse<Epoch>> {
    let mut tips = BTreeSet::from([Reverse(top)]);
    for (epoch, (leg, _)) in whole {
        let forks = whole.values().filter_map(|(leg, _)| leg.parent).filter(|link| link.epoch == *epoch);
        let continued = forks.map(|link| link.fork.lsn).max();
        if leg.to.lsn > continued.unwrap_or(leg.from.lsn) {
            tips.insert(Reverse(*epoch));
        }
    }
    tips
}
