//! Stories of damaged logs and of what archive copies have: mended, or refused with exact positions; nothing is given up
//! unless that is accepted.
#![allow(clippy::unwrap_used)] // a test may fail so

mod mending;

use mending::{DIR, Image, Scene, Site, frames_end};
use rpo_core::{ErrorKind, Lsn};
use rpo_recovery::repair::{RepairCopy, RepairError};
use rpo_testkit::sim::FaultPlan;

/// A kind of damage, and what it does to the files.
type Damage = (&'static str, fn(&mut Image, &[String]));

const KINDS: &[Damage] = &[
    ("a flipped bit in a payload", |image, names| image.get_mut(&names[1]).unwrap()[8192 + 200] ^= 1),
    ("a flipped bit in a frame's head", |image, names| image.get_mut(&names[1]).unwrap()[8192 + 9] ^= 1),
    ("frames zeroed up to the end of a segment", |image, names| {
        let bytes = image.get_mut(&names[1]).unwrap();
        bytes[10_000..].fill(0);
    }),
    ("a segment filled with noise", |image, names| {
        image
            .get_mut(&names[1])
            .unwrap()
            .iter_mut()
            .enumerate()
            .for_each(|(i, b)| *b = (i * 31 % 251) as u8 | 1);
    }),
    ("the first header block", |image, names| image.get_mut(&names[1]).unwrap()[20] ^= 1),
    ("the second header block", |image, names| image.get_mut(&names[1]).unwrap()[4096 + 34] ^= 1),
    ("both header blocks", |image, names| image.get_mut(&names[1]).unwrap()[..8192].fill(0)),
    ("a segment cut off", |image, names| image.get_mut(&names[1]).unwrap().truncate(9_000)),
    ("a missing segment in the middle", |image, names| drop(image.remove(&names[1]))),
    ("two missing segments", |image, names| {
        image.remove(&names[1]);
        image.remove(&names[2]);
    }),
    ("a missing first segment", |image, names| drop(image.remove(&names[0]))),
    ("damage in two segments", |image, names| {
        image.get_mut(&names[1]).unwrap()[8192 + 200] ^= 1;
        image.get_mut(&names[2]).unwrap()[20] ^= 1;
    }),
    ("the header of the newest segment", |image, names| {
        image.get_mut(names.last().unwrap()).unwrap()[20] ^= 1;
    }),
];

async fn scene() -> Scene {
    let scene = Scene::new(1, 90).await;
    assert!(scene.segments().len() >= 4, "{:?}", scene.segments());
    scene
}

#[tokio::test]
async fn every_kind_of_damage_is_mended_from_a_copy_that_has_it() {
    let scene = scene().await;
    for (what, damage) in KINDS {
        let site = Site::of(&scene.damaged(|image| damage(image, &scene.segments())));
        let before = site.image();
        assert!(site.open().is_err(), "{what}: the log opens");
        let condition = site.condition();
        assert!(!condition.is_whole(), "{what}: {condition:#?}");

        let outcome = site.repair(&scene.full, false).await.unwrap_or_else(|e| panic!("{what}: {e}"));

        assert_eq!(outcome.lost, None, "{what}");
        assert_eq!(site.commits().unwrap_or_else(|e| panic!("{what}: {e}")), scene.commits, "{what}");
        let after = site.image();
        for (name, bytes) in &before {
            let kept = after.get(name) == Some(bytes)
                || after
                    .iter()
                    .any(|(new, now)| new.starts_with(&format!("{name}.damaged-")) && now == bytes);
            let ours = !name.ends_with(".rwal") && !name.starts_with("spare");
            assert!(
                kept || ours || name.starts_with("spare"),
                "{what}: {name} is neither as it was nor kept as evidence"
            );
        }
        let again = site.plan(&scene.full).await.unwrap();
        assert!(again.is_empty(), "{what}: a second repair finds {again:#?}");
    }
}

#[tokio::test]
async fn headers_are_mended_without_any_copy_because_the_frames_are_here() {
    let scene = scene().await;
    for (what, damage) in KINDS.iter().filter(|(what, _)| what.contains("header")) {
        let site = Site::of(&scene.damaged(|image| damage(image, &scene.segments())));
        site.repair(&[], false).await.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(site.commits().unwrap(), scene.commits, "{what}");
    }
}

#[tokio::test]
async fn what_no_copy_has_is_refused_with_its_positions_and_nothing_is_touched() {
    let scene = scene().await;
    for (what, damage) in KINDS.iter().filter(|(what, _)| !what.contains("header")) {
        let site = Site::of(&scene.damaged(|image| damage(image, &scene.segments())));
        let before = site.image();
        let error = site.repair(&[], false).await.expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Refused, "{what}: {error}");
        let plan = site.plan(&[]).await.unwrap();
        let loss = plan.loss.expect(what);
        assert!(error.to_string().contains(&loss.cut.to_string()), "{what}: {error}");
        let mut after = site.image();
        after.retain(|name, _| before.contains_key(name));
        assert_eq!(after, before, "{what}: something was changed");
        assert!(site.open().is_err(), "{what}");
    }
}

#[tokio::test]
async fn an_accepted_loss_leaves_a_prefix_in_a_new_epoch_and_is_written_down() {
    let scene = scene().await;
    for (what, damage) in KINDS.iter().filter(|(what, _)| !what.contains("header")) {
        let site = Site::of(&scene.damaged(|image| damage(image, &scene.segments())));
        let outcome = site.repair(&[], true).await.unwrap_or_else(|e| panic!("{what}: {e}"));

        let loss = outcome.lost.expect(what);
        let commits = site.commits().unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(scene.commits.starts_with(&commits), "{what}: no prefix");
        assert_eq!(loss.cut.sequence.unwrap().get(), commits.len() as u64, "{what}");
        assert_eq!(loss.commits, Some((scene.commits.len() - commits.len()) as u64), "{what}");
        let log = site.open().unwrap();
        assert_eq!(log.head().epoch.get(), 2, "{what}: positions would be held twice");
        drop(log);
        let record = String::from_utf8(site.image()["repairs.jsonl"].clone()).unwrap();
        let first: serde_json::Value = serde_json::from_str(record.lines().next().unwrap()).unwrap();
        assert_eq!(first["plan"]["loss"]["cut"]["lsn"], serde_json::json!(loss.cut.lsn), "{what}: {record}");
        assert!(site.plan(&[]).await.unwrap().is_empty(), "{what}");
    }
}

#[tokio::test]
async fn a_copy_that_has_a_part_gives_that_part_and_the_cut_lies_behind_it() {
    let scene = scene().await;
    let last = scene.segments().pop().unwrap();
    let lost = scene.segments()[scene.segments().len() - 2].clone();
    let site = Site::of(&scene.damaged(|image| drop(image.remove(&lost))));
    assert!(matches!(site.repair(&scene.half, false).await, Err(RepairError::LossNotAccepted(_))));
    // What the half has of the log ends before the gap; both copies together have all of it.
    let both: Vec<RepairCopy> = scene.half.iter().chain(&scene.full).cloned().collect();
    site.repair(&both, false).await.unwrap();
    assert_eq!(site.commits().unwrap(), scene.commits);
    assert!(site.names().contains(&last));
}

#[tokio::test]
async fn a_log_that_ends_before_what_was_durable_gets_its_end_back() {
    let scene = scene().await;
    let newest = scene.segments().pop().unwrap();
    let zeroed = scene.damaged(|image| image.get_mut(&newest).unwrap()[9_000..].fill(0));
    let gone = scene.damaged(|image| drop(image.remove(&newest)));
    for (what, image) in [("zeroed", zeroed), ("gone", gone)] {
        let site = Site::of(&image);
        site.repair(&scene.full, false).await.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(site.commits().unwrap(), scene.commits, "{what}");
    }
}

#[tokio::test]
async fn a_damaged_control_file_is_written_anew_and_kept() {
    let scene = scene().await;
    let site = Site::of(&scene.damaged(|image| image.get_mut("control").unwrap().fill(7)));
    assert!(!site.condition().is_whole());
    site.repair(&scene.full, false).await.unwrap();
    assert!(site.condition().is_whole(), "{:#?}", site.condition());
    assert!(site.names().iter().any(|name| name == "control.damaged-1"), "{:?}", site.names());
    assert_eq!(site.commits().unwrap(), scene.commits);
}

#[tokio::test]
async fn frames_of_another_log_of_the_same_name_are_never_taken() {
    let (scene, other) = (scene().await, Scene::new(2, 90).await);
    for (what, damage) in KINDS.iter().filter(|(what, _)| !what.contains("header")) {
        let site = Site::of(&scene.damaged(|image| damage(image, &scene.segments())));
        let error = site.repair(&other.full, false).await.expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Refused, "{what}: {error}");
    }
    // Nor put behind a log that is whole.
    let shorter = Scene::new(3, 40).await;
    let plan = Site::of(&shorter.image).plan(&scene.full).await.unwrap();
    assert!(plan.is_empty(), "{plan:#?}");
}

#[tokio::test]
async fn a_log_that_is_whole_is_left_alone() {
    let scene = scene().await;
    let site = Site::of(&scene.image);
    assert!(site.condition().is_whole(), "{:#?}", site.condition());
    assert!(site.plan(&scene.full).await.unwrap().is_empty());
    assert!(site.plan(&scene.half).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_crash_at_any_step_leaves_a_log_that_refuses_or_is_whole_and_repair_can_be_run_again() {
    let scene = scene().await;
    for (what, damage) in KINDS {
        let image = scene.damaged(|image| damage(image, &scene.segments()));
        let site = Site::of(&image);
        let began = site.world.steps();
        site.repair(&scene.full, false).await.unwrap();
        let steps = site.world.steps() - began;
        for step in 0..steps {
            for power in [true, false] {
                let mut site = Site::of(&image);
                site.world.crash_at(site.world.steps() + step);
                let _ = site.repair(&scene.full, false).await;
                if power {
                    site.world.reboot()
                } else {
                    site.world.restart()
                }
                site.machine = site.world.machine("m");
                site.world.set_plan(FaultPlan::calm());
                let at = format!("{what}, step {step}, power {power}");
                // What opens must be everything; else it must still refuse. A copy of the disk is opened, not the disk.
                if let Ok(commits) = Site::of(&site.image()).commits() {
                    assert_eq!(commits, scene.commits, "{at}: it opens and lacks something");
                }
                let plan = site.plan(&scene.full).await.unwrap_or_else(|e| panic!("{at}: {e}"));
                if !plan.is_empty() {
                    site.repair(&scene.full, false).await.unwrap_or_else(|e| panic!("{at}: {e}"));
                }
                assert_eq!(site.commits().unwrap_or_else(|e| panic!("{at}: {e}")), scene.commits, "{at}");
                evidence_is_kept(&image, &site, &at);
            }
        }
    }
}

/// Every damaged file is still there, byte for byte, under its name or as evidence.
fn evidence_is_kept(image: &Image, site: &Site, at: &str) {
    let after = site.image();
    for (name, bytes) in image.iter().filter(|(name, _)| name.ends_with(".rwal")) {
        assert!(after.values().any(|now| now == bytes), "{at}: {name} is gone");
    }
}

#[tokio::test]
async fn a_crash_while_a_loss_is_accepted_never_leaves_a_position_that_could_be_held_twice() {
    let scene = scene().await;
    let (what, damage) = KINDS[0];
    let image = scene.damaged(|image| damage(image, &scene.segments()));
    let site = Site::of(&image);
    let began = site.world.steps();
    site.repair(&[], true).await.unwrap();
    for step in 0..site.world.steps() - began {
        let mut site = Site::of(&image);
        site.world.crash_at(site.world.steps() + step);
        let _ = site.repair(&[], true).await;
        site.world.reboot();
        site.machine = site.world.machine("m");
        let plan = site.plan(&[]).await.unwrap();
        if !plan.is_empty() {
            site.repair(&[], true).await.unwrap_or_else(|e| panic!("{what}, step {step}: {e}"));
        }
        assert_eq!(site.open().unwrap().head().epoch.get(), 2, "{what}, step {step}");
    }
}

#[tokio::test]
async fn every_kth_byte_flipped_is_mended_or_harmless() {
    let scene = Scene::new(5, 60).await;
    let mut mended = 0;
    for (name, bytes) in scene.image.iter().filter(|(name, _)| *name != "lock") {
        let end = (frames_end(bytes) + 600).min(bytes.len());
        for at in (0..end)
            .step_by(251)
            .chain([0, 9, 13, 20, 4096, 4109, 8192, 8196, 8200, 8208].into_iter().filter(|at| *at < end))
        {
            let site = Site::of(&scene.damaged(|image| image.get_mut(name).unwrap()[at] ^= 0x41));
            let condition = site.condition();
            let opened = Site::of(&site.image()).commits();
            let what = format!("{name} at {at}");
            if let Ok(commits) = &opened {
                assert!(scene.commits.starts_with(commits), "{what}: invented something");
            }
            if opened.is_err() {
                assert!(!condition.is_whole(), "{what}: refuses to open and is called whole");
            }
            let plan = site.plan(&scene.full).await.unwrap_or_else(|e| panic!("{what}: {e}"));
            if !plan.is_empty() {
                // Rot right behind the last frame may have been an acknowledged one, as far as anybody can tell: that has
                // to be accepted, and then everything that was acknowledged is there all the same.
                let whole = scene.commits.len() as u64;
                let at_end = plan.loss.as_ref().is_some_and(|l| l.cut.sequence.unwrap().get() == whole);
                assert_eq!(plan.loss.is_some(), at_end, "{what}: {:#?}", plan.loss);
                site.repair(&scene.full, at_end)
                    .await
                    .unwrap_or_else(|e| panic!("{what}: {e}\n{condition:#?}"));
                mended += 1;
            }
            assert_eq!(site.commits().unwrap_or_else(|e| panic!("{what}: {e}")), scene.commits, "{what}");
        }
    }
    assert!(mended > 100, "only {mended} flips were damage: the sweep looks at nothing");
}

#[tokio::test]
async fn a_comparison_names_what_differs_and_what_only_one_side_has() {
    let scene = scene().await;
    let whole = Site::of(&scene.image).condition();
    let same = rpo_recovery::repair::compare(&whole, &scene.full[0]).await.unwrap();
    assert!(same.agrees() && same.only_archive.is_empty(), "{same:#?}");
    assert!(same.same_frames >= 90);
    let behind = rpo_recovery::repair::compare(&whole, &scene.half[0]).await.unwrap();
    assert!(behind.agrees());
    assert_eq!(behind.only_local.len(), 1, "{behind:#?}");
    assert_eq!(behind.only_local[0].1, whole.end().unwrap().lsn);
    let other = Scene::new(2, 90).await;
    let foreign = rpo_recovery::repair::compare(&whole, &other.full[0]).await.unwrap();
    assert!(!foreign.agrees(), "{foreign:#?}");
    let newest = scene.segments().pop().unwrap();
    let short = Site::of(&scene.damaged(|image| drop(image.remove(&newest)))).condition();
    let ahead = rpo_recovery::repair::compare(&short, &scene.full[0]).await.unwrap();
    assert_eq!(ahead.only_archive.len(), 1, "{ahead:#?}");
    assert!(ahead.only_archive[0].1 > Lsn::ZERO);
}

#[tokio::test]
async fn a_log_that_is_open_is_not_repaired() {
    let scene = scene().await;
    let site = Site::of(&scene.image);
    let plan = site.plan(&[]).await.unwrap();
    let _log = site.open().unwrap();
    let parts = site.parts();
    let error = rpo_recovery::repair::execute_repair(&plan, &[], &parts, &mending::config(), false).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(DIR, "/log");
}
