//! Stories of taking over: the old writer stops, nothing it was told to be protected is lost, and every copy tells the
//! same history in the end.

use crate::support::{Break, Site, name, numbered};
use rpo_core::{Epoch, ErrorKind, Position};
use rpo_replication::{Fork, FrameSource, Health, ReplicationError, TakeoverOptions};

fn epoch(number: u32) -> Epoch {
    Epoch::new(number).unwrap()
}

#[tokio::test]
async fn the_old_writer_is_stopped_for_good_and_told_by_whom() {
    let site = Site::new(&["eu", "us"], "any 2 of (eu, us)").await;
    let mut old = site.shipper();
    let end = site.log.commit("one");
    old.step().await.unwrap();

    let takeover = site.take_over(&TakeoverOptions::default()).await.unwrap();
    site.log.commit("too late");
    let error = old.step().await.unwrap_err();

    assert_eq!((takeover.epoch, takeover.parent.fork), (epoch(2), end));
    assert_eq!(takeover.start(), Position { epoch: epoch(2), ..end });
    assert_eq!(error.kind(), ErrorKind::Fenced);
    let text = error.to_string();
    assert!(text.contains("fenced by epoch 2") && text.contains("stop this writer"), "{text}");
    assert!(old.view().is_fenced());
    assert_eq!(old.view().protected(), Some(end), "nothing is protected after the fence");
    assert_eq!(old.step().await.unwrap_err().kind(), ErrorKind::Fenced, "final");
    drop(old);
    assert_eq!(site.shipper().step().await.unwrap_err().kind(), ErrorKind::Fenced, "also after a restart");
}

#[tokio::test]
async fn an_idle_writer_learns_of_its_fence_too() {
    let site = Site::new(&["eu"], "none").await;
    let mut old = site.shipper();
    site.log.commit("one");
    old.step().await.unwrap();
    old.step().await.unwrap();

    site.take_over(&TakeoverOptions::default()).await.unwrap();

    assert_eq!(old.step().await.unwrap_err().kind(), ErrorKind::Fenced);
}

#[tokio::test]
async fn the_history_goes_on_in_the_new_epoch() {
    let site = Site::new(&["eu", "us"], "any 2 of (eu, us)").await;
    site.log.commits(["one", "two"]);
    site.shipper().step().await.unwrap();

    let takeover = site.take_over(&TakeoverOptions::default()).await.unwrap();
    let (log, mut shipper, _spool) = site.successor(takeover);
    let end = log.commit("three");
    shipper.step().await.unwrap();

    assert_eq!(shipper.view().protected(), Some(end));
    for copy in [0, 1] {
        assert_eq!(site.read(&[copy]).await.unwrap(), ["one", "two", "three"]);
    }
    assert_eq!(
        site.stores[0].bytes("logs/orders/00000002/0000000000000001").await,
        site.stores[1].bytes("logs/orders/00000002/0000000000000001").await
    );
}

#[tokio::test]
async fn a_copy_that_was_fenced_while_it_lagged_gets_what_it_lacks() {
    let site = Site::new(&["eu", "us", "ap"], "any 2 of (eu, us, ap)").await;
    let mut old = site.shipper();
    site.log.commit("one");
    old.step().await.unwrap();
    site.stores[2].set(Break::Down);
    let end = [site.log.commit("two"), old.step().await.map(|_| site.log.commit("three")).unwrap()][1];
    old.step().await.unwrap();
    assert_eq!(old.view().protected(), Some(end));
    site.stores[2].set(Break::Nothing);

    let takeover = site.take_over(&TakeoverOptions::default()).await.unwrap();

    assert_eq!(takeover.parent.fork, end, "what was protected is kept");
    assert_eq!(takeover.fenced[&name("ap")], 2);
    assert_eq!(takeover.healed[&name("ap")], 2);
    let healed = "logs/orders/00000001/healed/0000000000000002";
    assert_eq!(
        site.stores[2].bytes(healed).await,
        site.stores[0].bytes("logs/orders/00000001/0000000000000002").await
    );
    assert_eq!(site.read(&[2]).await.unwrap(), ["one", "two", "three"]);
}

#[tokio::test]
async fn a_copy_that_was_away_during_the_takeover_is_fenced_and_healed_by_the_new_shipper() {
    let site = Site::new(&["eu", "us", "ap"], "any 2 of (eu, us, ap)").await;
    let mut old = site.shipper();
    site.log.commit("one");
    old.step().await.unwrap();
    site.stores[2].set(Break::Down);
    site.log.commit("two");
    old.step().await.unwrap();

    let takeover = site.take_over(&TakeoverOptions::default()).await.unwrap();
    assert!(takeover.pending.contains_key(&name("ap")), "{takeover:?}");
    site.stores[2].set(Break::Nothing);
    let (log, mut shipper, _spool) = site.successor(takeover);
    let end = log.commit("three");
    shipper.step().await.unwrap();

    assert!(
        shipper.view().states().iter().all(|state| state.log.position == Some(end)),
        "{:?}",
        shipper.view()
    );
    assert_eq!(site.read(&[2]).await.unwrap(), ["one", "two", "three"]);
    site.log.commit("too late");
    assert_eq!(old.step().await.unwrap_err().kind(), ErrorKind::Fenced);
}

#[tokio::test]
async fn a_partitioned_writer_protects_nothing_and_its_late_batches_are_another_history() {
    let site = Site::new(&["eu", "us", "ap"], "any 2 of (eu, us, ap)").await;
    let mut old = site.shipper();
    let shared = site.log.commit("shared");
    old.step().await.unwrap();
    // The new writer reaches eu and us, the old one only ap.
    site.stores[2].set(Break::Down);
    let takeover = site.take_over(&TakeoverOptions::default()).await.unwrap();
    site.stores[2].set(Break::Nothing);
    site.stores[0].set(Break::Down);
    site.stores[1].set(Break::Down);
    site.log.commit("only in ap");
    old.step().await.unwrap();
    assert_eq!(old.view().protected(), Some(shared), "one copy of two needed");
    site.stores[0].set(Break::Nothing);
    site.stores[1].set(Break::Nothing);

    let (log, mut shipper, _spool) = site.successor(takeover);
    log.commit("new");
    shipper.step().await.unwrap();

    assert_eq!(site.read(&[2]).await.unwrap(), ["shared", "new"]);
    let archive = site.archive(&[2]);
    let coverage = archive.coverage().await.unwrap();
    assert_eq!(coverage.histories.len(), 2);
    let other = coverage.of_epoch(Epoch::FIRST).unwrap();
    assert!(!other.current);
    let entries = archive.entries(other, other.from().lsn, None).await.unwrap();
    let entries = futures::TryStreamExt::try_collect(entries).await.unwrap();
    assert_eq!(crate::support::payloads(entries), ["shared", "only in ap"]);
}

#[tokio::test]
async fn too_few_copies_are_no_takeover_until_one_is_declared_lost() {
    let site = Site::new(&["eu", "us"], "any 1 of (eu, us)").await;
    site.log.commit("one");
    site.shipper().step().await.unwrap();
    site.stores[1].set(Break::Down);

    let error = site.take_over(&TakeoverOptions::default()).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, ReplicationError::TooFewCopies { needed: 2, reached: 1, .. }), "{text}");
    assert!(text.contains("us:"), "{text}");

    let options = TakeoverOptions { lost: vec![name("us")], ..TakeoverOptions::default() };
    let takeover = site.take_over(&options).await.unwrap();
    assert_eq!(takeover.parent.number, 1);
    assert!(takeover.epoch > epoch(1));
}

#[tokio::test]
async fn a_takeover_that_died_half_way_is_taken_over_in_turn() {
    let calls = {
        let site = Site::new(&["eu", "us"], "any 2 of (eu, us)").await;
        site.log.commits(["one", "two"]);
        site.shipper().step().await.unwrap();
        site.stores[1].set(Break::Nothing);
        site.take_over(&TakeoverOptions::default()).await.unwrap();
        site.stores[1].calls()
    };
    for at in 1..=calls {
        for how in [Break::DieBefore(at), Break::DieAfter(at)] {
            let site = Site::new(&["eu", "us"], "any 2 of (eu, us)").await;
            site.log.commits(["one", "two"]);
            site.shipper().step().await.unwrap();
            site.stores[1].set(how);
            let dead = futures::FutureExt::now_or_never(site.take_over(&TakeoverOptions::default()));
            assert!(dead.is_none(), "{how:?}: the call was met");
            site.stores[1].set(Break::Nothing);

            let takeover = site.take_over(&TakeoverOptions::default()).await.unwrap();
            let (log, mut shipper, _spool) = site.successor(takeover);
            log.commit("three");
            shipper.step().await.unwrap();

            for copy in [0, 1] {
                assert_eq!(site.read(&[copy]).await.unwrap(), ["one", "two", "three"], "{how:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_rewound_source_forks_where_it_stands_and_both_histories_are_kept() {
    let site = Site::new(&["eu"], "none").await;
    let fork = site.log.commits(["one", "two"]);
    site.log.commit("lost by the source");
    site.shipper().step().await.unwrap();
    site.log.cut(fork.lsn);
    assert!(matches!(site.shipper().step().await, Err(ReplicationError::Rewound { .. })));

    let options = TakeoverOptions { fork: Fork::At(site.log.durable()), ..TakeoverOptions::default() };
    let takeover = site.take_over(&options).await.unwrap();
    let (log, mut shipper, _spool) = site.successor(takeover);
    log.commit("three");
    shipper.step().await.unwrap();

    assert_eq!(site.read(&[0]).await.unwrap(), ["one", "two", "three"]);
    let archive = site.archive(&[0]);
    let coverage = archive.coverage().await.unwrap();
    let old = coverage.of_epoch(Epoch::FIRST).unwrap();
    let entries = archive.entries(old, old.from().lsn, None).await.unwrap();
    let entries = futures::TryStreamExt::try_collect(entries).await.unwrap();
    assert_eq!(crate::support::payloads(entries), ["one", "two", "lost by the source"]);
}

#[tokio::test]
async fn a_fork_past_what_the_copies_hold_is_refused() {
    let site = Site::new(&["eu"], "none").await;
    site.log.commit("one");
    site.shipper().step().await.unwrap();
    let options =
        TakeoverOptions { fork: Fork::At(site.log.commit("never shipped")), ..TakeoverOptions::default() };

    let error = site.take_over(&options).await.unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("ship it first"), "{error}");
}

#[tokio::test]
async fn an_unreadable_end_of_the_old_history_is_named_and_never_passed_over() {
    let site = Site::new(&["eu", "us"], "any 1 of (eu, us)").await;
    let mut old = site.shipper();
    old.step().await.unwrap();
    site.stores[1].set(Break::Down);
    site.log.commits(numbered(0..3));
    old.step().await.unwrap();
    site.stores[1].set(Break::Nothing);
    site.stores[0].replace("logs/orders/00000001/0000000000000001", |bytes| bytes[200] ^= 1).await;

    let error = site.take_over(&TakeoverOptions::default()).await.unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("logs/orders/00000001/0000000000000001"), "{error}");
}

#[tokio::test]
async fn a_stream_that_nobody_wrote_cannot_be_taken_over() {
    let site = Site::new(&["eu"], "none").await;
    let error = site.take_over(&TakeoverOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_chain_of_takeovers_reads_as_one_history() {
    let site = Site::new(&["eu", "us"], "any 2 of (eu, us)").await;
    site.log.commit("epoch 1");
    site.shipper().step().await.unwrap();
    let mut spools = Vec::new();
    for n in 2..=4 {
        let takeover = site.take_over(&TakeoverOptions::default()).await.unwrap();
        let (log, mut shipper, spool) = site.successor(takeover);
        log.commit(&format!("epoch {n}"));
        shipper.step().await.unwrap();
        assert_eq!(shipper.epoch_starts().unwrap().len(), n);
        spools.push(spool);
    }

    let mut site = site;
    assert_eq!(site.read(&[0]).await.unwrap(), ["epoch 1", "epoch 2", "epoch 3", "epoch 4"]);
    // A copy that comes later gets the whole line, fences included.
    site.add_copy("ap").await;
    site.policy = "any 2 of (eu, us, ap)".parse().unwrap();
    let takeover = site.take_over(&TakeoverOptions::default()).await.unwrap();
    let (log, mut shipper, _spool) = site.successor(takeover);
    log.commit("epoch 5");
    let step = shipper.step().await.unwrap();
    assert!(step.copies.iter().all(|copy| copy.log.health == Health::Good), "{step:#?}");
    assert_eq!(site.read(&[2]).await.unwrap().len(), 5);
}

#[tokio::test]
async fn of_two_takeovers_at_once_at_most_one_owns_the_stream() {
    let site = Site::new(&["eu", "us", "ap"], "any 2 of (eu, us, ap)").await;
    site.log.commits(["one", "two"]);
    site.shipper().step().await.unwrap();
    // The first dies with its fences placed and its claim nowhere; the second goes through; then the first goes on.
    let store = &site.stores[0];
    let options = TakeoverOptions::default();
    let mut first = Box::pin(site.take_over(&options));
    for at in 1.. {
        store.set(Break::DieAfter(at));
        if store.keys("logs/orders/00000001/").await.len() == 2 {
            break;
        }
        assert!(futures::poll!(&mut first).is_pending());
        // Hung calls never return: begin again, one call further.
        first = Box::pin(site.take_over(&options));
    }
    store.set(Break::Nothing);

    let second = site.take_over(&options).await.unwrap();
    let (log, mut shipper, _spool) = site.successor(second.clone());
    log.commit("three");
    shipper.step().await.unwrap();
    let third = site.take_over(&options).await.unwrap();

    assert!(third.epoch > second.epoch);
    log.commit("too late");
    assert_eq!(shipper.step().await.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(site.read(&[0, 1, 2]).await.unwrap(), ["one", "two", "three"]);
}

#[tokio::test]
async fn a_claim_that_another_fenced_first_is_contended() {
    let site = Site::new(&["eu"], "none").await;
    site.log.commit("one");
    site.shipper().step().await.unwrap();
    let first = site.take_over(&TakeoverOptions::default()).await.unwrap();
    // As if the first epoch start had been placed by another between our fence and our claim.
    let start = format!("logs/orders/{:08x}/0000000000000001", first.epoch.get());
    let stolen = site.stores[0].bytes(&start).await;
    site.stores[0].remove(&start).await;
    site.stores[0].remove("logs/orders/00000001/0000000000000002").await;
    site.stores[0].place_before("logs/orders/00000002/", &start, stolen);

    let error = site.take_over(&TakeoverOptions::default()).await.unwrap_err();

    assert!(matches!(error, ReplicationError::Contended { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Busy);
}

#[tokio::test]
async fn an_operator_can_fork_before_what_is_unreadable() {
    let site = Site::new(&["eu"], "none").await;
    let mut old = site.shipper();
    let kept = site.log.commit("kept");
    old.step().await.unwrap();
    let lost = site.log.commit("lost to rot");
    old.step().await.unwrap();
    site.stores[0].replace("logs/orders/00000001/0000000000000002", |bytes| bytes[200] ^= 1).await;

    assert_eq!(site.take_over(&TakeoverOptions::default()).await.unwrap_err().kind(), ErrorKind::Corrupt);
    let at_rot = TakeoverOptions { fork: Fork::At(lost), ..TakeoverOptions::default() };
    assert_eq!(site.take_over(&at_rot).await.unwrap_err().kind(), ErrorKind::Corrupt);
    let before = TakeoverOptions { fork: Fork::At(kept), ..TakeoverOptions::default() };
    let takeover = site.take_over(&before).await.unwrap();

    assert_eq!(takeover.parent.fork, kept);
    assert_eq!(site.read(&[0]).await.unwrap(), ["kept"]);
}

#[tokio::test]
async fn a_copy_that_comes_after_retention_gets_what_is_still_kept() {
    let mut site = Site::new(&["eu"], "none").await.small_batches();
    let mut old = site.shipper();
    site.log.commits(numbered(0..8));
    old.step().await.unwrap();
    let takeover = site.take_over(&TakeoverOptions::default()).await.unwrap();
    for number in 1..=2 {
        site.stores[0].remove(&format!("logs/orders/00000001/{number:016x}")).await;
    }
    site.add_copy("us").await;

    let (log, mut shipper, _spool) = site.successor(takeover);
    let end = log.commit("new");
    shipper.step().await.unwrap();

    assert!(
        shipper.view().states().iter().all(|state| state.log.position == Some(end)),
        "{:?}",
        shipper.view()
    );
    let expected: Vec<String> = numbered(4..8).into_iter().chain(["new".to_owned()]).collect();
    assert_eq!(site.read(&[1]).await.unwrap(), expected);
}
