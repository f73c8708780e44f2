//! Copies that lose what they had, and copies that come back: no number stands on what is gone, and what can be mended is.

#![allow(clippy::unwrap_used)] // in the scenes as in the stories

mod scene;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rpo::Manager;
use rpo::core::ErrorKind;
use rpo::core::event::EventKind;
use rpo::core::objective::{Domain, Status};
use rpo::core::ports::{
    Capture, CaptureReport, Captured, ContentReader, EntryPath, EntryStream, Skipped, Source, SourceError,
};
use rpo::core::window::Window;
use rpo::manager::{AbsentCopy, DirectorySystem, Reopen};
use rpo::report::{CopyReport, StatusReport};
use rpo::repository::{InitOptions, Repository, RepositoryParts};
use rpo::storage::{Key, ListRequest, MemoryStorage, Storage as _};
use scene::{FAR, HOME, Scene, docs, domain, measured_again, reported};

const SOON: Duration = Duration::from_millis(10);

/// As [`Scene::directory`], with copies looked through all the time.
async fn watched(scene: &Scene) -> Manager {
    scene.builder().audit_every(SOON).directory(scene.docs_system()).start().await.unwrap()
}

fn copy<'a>(report: &'a StatusReport, name: &str) -> &'a CopyReport {
    report.systems[0].copies.iter().find(|copy| copy.name.as_str() == name).unwrap()
}

fn all_whole(report: &StatusReport) -> bool {
    report.overall == Status::Healthy
        && report.systems[0].copies.iter().all(|copy| copy.checkpoint == Some(1))
}

async fn keys(scene: &Scene, store: usize, prefix: &str) -> Vec<Key> {
    let page = scene.stores[store].list(ListRequest::below(prefix)).await.unwrap();
    page.objects.into_iter().map(|object| object.key).collect()
}

#[tokio::test]
async fn a_mirror_that_lost_a_pack_counts_no_more_until_it_has_it_again() {
    let scene = Scene::new().await;
    let manager = watched(&scene).await;
    let mut events = manager.subscribe();
    reported(&manager, all_whole).await;

    let pack = keys(&scene, FAR, "packs/").await.swap_remove(0);
    scene.stores[FAR].delete(&pack).await.unwrap();
    scene.stores[FAR].read_only.store(true, Ordering::SeqCst); // so that it cannot be mended yet
    let report = reported(&manager, |report| copy(report, "far").health.starts_with("damaged")).await;

    let far = copy(&report, "far");
    assert_eq!(far.health, format!("damaged: 1 object missing, e.g. {pack} (docs@1 cannot be restored)"));
    assert_eq!(far.checkpoint, None);
    let region = domain(&report, Domain::Region);
    assert!(matches!(region.loss.window, Window::Unknown { .. }) && region.by.is_empty(), "{region:#?}");
    assert_eq!(region.status, Status::Unknown);
    assert_eq!(region.loss.bytes_at_risk, Some(11), "all of it");
    assert_eq!(domain(&report, Domain::Machine).status, Status::Healthy, "rack is whole");
    let told = std::iter::from_fn(|| events.try_recv().ok()).any(|event| {
        matches!(event.kind, EventKind::ReplicationValidationFailed { copy, .. } if copy.as_str() == "far")
    });
    assert!(told);

    scene.stores[FAR].read_only.store(false, Ordering::SeqCst);
    let report = reported(&manager, all_whole).await;
    assert_eq!(copy(&report, "far").health, "good");
    assert_eq!(keys(&scene, FAR, "packs/").await, keys(&scene, HOME, "packs/").await);
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_pack_of_older_checkpoints_that_is_lost_costs_these_and_not_a_later_full_one() {
    let scene = Scene::new().await;
    let manager = scene.directory().await;
    reported(&manager, all_whole).await;
    manager.stop().await.unwrap();
    let old = keys(&scene, FAR, "packs/").await.swap_remove(0);
    std::fs::write(scene.path("docs/letter"), "dear reader of the second letter").unwrap();
    scene.clock.advance(Duration::from_secs(200_000)); // a full one is due
    let manager = watched(&scene).await;
    reported(&manager, |report| copy(report, "far").checkpoint == Some(2)).await;

    scene.stores[FAR].read_only.store(true, Ordering::SeqCst); // so that it cannot be mended
    scene.stores[FAR].loses(&old).await;
    let report = reported(&manager, |report| copy(report, "far").health.starts_with("damaged")).await;

    let far = copy(&report, "far");
    assert_eq!(far.health, format!("damaged: 1 object missing, e.g. {old} (docs@1 cannot be restored)"));
    assert_eq!(far.checkpoint, Some(2), "of which nothing is missing");
    let region = domain(&report, Domain::Region);
    assert_eq!((region.status, region.by.len()), (Status::Healthy, 1), "{region:#?}");
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_copy_that_answers_not_to_have_what_it_had_proves_nothing_from_that_moment() {
    let scene = Scene::new().await;
    let manager = scene.directory().await; // the next audit is a quarter of an hour away
    let mut events = manager.subscribe();
    reported(&manager, all_whole).await;

    scene.stores[FAR].read_only.store(true, Ordering::SeqCst);
    for key in keys(&scene, FAR, "").await {
        scene.stores[FAR].loses(&key).await;
    }
    let report = reported(&manager, |report| copy(report, "far").checkpoint.is_none()).await;

    assert_eq!(copy(&report, "far").health, "missing: docs@1 was there and is not any more");
    let region = domain(&report, Domain::Region);
    assert_eq!(region.loss.window, Window::Unknown { bound: None }, "no age bounds what is lost");
    assert_eq!((region.by.len(), region.loss.bytes_at_risk), (0, Some(11)), "all of it: {region:#?}");
    assert_eq!(domain(&report, Domain::Machine).status, Status::Healthy, "rack has it");
    let told = std::iter::from_fn(|| events.try_recv().ok()).filter(|event| {
        matches!(&event.kind, EventKind::ReplicationValidationFailed { reason, .. } if reason.starts_with("missing"))
    });
    assert_eq!(told.count(), 1);
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_mirror_that_lost_everything_but_its_manifests_gets_it_again() {
    let scene = Scene::new().await;
    let manager = watched(&scene).await;
    reported(&manager, all_whole).await;

    for prefix in ["packs/", "indexes/", "bills/", "sessions/"] {
        for key in keys(&scene, FAR, prefix).await {
            scene.stores[FAR].delete(&key).await.unwrap();
        }
    }
    scene.stores[FAR].read_only.store(true, Ordering::SeqCst);
    reported(&manager, |report| copy(report, "far").health.starts_with("damaged")).await;
    scene.stores[FAR].read_only.store(false, Ordering::SeqCst);
    reported(&manager, all_whole).await;

    for prefix in ["packs/", "indexes/", "bills/", "sessions/"] {
        assert_eq!(keys(&scene, FAR, prefix).await, keys(&scene, HOME, prefix).await, "{prefix}");
    }
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn before_a_copy_was_looked_through_nothing_counts_in_it() {
    let scene = Scene::new().await;
    let manager = scene.directory().await;
    reported(&manager, all_whole).await;
    manager.stop().await.unwrap();
    let pack = keys(&scene, FAR, "packs/").await.swap_remove(0);
    scene.stores[FAR].delete(&pack).await.unwrap();
    scene.stores[FAR].read_only.store(true, Ordering::SeqCst);

    let manager = scene.directory().await;
    let mut reports = manager.reports();
    let far_counts =
        |report: &StatusReport| domain(report, Domain::Region).by.iter().any(|by| by.as_str() == "far");
    loop {
        tokio::time::timeout(scene::seconds(30), reports.changed()).await.unwrap().unwrap();
        let report = reports.borrow_and_update().clone().unwrap();
        assert!(!far_counts(&report), "{report:#?}");
        if copy(&report, "far").health.starts_with("damaged") {
            break;
        }
    }
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn what_home_lost_is_told_with_what_to_do_and_the_others_go_on_counting() {
    let scene = Scene::new().await;
    let manager = watched(&scene).await;
    reported(&manager, all_whole).await;

    let pack = keys(&scene, HOME, "packs/").await.swap_remove(0);
    scene.stores[HOME].delete(&pack).await.unwrap();
    let report = reported(&manager, |report| report.systems[0].trouble.is_some()).await;

    let trouble = report.systems[0].trouble.clone().unwrap();
    for text in ["copy home", pack.as_str(), "next: rpo verify", "rpo init"] {
        assert!(trouble.contains(text), "`{text}` is not in: {trouble}");
    }
    assert_eq!(domain(&report, Domain::Region).status, Status::Healthy, "far is whole");
    manager.stop().await.unwrap();
}

fn expected(scene: &Scene) -> AbsentCopy {
    let far = &scene.copies[FAR];
    AbsentCopy {
        name: far.name.clone(),
        role: far.role,
        domain: far.domain.clone(),
        why: "not mounted".into(),
    }
}

fn reopen(plugged_in: Arc<AtomicBool>, repository: Repository) -> Reopen {
    Box::new(move || {
        let answer = match plugged_in.load(Ordering::SeqCst) {
            true => Ok(repository.clone()),
            false => Err(rpo::Error::Unsupported("still not mounted".into())),
        };
        Box::pin(async move { answer })
    })
}

#[tokio::test]
async fn a_mirror_that_was_absent_at_the_start_joins_when_it_is_back() {
    let mut scene = Scene::new().await;
    let (absent, plugged_in) = (expected(&scene), Arc::new(AtomicBool::new(false)));
    let far = scene.copies.remove(FAR);
    let open = reopen(plugged_in.clone(), far.repository);
    let manager =
        scene.builder().absent_until(absent, open).directory(scene.docs_system()).start().await.unwrap();

    let report = reported(&manager, |report| copy(report, "far").health.contains("still not mounted")).await;
    assert_eq!(domain(&report, Domain::Region).survivors.len(), 1, "far is expected");

    plugged_in.store(true, Ordering::SeqCst);
    let report = reported(&manager, all_whole).await;
    assert!(domain(&report, Domain::Region).by.iter().any(|by| by.as_str() == "far"));
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_copy_of_another_repository_does_not_join() {
    let mut scene = Scene::new().await;
    let absent = expected(&scene);
    scene.copies.remove(FAR);
    let parts = RepositoryParts {
        storage: Arc::new(MemoryStorage::new()),
        clock: scene.clock.clone(),
        entropy: Arc::new(rpo::os::OsEntropy::new()),
    };
    let other = Repository::init(parts, InitOptions::unencrypted()).await.unwrap();
    let open = reopen(Arc::new(AtomicBool::new(true)), other);
    let manager =
        scene.builder().absent_until(absent, open).directory(scene.docs_system()).start().await.unwrap();

    reported(&manager, |report| copy(report, "far").health.contains("they are no copies of each other"))
        .await;
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn the_memory_of_another_repository_is_not_believed() {
    let scene = Scene::new().await;
    scene.directory().await.stop().await.unwrap();
    let other = Scene::new().await;
    let mut parts = other.parts();
    parts.state_dir = scene.path("state");

    let here = rpo::manager::Here { machine: "desk".into(), region: "here".into() };
    let builder = Manager::builder(parts, here, other.copies.clone()).directory(other.docs_system());
    let error = builder.start().await.unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("state-dir of its own"), "{error}");
}

/// A directory with one more entry, which cannot be read.
#[derive(Debug)]
struct OneUnreadable(Arc<dyn Source>);

struct Unreadable(Box<dyn Capture>, bool);

impl Source for OneUnreadable {
    fn kind(&self) -> &str {
        self.0.kind()
    }

    fn capture(&self, parent: Option<Box<dyn EntryStream>>) -> Result<Box<dyn Capture>, SourceError> {
        Ok(Box::new(Unreadable(self.0.capture(parent)?, false)))
    }
}

impl Capture for Unreadable {
    fn position(&self) -> Option<rpo::core::Position> {
        self.0.position()
    }

    fn next(&mut self) -> Result<Option<Captured>, SourceError> {
        match self.0.next()? {
            None if !std::mem::replace(&mut self.1, true) => {
                let path = EntryPath::new(b"zzz-secret").unwrap();
                Ok(Some(Captured::Skipped(Skipped { path, reason: "permission denied".into(), loss: true })))
            }
            found => Ok(found),
        }
    }

    fn reader(&self) -> Arc<dyn ContentReader> {
        self.0.reader()
    }

    fn finish(self: Box<Self>) -> Result<CaptureReport, SourceError> {
        self.0.finish()
    }
}

#[tokio::test]
async fn a_partial_checkpoint_is_trouble_also_after_a_restart() {
    let scene = Scene::new().await;
    let system = DirectorySystem {
        source: Arc::new(OneUnreadable(scene.docs_system().source)),
        ..scene.docs_system()
    };
    let partial = |report: &StatusReport| {
        let trouble = report.systems[0].trouble.as_deref().unwrap_or_default();
        trouble.contains("docs@1 is partial: 1 entry left out, e.g. zzz-secret: permission denied")
    };
    let manager = scene.builder().directory(system.clone()).start().await.unwrap();
    reported(&manager, partial).await;
    manager.stop().await.unwrap();

    scene.stores[HOME].read_only.store(true, Ordering::SeqCst); // no other checkpoint follows
    let manager = scene.builder().directory(system).start().await.unwrap();
    manager.first_round().await;
    reported(&manager, partial).await;
    manager.stop().await.unwrap();
}

#[tokio::test]
async fn a_manifest_that_cannot_be_read_is_trouble_and_the_checkpoint_before_it_counts() {
    let scene = Scene::new().await;
    for _ in 0..2 {
        let manager = scene.directory().await;
        manager.first_round().await;
        manager.stop().await.unwrap();
    }
    let key = rpo::repository::layout::checkpoint(&docs(), 2);
    for store in &scene.stores {
        let bytes = store.read_all(&key, 1 << 20).await.unwrap();
        store.delete(&key).await.unwrap();
        store.create(&key, bytes.slice(..bytes.len() - 1)).await.unwrap();
    }
    scene.stores[HOME].read_only.store(true, Ordering::SeqCst);

    let manager = scene.directory().await;
    let report = reported(&manager, |report| copy(report, "far").health.starts_with("damaged")).await;

    let trouble = report.systems[0].trouble.clone().unwrap();
    assert!(trouble.contains("docs@2 cannot be read"), "{trouble}");
    assert_eq!(copy(&report, "far").checkpoint, Some(1), "{report:#?}");
    let report = measured_again(&manager).await;
    assert_eq!(domain(&report, Domain::Region).by.len(), 1, "{report:#?}");
    manager.stop().await.unwrap();
}
