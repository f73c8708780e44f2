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
