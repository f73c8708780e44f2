//! Kills and full disks: what was complete stays so, what was not does not count, and the next run goes on.

#![allow(clippy::unwrap_used)] // in the scenes as in the stories

mod site;

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use site::{Site, noise, skipped};

#[test]
fn a_checkpoint_killed_at_any_moment_costs_nothing_that_was_complete() {
    let site = Site::protected();
    let first = site.tree("docs");
    for number in 0..12 {
        site.write(format!("docs/new/{number}.raw"), &noise(100 + number, 700_000));
    }

    // A whole run takes some hundred milliseconds: the kills fall before, within and after the writing.
    let mut killed = 0;
    for moment in 0..10 {
        let mut run = site.start(["checkpoint", "--quiet"]);
        std::thread::sleep(Duration::from_millis(3 + moment * 14));
        run.kill().unwrap(); // SIGKILL
        killed += u32::from(run.wait().unwrap().signal().is_some());
        site.restores("checkpoint:docs@1", &first, &[]);
    }

    assert!(killed > 0, "no kill was early enough: this showed nothing");
    site.ok(["checkpoint"]);
    site.ok(["verify", "--read-data"]).says(&["nothing damaged"]);
    site.restores_docs_exactly();
}

#[test]
fn a_restore_that_is_killed_leaves_nothing_in_place() {
    let site = Site::new();
    for number in 0..12 {
        site.write(format!("docs/new/{number}.raw"), &noise(200 + number, 700_000));
    }
    site.ok(["checkpoint"]);

    let mut complete = 0;
    for moment in 0..6 {
        let into = format!("restored-{moment}");
        let mut run = site.start(["restore", "docs", "--into", &into, "--quiet"]);
        std::thread::sleep(Duration::from_millis(5 + moment * 20));
        run.kill().unwrap();
        run.wait().unwrap();
        if site.path(&into).exists() {
            complete += 1;
            assert_eq!(site.tree(&into), site.tree("docs"), "absent or complete");
        }
    }
    assert!(complete < 6, "no kill was early enough: this showed nothing");
    site.restores_docs_exactly();
}

#[test]
fn an_interrupted_restore_says_in_one_line_what_is_left_and_leaves_nothing() {
    let site = Site::new();
    for number in 0..20 {
        site.write(format!("docs/new/{number}.raw"), &noise(300 + number, 2_000_000));
    }
    site.ok(["checkpoint"]);

    // Before the signal is listened to it ends the program; after the work is done it has no work to stop.
    let told = (0..200).find_map(|moment| {
        let into = format!("restored-{moment}");
        let run = site.start(["restore", "docs", "--into", &into]);
        std::thread::sleep(Duration::from_millis(5 + moment * 4));
        let id = rustix::process::Pid::from_child(&run);
        let _ = rustix::process::kill_process(id, rustix::process::Signal::INT);
        let ended = run.wait_with_output().unwrap();
        (ended.status.code() == Some(130)).then(|| {
            site.has_nothing_half_restored(&into);
            String::from_utf8(ended.stderr).unwrap()
        })
    });

    let told = told.expect("no interrupt fell into the work: this showed nothing");
    let said: Vec<_> = told.lines().filter(|line| !line.starts_with("stopping at the next")).collect();
    assert_eq!(said.len(), 1, "{told}");
    assert!(said[0].starts_with("stopped on request: nothing was put in place"), "{told}");
    assert!(said[0].contains("what was complete before is as it was"), "{told}");
}

/// A small file system in memory, taken away when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None, with the reason, where this may not be done.
    fn mount(at: &Path, size: &str) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root may mount".to_owned());
        }
        std::fs::create_dir_all(at).unwrap();
        let tmpfs = ["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"];
        let done = Command::new("mount").args(tmpfs).arg(at).output().map_err(|e| e.to_string())?;
        match done.status.success() {
            true => Ok(Self(at.to_owned())),
            false => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
        }
    }

    fn grow(&self, size: &str) {
        let options = format!("remount,size={size}");
        assert!(Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_fails_the_checkpoint_clearly_and_with_more_room_it_goes_on() {
    let site = Site::bare();
    site.configure(site::ONE_COPY);
    let disk = match SmallDisk::mount(&site.path("home"), "2m") {
        Ok(disk) => disk,
        Err(why) => {
            return skipped("a_full_disk_fails_the_checkpoint_clearly_and_with_more_room_it_goes_on", &why);
        }
    };
    site.ok(["init"]);
    site.ok(["checkpoint"]);
    let first = site.tree("docs");
    site.write("docs/huge.raw", &noise(9, 6_000_000));

    for _ in 0..2 {
        site.rpo(["checkpoint"]).fails(1, &["/home: ", "No space left", "next: no room there"]);
        site.restores("checkpoint:docs@1", &first, &[]);
    }
    site.ok(["verify", "--read-data"]).says(&["1 checkpoint,", "nothing damaged"]);

    disk.grow("64m");
    site.ok(["checkpoint"]);
    site.ok(["verify", "--read-data"]).says(&["2 checkpoints,", "nothing damaged"]);
    site.restores_docs_exactly();
}

#[test]
fn a_restore_onto_a_full_disk_leaves_nothing_in_place() {
    let site = Site::protected();
    let _disk = match SmallDisk::mount(&site.path("small"), "256k") {
        Ok(disk) => disk,
        Err(why) => return skipped("a_restore_onto_a_full_disk_leaves_nothing_in_place", &why),
    };

    site.rpo(["restore", "docs", "--into", "small/restored"])
        .fails(1, &["photos/", "No space left", "next: no room there"]);

    let left: Vec<_> = std::fs::read_dir(site.path("small")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    site.restores_docs_exactly();
}

#[test]
fn a_demo_without_room_says_so_and_where_more_could_be() {
    let site = Site::bare();
    let _disk = match SmallDisk::mount(&site.path("small"), "512k") {
        Ok(disk) => disk,
        Err(why) => return skipped("a_demo_without_room_says_so_and_where_more_could_be", &why),
    };

    site.rpo(["demo", "--tree", "docs", "--work", "small/work"])
        .fails(1, &["no room for the demo in", "small/work", "No space left", "next: --work DIR"]);
}
