//! Keys: a wrong, missing or weak one is told as such, and nothing is lost by it.

mod site;

use site::{Done, ONE_COPY, Site, noise};

const RIGHT: &str = "correct horse battery";

/// Encrypted under a passphrase (which costs time by intent: few commands here), with a first checkpoint.
fn under_a_passphrase() -> Site {
    let mut site = Site::bare();
    site.configure(&ONE_COPY.replace("encryption = \"none\"", ""));
    site.passphrase = Some(RIGHT);
    site.ok(["init"]);
    site.ok(["checkpoint"]);
    site
}

/// Encrypted under a key file, with a first checkpoint.
fn under_a_key_file() -> Site {
    let site = Site::bare();
    site.write("key", &noise(5, 32));
    site.configure(&ONE_COPY.replace("encryption = \"none\"", "key-file = \"key\""));
    site.ok(["init"]);
    site.ok(["checkpoint"]);
    site
}

#[test]
fn a_wrong_passphrase_opens_nothing_and_the_right_one_still_does() {
    let mut site = under_a_passphrase();

    site.passphrase = Some("correct horse batterie");
    for command in [vec!["checkpoint"], vec!["restore", "docs", "--into", "restored"], vec!["init"]] {
        site.rpo(command)
            .fails(12, &["copy home", "opens none of the 1 key slots", "next: ", "RPO_PASSPHRASE"]);
    }
    site.has_nothing_half_restored("restored");

    site.passphrase = Some(RIGHT);
    site.restores_docs_exactly();
}

#[test]
fn a_missing_passphrase_names_the_variable_and_what_to_do() {
    let mut site = under_a_passphrase();

    site.passphrase = None;
    for command in [vec!["checkpoint"], vec!["restore", "docs", "--into", "restored"], vec!["run", "--once"]]
    {
        site.rpo(command).fails(12, &["RPO_PASSPHRASE", "is not set", "next: set it", "passphrase-file"]);
    }
    site.has_nothing_half_restored("restored");

    site.write("secret", format!("{RIGHT}\n").as_bytes());
    site.reconfigure("[repository]", "[repository]\npassphrase-file = \"secret\"");
    site.restores_docs_exactly();
}

#[test]
fn an_empty_passphrase_file_and_a_failing_command_are_told_as_what_they_are() {
    let site = under_a_key_file();
    site.write("secret", b"\n");
    let mut now = "key-file = \"key\"".to_owned();
    let mut unlock_by = |way: &str| {
        site.reconfigure(&now, way);
        now = way.to_owned();
        site.rpo(["points", "docs"])
    };

    unlock_by("passphrase-file = \"secret\"").fails(12, &["passphrase-file", "secret", "empty"]);
    unlock_by("passphrase-file = \"absent\"").fails(12, &["absent", "cannot be read"]);
    unlock_by("passphrase-command = [\"false\"]").fails(12, &["passphrase-command false", "exit status: 1"]);
    unlock_by("passphrase-command = [\"no-such-program\"]").fails(12, &["no-such-program", "cannot be run"]);
    unlock_by("key-file = \"docs/letter.txt\"").fails(12, &["letter.txt", "expected"]);
    unlock_by("key-file = \"key\"").ends_with(0);
    site.restores_docs_exactly();
}

#[test]
fn a_bucket_without_credentials_says_in_one_line_which_variables_to_set() {
    let site = Site::new();
    let url = format!("file://{}", site.path("home").display());
    site.reconfigure(&url, "s3://bucket/rpo?region=eu-west-1&endpoint=http://127.0.0.1:9");
    let mut command = site.command(["points", "docs"]);
    let theirs = std::env::vars_os().map(|(name, _)| name);
    theirs
        .filter(|name| name.to_string_lossy().starts_with("AWS_"))
        .for_each(|name| _ = command.env_remove(name));
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("HOME", site.path(""));

    let done = Done::of(["points", "docs"], command)
        .fails(14, &["copy home: s3://bucket/rpo", "no credentials", "next: set AWS_ACCESS_KEY_ID"]);

    assert_eq!(done.err.lines().count(), 1, "{done:#?}");
    assert!(!done.err.contains('{'), "no dump: {done:#?}");
}

#[test]
fn a_passphrase_that_is_too_short_is_refused_before_anything_is_written() {
    let mut site = Site::bare();
    site.passphrase = Some("short");

    site.rpo(["protect", "docs", "--to", "home"]).fails(12, &["at least 8 characters"]);
    site.rpo(["init", "--to", "home"]).fails(12, &["at least 8 characters"]);

    assert!(!site.path("rpo.toml").exists());
    assert!(!site.path("home").exists());
    site.passphrase = Some(RIGHT);
    site.ok(["protect", "docs", "--to", "home"]).says(&["wrote rpo.toml", "docs@1", "keep the passphrase"]);
    site.restores_docs_exactly();
}

#[test]
fn an_encrypted_repository_is_not_taken_for_a_plain_one_nor_the_reverse() {
    let site = under_a_key_file();
    site.reconfigure("key-file = \"key\"", "encryption = \"none\"");
    site.rpo(["points", "docs"]).fails(12, &["the repository is encrypted"]);
    site.reconfigure("encryption = \"none\"", "key-file = \"key\"");
    site.restores_docs_exactly();

    let plain = Site::protected();
    plain.write("key", &noise(5, 32));
    plain.reconfigure("encryption = \"none\"", "key-file = \"key\"");
    plain.rpo(["points", "docs"]).fails(30, &["says it is not encrypted"]);
}

#[test]
fn no_object_of_an_encrypted_repository_shows_what_is_in_it() {
    let content = noise(7, 4_000); // does not compress, so it would be seen
    let shows = |site: &Site| {
        site.write("docs/plain", &content);
        site.ok(["checkpoint"]);
        let objects = site.objects("home", "").into_iter().map(|object| std::fs::read(object).unwrap());
        let secrets = [&content[..64], b"letter.txt"];
        objects
            .flat_map(|bytes| secrets.map(|s| bytes.windows(s.len()).any(|part| part == s)))
            .any(|seen| seen)
    };

    assert!(!shows(&under_a_key_file()));
    assert!(shows(&Site::new()), "without encryption it is seen: the check can fail");
}
