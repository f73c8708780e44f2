//! Reading ahead: while recovery checks and shows frames, a thread fetches the next ones. It judges nothing: what it can't
//! make out ends its walk of a segment, and recovery reads on by itself from there.

use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::{self, JoinHandle};

use rpo_core::frame::{FrameHead, HEAD_BYTES};
use rpo_core::{DiskFile, Lsn};

use crate::engine::Drive;
use crate::segment::FRAMES_OFFSET;

const PAGE_BYTES: usize = 4096;
/// A start of a thread is worth it from here on.
const WORTH_BYTES: u64 = 8 << 20;

/// How opening reads the frames.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reading {
    /// Everything on the calling thread: simulated runs stay as they are.
    Direct,
    /// Ahead, by a thread of its own, in pieces of this size.
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
    /// Handed over at a time, if frames are smaller; small enough to stay in the processor's cache.
    pub(crate) piece: usize,
    /// Of a buffer: a frame of the largest usual size goes in.
    pub(crate) buffer: usize,
    /// Of all buffers together; a single one may be larger, if a frame is.
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

/// Whole frames, one after the other, as they stand in a segment; not checked but for their heads.
#[derive(Debug)]
pub(crate) struct Run {
    segment: usize,
    offset: u64,
    buffer: Buffer,
    frames: std::ops::Range<usize>, // within the buffer
    /// Nothing that can be made out follows in this segment.
    last: bool,
}

impl Run {
    pub(crate) fn frames(&self) -> &[u8] {
        &self.buffer.bytes()[self.frames.clone()]
    }
}

/// Bytes that begin at a page of memory: see [`Window`](crate::scan::Window) for why.
#[derive(Debug)]
struct Buffer {
    bytes: Vec<u8>,
    pad: usize,
}

impl Buffer {
    fn new(len: usize) -> Self {
        let bytes = vec![0; len + PAGE_BYTES];
        let pad = bytes.as_ptr().align_offset(PAGE_BYTES).min(PAGE_BYTES);
        Self { bytes, pad }
    }

    /// Bytes of memory it takes.
    fn taken(&self) -> usize {
        self.bytes.len()
    }

    fn len(&self) -> usize {
        self.bytes.len() - PAGE_BYTES
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[self.pad..]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.pad..]
    }
}

#[derive(Debug)]
enum Fetched {
    Run(Run),
    /// Nothing more is fetched of this segment, perhaps because it can't be read.
    Done(usize, Option<io::Error>),
}

/// What a thread of its own fetches. The thread has ended when this is dropped.
#[derive(Debug)]
pub(crate) struct Ahead {
    ends: Option<(Receiver<Fetched>, Sender<Buffer>)>,
    thread: Option<JoinHandle<()>>,
}

impl Ahead {
    /// Begins to fetch, segment after segment.
    ///
    /// # Errors
    /// No thread can be started.
    pub(crate) fn start(stretches: Vec<Stretch>, sizes: Sizes) -> io::Result<Self> {
        let (fetched, runs) = channel(); // bounded by the buffers
        let (give_back, used) = channel();
        let fetcher = Fetcher { sizes, fetched, used, free: Vec::new(), taken: 0 };
        let thread =
            thread::Builder::new().name("rpo-wal-ahead".to_owned()).spawn(|| fetcher.all(stretches))?;
        Ok(Self { ends: Some((runs, give_back)), thread: Some(thread) })
    }

    /// The next frames of this segment, which begin at `offset`; none if they have to be read directly. Segments are asked
    /// for in order, and no more once there was nothing.
    pub(crate) fn next(&mut self, segment: usize, offset: u64) -> Option<Run> {
        loop {
            // A closed channel: the thread has panicked.
            match self.ends.as_ref()?.0.recv().ok()? {
                Fetched::Run(run) if run.segment == segment && run.offset == offset => return Some(run),
                Fetched::Run(run) => self.give_back(run), // of a segment that was left early
                Fetched::Done(of, None) if of == segment => return None,
                Fetched::Done(of, Some(error)) if of == segment => {
                    tracing::warn!(%error, "a segment could not be read ahead: trying again where it stopped");
                    return None;
                }
                Fetched::Done(..) => {}
            }
        }
    }

    /// Whether something may follow `run` in its segment; its memory is used again.
    pub(crate) fn passed(&self, run: Run) -> bool {
        let more = !run.last;
        self.give_back(run);
        more
    }

    fn give_back(&self, run: Run) {
        if let Some((_, used)) = &self.ends {
            let _ = used.send(run.buffer); // the thread may be done
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.ends = None; // whatever the thread waits for now fails
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that reads ahead has panicked: the rest was read without it");
        }
    }
}

/// Why fetching stops.
enum Stop {
    /// Nobody wants more.
    Gone,
    Read(io::Error),
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

struct Fetcher {
    sizes: Sizes,
    fetched: Sender<Fetched>,
    used: Receiver<Buffer>,
    free: Vec<Buffer>,
    /// Bytes of all buffers there are, here and there.
    taken: usize,
}

impl Fetcher {
    fn all(mut self, stretches: Vec<Stretch>) {
        for (segment, stretch) in stretches.into_iter().enumerate() {
            let error = match self.segment(segment, &stretch) {
                Ok(()) => None,
                Err(Stop::Read(error)) => Some(error),
                Err(Stop::Gone) => return,
            };
            if self.fetched.send(Fetched::Done(segment, error)).is_err() {
                return;
            }
        }
    }

    fn segment(&mut self, segment: usize, stretch: &Stretch) -> Result<(), Stop> {
        let mut offset = FRAMES_OFFSET;
        loop {
            let (buffer, frames, last) = self.read(stretch, offset)?;
            let len = frames.len() as u64;
            if len == 0 {
                self.free.push(buffer);
                return Ok(());
            }
            let run = Run { segment, offset, buffer, frames, last };
            self.fetched.send(Fetched::Run(run)).map_err(|_| Stop::Gone)?;
            offset += len;
            if last {
                return Ok(());
            }
        }
    }

    /// Reads whole frames from `offset` on: at least one if there is one, and about a piece. Also tells whether nothing that
    /// can be made out follows.
    fn read(
        &mut self,
        stretch: &Stretch,
        offset: u64,
    ) -> Result<(Buffer, std::ops::Range<usize>, bool), Stop> {
        let base = offset - offset % PAGE_BYTES as u64; // whole pages, to places that begin pages
        let room = usize::try_from(stretch.capacity.saturating_sub(base)).unwrap_or(usize::MAX);
        let lead = (offset - base) as usize; // less than a page
        let mut buffer = self.buffer(self.sizes.piece)?;
        let (mut held, mut whole) = (0, lead);
        let mut want = self.sizes.piece.min(room);
        loop {
            let read = stretch.file.read_at(&mut buffer.bytes_mut()[held..want], base + held as u64);
            held += read.map_err(Stop::Read)?;
            let needed = loop {
                match stands(&buffer.bytes()[whole..held], room - whole, stretch.until) {
                    Stands::Whole(len) => whole += len,
                    Stands::Part(len) => break whole + len,
                    Stands::Nothing => return Ok((buffer, lead..whole, true)),
                }
            };
            if held < want {
                return Ok((buffer, lead..whole, true)); // the file ends here
            }
            let nothing_yet = whole == lead;
            want = needed.next_multiple_of(PAGE_BYTES).min(room);
            if want > buffer.len() && nothing_yet {
                self.free.push(buffer);
                buffer = self.buffer(want)?;
                held = 0;
            } else if want > buffer.len() || (!nothing_yet && held - whole < PAGE_BYTES) {
                return Ok((buffer, lead..whole, false)); // the rest is read again with the next
            }
        }
    }

    /// A buffer of at least `len` bytes. Waits until it fits in the budget, or is the only one.
    fn buffer(&mut self, len: usize) -> Result<Buffer, Stop> {
        let len = len.max(self.sizes.buffer).next_multiple_of(PAGE_BYTES);
        loop {
            loop {
                match self.used.try_recv() {
                    Ok(buffer) => self.free.push(buffer),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Err(Stop::Gone),
                }
            }
            // The last one given back is the likeliest to be in the processor's cache.
            if let Some(found) = self.free.iter().rposition(|buffer| buffer.len() >= len) {
                return Ok(self.free.remove(found));
            }
            let more = len + PAGE_BYTES;
            while self.taken + more > self.sizes.budget
                && let Some(smaller) = self.free.pop()
            {
                self.taken -= smaller.taken();
            }
            if self.taken == 0 || self.taken + more <= self.sizes.budget {
                self.taken += more;
                return Ok(Buffer::new(len));
            }
            self.free.push(self.used.recv().map_err(|_| Stop::Gone)?);
        }
    }
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
