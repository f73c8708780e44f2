//! Restoring: plan from the manifest alone, then read each pack once and in order, check every chunk, hand it out.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use rpo_core::CheckpointId;
use rpo_core::ports::{EntryKind, EntryPath, Restorer};
use rpo_crypto::ChunkId;
use rpo_crypto::envelope::HEADER_BYTES;
use tokio::runtime::Handle;

use crate::CheckpointError;
use crate::board::Board;
use crate::checkpointer::Checkpointer;
use crate::damage::{Bad, FileBook, LeftOut, leave_out};
use crate::info::CheckpointInfo;
use crate::locate::Located;
use crate::manifest::{ManifestRoot, StoredEntry};
use crate::progress::{Cancel, Phase, Progress, Progressed};
use crate::store::{FrameSpot, Store, unpack_frame};
use crate::stream::{ChainReader, load_chain};
use crate::units::{Need, Units, runs};

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// What a restore did. It is not in place yet: `finish_base` and `publish` are the caller's.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct RestoreSummary {
    /// The checkpoint.
    pub info: CheckpointInfo,
    /// Entries given to the restorer.
    pub entries: u64,
    /// Bytes of content given to it.
    pub bytes: u64,
    /// Packs read.
    pub packs: u64,
    /// Bytes read from packs of data.
    pub read_bytes: u64,
    /// Files that were left out because what is stored of them is damaged; only
    /// [`restore_what_is_whole`](Checkpointer::restore_what_is_whole) leaves any out.
    pub left_out: Vec<LeftOut>,
}

impl Checkpointer {
    /// Gives every entry and all content of a checkpoint to `into`: entries in path order first, then contents in the
    /// order of packs, from several threads. Each file is closed after its last content.
    ///
    /// # Errors
    /// `Damaged` names each missing or damaged object and the files it hits; everything else was restored. Any error
    /// means that what `into` holds is not the checkpoint.
    pub async fn restore(
        &self,
        id: &CheckpointId,
        into: Arc<dyn Restorer>,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<RestoreSummary, CheckpointError> {
        self.restore_as(id, into, false, progress, cancel).await
    }

    /// As [`restore`](Self::restore), but files that are damaged in the store are taken back ([`Restorer::discard`]) and
    /// named, each, in [`RestoreSummary::left_out`]; all others are given.
    ///
    /// # Errors
    /// As [`restore`](Self::restore), without `Damaged`. What lists the files must be whole, and the restorer must be able to
    /// do without one: a `Restore` error of kind `Unsupported` says that it is not.
    pub async fn restore_what_is_whole(
        &self,
        id: &CheckpointId,
        into: Arc<dyn Restorer>,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<RestoreSummary, CheckpointError> {
        self.restore_as(id, into, true, progress, cancel).await
    }

    async fn restore_as(
        &self,
        id: &CheckpointId,
        into: Arc<dyn Restorer>,
        skip_damaged: bool,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<RestoreSummary, CheckpointError> {
        let chain = load_chain(&self.store, id).await?;
        let (found, expected) = (chain[0].info.source_kind.clone(), into.kind().to_owned());
        if found != expected {
            return Err(CheckpointError::WrongKind { id: id.clone(), found, expected });
        }
        let board = Board::new(cancel);
        let planner = Planner {
            store: self.store.clone(),
            handle: Handle::current(),
            board: Arc::clone(&board),
            into,
            chain,
            skip_damaged,
            threads: (self.options.worker_count() * 2).clamp(2, 16),
        };
        board.blocking(progress, move || planner.run()).await
    }
}

struct Planner {
    store: Store,
    handle: Handle,
    board: Arc<Board>,
    into: Arc<dyn Restorer>,
    chain: Vec<ManifestRoot>,
    skip_damaged: bool,
    threads: usize,
}

/// Files that get content, and which.
#[derive(Default)]
struct Wanted {
    files: Vec<EntryPath>,
    ids: Vec<(ChunkId, u32)>,
    /// Beside `ids`, while planning; positions in the sorted ids after.
    needs: Vec<Need>,
    entries: u64,
    zero_bytes: u64,
}

impl Planner {
    fn run(self) -> Result<RestoreSummary, CheckpointError> {
        let mut wanted = self.give_entries()?;
        let mut needed = wanted.ids.clone();
        needed.sort_unstable();
        needed.dedup();
        for (need, id) in wanted.needs.iter_mut().zip(std::mem::take(&mut wanted.ids)) {
            let at = needed.binary_search(&id).expect("every id is among the sorted ones");
            need.chunk = at as u32;
        }
        let located = self.handle.block_on(Located::find(&self.store, needed))?;
        let info = self.chain[0].info.clone();
        let mut pending = vec![0u32; wanted.files.len()];
        wanted.needs.iter().for_each(|need| pending[need.file as usize] += 1);
        let content = Contents {
            store: self.store,
            handle: self.handle,
            board: self.board,
            into: self.into,
            pending: pending.into_iter().map(AtomicU32::new).collect(),
            files: wanted.files,
            units: Units::plan(wanted.needs, &located),
            located,
            next: AtomicUsize::new(0),
            bytes: AtomicU64::new(wanted.zero_bytes),
            chunks: AtomicU64::new(0),
            read_bytes: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            checkpoint: info.id.clone(),
            damage: Mutex::new(FileBook::default()),
        };
        content.note_missing();
        content.run(self.threads)?;
        let book = content.damage.into_inner().unwrap_or_else(PoisonError::into_inner);
        if !book.is_empty() && !self.skip_damaged {
            return Err(CheckpointError::Damaged(book.finish()));
        }
        let left_out = leave_out(&*content.into, &content.files, &book)?;
        Ok(RestoreSummary {
            info,
            entries: wanted.entries - left_out.len() as u64,
            bytes: content.bytes.into_inner(),
            packs: content.units.packs.len() as u64,
            read_bytes: content.read_bytes.into_inner(),
            left_out,
        })
    }

    /// Gives all entries, in path order, and what needs no pack.
    fn give_entries(&self) -> Result<Wanted, CheckpointError> {
        let mut wanted = Wanted::default();
        let mut entries = ChainReader::open(&self.handle, &self.store, &self.chain);
        while let Some(stored) = entries.next()? {
            self.board.check()?;
            self.into.entry(&stored.entry)?;
            wanted.entries += 1;
            if stored.entry.kind == EntryKind::File {
                self.want(&mut wanted, &stored)?;
            }
            if wanted.entries.is_multiple_of(256) {
                self.board.update(Progressed {
                    phase: Phase::Plan,
                    done: wanted.entries,
                    total: None,
                    bytes: 0,
                });
            }
        }
        Ok(wanted)
    }

    fn want(&self, wanted: &mut Wanted, stored: &StoredEntry) -> Result<(), CheckpointError> {
        let path = &stored.entry.path;
        let too_many = || CheckpointError::Invalid("more than 4 billion files in one checkpoint".to_owned());
        let file = u32::try_from(wanted.files.len()).map_err(|_| too_many())?;
        let before = wanted.needs.len();
        for (offset, chunk) in stored.placed_chunks() {
            if chunk.is_zero() {
                // Data that happens to be zero, not a hole: it is written.
                let mut at = 0;
                while at < u64::from(chunk.len) {
                    let len = (u64::from(chunk.len) - at).min(ZEROS.len() as u64);
                    self.into.extent(path, offset + at, &ZEROS[..len as usize])?;
                    at += len;
                }
                wanted.zero_bytes += at;
            } else {
                wanted.ids.push((chunk.id, chunk.len));
                wanted.needs.push(Need { chunk: 0, file, offset });
            }
        }
        if wanted.needs.len() == before {
            self.into.close(path)?;
        } else {
            wanted.files.push(path.clone());
        }
        Ok(())
    }
}

/// Giving out contents, by several threads.
struct Contents {
    store: Store,
    handle: Handle,
    board: Arc<Board>,
    into: Arc<dyn Restorer>,
    files: Vec<EntryPath>,
    /// Contents still to come, per file.
    pending: Vec<AtomicU32>,
    units: Units,
    located: Located,
    next: AtomicUsize,
    bytes: AtomicU64,
    chunks: AtomicU64,
    read_bytes: AtomicU64,
    stop: AtomicBool,
    checkpoint: CheckpointId,
    damage: Mutex<FileBook>,
}

impl Contents {
    fn run(&self, threads: usize) -> Result<(), CheckpointError> {
        let mut result = Ok(());
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..threads.min(self.units.packs.len())).map(|_| scope.spawn(|| self.work())).collect();
            for thread in threads {
                let done =
                    thread.join().unwrap_or_else(|_| Err(CheckpointError::Worker("it panicked".to_owned())));
                if result.is_ok() {
                    result = done;
                }
            }
        });
        result
    }

    fn work(&self) -> Result<(), CheckpointError> {
        while let Some((pack, range)) = self.units.packs.get(self.next.fetch_add(1, Relaxed)) {
            if let Err(error) = self.pack(*pack, &self.units.needs[range.clone()]) {
                self.stop.store(true, Relaxed);
                return Err(error);
            }
            if self.stop.load(Relaxed) {
                break; // another thread tells why
            }
        }
        Ok(())
    }

    /// Reads one pack, straight, and gives out what is needed of it.
    fn pack(&self, pack: u32, needs: &[Need]) -> Result<(), CheckpointError> {
        let located = &self.located.packs[pack as usize];
        let key = located.id.key();
        let frame_of = |need: &Need| self.located.places[need.chunk as usize].map_or(0, |place| place.frame);
        let frames: Vec<(FrameSpot, &[Need])> = needs
            .chunk_by(|a, b| frame_of(a) == frame_of(b))
            .map(|needs| (located.frames[frame_of(&needs[0]) as usize], needs))
            .collect();
        let opener = self.handle.block_on(self.store.pack_header(located.id));
        let opener = match opener.and_then(|header| self.store.opener(located.id, &header)) {
            Ok(opener) => opener,
            Err(error) => return self.damaged(key.as_str(), error, needs),
        };
        self.read_bytes.fetch_add(HEADER_BYTES as u64, Relaxed);
        for run in runs(&frames) {
            self.board.check()?;
            let range = run[0].0.offset..run[run.len() - 1].0.range().end;
            let bytes = match self.handle.block_on(self.store.read(&key, range.clone())) {
                Ok(bytes) => bytes,
                Err(error) => {
                    let needs: Vec<Need> = run.iter().flat_map(|(_, needs)| needs.iter().copied()).collect();
                    self.damaged(key.as_str(), error, &needs)?;
                    continue;
                }
            };
            self.read_bytes.fetch_add(bytes.len() as u64, Relaxed);
            for (spot, needs) in run {
                let at = (spot.offset - range.start) as usize..(spot.range().end - range.start) as usize;
                match unpack_frame(&opener, located.id, *spot, &bytes[at]) {
                    Ok(frame) => self.frame(key.as_str(), &frame, needs)?,
                    Err(error) => self.damaged(key.as_str(), error, needs)?,
                }
                if self.stop.load(Relaxed) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Checks each needed chunk of a frame and gives it out.
    fn frame(&self, object: &str, frame: &[u8], needs: &[Need]) -> Result<(), CheckpointError> {
        for same in needs.chunk_by(|a, b| a.chunk == b.chunk) {
            let chunk = same[0].chunk as usize;
            let (id, len) = self.located.needed[chunk];
            let offset = self.located.places[chunk].map_or(0, |place| place.offset) as usize;
            let bytes = frame.get(offset..offset + len as usize);
            let Some(bytes) = bytes.filter(|bytes| self.store.chunk_id(bytes) == id) else {
                let error =
                    CheckpointError::object(object, format!("chunk {id} in it is not what was stored"));
                self.damaged(object, error, same)?;
                continue;
            };
            for need in same {
                let path = &self.files[need.file as usize];
                self.into.extent(path, need.offset, bytes)?;
                self.bytes.fetch_add(u64::from(len), Relaxed);
                if self.pending[need.file as usize].fetch_sub(1, std::sync::atomic::Ordering::AcqRel) == 1 {
                    self.into.close(path)?;
                }
            }
            self.chunks.fetch_add(same.len() as u64, Relaxed);
        }
        let total = Some(self.units.needs.len() as u64);
        let (done, bytes) = (self.chunks.load(Relaxed), self.bytes.load(Relaxed));
        self.board.update(Progressed { phase: Phase::Restore, done, total, bytes });
        Ok(())
    }

    /// Notes that an object cannot give what is needed of it, and goes on; an error that is no damage ends everything.
    fn damaged(&self, object: &str, error: CheckpointError, needs: &[Need]) -> Result<(), CheckpointError> {
        if !error.is_damage() {
            return Err(error);
        }
        #[cfg(feature = "planted-bugs")]
        if crate::planted::is_on(crate::planted::Bug::SubstitutesZeros) {
            return Ok(());
        }
        let bad = Bad::of(object, &error);
        let mut damage = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
        for need in needs {
            damage.hit(&bad, &self.checkpoint, need.file, &self.files[need.file as usize]);
        }
        Ok(())
    }

    /// Notes chunks that no index and no pack names.
    fn note_missing(&self) {
        let mut damage = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
        for need in &self.units.lost {
            let (id, _) = self.located.needed[need.chunk as usize];
            let bad = match self.located.unusable.first() {
                Some((object, error)) => Bad::of(object.as_str(), error),
                None => Bad::new(format!("chunk {id}"), "no pack has it", true),
            };
            damage.hit(&bad, &self.checkpoint, need.file, &self.files[need.file as usize]);
        }
    }
}
