//! Negative control: with a fence ignored, what the stories of fencing promise must be seen to break.

use rpo_storage::Storage;

use crate::support::Site;
use rpo_replication::{PlantedBug, TakeoverOptions};

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
