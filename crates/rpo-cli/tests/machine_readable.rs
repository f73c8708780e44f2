//! What programs read: one JSON document per listing, JSON lines for long work, errors as one JSON line; help and completions.

mod site;

use std::process::Stdio;

use serde_json::Value;
use site::Site;

#[test]
fn every_listing_is_one_json_document_with_a_version() {
    let site = Site::two_copies();
    site.ok(["tag", "docs", "first"]);

    let points = site.ok(["points", "docs", "--json"]).json();
    assert_eq!(points["checkpoints"][0]["id"], "docs@1");
    assert_eq!(points["checkpoints"][0]["names"][0], "first");
    let status = site.ok(["status", "--json"]).json();
    assert_eq!(status["systems"][0]["domains"][0]["domain"], "machine");
    assert_eq!(status["systems"][0]["domains"][0]["limit"], "10m");
    let check = site.ok(["check", "--json"]).json();
    assert_eq!(check["promises"][1]["verdict"], "bounded-loss");
    let verify = site.ok(["verify", "--json"]).json();
    assert_eq!(verify["copies"][1]["copy"], "far");
    let plan = site.ok(["restore", "docs", "--into", "restored", "--plan", "--json"]);
    assert!(plan.out.contains("docs@1"), "{plan:#?}");
    plan.json();
    let restored = site.ok(["restore", "docs", "--into", "restored", "--json"]).json();
    assert_eq!(restored["copy"], "home");
    let checkpoint = site.ok(["checkpoint", "--json"]).json();
    assert_eq!(checkpoint["checkpoint"]["id"], "docs@2");
    let created = site.ok(["init", "--json"]).json();
    assert_eq!(created["present"][0], "home");
}

#[test]
fn long_work_speaks_json_lines_and_ends_with_its_report() {
    let site = Site::two_copies();
    let run = site.ok(["run", "--once", "--json"]);

    let lines: Vec<Value> = run.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (report, events) = lines.split_last().unwrap();
    assert!(events.iter().any(|event| event["kind"] == "backup.completed"), "{run:#?}");
    assert_eq!(report["schema-version"], 0);
    assert_eq!(report["systems"][0]["name"], "docs");
}

#[test]
fn an_error_is_one_json_line_with_its_code() {
    let site = Site::protected();
    let done =
        site.rpo(["restore", "docs", "--to", "checkpoint:docs@7", "--into", "x", "--json"]).ends_with(21);

    assert_eq!(done.out, "");
    let error: Value = serde_json::from_str(done.err.trim()).unwrap();
    assert_eq!((&error["message-type"], &error["code"]), (&"error".into(), &21.into()));
    assert!(error["message"].as_str().unwrap().contains("docs@7"));
}

#[test]
fn quiet_says_nothing_beside_the_result() {
    let site = Site::protected();
    for command in [vec!["checkpoint"], vec!["verify", "--read-data"], vec!["points", "docs"], vec!["status"]]
    {
        let done = site.ok([&command[..], &["--quiet"]].concat());
        assert_eq!(done.err, "", "{done:#?}");
        assert_ne!(done.out, "", "{done:#?}");
    }
}

#[test]
fn work_that_is_soon_done_says_nothing_on_the_way_where_no_terminal_is() {
    let site = Site::new();
    for command in [vec!["checkpoint"], vec!["verify"], vec!["restore", "docs", "--into", "restored"]] {
        let done = site.ok(command);
        assert_eq!(done.err, "", "{done:#?}");
    }
}

#[test]
fn an_output_that_cannot_be_written_is_an_error_and_a_reader_that_went_away_is_none() {
    let site = Site::protected();
    for arguments in [
        &["points", "docs"][..],
        &["points", "docs", "--json"],
        &["checkpoint"],
        &["completions", "bash"],
        &["--help"],
    ] {
        let mut full = site.command(arguments);
        full.stdout(std::fs::File::create("/dev/full").unwrap()).stderr(Stdio::piped());
        let full = full.spawn().unwrap().wait_with_output().unwrap();
        let told = String::from_utf8(full.stderr).unwrap();
        assert_eq!(full.status.code(), Some(1), "{arguments:?}: {told}");
        assert!(told.contains("the output cannot be written: No space left"), "{arguments:?}: {told}");

        let mut gone = site.start(arguments);
        drop(gone.stdout.take());
        let gone = gone.wait_with_output().unwrap();
        let told = String::from_utf8(gone.stderr).unwrap();
        assert_eq!((gone.status.code(), told.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn nothing_that_was_given_reaches_the_terminal_as_a_command() {
    let site = Site::protected();
    let red = "a\u{1b}[31mb";
    let tag = format!("tag:{red}");
    for arguments in [
        vec![red],
        vec!["points", red],
        vec!["points", "docs", "--config", red],
        vec!["restore", "docs", "--into", "x", "--to", &tag],
        vec!["restore", "docs", "--into", "home/a\u{1b}[31mb"],
        vec!["restore", "docs", "--into", red],
    ] {
        let done = site.rpo(arguments).says(&["a\\u{1b}[31mb"]);
        assert!(!done.err.contains('\u{1b}') && !done.out.contains('\u{1b}'), "{done:#?}");
    }
}

#[test]
fn a_checkpoint_that_cannot_be_read_is_listed_as_that() {
    let site = Site::protected();
    site.ok(["checkpoint"]);
    std::fs::write(site.path("home/checkpoints/docs/0000000000000002"), b"no manifest").unwrap();

    site.ok(["points", "docs"]).says(&["docs@1", "docs@2 cannot be read: "]);
    let points = site.ok(["points", "docs", "--json"]).json();
    assert_eq!(points["unreadable"][0]["id"], "docs@2");
}

#[test]
fn no_colours_reach_a_pipe() {
    let site = Site::two_copies();
    std::fs::remove_dir_all(site.path("far")).unwrap();
    let done = site.rpo(["run", "--once"]);
    assert!(!done.err.contains('\u{1b}') && !done.out.contains('\u{1b}'), "{done:#?}");
}

#[test]
fn every_command_explains_itself_and_shells_complete_it() {
    let site = Site::bare();
    let help = site.ok(["--help"]);
    for command in [
        "demo",
        "init",
        "protect",
        "check",
        "run",
        "status",
        "points",
        "checkpoint",
        "restore",
        "verify",
        "tag",
        "completions",
    ] {
        assert!(help.out.contains(&format!("\n  {command} ")), "{command} is not in the help");
        let own = site.ok([command, "--help"]);
        assert!(own.out.contains("Usage: rpo"), "{own:#?}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = site.ok(["completions", shell]).out;
        assert!(script.contains("rpo") && script.contains("checkpoint"), "{shell}: {script}");
        assert!(!script.contains("demo-ledger"), "{shell} completes what is hidden");
    }
    site.rpo(["restroe"]).ends_with(2).says(&["restore"]);
    site.rpo(["restore", "docs"]).ends_with(2).says(&["--into"]);
}

#[test]
fn the_exit_codes_of_the_book_are_those_of_the_help() {
    let book = include_str!("../../../docs/src/exit-codes.md");
    let help = Site::bare().ok(["--help"]).out;
    for code in book.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse::<u8>().ok())
    {
        let words: Vec<_> = help.split_whitespace().collect();
        assert!(words.contains(&code.to_string().as_str()), "{code} is not in the help");
    }
}
