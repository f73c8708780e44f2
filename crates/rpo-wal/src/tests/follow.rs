//! Readers see the durable prefix, all of it, and nothing else.

use super::*;

#[test]
fn a_follower_sees_what_is_durable_and_nothing_before() {
    let mut config = small();
    config.sync_delay_max = HumanDuration::from_secs(60);
    let site = Site::with(config);
    let log = site.open();
    let mut follow = log.follow(Lsn::ZERO).unwrap();
    log.append(CommitDraft::one("one"), AckLevel::Os).unwrap();
    assert_eq!(follow.try_next().unwrap(), None, "written is not durable");
    log.sync().unwrap();
    assert!(matches!(follow.try_next().unwrap(), Some(LogEntry::Commit(c)) if c.records[0].payload == "one"));
    assert_eq!(follow.try_next().unwrap(), None);
    assert_eq!(follow.next(Duration::ZERO).unwrap(), None);
}

#[test]
fn a_follower_keeps_up_across_segments_while_others_write() {
    let mut site = Site::new();
    site.drive = Drive::Thread;
    let log = site.open();
    let reader = log.clone();
    let seen = std::thread::spawn(move || {
        let mut follow = reader.follow(Lsn::ZERO).unwrap();
        let mut seen = Vec::new();
        while seen.len() < 300 {
            match follow.next(Duration::from_secs(60)).unwrap() {
                Some(LogEntry::Commit(commit)) => {
                    assert_eq!(commit.sequence.get(), seen.len() as u64 + 1, "no hole");
                    seen.push(String::from_utf8(commit.records[0].payload.to_vec()).unwrap());
                }
                Some(LogEntry::Marker(_)) => {}
                None => break,
            }
        }
        seen
    });
    append_all(&log, 0..300);
    assert_eq!(seen.join().unwrap(), expected(0..300));
}

#[test]
fn listeners_are_told_of_each_new_durable_position() {
    let site = Site::new();
    let log = site.open();
    let told = Arc::new(Mutex::new(Vec::new()));
    let inner = Arc::clone(&told);
    log.on_durable(Box::new(move |position, _, _| inner.lock().unwrap().push(position)));
    let ends: Vec<_> = (0..3).map(|n| append(&log, n).end).collect();
    assert_eq!(*told.lock().unwrap(), ends);
}

#[test]
fn replay_begins_where_it_is_told_to_and_never_with_half_a_commit() {
    let site = Site::new();
    let log = site.open();
    let all: Vec<_> = (0..50).map(|n| append(&log, n)).collect();
    for skip in [0, 1, 20, 49] {
        let first = log.replay(all[skip].lsn).next().unwrap().unwrap();
        assert_eq!(first.lsn(), all[skip].lsn);
    }
    let inside = Lsn::new(all[7].lsn.get() + 1);
    assert_eq!(log.replay(inside).next().unwrap().unwrap().lsn(), all[8].lsn);
    assert!(log.replay(lsn(&log)).next().is_none());
}

#[test]
fn damage_found_while_reading_is_named_and_ends_the_replay() {
    let site = Site::new();
    let log = site.open();
    append_all(&log, 0..5);
    settle(&log);
    site.disk.tamper(&site.newest_segment(), |b| b[8192 + 70] ^= 1);
    let mut replay = log.replay(Lsn::ZERO);
    assert_eq!(replay.next().unwrap().unwrap_err().kind(), rpo_core::ErrorKind::Corrupt);
    assert!(replay.next().is_none(), "nothing after a hole");
}
