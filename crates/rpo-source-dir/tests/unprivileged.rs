//! What a user who is not root cannot read is told, and what they cannot restore is told.
//!
//! As root, the story is told by a child process that is nobody.
#![allow(clippy::unwrap_used, reason = "a story that fails shall stop")]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Snapshot, path, restorer, source};
use rpo_core::ports::Restorer;
use rpo_source_dir::compare_trees;

const NOBODY: u32 = 65_534;
const SCRATCH: &str = "RPO_TEST_SCRATCH";

#[test]
fn a_user_who_is_not_root_gets_what_they_may_and_is_told_the_rest() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not here: only root can make files of others");
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).unwrap();
    build(&scratch.path().join("from"));
    let room = scratch.path().join("room");
    fs::create_dir(&room).unwrap();
    lchown(&room, Some(NOBODY), Some(NOBODY)).unwrap();
    let program = scratch.path().join("test"); // where nobody may run it
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();

    let told = Command::new(&program)
        .args(["--exact", "as_nobody", "--ignored", "--nocapture"])
        .env(SCRATCH, scratch.path())
        .current_dir(&room)
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();

    let text = String::from_utf8_lossy(&told.stdout) + String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success() && text.contains("1 passed"), "{text}");
}

fn build(from: &Path) {
    fs::create_dir_all(from.join("shut/inside")).unwrap();
    fs::create_dir(from.join("read-only")).unwrap();
    for (name, mode) in [("locked", 0o600), ("open", 0o644), ("set-id", 0o6755), ("read-only/file", 0o444)] {
        fs::write(from.join(name), name).unwrap();
        fs::set_permissions(from.join(name), Permissions::from_mode(mode)).unwrap();
    }
    fs::hard_link(from.join("locked"), from.join("locked-too")).unwrap();
    symlink("open", from.join("link")).unwrap();
    let none = rustix::fs::XattrFlags::empty();
    rustix::fs::lsetxattr(from.join("read-only/file"), "user.note", b"kept", none).unwrap();
    fs::set_permissions(from.join("shut"), Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(from.join("read-only"), Permissions::from_mode(0o555)).unwrap();
}

#[test]
#[ignore = "told by the story above, in a process of its own"]
fn as_nobody() {
    let scratch = PathBuf::from(std::env::var_os(SCRATCH).expect("given by the story above"));
    let (from, to) = (scratch.join("from"), scratch.join("room/to"));
    let taken = Snapshot::take(&source(&from), None);

    let lost: Vec<_> = taken.skipped.iter().map(|s| (s.path.clone(), s.loss)).collect();
    assert_eq!(lost, ["locked", "locked-too", "shut"].map(|name| (path(name), true)));
    assert_eq!(taken.report.lost, 3);
    assert!(taken.entries.iter().all(|entry| !entry.path.as_bytes().starts_with(b"locked")));
    assert!(taken.entries.iter().any(|entry| entry.path == path("shut")), "what can be seen of it is kept");

    for publish in [false, true] {
        let restorer = restorer(&to);
        taken.give(&restorer);
        restorer.finish_base(None).unwrap();
        if publish {
            let report = restorer.publish().unwrap();
            let noted = |name: &str, what: &str| {
                report.approximated.iter().any(|note| note.starts_with(name) && note.contains(what))
            };
            assert!(
                noted("open:", "owner") && noted("link:", "owner") && noted(".:", "owner"),
                "{report:#?}"
            );
            assert!(noted("set-id:", "set-id bits"), "{report:#?}");
        } else {
            restorer.abandon().unwrap(); // through directories that nobody may write to
            assert_eq!(fs::read_dir(scratch.join("room")).unwrap().count(), 0);
        }
    }

    assert_eq!(fs::metadata(to.join("set-id")).unwrap().mode() & 0o7777, 0o755);
    for difference in compare_trees(&from, &to) {
        let told = ["owner", "only in the first", "mode 6755 / 755", "Permission denied"];
        assert!(told.iter().any(|why| difference.what.contains(why)), "{difference}");
    }
    fs::set_permissions(to.join("read-only"), Permissions::from_mode(0o755)).unwrap(); // so that it can be removed
}
