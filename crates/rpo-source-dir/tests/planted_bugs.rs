//! The safety tests notice faults: each story here is one of theirs, told with its fault switched on.
#![allow(clippy::unwrap_used, reason = "a story that fails shall stop")]

mod common;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::time::Duration;

use common::{Snapshot, Still, path};
use rpo_core::Timestamp;
use rpo_core::ports::{Captured, Change, Entry, EntryKind, Metadata, Restorer, Source, Stability};
use rpo_os::OsEntropy;
use rpo_source_dir::{DirectoryOptions, DirectoryRestorer, DirectorySource, PlantedBug, RestoreOptions};

fn options(planted: Option<PlantedBug>) -> DirectoryOptions {
    DirectoryOptions { planted, ..DirectoryOptions::default() }
}

#[test]
fn a_trusted_racy_file_is_noticed() {
    let told = |planted| {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("file");
        fs::write(&file, "one").unwrap();
        let changed = Timestamp::from_micros(file.metadata().unwrap().ctime() * 1_000_000);
        let at = |after| Arc::new(Still(changed.saturating_add(Duration::from_secs(after))));
        let source = |after| DirectorySource::new(scratch.path(), at(after), options(planted));
        let first = Snapshot::take(&source(1), None);
        Snapshot::take(&source(60), Some(&first)).change("file")
    };

    assert_eq!(told(None), Change::Content);
    assert_eq!(told(Some(PlantedBug::TrustRacyFiles)), Change::Unchanged, "the fault shows");
}

#[test]
fn a_missing_second_look_is_noticed() {
    let told = |planted| {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("file");
        fs::write(&file, "one").unwrap();
        let mut capture = common::source_with(scratch.path(), options(planted)).capture(None).unwrap();
        capture.next().unwrap();
        let Some(Captured::Entry(entry, _)) = capture.next().unwrap() else { panic!("no file") };
        let content = capture.reader().open(&entry).unwrap();
        File::options().write(true).open(&file).unwrap().write_all_at(b"longer", 0).unwrap();
        content.finish().unwrap()
    };

    assert_eq!(told(None), Stability::Changed);
    assert_eq!(told(Some(PlantedBug::NoSecondLook)), Stability::Stable, "the fault shows");
}

#[test]
fn a_restorer_that_follows_links_is_noticed() {
    let written_outside = |planted| {
        let scratch = tempfile::tempdir().unwrap();
        let outside = scratch.path().join("outside");
        fs::create_dir(&outside).unwrap();
        let options = RestoreOptions { planted, ..RestoreOptions::default() };
        let restorer = DirectoryRestorer::new(scratch.path().join("to"), &OsEntropy::new(), options).unwrap();
        let entry = |at: &str, kind| Entry {
            path: path(at),
            kind,
            metadata: Metadata::default(),
            len: 0,
            extents: Vec::new(),
            fingerprint: None,
            changed_while_read: false,
        };
        let target = outside.as_os_str().as_encoded_bytes().to_vec();
        restorer.entry(&entry("out", EntryKind::Symlink { target })).unwrap();
        let _ = restorer.entry(&entry("out/new", EntryKind::File));
        outside.join("new").exists()
    };

    assert!(!written_outside(None));
    assert!(written_outside(Some(PlantedBug::FollowLinks)), "the fault shows");
}
