//! What is captured is what is restored, however odd.
#![allow(clippy::unwrap_used, reason = "a story that fails shall stop")]

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use common::{Snapshot, odd, restorer, source};
use rpo_core::ports::{Change, EntryKind, Restorer, Source};
use rpo_os::OsEntropy;
use rpo_source_dir::{DirectoryRestorer, Durability, RestoreOptions, compare_trees, remove_partial};

#[test]
fn the_odd_tree_comes_back_byte_for_byte_and_attribute_for_attribute() {
    let scratch = tempfile::tempdir().unwrap();
    let (from, to) = (scratch.path().join("from"), scratch.path().join("to"));
    odd::build(&from);

    let taken = Snapshot::take(&source(&from), None);
    taken.restore(&to);

    assert_eq!(taken.skipped, []);
    assert!(taken.unstable.is_empty());
    assert!(taken.entries.iter().any(|entry| entry.path.as_bytes().len() > 4096));
    assert_eq!(compare_trees(&from, &to), []);
    assert!(
        !scratch.path().read_dir().unwrap().any(|e| e
            .unwrap()
            .file_name()
            .to_string_lossy()
            .contains("partial"))
    );
}

#[test]
fn what_is_restored_is_captured_the_same() {
    let scratch = tempfile::tempdir().unwrap();
    let (from, to) = (scratch.path().join("from"), scratch.path().join("to"));
    odd::build(&from);
    let first = Snapshot::take(&source(&from), None);
    first.restore(&to);

    let second = Snapshot::take(&source(&to), None);

    for (one, two) in first.entries.iter().zip(&second.entries) {
        let (mut one, mut two) = (one.clone(), two.clone());
        (one.fingerprint, two.fingerprint) = (None, None); // inode numbers and change times are the file system's
        assert_eq!(one, two);
    }
    assert_eq!(first.contents, second.contents);
}

#[test]
fn an_unsorted_restore_from_many_threads_is_the_same() {
    let scratch = tempfile::tempdir().unwrap();
    let (from, to) = (scratch.path().join("from"), scratch.path().join("to"));
    odd::build(&from);
    let taken = Snapshot::take(&source(&from), None);
    let options = RestoreOptions { open_files_max: 3, ..RestoreOptions::default() };
    let options = RestoreOptions { durability: Durability::EachFile, ..options };
    let restorer = DirectoryRestorer::new(&to, &OsEntropy::new(), options).unwrap();

    // Children before parents, links before files, all entries before any content, the last bytes first.
    in_threads(taken.entries.iter().rev(), |entry| restorer.entry(entry).unwrap());
    let runs = taken.contents.iter().flat_map(|(path, runs)| runs.iter().rev().map(move |run| (path, run)));
    in_threads(runs, |(path, (offset, bytes))| restorer.extent(path, *offset, bytes).unwrap());
    in_threads(taken.contents.keys(), |path| restorer.close(path).unwrap());
    restorer.finish_base(None).unwrap();
    assert!(restorer.validate().unwrap().passed());
    assert_eq!(restorer.publish().unwrap().approximated, Vec::<String>::new());

    assert_eq!(compare_trees(&from, &to), []);
}

fn in_threads<T: Send>(work: impl Iterator<Item = T>, each: impl Fn(T) + Sync) {
    let mut shares: [Vec<T>; 4] = Default::default();
    for (i, item) in work.enumerate() {
        shares[i % 4].push(item);
    }
    let each = &each;
    std::thread::scope(|scope| {
        for share in shares {
            scope.spawn(move || share.into_iter().for_each(each));
        }
    });
}

#[test]
fn a_tree_deeper_than_any_path_and_than_descriptors_held_comes_back_and_goes() {
    const LEVELS: usize = 1_500; // 64 directories are held open, 4,000 bytes of path are walked at once
    let scratch = tempfile::tempdir().unwrap();
    let from = scratch.path().join(".from.rpo-partial-00000000"); // a name that lets us remove it below
    fs::create_dir(&from).unwrap();
    odd::deep(&from, LEVELS, 2);
    let to = scratch.path().join("to");

    let taken = Snapshot::take(&source(&from), None);
    assert_eq!(taken.entries.len(), LEVELS + 2);
    let restorer = restorer(&to);
    taken.give(&restorer);
    restorer.finish_base(None).unwrap();
    assert!(restorer.validate().unwrap().passed());

    restorer.abandon().unwrap();
    remove_partial(&from).unwrap();
    assert_eq!(scratch.path().read_dir().unwrap().count(), 0);
}

#[test]
fn holes_stay_holes_and_zeros_stay_zeros() {
    let scratch = tempfile::tempdir().unwrap();
    let (from, to) = (scratch.path().join("from"), scratch.path().join("to"));
    odd::build(&from);

    let taken = Snapshot::take(&source(&from), None);
    taken.restore(&to);

    let blocks = |root: &Path, name: &str| root.join("contents").join(name).metadata().unwrap().blocks();
    assert_eq!(blocks(&to, "hole-only"), 0);
    assert!(blocks(&to, "allocated-zeros") >= 2048);
    for name in ["hole-first", "hole-last", "holes"] {
        assert_eq!(blocks(&to, name), blocks(&from, name), "{name}");
        assert!(blocks(&to, name) * 512 < to.join("contents").join(name).metadata().unwrap().len(), "{name}");
    }
    assert_eq!(taken.entry("contents/hole-only").extents, []);
    assert_eq!(taken.entry("contents/allocated-zeros").extents.len(), 1);
}

#[test]
fn names_of_one_file_are_one_file_and_the_first_in_path_order_holds_it() {
    let scratch = tempfile::tempdir().unwrap();
    let (from, to) = (scratch.path().join("from"), scratch.path().join("to"));
    odd::build(&from);

    let taken = Snapshot::take(&source(&from), None);
    taken.restore(&to);

    assert_eq!(taken.entry("links/A").kind, EntryKind::File);
    for other in ["links/a", "links/sub/third"] {
        assert_eq!(taken.entry(other).kind, EntryKind::HardLink { to: common::path("links/A") });
    }
    assert_eq!(
        taken.entry("links/linked-again").kind,
        EntryKind::HardLink { to: common::path("links/linked") }
    );
    assert_eq!(to.join("links/A").metadata().unwrap().nlink(), 3);
    assert_eq!(to.join("links/linked").symlink_metadata().unwrap().nlink(), 2);
}

#[test]
fn the_root_need_not_be_given_by_its_real_name_but_must_be_there() {
    let scratch = tempfile::tempdir().unwrap();
    let from = scratch.path().join("from");
    fs::create_dir(&from).unwrap();
    std::os::unix::fs::symlink(&from, scratch.path().join("alias")).unwrap();
    fs::write(scratch.path().join("file"), "").unwrap();

    let taken = Snapshot::take(&source(&scratch.path().join("alias")), None);

    assert_eq!(taken.change(""), Change::Content);
    for nothing in ["missing", "file"] {
        assert!(source(&scratch.path().join(nothing)).capture(None).is_err(), "{nothing}");
    }
}
