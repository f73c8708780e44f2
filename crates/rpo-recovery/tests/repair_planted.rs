//! Faults of a repair, switched on: the stories' verdicts must notice each.
#![cfg(feature = "planted-bugs")]
#![allow(clippy::unwrap_used)] // a test may fail so

mod mending;

use mending::{Image, Scene, Site};
use rpo_wal::repair::planted::{RepairBug, with};

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn newest_header_damaged(scene: &Scene) -> Image {
    let newest = scene.segments().pop().unwrap();
    scene.damaged(|image| image.get_mut(&newest).unwrap()[20] ^= 1)
}

#[test]
fn frames_that_follow_on_others_are_noticed() {
    let (whole, other) = block_on(async { (Scene::new(3, 40).await, Scene::new(1, 90).await) });
    let plan = || block_on(async { Site::of(&whole.image).plan(&other.full).await.unwrap() });
    assert!(plan().is_empty());
    assert!(
        !with(RepairBug::ChainUnchecked, plan).is_empty(),
        "another log's frames would be put behind this one"
    );
}

#[test]
fn evidence_that_is_removed_is_noticed() {
    let scene = block_on(Scene::new(1, 90));
    let image = newest_header_damaged(&scene);
    let kept = || {
        let site = Site::of(&image);
        block_on(site.repair(&scene.full, false)).unwrap();
        let after = site.image();
        image
            .iter()
            .filter(|(n, _)| n.ends_with(".rwal"))
            .all(|(_, bytes)| after.values().any(|now| now == bytes))
    };
    assert!(kept());
    assert!(!with(RepairBug::EvidenceRemoved, kept));
}

/// The log was left by a program that was killed, so that no witness but the newest segment itself tells that it was there.
#[test]
fn a_segment_that_is_away_before_its_successor_is_there_is_noticed() {
    let scene = block_on(Scene::new(1, 90));
    let mut image = scene.killed.clone();
    let newest = mending::segments(&image).pop().unwrap();
    image.get_mut(&newest).unwrap()[20] ^= 1;
    let lacks_nothing = |site: &Site| match site.commits() {
        Ok(commits) if commits != scene.commits => Err(format!("opens with {} commits", commits.len())),
        _ => Ok(()),
    };
    let sweep = || block_on(mending::crashes(&image, &scene.full, false, lacks_nothing));
    assert_eq!(sweep(), Vec::<String>::new());
    assert!(!with(RepairBug::MovedAwayFirst, sweep).is_empty());
}

#[test]
fn a_control_file_that_goes_on_saying_closed_is_noticed() {
    let scene = block_on(Scene::new(1, 90));
    let image = newest_header_damaged(&scene);
    let closed = || {
        let site = Site::of(&image);
        block_on(site.repair(&scene.full, false)).unwrap();
        matches!(site.condition().control, rpo_wal::repair::ControlState::Valid { closed: true, .. })
    };
    assert!(!closed());
    assert!(with(RepairBug::ControlStaysClosed, closed));
}
