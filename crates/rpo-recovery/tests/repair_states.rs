//! Stories of repair after what a log goes through in its life: closed, released from, taken over, left by a killed program.
#![allow(clippy::unwrap_used)] // a test may fail so

mod mending;

use mending::{DIR, Scene, Site, crashes, payload, segments};
use rpo_core::frame::CommitDraft;
use rpo_core::objective::AckLevel;
use rpo_core::{ErrorKind, Lsn};
use rpo_recovery::repair::{ask, pending_epoch, plan_repair};
use rpo_wal::repair::{ControlState, GapEnd, Use, examine_dir};

fn is_closed(site: &Site) -> bool {
    matches!(site.condition().control, ControlState::Valid { closed: true, .. })
}

fn is_pending(site: &Site) -> bool {
    pending_epoch(&*site.disk(), std::path::Path::new(DIR)).unwrap().is_some()
}

#[tokio::test]
async fn a_log_that_was_closed_and_is_repaired_is_not_called_closed_any_more() {
    let scene = Scene::new(1, 90).await;
    let first = scene.segments()[1].clone();
    let site = Site::of(&scene.damaged(|image| image.get_mut(&first).unwrap()[8192 + 200] ^= 1));
    assert!(is_closed(&site));
    site.repair(&scene.full, false).await.unwrap();
    assert!(!is_closed(&site));
    assert_eq!(site.commits().unwrap(), scene.commits);
}

#[tokio::test]
async fn a_log_that_was_closed_earlier_than_its_copy_gets_the_rest() {
    let scene = Scene::new(1, 90).await;
    let older = Site::of(&scene.halfway);
    older.open().unwrap().close().unwrap();
    assert!(is_closed(&older));
    older.repair(&scene.full, false).await.unwrap();
    assert!(!is_closed(&older));
    assert_eq!(older.commits().unwrap(), scene.commits);
}

#[tokio::test]
async fn what_stands_behind_the_end_of_a_closed_log_is_read_all_the_same() {
    let scene = Scene::new(1, 90).await;
    let newest = scene.segments().pop().unwrap();
    let site = Site::of(&scene.damaged(|image| {
        let bytes = image.get_mut(&newest).unwrap();
        let end = mending::frames_end(bytes);
        let at = (end + 700).min(bytes.len() - 1);
        bytes[at] = 9;
    }));
    assert!(is_closed(&site));
    let tail = site.condition().tail.unwrap();
    assert!(tail.bytes_past > 0, "{tail:#?}");
}

#[tokio::test]
async fn released_segments_and_seals_are_told_from_the_log_and_left_alone() {
    let scene = Scene::new(1, 90).await;
    let names = scene.segments();
    let image = scene.damaged(|image| {
        // A segment of this very log, released and not used again yet, and seals that fit nothing.
        let released = image[&names[0]].clone();
        image.insert("used-00000000000000aa.tmp".to_owned(), released);
        for name in &names {
            image.insert(name.replace(".rwal", ".seal"), b"no seal".to_vec());
        }
        image.insert("repair-00000000000000ff-00000001.new".to_owned(), vec![1; 100]);
        image.get_mut(&names[1]).unwrap()[8192 + 200] ^= 1;
    });
    let site = Site::of(&image);
    let condition = site.condition();
    let what = |name: &str| {
        let file = condition.files.iter().find(|file| file.path == Scene::path(name));
        file.unwrap_or_else(|| panic!("{name}: {condition:#?}")).what
    };
    assert_eq!(what("used-00000000000000aa.tmp"), Use::Junk);
    assert_eq!(what("repair-00000000000000ff-00000001.new"), Use::Junk);
    assert_eq!(what(&names[0].replace(".rwal", ".seal")), Use::Seal);
    assert_eq!(condition.gaps().count(), 1, "{condition:#?}");

    site.repair(&scene.full, false).await.unwrap();

    assert!(site.condition().is_whole(), "{:#?}", site.condition());
    assert!(site.names().contains(&"used-00000000000000aa.tmp".to_owned()), "opening removes it, not repair");
    assert!(!site.names().iter().any(|name| name.ends_with(".new")), "{:?}", site.names());
    assert_eq!(site.commits().unwrap(), scene.commits);
}

#[tokio::test]
async fn a_log_that_does_not_begin_at_zero_gets_its_first_segment_back_and_no_more() {
    let scene = Scene::new(1, 90).await;
    let site = Site::of(&scene.image);
    let log = site.open().unwrap();
    let third = site.condition().segments().nth(2).unwrap().base.unwrap();
    assert!(log.release(third.lsn).unwrap() > 0);
    let start = log.start();
    assert!(start.lsn > Lsn::ZERO);
    log.close().unwrap();
    let left = site.commits().unwrap();
    assert!(scene.commits.ends_with(&left) && left.len() < scene.commits.len());
    let mut image = site.image();
    image.remove(&segments(&image)[0]).unwrap();
    let site = Site::of(&image);
    assert!(site.open().is_err());
    assert_eq!(site.condition().gaps().next().unwrap().from.lsn, start.lsn);

    site.repair(&scene.full, false).await.unwrap();

    assert_eq!(site.commits().unwrap(), left);
    assert_eq!(site.open().unwrap().start().lsn, start.lsn);
}

#[tokio::test]
async fn damage_in_two_epochs_is_mended_at_once() {
    let scene = Scene::new(1, 90).await;
    let lost = scene.segments()[2].clone();
    let site = Site::of(&scene.damaged(|image| drop(image.remove(&lost))));
    site.repair(&[], true).await.unwrap();
    let log = site.open().unwrap();
    assert_eq!(log.head().epoch.get(), 2);
    for number in 1000..1060 {
        while let Err(error) = log.append(CommitDraft::one(payload(number)), AckLevel::Durable) {
            assert!(matches!(error, rpo_wal::WalError::NotReady), "{error}");
            log.step();
        }
        while matches!(log.step(), rpo_wal::Step::Flushed | rpo_wal::Step::Kept) {}
    }
    log.close().unwrap();
    let all = site.commits().unwrap();
    let mut image = site.image();
    let (old, new): (Vec<_>, Vec<_>) =
        segments(&image).into_iter().partition(|name| name.ends_with("00000001.rwal"));
    assert!(new.len() >= 2, "{new:?}");
    image.get_mut(&old[0]).unwrap()[20] ^= 1;
    image.get_mut(&new[0]).unwrap()[4096 + 34] ^= 1;
    image.get_mut(new.last().unwrap()).unwrap()[20] ^= 1;
    let site = Site::of(&image);
    assert!(site.open().is_err());

    site.repair(&[], false).await.unwrap();

    assert_eq!(site.commits().unwrap(), all);
    assert_eq!(site.open().unwrap().head().epoch.get(), 2);
}

#[tokio::test]
async fn a_witness_that_says_more_was_durable_is_a_gap_at_the_end() {
    let scene = Scene::new(1, 90).await;
    let site = Site::of(&scene.image);
    let end = site.condition().end().unwrap();
    let more = Lsn::new(end.lsn.get() + 5);
    let condition = examine_dir(&*site.disk(), std::path::Path::new(DIR), more).unwrap();
    assert!(!condition.is_whole() && condition.refuses.is_some());
    assert_eq!(condition.gaps().last().unwrap().to, GapEnd::AtLeast(more));
    let plan = plan_repair(&condition, &ask(&condition, &scene.full).await, None).unwrap();
    let loss = plan.loss.expect("no copy has what the witness speaks of");
    assert_eq!((loss.cut.lsn, loss.at_least, loss.commits), (end.lsn, more.get(), None));
}

/// The program may be started again after a crash before anybody repeats the repair: between the lowered witness and the first
/// frame of the new epoch, and only there, it goes on in the old one.
#[tokio::test]
async fn a_crash_while_a_loss_is_accepted_leaves_a_log_that_refuses_until_all_but_the_epoch_is_done() {
    let scene = Scene::new(1, 90).await;
    let names = scene.segments();
    let newest = names.last().unwrap().clone();
    type Change<'a> = (&'a str, Box<dyn Fn(&mut mending::Image) + 'a>);
    let changes: [Change<'_>; 3] = [
        ("a flipped bit", Box::new(|image| image.get_mut(&names[1]).unwrap()[8192 + 200] ^= 1)),
        ("zeros to the end", Box::new(|image| image.get_mut(&names[1]).unwrap()[10_000..].fill(0))),
        ("zeros in the newest", Box::new(|image| image.get_mut(&newest).unwrap()[9_000..].fill(0))),
    ];
    for (what, change) in changes {
        let image = scene.damaged(change);
        let in_epoch_2 = |site: &Site| {
            let whole = site.condition().is_whole();
            match site.open() {
                Ok(log) if log.head().epoch.get() != 2 && !whole => {
                    Err(format!("it opens at {}", log.head()))
                }
                Ok(log) if log.head().epoch.get() != 2 && !is_pending(site) => {
                    Err("nothing tells of it".into())
                }
                Err(error) if error.kind() != ErrorKind::Corrupt => Err(error.to_string()),
                _ => Ok(()),
            }
        };
        assert_eq!(crashes(&image, &[], true, in_epoch_2).await, Vec::<String>::new(), "{what}");
    }
}

#[tokio::test]
async fn the_record_of_an_earlier_version_is_still_understood() {
    const BEGIN: &str = r#"{"format":1,"event":"begin","time":"2026-11-30T01:02:03.000004Z","begins-epoch":2,"plan":{"dir":"/log"},"evidence":[]}"#;
    const DONE: &str = r#"{"format":1,"event":"done","time":"2026-11-30T01:02:04.000004Z","begins-epoch":2,"plan":null,"evidence":["/log/a.damaged-1"]}"#;
    let pending = |lines: &[&str]| {
        let record = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        let site = Site::of(&[("repairs.jsonl".to_owned(), record.into_bytes())].into());
        pending_epoch(&*site.disk(), std::path::Path::new(DIR)).map(|epoch| epoch.map(|epoch| epoch.get()))
    };
    assert_eq!(pending(&[BEGIN]).unwrap(), Some(2));
    assert_eq!(pending(&[BEGIN, DONE]).unwrap(), None);
    assert_eq!(pending(&[DONE, BEGIN]).unwrap(), Some(2));
    assert_eq!(pending(&[BEGIN, &DONE[..40]]).unwrap(), Some(2), "a line that was cut short says nothing");
    let newer = BEGIN.replace("\"format\":1", "\"format\":2");
    assert_eq!(pending(&[DONE, &newer]).unwrap_err().kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn the_record_is_written_as_its_format_says() {
    let scene = Scene::new(1, 90).await;
    let second = scene.segments()[1].clone();
    let site = Site::of(&scene.damaged(|image| image.get_mut(&second).unwrap()[20] ^= 1));
    site.repair(&[], false).await.unwrap();
    let record = String::from_utf8(site.image()["repairs.jsonl"].clone()).unwrap();
    let lines: Vec<&str> = record.lines().collect();
    assert!(lines[0].starts_with(r#"{"format":1,"event":"begin","time":""#), "{record}");
    assert!(lines[0].contains(r#","begins-epoch":null,"plan":{"dir":"/log","log":""#), "{record}");
    assert!(lines[0].ends_with(r#","evidence":[]}"#), "{record}");
    let done: serde_json::Value = serde_json::from_str(lines[1]).unwrap();
    let evidence = format!("/log/{second}.damaged-1");
    let time = done["time"].as_str().unwrap();
    let golden = format!(
        r#"{{"format":1,"event":"done","time":"{time}","begins-epoch":null,"plan":null,"evidence":["{evidence}"]}}"#
    );
    assert_eq!(lines[1], golden);
    assert!(record.ends_with('\n') && lines.len() == 2);
}
