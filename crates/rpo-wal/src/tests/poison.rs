//! A failed write or sync: nobody is told a lie, nobody waits for ever, nothing is tried again on the same file.

use rpo_core::ErrorKind;

use super::disk::Op;
use super::*;
use crate::Step;

#[test]
fn a_failed_sync_poisons_the_log_before_anyone_is_released() {
    let site = Site::new();
    let log = site.open();
    append_all(&log, 0..3);
    let durable = log.durable();
    site.disk.fail(Op::Sync, 0);

    let error = log.append(CommitDraft::one("lost?"), AckLevel::Durable).unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Unknown, "{error}");
    assert_eq!(log.durable(), durable);
    assert!(log.poisoned().is_some_and(|cause| cause.contains("sync")));
    let after = log.append(CommitDraft::one("refused"), AckLevel::Durable).unwrap_err();
    assert_eq!(after.kind(), ErrorKind::Refused, "{after}");
    assert_eq!(log.sync().unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(log.step(), Step::Poisoned);
    assert_eq!(payloads(&log).unwrap(), expected(0..3), "it reads what was durable, and no more");
    assert_eq!(log.close().unwrap_err().kind(), ErrorKind::Refused);
}

#[test]
fn a_failed_write_poisons_the_log_too() {
    let site = Site::new();
    let log = site.open();
    append_all(&log, 0..3);
    site.disk.fail(Op::Write, 0);
    let error = log.append(CommitDraft::one("lost?"), AckLevel::Durable).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unknown, "{error}");
    assert!(error.to_string().contains("write of /log/"), "{error}");
    assert_eq!(payloads(&log).unwrap(), expected(0..3));
}

#[test]
fn those_before_the_failure_keep_their_acknowledgement() {
    let site = Site::new();
    let log = site.open();
    let early = log.submit(CommitDraft::one("early")).unwrap();
    log.step();
    site.disk.fail(Op::Sync, 0);
    let late = log.submit(CommitDraft::one("late")).unwrap();
    let later = log.submit(CommitDraft::one("later")).unwrap();
    log.step();
    assert!(early.poll().unwrap().is_ok());
    for ticket in [late, later] {
        assert_eq!(ticket.poll().unwrap().unwrap_err().kind(), ErrorKind::Unknown);
    }
}

#[test]
fn many_writers_see_one_failed_sync_and_none_hangs_or_is_lied_to() {
    let mut site = Site::new();
    site.drive = Drive::Thread;
    let log = site.open();
    append_all(&log, 0..10);
    site.disk.fail(Op::Sync, 5);
    let (told, results) = std::sync::mpsc::channel();
    for writer in 0..64u64 {
        let (log, told) = (log.clone(), told.clone());
        std::thread::spawn(move || {
            for n in 0..100 {
                let text = format!("{writer}/{n}");
                let outcome = log.append(CommitDraft::one(text.clone()), AckLevel::Durable);
                let failed = outcome.is_err();
                told.send((text, outcome)).unwrap();
                if failed {
                    return;
                }
            }
        });
    }
    drop(told);
    // A generous bound, not a measurement: a hang would never come to an end.
    let mut acknowledged = Vec::new();
    let mut failed = 0;
    while let Ok((text, outcome)) = results.recv_timeout(Duration::from_secs(60)) {
        match outcome {
            Ok(_) => acknowledged.push(text),
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::Unknown | ErrorKind::Refused), "{error}");
                failed += 1;
            }
        }
    }
    assert_eq!(failed, 64, "every writer came to an end");
    drop(log);
    site.disk.power_cut(|_, _| false);
    site.drive = Drive::Manual;
    let found = payloads(&site.open()).unwrap();
    for text in acknowledged {
        assert!(found.contains(&text), "{text} was acknowledged and is lost");
    }
}

#[test]
fn reopening_writes_the_unproven_tail_again_elsewhere_before_it_tells_of_it() {
    let site = Site::new();
    let log = site.open();
    append_all(&log, 0..3);
    site.disk.fail(Op::Sync, 0);
    log.append(CommitDraft::one("in the cache only"), AckLevel::Durable).unwrap_err();
    drop(log);
    site.disk.kill_process();

    // The cache still shows what the disk lacks, and a second sync of that file would change nothing.
    let (log, report) = site.try_open().unwrap();
    assert_eq!(report.commits, 4);
    assert!(report.repersisted_bytes > 0, "{report:#?}");
    let before = payloads(&log).unwrap();
    drop(log);
    site.disk.power_cut(|_, _| false);

    assert_eq!(payloads(&site.open()).unwrap(), before, "what opening told of survives a power cut");
}

#[test]
fn a_failed_sync_of_the_first_group_of_a_segment_is_survived_too() {
    let site = Site::new();
    let log = site.open();
    append_all(&log, 0..1);
    let room = 7000;
    log.append(CommitDraft::one("f".repeat(room)), AckLevel::Durable).unwrap();
    settle(&log);
    site.disk.fail(Op::Sync, 0);
    log.append(CommitDraft::one("g".repeat(room)), AckLevel::Durable).unwrap_err();
    drop(log);
    for _ in 0..3 {
        // Killed and opened again without a reboot in between, then the power goes.
        let log = site.open();
        assert_eq!(payloads(&log).unwrap().len(), 3);
        drop(log);
    }
    site.disk.power_cut(|_, _| false);
    assert_eq!(payloads(&site.open()).unwrap().len(), 3);
}

#[test]
fn every_write_and_every_sync_may_fail_once() {
    for op in [Op::Write, Op::Sync, Op::SyncDir] {
        for after in 0.. {
            let site = Site::new();
            site.disk.fail(op, after);
            let mut acknowledged = Vec::new();
            let mut run = || -> Result<(), WalError> {
                let (log, _) = site.try_open()?;
                for n in 0..12 {
                    log.append(CommitDraft::one(payload(n).repeat(20)), AckLevel::Durable)?;
                    acknowledged.push(payload(n).repeat(20));
                    log.step();
                }
                log.close()
            };
            let failed = run().is_err();
            let hit = site.disk.fault_is_used();
            for cut in [false, true] {
                let site = Site { disk: Arc::new(site.disk.copy_durably()), ..Site::new() };
                if cut {
                    site.disk.power_cut(|_, _| false);
                }
                let log = site.open();
                let found = payloads(&log).unwrap();
                assert!(
                    found.starts_with(&acknowledged),
                    "{op:?} {after}, power cut {cut}: {} of {}",
                    found.len(),
                    acknowledged.len()
                );
                append(&log, 99);
            }
            if !hit {
                assert!(!failed);
                break;
            }
        }
    }
}
