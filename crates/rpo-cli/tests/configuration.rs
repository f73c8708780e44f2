//! Mistakes in `rpo.toml`: code 13, where and what, the nearest thing that would be right; nothing is touched.

mod site;

use site::Site;

#[test]
fn an_unknown_key_names_its_line_and_the_nearest_known_key() {
    for (from, to, texts) in [
        ("encryption", "encription", ["line 3", "unknown field `encription`", "did you mean `encryption`?"]),
        (
            "sample-every",
            "sampleevery",
            ["line 9", "unknown field `sampleevery`", "did you mean `sample-every`?"],
        ),
        ("path = \"docs\"", "pth = \"docs\"", ["line 25", "unknown field `pth`", "did you mean `path`?"]),
        ("kind = \"directory\"", "kind = \"directry\"", ["line 25", "directry", "did you mean `directory`?"]),
        ("region = \"10m\" }", "regoin = \"10m\" }", ["line 26", "regoin", "did you mean `region`?"]),
        ("role = \"mirror\"", "role = \"miror\"", ["line 19", "miror", "did you mean `mirror`?"]),
        ("machine = \"10m\"", "machine = \"ten minutes\"", ["line 26", "ten minutes", "next: "]),
        ("[daemon]", "[daemon", ["line 5", "rpo.toml", "next: "]),
    ] {
        let site = Site::two_copies();
        site.ok(["checkpoint"]);
        site.reconfigure(from, to);

        for command in
            [vec!["check"], vec!["checkpoint"], vec!["restore", "docs", "--into", "x"], vec!["run", "--once"]]
        {
            site.rpo(command).fails(13, &texts);
        }

        site.reconfigure(to, from);
        site.restores_docs_exactly();
    }
}

#[test]
fn contradictions_are_all_reported_at_once() {
    let site = Site::two_copies();
    site.ok(["checkpoint"]);
    let good = std::fs::read_to_string(site.path("rpo.toml")).unwrap();
    site.reconfigure("encryption = \"none\"", "encryption = \"none\"\nkey-file = \"key\"");
    site.reconfigure("role = \"mirror\"", "role = \"home\"");
    site.reconfigure("region = \"us\"", "region = \"eu\"");
    site.reconfigure(
        "FOLDER/far".replace("FOLDER", site.path("").to_str().unwrap().trim_end_matches('/')).as_str(),
        "relative",
    );
    site.reconfigure("path = \"docs\"", "path = \"docs\", exclude = [\"/etc\"]");

    site.rpo(["check"]).fails(
        13,
        &[
            "rpo.toml: ",
            "repository = 2 ways to unlock",
            "copy.role = 2 homes: exactly one copy is home",
            "no copy survives the loss of this region",
            "system.docs.source.exclude = /etc",
            "next: mend the file",
        ],
    );

    std::fs::write(site.path("rpo.toml"), good).unwrap();
    site.restores_docs_exactly();
}

#[test]
fn level_zero_and_a_checkpoint_interval_that_is_too_long_are_refused_for_a_directory() {
    let site = Site::two_copies();
    site.reconfigure("{ rpo = { machine = \"10m\", region = \"10m\" } }", "{ level = \"zero\" }");
    site.rpo(["check"])
        .fails(13, &["system.docs.objective.level = zero", "a directory is looked at now and then"]);

    site.reconfigure(
        "{ level = \"zero\" }",
        "{ rpo = { region = \"10m\" } }\ncheckpoint = { every = \"1h\" }",
    );
    site.rpo(["check"]).fails(13, &["checkpoints every 1h cannot keep this", "at most half"]);

    site.reconfigure("every = \"1h\"", "every = \"5m\"");
    site.ok(["check"]).says(&["at most the last 10m of changes are lost", "restored from far"]);
}

#[test]
fn an_unknown_scheme_is_a_mistake_in_the_file_and_the_known_ones_are_named() {
    let site = Site::two_copies();
    let far = site.path("far");
    site.reconfigure(&format!("file://{}", far.display()), "ftp://host/far");

    for command in ["check", "init", "run"] {
        site.rpo([command]).fails(13, &["copy.far.url = ftp://host/far", "file://", "s3://"]);
    }
    site.rpo(["protect", "docs", "--to", "ftp://host", "--no-encryption", "--config", "other.toml"])
        .fails(13, &["ftp://host"]);
    assert!(!site.path("other.toml").exists());
}

#[test]
fn a_file_that_is_not_there_says_how_to_get_one() {
    let site = Site::bare();
    for command in [vec!["init"], vec!["check"], vec!["status"], vec!["points", "docs"], vec!["run"]] {
        site.rpo(command).fails(10, &["rpo.toml", "next: rpo protect DIR --to URL"]);
    }
    site.rpo(["check", "--config", "elsewhere.toml"]).fails(10, &["elsewhere.toml"]);
}

#[test]
fn every_key_of_a_directory_is_written_with_dashes() {
    let site = Site::protected();
    site.reconfigure("path = \"docs\"", "path = \"docs\", one-file-system = true");
    site.ok(["checkpoint"]);
    site.restores_docs_exactly();
}

#[test]
fn the_file_may_be_named_from_anywhere_and_its_paths_are_taken_from_where_it_stands() {
    let site = Site::protected();
    let config = site.path("rpo.toml");
    let status = site.command(["checkpoint", "--config", config.to_str().unwrap()]).current_dir("/").status();
    assert!(status.unwrap().success());
    site.ok(["points", "docs"]).says(&["docs@2"]);
}

#[test]
fn a_directory_that_is_not_there_is_a_problem_that_names_its_line() {
    let site = Site::two_copies();
    site.reconfigure("path = \"docs\"", "path = \"dosc\"");

    site.rpo(["check"])
        .ends_with(3)
        .says(&["problem: system.docs.source.path: ", "dosc cannot be looked at"]);
    let check = site.rpo(["check", "--json"]).ends_with(3).json();
    assert_eq!(check["problems"][0]["about"], "system.docs.source.path");
}

#[test]
fn a_copy_whose_disk_may_not_be_mounted_is_not_made_on_another() {
    let site = Site::bare();
    site.configure(&site::ONE_COPY.replace("FOLDER/home", "FOLDER/mnt/nas/rpo"));

    site.rpo(["init"]).fails(30, &["mnt/nas is not there", "may not be mounted", "mkdir -p"]);
    assert!(!site.path("mnt").exists());

    std::fs::create_dir_all(site.path("mnt/nas")).unwrap();
    site.ok(["init"]).says(&["home  created"]);
}
