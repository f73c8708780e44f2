//! What a user who is not root may not do is told with a code of its own, and what they cannot read is never passed over.
//!
//! As root, the commands of these stories run as nobody.

#![allow(clippy::unwrap_used)] // in the scenes as in the stories

mod site;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use site::{Done, ONE_COPY, Site};

const NOBODY: u32 = 65_534;

/// A site whose folder anybody may write to, and the program where nobody may run it.
struct Shared {
    site: Site,
    program: PathBuf,
}

impl Shared {
    fn new() -> Self {
        let site = Site::bare();
        site.configure(ONE_COPY);
        let program = site.path("program");
        // By a process of its own: a file that this one has open for writing cannot be run by what it forks meanwhile.
        let copied = Command::new("cp").arg(assert_cmd::cargo::cargo_bin!("rpo")).arg(&program).status();
        assert!(copied.unwrap().success());
        let shared = Self { site, program };
        if rustix::process::geteuid().is_root() {
            for name in ["", "letter.txt", "photos", "photos/sea.raw", "photos/hill.raw"] {
                let place = shared.site.path("docs").join(name);
                chown(place, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        shared.mode("program", 0o755);
        shared.mode("", 0o777);
        shared
    }

    fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.site.path(name), Permissions::from_mode(mode)).unwrap();
    }

    /// Shuts a file or directory that the scene made: to nobody if that is who runs the commands, else to us.
    fn shut(&self, name: &str) {
        self.mode(name, if rustix::process::geteuid().is_root() { 0o700 } else { 0 });
    }

    fn rpo(&self, arguments: &[&str]) -> Done {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(self.site.path("")).stdin(std::process::Stdio::null());
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        Done::of(arguments, command)
    }
}

#[test]
fn a_file_that_may_not_be_read_makes_a_partial_checkpoint_and_every_command_says_so() {
    let shared = Shared::new();
    shared.site.write("docs/secret.txt", b"for my eyes only");
    shared.shut("docs/secret.txt");
    shared.rpo(&["init"]).ends_with(0);

    shared.rpo(&["checkpoint"]).ends_with(3).says(&["not captured: secret.txt: ", "denied"]);

    shared.rpo(&["points", "docs"]).ends_with(0).says(&["partial: 1 left out"]);
    let points = shared.rpo(&["points", "docs", "--json"]).json();
    assert_eq!(points["checkpoints"][0]["left-out"], 1);
    let restored = ["restore", "docs", "--into", "restored"];
    shared.rpo(&restored).ends_with(0).says(&["warning   this checkpoint left out 1 entry", "secret.txt"]);
    let again = shared.rpo(&["restore", "docs", "--into", "again", "--json"]).json();
    assert_eq!(again["plan"]["left-out"][0]["path"], "secret.txt");

    fs::remove_file(shared.site.path("docs/secret.txt")).unwrap();
    shared.rpo(&["checkpoint"]).ends_with(0);
    let whole = shared.rpo(&["restore", "docs", "--into", "whole"]).ends_with(0);
    assert!(!whole.out.contains("warning"), "{whole:#?}");
}

#[test]
fn what_may_not_be_read_or_written_is_told_as_that() {
    let shared = Shared::new();
    shared.rpo(&["init"]).ends_with(0);
    shared.rpo(&["checkpoint"]).ends_with(0);
    let told = ["ermission denied", "next: "];

    fs::create_dir(shared.site.path("shut")).unwrap();
    shared.shut("shut");
    shared.rpo(&["restore", "docs", "--into", "shut/restored"]).fails(14, &told).says(&["shut"]);
    shared.rpo(&["init", "--to", "x", "--config", "shut/rpo.toml", "--no-encryption"]).fails(14, &told);
    shared.site.reconfigure("/home\"", "/shut/home\"");
    shared.rpo(&["points", "docs"]).fails(14, &told).says(&["copy home: ", "shut/home"]);
    shared.rpo(&["checkpoint"]).fails(14, &told);
    shared.shut("rpo.toml");
    shared.rpo(&["points", "docs"]).fails(14, &told).says(&["rpo.toml"]);
}
