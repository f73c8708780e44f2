//! What is missing or damaged, and whom it hits.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use rpo_core::{CheckpointId, ErrorKind};

use crate::CheckpointError;

/// How many affected files are named for one object; all are counted.
pub const AFFECTED_NAMED_MAX: usize = 100;

/// One object that is missing or damaged, and whom it hits.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DamagedObject {
    /// Key of the object.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
    /// True if it is not there at all.
    pub missing: bool,
    /// Files that need it: checkpoint and path, the first [`AFFECTED_NAMED_MAX`].
    pub affected: Vec<AffectedFile>,
    /// How many there are in all.
    pub affected_count: u64,
}

/// A file that cannot be restored as it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct AffectedFile {
    /// In which checkpoint.
    pub checkpoint: CheckpointId,
    /// Where it is below the root, as people write it; `manifest` if entries themselves cannot be read.
    pub path: String,
}

/// All that was found missing or damaged.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Damage {
    /// Each object once.
    pub objects: Vec<DamagedObject>,
}

impl Damage {
    /// `NotFound` if objects are missing and none is damaged, else `Corrupt`.
    pub fn kind(&self) -> ErrorKind {
        let only_missing = !self.objects.is_empty() && self.objects.iter().all(|object| object.missing);
        if only_missing { ErrorKind::NotFound } else { ErrorKind::Corrupt }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for object in &self.objects {
            let count = object.affected_count;
            write!(f, "{}: {}; {count} files cannot be restored", object.object, object.what)?;
            for (n, file) in object.affected.iter().take(5).enumerate() {
                write!(f, "{}{} of {}", if n == 0 { ": " } else { ", " }, file.path, file.checkpoint)?;
            }
            f.write_str(if count > 5 { ", …. " } else { ". " })?;
        }
        f.write_str("Fetch the named objects from another copy")
    }
}

/// Why a chunk or object is bad.
#[derive(Debug, Clone)]
pub(crate) struct Bad {
    pub(crate) object: String,
    pub(crate) what: String,
    pub(crate) missing: bool,
}

impl Bad {
    pub(crate) fn new(object: impl Into<String>, what: impl fmt::Display, missing: bool) -> Self {
        Self { object: object.into(), what: what.to_string(), missing }
    }

    pub(crate) fn of(object: impl Into<String>, error: &CheckpointError) -> Self {
        Self::new(object, error, error.kind() == ErrorKind::NotFound)
    }
}

/// Collects damage; each file counts once per object.
#[derive(Debug, Default)]
pub(crate) struct DamageBook {
    objects: BTreeMap<String, DamagedObject>,
    hits: HashSet<(String, AffectedFile)>,
}

impl DamageBook {
    /// Notes a bad object.
    pub(crate) fn note(&mut self, bad: &Bad) -> &mut DamagedObject {
        self.objects.entry(bad.object.clone()).or_insert_with(|| DamagedObject {
            object: bad.object.clone(),
            what: bad.what.clone(),
            missing: bad.missing,
            affected: Vec::new(),
            affected_count: 0,
        })
    }

    /// Notes a file that a bad object hits.
    pub(crate) fn hit(&mut self, bad: &Bad, checkpoint: &CheckpointId, path: impl fmt::Display) {
        let file = AffectedFile { checkpoint: checkpoint.clone(), path: path.to_string() };
        let first = self.hits.insert((bad.object.clone(), file.clone()));
        let object = self.note(bad);
        if first {
            object.affected_count += 1;
            if object.affected.len() < AFFECTED_NAMED_MAX {
                object.affected.push(file);
            }
        }
    }

    /// Everything, sorted by object, files sorted by checkpoint and path.
    pub(crate) fn finish(self) -> Damage {
        let mut objects: Vec<DamagedObject> = self.objects.into_values().collect();
        objects.iter_mut().for_each(|object| object.affected.sort());
        Damage { objects }
    }
}
