//! Negative control: with a fence ignored, what the stories of fencing promise must be seen to break.

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
