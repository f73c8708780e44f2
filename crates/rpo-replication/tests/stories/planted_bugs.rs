//! Negative control: with a fence ignored, what the stories of fencing promise must be seen to break.

use crate::merging::{config, merger, shipped};
use rpo_storage::Storage;

use crate::support::Site;
use crate::support::{Break, numbered};
use futures::TryStreamExt;
use rpo_replication::{GapCause, GapRecord, PlantedBug, TakeoverOptions};
use std::time::Duration;

/// True if the old writer was told, after a takeover, that something new is protected.
async fn protects_past_its_fence(planted: Option<PlantedBug>) -> bool {
    let mut site = Site::new(&["eu", "us"], "any 2 of (eu, us)").await;
    site.config.planted = planted;
    let mut old = site.shipper();
    site.log.commit("one");
    old.step().await.unwrap();
    let before = old.view().protected();

    site.take_over(&TakeoverOptions::default()).await.unwrap();
    site.log.commit("too late");
    let _ = old.step().await;

    old.view().protected() > before
}

#[tokio::test]
async fn a_shipper_that_ignores_fences_is_caught() {
    assert!(!protects_past_its_fence(None).await);
    assert!(protects_past_its_fence(Some(PlantedBug::FenceIgnored)).await);
}

/// True if every copy still reads back whole after merging, while one copy could not be given merged objects.
async fn merging_keeps_everything(planted: Option<PlantedBug>) -> bool {
    let site = shipped(&["eu", "us"], "any 2 of (eu, us)").await;
    let mut config = config();
    config.planted = planted;
    let mut merger = merger(&site, config);
    for round in 0..6 {
        // The second copy refuses to create anything while the first is merged.
        site.stores[1].set(if round < 5 { Break::NoCreate } else { Break::Nothing });
        site.clock.pass(Duration::from_secs(3601));
        let _ = merger.step().await;
        for copy in [0, 1] {
            if !matches!(site.read(&[copy]).await, Ok(found) if found == numbered(0..40)) {
                return false;
            }
        }
    }
    true
}

#[tokio::test]
async fn parts_that_go_before_the_merged_object_is_there_are_caught() {
    assert!(merging_keeps_everything(None).await);
    assert!(!merging_keeps_everything(Some(PlantedBug::PartsBeforeMerged)).await);
}

#[tokio::test]
async fn a_merged_object_without_its_last_frame_is_caught() {
    assert!(!merging_keeps_everything(Some(PlantedBug::MergeDropsLastFrame)).await);
}

/// True if reading across a gap is refused.
async fn a_gap_is_refused(planted: Option<PlantedBug>) -> bool {
    let site = Site::new(&["eu"], "none").await.small_batches();
    site.log.commits(numbered(0..4));
    let mut shipper = site.shipper();
    shipper.step().await.unwrap();
    let to = site.log.commits(numbered(4..8));
    let record = GapRecord {
        cause: GapCause::Log,
        who: "ada".to_owned(),
        why: "rot".to_owned(),
        accepted_at: rpo_core::Clock::wall(&*site.clock),
    };
    shipper.record_gap(to, record).await.unwrap();
    site.log.commits(numbered(8..12));
    shipper.step().await.unwrap();
    let archive = site.archive(&[0]);
    if let Some(bug) = planted {
        archive.plant(bug);
    }
    let coverage = archive.coverage().await.unwrap();
    let entries = archive.entries(coverage.current(), rpo_core::Lsn::ZERO, None).await.unwrap();
    entries.try_collect::<Vec<_>>().await.is_err()
}

#[tokio::test]
async fn a_gap_that_is_passed_over_is_caught() {
    assert!(a_gap_is_refused(None).await);
    assert!(!a_gap_is_refused(Some(PlantedBug::GapPassedOver)).await);
}

/// True if a batch was told to be protected although another object has its name.
async fn protects_what_the_copy_never_took(planted: Option<PlantedBug>) -> bool {
    let mut site = Site::new(&["eu"], "any 1 of (eu)").await;
    site.config.planted = planted;
    let mut shipper = site.shipper();
    site.log.commit("one");
    shipper.step().await.unwrap();
    let key = rpo_replication::batch_key(&site.stream, rpo_core::Epoch::FIRST, 2);
    site.stores[0].create(&key, bytes::Bytes::from_static(b"somebody else's")).await.unwrap();
    let end = site.log.commit("two");
    let _ = shipper.step().await;

    shipper.view().protected() == Some(end)
}

#[tokio::test]
async fn a_shipper_that_takes_a_taken_name_for_its_own_batch_is_caught() {
    assert!(!protects_what_the_copy_never_took(None).await);
    assert!(protects_what_the_copy_never_took(Some(PlantedBug::TakenIsOurs)).await);
}

/// True if what one copy was shipped is still there for the other when the first one burns.
async fn survives_the_loss_of_the_only_copy_that_has_it(planted: Option<PlantedBug>, commits: usize) -> bool {
    let mut site = Site::new(&["eu", "us"], "any 2 of (eu, us)").await.small_batches();
    site.config.planted = planted;
    let mut shipper = site.shipper();
    shipper.step().await.unwrap();
    site.stores[1].set(Break::Down);
    site.log.commits(numbered(0..commits));
    shipper.step().await.unwrap();
    for key in site.stores[0].keys("logs/").await {
        site.stores[0].remove(&key).await;
    }
    site.stores[1].set(Break::Nothing);
    for _ in 0..3 {
        shipper.step().await.unwrap();
    }
    matches!(site.read(&[1]).await, Ok(found) if found == numbered(0..commits))
}

#[tokio::test]
async fn a_spool_that_lets_go_before_the_needed_copies_have_it_is_caught() {
    let bug = PlantedBug::ReleasedTooSoon;
    for commits in 3..20 {
        assert!(survives_the_loss_of_the_only_copy_that_has_it(None, commits).await);
        if !survives_the_loss_of_the_only_copy_that_has_it(Some(bug), commits).await {
            let test = "a_spool_that_lets_go_before_the_needed_copies_have_it_is_caught";
            println!("planted {bug:?} caught by {test} after {} cases", commits - 2);
            return;
        }
    }
    panic!("{bug:?} is not caught");
}
