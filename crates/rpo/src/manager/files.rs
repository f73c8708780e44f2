//! What a manager must not forget: in its state directory, each file replaced whole.

use std::io;
use std::path::{Path, PathBuf};

use rpo_core::ports::{Access, DiskLock};
use rpo_core::{Disk, RepositoryId, SourceId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ManagerParts;
use crate::Error;
use crate::report::StatusReport;

/// Largest state file read.
const STATE_BYTES_MAX: u64 = 64 << 20;

/// Where the latest report is.
pub(crate) fn status_path(state_dir: &Path) -> PathBuf {
    state_dir.join("status.json")
}

/// Where the memory of a system is.
pub(crate) fn memory_path(state_dir: &Path, system: &SourceId) -> PathBuf {
    state_dir.join(format!("{system}.memory.json"))
}

fn failed(path: &Path, op: &'static str) -> impl FnOnce(io::Error) -> Error {
    let path = path.display().to_string();
    move |source| Error::State { path, op, source }
}

/// Makes the state directory.
pub(crate) fn prepare(parts: &ManagerParts) -> Result<(), Error> {
    let mut missing: Vec<&Path> = Vec::new();
    for dir in parts.state_dir.ancestors().filter(|dir| !dir.as_os_str().is_empty()) {
        match parts.disk.list(dir) {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(dir),
            Err(error) => return Err(failed(dir, "open")(error)),
        }
    }
    for dir in missing.into_iter().rev() {
        match parts.disk.create_dir(dir) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(dir, "create")(error)),
        }
    }
    Ok(())
}

/// What a running manager holds.
pub(crate) fn lock_path(state_dir: &Path) -> PathBuf {
    state_dir.join("manager.lock")
}

/// Makes sure that no other manager uses the state directory.
pub(crate) fn lock(parts: &ManagerParts) -> Result<Box<dyn DiskLock>, Error> {
    let path = lock_path(&parts.state_dir);
    parts.disk.lock(&path).map_err(failed(&path, "lock (is another rpo running with this state directory? give each configuration a state-dir of its own)"))
}

/// Which repository a state directory belongs to.
#[derive(Debug, Serialize, serde::Deserialize)]
struct Owner {
    repository: RepositoryId,
}

/// Makes sure that what the state directory remembers is of this repository: the memory of another would make a loss
/// window out of scans that never were. The first to use it owns it.
pub(crate) fn bind(parts: &ManagerParts, repository: RepositoryId) -> Result<(), Error> {
    let path = parts.state_dir.join("repository.json");
    match read::<Owner>(parts.disk.as_ref(), &path)? {
        Some(owner) if owner.repository == repository => Ok(()),
        Some(owner) => Err(Error::StateOfAnother {
            path: parts.state_dir.display().to_string(),
            found: owner.repository,
            expected: repository,
        }),
        None => replace(parts.disk.as_ref(), &path, &Owner { repository }),
    }
}

/// Replaces `path` by the JSON of `value`, whole and durable.
pub(crate) fn replace<T: Serialize>(disk: &dyn Disk, path: &Path, value: &T) -> Result<(), Error> {
    let bytes = serde_json::to_vec_pretty(value).map_err(|e| failed(path, "encode")(e.into()))?;
    let beside = path.with_extension("tmp");
    match disk.remove(&beside) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(&beside, "remove")(error)),
    }
    let write = || {
        let file = disk.create_new(&beside)?;
        file.write_at(&bytes, 0)?;
        file.sync()?;
        disk.rename(&beside, path)?;
        path.parent().map_or(Ok(()), |dir| disk.sync_dir(dir))
    };
    write().map_err(failed(path, "write"))
}

/// Reads what [`replace`] wrote; none if it is not there. A damaged file is an error of this run, not of the next: it is
/// named and not believed.
pub(crate) fn read<T: DeserializeOwned>(disk: &dyn Disk, path: &Path) -> Result<Option<T>, Error> {
    let file = match disk.open(path, Access::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path, "open")(error)),
    };
    let read = || {
        let len = file.len()?.min(STATE_BYTES_MAX);
        let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
        let filled = file.read_at(&mut bytes, 0)?;
        bytes.truncate(filled);
        Ok(bytes)
    };
    let bytes: Vec<u8> = read().map_err(failed(path, "read"))?;
    match serde_json::from_slice(&bytes) {
        Ok(value) => Ok(Some(value)),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "this state file is damaged and is not believed");
            Ok(None)
        }
    }
}

/// The latest report kept in `state_dir`; none if there is none.
///
/// # Errors
/// It cannot be read.
pub(crate) fn last_report(disk: &dyn Disk, state_dir: &Path) -> Result<Option<StatusReport>, Error> {
    read(disk, &status_path(state_dir))
}
