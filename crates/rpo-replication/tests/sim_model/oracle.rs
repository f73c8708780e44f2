//! What writers wrote and were told, what the stores really hold, and which promises follow. Shares no code with shipping,
//! fencing or reading: objects are told apart by the type byte of their clear header (`envelope.md`) and their key.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use rpo_core::{Epoch, LogEntry, Lsn, Position};
use rpo_storage::Key;

/// Where the type of an object stands in its clear header, and what a batch has there.
const TYPE_AT: usize = 10;
const TYPE_BATCH: u8 = 5;
/// Where the first frame of an object begins: after its clear header and the frame's length.
const MERGED_HEAD_AT: usize = 100;

#[derive(Debug, Clone)]
pub(crate) struct Wrote {
    pub(crate) lsn: Lsn,
    pub(crate) end: Lsn,
    pub(crate) payload: Bytes,
    /// When it was acknowledged, by the clock that is always right.
    pub(crate) at: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct Generation {
    wrote: Vec<Wrote>,
    /// Where each batch ends, by number.
    batches: BTreeMap<u64, Lsn>,
    /// The generation it took over from, the last object it uses of it, and where it leaves it.
    parent: Option<(Epoch, u64, Lsn)>,
    /// The highest position its writer was ever told to be protected.
    protected: Lsn,
    /// Where a successor left it.
    fork: Option<Lsn>,
}

/// The truth about one stream.
#[derive(Debug)]
pub(crate) struct Oracle {
    stream: &'static str,
    needed: usize,
    generations: BTreeMap<Epoch, Generation>,
}

impl Oracle {
    pub(crate) fn new(stream: &'static str, needed: usize) -> Self {
        let generations = BTreeMap::from([(Epoch::FIRST, Generation::default())]);
        Self { stream, needed, generations }
    }

    fn of(&mut self, epoch: Epoch) -> &mut Generation {
        self.generations.get_mut(&epoch).expect("begun before")
    }

    pub(crate) fn wrote(&mut self, epoch: Epoch, wrote: Wrote) {
        self.of(epoch).wrote.push(wrote);
    }

    pub(crate) fn sealed(&mut self, epoch: Epoch, number: u64, end: Lsn) {
        self.of(epoch).batches.insert(number, end);
    }

    /// A writer says: everything before this is protected.
    pub(crate) fn told_protected(
        &mut self,
        epoch: Epoch,
        upto: Lsn,
        copies: &[BTreeMap<Key, Bytes>],
    ) -> Result<(), String> {
        let truly = self.truly_protected(epoch, copies);
        if upto > truly {
            let needed = self.needed;
            return Err(format!(
                "promise 6: epoch {epoch} was told {upto} is protected, {needed} copies reach {truly}"
            ));
        }
        let generation = self.of(epoch);
        generation.protected = generation.protected.max(upto);
        match generation.fork {
            Some(fork) if upto > fork => {
                Err(format!("promise 9: epoch {epoch} was told {upto} is protected, it was fenced at {fork}"))
            }
            _ => Ok(()),
        }
    }

    /// A takeover succeeded.
    pub(crate) fn took_over(
        &mut self,
        epoch: Epoch,
        parent: Epoch,
        number: u64,
        fork: Position,
    ) -> Result<(), String> {
        if self.generations.contains_key(&epoch) {
            return Err(format!("promise 9: epoch {epoch} was given to two writers"));
        }
        self.begun_by_nobody(parent, fork.lsn, None)?;
        for (older, generation) in self.generations.range_mut(..epoch) {
            // What lies above the fork in any older epoch is not in this history.
            let end = if *older == parent { fork.lsn } else { generation.fork.unwrap_or(fork.lsn) };
            generation.fork = Some(generation.fork.map_or(end, |known| known.min(end)));
            if generation.protected > end {
                let protected = generation.protected;
                return Err(format!(
                    "promise 9: epoch {older} had {protected} protected, epoch {epoch} forks at {end}"
                ));
            }
        }
        let fresh = Generation { parent: Some((parent, number, fork.lsn)), ..Generation::default() };
        self.generations.insert(epoch, fresh);
        self.of(epoch).batches.insert(1, fork.lsn); // the object that begins an epoch
        Ok(())
    }

    /// A takeover that was told as failed may have begun its epoch all the same: nobody writes in it, it can be a parent.
    /// It goes on from `parent`, or from the newest one before it. One in which nothing was protected may be passed over: a
    /// takeover goes on where there is more.
    fn begun_by_nobody(&mut self, epoch: Epoch, fork: Lsn, parent: Option<Epoch>) -> Result<(), String> {
        if self.generations.contains_key(&epoch) {
            return Ok(());
        }
        let below = parent.map_or(epoch, |parent| parent.next().unwrap_or(epoch)).min(epoch);
        for (passed, generation) in self.generations.range(below..epoch) {
            if generation.protected > self.start(*passed) {
                let protected = generation.protected;
                return Err(format!(
                    "promise 9: epoch {epoch} passes over epoch {passed}, which had {protected} protected"
                ));
            }
        }
        let (older, generation) = self.generations.range(..below).next_back().expect("there is an epoch 1");
        let last = generation.batches.iter().find(|(_, end)| **end == fork).map_or(0, |(number, _)| *number);
        let parent = Some((*older, last, fork));
        let batches = BTreeMap::from([(1, fork)]);
        self.generations.insert(epoch, Generation { parent, batches, ..Generation::default() });
        Ok(())
    }

    /// The history that ends with `tip`: each generation in it, from where to where.
    fn history(&self, tip: Epoch) -> Vec<(Epoch, Lsn, Lsn)> {
        let (mut at, mut end, mut out) = (tip, Lsn::MAX, Vec::new());
        loop {
            let from = self.start(at);
            out.push((at, from, end));
            match self.generations[&at].parent {
                Some((parent, _, fork)) => (at, end) = (parent, fork.min(end)),
                None => break,
            }
        }
        out.reverse();
        out
    }

    fn newest(&self) -> Epoch {
        *self.generations.keys().next_back().expect("never empty")
    }

    /// Every commit of the current history up to the highest position that was ever told to be protected.
    fn must_restore(&self) -> Vec<(Epoch, &Wrote)> {
        let history = self.history(self.newest());
        let told = history.iter().map(|(epoch, _, to)| self.generations[epoch].protected.min(*to)).max();
        let told = told.unwrap_or(Lsn::ZERO);
        let inside = |(epoch, from, to): &(Epoch, Lsn, Lsn)| {
            let (epoch, from, upto) = (*epoch, *from, told.min(*to));
            let wrote = self.generations[&epoch].wrote.iter();
            wrote.filter(move |w| w.lsn >= from && w.end <= upto).map(move |w| (epoch, w)).collect::<Vec<_>>()
        };
        history.iter().flat_map(inside).collect()
    }

    /// What a reader got of the history with these legs (epoch and begin) must be a gap-free part of the true one from
    /// its beginning, and hold everything that was ever told to be protected.
    pub(crate) fn restored(&mut self, legs: &[(Epoch, Lsn)], entries: &[LogEntry]) -> Result<(), String> {
        let mut before = None;
        for (epoch, from) in legs {
            self.begun_by_nobody(*epoch, *from, before)?;
            before = Some(*epoch);
        }
        let history = self.history(legs.last().map_or(Epoch::FIRST, |(epoch, _)| *epoch));
        let mut at = Lsn::ZERO;
        let mut found = BTreeSet::new();
        for entry in entries {
            let (lsn, end) = (entry.lsn(), entry.position());
            if lsn != at {
                return Err(format!("promise 2: an entry begins at {lsn}, the one before it ends at {at}"));
            }
            at = end.lsn;
            let leg = history.iter().find(|(_, from, to)| (*from..*to).contains(&lsn));
            let (epoch, ..) = leg.expect("a history has no holes");
            if end.epoch != *epoch {
                return Err(format!(
                    "promise 9: lsn {lsn} is held by epoch {}, belongs to {epoch}",
                    end.epoch
                ));
            }
            if let LogEntry::Commit(commit) = entry {
                let wrote = self.generations[epoch].wrote.iter().find(|w| w.lsn == lsn);
                let same = wrote.is_some_and(|w| {
                    w.end == commit.end && commit.records.len() == 1 && commit.records[0].payload == w.payload
                });
                if !same {
                    return Err(format!(
                        "promise 5: the commit at lsn {lsn} of epoch {epoch} is not the one written"
                    ));
                }
                found.insert((*epoch, lsn));
            }
        }
        match self.must_restore().iter().find(|(epoch, wrote)| !found.contains(&(*epoch, wrote.lsn))) {
            Some((epoch, wrote)) => Err(format!(
                "promise 1: lsn {} of epoch {epoch} was protected and cannot be restored",
                wrote.lsn
            )),
            None => Ok(()),
        }
    }

    /// How long the oldest commit of this writer that is not truly in enough copies has been waiting.
    pub(crate) fn true_window(
        &self,
        epoch: Epoch,
        copies: &[BTreeMap<Key, Bytes>],
        now: Duration,
    ) -> Duration {
        let protected = self.truly_protected(epoch, copies);
        let first = self.generations[&epoch].wrote.iter().find(|w| w.end > protected);
        first.map_or(Duration::ZERO, |w| now.saturating_sub(w.at))
    }

    fn truly_protected(&self, epoch: Epoch, copies: &[BTreeMap<Key, Bytes>]) -> Lsn {
        let mut reaches: Vec<Lsn> = copies.iter().map(|objects| self.reach(epoch, objects)).collect();
        reaches.sort_unstable_by(|a, b| b.cmp(a));
        reaches[self.needed - 1]
    }

    /// How far the history of `epoch` reaches in a copy without a hole.
    fn reach(&self, epoch: Epoch, objects: &BTreeMap<Key, Bytes>) -> Lsn {
        let generation = &self.generations[&epoch];
        if let Some((parent, number, fork)) = generation.parent {
            let complete = (1..=number).all(|n| self.has(parent, n, objects));
            if !complete || self.reach_before(parent, objects) < self.start(parent) {
                return self.reach(parent, objects).min(fork);
            }
        }
        let reached = (1..).take_while(|n| self.has(epoch, *n, objects)).last();
        reached.and_then(|n| generation.batches.get(&n)).copied().unwrap_or_else(|| self.start(epoch))
    }

    fn start(&self, epoch: Epoch) -> Lsn {
        self.generations[&epoch].parent.map_or(Lsn::ZERO, |(_, _, fork)| fork)
    }

    /// How far what lies before `epoch` reaches.
    fn reach_before(&self, epoch: Epoch, objects: &BTreeMap<Key, Bytes>) -> Lsn {
        match self.generations[&epoch].parent {
            None => Lsn::ZERO,
            Some((parent, number, fork)) => {
                let complete = (1..=number).all(|n| self.has(parent, n, objects));
                if complete && self.reach_before(parent, objects) >= self.start(parent) {
                    fork
                } else {
                    Lsn::ZERO
                }
            }
        }
    }

    fn has(&self, epoch: Epoch, number: u64, objects: &BTreeMap<Key, Bytes>) -> bool {
        self.has_batch(epoch, number, objects) || self.has_merged(epoch, number, objects)
    }

    /// Whether a merged object says that it took the place of this batch: read from the clear bytes of a repository that is
    /// not encrypted, at the offsets of `merged.md`.
    fn has_merged(&self, epoch: Epoch, number: u64, objects: &BTreeMap<Key, Bytes>) -> bool {
        let prefix = format!("logs/{}/{:08x}/", self.stream, epoch.get());
        let word = |object: &Bytes, at: usize| {
            let bytes = object.get(MERGED_HEAD_AT + at..MERGED_HEAD_AT + at + 8)?;
            Some(u64::from_le_bytes(bytes.try_into().ok()?))
        };
        objects.iter().any(|(key, object)| {
            let merged = key.as_str().strip_prefix(&prefix).is_some_and(|name| name.contains("merged/"));
            merged
                && object.get(MERGED_HEAD_AT..MERGED_HEAD_AT + 8) == Some(b"RPOMERGE")
                && word(object, 24).is_some_and(|first| first <= number)
                && word(object, 32).is_some_and(|last| number <= last)
        })
    }

    fn has_batch(&self, epoch: Epoch, number: u64, objects: &BTreeMap<Key, Bytes>) -> bool {
        let (stream, epoch) = (self.stream, epoch.get());
        ["", "healed/"].iter().any(|folder| {
            let key = Key::new(format!("logs/{stream}/{epoch:08x}/{folder}{number:016x}")).expect("a key");
            objects.get(&key).is_some_and(|object| object.get(TYPE_AT) == Some(&TYPE_BATCH))
        })
    }
}
