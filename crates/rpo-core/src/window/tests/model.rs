//! The naive model: keeps everything, one by one, and looks at every byte. Shares no code with what it judges.

/// A stream with its true times, in microseconds of a clock that no fault touches.
#[derive(Default)]
pub(super) struct TrueStream {
    pub(super) now: i64,
    pub(super) head: u64,
    /// End and time of each commit.
    pub(super) commits: Vec<(u64, i64)>,
}

impl TrueStream {
    pub(super) fn commit(&mut self, bytes: u64) {
        self.head += bytes;
        self.commits.push((self.head, self.now));
    }

    pub(super) fn count_upto(&self, lsn: u64) -> u64 {
        self.commits.iter().filter(|(end, _)| *end <= lsn).count() as u64
    }

    /// When the first commit that is not wholly before `lsn` was acknowledged.
    pub(super) fn first_past(&self, lsn: u64) -> Option<i64> {
        self.commits.iter().find(|(end, _)| *end > lsn).map(|(_, time)| *time)
    }
}

/// Histories byte by byte: each byte ever written has a number of its own.
#[derive(Debug, Clone)]
pub(super) struct TrueHistories {
    /// For each epoch (from 1) all bytes of its history, its ancestors' included.
    pub(super) bytes: Vec<Vec<u32>>,
}

impl TrueHistories {
    /// The first epoch has `length` bytes; each next one takes the first `fork` bytes of `parent` and adds `own`.
    pub(super) fn grow(length: usize, forks: &[(usize, usize, usize)]) -> (Self, Vec<(usize, usize)>) {
        let mut number = 0..;
        let mut fresh = |n: usize| -> Vec<u32> { number.by_ref().take(n).collect() };
        let mut bytes = vec![fresh(length)];
        let mut at = Vec::new();
        for (parent, fork, own) in forks {
            let parent = parent % bytes.len();
            let fork = fork % (bytes[parent].len() + 1);
            let mut history = bytes[parent][..fork].to_vec();
            history.extend(fresh(*own));
            bytes.push(history);
            at.push((parent, fork));
        }
        (Self { bytes }, at)
    }

    fn current(&self) -> &[u32] {
        self.bytes.last().expect("there is a first epoch")
    }
}

/// A copy: bases (epoch, length) and runs of log (epoch, from, to), as indexes into the true histories.
#[derive(Debug, Clone)]
pub(super) struct TrueCopy {
    pub(super) survives: bool,
    pub(super) bases: Vec<(usize, usize)>,
    pub(super) runs: Vec<(usize, usize, usize)>,
}

impl TrueCopy {
    /// Restores from each base and replays byte by byte for as long as the right byte is there.
    fn furthest(&self, histories: &TrueHistories) -> Option<usize> {
        let current = histories.current();
        let usable = self.bases.iter().filter(|(epoch, length)| {
            *length <= current.len() && histories.bytes[*epoch][..*length] == current[..*length]
        });
        let replay = |start: usize| {
            let mut at = start;
            while at < current.len()
                && self.runs.iter().any(|(epoch, from, to)| {
                    (*from..*to).contains(&at) && histories.bytes[*epoch][at] == current[at]
                })
            {
                at += 1;
            }
            at
        };
        usable.map(|(_, length)| replay(*length)).max()
    }
}

/// Tries every length, the longest first.
pub(super) fn longest_protected(copies: &[TrueCopy], k: usize, histories: &TrueHistories) -> Option<usize> {
    (0..=histories.current().len()).rev().find(|length| {
        let enough =
            |copy: &&TrueCopy| copy.survives && copy.furthest(histories).is_some_and(|far| far >= *length);
        copies.iter().filter(enough).count() >= k
    })
}
