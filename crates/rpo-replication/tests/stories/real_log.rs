//! The shipper on a real log in a real directory, through a restart and a takeover.

use std::path::Path;
use std::sync::Arc;

use crate::support::Site;
use rpo_core::frame::CommitDraft;
use rpo_core::objective::AckLevel;
use rpo_os::{OsClock, OsDisk, OsEntropy};
use rpo_replication::{LogShipper, ShipperParts, Start, Takeover, TakeoverOptions};
use rpo_wal::{Drive, Log, LogParts, OpenAs, WalConfig};

fn open(dir: &Path, open_as: OpenAs) -> Log {
    let mut config = WalConfig::zero_loss();
    config.segment_bytes = "64KiB".parse().unwrap();
    Log::open(dir, config, LogParts::os(), Drive::Thread, open_as).unwrap().0
}

fn shipper(site: &Site, log: &Log, spool: &Path, start: Start) -> LogShipper {
    let parts = ShipperParts {
        source: Arc::new(log.clone()),
        copies: site.copies(),
        disk: Arc::new(OsDisk::new()),
        clock: Arc::new(OsClock::new()),
        entropy: Arc::new(OsEntropy::new()),
    };
    LogShipper::open(parts, site.stream.clone(), spool, site.config.clone(), start).unwrap()
}

fn append(log: &Log, payload: &str) {
    log.append(CommitDraft::one(payload.to_owned()), AckLevel::Durable).unwrap();
}

#[tokio::test]
async fn a_real_log_is_shipped_through_restarts_and_a_takeover() {
    let site = Site::new(&["eu", "us"], "any 2 of (eu, us)").await;
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    let mut expected = Vec::new();
    for round in 0..3 {
        let log = open(&path("log"), OpenAs::Continue);
        let mut shipper = shipper(&site, &log, &path("spool"), Start::Continue);
        for n in 0..40 {
            expected.push(format!("round {round} commit {n} {}", "x".repeat(700)));
            append(&log, expected.last().unwrap());
            if n % 10 == 0 {
                shipper.step().await.unwrap();
            }
        }
        let step = shipper.step().await.unwrap();
        assert_eq!(step.sealed_to, log.durable());
        assert_eq!(shipper.view().protected(), Some(log.durable()));
        drop(shipper);
        log.close().unwrap();
    }
    assert_eq!(site.read(&[1]).await.unwrap(), expected);

    let takeover: Takeover = site.take_over(&TakeoverOptions::default()).await.unwrap();
    let parent = Some(takeover.parent.epoch);
    let at = takeover.start();
    let log = open(
        &path("log-2"),
        OpenAs::Takeover { epoch: takeover.epoch, at, parent, not_before: takeover.last_time },
    );
    let mut shipper = shipper(&site, &log, &path("spool-2"), Start::After(Box::new(takeover)));
    expected.push("after the takeover".to_owned());
    append(&log, "after the takeover");
    shipper.step().await.unwrap();

    assert_eq!(shipper.view().protected(), Some(log.durable()));
    assert_eq!(site.read(&[0]).await.unwrap(), expected);
}

/// What the sealing relies on: whatever the writer does at that moment, the durable prefix can be read.
#[tokio::test]
async fn shipping_goes_on_without_a_failed_step_while_writers_fill_segments() {
    let site = Site::new(&["eu"], "any 1 of (eu)").await;
    let scratch = tempfile::tempdir().unwrap();
    let mut config = WalConfig::zero_loss();
    config.segment_bytes = "1MiB".parse().unwrap();
    let parts = LogParts::os();
    let (log, _) =
        Log::open(&scratch.path().join("log"), config, parts, Drive::Thread, OpenAs::Continue).unwrap();
    let mut shipper = shipper(&site, &log, &scratch.path().join("spool"), Start::Continue);
    shipper.step().await.unwrap();

    let writers: Vec<_> = (0..8)
        .map(|_| {
            let log = log.clone();
            std::thread::spawn(move || {
                for _ in 0..400 {
                    append(&log, &"y".repeat(4096));
                }
            })
        })
        .collect();
    let mut failures = Vec::new();
    while writers.iter().any(|writer| !writer.is_finished()) {
        if let Err(error) = shipper.step().await {
            failures.push(error.to_string());
        }
    }
    for writer in writers {
        writer.join().unwrap();
    }
    shipper.step().await.unwrap();

    assert_eq!(failures, Vec::<String>::new());
    assert_eq!(shipper.view().protected(), Some(log.durable()));
}
