//! Restoring: into nothing or an empty directory, of what exists, from the copy that was asked; else refused, with the nearest.

mod site;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use site::Site;

#[test]
fn a_directory_that_is_not_empty_is_refused_and_left_as_it_is() {
    let site = Site::protected();
    site.write("mine/keep.txt", b"not yours");
    let before = site.tree("mine");

    site.rpo(["restore", "docs", "--into", "mine"])
        .fails(30, &["mine", "not empty", "new or empty directory"]);
    site.rpo(["restore", "docs", "--into", "mine/keep.txt"]).fails(30, &["keep.txt"]);
    site.rpo(["restore", "docs", "--into", "docs"]).fails(30, &["docs", "not empty"]);

    assert_eq!(site.tree("mine"), before);
    site.restores_docs_exactly();
}

#[test]
fn an_empty_directory_is_filled() {
    let site = Site::protected();
    fs::create_dir(site.path("empty")).unwrap();

    site.ok(["restore", "docs", "--into", "empty"]).says(&["restored", "from copy home", "checked"]);

    assert_eq!(site.tree("empty"), site.tree("docs"));
}

#[test]
fn a_plan_changes_nothing() {
    let site = Site::protected();
    site.ok(["restore", "docs", "--into", "restored", "--plan"])
        .says(&["base      docs@1", "replay    nothing"]);
    let planned = site.ok(["restore", "docs", "--into", "restored", "--plan"]);
    assert!(!planned.out.contains("estimate"), "nothing was measured: {planned:#?}");
    site.rpo(["restore", "docs", "--into", "docs", "--plan"]).fails(30, &["docs", "not empty"]);
    site.rpo(["restore", "docs", "--into", "home/x", "--plan"]).fails(30, &["copy home is kept there"]);
    site.has_nothing_half_restored("restored");
}

#[test]
fn what_does_not_exist_is_named_with_what_does() {
    let site = Site::protected();
    site.ok(["tag", "docs", "before-upgrade"]);

    let into = ["--into", "restored"];
    let restore = |system: &str, more: &[&str]| site.rpo([&["restore", system], &into[..], more].concat());
    restore("doc", &[]).fails(10, &["there is no system `doc`", "docs", "did you mean `docs`?"]);
    restore("docs", &["--from", "hone"]).fails(10, &["there is no copy `hone`", "did you mean `home`?"]);
    restore("docs", &["--to", "checkpoint:docs@9"]).fails(21, &["docs@9", "nearest before it is", "docs@2"]);
    restore("docs", &["--to", "tag:after-upgrade"]).fails(21, &["tag:after-upgrade", "before-upgrade"]);
    restore("docs", &["--to", "2020-01-01T00:00:00Z"])
        .fails(21, &["2020-01-01", "nearest after it is", "docs@1"]);
    restore("docs", &["--to", "lsn:4096"]).fails(21, &["lsn:4096"]);
    restore("docs", &["--to", "latest", "--exclusive"])
        .fails(21, &["names no commit that could be left out"]);
    for (target, meant) in [
        ("yesterday-ish", "did you mean tag:yesterday-ish"),
        ("docs@1", "did you mean checkpoint:docs@1?"),
        ("checkpoint:1", "write checkpoint:SOURCE@1"),
        ("2026-13-01T00:00:00Z", "2026-13-01"),
    ] {
        restore("docs", &["--to", target]).ends_with(2).says(&[meant]);
    }
    for command in [
        vec!["points", "photos"],
        vec!["tag", "photos", "x"],
        vec!["status", "photos"],
        vec!["checkpoint", "photos"],
    ] {
        site.rpo(command).fails(10, &["there is no system `photos`", "the configuration has: docs"]);
    }

    site.has_nothing_half_restored("restored");
    site.restores_docs_exactly();
}

#[test]
fn a_tag_is_given_once_and_brings_back_its_moment() {
    let site = Site::new();
    site.ok(["tag", "docs", "before-upgrade"]).says(&["named before-upgrade", "--to tag:before-upgrade"]);
    let then = site.tree("docs");
    site.write("docs/letter.txt", b"changed since");

    site.rpo(["tag", "docs", "before-upgrade"])
        .fails(30, &["`before-upgrade` is taken by docs@1", "next: choose another"]);
    site.ok(["tag", "docs", "after-upgrade"]);

    site.restores("tag:before-upgrade", &then, &[]);
    site.restores("tag:after-upgrade", &site.tree("docs"), &[]);
    site.restores("checkpoint:docs@1", &then, &[]);
}

#[test]
fn a_time_between_two_checkpoints_gives_the_one_before() {
    let site = Site::protected();
    let then = site.tree("docs");
    let points = site.ok(["points", "docs", "--json"]).json();
    let complete = points["checkpoints"][0]["finished"].as_str().unwrap().to_owned();
    fs::remove_file(site.path("docs/letter.txt")).unwrap();
    site.ok(["checkpoint"]);

    site.restores(&complete, &then, &[]);
    site.restores_docs_exactly();
}

#[test]
fn a_time_in_the_future_gives_the_newest_state_and_says_so() {
    let site = Site::protected();
    let restore = ["restore", "docs", "--to", "2999-01-01T00:00:00Z", "--into"];

    site.ok([&restore[..], &["restored"]].concat())
        .says(&["note      the target lies in the future", "the newest checkpoint was complete at"]);

    assert_eq!(site.tree("restored"), site.tree("docs"));
    let planned = site.ok([&restore[..], &["again", "--plan", "--json"]].concat()).json();
    assert!(planned["notes"][0].as_str().unwrap().contains("in the future"), "{planned}");
}

#[test]
fn what_a_killed_restore_left_is_named_by_the_next_and_not_touched() {
    let site = Site::protected();
    let left = ".restored.rpo-partial-0123abcd";
    site.write(format!("{left}/half"), b"of a file");
    site.write(".another.rpo-partial-0123abcd/half", b"of another");

    let done = site.ok(["restore", "docs", "--into", "restored", "--plan"]).says(&[left, "may be deleted"]);
    assert!(!done.err.contains(".another"), "{done:#?}");
    let report = site.ok(["restore", "docs", "--into", "restored", "--json"]).json();

    let left = site.path(left);
    assert_eq!(report["leftovers"], serde_json::json!([left.to_str().unwrap()]));
    assert!(left.join("half").exists());
}

#[test]
fn a_socket_is_left_out_and_counted() {
    let site = Site::new();
    let _socket = std::os::unix::net::UnixListener::bind(site.path("docs/socket")).unwrap();

    site.ok(["checkpoint"]).says(&["left out by intent: 1 (sockets"]);
}

#[test]
fn a_configuration_that_is_gone_is_missed_where_its_repository_stands() {
    let site = Site::protected();
    let text = fs::read(site.path("rpo.toml")).unwrap();
    fs::remove_file(site.path("rpo.toml")).unwrap();

    site.rpo(["points", "docs"]).fails(10, &["rpo.toml", "home is here", "next: "]).says(&["bring it back"]);

    fs::write(site.path("rpo.toml"), text).unwrap();
    site.ok(["init"]).says(&["was there"]);
    site.restores_docs_exactly();
}

#[test]
fn odd_names_come_back_as_they_were() {
    let site = Site::new();
    let docs = site.path("docs");
    let names: [&[u8]; 6] =
        [b"with space", b"line\nbreak", b"not \xff utf-8", b"-rf", b"quote\"s'", b"\xf0\x9f\x8c\x8d"];
    for name in names {
        let folder = docs.join(OsStr::from_bytes(name));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(OsStr::from_bytes(name)), name).unwrap();
    }
    symlink("../letter.txt", docs.join(OsStr::from_bytes(b"link\n\xfe"))).unwrap();

    site.ok(["checkpoint"]);

    site.ok(["verify", "--read-data"]);
    site.restores_docs_exactly();
}

#[test]
fn a_repository_inside_the_protected_directory_is_left_out() {
    let site = Site::bare();
    site.ok(["protect", "docs", "--to", "docs/my backup%", "--no-encryption", "--config", "docs/rpo.toml"]);
    let state = ["run", "--once", "--config", "docs/rpo.toml"]; // its state directory is inside, too
    site.ok(state);
    site.ok(state);

    site.ok(["restore", "docs", "--into", "restored", "--config", "docs/rpo.toml"]);

    let found: Vec<_> =
        site.tree("restored").iter().map(|l| l.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(found, ["letter.txt", "photos", "photos/hill.raw", "photos/sea.raw", "rpo.toml"]);
}

#[test]
fn the_far_copy_alone_restores_everything_after_home_is_gone() {
    let site = Site::two_copies();
    site.ok(["checkpoint"]).says(&["copy far: has it"]);
    fs::remove_dir_all(site.path("home")).unwrap();

    site.restores("latest", &site.tree("docs"), &["--from", "far"]);
    // Without being asked, too; but not without saying so.
    site.ok(["restore", "docs", "--into", "restored"])
        .says(&["home cannot be used", "this is from copy far"]);
    assert_eq!(site.tree("restored"), site.tree("docs"));
    site.rpo(["restore", "docs", "--into", "again", "--from", "home"])
        .fails(10, &["copy home", "no repository here"]);
    site.has_nothing_half_restored("again");
}

#[test]
fn a_copy_that_cannot_be_reached_is_named_and_the_others_still_restore() {
    let site = Site::two_copies();
    site.ok(["checkpoint"]);
    fs::rename(site.path("far"), site.path("unplugged")).unwrap();

    site.rpo(["restore", "docs", "--into", "restored", "--from", "far"]).fails(10, &["copy far", "far"]);
    site.has_nothing_half_restored("restored");
    site.restores_docs_exactly();
    site.rpo(["checkpoint"]).ends_with(3).says(&["docs@2", "copy far: "]);
    site.rpo(["verify"]).ends_with(3).says(&["copy home: 2 checkpoints", "copy far: "]);
    site.rpo(["check", "--open"]).ends_with(3).says(&["copy home: opens", "copy far: "]);

    fs::rename(site.path("unplugged"), site.path("far")).unwrap();
    site.ok(["checkpoint"]).says(&["copy far: has it"]);
    site.restores("latest", &site.tree("docs"), &["--from", "far"]);
}

#[test]
fn a_new_home_is_not_made_while_another_copy_lives_and_that_copy_can_become_home() {
    let site = Site::two_copies();
    site.ok(["checkpoint"]);
    let first = site.tree("docs");
    fs::remove_dir_all(site.path("home")).unwrap();

    site.rpo(["init"]).fails(30, &["copy home is home and holds no repository", "copy far holds", "next: "]);
    assert!(!site.path("home/config").exists());

    site.reconfigure("role = \"home\"", "role = \"was home\"");
    site.reconfigure("role = \"mirror\"", "role = \"home\"");
    site.reconfigure("role = \"was home\"", "role = \"mirror\"");
    site.ok(["init"]).says(&["home  created", "far  was there"]);
    site.write("docs/after.txt", b"the disaster");
    site.ok(["checkpoint"]).says(&["docs@2", "copy home: has it"]);
    site.restores("checkpoint:docs@1", &first, &["--from", "home"]);
    site.restores("latest", &site.tree("docs"), &["--from", "home"]);
}
