//! A log's directory, looked into, checked and mended with the real binary, as somebody does it at night.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod site;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rpo::core::frame::CommitDraft;
use rpo::core::objective::AckLevel;
use rpo::core::{CopyName, StreamId};
use rpo::crypto::Secret;
use rpo::os::{OsClock, OsDisk, OsEntropy};
use rpo::replication::{
    Copies, CopyDomain, CopySpec, LogShipper, Role, ShipConfig, ShipperParts, Start, SyncPolicy,
};
use rpo::repository::{InitOptions, Repository, RepositoryParts};
use rpo::wal::{Drive, Log, LogParts, OpenAs, WalConfig};
use serde_json::Value;
use site::Site;

const COMMITS: u64 = 300;

/// A closed log `log` of several segments, and all of it in the archive of the repository `home`.
async fn shipped(secret: Option<Secret>) -> Site {
    let site = Site::bare();
    let mut config = WalConfig::zero_loss();
    config.segment_bytes = "16KiB".parse().unwrap();
    config.pending_bytes_max = "64KiB".parse().unwrap();
    config.frame_bytes_max = "4KiB".parse().unwrap();
    let (log, _) =
        Log::open(&site.path("log"), config, LogParts::os(), Drive::Thread, OpenAs::Continue).unwrap();
    for number in 0..COMMITS {
        let payload = format!("order {number:06} {}", "x".repeat(200));
        log.append(CommitDraft::one(payload), AckLevel::Durable).unwrap();
    }
    let url = format!("file://{}", site.path("home").display());
    let storage = rpo::SiteParts::os().store(&url).unwrap();
    let parts =
        RepositoryParts { storage, clock: Arc::new(OsClock::new()), entropy: Arc::new(OsEntropy::new()) };
    let options = match secret {
        Some(secret) => InitOptions::encrypted(secret),
        None => InitOptions::unencrypted(),
    };
    let repository = Repository::init(parts, options).await.unwrap();
    let name = CopyName::new("home").unwrap();
    let spec = CopySpec { name, domain: CopyDomain::default(), url, role: Role::Home, repository };
    let parts = ShipperParts {
        source: Arc::new(log.clone()),
        copies: Copies::new(vec![spec], SyncPolicy::None).unwrap(),
        disk: Arc::new(OsDisk::new()),
        clock: Arc::new(OsClock::new()),
        entropy: Arc::new(OsEntropy::new()),
    };
    let stream = StreamId::new("orders").unwrap();
    let mut shipper =
        LogShipper::open(parts, stream, &site.path("spool"), ShipConfig::default(), Start::Continue).unwrap();
    for _ in 0..20 {
        shipper.step().await.unwrap();
    }
    log.close().unwrap();
    site
}

fn segments(site: &Site) -> Vec<PathBuf> {
    let names = fs::read_dir(site.path("log")).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> = names.filter(|path| path.extension().is_some_and(|e| e == "rwal")).collect();
    segments.sort();
    assert!(segments.len() >= 3, "{segments:?}");
    segments
}

fn flip(path: &std::path::Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn from(site: &Site) -> String {
    format!("file://{}", site.path("home").display())
}

#[tokio::test]
async fn a_log_that_is_whole_is_shown_verified_and_left_alone() {
    let site = shipped(None).await;
    let before = site.tree("log");
    site.ok(["wal", "inspect", "log"]).says(&["300 commits", "clean end", "opens"]);
    let condition = site.ok(["wal", "inspect", "log", "--json"]).json();
    assert_eq!(condition["whole"], true);
    assert_eq!(condition["control"]["valid"]["closed"], true, "{condition:#}");
    let listed = site.ok(["wal", "inspect", "log", "--entries", "--limit", "3", "--json"]).json();
    assert_eq!(listed["entries"].as_array().map(Vec::len), Some(3), "{listed:#}");
    site.ok(["wal", "verify", "log"]).says(&["every byte was read and checked"]);
    site.ok(["wal", "verify", "log", "--no-encryption", "--against", &from(&site)])
        .says(&["the same, 0 differ"]);
    site.ok(["wal", "repair", "log", "--no-encryption", "--from", &from(&site)]).says(&["nothing to repair"]);
    assert_eq!(site.tree("log"), before, "looking changed something");
}

#[tokio::test]
async fn a_flipped_byte_is_found_and_mended_from_the_copy() {
    let site = shipped(None).await;
    let victim = segments(&site).swap_remove(1);
    let name = victim.file_name().unwrap().to_str().unwrap().to_owned();
    let sound = fs::read(&victim).unwrap();
    flip(&victim, 8192 + 300);
    let rotten = fs::read(&victim).unwrap();

    site.ok(["wal", "inspect", "log"]).says(&["GAP", &name, "does not open", "wal repair"]);
    site.rpo(["wal", "verify", "log"]).ends_with(22).says(&["DAMAGED", &name]);
    let before = site.tree("log");
    site.ok(["wal", "repair", "log", "--no-encryption", "--from", &from(&site), "--dry-run"]).says(&[
        "build",
        &name,
        "1 frame from file://",
        "keep as evidence",
    ]);
    assert_eq!(site.tree("log"), before, "a plan changed something");

    let done = site.ok(["wal", "repair", "log", "--no-encryption", "--from", &from(&site), "--json"]).json();
    assert_eq!(done["message-type"], "repaired", "{done:#}");
    assert_eq!(done["outcome"]["lost"], Value::Null);
    let evidence = done["outcome"]["evidence"][0].as_str().unwrap().to_owned();
    assert!(evidence.ends_with(&format!("{name}.damaged-1")), "{evidence}");
    assert_eq!(fs::read(site.path(evidence)).unwrap(), rotten);
    let mended = fs::read(&victim).unwrap();
    let frames = 8192..sound.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    assert_eq!(mended[frames.clone()], sound[frames], "the frames are the same bytes as before");
    site.ok(["wal", "verify", "log", "--no-encryption", "--against", &from(&site)])
        .says(&["300 commits", "whole"]);
    let condition = site.ok(["wal", "inspect", "log", "--json"]).json();
    assert_eq!(condition["control"]["valid"]["closed"], false, "{condition:#}");
    site.ok(["wal", "repair", "log", "--no-encryption", "--from", &from(&site)]).says(&["nothing to repair"]);
}

#[tokio::test]
async fn a_segment_that_is_deleted_or_cut_off_comes_back_from_the_copy() {
    for cut in [None, Some(9_000)] {
        let site = shipped(None).await;
        let victim = segments(&site).swap_remove(1);
        match cut {
            Some(len) => fs::OpenOptions::new().write(true).open(&victim).unwrap().set_len(len).unwrap(),
            None => fs::remove_file(&victim).unwrap(),
        }
        site.rpo(["wal", "verify", "log"]).ends_with(22);
        site.ok(["wal", "repair", "log", "--no-encryption", "--from", &from(&site)])
            .says(&["repaired: 1 segment built"]);
        site.ok(["wal", "verify", "log", "--no-encryption", "--against", &from(&site)])
            .says(&["300 commits", "0 differ"]);
    }
}

#[tokio::test]
async fn what_nobody_has_is_given_up_only_on_demand_and_then_said() {
    let site = shipped(None).await;
    flip(&segments(&site)[1], 8192 + 300);
    let before = site.tree("log");
    site.rpo(["wal", "repair", "log", "--dry-run"]).ends_with(30).says(&["LOST with --accept-loss only"]);
    assert_eq!(site.tree("log"), before);
    site.rpo(["wal", "repair", "log"]).fails(30, &["nothing was changed", "--from", "--accept-loss"]);
    assert_eq!(site.tree("log"), before);

    site.ok(["wal", "repair", "log", "--accept-loss"]).says(&[
        "GIVEN UP",
        "epoch 2",
        "evidence",
        "repairs.jsonl",
    ]);

    site.ok(["wal", "verify", "log"]).says(&["whole"]);
    let record = fs::read_to_string(site.path("log/repairs.jsonl")).unwrap();
    let events: Vec<Value> = record.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.len(), 2, "{record}");
    assert_eq!((&events[0]["event"], &events[0]["begins-epoch"]), (&"begin".into(), &2.into()), "{record}");
    assert_eq!(events[1]["event"], "done", "{record}");
}

#[tokio::test]
async fn a_damaged_copy_beside_a_damaged_log_is_named_and_nothing_of_it_is_taken() {
    let site = shipped(None).await;
    flip(&segments(&site)[1], 8192 + 300);
    let before = site.tree("log");
    for object in site.objects("home", "logs") {
        let middle = fs::metadata(&object).unwrap().len() as usize / 2;
        flip(&object, middle);
    }
    site.rpo(["wal", "repair", "log", "--no-encryption", "--from", &from(&site)])
        .fails(30, &["nothing was changed", "copy file://"]);
    assert_eq!(site.tree("log"), before);
}

#[tokio::test]
async fn the_archive_of_an_encrypted_repository_is_read_with_the_key_only() {
    let mut site = shipped(Some(Secret::passphrase("correct horse battery"))).await;
    flip(&segments(&site)[1], 8192 + 300);
    site.rpo(["wal", "repair", "log", "--from", &from(&site)])
        .fails(12, &["RPO_PASSPHRASE", "--no-encryption"]);
    site.passphrase = Some("wrong");
    site.rpo(["wal", "repair", "log", "--from", &from(&site)]).ends_with(12);
    site.passphrase = Some("correct horse battery");
    site.ok(["wal", "repair", "log", "--from", &from(&site)]).says(&["repaired"]);
    site.ok(["wal", "verify", "log"]).says(&["whole"]);
}

#[tokio::test]
async fn what_is_no_log_or_is_open_is_refused_in_words() {
    let site = shipped(None).await;
    site.rpo(["wal", "inspect", "docs"]).fails(10, &["there is no log here"]);
    site.rpo(["wal", "repair", "nowhere"]).ends_with(10);
    flip(&segments(&site)[1], 8192 + 300);
    site.rpo(["wal", "repair", "log", "--no-encryption", "--from", &from(&site), "--stream", "bank"])
        .ends_with(30);
    let lock = fs::File::options().read(true).write(true).open(site.path("log/lock")).unwrap();
    lock.lock().unwrap(); // as a program does that has the log open
    site.rpo(["wal", "repair", "log", "--no-encryption", "--from", &from(&site)]).fails(11, &["log"]);
    drop(lock);
    site.ok(["wal", "repair", "log", "--no-encryption", "--from", &from(&site)]);
}
