//! The negative control: each planted bug is seen by a check that the other tests make.
#![allow(clippy::unwrap_used)] // what tests share is tests, too

mod support;

use rpo_checkpoint::planted::{Bug, plant};
use rpo_checkpoint::{Cancel, CheckpointKind, NoProgress};

use support::{MemoryRestorer, Site, noise, path};

/// One test: the switch is for the whole process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_planted_bug_is_caught() {
    for (bug, sound) in [
        (Bug::ForgetsRemovals, removal_is_kept().await),
        (Bug::UsesPacksOfNobody, packs_in_use_are_billed().await),
        (Bug::HidesChanges, a_change_while_reading_is_marked().await),
        (Bug::SubstitutesZeros, a_lost_pack_is_an_error().await),
    ] {
        assert!(sound, "without {bug:?} the check passes");
    }
    plant(Some(Bug::ForgetsRemovals));
    assert!(!removal_is_kept().await);
    plant(Some(Bug::UsesPacksOfNobody));
    assert!(!packs_in_use_are_billed().await);
    plant(Some(Bug::HidesChanges));
    assert!(!a_change_while_reading_is_marked().await);
    plant(Some(Bug::SubstitutesZeros));
    assert!(!a_lost_pack_is_an_error().await);
    plant(None);
}

async fn removal_is_kept() -> bool {
    let site = Site::new().await;
    site.tree.put("a", b"1".to_vec());
    site.tree.put("b", b"2".to_vec());
    site.full().await;
    site.tree.remove("a");
    site.incremental().await;
    site.try_restore(2).await.is_ok_and(|restored| restored == site.tree.now())
}

async fn packs_in_use_are_billed() -> bool {
    let site = Site::new().await;
    site.tree.put("a", noise(3_000_000, 1));
    site.storage.fill_up_for(Some("checkpoints/"));
    let _ = site.try_checkpoint(CheckpointKind::Full).await;
    site.storage.fill_up_for(None);
    site.full().await;
    let last = site.repository.last_bill().await.unwrap();
    let bill = site.repository.bill(last).await.unwrap().unwrap();
    bill.objects.iter().map(|receipt| receipt.len).sum::<u64>() > 3_000_000
}

async fn a_change_while_reading_is_marked() -> bool {
    let site = Site::new().await;
    site.tree.put("a", b"1".to_vec());
    site.tree.change_while_read("a", 2);
    site.full().await;
    site.try_restore(1).await.is_ok_and(|restored| restored.0[&path("a")].0.changed_while_read)
}

async fn a_lost_pack_is_an_error() -> bool {
    let site = Site::new().await;
    for n in 0..3u64 {
        site.tree.put(&format!("file-{n}"), noise(1_100_000, n));
    }
    site.full().await;
    let bill = site.repository.bill(1).await.unwrap().unwrap();
    site.storage.remove_all(bill.objects[0].key.as_str()).await;
    let into = std::sync::Arc::new(MemoryRestorer::default());
    site.checkpointer.restore(&site.id(1), into, &NoProgress, &Cancel::new()).await.is_err()
}
