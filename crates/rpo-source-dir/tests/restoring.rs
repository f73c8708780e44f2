//! A restore stays inside its target, harms nothing that is there, and is in place as a whole or not at all.
#![allow(clippy::unwrap_used, reason = "a story that fails shall stop")]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use common::{Snapshot, path, restorer, source};
use rpo_core::ports::{Entry, EntryKind, Extent, FileTime, Metadata, RestoreError, Restorer};
use rpo_core::{Commit, Entropy, Epoch, ErrorKind, Lsn, Sequence, Timestamp};
use rpo_os::OsEntropy;
use rpo_source_dir::{
    DirectoryRestorer, RestoreOptions, check_target, compare_trees, incomplete_marker, partials_beside,
    remove_partial,
};

fn entry(at: &str, kind: EntryKind) -> Entry {
    Entry {
        path: path(at),
        kind,
        metadata: Metadata { mode: 0o755, ..Metadata::default() },
        len: 0,
        extents: Vec::new(),
        fingerprint: None,
        changed_while_read: false,
    }
}

fn file(at: &str, len: u64) -> Entry {
    let extents = if len == 0 { Vec::new() } else { vec![Extent { offset: 0, len }] };
    Entry { len, extents, ..entry(at, EntryKind::File) }
}

fn link(at: &str, target: &Path) -> Entry {
    entry(at, EntryKind::Symlink { target: target.as_os_str().as_encoded_bytes().to_vec() })
}

fn invalid(result: Result<(), RestoreError>, story: &str) {
    match result {
        Err(RestoreError::Invalid(_)) => {}
        other => panic!("{story}: {other:?}"),
    }
}

#[test]
fn hostile_entries_write_nothing_outside() {
    let scratch = tempfile::tempdir().unwrap();
    let outside = scratch.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    let before = fs::metadata(outside.join("secret")).unwrap();
    let restorer = restorer(&scratch.path().join("to"));

    restorer.entry(&link("out", &outside)).unwrap(); // a link may point anywhere; it is never walked through
    restorer.entry(&link("up", Path::new("../.."))).unwrap();
    for below in ["out/new", "up/outside/new", "out/deeper/new"] {
        invalid(restorer.entry(&file(below, 0)), below);
        invalid(restorer.entry(&entry(below, EntryKind::Directory)), below);
        invalid(restorer.entry(&link(below, Path::new("x"))), below);
    }
    invalid(restorer.entry(&file("out", 0)), "a file in place of a link");
    restorer.entry(&file("dir/child", 0)).unwrap();
    invalid(restorer.entry(&link("dir", &outside)), "a link in place of a directory");
    for (name, to) in
        [("h1", "out/secret"), ("h2", "up/outside/secret"), ("h3", "missing"), ("h4", "nowhere/at/all")]
    {
        restorer.entry(&entry(name, EntryKind::HardLink { to: path(to) })).unwrap();
    }
    restorer.finish_base(None).unwrap();
    let validation = restorer.validate().unwrap();
    let report = restorer.publish().unwrap();

    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    let after = fs::metadata(outside.join("secret")).unwrap();
    assert_eq!((after.nlink(), after.mode(), after.mtime()), (1, before.mode(), before.mtime()));
    assert!(!validation.passed(), "further names without their file are told");
    assert_eq!(report.approximated.iter().filter(|note| note.contains("further name")).count(), 4);
    for name in ["h1", "h2", "h3", "h4"] {
        assert!(!scratch.path().join("to").join(name).exists(), "{name}");
    }
}

#[test]
fn what_comes_twice_or_makes_no_sense_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let restorer = restorer(&scratch.path().join("to"));
    restorer.entry(&entry("", EntryKind::Directory)).unwrap();
    restorer.entry(&entry("dir", EntryKind::Directory)).unwrap();
    restorer.entry(&file("file", 10)).unwrap();

    invalid(restorer.entry(&entry("", EntryKind::Directory)), "the root twice");
    invalid(restorer.entry(&entry("dir", EntryKind::Directory)), "a directory twice");
    invalid(restorer.entry(&file("file", 10)), "a file twice");
    invalid(restorer.entry(&file("dir", 0)), "a file in place of a directory");
    invalid(restorer.entry(&entry("file", EntryKind::Directory)), "a directory in place of a file");
    invalid(restorer.entry(&file("file/child", 0)), "a child of a file");
    invalid(restorer.entry(&file("", 0)), "a root that is a file");
    for (extents, story) in [
        (vec![Extent { offset: 5, len: 6 }], "past the end"),
        (vec![Extent { offset: u64::MAX, len: 2 }], "past all numbers"),
        (vec![Extent { offset: 4, len: 2 }, Extent { offset: 5, len: 1 }], "overlapping"),
        (vec![Extent { offset: 4, len: 0 }], "empty"),
    ] {
        invalid(restorer.entry(&Entry { extents, ..file("odd", 10) }), story);
    }
    let mut late = file("late", 0);
    late.metadata.mtime = FileTime { seconds: 0, nanos: 1_073_741_823 }; // UTIME_NOW
    invalid(restorer.entry(&late), "a time that means now");
    invalid(restorer.extent(&path("file"), 5, b"123456"), "content past the end");
    invalid(restorer.extent(&path("file"), u64::MAX, b"12"), "content past all numbers");
    invalid(restorer.extent(&path("missing"), 0, b"1"), "content of nothing");
    restorer.extent(&path("file"), 0, b"1234").unwrap();
    invalid(restorer.close(&path("file")), "a file with a gap");
    invalid(restorer.close(&path("file")), "closing twice");
    restorer.entry(&file("open", 1)).unwrap();
    invalid(restorer.finish_base(None), "a file that was never closed");
    invalid(restorer.publish().map(drop), "publishing what is not complete");
    let commit = Commit {
        epoch: Epoch::FIRST,
        lsn: Lsn::ZERO,
        end: Lsn::ZERO,
        sequence: Sequence::ZERO,
        time: Timestamp::EPOCH,
        transaction: None,
        context: None,
        records: Vec::new(),
    };
    assert_eq!(restorer.apply(&commit).unwrap_err().kind(), ErrorKind::Unsupported);
    restorer.abandon().unwrap();
    restorer.abandon().unwrap();
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn a_target_in_use_is_refused_at_the_start_and_at_the_end() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    fs::create_dir(at("full")).unwrap();
    fs::write(at("full/theirs"), "theirs").unwrap();
    fs::write(at("file"), "theirs").unwrap();
    fs::create_dir(at("empty")).unwrap();
    symlink("empty", at("link")).unwrap();
    let refused = |target: &Path| {
        let error = DirectoryRestorer::new(target, &OsEntropy::new(), RestoreOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        error.to_string()
    };

    assert!(refused(&at("full")).contains("not empty"));
    assert!(refused(&at("file")).contains("no directory"));
    assert!(refused(&at("link")).contains("no directory"));
    assert!(refused(&at("missing/inside")).contains("create that first"));
    assert!(refused(Path::new("/")).contains("no name"));
    assert!(refused(&at("x/..")).contains("no name"));
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 4, "nothing was made");

    let restorer = restorer(&at("empty"));
    restorer.entry(&file("ours", 0)).unwrap();
    restorer.finish_base(None).unwrap();
    fs::write(at("empty/theirs"), "came meanwhile").unwrap();
    let error = restorer.publish().unwrap_err();
    assert!(error.to_string().contains("not empty"), "{error}");
    assert_eq!(fs::read_to_string(at("empty/theirs")).unwrap(), "came meanwhile");
    assert!(restorer.building_in().join("ours").exists());

    fs::remove_file(at("empty/theirs")).unwrap();
    restorer.publish().unwrap();
    assert!(at("empty/ours").exists(), "an empty directory is replaced");
}

#[test]
fn nothing_is_in_place_before_it_is_published_and_leftovers_are_found() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("to");
    fs::create_dir(scratch.path().join(".to.rpo-partial-notes")).unwrap(); // not one of ours
    fs::create_dir(scratch.path().join(".other.rpo-partial-12345678")).unwrap();
    let killed = restorer(&target);
    killed.entry(&file("dir/file", 0)).unwrap();
    let left = killed.building_in();
    drop(killed); // as by a kill

    assert!(!target.exists());
    assert_eq!(partials_beside(&target).unwrap(), std::slice::from_ref(&left));
    remove_partial(&left).unwrap();
    assert_eq!(partials_beside(&target).unwrap(), Vec::<std::path::PathBuf>::new());
    for not_ours in [".to.rpo-partial-notes", "to", ".."] {
        assert!(remove_partial(scratch.path().join(not_ours)).is_err(), "{not_ours}");
    }
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 2);
}

/// Gives one number first, another ever after.
#[derive(Debug, Default)]
struct FirstTaken(std::sync::atomic::AtomicBool);

impl Entropy for FirstTaken {
    fn fill(&self, out: &mut [u8]) -> std::io::Result<()> {
        out.fill(u8::from(self.0.swap(true, std::sync::atomic::Ordering::Relaxed)));
        Ok(())
    }
}

#[test]
fn a_taken_name_for_building_is_passed_over_and_long_names_fit() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("n".repeat(255));
    let first = DirectoryRestorer::new(&target, &FirstTaken::default(), RestoreOptions::default()).unwrap();
    let second = DirectoryRestorer::new(&target, &FirstTaken::default(), RestoreOptions::default()).unwrap();

    assert_ne!(first.building_in(), second.building_in());
    assert_eq!(partials_beside(&target).unwrap(), [first.building_in(), second.building_in()]);
    second.finish_base(None).unwrap();
    second.publish().unwrap();
    assert!(target.is_dir());
}

#[test]
fn access_lists_that_the_surroundings_hand_down_do_not_get_into_the_tree() {
    let scratch = tempfile::tempdir().unwrap();
    common::odd::build(&scratch.path().join("odd")); // its `attributes/inherit` hands down an access list
    let from = scratch.path().join("odd/contents");
    let to = scratch.path().join("odd/attributes/inherit/to");

    Snapshot::take(&source(&from), None).restore(&to);

    assert_eq!(compare_trees(&from, &to), []);
}

#[test]
fn the_comparer_sees_every_kind_of_difference() {
    use common::odd;
    use std::os::unix::fs::{PermissionsExt, lchown};
    let scratch = tempfile::tempdir().unwrap();
    let (from, to) = (scratch.path().join("from"), scratch.path().join("to"));
    odd::build(&from);
    let taken = Snapshot::take(&source(&from), None);
    taken.restore(&to);
    let at = |name: &str| to.join(name);
    let keep_time = |name: &str, change: &dyn Fn(&Path)| {
        let before = at(name).symlink_metadata().unwrap();
        change(&at(name));
        odd::set_mtime(&at(name), before.mtime(), before.mtime_nsec());
    };
    let mut big = fs::read(at("contents/big")).unwrap();
    *big.last_mut().unwrap() ^= 1;

    keep_time("contents/big", &|f| fs::write(f, &big).unwrap());
    keep_time("contents/one-byte", &|f| fs::write(f, "12").unwrap());
    fs::set_permissions(at("contents/small-1"), fs::Permissions::from_mode(0o600)).unwrap();
    lchown(at("contents/small-2"), Some(9), None).unwrap();
    odd::set_mtime(&at("contents/small-3"), 1, 1);
    rustix::fs::lsetxattr(at("contents/small-4"), "user.x", b"1", rustix::fs::XattrFlags::empty()).unwrap();
    keep_time("contents", &|dir| {
        fs::remove_file(dir.join("small-5")).unwrap();
        fs::write(dir.join("small-5x"), "").unwrap();
    });
    keep_time("links", &|dir| {
        fs::remove_file(dir.join("upwards")).unwrap();
        symlink("...", dir.join("upwards")).unwrap();
        fs::remove_file(dir.join("b")).unwrap();
        fs::write(dir.join("b"), "B").unwrap();
        fs::remove_file(dir.join("loop")).unwrap();
        fs::create_dir(dir.join("loop")).unwrap();
    });
    let seen = compare_trees(&from, &to);

    for (name, what) in [
        ("contents/big", "byte 3000000"),
        ("contents/one-byte", "1 bytes / 2 bytes"),
        ("contents/small-1", "mode 644 / 600"),
        ("contents/small-2", "owner 0:0 / 9:0"),
        ("contents/small-3", "/ 1 s 1 ns"),
        ("contents/small-4", "user.x"),
        ("contents/small-5", "only in the first"),
        ("contents/small-5x", "only in the second"),
        ("links/upwards", "points to"),
        ("links/b", "same file"),
        ("links/loop", "symbolic link / directory"),
    ] {
        assert!(seen.iter().any(|d| d.path == Path::new(name) && d.what.contains(what)), "{name}: {seen:#?}");
    }
    assert!(compare_trees(&from, scratch.path().join("missing")).len() == 1);
}

#[test]
fn a_file_taken_back_is_not_there_and_a_text_beside_the_target_names_it() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("to");
    let marker = incomplete_marker(&target);
    let given = || {
        let restorer = restorer(&target);
        restorer.entry(&entry("", EntryKind::Directory)).unwrap();
        for name in ["half", "whole"] {
            restorer.entry(&file(name, 8)).unwrap();
            restorer.extent(&path(name), 0, b"four").unwrap();
        }
        restorer.entry(&entry("half-too", EntryKind::HardLink { to: path("half") })).unwrap();
        restorer.extent(&path("whole"), 4, b"more").unwrap();
        restorer.close(&path("whole")).unwrap();
        assert_eq!(restorer.discard(&path("half"), "its pack is gone").unwrap(), [path("half-too")]);
        invalid(restorer.discard(&path("half"), "again").map(drop), "a file that is not there");
        restorer.finish_base(None).unwrap();
        assert!(restorer.validate().unwrap().passed());
        restorer
    };

    let refused = given();
    fs::create_dir(&target).unwrap();
    fs::write(target.join("mine"), "mine").unwrap();
    assert_eq!(refused.publish().unwrap_err().kind(), ErrorKind::Refused);
    assert!(!marker.exists(), "nothing was put in place");
    assert_eq!(check_target(&target).unwrap_err().kind(), ErrorKind::Refused);
    refused.abandon().unwrap();
    fs::remove_dir_all(&target).unwrap();
    check_target(&target).unwrap();

    let report = given().publish().unwrap();

    assert_eq!((report.entries, report.bytes), (2, 8));
    let names: Vec<_> = fs::read_dir(&target).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["whole"]);
    let text = fs::read_to_string(marker).unwrap();
    assert!(text.ends_with("half: its pack is gone\nhalf-too: a further name of `half`\n"), "{text}");
}
