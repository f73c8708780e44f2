//! What is missing or damaged, and whom it hits.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use rpo_core::ports::{EntryPath, Restorer};
use rpo_core::{CheckpointId, ErrorKind};
use rpo_storage::Key;

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
    /// Checkpoints of which no file can be restored: what lists their files is lost with this object.
    pub checkpoints: Vec<CheckpointId>,
}

impl DamagedObject {
    /// Whether nothing that can be restored needs it.
    pub fn costs_nothing(&self) -> bool {
        self.affected_count == 0 && self.checkpoints.is_empty()
    }
}

/// A file that cannot be restored as it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct AffectedFile {
    /// In which checkpoint.
    pub checkpoint: CheckpointId,
    /// Where it is below the root, as people write it.
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
        for (number, object) in self.objects.iter().enumerate() {
            f.write_str(if number == 0 { "" } else { ". " })?;
            let count = object.affected_count;
            let files = if count == 1 { "file" } else { "files" };
            write!(f, "{}: {}; {count} {files} cannot be restored", object.object, object.what)?;
            for checkpoint in &object.checkpoints {
                write!(f, ", and none of {checkpoint}")?;
            }
            for (n, file) in object.affected.iter().take(5).enumerate() {
                write!(f, "{}{} of {}", if n == 0 { ": " } else { ", " }, file.path, file.checkpoint)?;
            }
            f.write_str(if count > 5 { ", …" } else { "" })?;
        }
        Ok(())
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

    pub(crate) fn absent(key: &Key) -> Self {
        Self::new(key.as_str(), "it is not there", true)
    }

    pub(crate) fn of(object: impl Into<String>, error: &CheckpointError) -> Self {
        let object = object.into();
        let what = what_of(&object, error);
        Self { object, what, missing: error.kind() == ErrorKind::NotFound }
    }
}

/// A file that was left out of a restore.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct LeftOut {
    /// Where it would be below the root, as people write it.
    pub path: String,
    /// What is wrong with what is stored of it: the object, and its damage.
    pub reason: String,
}

/// What `error` says of `object`: without its name and without advice, which are said where it is told.
pub(crate) fn what_of(object: &str, error: &CheckpointError) -> String {
    let text = error.to_string();
    let text = text.strip_prefix(object).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(&text);
    let advice = [": restore it from another copy", ": restore the object from another copy"];
    let bare = advice.iter().find_map(|advice| text.strip_suffix(advice));
    bare.unwrap_or(text).to_owned()
}

/// Collects damage.
#[derive(Debug, Default)]
pub(crate) struct DamageBook {
    objects: BTreeMap<String, DamagedObject>,
}

impl DamageBook {
    /// Notes a bad object.
    pub(crate) fn note(&mut self, bad: &Bad) {
        self.object(bad);
    }

    fn object(&mut self, bad: &Bad) -> &mut DamagedObject {
        self.objects.entry(bad.object.clone()).or_insert_with(|| DamagedObject {
            object: bad.object.clone(),
            what: bad.what.clone(),
            missing: bad.missing,
            affected: Vec::new(),
            affected_count: 0,
            checkpoints: Vec::new(),
        })
    }

    /// Notes a file that a bad object hits: to be called once for each, since nothing here grows with their number.
    pub(crate) fn hit(&mut self, bad: &Bad, checkpoint: &CheckpointId, path: impl fmt::Display) {
        let object = self.object(bad);
        object.affected_count += 1;
        if object.affected.len() < AFFECTED_NAMED_MAX {
            object.affected.push(AffectedFile { checkpoint: checkpoint.clone(), path: path.to_string() });
        }
    }

    /// Notes a checkpoint of which a bad object leaves nothing.
    pub(crate) fn hit_all(&mut self, bad: &Bad, checkpoint: &CheckpointId) {
        let object = self.object(bad);
        if !object.checkpoints.contains(checkpoint) {
            object.checkpoints.push(checkpoint.clone());
        }
    }

    /// Everything, sorted by object, files sorted by checkpoint and path.
    pub(crate) fn finish(self) -> Damage {
        let mut objects: Vec<DamagedObject> = self.objects.into_values().collect();
        for object in &mut objects {
            object.affected.sort();
            object.checkpoints.sort();
        }
        Damage { objects }
    }
}

/// Collects damage of one checkpoint whose files come in any order: each counts once per object.
#[derive(Debug, Default)]
pub(crate) struct FileBook {
    book: DamageBook,
    hits: HashSet<(String, u32)>,
    /// Each file that is hit, with the first object that hits it.
    files: BTreeMap<u32, String>,
}

impl FileBook {
    /// Notes that a bad object hits file number `file`, as often as it does.
    pub(crate) fn hit(&mut self, bad: &Bad, checkpoint: &CheckpointId, file: u32, path: impl fmt::Display) {
        if self.hits.insert((bad.object.clone(), file)) {
            self.book.hit(bad, checkpoint, path);
            self.files.entry(file).or_insert_with(|| bad.object.clone());
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.hits.is_empty()
    }

    /// Every file that is hit, with what hits it.
    pub(crate) fn files(&self) -> impl Iterator<Item = (u32, String)> {
        self.files.iter().map(|(file, object)| {
            let what = self.book.objects.get(object).map_or("damaged", |object| object.what.as_str());
            (*file, format!("{object}: {what}"))
        })
    }

    pub(crate) fn finish(self) -> Damage {
        self.book.finish()
    }
}

/// Takes back every file that damage hits, with its further names.
pub(crate) fn leave_out(
    into: &dyn Restorer,
    files: &[EntryPath],
    book: &FileBook,
) -> Result<Vec<LeftOut>, CheckpointError> {
    let mut left_out = Vec::new();
    for (file, reason) in book.files() {
        let path = &files[file as usize];
        for name in into.discard(path, &reason)? {
            left_out.push(LeftOut { path: name.to_string(), reason: format!("a further name of `{path}`") });
        }
        left_out.push(LeftOut { path: path.to_string(), reason });
    }
    left_out.sort();
    Ok(left_out)
}
