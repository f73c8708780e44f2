//! The number is honest: unknown before the first proof, a bound while evidence is fresh, never a zero out of ignorance.

mod scene;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rpo::core::event::EventKind;
use rpo::core::objective::{Domain, Status};
use rpo::core::window::Window;
use rpo::repository::{Repository, RepositoryParts};
use rpo::storage::{Hurry, RetryConfig, RetryStorage, Storage};
use scene::{FAR, HOME, Scene, docs, domain, measured_again, reported, seconds};

/// The age that is reported, which must be one.
#[track_caller]
fn age(window: &Window) -> std::time::Duration {
    match window {
        Window::Age(age) => age.get(),
        other => panic!("an age was expected: {other:?}"),
    }
}

#[tokio::test]
async fn before_the_first_proof_the_window_is_unknown_and_not_zero() {
    let scene = Scene::new().await;
    scene.unplug(FAR, true);
    let manager = scene.directory().await;

    manager.first_round().await;
    let report = reported(&manager, |report| report.systems[0].checkpoint.is_some()).await;

    let region = domain(&report, Domain::Region);
    assert_eq!(region.loss.window, Window::Unknown { bound: None }, "{report:#?}");
    assert_eq!(region.status, Status::Unknown);
    assert_eq!(region.survivors.len(), 1, "far is expected, though it does not answer");
    assert!(!manager.check_compliance(&docs()).unwrap().compliant);
    assert_eq!(manager.stats().current, None);

    scene.unplug(FAR, false);
    let report = reported(&manager, |report| domain(report, Domain::Region).status == Status::Healthy).await;
    assert!(domain(&report, Domain::Region).by.iter().any(|copy| copy.as_str() == "far"));
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn the_window_grows_from_the_start_of_the_last_protected_scan_through_all_states() {
    let scene = Scene::new().await;
    let manager = scene.directory().await;
    reported(&manager, |report| report.overall == Status::Healthy).await;

    for (advance, total, status) in [
        (20, 20, Status::Healthy),
        (20, 40, Status::Warning),
        (15, 55, Status::Critical),
        (10, 65, Status::Breached),
    ] {
        scene.clock.advance(seconds(advance));
        let report = measured_again(&manager).await;
        for place in [Domain::Machine, Domain::Region] {
            assert_eq!(age(&domain(&report, place).loss.window), seconds(total), "{report:#?}");
            assert_eq!(domain(&report, place).status, status);
        }
    }
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_mirror_that_stops_answering_makes_its_domain_unknown_and_no_other() {
    let scene = Scene::new().await;
    let manager = scene.directory().await;
    let both = |report: &rpo::report::StatusReport| {
        report.overall == Status::Healthy
            && report.systems[0].copies.iter().all(|copy| copy.checkpoint == Some(1))
    };
    reported(&manager, both).await;

    scene.unplug(FAR, true);
    scene.clock.advance(seconds(10));
    let report = measured_again(&manager).await;
    assert_eq!(
        age(&domain(&report, Domain::Region).loss.window),
        seconds(10),
        "the evidence is recent enough"
    );

    scene.clock.advance(seconds(25));
    let report = measured_again(&manager).await;
    let region = domain(&report, Domain::Region);
    let Window::Unknown { bound: Some(bound) } = region.loss.window else { panic!("{region:#?}") };
    assert!(bound.get() >= seconds(35), "the bound covers what may have been lost since: {bound}");
    assert_eq!(region.status, Status::Unknown);
    assert_eq!(age(&domain(&report, Domain::Machine).loss.window), seconds(35), "rack still answers");
    let far = report.systems[0].copies.iter().find(|copy| copy.name.as_str() == "far").unwrap();
    assert!(far.health.contains("unplugged"), "{far:?}");

    scene.unplug(FAR, false);
    let report = reported(&manager, |report| domain(report, Domain::Region).status != Status::Unknown).await;
    assert_eq!(age(&domain(&report, Domain::Region).loss.window), seconds(35), "and nothing was forgotten");
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_restart_never_gives_a_false_zero() {
    let scene = Scene::new().await;
    let manager = scene.directory().await;
    reported(&manager, |report| report.overall == Status::Healthy).await;
    manager.stop().await.unwrap();

    // Home takes nothing more: no new checkpoint can come to the rescue.
    scene.stores[HOME].read_only.store(true, Ordering::SeqCst);
    scene.clock.reboot(seconds(500));
    let manager = scene.directory().await;
    let report = reported(&manager, |report| domain(report, Domain::Region).status == Status::Breached).await;
    assert_eq!(age(&domain(&report, Domain::Region).loss.window), seconds(500));
    let mut reports = manager.reports();
    assert!(reports.borrow_and_update().is_some());
    manager.stop().await.unwrap();

    // With home away as well, nothing at all can be proven: unknown, and not pending as if nothing had ever been.
    scene.unplug(HOME, true);
    scene.clock.reboot(seconds(5));
    let manager = scene.directory().await;
    manager.first_round().await;
    let report = measured_again(&manager).await;
    assert!(matches!(domain(&report, Domain::Region).loss.window, Window::Unknown { .. }), "{report:#?}");
    assert_eq!(report.overall, Status::Unknown);
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_wall_clock_set_back_over_a_restart_makes_the_window_unknown() {
    let scene = Scene::new().await;
    let manager = scene.directory().await;
    reported(&manager, |report| report.overall == Status::Healthy).await;
    manager.stop().await.unwrap();

    scene.stores[HOME].read_only.store(true, Ordering::SeqCst);
    scene.clock.reboot(seconds(0));
    scene.clock.set_back(seconds(3_600));
    let manager = scene.directory().await;
    manager.first_round().await;
    let report = measured_again(&manager).await;

    for place in [Domain::Machine, Domain::Region] {
        let window = domain(&report, place).loss.window;
        assert!(matches!(window, Window::Unknown { .. }), "{window:?}");
    }
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_violation_is_told_once_for_each_domain_and_again_only_after_it_was_mended() {
    let scene = Scene::new().await;
    let manager = scene.directory().await;
    let mut events = manager.subscribe();
    reported(&manager, |report| report.overall == Status::Healthy).await;

    scene.clock.advance(seconds(61));
    reported(&manager, |report| report.overall == Status::Breached).await;
    for _ in 0..5 {
        measured_again(&manager).await;
    }
    assert_eq!(manager.stats().violations_active, 2);
    manager.stop().await.unwrap();

    let mut told = Vec::new();
    while let Ok(event) = events.try_recv() {
        if let EventKind::RpoViolation { measured } = event.kind {
            assert!(measured.window.is_some_and(|window| window.get() >= seconds(61)));
            told.push(measured.domain);
        }
    }
    assert_eq!(told, [Domain::Machine, Domain::Region]);
}

#[tokio::test]
async fn the_last_report_is_kept_and_says_that_nobody_renews_it() {
    let scene = Scene::new().await;
    let manager = scene.directory().await;
    reported(&manager, |report| report.overall == Status::Healthy).await;
    let kept = || rpo::manager::last_report(&rpo::os::OsDisk::new(), &scene.path("state")).unwrap().unwrap();
    assert!(kept().live);

    let last = manager.stop().await.unwrap();

    assert_eq!(kept(), last);
    assert!(!last.live);
    // Read later, the same report is a bound that grows, then unknown.
    let aged = kept().aged(last.taken_at.saturating_add(seconds(30)));
    assert!(age(&domain(&aged, Domain::Region).loss.window) >= seconds(30));
    let aged = kept().aged(last.taken_at.saturating_add(seconds(3_600)));
    assert!(matches!(domain(&aged, Domain::Region).loss.window, Window::Unknown { bound: Some(_) }));
    assert_eq!(aged.overall, Status::Unknown);
}

#[tokio::test]
async fn that_mirrors_have_nothing_before_their_first_round_is_no_alarm() {
    let scene = Scene::new().await;
    let manager = scene.directory().await;
    let mut events = manager.subscribe();

    reported(&manager, |report| report.overall == Status::Healthy).await;
    manager.stop().await.unwrap();

    let changes: Vec<_> = std::iter::from_fn(|| events.try_recv().ok())
        .filter_map(|event| match event.kind {
            EventKind::StatusChanged { from, to, .. } => Some((from, to)),
            _ => None,
        })
        .collect();
    assert_eq!(changes, [(Status::Pending, Status::Healthy); 2]);
}

#[tokio::test]
async fn bytes_at_risk_are_unknown_after_the_last_scan_and_never_more_than_there_is() {
    let scene = Scene::new().await;
    let manager = scene.directory().await;
    let report = reported(&manager, |report| report.overall == Status::Healthy).await;
    assert_eq!(domain(&report, Domain::Region).loss.bytes_at_risk, None, "nobody has looked since");
    manager.stop().await.unwrap();

    // The same eleven bytes are changed and read again and again, and far gets none of it.
    scene.stores[FAR].read_only.store(true, Ordering::SeqCst);
    for text in ["dear Ada...", "dear Bob...", "dear Eve..."] {
        std::fs::write(scene.path("docs/letter"), text).unwrap();
        let manager = scene.directory().await;
        manager.first_round().await;
        manager.stop().await.unwrap();
    }
    let manager = scene.directory().await;
    let report = reported(&manager, |report| !domain(report, Domain::Region).by.is_empty()).await;
    assert_eq!(domain(&report, Domain::Region).loss.bytes_at_risk, Some(11), "{report:#?}");
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_manager_that_is_to_stop_does_not_wait_for_a_store_that_keeps_failing() {
    let mut scene = Scene::new().await;
    let hour = rpo::core::HumanDuration::from_secs(3_600);
    let mut patience = RetryConfig::default();
    (patience.pause_first, patience.pause_max, patience.deadline) = (hour, hour, hour);
    let hurry = Hurry::new();
    let (clock, entropy) = (scene.clock.clone(), Arc::new(rpo::os::OsEntropy::new()));
    let store: Arc<dyn Storage> = scene.stores[FAR].clone();
    let store = RetryStorage::new(store, patience, clock.clone(), entropy.clone()).unwrap();
    let parts = RepositoryParts { storage: Arc::new(store.hurried_by(hurry.clone())), clock, entropy };
    scene.copies[FAR].repository = Repository::open(parts, None).await.unwrap();
    scene.stores[FAR].read_only.store(true, Ordering::SeqCst);
    let manager = scene.builder().hurry(hurry).directory(scene.docs_system()).start().await.unwrap();
    manager.first_round().await;

    let stopped = tokio::time::timeout(seconds(60), manager.stop()).await;

    stopped.expect("it waits for far").unwrap();
}

#[tokio::test]
async fn two_managers_do_not_share_a_state_directory() {
    let scene = Scene::new().await;
    let manager = scene.directory().await;

    let second = scene.builder().start().await.unwrap_err();

    assert_eq!(second.kind(), rpo::core::ErrorKind::Busy, "{second}");
    manager.stop().await.unwrap();
    scene.builder().start().await.unwrap().stop().await.unwrap();
}
