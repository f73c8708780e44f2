//! Drives a log in a simulated world, tells the oracle what happened, and lets it judge after every end.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rpo_core::frame::{CommitDraft, EntryRef};
use rpo_core::objective::AckLevel;
use rpo_core::{ErrorKind, LogEntry, Lsn, PointName};
use rpo_testkit::sim::{FaultKind, FaultPlan, World};
use rpo_wal::{Drive, Log, LogParts, OpenAs, RecoveryReport, Tail, WalConfig, WalError};

use super::directory::{Salts, Visited};
use super::hearing::asked;
use super::oracle::Oracle;
use super::promises::{Later, Reader, Underway};
use super::script::{End, Life, Op, Script};

pub(crate) const DIR: &str = "/var/log";
pub(crate) const MACHINE: &str = "a";

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
    /// The disk has room for so much only.
    pub(crate) tight: bool,
    /// The last life ended with a poisoned log.
    poisoned: bool,
    pub(crate) salts: Salts,
    /// What opening showed.
    visited: Option<Vec<Visited>>,
}

impl Site {
    pub(crate) fn new(world: World, config: WalConfig) -> Self {
        // The log makes its own directory; only the one above is there.
        world.machine(MACHINE).disk().set_up_dir(Path::new("/var")).expect("an empty disk");
        let (oracle, crash) = (Oracle::default(), End::PowerCut);
        let salts = Salts::default();
        let (power_cut, tight, poisoned) = (false, false, false);
        Self {
            world,
            oracle,
            crash,
            config,
            payloads: 0,
            points: 0,
            power_cut,
            tight,
            poisoned,
            salts,
            visited: None,
        }
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
        self.room(None);
        self.end(End::PowerCut);
        for _ in 0..2 {
            let log = self
                .open(true, self.oracle.witness())
                .map_err(|error| format!("liveness: the faults are over, and still: {error}"))?
                .0;
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
        let log = self.open(true, self.oracle.witness()).map_err(|error| format!("liveness: {error}"))?.0;
        self.judge(&log)
    }

    /// Opens the log; `replaying` says to visit what is read meanwhile, which must be what is replayed afterwards.
    pub(crate) fn open(&mut self, replaying: bool, witness: Lsn) -> Result<(Log, RecoveryReport), WalError> {
        let machine = self.world.machine(MACHINE);
        let parts = LogParts {
            disk: Arc::new(machine.disk()),
            clock: Arc::new(machine.clock()),
            entropy: Arc::new(machine.entropy()),
        };
        let (dir, config, how) = (Path::new(DIR), self.config.clone(), (Drive::Manual, OpenAs::Continue));
        self.visited = None;
        if !replaying {
            return Log::open_witnessed(dir, config, parts, how.0, how.1, witness);
        }
        let mut visited = Vec::new();
        let mut visit = |entry: EntryRef<'_>| visited.push(Visited::from(entry));
        let opened = Log::open_replaying(dir, config, parts, how.0, how.1, witness, &mut visit)?;
        self.visited = Some(visited);
        Ok(opened)
    }

    /// Replays everything and lets the oracle judge it.
    pub(crate) fn judge(&mut self, log: &Log) -> Result<(), String> {
        let entries = loop {
            let faults = self.faults();
            match log.replay(log.start().lsn).collect::<Result<Vec<LogEntry>, WalError>>() {
                Ok(entries) => break entries,
                Err(_) if self.world.is_down() => return Ok(()),
                Err(_) if self.faults() > faults => {} // a read failed: once more
                Err(error) => return Err(format!("promise 2: an open log cannot be replayed: {error}")),
            }
        };
        self.oracle.starts(log.start())?;
        let lost = self.oracle.reopened(&entries, std::mem::take(&mut self.power_cut))?;
        if lost > 0 {
            self.world.sometimes("unacknowledged commits were lost");
        }
        if self.visited.take().is_some_and(|visited| {
            visited.iter().ne(entries.iter().map(Visited::of).collect::<Vec<_>>().iter())
        }) {
            return Err("promise 2: what opening showed is not what is replayed".to_owned());
        }
        if log.durable() != log.head() || entries.last().is_some_and(|last| last.position() != log.head()) {
            return Err(format!("promise 2: head {}, durable {} after opening", log.head(), log.durable()));
        }
        Ok(())
    }

    /// One life; false if the log did not open, which only faults may cause.
    pub(crate) fn live(&mut self, life: &Life) -> Result<bool, String> {
        let faults = self.faults();
        let before = self.look();
        let opened =
            match self.open(life.replaying, if life.replaying { self.oracle.witness() } else { Lsn::ZERO }) {
                Ok((log, report)) => {
                    self.saw(&report);
                    self.compare(&before);
                    if std::mem::take(&mut self.poisoned) {
                        self.world.sometimes("a poisoned log was opened again");
                    }
                    self.judge(&log)?;
                    self.work(log, life)?;
                    true
                }
                Err(error) if self.tight && error.kind() == ErrorKind::NoSpace => {
                    self.world.note(&error.to_string());
                    self.world.sometimes("no room to open the log");
                    self.room(None);
                    false
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
    pub(crate) fn faults(&self) -> u64 {
        let seen = self.world.seen();
        let kinds = [
            FaultKind::SyncError,
            FaultKind::SyncErrorWhole,
            FaultKind::SyncErrorNothing,
            FaultKind::SyncDirError,
            FaultKind::WriteError,
            FaultKind::NoSpace,
            FaultKind::ReadError,
        ];
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
        let mut underway = Underway::default();
        for op in &life.ops {
            self.act(&log, op, &mut underway)?;
            self.hear(&log, &mut underway)?;
            self.spares_are_clean()?;
            if self.world.is_down() {
                break;
            }
        }
        self.poisoned = log.poisoned().is_some() && !self.world.is_down();
        if life.end == End::Close && !self.world.is_down() {
            let closed = log.close();
            self.world.note(&format!("closed: {closed:?}"));
            if closed.is_ok() {
                self.world.sometimes("the log was closed");
                self.oracle.durable(self.oracle.count() as u64)?;
            }
        } else {
            drop(log);
        }
        self.all_are_told(underway)?;
        if self.faults() > faults {
            self.oracle.doubt_written();
        }
        Ok(())
    }

    fn act(&mut self, log: &Log, op: &Op, underway: &mut Underway) -> Result<(), String> {
        match op {
            Op::Commit { records, transaction, level } => {
                self.commit(log, records, *transaction, *level, underway)
            }
            Op::Append { records, level } => self.append(log, records, *level),
            Op::Then { len, level } => self.append_then(log, *len, *level, underway),
            Op::Future { len, level, dropped } => {
                let records = vec![self.payload(*len)];
                let future = log.append_async(CommitDraft::many(records.clone()), asked(*level));
                underway.later.push(Later::new(future, records, *level, *dropped));
                Ok(())
            }
            Op::Step(times) => {
                (0..*times).for_each(|_| _ = log.step());
                Ok(())
            }
            Op::Release(share) => self.release(log, *share),
            Op::Read => {
                let (at, faults) = (self.oracle.start(), self.faults());
                underway.reader = Some(Reader { replay: log.replay(at.0), at, faults });
                Ok(())
            }
            Op::Room(more) => {
                self.room(*more);
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

    pub(crate) fn note(&self, error: &WalError) -> Result<(), String> {
        self.world.note(&error.to_string());
        match error.kind() {
            ErrorKind::NoSpace => self.world.sometimes("refused for want of space"),
            ErrorKind::Refused => self.world.sometimes("refused by a poisoned log"),
            ErrorKind::Unknown => self.world.sometimes("told that the fate is unknown"),
            ErrorKind::Retry => self.world.sometimes("refused for now"),
            _ => {}
        }
        Ok(())
    }

    /// What lies before a share of what is durable may go.
    fn release(&mut self, log: &Log, share: u64) -> Result<(), String> {
        let durable = log.durable().lsn.get();
        let before = if share > 1000 { u64::MAX } else { durable * share / 1000 };
        self.oracle.let_go(Lsn::new(before));
        match log.release(Lsn::new(before)) {
            Ok(0) => Ok(()),
            Ok(_) => {
                self.world.sometimes("segments were released");
                Ok(())
            }
            Err(error) => self.note(&error),
        }
    }

    /// Bytes that say which commit and record they are.
    pub(crate) fn payload(&mut self, len: usize) -> Bytes {
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
