//! What happened to a disk, in order, and the disks that a power cut may leave of it.

use crate::judge::Journal;

/// The least that a disk writes whole.
const SECTOR: usize = 512;
/// Where ext4's first block ends. Its superblock there is two sectors with one checksum, which ext4 relies on being written
/// whole: torn, nothing can be mounted, which says nothing of a log.
const FIRST_BLOCK: usize = 4096;

#[derive(Debug, Clone)]
enum Event {
    Wrote {
        at: usize,
        bytes: Vec<u8>,
    },
    /// Everything before is on the disk for good.
    Flushed,
    Said(String),
}

/// A recording.
#[derive(Debug, Clone)]
pub(super) struct Record {
    base: Vec<u8>,
    events: Vec<Event>,
}

/// Which of the unflushed writes a cut leaves; a run of random numbers decides.
#[derive(Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// Below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

impl Record {
    pub(super) fn new(base: Vec<u8>) -> Self {
        Self { base, events: Vec::new() }
    }

    pub(super) fn wrote(&mut self, at: usize, bytes: &[u8]) {
        self.events.push(Event::Wrote { at, bytes: bytes.to_vec() });
    }

    pub(super) fn flushed(&mut self) {
        self.events.push(Event::Flushed);
    }

    pub(super) fn said(&mut self, line: &str) {
        self.events.push(Event::Said(line.to_owned()));
    }

    /// How many writes and flushes there are.
    pub(super) fn counts(&self) -> [u64; 2] {
        let count = |flushed| {
            let of = |e: &&Event| matches!(e, Event::Flushed) == flushed && !matches!(e, Event::Said(_));
            self.events.iter().filter(of).count() as u64
        };
        [count(false), count(true)]
    }

    /// A moment to cut at: right after something was promised, right before a flush, or anywhere.
    pub(super) fn moment(&self, chance: &mut Chance) -> usize {
        let any = chance.below(self.events.len() as u64 + 1) as usize;
        let promised = |event: &Event| matches!(event, Event::Said(line) if line.starts_with("ACK "));
        let flushed = |event: &Event| matches!(event, Event::Flushed);
        match chance.below(5) {
            0 => any,
            1 | 2 => self.events[..any].iter().rposition(promised).map_or(any, |at| at + 1),
            _ => self.events[..any].iter().rposition(flushed).unwrap_or(any),
        }
    }

    /// The disk after a cut before the event `cut`: what was flushed is there, of the rest each write is there or not, or
    /// some of its sectors are; and whether anything was missing.
    pub(super) fn image(&self, cut: usize, chance: &mut Chance) -> (Vec<u8>, bool) {
        let flushed = self.events[..cut].iter().rposition(|e| matches!(e, Event::Flushed)).unwrap_or(0);
        let (mut disk, mut missing) = (self.base.clone(), false);
        // Of five cuts one leaves all, one nothing, the others a quarter, a half, three quarters of the writes.
        let share = chance.below(5);
        let torn = chance.below(3) == 0;
        for (index, event) in self.events[..cut].iter().enumerate() {
            let Event::Wrote { at, bytes } = event else { continue };
            let place = &mut disk[*at..at + bytes.len()];
            if index < flushed {
                place.copy_from_slice(bytes);
            } else if chance.below(4) < share {
                for (to, from) in place.chunks_mut(SECTOR).zip(bytes.chunks(SECTOR)) {
                    if torn && *at >= FIRST_BLOCK && chance.below(2) == 0 {
                        missing = true;
                    } else {
                        to.copy_from_slice(from);
                    }
                }
            } else {
                missing = true;
            }
        }
        (disk, missing)
    }

    /// What a judge may hold against the disk: all that was ever tried, and what was promised before `cut`.
    pub(super) fn journal(&self, cut: usize) -> Journal {
        let mut journal = Journal::default();
        for (index, event) in self.events.iter().enumerate() {
            if let Event::Said(line) = event
                && (index < cut || !line.starts_with("ACK "))
            {
                journal.hear(line);
            }
        }
        journal
    }

    /// Everything that was said.
    pub(super) fn words(&self) -> impl Iterator<Item = &str> {
        self.events.iter().filter_map(|event| match event {
            Event::Said(line) => Some(line.as_str()),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests;
