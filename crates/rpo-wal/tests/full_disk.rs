//! A file system that is really full. Needs the right to mount one; says so loudly where it has not.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rpo_core::frame::CommitDraft;
use rpo_core::objective::AckLevel;
use rpo_core::{ErrorKind, LogEntry};
use rpo_wal::{Drive, Log, LogParts, OpenAs, WalConfig};

struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, size: &str) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(at).output();
        mounted.is_ok_and(|out| out.status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_file_system_stops_appends_and_room_lets_them_go_on() {
    let scratch = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(scratch.path(), "size=512k") else {
        eprintln!("SKIPPED: no right to mount a tmpfs here, a full file system was not tested");
        return;
    };
    let ballast = disk.0.join("ballast");
    std::fs::write(&ballast, vec![1; 200 << 10]).unwrap();
    let mut config = WalConfig::zero_loss();
    config.segment_bytes = "64KiB".parse().unwrap();
    let dir = disk.0.join("log");
    let open = || Log::open(&dir, config.clone(), LogParts::os(), Drive::Thread, OpenAs::Continue).unwrap().0;
    let log = open();
    let draft = |n: usize| CommitDraft::one(format!("{n} {}", "x".repeat(2000)));
    let mut done = 0;
    let error = loop {
        match log.append(draft(done), AckLevel::Durable) {
            Ok(_) => done += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    assert!(done > 0 && log.poisoned().is_none());

    std::fs::remove_file(&ballast).unwrap();
    let mut tries = 0;
    while let Err(error) = log.append(draft(done), AckLevel::Durable) {
        assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
        std::thread::sleep(Duration::from_millis(10));
        tries += 1;
        assert!(tries < 6000, "it goes on by itself");
    }
    done += 1;
    drop(log);

    let log = open();
    let commits = log.replay(log.start().lsn).filter(|e| matches!(e, Ok(LogEntry::Commit(_)))).count();
    assert_eq!(commits, done);
    log.close().unwrap();
}
