//! A worker: opens, reads, cuts, hashes, looks up, groups, compresses.

use std::sync::Arc;

use rpo_core::ErrorKind;
use rpo_core::ports::{Content, ContentReader, Entry, Extent, SourceError, Stability};
use rpo_crypto::ChunkId;

use super::packer::{PackedFrame, RawFrame, row};
use super::queue::Work;
use super::{Reads, Shared};
use crate::CheckpointError;
use crate::chunk::{ChunkRef, ZERO_CHUNK, all_zero};
use crate::compress::{Compressor, decompress};
use crate::cutter::CHUNK_BYTES_MAX;
use crate::manifest::{ManifestItem, StoredEntry};

/// Chunks up to this size share frames.
pub(super) const GROUPED_BYTES_MAX: usize = 64 << 10;
/// A group is closed at this size.
const GROUP_BYTES: usize = 1 << 20;
/// What is read of a file at once.
const READ_BYTES: usize = 1 << 20;
/// Every so many frames one is decompressed and compared.
const COMPARE_EVERY: u64 = 16;

pub(super) struct Worker<'a> {
    shared: &'a Shared,
    reader: Arc<dyn ContentReader>,
    compressor: Compressor,
    buffer: Vec<u8>,
    group: RawFrame,
    frames: u64,
}

/// What became of an entry.
#[allow(clippy::large_enum_variant)] // nearly all are stored
enum Read {
    Stored(StoredEntry),
    Vanished,
    Lost(String),
}

/// What went wrong while reading: with this entry, or with the whole run.
enum Trouble {
    Entry(SourceError),
    Run(CheckpointError),
}

impl From<CheckpointError> for Trouble {
    fn from(error: CheckpointError) -> Self {
        Self::Run(error)
    }
}

impl From<SourceError> for Trouble {
    fn from(error: SourceError) -> Self {
        Self::Entry(error)
    }
}

impl<'a> Worker<'a> {
    pub(super) fn new(shared: &'a Shared, reader: Arc<dyn ContentReader>) -> Result<Self, CheckpointError> {
        Ok(Self {
            shared,
            reader,
            compressor: Compressor::new(shared.options.compression)?,
            buffer: vec![0; CHUNK_BYTES_MAX + READ_BYTES],
            group: RawFrame { bytes: Vec::new(), chunks: Vec::new() },
            frames: 0,
        })
    }

    /// Works until there is no more work.
    pub(super) fn run(mut self) -> Result<(), CheckpointError> {
        while let Some(work) = self.shared.queue.next() {
            self.shared.check()?;
            match work {
                Work::Frame(frame) => self.pack(frame)?,
                Work::Read(batch) => self.read_batch(batch)?,
            }
        }
        self.close_group()
    }

    fn read_batch(&mut self, batch: Reads) -> Result<(), CheckpointError> {
        let mut filled = Vec::with_capacity(batch.len());
        for read in batch {
            self.shared.check()?;
            let had = read.in_parent;
            let path = read.entry.path.clone();
            let item = match self.read(&read.entry)? {
                Read::Stored(stored) => {
                    self.shared.tally.stored(&stored);
                    Some(ManifestItem::Entry(stored))
                }
                Read::Vanished => {
                    self.shared.tally.vanished();
                    had.then_some(ManifestItem::Removed(path))
                }
                Read::Lost(reason) => {
                    self.shared.tally.lost(&path, reason);
                    had.then_some(ManifestItem::Removed(path))
                }
            };
            filled.push((read.slot, item));
        }
        self.shared.fill(filled)
    }

    /// Reads an entry, twice if it changes meanwhile; then it is stored with a mark.
    fn read(&mut self, entry: &Entry) -> Result<Read, CheckpointError> {
        let mut last_try = false;
        loop {
            match self.try_read(entry) {
                Ok((stored, Stability::Stable)) => return Ok(Read::Stored(stored)),
                Ok((mut stored, Stability::Changed)) if last_try => {
                    stored.entry.changed_while_read = true;
                    if let Some(fingerprint) = &mut stored.entry.fingerprint {
                        fingerprint.trusted = false; // so that the next run reads it again
                    }
                    self.shared.tally.changed_while_read();
                    return Ok(Read::Stored(stored));
                }
                Ok((_, Stability::Changed)) => last_try = true,
                Err(Trouble::Entry(error)) if error.kind() == ErrorKind::NotFound => {
                    return Ok(Read::Vanished);
                }
                Err(Trouble::Entry(error)) => return Ok(Read::Lost(error.to_string())),
                Err(Trouble::Run(error)) => return Err(error),
            }
        }
    }

    fn try_read(&mut self, entry: &Entry) -> Result<(StoredEntry, Stability), Trouble> {
        let mut content = self.reader.open(entry)?;
        let mut found = content.entry().clone();
        found.path = entry.path.clone();
        let mut chunks = Vec::new();
        let mut whole = true;
        let mut kept = 0;
        for extent in found.extents.clone() {
            let read = self.read_extent(&mut *content, extent, &mut chunks)?;
            self.shared.tally.read(read);
            kept += 1;
            if read < extent.len {
                // It became shorter: what is there ends here.
                whole = false;
                found.len = extent.offset + read;
                if let Some(last) = found.extents.get_mut(kept - 1) {
                    last.len = read;
                }
                found.extents.truncate(if read == 0 { kept - 1 } else { kept });
                break;
            }
        }
        let stability = content.finish()?;
        let stability = if whole { stability } else { Stability::Changed };
        #[cfg(feature = "planted-bugs")]
        let stability = match crate::planted::is_on(crate::planted::Bug::HidesChanges) {
            true => Stability::Stable,
            false => stability,
        };
        Ok((StoredEntry { entry: found, chunks }, stability))
    }

    /// Reads, cuts and stores one extent; returns the bytes there were.
    fn read_extent(
        &mut self,
        content: &mut dyn Content,
        extent: Extent,
        chunks: &mut Vec<ChunkRef>,
    ) -> Result<u64, Trouble> {
        let mut have = 0; // bytes in the buffer, not yet cut
        let mut read = 0; // bytes of the extent read so far
        let mut end = extent.len;
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = loop {
            while have < CHUNK_BYTES_MAX && read < end {
                let want = (buffer.len() - have).min(usize::try_from(end - read).unwrap_or(usize::MAX));
                match content.read_at(extent.offset + read, &mut buffer[have..have + want]) {
                    Ok(0) => end = read,
                    Ok(n) => {
                        have += n;
                        read += n as u64;
                    }
                    Err(error) => {
                        self.buffer = buffer;
                        return Err(error.into());
                    }
                }
            }
            match self.cut_buffer(&buffer[..have], extent.offset + read - have as u64, read >= end, chunks) {
                Ok(used) => {
                    buffer.copy_within(used..have, 0);
                    have -= used;
                }
                Err(error) => break Err(error.into()),
            }
            if read >= end && have == 0 {
                break Ok(read);
            }
        };
        self.buffer = buffer;
        result
    }

    /// Cuts as far as cuts are certain; returns the bytes used.
    fn cut_buffer(
        &mut self,
        bytes: &[u8],
        offset: u64,
        at_end: bool,
        chunks: &mut Vec<ChunkRef>,
    ) -> Result<usize, CheckpointError> {
        let mut used = 0;
        while used < bytes.len() && (at_end || bytes.len() - used >= CHUNK_BYTES_MAX) {
            let rest = &bytes[used..];
            let len = self.shared.cutter.next_cut(offset + used as u64, rest);
            chunks.push(self.store_chunk(&rest[..len])?);
            used += len;
        }
        self.shared.check()?;
        Ok(used)
    }

    fn store_chunk(&mut self, bytes: &[u8]) -> Result<ChunkRef, CheckpointError> {
        let len = bytes.len() as u32;
        if all_zero(bytes) {
            return Ok(ChunkRef { id: ZERO_CHUNK, len });
        }
        let id = self.shared.store.chunk_id(bytes);
        if self.shared.known.claim(id)? {
            self.shared.tally.added(bytes.len());
            if bytes.len() <= GROUPED_BYTES_MAX {
                self.group_chunk(id, bytes)?;
            } else {
                self.hand_over(RawFrame { bytes: bytes.to_vec(), chunks: vec![row(id, bytes.len())] })?;
            }
        }
        Ok(ChunkRef { id, len })
    }

    fn group_chunk(&mut self, id: ChunkId, bytes: &[u8]) -> Result<(), CheckpointError> {
        if self.group.bytes.capacity() == 0 {
            self.group.bytes.reserve_exact(GROUP_BYTES + GROUPED_BYTES_MAX);
        }
        self.group.bytes.extend_from_slice(bytes);
        self.group.chunks.push(row(id, bytes.len()));
        if self.group.bytes.len() >= GROUP_BYTES { self.close_group() } else { Ok(()) }
    }

    fn close_group(&mut self) -> Result<(), CheckpointError> {
        let group = std::mem::replace(&mut self.group, RawFrame { bytes: Vec::new(), chunks: Vec::new() });
        if group.chunks.is_empty() { Ok(()) } else { self.hand_over(group) }
    }

    /// Gives a frame to an idle worker, or does it here.
    fn hand_over(&mut self, frame: RawFrame) -> Result<(), CheckpointError> {
        match self.shared.queue.offer_frame(frame) {
            None => Ok(()),
            Some(frame) => self.pack(frame),
        }
    }

    fn pack(&mut self, frame: RawFrame) -> Result<(), CheckpointError> {
        self.frames += 1;
        let compare = self.shared.options.verify_on_write || self.frames % COMPARE_EVERY == 1;
        let packed = pack_frame(&mut self.compressor, frame, compare)?;
        self.shared.packer.add(packed)
    }
}

/// Compresses a frame; decompresses it again and compares if asked to.
pub(super) fn pack_frame(
    compressor: &mut Compressor,
    frame: RawFrame,
    compare: bool,
) -> Result<PackedFrame, CheckpointError> {
    let raw_len = frame.bytes.len() as u32;
    let hash = compare.then(|| rpo_crypto::sha256(&frame.bytes));
    let (codec, stored) = compressor.compress(frame.bytes)?;
    if let Some(hash) = hash {
        let again = decompress(codec, &stored, raw_len as usize);
        if !again.is_ok_and(|again| rpo_crypto::sha256(&again) == hash) {
            let source = std::io::Error::other("what was compressed does not decompress to what it was");
            return Err(CheckpointError::Compressor { source });
        }
    }
    Ok(PackedFrame { codec, raw_len, stored, chunks: frame.chunks })
}
