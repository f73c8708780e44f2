//! A program that embeds the log: each commit counts, acknowledged is not protected, and who waits is told the truth.

#![allow(clippy::unwrap_used)] // in the scenes as in the stories

mod scene;

use rpo::Manager;
use rpo::core::frame::CommitDraft;
use rpo::core::objective::{Domain, Status};
use rpo::core::window::Window;
use rpo::core::{AckLevel, ErrorKind, StreamId};
use rpo::manager::StreamSystem;
use rpo::replication::Start;
use rpo::wal::{Drive, Log, LogParts, OpenAs, WalConfig};
use scene::{FAR, RACK, Scene, docs, domain, measured_again, one_minute, reported, seconds};

fn log(scene: &Scene) -> Log {
    let parts = LogParts { clock: scene.clock.clone(), ..LogParts::os() };
    let opened =
        Log::open(&scene.path("log"), WalConfig::zero_loss(), parts, Drive::Thread, OpenAs::Continue);
    opened.unwrap().0
}

async fn manager(scene: &Scene, log: &Log) -> Manager {
    loop {
        let system = StreamSystem {
            name: docs(),
            stream: StreamId::new("ledger").unwrap(),
            log: log.clone(),
            start: Start::Continue,
            epochs: Vec::new(),
            state: None,
            checkpointer: scene.home(),
            checkpoint_every: seconds(3_600),
            ship_every: Some(std::time::Duration::from_millis(10)),
            objective: Some(one_minute()),
        };
        match scene.builder().stream(system).start().await {
            Ok(manager) => return manager,
            // One that was dropped ends on its own; the state directory is its own until then.
            Err(error) if error.kind() == ErrorKind::Busy => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn append(log: &Log, text: &'static str) -> rpo::core::Position {
    log.append_async(CommitDraft::one(text), AckLevel::Durable).await.unwrap().end
}

#[tokio::test]
async fn a_protected_commit_is_no_longer_at_risk_and_idleness_is_none() {
    let scene = Scene::new().await;
    let log = log(&scene);
    let manager = manager(&scene, &log).await;

    let end = append(&log, "one").await;
    manager.wait_protected(&docs(), end, Domain::Region).await.unwrap();

    let safe =
        |report: &rpo::report::StatusReport| domain(report, Domain::Region).loss.window == Window::None;
    let report = reported(&manager, safe).await;
    assert_eq!(domain(&report, Domain::Region).loss.commits_at_risk, Some(0));
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_commit_that_only_reached_this_region_is_counted_and_ages_until_far_is_back() {
    let scene = Scene::new().await;
    let log = log(&scene);
    let manager = manager(&scene, &log).await;
    let first = append(&log, "one").await;
    manager.wait_protected(&docs(), first, Domain::Region).await.unwrap();

    scene.unplug(FAR, true);
    let second = append(&log, "two").await;
    manager.wait_protected(&docs(), second, Domain::Machine).await.unwrap();
    scene.clock.advance(seconds(12));
    let report = measured_again(&manager).await;

    let region = domain(&report, Domain::Region);
    assert_eq!(region.loss.window, Window::Age(seconds(12).into()), "{region:#?}");
    assert_eq!(region.loss.commits_at_risk, Some(1));
    assert_eq!(domain(&report, Domain::Process).loss.window, Window::None);

    scene.clock.advance(seconds(60));
    let report = measured_again(&manager).await;
    assert_eq!(
        domain(&report, Domain::Region).status,
        Status::Unknown,
        "no evidence is no breach and no health"
    );

    scene.unplug(FAR, false);
    manager.wait_protected(&docs(), second, Domain::Region).await.unwrap();
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn what_was_not_shipped_before_a_restart_is_still_at_risk_after_it() {
    let scene = Scene::new().await;
    let first_log = log(&scene);
    let first = manager(&scene, &first_log).await;
    let end = append(&first_log, "one").await;
    first.wait_protected(&docs(), end, Domain::Region).await.unwrap();
    scene.unplug(FAR, true);
    scene.unplug(RACK, true);
    append(&first_log, "two").await;
    drop(first); // as if killed: nothing drains
    first_log.close().unwrap();

    scene.clock.reboot(seconds(30));
    let log = loop {
        // The tasks of the dropped manager end on their own; the log is theirs until then.
        let parts = LogParts { clock: scene.clock.clone(), ..LogParts::os() };
        match Log::open(&scene.path("log"), WalConfig::zero_loss(), parts, Drive::Thread, OpenAs::Continue) {
            Ok((log, _)) => break log,
            Err(error) if error.kind() == ErrorKind::Busy => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    let second = manager(&scene, &log).await;
    let report = measured_again(&second).await;

    for place in [Domain::Machine, Domain::Region] {
        assert_ne!(domain(&report, place).loss.window, Window::None, "{report:#?}");
        assert_ne!(domain(&report, place).status, Status::Healthy, "{report:#?}");
    }
    scene.unplug(FAR, false);
    scene.unplug(RACK, false);
    second.wait_protected(&docs(), log.head(), Domain::Region).await.unwrap();
    second.stop().await.unwrap();
}

#[tokio::test]
async fn who_waits_for_protection_is_told_when_the_manager_stops() {
    let scene = Scene::new().await;
    scene.unplug(FAR, true);
    let log = log(&scene);
    let manager = manager(&scene, &log).await;
    let end = append(&log, "one").await;

    manager.stop().await.unwrap();

    let answer = manager.wait_protected(&docs(), end, Domain::Region).await.unwrap_err();
    assert!(answer.to_string().contains("not protected: the manager stopped"), "{answer}");
}
