//! A disk that remembers: a FUSE file system with one file, `disk`, whose writes and flushes are taken down in order.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, FileAttr, FileType, Filesystem, MountOption, ReplyAttr, ReplyData, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyWrite, Request,
};

use super::record::Record;

/// How long a flush takes at least, as on a disk: what is told too early is told well before it.
const FLUSH: Duration = Duration::from_millis(1);
const ROOT: u64 = 1;
const DISK: u64 = 2;
const NOT_FOUND: i32 = 2;
const TOO_FAR: i32 = 28;

/// What the disk holds, and what happened to it since recording began.
#[derive(Debug)]
pub(super) struct State {
    pub(super) bytes: Vec<u8>,
    pub(super) record: Option<Record>,
}

/// The disk, mounted. Goes when this is dropped.
#[derive(Debug)]
pub(super) struct Disk {
    state: Arc<Mutex<State>>,
    _session: BackgroundSession,
}

#[derive(Debug)]
struct Server(Arc<Mutex<State>>);

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk {
    /// A disk of zeros at `dir`/disk.
    pub(super) fn mount(dir: &Path, size: usize) -> std::io::Result<Self> {
        let state = Arc::new(Mutex::new(State { bytes: vec![0; size], record: None }));
        let options = [MountOption::FSName("rpo-torture".to_owned()), MountOption::RW];
        let session = fuser::spawn_mount2(Server(Arc::clone(&state)), dir, &options)?;
        Ok(Self { state, _session: session })
    }

    /// From now on everything is taken down.
    pub(super) fn record(&self) {
        let mut state = locked(&self.state);
        state.record = Some(Record::new(state.bytes.clone()));
    }

    /// A line that the victim said, in its place among the writes.
    pub(super) fn said(&self) -> impl FnMut(&str) + Send + 'static {
        let state = Arc::clone(&self.state);
        move |line| {
            if let Some(record) = &mut locked(&state).record {
                record.said(line);
            }
        }
    }

    /// Ends the recording.
    pub(super) fn recorded(&self) -> Option<Record> {
        locked(&self.state).record.take()
    }
}

impl Server {
    fn attr(&self, ino: u64) -> FileAttr {
        let size = if ino == DISK { locked(&self.0).bytes.len() as u64 } else { 0 };
        let (kind, perm) =
            if ino == DISK { (FileType::RegularFile, 0o600) } else { (FileType::Directory, 0o700) };
        let time = UNIX_EPOCH;
        FileAttr {
            ino,
            size,
            blocks: size / 512,
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

impl Filesystem for Server {
    fn lookup(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEntry) {
        if parent == ROOT && name == "disk" {
            reply.entry(&Duration::from_secs(3600), &self.attr(DISK), 0);
        } else {
            reply.error(NOT_FOUND);
        }
    }

    fn getattr(&mut self, _: &Request<'_>, ino: u64, _: Option<u64>, reply: ReplyAttr) {
        reply.attr(&Duration::from_secs(3600), &self.attr(ino));
    }

    fn setattr(
        &mut self,
        _: &Request<'_>,
        ino: u64,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u64>,
        _: Option<fuser::TimeOrNow>,
        _: Option<fuser::TimeOrNow>,
        _: Option<std::time::SystemTime>,
        _: Option<u64>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<u32>,
        reply: ReplyAttr,
    ) {
        reply.attr(&Duration::from_secs(3600), &self.attr(ino)); // times are not kept, the size is fixed
    }

    fn open(&mut self, _: &Request<'_>, _: u64, _: i32, reply: ReplyOpen) {
        reply.opened(0, 0);
    }

    fn read(
        &mut self,
        _: &Request<'_>,
        _: u64,
        _: u64,
        offset: i64,
        size: u32,
        _: i32,
        _: Option<u64>,
        reply: ReplyData,
    ) {
        let state = locked(&self.0);
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(state.bytes.len());
        let to = from.saturating_add(size as usize).min(state.bytes.len());
        reply.data(&state.bytes[from..to]);
    }

    fn write(
        &mut self,
        _: &Request<'_>,
        _: u64,
        _: u64,
        offset: i64,
        data: &[u8],
        _: u32,
        _: i32,
        _: Option<u64>,
        reply: ReplyWrite,
    ) {
        let mut state = locked(&self.0);
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let Some(place) = state.bytes.get_mut(from..from.saturating_add(data.len())) else {
            return reply.error(TOO_FAR);
        };
        place.copy_from_slice(data);
        if let Some(record) = &mut state.record {
            record.wrote(from, data);
        }
        reply.written(data.len() as u32);
    }

    fn flush(&mut self, _: &Request<'_>, _: u64, _: u64, _: u64, reply: ReplyEmpty) {
        reply.ok(); // of a descriptor that is closed, not of the disk
    }

    fn fsync(&mut self, _: &Request<'_>, _: u64, _: u64, _: bool, reply: ReplyEmpty) {
        std::thread::sleep(FLUSH);
        if let Some(record) = &mut locked(&self.0).record {
            record.flushed();
        }
        reply.ok();
    }
}
