//! Stories of limits: the smallest spool goes on for ever, a narrow line delays nobody else, what waits is told.

use crate::support::{Break, Site, numbered};

/// Steps until nothing is blocked; fails if it does not come to an end.
async fn drain(shipper: &mut rpo_replication::LogShipper) {
    for _ in 0..50 {
        if !shipper.step().await.unwrap().blocked && shipper.is_caught_up() {
            return;
        }
    }
    panic!("50 steps, and still blocked: {:?}", shipper.view().spool());
}

#[tokio::test]
async fn one_batch_that_alone_reaches_the_smallest_bound_blocks_only_until_the_needed_copies_have_it() {
    for (policy, large) in [("any 1 of (eu)", 4096), ("none", 300_000), ("any 2 of (eu, us)", 300_000)] {
        let mut site = Site::new(&["eu", "us"], policy).await.small_batches();
        site.config.spool_bytes_max = "4KiB".parse().unwrap();
        site.config.codec = rpo_replication::BatchCodec::None;
        let mut shipper = site.shipper();
        let view = shipper.view();
        shipper.step().await.unwrap();

        let mut end = site.log.commit(&"x".repeat(large));
        for n in 0..3 {
            end = site.log.commit(&format!("{n}{}", "y".repeat(large)));
        }
        drain(&mut shipper).await;

        assert_eq!(view.protected(), Some(end), "{policy}");
        assert!(view.spool().bytes > 4096, "the newest batch stays: {:?}", view.spool());
        assert_eq!(view.spool().full_since, None, "{policy}");
        view.admit().await.unwrap();
        assert_eq!(site.read(&[1]).await.unwrap().len(), 4, "{policy}");

        // What no needed copy has still counts: the bound is one.
        site.stores.iter().for_each(|store| store.set(Break::Down));
        site.log.commits(numbered(0..6));
        for _ in 0..4 {
            shipper.step().await.unwrap();
        }
        assert!(view.spool().full_since.is_some(), "{policy}");
        assert_eq!(view.spool().batches, 2, "one more than the copies have: {:?}", view.spool());
    }
}
