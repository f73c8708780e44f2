//! Names in directories: what a process sees, what a crash leaves, and the changes between the two.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

use super::Rng;

/// A file or directory, whatever its names.
pub(super) type Node = u64;
/// A name in a directory.
pub(super) type Name = (Node, OsString);
/// The root directory: always there.
pub(super) const ROOT: Node = 0;

/// One change that is durable as a whole or not at all.
#[derive(Debug, Clone)]
struct Change {
    gone: Option<Name>,
    new: Option<(Name, Node)>,
}

impl Change {
    fn names(&self) -> impl Iterator<Item = &Name> {
        self.gone.iter().chain(self.new.iter().map(|(name, _)| name))
    }

    fn touches(&self, dir: Node) -> bool {
        self.names().any(|(parent, _)| *parent == dir)
    }

    fn apply(&self, names: &mut BTreeMap<Name, Node>) {
        if let Some(name) = &self.gone {
            names.remove(name);
        }
        if let Some((name, node)) = &self.new {
            names.insert(name.clone(), *node);
        }
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    cached: BTreeMap<Name, Node>,
    durable: BTreeMap<Name, Node>,
    pending: Vec<Change>,
    /// What a failed sync gave up: seen, not durable, and no sync of an unchanged directory will make it so.
    given_up: Vec<Change>,
}

impl Names {
    pub(super) fn get(&self, name: &Name) -> Option<Node> {
        self.cached.get(name).copied()
    }

    /// The names in `dir`, sorted.
    pub(super) fn list(&self, dir: Node) -> impl Iterator<Item = (&OsString, Node)> {
        let from = (dir, OsString::new());
        self.cached
            .range(from..)
            .take_while(move |((parent, _), _)| *parent == dir)
            .map(|((_, n), node)| (n, *node))
    }

    /// Everything that has a name.
    pub(super) fn nodes(&self) -> BTreeSet<Node> {
        self.cached.values().copied().collect()
    }

    fn change(&mut self, change: Change) {
        // A changed directory is written back as a whole, with what an earlier failed sync had given up.
        let dirs: BTreeSet<Node> = change.names().map(|(dir, _)| *dir).collect();
        let (again, left) = std::mem::take(&mut self.given_up)
            .into_iter()
            .partition::<Vec<_>, _>(|old| dirs.iter().any(|dir| old.touches(*dir)));
        self.given_up = left;
        self.pending.splice(0..0, again);
        change.apply(&mut self.cached);
        self.pending.push(change);
    }

    pub(super) fn add(&mut self, name: Name, node: Node) {
        self.change(Change { gone: None, new: Some((name, node)) });
    }

    pub(super) fn remove(&mut self, name: Name) {
        self.change(Change { gone: Some(name), new: None });
    }

    pub(super) fn rename(&mut self, from: Name, to: Name, node: Node) {
        self.change(Change { gone: Some(from), new: Some((to, node)) });
    }

    /// Takes out of `pending` the changes in `dir` and the earlier ones that they build on, in order.
    fn take(&mut self, dir: Node) -> Vec<Change> {
        let mut wanted: Vec<bool> = self.pending.iter().map(|change| change.touches(dir)).collect();
        for later in (0..self.pending.len()).rev() {
            for earlier in 0..later {
                let shared =
                    self.pending[later].names().any(|n| self.pending[earlier].names().any(|m| m == n));
                wanted[earlier] |= wanted[later] && shared;
            }
        }
        let mut wanted = wanted.into_iter();
        let (taken, left) =
            std::mem::take(&mut self.pending).into_iter().partition(|_| wanted.next().unwrap_or_default());
        self.pending = left;
        taken
    }

    pub(super) fn sync(&mut self, dir: Node) {
        self.take(dir).iter().for_each(|change| change.apply(&mut self.durable));
    }

    /// Some changes reach the disk; the others are given up, though they can still be seen.
    pub(super) fn sync_fails(&mut self, dir: Node, rng: &mut Rng) {
        let changes = self.take(dir);
        let kept = rng.index(changes.len());
        changes.iter().take(kept).for_each(|change| change.apply(&mut self.durable));
        self.given_up.extend_from_slice(&changes[kept..]);
    }

    /// The power is cut. Either a journal kept the order, and a prefix of the changes survives; or each name went its
    /// own way, in its own order. Returns how many changes survived and how many did not.
    pub(super) fn crash(&mut self, rng: &mut Rng) -> (u64, u64) {
        let pending = std::mem::take(&mut self.pending);
        self.given_up.clear();
        let total = pending.len();
        let journal = rng.coin().then(|| rng.index(total + 1));
        let mut dropped: BTreeSet<Name> = BTreeSet::new();
        let mut kept = 0;
        for (i, change) in pending.iter().enumerate() {
            let survives = match journal {
                Some(prefix) => i < prefix,
                None => rng.coin() && !change.names().any(|name| dropped.contains(name)),
            };
            if survives {
                change.apply(&mut self.durable);
                kept += 1;
            } else {
                dropped.extend(change.names().cloned());
            }
        }
        self.forget_unreachable();
        self.cached.clone_from(&self.durable);
        (kept, total as u64 - kept)
    }

    /// What is inside a directory that itself has no durable name is gone with it.
    fn forget_unreachable(&mut self) {
        let mut reachable = BTreeSet::from([ROOT]);
        let mut fresh = vec![ROOT];
        while let Some(dir) = fresh.pop() {
            let inside =
                self.durable.range((dir, OsString::new())..).take_while(|((parent, _), _)| *parent == dir);
            fresh.extend(inside.map(|(_, node)| *node).filter(|node| reachable.insert(*node)));
        }
        self.durable.retain(|(dir, _), _| reachable.contains(dir));
    }
}
