//! Commands in any order: each says what is missing and what to do first, or does its work again without harm.

mod site;

use site::Site;

#[test]
fn nothing_works_before_init_and_everything_says_what_to_do_first() {
    let site = Site::bare();
    site.configure(site::ONE_COPY);

    for command in [
        vec!["points", "docs"],
        vec!["restore", "docs", "--into", "restored"],
        vec!["status"],
        vec!["checkpoint"],
        vec!["tag", "docs", "now"],
        vec!["verify"],
        vec!["check", "--open"],
        vec!["run", "--once"],
    ] {
        site.rpo(command).fails(10, &["copy home", "there is no repository here", "init"]);
    }

    site.has_nothing_half_restored("restored");
    site.ok(["check"]);
    site.ok(["init"]).says(&["home  created"]);
    site.ok(["init"]).says(&["home  was there"]);
    site.ok(["checkpoint"]);
    site.restores_docs_exactly();
}

#[test]
fn before_the_first_checkpoint_there_is_nothing_to_restore_and_it_is_said() {
    let site = Site::new();

    site.ok(["points", "docs"]).says(&["nothing of docs can be restored", "next: rpo checkpoint docs"]);
    site.rpo(["restore", "docs", "--into", "restored"]).fails(21, &["latest cannot be restored"]);
    site.has_nothing_half_restored("restored");
    site.ok(["verify"]).says(&["0 checkpoints"]);
    site.ok(["status"]).says(&["no checkpoint"]);
}

#[test]
fn protect_twice_leaves_the_first_file_alone() {
    let site = Site::bare();
    site.ok(["protect", "docs", "--to", "home", "--no-encryption"]).says(&[
        "wrote rpo.toml",
        "docs@1",
        "next: rpo check",
    ]);
    let written = std::fs::read_to_string(site.path("rpo.toml")).unwrap();

    site.rpo(["protect", "docs", "--to", "other", "--no-encryption"])
        .fails(30, &["rpo.toml exists and is left alone", "--config"]);
    site.rpo(["init", "--to", "other", "--no-encryption"]).fails(30, &["rpo.toml exists and is left alone"]);

    assert_eq!(std::fs::read_to_string(site.path("rpo.toml")).unwrap(), written);
    assert!(!site.path("other").exists());
    site.restores_docs_exactly();
}

#[test]
fn the_same_protect_again_goes_on_where_the_first_one_stopped() {
    let site = Site::bare();
    let command = ["protect", "docs", "--to", "home", "--to", "far", "--no-encryption"];
    site.write("far/probe", b"where objects should go, so home is made and this is not");

    site.rpo(command).fails(1, &["rpo.toml is written", "the same command again"]);
    std::fs::remove_file(site.path("far/probe")).unwrap();

    site.ok(command).says(&["going on", "docs@1", "copy second: has it"]);
    site.restores_docs_exactly();
}

#[test]
fn a_protect_that_made_nothing_leaves_no_file_behind() {
    let site = Site::bare();
    let failed = site
        .rpo(["protect", "docs", "--to", "mnt/nas/rpo", "--no-encryption"])
        .fails(30, &["may not be mounted", "rpo.toml was not kept"]);
    assert!(!failed.err.contains("wrote"), "it says so only once it stays: {failed:#?}");
    assert!(!site.path("rpo.toml").exists());
    site.ok(["protect", "docs", "--to", "home", "--no-encryption"]).says(&["docs@1"]);
}

#[test]
fn protect_promises_what_it_is_told_to_where_a_copy_is_labelled() {
    let site = Site::bare();
    let to = ["protect", "docs", "--to", "home", "--to", "far", "--no-encryption", "--rpo", "4m"];
    site.rpo(to).fails(30, &["nothing can be promised", "--machine or --region"]);
    site.rpo([&to[..], &["--region", "third=us"]].concat()).ends_with(2).says(&["main, second"]);
    assert!(!site.path("rpo.toml").exists());

    site.ok([&to[..], &["--region", "second=us"]].concat());

    site.ok(["check"])
        .says(&["at most the last 4m of changes are lost (checkpoints every 2m), restored from second"]);
    site.ok(["status", "--exit-code"]).says(&["overall: healthy"]);
}

#[test]
fn protect_refuses_what_is_no_directory_before_it_writes_anything() {
    let site = Site::bare();
    let to = ["--to", "home", "--no-encryption"];
    site.rpo([&["protect", "dosc"], &to[..]].concat()).fails(10, &["dosc is not a directory"]);
    site.rpo([&["protect", "docs/letter.txt"], &to[..]].concat())
        .fails(10, &["letter.txt is not a directory"]);
    site.rpo([&["protect", "docs", "--exclude", "../x"], &to[..]].concat()).fails(13, &["exclude = ../x"]);
    site.rpo(["protect", "docs", "--no-encryption"]).ends_with(2).says(&["--to"]);
    assert!(!site.path("rpo.toml").exists());
}

#[test]
fn a_directory_that_is_gone_fails_its_checkpoint_and_not_that_of_the_others() {
    let site = Site::new();
    site.write("photos/sun.raw", b"bright");
    let file = std::fs::read_to_string(site.path("rpo.toml")).unwrap();
    let gone =
        "[[system]]\nname = \"aside\"\nsource = { kind = \"directory\", path = \"absent\" }\n\n[[system]]";
    std::fs::write(site.path("rpo.toml"), file.replace("[[system]]", gone)).unwrap();

    site.rpo(["checkpoint"]).fails(10, &["aside", "absent", "docs@1"]);

    site.restores_docs_exactly();
}
