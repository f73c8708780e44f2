//! Stories of limits: the smallest spool goes on for ever, a narrow line delays nobody else, what waits is told.

use std::time::Duration;

use crate::support::{Break, Site, name, numbered};
use rpo_core::ErrorKind;
use rpo_replication::{Health, TakeoverOptions};

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

#[tokio::test]
async fn a_narrow_line_holds_its_copy_back_delays_no_other_and_can_be_widened_while_it_runs() {
    let mut site = Site::new(&["eu", "us"], "any 1 of (eu, us)").await.small_batches();
    site.config.codec = rpo_replication::BatchCodec::None;
    let mut shipper = site.shipper();
    let view = shipper.view();
    shipper.step().await.unwrap();
    view.set_bandwidth_max(&name("us"), Some("1KiB".parse().unwrap())).unwrap();
    let end = site.log.commits(numbered(0..12));

    shipper.step().await.unwrap();

    let (eu, us) = (view.states()[0].clone(), view.states()[1].clone());
    assert_eq!(
        (eu.log.position, view.protected()),
        (Some(end), Some(end)),
        "the other copy is not held back"
    );
    assert_eq!((us.log.number, us.log.health), (1, Health::Good), "one batch passes, however large it is");
    for _ in 0..5 {
        shipper.step().await.unwrap();
        assert_eq!(view.states()[1].log.number, 1, "it is paid by waiting");
    }
    let sent = view.stats(&name("us")).unwrap().bytes;
    site.clock.pass(Duration::from_secs(4));
    shipper.step().await.unwrap();
    let later = view.stats(&name("us")).unwrap().bytes;
    assert!(later > sent && later < 12_000, "{sent}, then {later}");
    assert_eq!(view.states()[1].log.evidence.unwrap().steady, rpo_core::Clock::monotonic(&*site.clock));

    view.set_bandwidth_max(&name("us"), None).unwrap();
    shipper.step().await.unwrap();
    assert!(shipper.is_caught_up());
    assert_eq!(site.read(&[1]).await.unwrap(), numbered(0..12));
    let unknown = view.set_bandwidth_max(&name("ap"), None).unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
    let small = view.set_bandwidth_max(&name("us"), Some("1B".parse().unwrap())).unwrap_err();
    assert_eq!(small.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn a_copy_held_back_by_its_line_still_learns_that_its_writer_was_fenced() {
    let mut site = Site::new(&["eu"], "none").await.small_batches();
    site.config.bandwidth_max = Some("1KiB".parse().unwrap());
    let mut shipper = site.shipper();
    site.log.commits(numbered(0..6));
    shipper.step().await.unwrap();
    assert!(!shipper.is_caught_up(), "held back");

    site.take_over(&TakeoverOptions::default()).await.unwrap();

    assert_eq!(shipper.step().await.unwrap_err().kind(), ErrorKind::Fenced);
}

#[tokio::test]
async fn a_line_below_one_kibibyte_per_second_is_no_configuration() {
    let mut config = rpo_replication::ShipConfig::default();
    config.bandwidth_max = Some("1023B".parse().unwrap());
    assert!(config.validate().unwrap_err().to_string().contains("bandwidth-max"));
}
