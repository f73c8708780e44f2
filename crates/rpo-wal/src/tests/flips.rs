//! One flipped bit anywhere: found and named, or provably harmless.

use bytes::Bytes;
use rpo_core::ErrorKind;

use super::*;
use crate::inspect_segment;

/// Flips a bit of every byte of every file and compares what is read with what was acknowledged. Every byte is judged by
/// reading the directory, each 37th also by opening the log, which does the same and more.
fn flip_every_byte(disk: &TestDisk, acknowledged: &[String]) -> (usize, usize) {
    let (mut refused, mut whole) = (0, 0);
    for name in disk.names() {
        let path = Path::new(DIR).join(&name);
        for at in 0..disk.bytes(&path).len() {
            disk.tamper(&path, |bytes| bytes[at] ^= 1 << (at % 8));
            let found = if at % 37 == 0 { opened(disk) } else { read(disk) };
            disk.tamper(&path, |bytes| bytes[at] ^= 1 << (at % 8));
            match found {
                Ok(found) => {
                    assert_eq!(found, acknowledged, "{name}, byte {at}: silently lost");
                    whole += 1;
                }
                Err(error) => {
                    let kind = error.kind();
                    assert!(
                        matches!(kind, ErrorKind::Corrupt | ErrorKind::Unsupported),
                        "{name}, byte {at}: {error}"
                    );
                    assert!(error.to_string().contains("/log"), "{name}, byte {at} is not named: {error}");
                    refused += 1;
                }
            }
        }
    }
    (refused, whole)
}

fn opened(disk: &TestDisk) -> Result<Vec<String>, WalError> {
    let site = Site { disk: Arc::new(disk.copy()), ..Site::new() };
    payloads(&site.try_open()?.0)
}

fn read(disk: &TestDisk) -> Result<Vec<String>, WalError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.same());
    let mut found = Vec::new();
    for entry in crate::replay_dir(&disk, Path::new(DIR))? {
        if let LogEntry::Commit(commit) = entry? {
            found.extend(commit.records.iter().map(|r| String::from_utf8_lossy(&r.payload).into_owned()));
        }
    }
    Ok(found)
}

#[test]
fn every_flipped_byte_of_a_closed_log_is_found_or_harmless() {
    let site = Site::new();
    let log = site.open();
    append_all(&log, 0..6);
    settle(&log);
    log.close().unwrap();
    let (refused, whole) = flip_every_byte(&site.disk.copy(), &expected(0..6));
    assert!(refused > 8192, "both header blocks and all frames: {refused} refused, {whole} harmless");
}

#[test]
fn every_flipped_byte_of_a_killed_log_is_found_or_harmless() {
    let site = Site::new();
    let log = site.open();
    append_all(&log, 0..6);
    drop(log); // bound, but still under a spare's name; the last frame is proven by nothing but itself
    let (refused, whole) = flip_every_byte(&site.disk.copy(), &expected(0..6));
    assert!(refused > 4096, "{refused} refused, {whole} harmless");
}

#[test]
fn an_image_of_any_bytes_is_read_or_refused() {
    let site = Site::new();
    let log = site.open();
    append_all(&log, 0..6);
    settle(&log);
    drop(log);
    let image = site.disk.bytes(&site.newest_segment());
    let (report, entries) = inspect_segment(&Bytes::from(image.clone())).unwrap();
    assert_eq!((report.commits, entries.len()), (6, 6));
    for len in [0, 1, 4095, 4096, 8192, 9000] {
        assert!(inspect_segment(&Bytes::from(image[..len].to_vec())).is_err(), "{len} bytes");
    }
    for at in 0..9000 {
        let mut broken = image.clone();
        broken[at] ^= 0x11;
        let _ = inspect_segment(&broken.into()); // must not panic
    }
}

#[test]
fn a_directory_is_read_without_opening_or_changing_it() {
    let site = Site::new();
    let log = site.open();
    append_all(&log, 0..30);
    drop(log);
    let before = site.disk.names();
    let disk: Arc<dyn Disk> = Arc::clone(&site.disk) as _;

    let replay = crate::replay_dir(&disk, Path::new(DIR)).unwrap();

    assert_eq!(replay.report().commits, 30);
    assert_eq!(replay.map(Result::unwrap).count(), 30);
    assert_eq!(site.disk.names(), before);
    assert_eq!(crate::replay_dir(&disk, Path::new("/")).unwrap_err().kind(), ErrorKind::NotFound);
}
