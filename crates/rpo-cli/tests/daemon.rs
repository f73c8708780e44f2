//! The daemon: one per state directory, drains on SIGTERM, and its number is honest while it runs and after.

#![allow(clippy::unwrap_used)] // in the scenes as in the stories

mod site;

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use site::Site;

/// Starts the daemon and waits until it tells that a checkpoint is complete.
fn running(site: &Site) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut daemon = site.start(["run", "--json"]);
    let mut out = BufReader::new(daemon.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("backup.completed") {
        line.clear();
        assert_ne!(out.read_line(&mut line).unwrap(), 0, "it ended: {:?}", daemon.wait_with_output());
    }
    (daemon, out)
}

fn terminate(daemon: &Child) {
    kill_process(Pid::from_child(daemon), Signal::TERM).unwrap();
}

#[test]
fn sigterm_drains_and_ends_well_with_a_last_report() {
    let site = Site::two_copies();
    let (mut daemon, mut out) = running(&site);

    terminate(&daemon);
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(daemon.wait().unwrap().code(), Some(0));

    let report: Value = serde_json::from_str(rest.lines().last().unwrap()).unwrap();
    assert_eq!((&report["overall"], &report["live"]), (&"healthy".into(), &false.into()), "{report:#}");
    // Drained: what home has, the mirror has.
    site.restores("latest", &site.tree("docs"), &["--from", "far"]);
}

#[test]
fn a_second_daemon_on_the_same_state_directory_is_refused_and_the_first_goes_on() {
    let site = Site::two_copies();
    let (mut daemon, _out) = running(&site);

    site.rpo(["run"]).fails(11, &["state", "another rpo"]);

    assert!(daemon.try_wait().unwrap().is_none(), "the first still runs");
    terminate(&daemon);
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
    site.ok(["run", "--once"]);
    site.restores_docs_exactly();
}

#[test]
fn one_round_checkpoints_mirrors_and_measures() {
    let site = Site::two_copies();

    site.ok(["run", "--once"]).says(&[
        "backup.completed docs docs@1",
        "overall: healthy",
        "copy far (mirror): checkpoint 1",
    ]);
    site.ok(["run", "--once"]).says(&["docs@2"]);

    site.ok(["status", "--exit-code"]).says(&["overall: healthy", "declared"]);
    fs_gone_and_restored_from_far(&site);
}

fn fs_gone_and_restored_from_far(site: &Site) {
    let before = site.tree("docs");
    std::fs::remove_dir_all(site.path("docs")).unwrap();
    std::fs::remove_dir_all(site.path("home")).unwrap();
    site.restores("latest", &before, &["--from", "far"]);
}

#[test]
fn status_says_unknown_without_evidence_and_breached_when_too_much_would_be_lost() {
    let site = Site::two_copies();
    site.ok(["status", "--exit-code"]).says(&["overall: pending"]);
    site.ok(["checkpoint"]);
    site.ok(["status", "--exit-code"]).says(&["overall: healthy"]);

    // Half a millisecond was promised; the start of the newest scan is further back than that by now.
    site.reconfigure(
        "machine = \"10m\", region = \"10m\" } }",
        "region = \"1ms\" } }\ncheckpoint = { every = \"500us\" }",
    );
    site.rpo(["status", "--exit-code"]).ends_with(20).says(&["overall: breached"]);
    site.ok(["status"]).says(&["overall: breached"]);

    std::fs::rename(site.path("far"), site.path("unplugged")).unwrap();
    site.rpo(["status", "--exit-code"])
        .ends_with(24)
        .says(&["overall: unknown", "copy far (mirror): no checkpoint, failing"]);
    let domain = &site.ok(["status", "--json"]).json()["systems"][0]["domains"][1];
    assert!(domain["window"]["unknown"].is_object(), "never a number: {domain:#}");
    assert_eq!(domain["survivors"][0], "far", "expected, though it does not answer");
}

#[test]
fn a_mirror_that_is_away_when_the_daemon_starts_is_unknown_not_forgotten() {
    let site = Site::two_copies();
    site.ok(["checkpoint"]);
    std::fs::rename(site.path("far"), site.path("unplugged")).unwrap();

    let done =
        site.ok(["run", "--once"]).says(&["copy far (mirror): no checkpoint, failing", "overall: unknown"]);
    assert!(!done.out.contains("everything"), "{done:#?}");

    std::fs::rename(site.path("unplugged"), site.path("far")).unwrap();
    site.ok(["run", "--once"]).says(&["overall: healthy"]);
}
