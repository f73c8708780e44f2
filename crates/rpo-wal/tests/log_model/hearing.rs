//! How commits are made in each way there is, and how their answers are heard.

use bytes::Bytes;
use rpo_core::frame::CommitDraft;
use rpo_core::objective::AckLevel;
use rpo_core::{ErrorKind, TransactionId};
use rpo_wal::{Log, WalError};

use super::promises::{Called, How, Outcome, Underway, Waiting};
use super::script::Level;
use super::site::Site;

/// What is asked for.
pub(crate) fn asked(level: Level) -> AckLevel {
    match level {
        Level::Buffered => AckLevel::Buffered,
        Level::Os => AckLevel::Os,
        Level::Durable => AckLevel::Durable,
    }
}

impl Site {
    pub(crate) fn commit(
        &mut self,
        log: &Log,
        sizes: &[usize],
        transaction: Option<u64>,
        level: Level,
        underway: &mut Underway,
    ) -> Result<(), String> {
        let records: Vec<Bytes> = sizes.iter().map(|len| self.payload(*len)).collect();
        let mut draft = CommitDraft::many(records.clone());
        if let Some(id) = transaction {
            draft = draft.with_transaction(TransactionId(id));
        }
        let number = self.oracle.accepted(records, transaction);
        match log.submit_at(draft, asked(level)) {
            Ok(ticket) => underway.waiting.push(Waiting { number, level, how: How::Ticket(ticket) }),
            Err(error) => self.refused(number, &error)?,
        }
        Ok(())
    }

    /// A commit that is waited for.
    pub(crate) fn append(&mut self, log: &Log, sizes: &[usize], level: Level) -> Result<(), String> {
        let records: Vec<Bytes> = sizes.iter().map(|len| self.payload(*len)).collect();
        let number = self.oracle.accepted(records.clone(), None);
        let before = log.stats().commits;
        let outcome = match &records[..] {
            [record] => log.append_record(record, asked(level)),
            _ => log.append(CommitDraft::many(records), asked(level)),
        };
        let taken = log.stats().commits > before;
        match outcome {
            Ok(appended) => self.told(number, level, &Ok(appended)),
            Err(error) if taken => {
                if error.kind() != ErrorKind::Unknown {
                    return Err(format!(
                        "promise 2: commit {} was taken, its writer was told: {error}",
                        number + 1
                    ));
                }
                self.note(&error)
            }
            Err(error) => self.refused(number, &error),
        }
    }

    pub(crate) fn append_then(
        &mut self,
        log: &Log,
        len: usize,
        level: Level,
        underway: &mut Underway,
    ) -> Result<(), String> {
        let record = self.payload(len);
        let number = self.oracle.accepted(vec![record.clone()], None);
        let called = Called::default();
        match log.append_then(CommitDraft::one(record), asked(level), called.callback()) {
            Ok(_) => {
                self.world.sometimes("a callback was given");
                underway.waiting.push(Waiting { number, level, how: How::Call(called) });
                Ok(())
            }
            Err(_) if called.take().is_some() => {
                Err("promise 2: a callback was called for a commit that was refused".to_owned())
            }
            Err(error) => self.refused(number, &error),
        }
    }

    fn refused(&mut self, number: usize, error: &WalError) -> Result<(), String> {
        self.oracle.refused(number); // who was taken is told that by a ticket
        self.note(error)
    }

    /// Takes the answers that are there.
    pub(crate) fn hear(&mut self, log: &Log, underway: &mut Underway) -> Result<(), String> {
        let durable = log.durable().sequence.ok_or("promise 2: a log of our own counts its commits")?;
        self.oracle.durable(durable.get())?;
        for one in std::mem::take(&mut underway.waiting) {
            match one.poll() {
                None if durable.get() > one.number as u64 && !self.world.is_down() => {
                    return Err(format!(
                        "liveness: commit {} is durable, and nobody was told",
                        one.number + 1
                    ));
                }
                None => underway.waiting.push(one),
                Some(outcome) => {
                    self.told(one.number, one.level, &outcome)?;
                    if matches!(&one.how, How::Call(called) if called.take().is_some()) {
                        return Err(format!(
                            "promise 2: the callback of {} was called twice",
                            one.number + 1
                        ));
                    }
                }
            }
        }
        self.poll_futures(log, underway, durable.get())?;
        self.oracle.durable(log.durable().sequence.map_or(0, |sequence| sequence.get()))?;
        self.oracle.starts(log.start())?;
        self.read_on(log, underway)
    }

    fn poll_futures(&mut self, log: &Log, underway: &mut Underway, durable: u64) -> Result<(), String> {
        for mut later in std::mem::take(&mut underway.later) {
            if !later.is_woken() {
                if later.number.is_some_and(|number| durable > number as u64) && !self.world.is_down() {
                    return Err(format!(
                        "liveness: commit {:?} is durable, its future was not woken",
                        later.number
                    ));
                }
                underway.later.push(later);
                continue;
            }
            let (taken, outcome) = later.poll(log);
            if taken {
                later.number = Some(self.oracle.accepted(later.records.clone(), None));
            }
            match (outcome, later.number) {
                (Some(outcome), Some(number)) => self.told(number, later.level, &outcome)?,
                (Some(Ok(_)), None) => {
                    return Err("promise 2: a future was told of what was not taken".to_owned());
                }
                (Some(Err(error)), None) => self.note(&error)?,
                (None, _) if later.dropped => self.world.sometimes("a future was dropped half way"),
                (None, _) => underway.later.push(later),
            }
        }
        Ok(())
    }

    fn told(&mut self, number: usize, level: Level, outcome: &Outcome) -> Result<(), String> {
        let appended = match outcome {
            Ok(appended) => appended,
            Err(error) if error.kind() == ErrorKind::Unknown => return self.note(error),
            Err(error) => {
                return Err(format!("promise 2: commit {} was taken, then refused: {error}", number + 1));
            }
        };
        self.oracle.told(number, appended.lsn, appended.end, appended.time)?;
        self.world.note(&format!("commit {} acknowledged as {level:?}", number + 1));
        match level {
            Level::Buffered => {}
            Level::Os => self.oracle.written(number + 1),
            Level::Durable => {
                self.world.sometimes("a commit was acknowledged as durable");
                self.oracle.durable(number as u64 + 1)?;
            }
        }
        Ok(())
    }

    /// The log is gone: every callback was called, every future woken.
    pub(crate) fn all_are_told(&mut self, underway: Underway) -> Result<(), String> {
        for one in underway.waiting {
            match one.poll() {
                None => {
                    return Err(format!("liveness: the log is gone, and commit {} waits", one.number + 1));
                }
                Some(outcome) => self.told(one.number, one.level, &outcome)?,
            }
        }
        match underway.later.iter().find(|later| later.number.is_some() && !later.is_woken()) {
            Some(later) => Err(format!("liveness: the log is gone, the future of {:?} waits", later.number)),
            None => Ok(()),
        }
    }

    /// The reader takes a few entries. What it reads is right, or was released.
    fn read_on(&mut self, log: &Log, underway: &mut Underway) -> Result<(), String> {
        for _ in 0..2 {
            let Some(reader) = &mut underway.reader else { return Ok(()) };
            match reader.replay.next() {
                Some(Ok(entry)) => {
                    let count = self.oracle.check(std::slice::from_ref(&entry), reader.at)?;
                    reader.at = (entry.position().lsn, count);
                    reader.faults = self.faults();
                }
                Some(Err(error)) => {
                    let released = error.kind() == ErrorKind::NotFound && reader.at.0 < log.start().lsn;
                    let faults = reader.faults;
                    if released {
                        self.world.sometimes("a reader was told that it reads what was released");
                    } else if self.faults() == faults && !self.world.is_down() {
                        return Err(format!("promise 2: a reader at lsn {}: {error}", reader.at.0));
                    }
                    underway.reader = None;
                }
                None => underway.reader = None,
            }
        }
        Ok(())
    }
}
