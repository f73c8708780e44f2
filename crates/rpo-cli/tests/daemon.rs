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

#[test]
fn status_of_what_nothing_was_promised_about_is_no_health() {
    let site = Site::protected();

    let status = site.ok(["status", "--json"]).json();
    assert_eq!((&status["overall"], &status["promised"]), (&"pending".into(), &false.into()), "{status:#}");
    let system = &status["systems"][0];
    assert_eq!((&system["status"], &system["promised"]), (&"pending".into(), &false.into()));
    assert_eq!(system["domains"][0]["status"], "pending");
    assert!(system["domains"][0]["bytes-at-risk"].as_u64().unwrap() > 380_000, "all of it: {status:#}");
    site.ok(["status"]).says(&["overall: nothing promised", "everything", "KiB"]);
}

#[test]
fn a_pack_that_a_copy_lost_is_seen_by_status_and_sent_again_by_the_daemon() {
    let site = Site::two_copies();
    site.ok(["checkpoint"]);
    let pack = site.objects("far", "packs").swap_remove(0);
    std::fs::remove_file(&pack).unwrap();

    site.rpo(["status", "--exit-code"])
        .ends_with(24)
        .says(&["copy far (mirror): no checkpoint, damaged: 1 object missing, e.g. packs/"]);

    site.ok(["run", "--once"]).says(&[
        "replication.validation-failed",
        "overall: healthy",
        "this copy has lost",
    ]);
    assert!(pack.exists());
    site.restores("latest", &site.tree("docs"), &["--from", "far"]);
}

#[test]
fn after_a_loss_a_full_checkpoint_counts_and_status_says_what_can_be_restored() {
    let site = Site::two_copies();
    site.ok(["checkpoint"]);
    site.ok(["run", "--once"]);
    for copy in ["home", "far"] {
        std::fs::remove_file(site.objects(copy, "packs").swap_remove(0)).unwrap();
    }
    site.rpo(["status", "--exit-code"])
        .ends_with(24)
        .says(&["(docs@1 – docs@2 cannot be restored)", "everything"]);

    // Its first attempt stumbles over the loss and is given up.
    site.rpo(["checkpoint", "--full"]).ends_with(3).says(&["docs@4"]);

    site.ok(["status", "--exit-code"]).says(&[
        "overall: healthy",
        "copy far (mirror): checkpoint 4, damaged: 1 object missing, e.g. packs/",
        "(every checkpoint of docs can be restored)",
    ]);
    site.restores("latest", &site.tree("docs"), &["--from", "far"]);
}

#[test]
fn a_home_that_vanishes_under_the_daemon_is_lost_in_the_next_report() {
    let site = Site::two_copies();
    site.reconfigure("sample-every = \"50ms\"", "sample-every = \"50ms\"\naudit-every = \"1h\"");
    let (mut daemon, _out) = running(&site);
    while !site.ok(["status"]).out.contains("copy far (mirror): checkpoint 1, good") {}

    std::fs::remove_dir_all(site.path("home")).unwrap();
    std::fs::remove_dir_all(site.path("far")).unwrap();

    let said = "copy far (mirror): no checkpoint, missing: docs@1 was there and is not any more";
    while !site.ok(["status"]).out.contains(said) {}
    site.ok(["status"]).says(&[
        "everything",
        "copy home (home): no checkpoint, missing: docs@1",
        "trouble: copy home, which is home, does not have what it had",
    ]);
    terminate(&daemon);
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
}

#[test]
fn status_heads_the_copies_of_each_system_also_before_its_first_checkpoint() {
    let site = Site::two_copies();
    let more = "\n[[system]]\nname = \"docs2\"\nsource = { kind = \"directory\", path = \"docs\" }\n";
    let text = std::fs::read_to_string(site.path("rpo.toml")).unwrap();
    std::fs::write(site.path("rpo.toml"), text + more).unwrap();
    site.ok(["checkpoint", "docs"]);

    site.ok(["status"]).says(&["docs: newest checkpoint docs@1\n  copy", "docs2: no checkpoint yet\n  copy"]);
}

#[test]
fn bytes_at_risk_that_nobody_counted_are_null_and_never_zero() {
    let site = Site::two_copies();
    site.ok(["checkpoint"]);

    let status = site.ok(["status", "--json"]).json();

    for domain in status["systems"][0]["domains"].as_array().unwrap() {
        assert!(domain.get("bytes-at-risk").is_some_and(Value::is_null), "{domain:#}");
    }
}

#[test]
fn an_event_is_shown_once_and_not_logged_as_well() {
    let site = Site::two_copies();
    let arguments = ["run", "--once"];
    let mut command = site.command(arguments);
    command.env("RPO_LOG", "info");

    let done = site::Done::of(arguments, command).ends_with(0);

    assert_eq!(done.out.matches("backup.completed").count(), 1, "{done:#?}");
    for again in ["backup.", "checkpoint done", "status has changed", "WARN"] {
        assert!(!done.err.contains(again), "`{again}` is logged: {done:#?}");
    }
}

#[test]
fn a_pack_that_home_lost_is_told_with_what_to_do() {
    let site = Site::two_copies();
    site.ok(["checkpoint"]);
    std::fs::remove_file(site.objects("home", "packs").swap_remove(0)).unwrap();

    site.ok(["status", "--exit-code"]).says(&[
        "overall: healthy", // far is whole, and home was not to survive
        "copy home (home): no checkpoint, damaged: 1 object missing",
        "trouble: copy home, which is home, is damaged",
        "next: rpo verify",
    ]);
}

#[test]
fn a_manifest_that_cannot_be_read_is_trouble() {
    let site = Site::two_copies();
    site.ok(["checkpoint"]);
    let manifest = site.path("far/checkpoints/docs/0000000000000001");
    let mut bytes = std::fs::read(&manifest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&manifest, &bytes).unwrap();

    let status = site.rpo(["status", "--exit-code"]).ends_with(24);
    status.says(&["copy far: docs@1 cannot be read", "rpo verify", "damaged: docs@1 cannot be restored"]);
}

#[test]
fn two_configurations_with_one_state_directory_do_not_take_each_others_report_for_their_own() {
    let site = Site::two_copies();
    let other = std::fs::read_to_string(site.path("rpo.toml")).unwrap();
    std::fs::write(
        site.path("other.toml"),
        other.replace("/home\"", "/home2\"").replace("/far\"", "/far2\""),
    )
    .unwrap();
    site.ok(["init", "--config", "other.toml"]);
    let (mut daemon, _out) = running(&site);

    // The daemon's report speaks of a checkpoint; this configuration has none.
    site.ok(["status", "--config", "other.toml"]).says(&[
        "overall: pending",
        "has other copies or systems than this configuration",
        "state-dir of its own",
    ]);

    terminate(&daemon);
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
    site.rpo(["run", "--once", "--config", "other.toml"])
        .fails(30, &["this state directory belongs to repository", "state-dir of its own"]);
}

#[test]
fn the_daemon_logs_that_a_mirror_fails_and_that_it_is_breached() {
    let site = Site::two_copies();
    site.ok(["checkpoint"]);
    std::fs::rename(site.path("far"), site.path("unplugged")).unwrap();

    let done = site.rpo(["run", "--once"]);

    for text in ["this copy cannot be opened", "the loss window has changed its status", "domain=region"] {
        assert!(done.err.contains(text), "`{text}` is not logged: {done:#?}");
    }
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

    // Two seconds are promised now; the start of the newest scan is soon further back than that.
    site.reconfigure(
        "machine = \"10m\", region = \"10m\" } }",
        "region = \"2s\" } }\ncheckpoint = { every = \"1s\" }",
    );
    while site.rpo(["status", "--exit-code"]).code != Some(20) {}
    site.ok(["status"]).says(&["overall: breached", "what changed"]);

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

    // One that runs meanwhile takes it back without being started again.
    let (mut daemon, mut out) = running(&site);
    std::fs::rename(site.path("unplugged"), site.path("far")).unwrap();
    let mut line = String::new();
    while !line.contains("replication.started") {
        line.clear();
        assert_ne!(out.read_line(&mut line).unwrap(), 0, "it ended: {daemon:?}");
    }
    terminate(&daemon);
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
    let report: Value = serde_json::from_str(rest.lines().last().unwrap()).unwrap();
    assert_eq!(report["overall"], "healthy", "{report:#}");
    site.restores("latest", &site.tree("docs"), &["--from", "far"]);
}
