//! Segments follow one another without a gap, and go when they are told to.

use rpo_core::ErrorKind;
use rpo_core::frame::Frame;

use super::*;

#[test]
fn a_log_goes_on_over_many_segments_and_is_read_as_one() {
    let site = Site::new();
    let log = site.open();
    append_all(&log, 0..400);
    settle(&log);
    let segments = site.disk.names().iter().filter(|n| n.ends_with(".rwal")).count();
    assert!(segments > 4, "{segments}");
    assert_eq!(payloads(&log).unwrap(), expected(0..400));
    drop(log);
    let (log, report) = site.try_open().unwrap();
    assert_eq!((report.commits, payloads(&log).unwrap()), (400, expected(0..400)));
}

#[test]
fn acknowledged_records_survive_a_power_cut_at_every_write_of_a_rotation() {
    for lost in 0..40 {
        let site = Site::new();
        let log = site.open();
        append_all(&log, 0..60);
        settle(&log);
        let mut acknowledged = 60;
        // The disk refuses at some moment of the rotation, then the power goes.
        site.disk.fail(disk::Op::Write, lost);
        for n in 60..120 {
            match log.append(CommitDraft::one(payload(n)), AckLevel::Durable) {
                Ok(_) => acknowledged = n + 1,
                Err(_) => break,
            }
            log.step();
        }
        drop(log);
        let salt = lost as usize;
        site.disk.power_cut(|path, sector| (path.as_os_str().len() + sector * 7 + salt).is_multiple_of(3));

        let log = site.open();
        let found = payloads(&log).unwrap();
        assert!(found.len() as u64 >= acknowledged, "{lost}: {} of {acknowledged}", found.len());
        assert_eq!(found, expected(0..found.len() as u64));
    }
}

#[test]
fn released_segments_are_gone_and_the_rest_is_whole() {
    let site = Site::new();
    let log = site.open();
    append_all(&log, 0..400);
    settle(&log);
    let middle = log.replay(Lsn::ZERO).nth(200).unwrap().unwrap().lsn();

    let gone = log.release(middle).unwrap();

    assert!(gone >= 1);
    let start = log.start();
    assert!(start.lsn <= middle && start.lsn > Lsn::ZERO);
    let error = log.replay(Lsn::ZERO).next().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let before = start.sequence.unwrap().get();
    assert_eq!(payloads(&log).unwrap(), expected(before..400));
    log.release(Lsn::MAX).unwrap();
    let left = site.disk.names().iter().filter(|n| n.ends_with(".rwal")).count();
    assert_eq!(left, 1, "the newest stays");
    drop(log);
    let (log, report) = site.try_open().unwrap();
    assert_eq!(report.start, log.start());
    assert!(report.start.lsn > start.lsn);
}

#[test]
fn a_release_that_a_crash_interrupted_is_finished() {
    let site = Site::new();
    let log = site.open();
    append_all(&log, 0..400);
    settle(&log);
    let old = site.disk.copy();
    assert!(log.release(Lsn::MAX).unwrap() > 2);
    drop(log);
    // The control file was written, some segments were not removed yet.
    let control = site.disk.bytes(&Path::new(DIR).join("control"));
    let site = Site { disk: Arc::new(old), ..Site::new() };
    site.disk.tamper(&Path::new(DIR).join("control"), |b| *b = control);

    let (log, report) = site.try_open().unwrap();

    assert!(report.start.lsn > Lsn::ZERO);
    assert!(payloads(&log).unwrap().ends_with(&expected(395..400)));
    let left = site.disk.names().iter().filter(|n| n.ends_with(".rwal")).count();
    assert!(left <= 2, "{:?}", site.disk.names());
}

#[test]
fn frames_are_given_whole_and_from_anywhere() {
    let site = Site::new();
    let log = site.open();
    let ends: Vec<_> = (0..200).map(|n| append(&log, n)).collect();
    for start in ends.iter().step_by(17) {
        let range = log.read_frames(start.lsn, 3000).unwrap();
        assert_eq!(range.from.lsn, start.lsn, "each commit here is a frame of its own");
        assert!(range.frames >= 1 && (range.bytes.len() <= 3000 || range.frames == 1));
        let mut bytes = range.bytes.clone();
        let mut at = range.from;
        while !bytes.is_empty() {
            let (frame, used) = Frame::decode(&bytes).unwrap();
            assert_eq!(frame.head().start(), at);
            at = frame.head().end();
            bytes = bytes.slice(used..);
        }
        assert_eq!(at, range.to);
    }
    let inside = Lsn::new(ends[5].lsn.get() + 3);
    assert_eq!(log.read_frames(inside, 10).unwrap().from.lsn, ends[5].lsn, "the frame that holds it");
    let end = log.read_frames(log.durable().lsn, 1000).unwrap();
    assert_eq!((end.frames, end.bytes.len(), end.to), (0, 0, log.durable()));
    let past = log.durable().lsn.checked_add(1).unwrap();
    assert_eq!(log.read_frames(past, 1000).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn times_are_found_across_segments_and_after_reopening() {
    let site = Site::new();
    let log = site.open();
    let all: Vec<_> = (0..300)
        .map(|n| {
            site.clock.advance(Duration::from_millis(if n % 3 == 0 { 0 } else { 400 }));
            append(&log, n)
        })
        .collect();
    let check = |log: &Log| {
        for (n, one) in all.iter().enumerate().step_by(7) {
            let last_at_that_time = all.iter().rposition(|other| other.time == one.time).unwrap();
            assert_eq!(log.seek_time(one.time).unwrap(), Some(all[last_at_that_time].end), "commit {n}");
            let just_before = one.time.saturating_sub(Duration::from_micros(1));
            let expected = all.iter().rposition(|other| other.time <= just_before).map(|n| all[n].end);
            assert_eq!(log.seek_time(just_before).unwrap(), expected);
        }
    };
    check(&log);
    drop(log);
    check(&site.open());
}

#[test]
fn a_smaller_segment_size_takes_over_an_unproven_tail_of_a_larger_one() {
    let mut config = small();
    config.segment_bytes = "64KiB".parse().unwrap();
    config.sync_delay_max = HumanDuration::from_secs(60);
    let mut site = Site::with(config);
    let log = site.open();
    for _ in 0..20 {
        log.append(CommitDraft::one("w".repeat(2000)), AckLevel::Os).unwrap();
    }
    drop(log);
    site.config = small();
    let (log, report) = site.try_open().unwrap();
    assert_eq!(report.commits, 20);
    append_all(&log, 0..30);
    drop(log);
    site.disk.power_cut(|_, _| false);
    assert_eq!(payloads(&site.open()).unwrap().len(), 50);
}

#[test]
fn a_witness_is_carried_out_when_the_log_goes_idle() {
    let mut config = small();
    config.heartbeat_after = HumanDuration::from_secs(1);
    let site = Site::with(config);
    let log = site.open();
    append(&log, 1);
    settle(&log);
    let busy = log.durable();
    site.clock.advance(Duration::from_secs(1));
    settle(&log);
    assert!(log.durable().lsn > busy.lsn, "a heartbeat was written");
    site.clock.advance(Duration::from_secs(1));
    settle(&log);
    let quiet = log.durable();
    for _ in 0..5 {
        site.clock.advance(Duration::from_secs(10));
        settle(&log);
    }
    assert_eq!(log.durable(), quiet, "one is enough");
    drop(log);
    let (_, report) = site.try_open().unwrap();
    assert_eq!(report.proven, quiet.lsn, "even the heartbeat itself, by the control file");
    assert_eq!(report.repersisted_bytes, 0);
}
