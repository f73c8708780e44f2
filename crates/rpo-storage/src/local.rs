//! Objects as files below one directory. What `create` acknowledged survives a power cut; nothing is ever replaced.

mod upload;
mod walk;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use rpo_core::ErrorKind;
use rpo_core::ports::{Access, Disk, DiskFile};

use self::upload::{Slots, Upload};
use crate::{
    ByteStream, Capabilities, Key, ListRequest, ObjectMeta, Page, Storage, StorageError, StoreIdentity,
};

/// A store in a directory: the object `packs/0f/…` is the file `root/packs/0f/…`. Clones share the handle.
///
/// `create` writes a file under `root/.rpo-tmp`, syncs it, gives it its name by a hard link (which refuses a taken name),
/// and syncs the directory and every directory above it that may be new. Files that a dead process left under
/// `.rpo-tmp` are removed when the store is opened; those of a living one are locked and stay.
///
/// After a failed sync of a directory the object may or may not be durable: the store then refuses to create more and
/// answers questions about that object with kind `Unknown` until it is opened anew.
///
/// Another process may see an object moments before its creator has made it durable.
#[derive(Clone)]
pub struct LocalStorage {
    shared: Arc<Shared>,
}

struct Shared {
    root: PathBuf,
    url: String,
    device: Option<String>,
    disk: Arc<dyn Disk>,
    slots: Slots,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The root was there: if it is not, it is not for us to make.
    existed: bool,
    /// Directories whose own names are durable.
    named: BTreeSet<PathBuf>,
    /// Directories synced since we opened the store: what was in them then is durable, whoever created it.
    settled: BTreeSet<PathBuf>,
    /// Objects whose directory failed to sync.
    suspects: BTreeSet<Key>,
}

impl LocalStorage {
    /// Opens the store in the directory `root`, which is created by the first `create` if it is not there. Sweeps what
    /// dead processes left half uploaded. Blocks for a few system calls.
    ///
    /// # Errors
    /// The root is no directory, or cannot be looked into.
    pub fn open(root: impl AsRef<Path>, disk: Arc<dyn Disk>) -> Result<Self, StorageError> {
        let shown = root.as_ref().display().to_string();
        let bad = |why: String| StorageError::Url { url: format!("file://{shown}"), why };
        let root = std::path::absolute(root.as_ref()).map_err(|e| bad(format!("is no usable path: {e}")))?;
        let url =
            url::Url::from_file_path(&root).map_err(|()| bad("is no usable path".to_owned()))?.to_string();
        let existed = match disk.list(&root) {
            Ok(_) => true,
            Err(e) if e.kind() == io::ErrorKind::NotFound => false,
            Err(e) if ErrorKind::of_io(&e) == ErrorKind::Permission => {
                let kind = ErrorKind::Permission;
                return Err(StorageError::failed(url, "open", "directory", kind, e.to_string()));
            }
            Err(e) => return Err(bad(format!("cannot be opened as a directory: {e}"))),
        };
        let device = device(disk.as_ref(), &root);
        let slots = Slots::new(root.join(upload::FOLDER));
        slots.sweep(disk.as_ref());
        let state = Mutex::new(State { existed, ..State::default() });
        Ok(Self { shared: Arc::new(Shared { root, url, device, disk, slots, state }) })
    }

    /// The directory it stands in.
    pub fn root(&self) -> &Path {
        &self.shared.root
    }

    /// Disk calls block: they run on tokio's blocking threads, and go on to their end even if the caller stops waiting.
    async fn blocking<T: Send + 'static>(
        &self,
        op: &'static str,
        key: &str,
        work: impl FnOnce(&Shared) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let shared = Arc::clone(&self.shared);
        let done = tokio::task::spawn_blocking(move || work(&shared)).await;
        done.unwrap_or_else(|e| {
            let message = format!("the thread doing it ended: {e}");
            Err(StorageError::failed(&*self.shared.url, op, key, ErrorKind::Unknown, message))
        })
    }
}

/// What the directory, or the nearest one above it that exists, stands on.
fn device(disk: &dyn Disk, root: &Path) -> Option<String> {
    root.ancestors().find_map(|dir| disk.device(dir).ok()).flatten()
}

impl fmt::Debug for LocalStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalStorage")
            .field("root", &self.shared.root)
            .field("device", &self.shared.device)
            .finish()
    }
}

#[async_trait]
impl Storage for LocalStorage {
    fn capabilities(&self) -> Capabilities {
        Capabilities::full(i64::MAX as u64)
    }

    fn identity(&self) -> StoreIdentity {
        StoreIdentity { url: self.shared.url.clone(), device: self.shared.device.clone() }
    }

    async fn create(&self, key: &Key, bytes: Bytes) -> Result<(), StorageError> {
        let name = key.clone();
        let work = move |shared: &Shared| {
            let mut upload = shared.begin(&name)?;
            upload.write(&bytes).map_err(|e| shared.before_publishing("create", &name, &e))?;
            shared.publish(upload, &name)
        };
        self.blocking("create", key.as_str(), work).await
    }

    async fn create_streaming(&self, key: &Key, mut parts: ByteStream) -> Result<(), StorageError> {
        let name = key.clone();
        let mut upload = self.blocking("create", key.as_str(), move |shared| shared.begin(&name)).await?;
        // Dropping `upload` on any way out, also when the caller stops waiting, removes its file.
        while let Some(part) = parts.next().await {
            let part = part.map_err(|e| {
                let message = format!("the stream of parts failed: {e}");
                StorageError::failed(&*self.shared.url, "create", key, ErrorKind::Retry, message)
            })?;
            let name = key.clone();
            let work = move |shared: &Shared| {
                upload.write(&part).map_err(|e| shared.before_publishing("create", &name, &e))?;
                Ok(upload)
            };
            upload = self.blocking("create", key.as_str(), work).await?;
        }
        let name = key.clone();
        self.blocking("create", key.as_str(), move |shared| shared.publish(upload, &name)).await
    }

    async fn read(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StorageError> {
        let name = key.clone();
        self.blocking("read", key.as_str(), move |shared| shared.read(&name, range)).await
    }

    async fn stat(&self, key: &Key) -> Result<ObjectMeta, StorageError> {
        let name = key.clone();
        let work = move |shared: &Shared| {
            let (_, len) = shared.find("stat", &name)?;
            Ok(ObjectMeta { key: name, len, created: None })
        };
        self.blocking("stat", key.as_str(), work).await
    }

    async fn list(&self, request: ListRequest) -> Result<Page, StorageError> {
        let prefix = request.prefix.clone();
        self.blocking("list", &prefix, move |shared| shared.list(&request)).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StorageError> {
        let name = key.clone();
        self.blocking("delete", key.as_str(), move |shared| shared.delete(&name)).await
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Sets of facts that were true when they were put in: a panic elsewhere does not make them false.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.as_str())
    }

    fn failed(&self, op: &'static str, key: &Key, kind: ErrorKind, message: String) -> StorageError {
        StorageError::failed(&*self.url, op, key, kind, message)
    }

    fn io(&self, op: &'static str, key: &Key, error: &io::Error) -> StorageError {
        self.failed(op, key, ErrorKind::of_io(error), error.to_string())
    }

    /// An error before the object has its name: it certainly is not there, and the temporary file goes.
    fn before_publishing(&self, op: &'static str, key: &Key, error: &io::Error) -> StorageError {
        let kind = match ErrorKind::of_io(error) {
            // `Exists` and `NotFound` would be about our own temporary file.
            ErrorKind::Unknown | ErrorKind::Exists | ErrorKind::NotFound => ErrorKind::Retry,
            kind => kind,
        };
        self.failed(op, key, kind, error.to_string())
    }

    fn begin(&self, key: &Key) -> Result<Upload, StorageError> {
        if let Some(suspect) = self.state().suspects.first() {
            let message = format!(
                "refused since the directory of {suspect} failed to sync; check the disk, then open the store anew"
            );
            return Err(self.failed("create", key, ErrorKind::Refused, message));
        }
        let begin = || {
            self.make_root()?;
            self.slots.begin(&self.disk)
        };
        match begin() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.is_there("create", key)?;
                self.slots.forget(); // somebody removed our folder of uploads
                begin().map_err(|e| self.before_publishing("create", key, &e))
            }
            other => other.map_err(|e| self.before_publishing("create", key, &e)),
        }
    }

    /// Refuses if the directory of the store was there and is gone: a disk that is not mounted must not be replaced by an
    /// empty directory on the disk below it.
    fn is_there(&self, op: &'static str, key: &Key) -> Result<(), StorageError> {
        match self.disk.list(&self.root) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && self.state().existed => {
                let message = "the directory of the store was there and is gone: mount its disk or put it back; it is not \
                               made anew";
                Err(self.failed(op, key, ErrorKind::Refused, message.to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// Makes the root and what is missing above it, durably.
    fn make_root(&self) -> io::Result<()> {
        if self.state().named.contains(&self.root) {
            return Ok(());
        }
        let missing: Vec<&Path> =
            self.root.ancestors().take_while(|dir| self.disk.list(dir).is_err()).collect();
        if self.state().existed && !missing.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        // The lowest that exists may be the work of a process that died before it synced the name.
        let lowest = missing.last().map_or(self.root.as_path(), |top| top.parent().unwrap_or(top));
        if let Some(parent) = lowest.parent() {
            allow_read_only(self.disk.sync_dir(parent))?;
        }
        for dir in missing.iter().rev() {
            self.make_dir(dir)?;
        }
        let mut state = self.state();
        state.named.insert(self.root.clone());
        state.existed = true;
        Ok(())
    }

    /// Makes the directories between the root and `dir`, durably.
    fn make_dirs(&self, dir: &Path) -> io::Result<()> {
        let below: Vec<&Path> = dir.ancestors().take_while(|d| *d != self.root).collect();
        for dir in below.iter().rev() {
            if !self.state().named.contains(*dir) {
                self.make_dir(dir)?;
                self.state().named.insert(dir.to_path_buf());
            }
        }
        Ok(())
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        match self.disk.create_dir(dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        // Also if it was there: who made it may not have come to this.
        dir.parent().map_or(Ok(()), |parent| self.disk.sync_dir(parent))
    }

    /// Syncs the upload and gives it its name.
    fn publish(&self, upload: Upload, key: &Key) -> Result<(), StorageError> {
        let path = self.path(key);
        let dir = path.parent().unwrap_or(&self.root);
        let prepared = upload.sync().and_then(|()| self.make_dirs(dir));
        prepared.map_err(|e| self.before_publishing("create", key, &e))?;
        let linked = match self.disk.link(upload.path(), &path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                // Somebody removed a directory that we had made: what we remember of directories is not so any more.
                self.is_there("create", key)?;
                {
                    let mut state = self.state();
                    state.named.retain(|dir| *dir == self.root);
                    state.settled.clear();
                }
                self.make_dirs(dir).map_err(|e| self.before_publishing("create", key, &e))?;
                match self.disk.link(upload.path(), &path) {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {
                        self.slots.forget();
                        return Err(self.before_publishing("create", key, &e));
                    }
                    other => other,
                }
            }
            other => other,
        };
        let taken = match linked {
            Ok(()) => false,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => true,
            Err(e) => return Err(self.io("create", key, &e)),
        };
        // Also if the name was taken: the caller may find its own bytes there and believe them durable.
        if let Err(e) = self.disk.sync_dir(dir) {
            self.state().suspects.insert(key.clone());
            let message = format!("syncing its directory: {e}");
            return Err(self.failed("create", key, ErrorKind::Unknown, message));
        }
        match taken {
            false => Ok(()),
            true if self.disk.list(&path).is_ok() => {
                let message =
                    "other objects have keys below it: on a file system it cannot be an object itself";
                Err(self.failed("create", key, ErrorKind::Invalid, message.to_owned()))
            }
            true => Err(StorageError::AlreadyExists { store: self.url.clone(), key: key.clone() }),
        }
    }

    /// The file of an object, and its length.
    fn find(&self, op: &'static str, key: &Key) -> Result<(Arc<dyn DiskFile>, u64), StorageError> {
        if self.state().suspects.contains(key) {
            let message = "its directory failed to sync: whether it is durable is unknown".to_owned();
            return Err(self.failed(op, key, ErrorKind::Unknown, message));
        }
        let path = self.path(key);
        let not_found = || StorageError::NotFound { store: self.url.clone(), key: key.clone() };
        let file = match self.disk.open(&path, Access::Read) {
            Ok(file) => file,
            Err(e) if is_absent(&e) => return Err(not_found()),
            Err(e) => return Err(self.without_effect(op, key, &e)),
        };
        self.settle(path.parent().unwrap_or(&self.root)).map_err(|e| self.without_effect(op, key, &e))?;
        let len = file.len().map_err(|e| self.without_effect(op, key, &e))?;
        Ok((file, len))
    }

    /// What a dead process named but did not sync must not be taken for durable: once per directory, we sync it.
    fn settle(&self, dir: &Path) -> io::Result<()> {
        if !self.state().settled.contains(dir) {
            allow_read_only(self.disk.sync_dir(dir))?;
            self.state().settled.insert(dir.to_path_buf());
        }
        Ok(())
    }

    /// An error of an operation that changes nothing may always be met by doing it again.
    fn without_effect(&self, op: &'static str, key: &Key, error: &io::Error) -> StorageError {
        let kind = match ErrorKind::of_io(error) {
            ErrorKind::Unknown => ErrorKind::Retry,
            kind => kind,
        };
        self.failed(op, key, kind, error.to_string())
    }

    fn read(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StorageError> {
        let (file, len) = self.find("read", key)?;
        if range.start > range.end || range.end > len {
            let (start, end) = (range.start, range.end);
            return Err(StorageError::RangeNotSatisfied {
                store: self.url.clone(),
                key: key.clone(),
                len,
                start,
                end,
            });
        }
        let wanted = usize::try_from(range.end - range.start).map_err(|_| {
            self.failed("read", key, ErrorKind::Invalid, "the range does not fit into memory".to_owned())
        })?;
        let mut bytes = vec![0; wanted];
        let found =
            file.read_at(&mut bytes, range.start).map_err(|e| self.without_effect("read", key, &e))?;
        if found == wanted {
            Ok(bytes.into())
        } else {
            let message =
                format!("the file of {len} bytes ended after {} of them", range.start + found as u64);
            Err(self.failed("read", key, ErrorKind::Corrupt, message))
        }
    }

    fn delete(&self, key: &Key) -> Result<(), StorageError> {
        let path = self.path(key);
        match self.disk.remove(&path) {
            Err(e) if !is_absent(&e) => return Err(self.io("delete", key, &e)),
            _ => {}
        }
        // Also if it was gone already: who removed it may not have come to this.
        match self.disk.sync_dir(path.parent().unwrap_or(&self.root)) {
            Err(e) if !is_absent(&e) => {
                Err(self.failed("delete", key, ErrorKind::Unknown, format!("syncing its directory: {e}")))
            }
            _ => Ok(()),
        }
    }
}

/// No object has this name: nothing has, or a directory, or something above it is a file.
fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{IsADirectory, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory | IsADirectory)
}

/// Where we may not sync we may not write either: nothing of ours is there to be lost.
fn allow_read_only(result: io::Result<()>) -> io::Result<()> {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    match result {
        Err(e) if matches!(e.kind(), PermissionDenied | ReadOnlyFilesystem) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests;
