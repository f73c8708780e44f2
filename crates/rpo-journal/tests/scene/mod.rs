//! A machine with a journal on it, and a clock that is moved by hand.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "it is all for tests")]

pub mod crash;
pub mod model;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rpo_core::{AckLevel, Clock, HumanDuration, Monotonic, SourceId, Timestamp};
use rpo_journal::{
    Asked, Change, ChangeEvent, Fanout, FanoutConfig, FanoutParts, Journal, JournalConfig, JournalError,
    JournalEvent, JournalParts, Receipt, Target, TargetError, Transaction,
};
use rpo_testkit::sim::{FaultPlan, World};
use rpo_wal::{Drive, Log, LogParts, OpenAs, RecoveryReport, WalConfig, WalError};

#[derive(Debug)]
pub struct HandClock(Mutex<(Timestamp, Duration)>);

impl HandClock {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new((seconds(1_772_000_000), Duration::ZERO))))
    }

    pub fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap();
        *now = (now.0.saturating_add(by), now.1 + by);
    }

    pub fn step_wall(&self, by: Duration) {
        let mut now = self.0.lock().unwrap();
        now.0 = now.0.saturating_add(by);
    }
}

impl Clock for HandClock {
    fn wall(&self) -> Timestamp {
        self.0.lock().unwrap().0
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::new(self.0.lock().unwrap().1)
    }
}

pub fn seconds(n: i64) -> Timestamp {
    Timestamp::from_micros(n * 1_000_000)
}

pub fn shop() -> SourceId {
    SourceId::new("shop").unwrap()
}

/// A change whose key is its number, with enough bytes that segments fill.
pub fn change(number: u64) -> Change {
    Change::insert(&shop(), "orders", format!("k{number}"), vec![b'v'; 60 + (number % 50) as usize])
}

pub fn changes(numbers: std::ops::Range<u64>) -> Transaction {
    Transaction::of(numbers.map(change))
}

pub struct Scene {
    pub world: World,
    pub clock: Arc<HandClock>,
    pub config: JournalConfig,
    pub wal: WalConfig,
    pub heard: Arc<Mutex<Vec<JournalEvent>>>,
}

impl Scene {
    pub fn new() -> Self {
        Self::in_world(World::with_plan(1, FaultPlan::calm()))
    }

    pub fn in_world(world: World) -> Self {
        world.machine("a").disk().set_up_dir(Path::new("/var")).unwrap();
        let mut wal = WalConfig::zero_loss();
        wal.segment_bytes = "16KiB".parse().unwrap();
        wal.pending_bytes_max = "64KiB".parse().unwrap();
        wal.frame_bytes_max = "4KiB".parse().unwrap();
        wal.spares = 1;
        wal.heartbeat_after = HumanDuration::ZERO;
        Self { world, clock: HandClock::new(), config: JournalConfig::default(), wal, heard: Arc::default() }
    }

    pub fn limits(mut self, window: u64, events_max: u64) -> Self {
        self.config.window = HumanDuration::from_secs(window);
        self.config.events_max = events_max;
        self
    }

    pub fn open_log(&self) -> Result<(Log, RecoveryReport), WalError> {
        let machine = self.world.machine("a");
        let parts = LogParts {
            disk: Arc::new(machine.disk()),
            clock: Arc::clone(&self.clock) as _,
            entropy: Arc::new(machine.entropy()),
        };
        Log::open(Path::new("/var/log"), self.wal.clone(), parts, Drive::Manual, OpenAs::Continue)
    }

    pub fn try_open(&self) -> Result<Journal, JournalError> {
        let (log, report) = self.open_log()?;
        let parts = JournalParts::new(log, &report, Drive::Manual, Arc::clone(&self.clock) as _);
        let heard = Arc::clone(&self.heard);
        let listener = Box::new(move |event: &JournalEvent| heard.lock().unwrap().push(event.clone()));
        Journal::open(parts, self.config.clone(), Some(listener))
    }

    pub fn open(&self) -> Journal {
        self.try_open().expect("the journal opens")
    }

    /// Cuts the power, and opens the journal again. What was taken from it must be dropped before.
    pub fn reopen(&self, journal: Journal) -> Journal {
        drop(journal);
        self.world.reboot();
        self.open()
    }

    pub fn fanout(&self, journal: &Journal, config: FanoutConfig) -> Result<Fanout, JournalError> {
        let machine = self.world.machine("a");
        let parts = FanoutParts {
            disk: Arc::new(machine.disk()),
            entropy: Arc::new(machine.entropy()),
            dir: PathBuf::from("/var/cursors"),
            drive: Drive::Manual,
        };
        Fanout::new(journal.clone(), config, parts)
    }

    pub fn heard(&self) -> Vec<JournalEvent> {
        std::mem::take(&mut self.heard.lock().unwrap())
    }

    pub fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

pub fn record(journal: &Journal, transaction: impl Into<Transaction>) -> Receipt {
    journal.record(transaction, AckLevel::Durable).expect("records")
}

pub fn ids(journal: &Journal, asked: Asked) -> Result<Vec<u64>, JournalError> {
    journal.since(asked)?.map(|event| event.map(|event| event.id)).collect()
}

/// What a target outside of the machine was given, by number; it survives whatever happens to the machine.
#[derive(Debug, Clone, Default)]
pub struct Outside {
    pub given: Arc<Mutex<Vec<u64>>>,
    /// Answers to be given before things go well.
    pub trouble: Arc<Mutex<Vec<TargetError>>>,
}

impl Outside {
    pub fn given(&self) -> Vec<u64> {
        self.given.lock().unwrap().clone()
    }
}

impl Target for Outside {
    fn apply(&mut self, batch: &[ChangeEvent]) -> Result<(), TargetError> {
        let trouble = self.trouble.lock().unwrap().pop();
        if let Some(trouble) = trouble {
            return Err(trouble);
        }
        self.given.lock().unwrap().extend(batch.iter().map(|event| event.id));
        Ok(())
    }
}
