use std::path::Path;

use rpo_core::objective::Domain;

use super::{Config, Protect, SourceConfig, Verdict, template};

const GOOD: &str = r#"
[repository]
passphrase-env = "SECRET"

[daemon]
machine = "db-1"
region = "eu"

[[copy]]
name = "near"
url = "file:///srv/near"

[[copy]]
name = "far"
url = "s3://bucket/rpo?region=us-east-1"
region = "us"

[[system]]
name = "docs"
source = { kind = "directory", path = "/srv/docs", exclude = ["cache"] }
objective = { rpo = { machine = "10m", region = "1h" } }
checkpoint = { every = "5m" }
"#;

fn parse(text: &str) -> Result<Config, super::ConfigFileError> {
    Config::parse(text, Path::new("rpo.toml"))
}

#[test]
fn a_good_file_is_read_and_says_what_it_promises() {
    let config = parse(GOOD).unwrap();

    config.validate().unwrap();
    let promises = config.promises();
    let verdict = |domain| promises.iter().find(|p| p.domain == domain).unwrap().verdict;
    assert_eq!(verdict(Domain::Process), Verdict::Survives);
    assert_eq!(verdict(Domain::Machine), Verdict::BoundedLoss);
    assert_eq!(verdict(Domain::Region), Verdict::BoundedLoss);
    assert_eq!(verdict(Domain::Operator), Verdict::NotClaimed);
}

#[test]
fn a_copy_on_this_machine_does_not_survive_its_loss() {
    let config = parse(GOOD).unwrap();
    let copy = |name: &str| config.copies.iter().find(|c| c.name.as_str() == name).unwrap();

    assert!(!config.survives(copy("near"), Domain::Machine));
    assert!(config.survives(copy("far"), Domain::Machine));
    assert!(config.survives(copy("far"), Domain::Region));
}

#[test]
fn an_unknown_key_names_its_line_and_the_nearest_known_one() {
    let error = parse(&GOOD.replace("passphrase-env", "pasphrase-env")).unwrap_err().to_string();

    assert!(error.contains("rpo.toml, line 3"), "{error}");
    assert!(error.contains("did you mean `passphrase-env`?"), "{error}");
}

#[test]
fn all_broken_rules_are_reported_at_once() {
    let text = GOOD
        .replace("every = \"5m\"", "every = \"50m\"")
        .replace("region = \"us\"", "region = \"eu\"")
        .replace("file:///srv/near", "srv/near");

    let error = parse(&text).unwrap().validate().unwrap_err();

    let fields: Vec<_> = error.problems().iter().map(|p| p.field.as_str()).collect();
    assert!(fields.contains(&"copy.near.url"), "{fields:?}");
    assert!(fields.contains(&"system.docs.objective.rpo.machine"), "{fields:?}");
    assert_eq!(
        fields.iter().filter(|f| **f == "system.docs.objective.rpo.region").count(),
        2,
        "late and without survivor"
    );
}

#[test]
fn promises_that_cannot_be_kept_are_refused() {
    for (from, to, field) in [
        ("rpo = { machine = \"10m\", region = \"1h\" }", "level = \"zero\"", "system.docs.objective.level"),
        (
            "name = \"far\"\nurl = \"s3://bucket/rpo?region=us-east-1\"",
            "name = \"far\"\nurl = \"file:///srv/near\"",
            "copy.far.url",
        ),
        ("name = \"far\"", "name = \"near\"", "copy.near"),
        ("exclude = [\"cache\"]", "exclude = [\"../cache\"]", "system.docs.source.exclude"),
        ("passphrase-env = \"SECRET\"", "passphrase-env = \"SECRET\"\nencryption = \"none\"", "repository"),
        ("name = \"near\"", "name = \"near\"\nrole = \"mirror\"", "copy.role"),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let error = parse(&GOOD.replace(from, to)).unwrap().validate().expect_err(to);
        assert!(error.problems().iter().any(|p| p.field == field), "{to}: {error}");
    }
}

#[test]
fn the_file_that_protect_writes_is_read_back_and_keeps_its_promise() {
    let copies = parse(GOOD).unwrap().copies;
    let source =
        SourceConfig::Directory { path: "/srv/docs".into(), exclude: Vec::new(), one_file_system: false };
    let protect = Protect { name: "docs".parse().unwrap(), source, every: "5m".parse().unwrap(), rpo: None };

    let text = template(&Default::default(), &copies, Some(&protect));
    let read = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));

    read.validate().unwrap();
    assert_eq!(read.copies, copies);
    assert_eq!(read.systems[0].ceiling(Domain::Region).unwrap().to_string(), "10m", "{text}");
    assert_eq!(read.systems[0].checkpoint_every().to_string(), "5m");
}

#[test]
fn an_agreed_ceiling_is_written_as_it_was_agreed() {
    let copies = parse(GOOD).unwrap().copies;
    let source =
        SourceConfig::Directory { path: "/srv/docs".into(), exclude: Vec::new(), one_file_system: false };
    let (every, rpo) = ("5m".parse().unwrap(), Some("1h".parse().unwrap()));

    let text = template(
        &Default::default(),
        &copies,
        Some(&Protect { name: "docs".parse().unwrap(), source, every, rpo }),
    );

    let system = parse(&text).unwrap().systems.remove(0);
    assert_eq!(system.ceiling(Domain::Machine).unwrap().to_string(), "1h", "{text}");
    assert_eq!(system.checkpoint_every().to_string(), "5m");
}

#[test]
fn nonsense_in_urls_and_intervals_is_refused() {
    let near = "file:///srv/near";
    for (from, to, field) in [
        (near, "file://srv/near", "copy.near.url"),
        (near, "file://", "copy.near.url"),
        (near, "file:///", "copy.near.url"),
        (near, "s3://", "copy.near.url"),
        (near, "s3:///prefix", "copy.near.url"),
        ("every = \"5m\"", "every = \"1ns\"", "system.docs.checkpoint.every"),
        ("machine = \"10m\"", "machine = \"1s\"", "system.docs.objective.rpo"),
        ("machine = \"db-1\"", "audit-every = \"10ms\"", "daemon.audit-every"),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let error = parse(&GOOD.replace(from, to)).unwrap().validate().expect_err(to);
        assert!(error.problems().iter().any(|p| p.field == field), "{to}: {error}");
    }
}

#[test]
fn configurations_with_other_places_are_told_apart_and_other_promises_are_not_another() {
    let identity = |text: &str| parse(text).unwrap().identity();
    assert_ne!(identity(GOOD), identity(&GOOD.replace("/srv/near", "/srv/other")));
    assert_ne!(identity(GOOD), identity(&GOOD.replace("/srv/docs", "/srv/other")));
    assert_eq!(identity(GOOD), identity(&GOOD.replace("10m", "20m")));
}
