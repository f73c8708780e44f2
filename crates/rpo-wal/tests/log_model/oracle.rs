//! What a log was told and what it promised, against what it holds afterwards. Shares no code with the log: payloads are
//! compared byte by byte, everything else is counted here.

use bytes::Bytes;
use rpo_core::{Epoch, LogEntry, Lsn, Position, Timestamp};

/// A commit that the log took.
#[derive(Debug, Clone)]
pub(crate) struct Accepted {
    pub(crate) records: Vec<Bytes>,
    pub(crate) transaction: Option<u64>,
    /// Begin, end and time as told with the acknowledgement.
    pub(crate) told: Option<(Lsn, Lsn, Timestamp)>,
}

/// One history of one log.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    accepted: Vec<Accepted>,
    /// So many commits must survive a power cut.
    durable: usize,
    /// So many must survive the death of the process.
    written: usize,
    last_time: Timestamp,
    /// The caller let go of what lies before this.
    released: Lsn,
    /// Where the log began when it was last looked at, and how many commits lie before that.
    start: (Lsn, usize),
}

impl Oracle {
    /// Notes an accepted commit; returns its number.
    pub(crate) fn accepted(&mut self, records: Vec<Bytes>, transaction: Option<u64>) -> usize {
        self.accepted.push(Accepted { records, transaction, told: None });
        self.accepted.len() - 1
    }

    /// The commit was refused, certainly: it must never appear.
    pub(crate) fn refused(&mut self, number: usize) {
        assert_eq!(number + 1, self.accepted.len(), "only the last one can still be refused");
        self.accepted.pop();
    }

    pub(crate) fn count(&self) -> usize {
        self.accepted.len()
    }

    /// The log acknowledged a commit: where it lies and when it was.
    pub(crate) fn told(
        &mut self,
        number: usize,
        lsn: Lsn,
        end: Position,
        time: Timestamp,
    ) -> Result<(), String> {
        let sequence = end.sequence.map(|sequence| sequence.get());
        if sequence != Some(number as u64 + 1) {
            return Err(format!("promise 2: commit {} was acknowledged as number {sequence:?}", number + 1));
        }
        self.accepted[number].told = Some((lsn, end.lsn, time));
        Ok(())
    }

    /// So many commits are durable, says the log.
    pub(crate) fn durable(&mut self, count: u64) -> Result<(), String> {
        let count = usize::try_from(count).expect("few commits");
        if count > self.accepted.len() {
            return Err(format!("promise 2: {count} commits durable, {} accepted", self.accepted.len()));
        }
        self.durable = self.durable.max(count);
        self.written = self.written.max(count);
        Ok(())
    }

    /// So many commits are with the operating system, says the log.
    pub(crate) fn written(&mut self, count: usize) {
        self.written = self.written.max(count);
    }

    /// The caller says that what lies before `before` may go.
    pub(crate) fn let_go(&mut self, before: Lsn) {
        self.released = self.released.max(before);
    }

    /// The log says that it begins at `start`: only what the caller let go of, and what was durable, may be gone.
    pub(crate) fn starts(&mut self, start: Position) -> Result<(), String> {
        let before = start.sequence.map_or(0, |sequence| sequence.get() as usize);
        if start.lsn < self.start.0 {
            return Err(format!("promise 2: the log began at lsn {}, now at {}", self.start.0, start.lsn));
        }
        if start.lsn > self.released {
            return Err(format!("promise 1: lsn {} was let go of, the log begins at {start}", self.released));
        }
        if before > self.durable {
            return Err(format!("promise 1: {before} commits were removed, {} were durable", self.durable));
        }
        let told = |number: usize| self.accepted.get(number).and_then(|commit| commit.told);
        if told(before).is_some_and(|(lsn, ..)| lsn < start.lsn)
            || before.checked_sub(1).and_then(told).is_some_and(|(_, end, _)| end > start.lsn)
        {
            return Err(format!("promise 2: {before} commits lie before {start}, it says"));
        }
        self.start = (start.lsn, before);
        Ok(())
    }

    /// After an I/O error what is only with the operating system may be lost with the process.
    pub(crate) fn doubt_written(&mut self) {
        self.written = self.durable;
    }

    /// What a reopened log holds must be a gap-free prefix of what it accepted, with all that must have survived. From
    /// then on it is the history, and durable.
    pub(crate) fn reopened(&mut self, entries: &[LogEntry], power_cut: bool) -> Result<usize, String> {
        let count = self.check(entries, self.start)?;
        let must = if power_cut { self.durable } else { self.written };
        if count < must {
            let kind = if power_cut { "durable" } else { "os" };
            return Err(format!("promise 1: {must} commits were acknowledged as {kind}, {count} survived"));
        }
        let lost = self.accepted.len() - count;
        self.accepted.truncate(count);
        (self.durable, self.written) = (count, count);
        self.last_time = entries.last().map_or(self.last_time, |entry| entry.time().max(self.last_time));
        Ok(lost)
    }

    /// An LSN that is known to have been durable: the end of the last commit that was told to be.
    pub(crate) fn witness(&self) -> Lsn {
        let told = self.accepted[..self.durable].iter().rev().find_map(|commit| commit.told);
        told.map_or(Lsn::ZERO, |(_, end, _)| end)
    }

    /// Where the log began when it was last looked at, and how many commits lie before that.
    pub(crate) fn start(&self) -> (Lsn, usize) {
        self.start
    }

    /// Entries follow each other without a gap from a place on, and commit n is the nth accepted, whole, where and when it
    /// was told. Returns how many commits lie before the end.
    pub(crate) fn check(&self, entries: &[LogEntry], from: (Lsn, usize)) -> Result<usize, String> {
        let ((mut at, mut count), mut time) = (from, Timestamp::from_micros(i64::MIN));
        for entry in entries {
            let (lsn, end) = (entry.lsn(), entry.position());
            if lsn != at {
                return Err(format!("promise 2: an entry begins at {lsn}, the one before it ends at {at}"));
            }
            if entry.time() < time {
                return Err(format!("promise 2: time steps back to {} at lsn {lsn}", entry.time()));
            }
            if end.epoch != Epoch::FIRST {
                return Err(format!("promise 9: epoch {} at lsn {lsn}", end.epoch));
            }
            (at, time) = (end.lsn, entry.time());
            if let LogEntry::Commit(commit) = entry {
                self.same(count, commit)?;
                count += 1;
            }
            if end.sequence.map(|sequence| sequence.get()) != Some(count as u64) {
                return Err(format!("promise 2: {:?} commits before {at}, counted {count}", end.sequence));
            }
        }
        Ok(count)
    }

    fn same(&self, number: usize, commit: &rpo_core::Commit) -> Result<(), String> {
        let lsn = commit.lsn;
        let Some(expected) = self.accepted.get(number) else {
            return Err(format!(
                "promise 2: commit {} at lsn {lsn} was never accepted, or was lost before",
                number + 1
            ));
        };
        let found: Vec<&Bytes> = commit.records.iter().map(|record| &record.payload).collect();
        if found.len() != expected.records.len() {
            let (n, of) = (found.len(), expected.records.len());
            return Err(format!("promise 3: commit {} at lsn {lsn} has {n} of its {of} records", number + 1));
        }
        if found.into_iter().ne(expected.records.iter()) {
            return Err(format!("promise 2: commit {} at lsn {lsn} is not the one accepted", number + 1));
        }
        if commit.transaction.map(|id| id.0) != expected.transaction {
            return Err(format!("promise 2: commit {} has transaction {:?}", number + 1, commit.transaction));
        }
        match expected.told {
            Some(told) if told != (lsn, commit.end, commit.time) => {
                let now = (lsn, commit.end, commit.time);
                Err(format!("promise 2: commit {} was told as {told:?}, is {now:?}", number + 1))
            }
            _ => Ok(()),
        }
    }
}
