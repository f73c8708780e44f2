//! What somebody should know of at once: told when it happens, and told once.

use std::sync::Condvar;

use rpo_core::time::ClockAnomaly;

use super::disk::Op;
use super::*;
use crate::WalEvent;

type Heard = Arc<Mutex<Vec<WalEvent>>>;

fn listen(log: &Log) -> Heard {
    let heard = Heard::default();
    let into = Arc::clone(&heard);
    log.on_event(Box::new(move |event| into.lock().unwrap().push(event.clone())));
    heard
}

fn heard(heard: &Heard) -> Vec<WalEvent> {
    heard.lock().unwrap().clone()
}

#[test]
fn a_slow_sync_is_told_as_a_stall_that_is_over() {
    let site = Site::new();
    let log = site.open();
    append(&log, 0);
    let events = listen(&log);
    let clock = Arc::clone(&site.clock);
    site.disk.on_sync(Some(Arc::new(move || clock.advance(Duration::from_secs(3)))));

    append(&log, 1);

    let took = Duration::from_secs(3);
    assert_eq!(heard(&events), [WalEvent::Stalled { elapsed: took }, WalEvent::Resumed { took }]);
    site.disk.on_sync(None);
    append(&log, 2);
    assert_eq!(heard(&events).len(), 2, "a quick one is no news");
}

#[test]
fn a_sync_that_does_not_come_back_is_told_by_the_clock() {
    let mut config = small();
    config.stall_after = HumanDuration::from_millis(20);
    config.spares = 1;
    let mut site = Site::with(config);
    site.drive = Drive::Thread;
    let log = site.open();
    append(&log, 0);
    let events = listen(&log);
    let hold = Arc::new((Mutex::new(true), Condvar::new()));
    let held = Arc::clone(&hold);
    site.disk.on_sync(Some(Arc::new(move || {
        let mut holds = held.0.lock().unwrap();
        while *holds {
            holds = held.1.wait(holds).unwrap();
        }
    })));
    let writer = std::thread::spawn({
        let log = log.clone();
        move || append(&log, 1)
    });

    // A generous bound, not a measurement: without the clock nobody would ever be told.
    for _ in 0..6_000 {
        site.clock.advance(Duration::from_millis(5));
        if !heard(&events).is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }

    assert!(
        matches!(heard(&events)[..], [WalEvent::Stalled { elapsed }] if elapsed > Duration::from_millis(20))
    );
    assert!(log.flushing_for().is_some_and(|since| since > Duration::from_millis(20)));
    *hold.0.lock().unwrap() = false;
    hold.1.notify_all();
    writer.join().unwrap();
    log.close().unwrap();
    assert!(matches!(heard(&events)[..], [WalEvent::Stalled { .. }, WalEvent::Resumed { .. }]));
}

#[test]
fn a_failure_is_told_once_and_a_full_disk_when_it_begins_and_ends() {
    let site = Site::new();
    let log = site.open();
    settle(&log);
    let events = listen(&log);
    site.disk.limit(Some(0));
    append(&log, 0); // uses the spare; there is no room for another
    for _ in 0..3 {
        log.step();
    }
    assert!(matches!(heard(&events)[..], [WalEvent::NoSpare { .. }]), "{events:?}");
    site.disk.limit(None);
    settle(&log);
    assert_eq!(heard(&events)[1..], [WalEvent::SpareBack]);

    site.disk.fail(Op::Sync, 0);
    log.append(CommitDraft::one("lost?"), AckLevel::Durable).unwrap_err();
    log.append(CommitDraft::one("refused"), AckLevel::Durable).unwrap_err();
    assert!(matches!(&heard(&events)[2..], [WalEvent::Poisoned { cause }] if cause.contains("sync")));
}

#[test]
fn a_clock_that_stepped_is_told() {
    let site = Site::new();
    let log = site.open();
    let first = append(&log, 1);
    let events = listen(&log);
    let found = first.time.saturating_sub(Duration::from_secs(7200));
    site.clock.step_wall(found);
    append(&log, 2);
    assert_eq!(heard(&events), [WalEvent::ClockStepped(ClockAnomaly { expected: first.time, found })]);
}
