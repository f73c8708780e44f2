//! A full disk: refused before anything is half written, and it goes on by itself.

use rpo_core::ErrorKind;

use super::*;

fn append_until_full(log: &Log) -> (u64, WalError) {
    for n in 0.. {
        if let Err(error) = log.append(CommitDraft::one(payload(n)), AckLevel::Durable) {
            return (n, error);
        }
        assert!(n < 10_000, "the disk never fills");
    }
    unreachable!()
}

#[test]
fn a_full_disk_refuses_appends_and_loses_nothing() {
    let site = Site::new();
    let log = site.open();
    site.disk.limit(Some(60_000));

    let (done, error) = append_until_full(&log);

    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    assert!(error.to_string().contains("free some space"), "{error}");
    assert_eq!(log.poisoned(), None, "a full disk is no failure");
    assert_eq!(payloads(&log).unwrap(), expected(0..done));

    site.disk.limit(None);
    append(&log, done);
    assert_eq!(payloads(&log).unwrap(), expected(0..done + 1), "it went on by itself, without a hole");
}

#[test]
fn a_log_with_a_full_disk_opens_and_reads() {
    let site = Site::new();
    let log = site.open();
    site.disk.limit(Some(60_000));
    let (done, _) = append_until_full(&log);
    log.close().unwrap();

    let log = site.open();
    assert_eq!(payloads(&log).unwrap(), expected(0..done));
    let error = log.append(CommitDraft::one("x"), AckLevel::Durable).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    site.disk.limit(None);
    append(&log, done);
}

#[test]
fn space_comes_back_while_threads_wait() {
    let mut site = Site::new();
    site.drive = Drive::Thread;
    let log = site.open();
    site.disk.limit(Some(60_000));
    let (done, error) = append_until_full(&log);
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    site.disk.limit(None);
    site.clock.advance(Duration::from_secs(1)); // the retry goes by the clock it was given
    let mut tries = 0;
    while log.append(CommitDraft::one(payload(done)), AckLevel::Durable).is_err() {
        site.clock.advance(Duration::from_secs(1));
        std::thread::sleep(Duration::from_millis(5));
        tries += 1;
        assert!(tries < 10_000, "it never went on");
    }
    assert_eq!(payloads(&log).unwrap(), expected(0..done + 1));
}

#[test]
fn a_spare_that_could_not_be_made_leaves_nothing_behind() {
    let site = Site::new();
    let log = site.open();
    site.disk.limit(Some(60_000));
    append_until_full(&log);
    let spares = site.disk.names().iter().filter(|n| n.starts_with("spare")).count();
    assert_eq!(spares, 0, "{:?}", site.disk.names());
}
