//! Reading with two processors: recovery and a helper fetch and check whole frames, whoever is free the next ones; recovery
//! takes them in order. Nothing is judged here: what can't be made out ends a segment, and recovery reads on directly.

use std::collections::BTreeMap;
use std::io;
use std::num::NonZero;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use bytes::{Bytes, BytesMut};
use rpo_core::frame::{Frame, FrameHead, HEAD_BYTES};
use rpo_core::{DiskFile, Lsn};

use crate::engine::Drive;
use crate::segment::FRAMES_OFFSET;

const PAGE_BYTES: usize = 4096;
/// The system's own locks: this is no part of the commit path, whose orders of threads are tried out.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A start of a thread is worth it from here on.
const WORTH_BYTES: u64 = 8 << 20;

/// How opening reads the frames.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reading {
    /// Everything on the calling thread: simulated runs stay as they are.
    Direct,
    /// With the help of a second thread, in pieces of this size.
    Ahead(Sizes),
}

impl Reading {
    /// What is best for a log of so many bytes.
    pub(crate) fn best(drive: Drive, bytes: u64) -> Self {
        let alone = || thread::available_parallelism().is_ok_and(|cores| cores == NonZero::<usize>::MIN);
        match drive {
            Drive::Manual => Self::Direct,
            Drive::Thread | Drive::Loop if bytes <= WORTH_BYTES || alone() => Self::Direct,
            Drive::Thread | Drive::Loop => Self::Ahead(Sizes::default()),
        }
    }
}

/// How much is read at a time, and held in memory; bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// Read at a time, if frames are smaller; small enough to stay in the processor's cache. At least two pages.
    pub(crate) piece: usize,
    /// Of a buffer: a frame of the largest usual size goes in.
    pub(crate) buffer: usize,
    /// Of all buffers together: past it nothing more is begun. What was begun may need more, by one large frame for each of
    /// the two threads.
    pub(crate) budget: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { piece: 256 << 10, buffer: (1 << 20) + (16 << 10), budget: 8 << 20 }
    }
}

/// Where the frames of one segment are.
#[derive(Debug)]
pub(crate) struct Stretch {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) capacity: u64,
    /// Where the next segment begins; none for the newest.
    pub(crate) until: Option<Lsn>,
}

/// Whole frames, one after the other, each valid in itself.
#[derive(Debug)]
pub(crate) struct Run {
    segment: usize,
    offset: u64,
    frames: Vec<Frame>,
    buffer: Bytes,
    /// Nothing that can be made out follows in this segment.
    last: bool,
}

impl Run {
    pub(crate) fn frames(&self) -> &[Frame] {
        &self.frames
    }
}

#[derive(Debug)]
enum Fetched {
    Run(Run),
    /// Nothing more is fetched of this segment, perhaps because it can't be read.
    Done(usize, Option<io::Error>),
}

/// Frames that are fetched by two threads. The helper has ended when this is dropped.
#[derive(Debug)]
pub(crate) struct Ahead {
    shared: Arc<Shared>,
    /// Of what must be taken next.
    number: u64,
    helper: Option<JoinHandle<()>>,
}

impl Ahead {
    /// Begins to fetch, segment after segment.
    ///
    /// # Errors
    /// No thread can be started.
    pub(crate) fn start(stretches: Vec<Stretch>, sizes: Sizes) -> io::Result<Self> {
        let baton = Mutex::new(Baton { segment: 0, offset: FRAMES_OFFSET, number: 0 });
        let (shelf, moved) = Default::default();
        let shared = Arc::new(Shared { sizes, stretches, baton, shelf, moved });
        let theirs = Arc::clone(&shared);
        let helper = thread::Builder::new().name("rpo-wal-ahead".to_owned()).spawn(move || help(&theirs))?;
        Ok(Self { shared, number: 0, helper: Some(helper) })
    }

    /// The next frames of this segment, which begin at `offset`; none if they have to be read directly. Segments are asked
    /// for in order, and no more once there was nothing.
    pub(crate) fn next(&mut self, segment: usize, offset: u64) -> Option<Run> {
        loop {
            let fetched = self.fetched()?;
            self.number += 1;
            match fetched {
                Fetched::Run(run) if run.segment == segment && run.offset == offset => return Some(run),
                Fetched::Run(run) => drop(self.passed(run)), // of a segment that was left early
                Fetched::Done(of, None) if of == segment => return None,
                Fetched::Done(of, Some(error)) if of == segment => {
                    tracing::warn!(%error, "a segment could not be read ahead: trying again where it stopped");
                    return None;
                }
                Fetched::Done(..) => {}
            }
        }
    }

    /// What must be taken next. While the helper still fetches it, this thread fetches what comes after it. None if the
    /// helper has failed at it, or all is fetched.
    fn fetched(&self) -> Option<Fetched> {
        let shared = &*self.shared;
        loop {
            let mut shelf = locked(&shared.shelf);
            if let Some(fetched) = shelf.ready.remove(&self.number) {
                return Some(fetched);
            }
            if let Some(buffer) = shelf.buffer(&shared.sizes) {
                drop(shelf);
                if shared.fetch(buffer) {
                    continue;
                }
                shelf = locked(&shared.shelf); // all is begun
            }
            while !shelf.ready.contains_key(&self.number) {
                if shelf.ended {
                    return None;
                }
                shelf = shared.wait(shelf);
            }
        }
    }

    /// Whether something may follow `run` in its segment; its memory is used again.
    pub(crate) fn passed(&self, run: Run) -> bool {
        let Run { frames, buffer, last, .. } = run;
        drop(frames);
        self.shared.give_back(buffer);
        !last
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        locked(&self.shared.shelf).gone = true;
        self.shared.moved.notify_all();
        if let Some(helper) = self.helper.take()
            && helper.join().is_err()
        {
            tracing::error!("the thread that reads ahead has panicked: the rest was read without it");
        }
    }
}

/// Where the next thing to fetch begins.
#[derive(Debug)]
struct Baton {
    segment: usize,
    offset: u64,
    number: u64,
}

impl Baton {
    fn leave_segment(&mut self) {
        self.segment += 1;
        self.offset = FRAMES_OFFSET;
    }
}

/// What was fetched and is not taken yet, and memory for more.
#[derive(Debug, Default)]
struct Shelf {
    ready: BTreeMap<u64, Fetched>,
    free: Vec<BytesMut>,
    /// Bytes of all buffers there are.
    taken: usize,
    waiting: usize,
    /// Nobody wants more.
    gone: bool,
    /// The helper fetches nothing more.
    ended: bool,
}

impl Shelf {
    /// A buffer, if it fits in the budget.
    fn buffer(&mut self, sizes: &Sizes) -> Option<BytesMut> {
        if let Some(buffer) = self.free.pop() {
            return Some(buffer); // the last one given back is the likeliest to be in the processor's cache
        }
        let len = sizes.buffer.max(sizes.piece).next_multiple_of(PAGE_BYTES) + PAGE_BYTES;
        (self.taken == 0 || self.taken + len <= sizes.budget).then(|| {
            self.taken += len;
            BytesMut::zeroed(len)
        })
    }
}

#[derive(Debug)]
struct Shared {
    sizes: Sizes,
    stretches: Vec<Stretch>,
    baton: Mutex<Baton>,
    shelf: Mutex<Shelf>,
    moved: Condvar,
}

/// Where the bytes begin for which whole pages are read to a place that begins a page: see [`crate::scan::Window`] for why.
fn pad(buffer: &[u8]) -> usize {
    buffer.as_ptr().align_offset(PAGE_BYTES).min(PAGE_BYTES)
}

/// A part of a segment that was begun.
struct Begun {
    base: u64,
    /// Of the frames, from the base.
    frames: std::ops::Range<usize>,
    /// Bytes read, from the base.
    held: usize,
    last: bool,
}

/// The helper's work.
fn help(shared: &Shared) {
    /// Says that the helper has ended, also if it panics.
    struct Ends<'a>(&'a Shared);
    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            locked(&self.0.shelf).ended = true;
            self.0.moved.notify_all();
        }
    }
    let _ends = Ends(shared);
    loop {
        let mut shelf = locked(&shared.shelf);
        let buffer = loop {
            if shelf.gone {
                return;
            }
            match shelf.buffer(&shared.sizes) {
                Some(buffer) => break buffer,
                None => shelf = shared.wait(shelf),
            }
        };
        drop(shelf);
        if !shared.fetch(buffer) {
            return;
        }
    }
}

impl Shared {
    fn wait<'a>(&self, mut shelf: MutexGuard<'a, Shelf>) -> MutexGuard<'a, Shelf> {
        shelf.waiting += 1;
        let mut shelf = self.moved.wait(shelf).unwrap_or_else(PoisonError::into_inner);
        shelf.waiting -= 1;
        shelf
    }

    fn change(&self, change: impl FnOnce(&mut Shelf)) {
        let mut shelf = locked(&self.shelf);
        change(&mut shelf);
        let waiting = shelf.waiting > 0;
        drop(shelf);
        if waiting {
            self.moved.notify_all();
        }
    }

    fn give_back(&self, buffer: Bytes) {
        let len = buffer.len();
        match buffer.try_into_mut() {
            Ok(buffer) if len <= self.sizes.buffer.max(self.sizes.piece) + 2 * PAGE_BYTES => {
                self.change(|shelf| shelf.free.push(buffer));
            }
            // Of a very large frame: not kept.
            Ok(_) | Err(_) => self.change(|shelf| shelf.taken -= len),
        }
    }

    /// Fetches the next thing that nobody has begun, and puts it on the shelf; false if there is nothing.
    fn fetch(&self, mut buffer: BytesMut) -> bool {
        let mut baton = locked(&self.baton);
        let Some(stretch) = self.stretches.get(baton.segment) else {
            drop(baton);
            self.change(|shelf| shelf.free.push(buffer));
            return false;
        };
        let (segment, offset, number) = (baton.segment, baton.offset, baton.number);
        baton.number += 1;
        let begun = self.begin(stretch, offset, &mut buffer);
        match &begun {
            Ok(begun) if !begun.last && !begun.frames.is_empty() => baton.offset += begun.frames.len() as u64,
            _ => baton.leave_segment(),
        }
        drop(baton);
        let fetched = match begun {
            Ok(begun) if begun.frames.is_empty() => Fetched::Done(segment, None),
            Ok(begun) => match self.complete(stretch, &begun, &mut buffer) {
                Ok(()) => {
                    let (buffer, last) = (buffer.freeze(), begun.last);
                    let (frames, all) = checked(&buffer, &begun.frames);
                    let run = Run { segment, offset, frames, buffer, last: last || !all };
                    self.change(|shelf| drop(shelf.ready.insert(number, Fetched::Run(run))));
                    return true;
                }
                Err(error) => Fetched::Done(segment, Some(error)),
            },
            Err(error) => Fetched::Done(segment, Some(error)),
        };
        self.give_back(buffer.freeze());
        self.change(|shelf| drop(shelf.ready.insert(number, fetched)));
        true
    }

    /// Reads as much as tells where the frames from `offset` end, about a piece of them and at least one.
    fn begin(&self, stretch: &Stretch, offset: u64, buffer: &mut [u8]) -> io::Result<Begun> {
        let base = offset - offset % PAGE_BYTES as u64;
        let room = usize::try_from(stretch.capacity.saturating_sub(base)).unwrap_or(usize::MAX);
        let (pad, lead) = (pad(buffer), (offset - base) as usize); // both less than a page
        let want = self.sizes.piece.min(room);
        let bytes = &mut buffer[pad..];
        let held = stretch.file.read_at(&mut bytes[..want], base)?;
        let mut whole = lead;
        let (end, last) = loop {
            match stands(
                bytes.get(whole..held).unwrap_or_default(),
                room.saturating_sub(whole),
                stretch.until,
            ) {
                Stands::Whole(len) => whole += len,
                Stands::Nothing => break (whole, true),
                Stands::Part(_) if held < want => break (whole, true), // the file ends here
                Stands::Part(len) => {
                    let fits = (whole + len).next_multiple_of(PAGE_BYTES) <= bytes.len();
                    let worth = fits && held - whole >= PAGE_BYTES; // else it is read again with the next
                    break (if whole == lead || worth { whole + len } else { whole }, false);
                }
            }
        };
        Ok(Begun { base, frames: lead..end, held, last })
    }

    /// Reads what is missing at the end of what was begun.
    fn complete(&self, stretch: &Stretch, begun: &Begun, buffer: &mut BytesMut) -> io::Result<()> {
        if begun.frames.end <= begun.held {
            return Ok(());
        }
        let room = usize::try_from(stretch.capacity - begun.base).unwrap_or(usize::MAX);
        let want = begun.frames.end.next_multiple_of(PAGE_BYTES).min(room);
        let mut from = pad(buffer);
        if buffer.len() - from < want {
            let larger = BytesMut::zeroed(want + PAGE_BYTES);
            locked(&self.shelf).taken += larger.len() - buffer.len();
            let small = std::mem::replace(buffer, larger);
            let held = &small[from..from + begun.held];
            from = pad(buffer);
            buffer[from..from + begun.held].copy_from_slice(held);
        }
        let into = &mut buffer[from + begun.held..from + want];
        let read = stretch.file.read_at(into, begun.base + begun.held as u64)?;
        into[read..].fill(0); // the file has become shorter: what an earlier frame left here is not of it
        Ok(())
    }
}

/// The valid frames from the beginning of `range` on, and whether they are all there is.
fn checked(buffer: &Bytes, range: &std::ops::Range<usize>) -> (Vec<Frame>, bool) {
    let pad = pad(buffer);
    let mut rest = buffer.slice(pad + range.start..pad + range.end);
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let Ok((frame, len)) = Frame::decode(&rest) else { return (frames, false) };
        frames.push(frame);
        rest = rest.split_off(len);
    }
    (frames, true)
}

/// What stands at some place.
#[derive(Debug, PartialEq, Eq)]
enum Stands {
    /// A frame of this length, all of it.
    Whole(usize),
    /// A part of something of this length.
    Part(usize),
    /// Nothing that can be made out.
    Nothing,
}

/// What `bytes` begin with, in a segment that has `room` for so many.
fn stands(bytes: &[u8], room: usize, until: Option<Lsn>) -> Stands {
    if room < HEAD_BYTES {
        return Stands::Nothing;
    }
    let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else { return Stands::Part(HEAD_BYTES) };
    match FrameHead::decode(head) {
        Ok(head) if until.is_some_and(|until| head.base_lsn >= until) => Stands::Nothing,
        Ok(head) if head.frame_len() > room => Stands::Nothing,
        Ok(head) if head.frame_len() > bytes.len() => Stands::Part(head.frame_len()),
        Ok(head) => Stands::Whole(head.frame_len()),
        Err(_) => Stands::Nothing,
    }
}

#[cfg(test)]
mod tests;
