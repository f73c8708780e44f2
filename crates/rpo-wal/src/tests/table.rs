//! The rows of the decision table in `segment.md`, each on a real log.

use rpo_core::ErrorKind;
use rpo_core::frame::{FrameHead, HEAD_BYTES};

use super::disk::SECTOR;
use super::*;
use crate::Tail;

/// Offsets and heads of the frames in a segment file.
fn frames(bytes: &[u8]) -> Vec<(usize, FrameHead)> {
    let mut found = Vec::new();
    let mut at = 8192;
    while let Some(Ok(head)) = bytes[at..].first_chunk::<HEAD_BYTES>().map(FrameHead::decode) {
        found.push((at, head));
        at += head.frame_len();
    }
    found
}

/// A log of three commits, each a frame of about three sectors; killed, so that the last frame is not proven.
fn killed() -> (Site, PathBuf, Vec<(usize, FrameHead)>) {
    let site = Site::new();
    let log = site.open();
    for _ in 0..3 {
        log.append(CommitDraft::one("y".repeat(1400)), AckLevel::Durable).unwrap();
    }
    settle(&log);
    drop(log);
    let path = site.newest_segment();
    let frames = frames(&site.disk.bytes(&path));
    assert_eq!(frames.len(), 3);
    (site, path, frames)
}

/// The same log, closed: the control file says that all of it was durable.
fn closed() -> (Site, PathBuf, Vec<(usize, FrameHead)>) {
    let (site, ..) = killed();
    site.open().close().unwrap();
    let path = site.newest_segment();
    let frames = frames(&site.disk.bytes(&path));
    (site, path, frames)
}

#[track_caller]
fn refused(site: &Site, path: &Path, at: (usize, FrameHead), because: &str) {
    let before = site.disk.bytes(path);
    let error = site.try_open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    let text = error.to_string();
    let (file, lsn, offset) = (path.display(), at.1.base_lsn, at.0);
    assert!(text.starts_with(&format!("{file}: corrupt at lsn {lsn}, offset {offset}")), "{text}");
    assert!(text.contains(because), "{text}");
    assert_eq!(site.disk.bytes(path), before, "the evidence stays");
}

#[test]
fn row_1_a_bad_frame_before_a_later_segment_is_corrupt() {
    let site = Site::new();
    let log = site.open();
    for _ in 0..10 {
        log.append(CommitDraft::one("z".repeat(1400)), AckLevel::Durable).unwrap();
    }
    settle(&log);
    drop(log);
    let first = Path::new(DIR).join("0000000000000000-00000001.rwal");
    assert_ne!(site.newest_segment(), first);
    let last = *frames(&site.disk.bytes(&first)).last().unwrap();
    site.disk.tamper(&first, |b| b[last.0 + 100] ^= 1);
    refused(&site, &first, last, "a later segment proves");
}

#[test]
fn row_1_a_missing_segment_is_named_with_its_range() {
    let site = Site::new();
    let log = site.open();
    for _ in 0..16 {
        log.append(CommitDraft::one("z".repeat(1400)), AckLevel::Durable).unwrap();
    }
    settle(&log);
    drop(log);
    let segments: Vec<_> = site.disk.names().into_iter().filter(|n| n.ends_with(".rwal")).collect();
    assert!(segments.len() >= 3, "{segments:?}");
    for missing in &segments {
        let site = Site { disk: Arc::new(site.disk.copy()), ..Site::new() };
        site.disk.remove(&Path::new(DIR).join(missing)).unwrap();
        match site.try_open() {
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{missing}: {error}"),
            // Nothing but the control file can tell of the newest, and this log was not closed.
            Ok(_) => assert_eq!(missing, segments.last().unwrap()),
        }
    }
    site.open().close().unwrap();
    site.disk.remove(&site.newest_segment()).unwrap();
    assert!(matches!(site.try_open(), Err(WalError::DurableLost { .. })));
}

#[test]
fn row_2_zeros_after_the_last_frame_are_a_clean_end() {
    let (site, _, frames) = killed();
    let (log, report) = site.try_open().unwrap();
    assert_eq!((report.tail, report.commits), (Tail::Clean, 3));
    let last = frames[2].1;
    assert_eq!(report.proven, last.durable_lsn, "the last frame's own sync is not proven to have returned");
    assert_eq!(report.repersisted_bytes, last.frame_len() as u64, "so it was written and synced again");
    assert_eq!(log.durable().lsn, last.end_lsn());
}

#[test]
fn row_3_a_frame_with_a_missing_sector_is_torn_and_cut() {
    let (site, path, frames) = killed();
    let (at, head) = frames[2];
    let first_whole = at.next_multiple_of(SECTOR);
    site.disk.tamper(&path, |b| b[first_whole..first_whole + SECTOR].fill(0));
    let evidence = site.disk.bytes(&path);

    let (log, report) = site.try_open().unwrap();

    let Tail::Torn { lsn: cut, offset, bytes, .. } = report.tail else { panic!("{report:#?}") };
    assert_eq!((cut, offset), (head.base_lsn, at as u64));
    assert!(bytes > 0);
    append(&log, 1);
    append(&log, 2);
    drop(log);
    assert_eq!(site.disk.bytes(&path), evidence, "the old file is never touched again");
    let (log, report) = site.try_open().unwrap();
    assert_eq!((report.tail, report.commits), (Tail::Clean, 4));
    assert_eq!(payloads(&log).unwrap()[2..], expected(1..3));
}

#[test]
fn row_3_a_frame_whose_head_is_missing_is_torn_and_cut() {
    let (site, path, frames) = killed();
    let at = frames[2].0;
    site.disk.tamper(&path, |b| b[at..at.next_multiple_of(SECTOR)].fill(0));
    let (_log, report) = site.try_open().unwrap();
    assert!(matches!(report.tail, Tail::Torn { .. }), "{report:#?}");
}

#[test]
fn row_4_a_damaged_frame_without_a_missing_sector_is_rot() {
    for at in [5, 20, 63, 64, 90, 1400] {
        let (site, path, frames) = killed();
        site.disk.tamper(&path, |b| b[frames[2].0 + at] ^= 0x20);
        refused(&site, &path, frames[2], "no sector of it is zero");
    }
}

#[test]
fn row_4_a_head_zeroed_within_its_sector_is_rot() {
    let (site, path, frames) = killed();
    let at = frames[2].0;
    assert!(at % SECTOR + HEAD_BYTES < SECTOR, "the head shares its sector with other bytes of the frame");
    site.disk.tamper(&path, |b| b[at..at + HEAD_BYTES].fill(0));
    refused(&site, &path, frames[2], "no sector of it is zero");
}

#[test]
fn row_5_an_end_before_what_the_control_file_saw_is_lost_data() {
    let (site, path, frames) = closed();
    let (at, head) = *frames.last().unwrap();
    site.disk.tamper(&path, |b| b[at..at + head.frame_len()].fill(0));
    let error = site.try_open().unwrap_err();
    let WalError::DurableLost { end, witness, .. } = error else { panic!("{error}") };
    assert_eq!((end, witness), (head.base_lsn, head.end_lsn()));

    let (site, path, frames) = closed();
    let (at, _) = frames[0];
    site.disk.tamper(&path, |b| b[(at + 600) / SECTOR * SECTOR..][..SECTOR].fill(0));
    refused(&site, &path, frames[0], "was durable");
}

#[test]
fn row_5_the_caller_may_know_more_than_the_disk() {
    let (site, ..) = killed();
    let open = |witness| {
        let (dir, config) = (Path::new(DIR), site.config.clone());
        Log::open_witnessed(dir, config, site.parts(), Drive::Manual, OpenAs::Continue, witness)
    };
    let (log, report) = open(Lsn::ZERO).unwrap();
    let end = lsn(&log);
    drop(log);
    assert!(report.repersisted_bytes > 0);
    let (_, report) = open(end).unwrap();
    assert_eq!(report.repersisted_bytes, 0, "proven by the archive");
    let past = end.checked_add(1).unwrap();
    assert!(matches!(open(past), Err(WalError::DurableLost { witness, .. }) if witness == past));
}

#[test]
fn row_5_the_caller_may_know_more_than_a_closed_log() {
    let (site, _, frames) = closed();
    let (_, last) = *frames.last().unwrap();
    let witness = Lsn::new(last.end_lsn().get() + 1);
    let open =
        Log::open_witnessed(Path::new(DIR), small(), site.parts(), Drive::Manual, OpenAs::Continue, witness);
    assert!(matches!(open, Err(WalError::DurableLost { .. })), "{open:?}");
}

#[test]
fn row_6_a_later_frame_proves_that_a_damaged_one_was_durable() {
    for at in [0, 70, 1000] {
        let (site, path, frames) = killed();
        site.disk.tamper(&path, |b| b[frames[1].0 + at] ^= 4);
        let later_proof = frames[2].1.durable_lsn > frames[1].1.base_lsn;
        assert!(later_proof);
        refused(&site, &path, frames[1], "a later frame proves");

        let (site, path, frames) = killed();
        let (from, to) = (frames[1].0, frames[2].0);
        site.disk.tamper(&path, |b| b[from..to].fill(0));
        refused(&site, &path, frames[1], "a later frame proves");
    }
}

#[test]
fn row_7_frames_of_one_unsynced_window_may_reach_the_disk_out_of_order() {
    let mut config = small();
    config.sync_delay_max = HumanDuration::from_secs(60);
    let site = Site::with(config);
    let log = site.open();
    log.append(CommitDraft::one("y".repeat(1000)), AckLevel::Durable).unwrap();
    settle(&log);
    for _ in 0..3 {
        log.append(CommitDraft::one("y".repeat(1000)), AckLevel::Os).unwrap();
    }
    drop(log);
    let path = site.newest_segment();
    let all = frames(&site.disk.bytes(&path));
    let (lost, end) = (all[1].0, all[2].0);
    site.disk.power_cut(|file, sector| file != path || !(lost..end).contains(&(sector * SECTOR)));

    let (log, report) = site.try_open().unwrap();

    let Tail::Unordered { lsn: cut, frames, .. } = report.tail else { panic!("{report:#?}") };
    assert_eq!(cut, all[1].1.base_lsn);
    assert!(frames >= 1, "at least the last one was whole");
    assert_eq!(report.commits, 1);
    append(&log, 5);
    drop(log);
    assert_eq!(site.try_open().unwrap().1.commits, 2, "what was cut stays cut");
}

#[test]
fn row_8_a_valid_frame_in_the_wrong_place_is_corrupt() {
    let (site, path, frames) = killed();
    let ((from, head), end) = (frames[1], frames[2].0 + frames[2].1.frame_len());
    site.disk.tamper(&path, |b| b.copy_within(from..from + head.frame_len(), end));
    let error = site.try_open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("a valid frame of another LSN"), "{error}");
}

#[test]
fn a_segment_file_cut_short_is_refused() {
    let (site, path, _) = killed();
    site.disk.tamper(&path, |b| b.truncate(12000));
    assert_eq!(site.try_open().unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn files_of_another_log_are_refused() {
    let (site, path, _) = killed();
    let (other, other_path, _) = killed();
    let append_more = other.open();
    append(&append_more, 1);
    drop(append_more);
    let foreign = Site { disk: Arc::new(site.disk.copy()), ..Site::new() };
    // Same entropy, same identity: make another log by hand.
    let mut bytes = other.disk.bytes(&other_path);
    let mut header = crate::segment::Prepared::decode(bytes.first_chunk().unwrap()).unwrap();
    header.log = rpo_core::LogId::from_bytes([9; 16]);
    bytes[..4096].copy_from_slice(&header.encode());
    foreign.disk.tamper(&path, |b| *b = bytes);
    assert!(matches!(foreign.try_open(), Err(WalError::ForeignFile { .. })));
}

#[test]
fn opening_again_and_again_after_a_cut_finds_the_same() {
    let (site, path, frames) = killed();
    let first_whole = frames[2].0.next_multiple_of(SECTOR);
    site.disk.tamper(&path, |b| b[first_whole..first_whole + SECTOR].fill(0));
    for _ in 0..3 {
        let (log, report) = site.try_open().unwrap();
        assert!(matches!(report.tail, Tail::Torn { .. }) || report.repersisted_bytes > 0, "{report:#?}");
        assert_eq!(report.commits, 2);
        drop(log);
    }
}
