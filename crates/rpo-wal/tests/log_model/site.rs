//! Drives a log in a simulated world, tells the oracle what happened, and lets it judge after every end.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rpo_core::frame::CommitDraft;
use rpo_core::objective::AckLevel;
use rpo_core::{ErrorKind, LogEntry, Lsn, PointName, TransactionId};
use rpo_testkit::sim::{FaultKind, FaultPlan, World};
use rpo_wal::{Appended, Drive, Log, LogParts, OpenAs, RecoveryReport, Tail, Ticket, WalConfig, WalError};

use super::oracle::Oracle;
use super::script::{End, Level, Life, Op, Script};

const DIR: &str = "/var/log";
const MACHINE: &str = "a";

pub(crate) struct Site {
    pub(crate) world: World,
    pub(crate) oracle: Oracle,
    /// What a crash that comes by itself is: a power cut or the death of the process.
    pub(crate) crash: End,
    config: WalConfig,
    payloads: u64,
    points: u64,
    /// The power was cut since the log was last open.
    power_cut: bool,
}

/// A commit whose fate is not told yet.
struct Waiting {
    number: usize,
    level: Level,
    ticket: Ticket,
}

impl Site {
    pub(crate) fn new(world: World, config: WalConfig) -> Self {
        // The log makes its own directory; only the one above is there.
        world.machine(MACHINE).disk().set_up_dir(Path::new("/var")).expect("an empty disk");
        let (oracle, crash) = (Oracle::default(), End::PowerCut);
        Self { world, oracle, crash, config, payloads: 0, points: 0, power_cut: false }
    }

    /// All lives of a script, then one without faults, in which the log must open and go on.
    pub(crate) fn play(&mut self, script: &Script) -> Result<(), String> {
        for life in &script.lives {
            self.live(life)?;
        }
        self.epilogue()
    }

    /// Once the faults are over, the log opens, holds what it must, and takes new commits that survive.
    pub(crate) fn epilogue(&mut self) -> Result<(), String> {
        self.world.set_plan(FaultPlan::calm());
        self.end(End::PowerCut);
        for _ in 0..2 {
            let log =
                self.open().map_err(|error| format!("liveness: the faults are over, and still: {error}"))?.0;
            self.judge(&log)?;
            for sizes in [&[300, 0, 40][..], &[5000]] {
                let records: Vec<Bytes> = sizes.iter().map(|len| self.payload(*len)).collect();
                let number = self.oracle.accepted(records.clone(), None);
                let appended = log.append(CommitDraft::many(records), AckLevel::Durable);
                let appended =
                    appended.map_err(|error| format!("liveness: the faults are over, and still: {error}"))?;
                self.oracle.told(number, appended.lsn, appended.end, appended.time)?;
                self.oracle.durable(number as u64 + 1)?;
            }
            drop(log);
            self.end(End::PowerCut);
        }
        let log = self.open().map_err(|error| format!("liveness: {error}"))?.0;
        self.judge(&log)
    }

    fn open(&self) -> Result<(Log, RecoveryReport), WalError> {
        let machine = self.world.machine(MACHINE);
        let parts = LogParts {
            disk: Arc::new(machine.disk()),
            clock: Arc::new(machine.clock()),
            entropy: Arc::new(machine.entropy()),
        };
        Log::open(Path::new(DIR), self.config.clone(), parts, Drive::Manual, OpenAs::Continue)
    }

    /// Replays everything and lets the oracle judge it.
    fn judge(&mut self, log: &Log) -> Result<(), String> {
        let entries: Result<Vec<LogEntry>, WalError> = log.replay(Lsn::ZERO).collect();
        let entries = match entries {
            Ok(entries) => entries,
            Err(_) if self.world.is_down() => return Ok(()),
            Err(error) => return Err(format!("promise 2: an open log cannot be replayed: {error}")),
        };
        let lost = self.oracle.reopened(&entries, std::mem::take(&mut self.power_cut))?;
        if lost > 0 {
            self.world.sometimes("unacknowledged commits were lost");
        }
        if log.durable() != log.head() || entries.last().is_some_and(|last| last.position() != log.head()) {
            return Err(format!("promise 2: head {}, durable {} after opening", log.head(), log.durable()));
        }
        Ok(())
    }

    /// One life; false if the log did not open, which only faults may cause.
    pub(crate) fn live(&mut self, life: &Life) -> Result<bool, String> {
        let faults = self.faults();
        let opened = match self.open() {
            Ok((log, report)) => {
                self.saw(&report);
                self.judge(&log)?;
                self.work(log, life)?;
                true
            }
            Err(error) if self.world.is_down() || self.faults() > faults => {
                self.world.note(&error.to_string());
                self.world.sometimes("opening failed");
                self.oracle.doubt_written();
                false
            }
            Err(error) => return Err(format!("liveness: opening failed without a fault: {error}")),
        };
        self.end(life.end);
        Ok(opened)
    }

    /// I/O errors so far.
    fn faults(&self) -> u64 {
        let seen = self.world.seen();
        let kinds =
            [FaultKind::SyncError, FaultKind::SyncDirError, FaultKind::WriteError, FaultKind::NoSpace];
        kinds.iter().map(|kind| seen.get(kind.name())).sum()
    }

    fn saw(&self, report: &RecoveryReport) {
        match report.tail {
            Tail::Clean => {}
            Tail::Torn { .. } => self.world.sometimes("recovery cut a torn tail"),
            Tail::Unordered { .. } => self.world.sometimes("recovery cut an unordered tail"),
            _ => self.world.sometimes("recovery found another tail"),
        }
        if report.segments > 1 {
            self.world.sometimes("recovery read several segments");
        }
        if report.repersisted_bytes > 0 {
            self.world.sometimes("recovery wrote the unproven tail again");
        }
    }

    fn work(&mut self, log: Log, life: &Life) -> Result<(), String> {
        let faults = self.faults();
        let mut waiting = Vec::new();
        for op in &life.ops {
            self.act(&log, op, &mut waiting)?;
            self.hear(&log, &mut waiting)?;
            if self.world.is_down() {
                break;
            }
        }
        if life.end == End::Close && !self.world.is_down() {
            let closed = log.close();
            self.world.note(&format!("closed: {closed:?}"));
            if closed.is_ok() {
                self.oracle.durable(self.oracle.count() as u64)?;
            }
        }
        if self.faults() > faults {
            self.oracle.doubt_written();
        }
        Ok(())
    }

    fn act(&mut self, log: &Log, op: &Op, waiting: &mut Vec<Waiting>) -> Result<(), String> {
        match op {
            Op::Commit { records, transaction, level } => {
                self.commit(log, records, *transaction, *level, waiting)
            }
            Op::Step => {
                log.step();
                Ok(())
            }
            Op::Sync => match log.sync() {
                Ok(position) if position.lsn < log.head().lsn => {
                    Err(format!("promise 1: sync answered {position}, the head was {}", log.head()))
                }
                Ok(_) => self.oracle.durable(self.oracle.count() as u64),
                Err(error) => self.note(&error),
            },
            Op::Tag => {
                self.points += 1;
                let name = PointName::new(format!("point-{}", self.points)).expect("a name");
                log.tag(name).map(drop).or_else(|error| self.note(&error))
            }
            Op::Heartbeat => log.heartbeat().map(drop).or_else(|error| self.note(&error)),
            Op::PassMillis(millis) => {
                self.world.advance(std::time::Duration::from_millis(*millis));
                Ok(())
            }
        }
    }

    fn note(&self, error: &WalError) -> Result<(), String> {
        self.world.note(&error.to_string());
        match error.kind() {
            ErrorKind::NoSpace => self.world.sometimes("refused for want of space"),
            ErrorKind::Refused => self.world.sometimes("refused by a poisoned log"),
            ErrorKind::Unknown => self.world.sometimes("told that the fate is unknown"),
            _ => {}
        }
        Ok(())
    }

    /// Bytes that say which commit and record they are.
    fn payload(&mut self, len: usize) -> Bytes {
        self.payloads += 1;
        let mut word = self.payloads;
        let mut bytes = word.to_le_bytes().to_vec();
        while bytes.len() < len {
            word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            bytes.push((word >> 56) as u8 | 1); // no sector of a payload is all zeros
        }
        bytes.truncate(len);
        bytes.into()
    }

    fn commit(
        &mut self,
        log: &Log,
        sizes: &[usize],
        transaction: Option<u64>,
        level: Level,
        waiting: &mut Vec<Waiting>,
    ) -> Result<(), String> {
        let records: Vec<Bytes> = sizes.iter().map(|len| self.payload(*len)).collect();
        let mut draft = CommitDraft::many(records.clone());
        if let Some(id) = transaction {
            draft = draft.with_transaction(TransactionId(id));
        }
        let number = self.oracle.accepted(records, transaction);
        let asked = match level {
            Level::Buffered => AckLevel::Buffered,
            Level::Os => AckLevel::Os,
            Level::Durable => AckLevel::Durable,
        };
        match log.submit_at(draft, asked) {
            Ok(ticket) => waiting.push(Waiting { number, level, ticket }),
            Err(error) => {
                if !matches!(error, WalError::Indeterminate { .. }) {
                    self.oracle.refused(number);
                }
                self.note(&error)?;
            }
        }
        Ok(())
    }

    /// Takes the answers that are there.
    fn hear(&mut self, log: &Log, waiting: &mut Vec<Waiting>) -> Result<(), String> {
        for one in std::mem::take(waiting) {
            match one.ticket.poll() {
                None => waiting.push(one),
                Some(Ok(appended)) => self.told(&one, &appended)?,
                Some(Err(error)) => self.note(&error)?,
            }
        }
        match log.durable().sequence {
            Some(sequence) => self.oracle.durable(sequence.get()),
            None => Err("promise 2: a log of our own counts its commits".to_owned()),
        }
    }

    fn told(&mut self, one: &Waiting, appended: &Appended) -> Result<(), String> {
        self.oracle.told(one.number, appended.lsn, appended.end, appended.time)?;
        self.world.note(&format!("commit {} acknowledged as {:?}", one.number + 1, one.level));
        match one.level {
            Level::Buffered => {}
            Level::Os => self.oracle.written(one.number + 1),
            Level::Durable => {
                self.world.sometimes("a commit was acknowledged as durable");
                self.oracle.durable(one.number as u64 + 1)?;
            }
        }
        Ok(())
    }

    /// Ends the process, and in case of a power cut the machine.
    pub(crate) fn end(&mut self, end: End) {
        let end = if self.world.is_down() { self.crash } else { end };
        if end == End::PowerCut {
            self.power_cut = true;
            self.world.reboot();
        } else {
            self.world.restart();
        }
    }
}
