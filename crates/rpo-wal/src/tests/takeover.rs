//! A new writer begins a new epoch where the old one's history ends.

use rpo_core::{Epoch, ErrorKind, MarkerKind, Position, Sequence};

use super::*;

fn epoch(number: u32) -> Epoch {
    Epoch::new(number).unwrap()
}

fn fork() -> Position {
    Position { epoch: epoch(1), lsn: Lsn::new(5000), sequence: Some(Sequence::new(40)) }
}

fn takeover() -> OpenAs {
    OpenAs::Takeover { epoch: epoch(2), at: fork(), parent: Some(epoch(1)), not_before: Timestamp::EPOCH }
}

#[test]
fn a_takeover_begins_with_a_marker_at_the_fork() {
    let site = Site::new();
    let (log, report) = site.try_open_as(takeover()).unwrap();
    assert!(report.fresh);
    let first = log.replay(log.start().lsn).next().unwrap().unwrap();
    let LogEntry::Marker(marker) = first else { panic!("{first:?}") };
    assert_eq!((marker.lsn, marker.epoch, marker.sequence), (Lsn::new(5000), epoch(2), Sequence::new(40)));
    assert_eq!(marker.kind, MarkerKind::EpochStart { parent: Some(epoch(1)), fork: Lsn::new(5000) });
    assert_eq!(append(&log, 1).end.sequence, Some(Sequence::new(41)));
    assert_eq!(log.durable().epoch, epoch(2));
    drop(log);

    let again = site.try_open_as(takeover()).unwrap().0;
    assert_eq!(again.durable().sequence, Some(Sequence::new(41)), "doing it again goes on");
    drop(again);
    assert_eq!(site.open().durable().epoch, epoch(2), "and so does the plain way");
}

#[test]
fn a_takeover_cut_short_at_any_step_is_finished_by_the_next_opening() {
    for op in [disk::Op::Write, disk::Op::Sync, disk::Op::SyncDir] {
        for after in 0..12 {
            let site = Site::new();
            site.disk.fail(op, after);
            let _ = site.try_open_as(takeover());
            site.disk.calm();
            site.disk.power_cut(|_, _| false);
            let (log, _) = site.try_open_as(takeover()).unwrap();
            assert!(log.durable().lsn > Lsn::new(5000), "{op:?} {after}");
            assert_eq!(log.replay(log.start().lsn).count(), 1, "{op:?} {after}: one marker");
        }
    }
}

#[test]
fn a_log_may_be_taken_over_in_place_where_it_ends() {
    let site = Site::new();
    let log = site.open();
    append_all(&log, 0..5);
    let end = log.durable();
    log.close().unwrap();
    let open_as =
        OpenAs::Takeover { epoch: epoch(7), at: end, parent: Some(epoch(1)), not_before: Timestamp::EPOCH };

    let (log, _) = site.try_open_as(open_as).unwrap();
    append_all(&log, 5..8);
    drop(log);

    let (log, report) = site.try_open().unwrap();
    assert_eq!((report.end.epoch, report.commits), (epoch(7), 8));
    assert_eq!(payloads(&log).unwrap(), expected(0..8));
    let epochs: Vec<_> = log.replay(Lsn::ZERO).map(|e| e.unwrap().position().epoch.get()).collect();
    assert_eq!(epochs, [1, 1, 1, 1, 1, 7, 7, 7, 7]);
    let range = log.read_frames(Lsn::ZERO, usize::MAX).unwrap();
    assert_eq!((range.from.epoch, range.to.epoch), (epoch(1), epoch(7)));
}

#[test]
fn a_takeover_elsewhere_than_at_the_end_is_refused() {
    let site = Site::new();
    let log = site.open();
    append_all(&log, 0..5);
    let early = log.replay(Lsn::ZERO).nth(2).unwrap().unwrap().position();
    log.close().unwrap();
    let error = site
        .try_open_as(OpenAs::Takeover {
            epoch: epoch(2),
            at: early,
            parent: None,
            not_before: Timestamp::EPOCH,
        })
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("use an empty directory"), "{error}");
}

#[test]
fn an_older_epoch_is_fenced_by_what_it_finds() {
    let site = Site::new();
    let (log, _) = site.try_open_as(takeover()).unwrap();
    drop(log);
    let error = site
        .try_open_as(OpenAs::Takeover {
            epoch: epoch(1),
            at: fork(),
            parent: None,
            not_before: Timestamp::EPOCH,
        })
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
}

#[test]
fn a_new_writer_whose_clock_is_behind_stamps_nothing_before_its_parent() {
    let site = Site::new();
    let not_before = Timestamp::from_micros(i64::MAX / 4); // far ahead of this machine's clock
    let open_as = OpenAs::Takeover { epoch: epoch(2), at: fork(), parent: Some(epoch(1)), not_before };

    let (log, _) = site.try_open_as(open_as).unwrap();

    assert!(append(&log, 1).time >= not_before);
}
