//! One file as the kernel and the disk see it: cached bytes, durable bytes, and what lies between them.

use super::Rng;

/// What a disk writes whole.
pub const SECTOR_BYTES: usize = 512;
/// What the kernel marks dirty.
const PAGE_SECTORS: usize = 8;

/// How a cached sector stands to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// The same on disk.
    Clean,
    /// Will be written by the next sync, or by the kernel at any time.
    Dirty,
    /// A failed sync marked it clean: it is not on disk, and no sync will write it.
    Lost,
}

/// What a power cut did to unsynced sectors.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wreck {
    pub(super) kept: u64,
    pub(super) lost: u64,
    pub(super) torn: u64,
}

#[derive(Debug, Clone, Default)]
pub(super) struct FileImage {
    cached: Vec<u8>,
    durable: Vec<u8>,
    marks: Vec<Mark>,
}

/// The bytes of sector `n` in a file of `len` bytes.
fn span(n: usize, len: usize) -> std::ops::Range<usize> {
    let start = (n * SECTOR_BYTES).min(len);
    start..(start + SECTOR_BYTES).min(len)
}

impl FileImage {
    pub(super) fn len(&self) -> usize {
        self.cached.len()
    }

    pub(super) fn cached(&self) -> &[u8] {
        &self.cached
    }

    pub(super) fn durable(&self) -> &[u8] {
        &self.durable
    }

    pub(super) fn read(&self, buffer: &mut [u8], offset: usize) -> usize {
        let rest = self.cached.get(offset..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        count
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: usize) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        if end > self.cached.len() {
            self.cached.resize(end, 0);
            self.marks.resize(end.div_ceil(SECTOR_BYTES), Mark::Clean);
        }
        self.cached[offset..end].copy_from_slice(bytes);
        let (first, last) = (offset / SECTOR_BYTES, (end - 1) / SECTOR_BYTES);
        self.marks[first..=last].fill(Mark::Dirty);
        // Dirtying a page writes all of it back, also what an earlier failed sync had given up.
        let page_end = ((last / PAGE_SECTORS + 1) * PAGE_SECTORS).min(self.marks.len());
        for mark in &mut self.marks[first / PAGE_SECTORS * PAGE_SECTORS..page_end] {
            if *mark == Mark::Lost {
                *mark = Mark::Dirty;
            }
        }
    }

    /// Puts sector `n` on disk; the durable file grows as far as needed.
    fn persist(&mut self, n: usize) {
        let range = span(n, self.cached.len());
        if self.durable.len() < range.end {
            self.durable.resize(range.end, 0);
        }
        self.durable[range.clone()].copy_from_slice(&self.cached[range]);
        self.marks[n] = Mark::Clean;
    }

    fn dirty(&self) -> Vec<usize> {
        (0..self.marks.len()).filter(|n| self.marks[*n] == Mark::Dirty).collect()
    }

    pub(super) fn sync(&mut self) {
        if self.marks.iter().all(|mark| *mark == Mark::Dirty) {
            self.durable.clone_from(&self.cached);
            self.marks.fill(Mark::Clean);
            return;
        }
        self.dirty().into_iter().for_each(|n| self.persist(n));
        self.durable.resize(self.cached.len(), 0);
    }

    /// Some dirty sectors reach the disk, at least one does not, and none is dirty any more.
    pub(super) fn sync_fails(&mut self, rng: &mut Rng) {
        let dirty = self.dirty();
        let victim = rng.index(dirty.len());
        for (i, n) in dirty.into_iter().enumerate() {
            if i != victim && rng.coin() {
                self.persist(n);
            } else {
                self.marks[n] = Mark::Lost;
            }
        }
    }

    /// No dirty sector reaches the disk, and none is dirty any more.
    pub(super) fn sync_gives_up(&mut self) {
        self.dirty().into_iter().for_each(|n| self.marks[n] = Mark::Lost);
    }

    /// The kernel writes some dirty sectors on its own.
    pub(super) fn write_back(&mut self, rng: &mut Rng) {
        for n in self.dirty() {
            if rng.coin() {
                self.persist(n);
            }
        }
    }

    /// Pages that a failed sync marked clean leave the cache. Returns whether there were any.
    pub(super) fn evict(&mut self) -> bool {
        let mut any = false;
        self.durable.resize(self.cached.len(), 0);
        for n in 0..self.marks.len() {
            if self.marks[n] == Mark::Lost {
                let range = span(n, self.cached.len());
                self.cached[range.clone()].copy_from_slice(&self.durable[range]);
                self.marks[n] = Mark::Clean;
                any = true;
            }
        }
        any
    }

    /// The power is cut: each dirty sector is kept or lost (or torn), and so is the new length.
    pub(super) fn crash(&mut self, rng: &mut Rng, torn_per_mille: u16) -> Wreck {
        let mut wreck = Wreck::default();
        let dirty = self.dirty();
        let old_len = self.durable.len();
        let grown = self.cached.len() - old_len;
        let len = match rng.below(3) {
            0 => old_len,
            1 => self.cached.len(),
            _ => old_len + rng.index(grown + 1),
        };
        self.durable.resize(len, 0);
        let style = rng.below(6);
        let prefix = rng.index(dirty.len() + 1);
        for (i, n) in dirty.into_iter().enumerate() {
            let kept = match style {
                0 => false,
                1 => true,
                2 => i < prefix,
                3 => i >= prefix,
                4 => rng.chance(900),
                _ => rng.coin(),
            };
            let mut range = span(n, len);
            if kept && torn_per_mille > 0 && rng.chance(torn_per_mille) {
                range.end = range.start + rng.index(range.len() + 1);
                wreck.torn += 1;
            } else if kept {
                wreck.kept += 1;
            } else {
                range.end = range.start;
                wreck.lost += 1;
            }
            self.durable[range.clone()].copy_from_slice(&self.cached[range]);
        }
        self.cached.clone_from(&self.durable);
        self.marks = vec![Mark::Clean; len.div_ceil(SECTOR_BYTES)];
        wreck
    }

    /// Rot: flips the bits of `mask` at `offset`, on disk and in the cache. False past the end of the file.
    pub(super) fn rot(&mut self, offset: usize, mask: u8) -> bool {
        if let Some(byte) = self.durable.get_mut(offset) {
            *byte ^= mask;
        }
        match self.cached.get_mut(offset) {
            Some(byte) => {
                *byte ^= mask;
                true
            }
            None => false,
        }
    }
}
