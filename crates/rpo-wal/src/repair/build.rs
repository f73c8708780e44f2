//! Building a new segment beside the damaged one: frames byte for byte, each checked, synced before it gets a name.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rpo_core::frame::Frame;
use rpo_core::{Disk, DiskFile, Epoch, LogId, Timestamp};
use serde::Serialize;

use super::chain::Chain;
use crate::error::WalError;
use crate::scan::{self, Next, Window};
use crate::segment::{BLOCK_BYTES, Bound, FRAMES_OFFSET, Prepared};

/// Frames are written in pieces of about this size.
const BUFFER_BYTES: usize = 1 << 20;

/// A segment to be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SegmentSpec {
    /// What its first frame follows on.
    pub base: Chain,
    /// Epoch of its frames.
    pub epoch: Epoch,
    /// Its salt; frames carry the low half.
    pub salt: u64,
    /// Its place among the segments of the log.
    pub ordinal: u64,
    /// Bytes of its frames with heads and padding.
    pub frame_bytes: u64,
}

impl SegmentSpec {
    /// The name it gets once it is whole.
    pub fn file_name(&self) -> String {
        format!("{:016x}-{:08x}.rwal", self.base.lsn.get(), self.epoch.get())
    }

    /// The name it has until then: no program takes it for a part of the log.
    pub fn making_name(&self) -> String {
        format!("repair-{:016x}-{:08x}.new", self.base.lsn.get(), self.epoch.get())
    }
}

/// Whether `name` is one of a segment that was not finished.
pub(super) fn is_making_name(name: &str) -> bool {
    name.starts_with("repair-") && name.ends_with(".new")
}

/// A segment being built, under a name that nothing reads.
#[derive(Debug)]
pub struct SegmentBuilder {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    prepared: Prepared,
    spec: SegmentSpec,
    first_chain: Option<u32>,
    at: Chain,
    buffer: Vec<u8>,
    written: u64,
}

impl SegmentBuilder {
    /// Begins a segment of `log` in `dir`, in place of what an earlier attempt left of it.
    ///
    /// # Errors
    /// `Io`; nothing of the log is touched.
    pub fn create(
        disk: &dyn Disk,
        dir: &Path,
        log: LogId,
        spec: SegmentSpec,
        now: Timestamp,
    ) -> Result<Self, WalError> {
        let path = dir.join(spec.making_name());
        match disk.remove(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(WalError::io("remove", path, e)),
            _ => {}
        }
        let file = disk.create_new(&path).map_err(|e| WalError::io("create", &*path, e))?;
        let capacity = FRAMES_OFFSET + spec.frame_bytes;
        let prepared = Prepared { log, salt: spec.salt, capacity, created: now };
        Ok(Self {
            path,
            file,
            prepared,
            first_chain: None,
            at: spec.base,
            spec,
            buffer: Vec::new(),
            written: 0,
        })
    }

    /// Adds the next frame.
    ///
    /// # Errors
    /// `Corrupt` if it does not follow on the one before, or belongs to another segment; `Io`.
    pub fn push(&mut self, frame: &Frame) -> Result<(), WalError> {
        let head = frame.head();
        let bad = |what: &str| WalError::Corrupt {
            file: self.path.clone(),
            lsn: self.at.lsn,
            offset: FRAMES_OFFSET + self.written,
            what: format!("the frame for it does not fit: {what}"),
        };
        let at = self.at.after(head).map_err(bad)?;
        if head.salt != self.spec.salt as u32 || head.epoch != self.spec.epoch {
            return Err(bad("it is of another segment"));
        }
        self.first_chain.get_or_insert(head.prev_chain);
        self.at = at;
        self.buffer.extend_from_slice(frame.bytes());
        if self.buffer.len() >= BUFFER_BYTES { self.write_out() } else { Ok(()) }
    }

    fn write_out(&mut self) -> Result<(), WalError> {
        self.file
            .write_at(&self.buffer, FRAMES_OFFSET + self.written)
            .map_err(|e| WalError::io("write", &*self.path, e))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes the header, syncs, and reads everything back. Durable on `Ok`, but for its name; returns where it ends.
    ///
    /// # Errors
    /// `Corrupt` if it is not what was announced or does not read back as it was written; `Io`.
    pub fn finish(mut self) -> Result<Chain, WalError> {
        self.write_out()?;
        let bad = |what: String| WalError::Corrupt {
            file: self.path.clone(),
            lsn: self.at.lsn,
            offset: FRAMES_OFFSET + self.written,
            what,
        };
        if self.written != self.spec.frame_bytes {
            return Err(bad(format!(
                "{} bytes of frames came, {} were announced",
                self.written, self.spec.frame_bytes
            )));
        }
        let chain = self.spec.base.chain.or(self.first_chain);
        let begins = self.spec.base.lsn.get() == 0 && chain.unwrap_or(0) == 0;
        let bound = Bound {
            salt: self.spec.salt,
            ordinal: self.spec.ordinal,
            base_lsn: self.spec.base.lsn,
            base_seq: self.spec.base.sequence,
            epoch: self.spec.epoch,
            prev_chain: chain.filter(|_| !begins),
        };
        let mut header = self.prepared.encode().to_vec();
        header.extend_from_slice(&bound.encode());
        debug_assert_eq!(header.len(), 2 * BLOCK_BYTES);
        self.file.write_at(&header, 0).map_err(|e| WalError::io("write", &*self.path, e))?;
        self.file.sync().map_err(|e| WalError::io("sync", &*self.path, e))?;
        let mut at = scan::first(&bound, self.spec.base.time);
        let mut window = Window::new(Arc::clone(&self.file));
        while at.lsn < self.at.lsn {
            match scan::next(&mut window, &at, self.prepared.capacity)
                .map_err(|e| WalError::io("read back", &*self.path, e))?
            {
                Next::Frame(frame) => at = at.after(frame.head()),
                other => return Err(bad(format!("it does not read back as it was written: {other:?}"))),
            }
        }
        Ok(self.at)
    }
}
