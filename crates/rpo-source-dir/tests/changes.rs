//! What changed is noticed, what did not is not touched.
#![allow(clippy::unwrap_used, reason = "a story that fails shall stop")]

mod common;

use std::fs::{self, File};
use std::io::Write;
use std::mem::MaybeUninit;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::{Snapshot, Still, odd, path, source, source_with};
use rpo_core::ports::{Captured, Change, EntryKind, Source, SourceError, Stability};
use rpo_core::{ErrorKind, Timestamp};
use rpo_source_dir::{ChangeTime, DirectoryOptions, DirectorySource, compare_trees};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

#[test]
fn an_unchanged_tree_is_recognised_without_opening_a_single_file() {
    let scratch = tempfile::tempdir().unwrap();
    let from = scratch.path().join("from");
    odd::build(&from);
    let first = Snapshot::take(&source(&from), None);
    let watch = Watch::files_below(&from);

    let second = Snapshot::take(&source(&from), Some(&first));

    assert_eq!(watch.opened(), Vec::<String>::new());
    assert!(second.changes.values().all(|change| *change == Change::Unchanged), "{:?}", second.changes);
    assert_eq!(
        (second.report.entries, second.report.unchanged),
        (first.report.entries, first.report.entries)
    );
    assert_eq!(second.entries, first.entries);
    assert_eq!(second.removed, []);
    fs::read(from.join("contents/big")).unwrap();
    assert_eq!(watch.opened(), ["big"], "the watch does see what is opened");
}

/// Tells which files were opened.
struct Watch(rustix::fd::OwnedFd);

impl Watch {
    fn files_below(root: &Path) -> Self {
        let watch = Self(inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap());
        watch.add(root);
        watch
    }

    fn add(&self, dir: &Path) {
        inotify::add_watch(&self.0, dir, WatchFlags::OPEN).unwrap();
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() && dir.as_os_str().len() < 3000 {
                self.add(&entry.path());
            }
        }
        self.opened();
    }

    fn opened(&self) -> Vec<String> {
        let mut buffer = [MaybeUninit::uninit(); 1 << 16];
        let mut reader = inotify::Reader::new(&self.0, &mut buffer);
        let mut names = Vec::new();
        loop {
            match reader.next() {
                Err(Errno::AGAIN) => return names,
                event => {
                    let event = event.unwrap();
                    if !event.events().contains(ReadFlags::ISDIR) {
                        names.push(event.file_name().unwrap_or_default().to_string_lossy().into_owned());
                    }
                }
            }
        }
    }
}

#[test]
fn each_kind_of_change_is_told_as_what_it_is() {
    let scratch = tempfile::tempdir().unwrap();
    let (from, to) = (scratch.path().join("from"), scratch.path().join("to"));
    odd::build(&from);
    let first = Snapshot::take(&source(&from), None);
    let at = |name: &str| from.join(name);

    fs::write(at("contents/one-byte"), "more").unwrap();
    fs::remove_file(at("contents/small-7")).unwrap();
    fs::remove_dir_all(at("names/a")).unwrap();
    fs::write(at("contents/small-8x"), "new").unwrap();
    fs::set_permissions(at("directories/sticky"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(at("contents/small-9"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(at("links/absolute")).unwrap();
    symlink("elsewhere", at("links/absolute")).unwrap();
    fs::remove_file(at("links/A")).unwrap(); // its further names remain
    fs::remove_file(at("contents/small-10")).unwrap();
    fs::create_dir(at("contents/small-10")).unwrap();
    let second = Snapshot::take(&source(&from), Some(&first));

    for (name, change) in [
        ("contents/one-byte", Change::Content),
        ("contents/small-8x", Change::Content),
        ("directories/sticky", Change::Metadata),
        ("contents/small-9", Change::Content), // only its change time says so: read again to be safe
        ("links/absolute", Change::Content),
        ("links/a", Change::Content),
        ("contents/small-10", Change::Content),
        ("contents", Change::Metadata),
        ("contents/small-11", Change::Unchanged),
        ("", Change::Unchanged),
    ] {
        assert_eq!(second.change(name), change, "{name}");
    }
    assert_eq!(second.removed, ["contents/small-7", "links/A", "names/a", "names/a/z"].map(path));
    assert_eq!(second.entry("links/a").kind, EntryKind::File);
    assert_eq!(second.entry("links/sub/third").kind, EntryKind::HardLink { to: path("links/a") });
    second.restore(&to);
    assert_eq!(compare_trees(&from, &to), []);
}

#[test]
fn a_changed_mode_alone_needs_no_reading_if_modification_times_are_believed() {
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("file"), "same").unwrap();
    let options = DirectoryOptions { change_time: ChangeTime::MetadataOnly, ..DirectoryOptions::default() };
    let first = Snapshot::take(&source_with(scratch.path(), options.clone()), None);
    fs::set_permissions(scratch.path().join("file"), fs::Permissions::from_mode(0o600)).unwrap();

    let second = Snapshot::take(&source_with(scratch.path(), options), Some(&first));

    assert_eq!(second.change("file"), Change::Metadata);
    assert_eq!(second.entry("file").metadata.mode, 0o600);
    assert_eq!(second.entry("file").extents, first.entry("file").extents);
}

#[test]
fn a_file_that_changed_just_before_the_capture_is_read_again_by_the_next() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("file");
    fs::write(&file, "one").unwrap();
    let changed = Timestamp::from_micros(file.metadata().unwrap().ctime() * 1_000_000);
    let at = |after: u64| {
        let clock = Arc::new(Still(changed.saturating_add(Duration::from_secs(after))));
        DirectorySource::new(scratch.path(), clock, DirectoryOptions::default())
    };

    let first = Snapshot::take(&at(1), None);
    let second = Snapshot::take(&at(60), Some(&first));
    let third = Snapshot::take(&at(120), Some(&second));

    assert!(!first.entry("file").fingerprint.unwrap().trusted);
    assert_eq!(second.change("file"), Change::Content);
    assert_eq!(third.change("file"), Change::Unchanged);
}

#[test]
fn a_file_that_changes_while_it_is_read_is_told() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("file");
    for (story, change) in [
        (
            "appended",
            Some(
                (|f| fs::File::options().append(true).open(f).unwrap().write_all(b"!").unwrap()) as fn(&Path),
            ),
        ),
        ("cut", Some(|f| File::options().write(true).open(f).unwrap().set_len(3).unwrap())),
        (
            "rewritten, its modification time set back",
            Some(|f| {
                let before = f.metadata().unwrap();
                File::options().write(true).open(f).unwrap().write_all_at(b"X", 0).unwrap();
                odd::set_mtime(f, before.mtime(), before.mtime_nsec());
            }),
        ),
        ("left alone", None),
    ] {
        fs::write(&file, odd::noise(10_000)).unwrap();
        let mut capture = source(scratch.path()).capture(None).unwrap();
        let mut entries = std::iter::from_fn(|| capture.next().unwrap());
        let Some(Captured::Entry(entry, _)) = entries.nth(1) else { panic!("no file") };
        let mut content = capture.reader().open(&entry).unwrap();
        content.read_at(0, &mut [0; 100]).unwrap();
        std::thread::sleep(Duration::from_millis(20)); // two ticks of the kernel's coarse clock

        if let Some(change) = change {
            change(&file);
        }
        let longest = content.read_at(0, &mut [0; 20_000]).unwrap();

        assert!(longest <= 10_000, "what was appended later is not content");
        let expected = if change.is_some() { Stability::Changed } else { Stability::Stable };
        assert_eq!(content.finish().unwrap(), expected, "{story}");
    }
}

#[test]
fn what_vanishes_or_is_replaced_before_it_is_read_is_told() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    for name in ["dir", "fifo", "linked", "replaced", "vanished", "within/file"] {
        fs::create_dir_all(at(name).parent().unwrap()).unwrap();
        fs::write(at(name), "before").unwrap();
    }
    fs::hard_link(at("linked"), at("zz-other-name")).unwrap();
    let mut capture = source(scratch.path()).capture(None).unwrap();
    let mut found = Vec::new();
    while let Some(captured) = capture.next().unwrap() {
        if let Captured::Entry(entry, _) = captured {
            found.push(entry);
        }
    }
    let reader = capture.reader();
    let open = |name: &str| reader.open(found.iter().find(|entry| entry.path == path(name)).unwrap());
    let replace = |name: &str| {
        fs::write(at("new"), "after!!").unwrap();
        fs::rename(at("new"), at(name)).unwrap();
    };

    fs::remove_file(at("vanished")).unwrap();
    fs::remove_file(at("dir")).unwrap();
    fs::create_dir(at("dir")).unwrap();
    fs::remove_file(at("fifo")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), rustix::fs::Mode::RWXU).unwrap();
    fs::rename(at("within"), at("moved")).unwrap();
    symlink("moved", at("within")).unwrap();
    replace("replaced");
    replace("linked");

    for gone in ["vanished", "dir", "fifo", "within/file", "linked"] {
        let error = open(gone).err().unwrap_or_else(|| panic!("{gone} was opened"));
        assert!(matches!(error, SourceError::Gone { .. }), "{gone}: {error}");
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
    let mut replaced = open("replaced").unwrap();
    let mut bytes = [0; 16];
    assert_eq!(replaced.entry().len, 7, "the file that is there now");
    assert_eq!(replaced.read_at(0, &mut bytes).unwrap(), 7);
    assert_eq!(replaced.finish().unwrap(), Stability::Stable);
}

#[test]
fn a_further_name_becomes_the_file_if_the_first_name_was_lost_in_time() {
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("a"), "shared").unwrap();
    fs::hard_link(scratch.path().join("a"), scratch.path().join("b")).unwrap();
    let mut capture = source(scratch.path()).capture(None).unwrap();
    capture.next().unwrap(); // the root
    let Some(Captured::Entry(a, _)) = capture.next().unwrap() else { panic!("no a") };

    fs::remove_file(scratch.path().join("a")).unwrap();
    assert!(capture.reader().open(&a).is_err());
    let Some(Captured::Entry(b, change)) = capture.next().unwrap() else { panic!("no b") };

    assert_eq!((b.kind.clone(), change), (EntryKind::File, Change::Content));
    assert!(capture.reader().open(&b).is_ok());
}

#[test]
fn what_is_left_out_is_told_with_its_reason_and_counted_if_it_is_a_loss() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    fs::create_dir_all(at("repository/packs")).unwrap();
    fs::write(at("repository/packs/1"), "x").unwrap();
    fs::write(at("repository-notes"), "x").unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), rustix::fs::Mode::RWXU).unwrap();
    let before = Snapshot::take(&source(scratch.path()), None);
    let mut options = DirectoryOptions::default();
    assert!(options.leave_out(scratch.path(), &at("repository")).unwrap());
    assert!(!options.leave_out(scratch.path(), Path::new("/usr")).unwrap());
    assert!(options.leave_out(scratch.path(), scratch.path()).is_err());

    let taken = Snapshot::take(&source_with(scratch.path(), options), Some(&before));

    let told: Vec<_> = taken.skipped.iter().map(|s| (s.path.to_string(), s.loss)).collect();
    assert_eq!(told, [("fifo".into(), true), ("repository".into(), false), ("socket".into(), false)]);
    assert!(taken.skipped[0].reason.contains("FIFO"), "{}", taken.skipped[0].reason);
    assert_eq!(taken.report.lost, 1);
    assert_eq!(taken.removed, ["repository", "repository/packs", "repository/packs/1"].map(path));
    assert_eq!(taken.entries.len(), 2, "the root and `repository-notes`");
}

#[test]
fn another_file_system_is_entered_only_if_wanted() {
    // `/proc` is one; below `/` it is found without privileges. Everything else there is left out to be quick.
    let mut options = DirectoryOptions { one_file_system: true, ..DirectoryOptions::default() };
    for entry in fs::read_dir("/").unwrap() {
        let name = entry.unwrap().file_name();
        if name != "proc" {
            options.exclude.insert(path(name.as_encoded_bytes()));
        }
    }

    let taken = Snapshot::take(&source_with(Path::new("/"), options), None);

    assert_eq!(taken.entries.len(), 2, "the root and the empty `proc`");
    let reason = taken.skipped.iter().find(|skipped| skipped.path == path("proc")).unwrap();
    assert!(!reason.loss && reason.reason.contains("file system"), "{reason:?}");
}

#[test]
fn a_parent_out_of_order_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        fs::write(scratch.path().join(name), name).unwrap();
    }
    let mut first = Snapshot::take(&source(scratch.path()), None);
    first.entries.swap(1, 2);

    let mut capture = source(scratch.path()).capture(Some(first.stream())).unwrap();
    let error = std::iter::from_fn(|| capture.next().transpose()).find_map(Result::err).unwrap();

    assert!(matches!(error, SourceError::Parent(_)), "{error}");
}

#[test]
fn a_capture_that_was_not_drained_is_not_finished() {
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("a"), "a").unwrap();
    let mut capture = source(scratch.path()).capture(None).unwrap();
    capture.next().unwrap();

    assert!(capture.finish().is_err());
}
