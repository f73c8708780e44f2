//! A few writers of every kind on one log, and what each of them was told.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rpo_core::frame::CommitDraft;
use rpo_core::objective::AckLevel;
use rpo_core::{ByteSize, Clock, LogEntry, Lsn, Monotonic, Timestamp};
use rpo_testkit::sim::{FaultKind, FaultPlan, World};
use rpo_wal::{Appended, Drive, Log, LogParts, OpenAs, WalConfig, WalError};
use shuttle::thread;

const WRITERS: usize = 3;
const EACH: usize = 2;

/// What happens while the writers write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Nothing.
    Quiet,
    /// A sync fails.
    Poison,
    /// Somebody closes the log.
    Close,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene {
    /// Groups wait for the writers that were just released.
    pub(crate) cohort: bool,
    pub(crate) ending: Ending,
}

/// Time passes whenever somebody looks at it, so that patience ends.
#[derive(Debug)]
struct Ticking(World, Arc<dyn Clock>);

impl Clock for Ticking {
    fn wall(&self) -> Timestamp {
        self.1.wall()
    }

    fn monotonic(&self) -> Monotonic {
        self.0.advance(Duration::from_micros(100));
        self.1.monotonic()
    }
}

fn parts(world: &World) -> LogParts {
    let machine = world.machine("a");
    let clock = Arc::new(Ticking(world.clone(), Arc::new(machine.clock())));
    LogParts { disk: Arc::new(machine.disk()), clock, entropy: Arc::new(machine.entropy()) }
}

fn config(scene: Scene) -> WalConfig {
    let mut config = WalConfig::zero_loss();
    config.segment_bytes = ByteSize::new(16 << 10);
    config.frame_bytes_max = ByteSize::new(4 << 10);
    config.spares = 1;
    config.heartbeat_after = Duration::ZERO.into();
    if !scene.cohort {
        config.cohort_wait_max = Duration::ZERO.into();
    }
    config
}

/// Everything that anybody was told: what it had given the log, and the answer.
type Told = Arc<Mutex<Vec<(Vec<u8>, Result<Appended, WalError>)>>>;

/// Plays the scene in so many orders of its threads.
///
/// # Panics
/// When in one of them somebody waits for ever, is told twice or not at all, or was promised what does not survive.
pub(crate) fn explore(scene: Scene, orders: usize) {
    let mut config = shuttle::Config::new();
    config.stack_size = 1 << 20;
    config.max_steps = shuttle::MaxSteps::FailAfter(200_000);
    config.failure_persistence = shuttle::FailurePersistence::None;
    let scheduler = shuttle::scheduler::RandomScheduler::new(orders);
    shuttle::Runner::new(scheduler, config).run(move || play(scene));
}

fn play(scene: Scene) {
    let world = World::with_plan(7, FaultPlan::calm());
    world.machine("a").disk().set_up_dir(Path::new("/log")).expect("an empty disk");
    let open = |drive| {
        let (dir, config) = (Path::new("/log"), config(scene));
        Log::open(dir, config, parts(&world), drive, OpenAs::Continue).expect("nothing fails here").0
    };
    let log = open(Drive::Thread);
    if scene.ending == Ending::Poison {
        world.arm(FaultKind::SyncError, 1);
    }
    let told = Told::default();
    let mut threads: Vec<_> = (0..WRITERS).map(|writer| spawn(&log, &told, writer)).collect();
    if scene.ending == Ending::Close {
        let log = log.clone();
        threads.push(thread::spawn(move || _ = log.close()));
    }
    threads.into_iter().for_each(|thread| thread.join().expect("a writer does not panic"));
    drop(log.close());
    world.reboot();
    judge(&told.lock().expect("no panic"), &open(Drive::Manual));
}

/// A thread that waits, one whose callbacks are called, one that polls futures.
fn spawn(log: &Log, told: &Told, writer: usize) -> thread::JoinHandle<()> {
    let (log, told) = (log.clone(), Arc::clone(told));
    thread::spawn(move || {
        for number in 0..EACH {
            let payload = format!("{number} of writer {writer}").into_bytes();
            let draft = CommitDraft::one(payload.clone());
            let (seen, given) = (Arc::clone(&told), payload.clone());
            let tell = move |outcome| seen.lock().expect("no panic").push((given, outcome));
            match writer % 3 {
                0 => tell(log.append_record(&payload, AckLevel::Durable)),
                1 => match log.append_then(draft, AckLevel::Durable, tell) {
                    Ok(_) => {}
                    Err(error) => told.lock().expect("no panic").push((payload, Err(error))),
                },
                _ => tell(shuttle::future::block_on(log.append_async(draft, AckLevel::Durable))),
            }
        }
    })
}

fn judge(told: &[(Vec<u8>, Result<Appended, WalError>)], log: &Log) {
    let entries: Vec<LogEntry> = log.replay(Lsn::ZERO).collect::<Result<_, _>>().expect("it was opened");
    let held: Vec<&[u8]> = entries
        .iter()
        .filter_map(|entry| match entry {
            LogEntry::Commit(commit) => Some(&commit.records[0].payload[..]),
            _ => None,
        })
        .collect();
    assert_eq!(told.len(), WRITERS * EACH, "everybody is told once");
    for (payload, outcome) in told {
        let times = held.iter().filter(|held| *held == payload).count();
        assert_eq!(
            told.iter().filter(|(other, _)| other == payload).count(),
            1,
            "each commit is told of once"
        );
        match outcome {
            Ok(_) => assert_eq!(times, 1, "promise 1: an acknowledged commit is there, once"),
            Err(error) if error.kind() == rpo_core::ErrorKind::Unknown => assert!(times <= 1),
            Err(_) => assert_eq!(times, 0, "promise 2: what was refused is not there"),
        }
    }
}
