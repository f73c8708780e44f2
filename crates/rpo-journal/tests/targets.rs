//! Stories about several targets of one journal.
#![allow(clippy::unwrap_used, reason = "it is all for tests")]

mod scene;

use std::sync::{Arc, mpsc};
use std::time::Duration;

use rpo_core::{AckLevel, ErrorKind, HumanDuration};
use rpo_journal::{
    Asked, ChangeEvent, Fanout, FanoutConfig, FanoutParts, Journal, JournalConfig, JournalError,
    JournalEvent, JournalParts, Target, TargetError, TargetState, TargetStep,
};
use rpo_os::{OsClock, OsDisk, OsEntropy};
use rpo_wal::{Drive, Log, LogParts, OpenAs, WalConfig};
use scene::{Outside, Scene, change, changes, record};

fn three_attempts() -> FanoutConfig {
    let mut config = FanoutConfig::default();
    config.attempts_max = 3;
    config.batch_events = 4;
    config
}

fn settle(fanout: &Fanout) {
    while fanout.step_all() {}
}

#[test]
fn one_failing_target_neither_holds_up_nor_reorders_the_others() {
    let scene = Scene::new();
    let journal = scene.open();
    let fanout = scene.fanout(&journal, three_attempts()).unwrap();
    let (good, bad, panics) = (Outside::default(), Outside::default(), Outside::default());
    struct Panics;
    impl Target for Panics {
        fn apply(&mut self, _: &[ChangeEvent]) -> Result<(), TargetError> {
            panic!("planned")
        }
    }
    *bad.trouble.lock().unwrap() = vec![TargetError::Unrecoverable("no such table".into())];
    fanout.add("bad", Box::new(bad.clone()), Asked::Start).unwrap();
    fanout.add("panics", Box::new(Panics), Asked::Start).unwrap();
    fanout.add("good", Box::new(good.clone()), Asked::Start).unwrap();

    for n in 0..5 {
        record(&journal, changes(3 * n..3 * n + 3));
        settle(&fanout);
    }

    assert_eq!(good.given(), (1..=15).collect::<Vec<_>>());
    assert_eq!((bad.given(), panics.given()), (vec![], vec![]));
    let status = fanout.status();
    assert!(matches!(&status[0].state, TargetState::Failed { reason } if reason == "no such table"));
    assert!(matches!(&status[1].state, TargetState::Failed { reason } if reason.contains("panicked")));
    assert_eq!((status[2].applied, status[2].lag_events, status[0].lag_events), (15, 0, 15));

    fanout.resume("bad").unwrap();
    settle(&fanout);
    assert_eq!(bad.given(), (1..=15).collect::<Vec<_>>());
}

#[test]
fn a_batch_is_whole_transactions() {
    let scene = Scene::new();
    let journal = scene.open();
    record(&journal, changes(0..3));
    record(&journal, changes(3..6));
    record(&journal, changes(6..12)); // more than a batch
    let fanout = scene.fanout(&journal, three_attempts()).unwrap();
    fanout.add("one", Box::new(Outside::default()), Asked::Start).unwrap();

    let steps: Vec<_> = (0..4).map(|_| fanout.step("one").unwrap()).collect();

    let applied = TargetStep::Applied;
    assert_eq!(steps, [applied(3), applied(3), applied(6), TargetStep::Idle]);
}

#[test]
fn retries_wait_longer_each_time_and_end() {
    let scene = Scene::new();
    let journal = scene.open();
    record(&journal, change(1));
    let fanout = scene.fanout(&journal, three_attempts()).unwrap();
    let flaky = Outside::default();
    *flaky.trouble.lock().unwrap() = vec![TargetError::Recoverable("busy".into()); 3];
    fanout.add("flaky", Box::new(flaky.clone()), Asked::Start).unwrap();

    let TargetStep::Waiting(first) = fanout.step("flaky").unwrap() else { panic!("retries") };
    assert!((Duration::from_millis(50)..=Duration::from_millis(100)).contains(&first), "{first:?}");
    scene.clock.advance(first - Duration::from_millis(1));
    assert_eq!(fanout.step("flaky").unwrap(), TargetStep::Waiting(Duration::from_millis(1)));
    scene.clock.advance(Duration::from_millis(1));
    let TargetStep::Waiting(second) = fanout.step("flaky").unwrap() else { panic!("retries") };
    assert!((Duration::from_millis(100)..=Duration::from_millis(200)).contains(&second), "{second:?}");
    assert!(matches!(fanout.status()[0].state, TargetState::Retrying { attempts: 2, .. }));
    scene.clock.advance(second);
    assert_eq!(fanout.step("flaky").unwrap(), TargetStep::Halted);

    let heard = scene.heard();
    assert!(
        matches!(&heard[2], JournalEvent::TargetFailed { applied: 0, reason, .. } if reason.contains("3 attempts"))
    );
    assert_eq!(fanout.status()[0].failures, 3);
    fanout.resume("flaky").unwrap();
    assert_eq!(fanout.step("flaky").unwrap(), TargetStep::Applied(1));
    assert_eq!(fanout.status()[0].state, TargetState::Running);
}

#[test]
fn falling_behind_is_told_once_and_so_is_catching_up() {
    let scene = Scene::new();
    let journal = scene.open();
    let fanout = scene.fanout(&journal, FanoutConfig::default()).unwrap();
    fanout.add("slow", Box::new(Outside::default()), Asked::Start).unwrap();
    record(&journal, changes(1..3));
    scene.pass(5);
    fanout.watch();
    assert_eq!(scene.heard(), [], "five seconds are allowed");

    scene.pass(1);
    fanout.watch();
    fanout.watch();
    assert!(fanout.status()[0].is_lagging);
    settle(&fanout);
    fanout.watch();

    let (target, lag) = ("slow".to_owned(), Duration::from_secs(6));
    let behind = JournalEvent::TargetLags { target: target.clone(), lag, events: 2 };
    assert_eq!(scene.heard(), [behind, JournalEvent::TargetCaughtUp { target, lag: Duration::ZERO }]);
}

#[test]
fn a_paused_target_stays_so_over_a_restart_and_goes_on_where_it_was() {
    let scene = Scene::new();
    let journal = scene.open();
    let outside = Outside::default();
    let fanout = scene.fanout(&journal, FanoutConfig::default()).unwrap();
    fanout.add("one", Box::new(outside.clone()), Asked::Start).unwrap();
    record(&journal, change(1));
    settle(&fanout);
    fanout.pause("one").unwrap();
    record(&journal, change(2));
    settle(&fanout);
    drop(fanout);

    let journal = scene.reopen(journal);
    let fanout = scene.fanout(&journal, FanoutConfig::default()).unwrap();
    fanout.add("one", Box::new(outside.clone()), Asked::Start).unwrap();
    settle(&fanout);
    assert_eq!((outside.given(), &fanout.status()[0].state), (vec![1], &TargetState::Paused));

    fanout.resume("one").unwrap();
    settle(&fanout);
    assert_eq!(outside.given(), [1, 2]);
}

#[test]
fn a_target_that_coverage_has_left_behind_fails_and_can_be_set_on_again() {
    let scene = Scene::new().limits(3600, 5);
    let journal = scene.open();
    let outside = Outside::default();
    let fanout = scene.fanout(&journal, FanoutConfig::default()).unwrap();
    fanout.add("late", Box::new(outside.clone()), Asked::Start).unwrap();
    for n in 1..=8 {
        record(&journal, change(n));
    }

    settle(&fanout);

    let state = fanout.status()[0].state.clone();
    assert!(
        matches!(&state, TargetState::Failed { reason } if reason.contains("nearest is event 4")),
        "{state:?}"
    );
    assert!(matches!(fanout.reset("late", Asked::Event(2)), Err(JournalError::Uncovered { .. })));
    fanout.reset("late", Asked::Event(6)).unwrap();
    settle(&fanout);
    assert_eq!(outside.given(), [6, 7, 8]);
}

#[test]
fn a_cursor_past_the_end_of_the_journal_is_refused() {
    let scene = Scene::new();
    let journal = scene.open();
    let fanout = scene.fanout(&journal, FanoutConfig::default()).unwrap();
    let error = fanout.add("x", Box::new(Outside::default()), Asked::Event(2)).unwrap_err();
    assert!(matches!(error, JournalError::Ahead { .. }));
    record(&journal, change(1));
    fanout.add("one", Box::new(Outside::default()), Asked::Start).unwrap();
    let taken = fanout.add("one", Box::new(Outside::default()), Asked::Start).unwrap_err();
    let bad = fanout.add("../x", Box::new(Outside::default()), Asked::Start).unwrap_err();
    let none = fanout.pause("two").unwrap_err();
    assert!([taken, bad, none].iter().all(|error| error.kind() == ErrorKind::Invalid));
}

/// A journal of the real system, with threads.
struct Real {
    _scratch: tempfile::TempDir,
    log: Log,
    journal: Journal,
    fanout: Fanout,
}

fn real(config: FanoutConfig) -> Real {
    let scratch = tempfile::tempdir().unwrap();
    let mut wal = WalConfig::zero_loss();
    wal.segment_bytes = "64KiB".parse().unwrap();
    let (log, report) =
        Log::open(&scratch.path().join("log"), wal, LogParts::os(), Drive::Thread, OpenAs::Continue).unwrap();
    let parts = JournalParts::new(log.clone(), &report, Drive::Thread, Arc::new(OsClock::new()));
    let journal = Journal::open(parts, JournalConfig::default(), None).unwrap();
    let parts = FanoutParts {
        disk: Arc::new(OsDisk::new()),
        entropy: Arc::new(OsEntropy::new()),
        dir: scratch.path().join("cursors"),
        drive: Drive::Thread,
    };
    let fanout = Fanout::new(journal.clone(), config, parts).unwrap();
    Real { _scratch: scratch, log, journal, fanout }
}

/// Hangs in its first call until told.
struct Hangs(mpsc::Receiver<()>);

impl Target for Hangs {
    fn apply(&mut self, _: &[ChangeEvent]) -> Result<(), TargetError> {
        self.0.recv().ok();
        Ok(())
    }
}

#[test]
fn a_target_that_hangs_holds_up_no_other_and_is_left_behind_at_the_deadline() {
    let mut config = FanoutConfig::default();
    config.lag_max = HumanDuration::from_millis(50);
    let real = real(config);
    let (heard, hears) = mpsc::channel();
    let heard = std::sync::Mutex::new(heard);
    real.journal.on_event(Box::new(move |event| drop(heard.lock().unwrap().send(event.clone()))));
    let (release, waits) = mpsc::channel();
    let good = Outside::default();
    real.fanout.add("hangs", Box::new(Hangs(waits)), Asked::Start).unwrap();
    real.fanout.add("good", Box::new(good.clone()), Asked::Start).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let journal = real.journal.clone();
            scope.spawn(move || {
                for n in 0..25 {
                    journal.record(change(writer * 100 + n), AckLevel::Durable).unwrap();
                }
            });
        }
    });
    // The target that hangs is told of by somebody else.
    let told = hears.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(matches!(&told, JournalEvent::TargetLags { target, .. } if target == "hangs"), "{told:?}");

    let stopped = real.fanout.stop(Duration::from_secs(2));

    assert_eq!(good.given(), (1..=100).collect::<Vec<_>>());
    assert!(stopped[0].is_busy && !stopped[0].is_drained, "{stopped:?}");
    assert!(!stopped[1].is_busy && stopped[1].is_drained, "{stopped:?}");
    drop(release);
    real.log.close().unwrap();
}

#[test]
fn a_graceful_stop_drains() {
    let real = real(FanoutConfig::default());
    let outside = Outside::default();
    *outside.trouble.lock().unwrap() = vec![TargetError::Recoverable("not yet".into())];
    real.fanout.add("one", Box::new(outside.clone()), Asked::Start).unwrap();
    for n in 0..50 {
        record(&real.journal, change(n));
    }

    let stopped = real.fanout.stop(Duration::from_secs(20));

    assert!(stopped[0].is_drained && !stopped[0].is_busy, "{stopped:?}");
    assert_eq!(outside.given(), (1..=50).collect::<Vec<_>>());
    real.log.close().unwrap();
}
