//! Making checkpoints, chains of them, and restoring them: what goes in comes out.

mod support;

use rpo_checkpoint::{Cancel, CheckpointError, CheckpointKind, NoProgress, ZERO_CHUNK};
use rpo_core::ports::{EntryKind, Extent};
use rpo_core::{ErrorKind, Position};

use support::{Site, noise, path, small_options, text};

/// Files of every size that matters, links, holes, zeros, odd names.
fn furnish(site: &Site) {
    let tree = &site.tree;
    tree.put_kind("", EntryKind::Directory);
    tree.put_kind("dir", EntryKind::Directory);
    for n in 0..300 {
        tree.put(&format!("dir/small-{n:03}"), text(n * 37, n as u64));
    }
    tree.put("dir/at-64k", text(64 << 10, 1));
    tree.put("dir/past-64k", text((64 << 10) + 1, 2));
    tree.put("large", text(5 << 20, 3));
    tree.put("noise", noise(3 << 20, 4));
    tree.put("zeros", vec![0; 200_000]);
    let mut sparse = vec![0; 2 << 20];
    sparse[1 << 20..(1 << 20) + 70_000].copy_from_slice(&noise(70_000, 5));
    let extents = vec![Extent { offset: 4096, len: 4096 }, Extent { offset: 1 << 20, len: 70_000 }];
    tree.put_sparse("sparse", sparse, extents);
    tree.put_kind("link", EntryKind::Symlink { target: b"dir/small-001".to_vec() });
    tree.put_kind("name", EntryKind::HardLink { to: path("large") });
    tree.put("odd \u{1}\"\\ name", b"x".to_vec());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_checkpoint_restores_to_what_was_there() {
    let site = Site::new().await;
    furnish(&site);
    let was = site.tree.now();

    let summary = site.full().await;

    assert_eq!(summary.id().to_string(), "docs@1");
    assert_eq!(summary.info.statistics.entries, was.0.len() as u64);
    site.assert_restores(1, &was).await;
}

#[tokio::test]
async fn everything_works_on_a_runtime_of_one_thread() {
    let site = Site::new().await;
    furnish(&site);
    let was = site.tree.now();
    site.full().await;
    site.tree.put("more", b"1".to_vec());
    site.incremental().await;
    site.assert_restores(1, &was).await;
    site.assert_restores(2, &site.tree.now()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unchanged_files_are_not_read_again_and_add_nothing() {
    let site = Site::new().await;
    furnish(&site);
    let first = site.full().await;
    site.tree.take_reads();

    let incremental = site.incremental().await;
    let full = site.full().await;

    assert_eq!(site.tree.take_reads(), Vec::<String>::new());
    assert_eq!(incremental.info.kind, CheckpointKind::Incremental);
    assert_eq!(incremental.info.statistics.unchanged, first.info.statistics.entries);
    assert_eq!((incremental.info.statistics.added_bytes, full.info.statistics.added_bytes), (0, 0));
    site.assert_restores(2, &site.tree.now()).await;
    site.assert_restores(3, &site.tree.now()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_incremental_holds_what_changed_and_what_went() {
    let site = Site::new().await;
    furnish(&site);
    site.full().await;
    let before = site.tree.now();
    site.tree.take_reads();
    site.tree.remove("dir/small-007");
    site.tree.remove("zeros");
    site.tree.put("dir/small-008", b"changed".to_vec());
    site.tree.put("dir/new", text(100_000, 77));
    site.tree.put_kind("noise", EntryKind::Directory); // a file becomes a directory
    site.tree.put("noise/inside", b"y".to_vec());
    site.tree.chmod("large", 0o600);
    let after = site.tree.now();

    let summary = site.incremental().await;

    let statistics = &summary.info.statistics;
    assert_eq!((statistics.removed, statistics.changed), (2, 5));
    assert_eq!(statistics.entries, after.0.len() as u64);
    let mut reads = site.tree.take_reads();
    reads.sort();
    assert_eq!(reads, ["dir/new", "dir/small-008", "noise/inside"]);
    site.assert_restores(1, &before).await;
    site.assert_restores(2, &after).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_checkpoint_of_a_long_chain_restores_and_a_snapshot_of_it_equals_it() {
    let site = Site::new().await;
    furnish(&site);
    let mut states = vec![site.tree.now()];
    site.full().await;
    for round in 0..8u64 {
        site.tree.put(&format!("dir/small-{:03}", round * 3), text(500, 1_000 + round));
        site.tree.put(&format!("round-{round}"), text(70_000, round));
        if round > 0 {
            site.tree.remove(&format!("round-{}", round - 1));
        }
        let kind = if round == 5 { CheckpointKind::Differential } else { CheckpointKind::Incremental };
        site.try_checkpoint(kind).await.unwrap();
        states.push(site.tree.now());
    }
    for (n, state) in states.iter().enumerate() {
        site.assert_restores(n as u64 + 1, state).await;
    }
    let chain: Vec<_> =
        site.checkpointer.chain(&site.id(7)).await.unwrap().iter().map(|info| info.id.number).collect();
    assert_eq!(chain, [7, 1], "a differential builds on the last full one");

    site.tree.take_reads();
    let snapshot = site.checkpointer.snapshot(&site.id(9), &NoProgress, &Cancel::new()).await.unwrap();

    assert_eq!(snapshot.info.origin, Some(site.id(9)));
    assert_eq!(snapshot.info.started, site.checkpointer.show(&site.id(9)).await.unwrap().started);
    assert_eq!(site.checkpointer.chain(snapshot.id()).await.unwrap().len(), 1);
    site.assert_restores(10, states.last().unwrap()).await;
    assert!(site.tree.take_reads().is_empty());

    // The next one builds on the snapshot.
    site.tree.put("last", b"z".to_vec());
    let next = site.incremental().await;
    assert_eq!(next.info.parent, Some(site.id(10)));
    site.assert_restores(11, &site.tree.now()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_that_is_long_enough_is_followed_by_a_full_checkpoint() {
    let mut options = small_options();
    options.chain_max = 3;
    let site = Site::with(options).await;
    furnish(&site);
    let mut kinds = Vec::new();
    for round in 0..5 {
        site.tree.put("f", vec![round + 1; 10]);
        kinds.push(site.incremental().await.info.kind);
    }
    use CheckpointKind::{Full, Incremental};
    assert_eq!(kinds, [Full, Incremental, Incremental, Full, Incremental]);
    site.assert_restores(5, &site.tree.now()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_contents_are_stored_once_whatever_their_names_and_sources() {
    let site = Site::new().await;
    site.tree.put("a", noise(3 << 20, 1));
    site.tree.put("tiny-a", noise(1_000, 2));
    let first = site.full().await;
    site.tree.put("b", noise(3 << 20, 1));
    site.tree.put("tiny-b", noise(1_000, 2));

    let second = site.incremental().await;
    let other = rpo_core::SourceId::new("other").unwrap();
    let tree = site.tree.clone();
    let third = site
        .checkpointer
        .checkpoint(&other, tree, CheckpointKind::Full, &NoProgress, &Cancel::new())
        .await
        .unwrap();

    assert!(first.info.statistics.added_raw_bytes > 3_000_000);
    assert_eq!((second.info.statistics.added_chunks, third.info.statistics.added_chunks), (0, 0));
    let sources = site.checkpointer.sources().await.unwrap();
    assert_eq!(sources.iter().map(|source| source.as_str()).collect::<Vec<_>>(), ["docs", "other"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zeros_are_never_stored() {
    let site = Site::new().await;
    site.tree.put("zeros", vec![0; 10 << 20]);
    let summary = site.full().await;
    assert_eq!(summary.info.statistics.added_chunks, 0);
    assert!(summary.info.statistics.added_bytes < 4_000, "{:?}", summary.info.statistics);
    site.assert_restores(1, &site.tree.now()).await;
    assert_eq!(ZERO_CHUNK.as_bytes(), &[0; 32]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_are_written_packs_first_and_the_manifest_last() {
    let site = Site::new().await;
    furnish(&site);
    site.storage.take_creates();

    site.full().await;

    let creates = site.storage.take_creates();
    let families: Vec<&str> = creates.iter().map(|key| key.split('/').next().unwrap()).collect();
    let mut order = families.clone();
    order.dedup();
    assert_eq!(order, ["sessions", "packs", "indexes", "bills", "checkpoints"]);
    let bill = site.repository.bill(1).await.unwrap().unwrap();
    let mut billed: Vec<String> = bill.objects.iter().map(|receipt| receipt.key.to_string()).collect();
    let mut stored: Vec<String> = creates
        .iter()
        .filter(|key| key.starts_with("packs/") || key.starts_with("indexes/"))
        .cloned()
        .collect();
    billed.sort();
    stored.sort();
    assert_eq!(billed, stored);
    for receipt in &bill.objects {
        site.repository.fetch(receipt).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_changes_while_it_is_read_is_read_again_and_then_marked() {
    let site = Site::new().await;
    site.tree.put("once", b"once".to_vec());
    site.tree.put("twice", b"twice".to_vec());
    site.tree.change_while_read("once", 1);
    site.tree.change_while_read("twice", 2);

    let summary = site.full().await;

    assert_eq!(summary.info.statistics.changed_while_read, 1);
    let restored = site.try_restore(1).await.unwrap();
    assert!(!restored.0[&path("once")].0.changed_while_read);
    assert!(restored.0[&path("twice")].0.changed_while_read);
    // The next run does not trust it.
    site.tree.take_reads();
    site.incremental().await;
    assert_eq!(site.tree.take_reads(), ["twice"]);
    site.assert_restores(2, &site.tree.now()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_vanishes_or_cannot_be_read_is_counted_and_not_taken_from_the_parent() {
    let site = Site::new().await;
    for name in ["gone", "kept", "locked", "skipped"] {
        site.tree.put(name, name.as_bytes().to_vec());
    }
    site.full().await;
    for name in ["gone", "kept", "locked"] {
        site.tree.put(name, format!("new {name}"));
    }
    site.tree.vanish("gone");
    site.tree.make_unreadable("locked");
    site.tree.skip("skipped");

    let summary = site.incremental().await;

    let statistics = &summary.info.statistics;
    assert_eq!((statistics.vanished, statistics.lost), (1, 2));
    let lost: Vec<_> = summary.info.lost.iter().map(|lost| lost.path.as_str()).collect();
    assert_eq!(lost, ["locked", "skipped"]);
    let expected = site.tree.now().without("gone").without("locked").without("skipped");
    site.assert_restores(2, &expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_ignores_its_parent_gets_the_same_checkpoints() {
    let site = Site::new().await;
    furnish(&site);
    site.full().await;
    site.tree.ignore_parent();
    site.tree.remove("dir/small-100");
    let summary = site.incremental().await;
    assert_eq!(summary.info.statistics.removed, 1);
    assert_eq!(summary.info.statistics.added_chunks, 0, "the data is known all the same");
    site.assert_restores(2, &site.tree.now()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn position_tags_and_metadata_are_kept() {
    let site = Site::new().await;
    site.tree.put("state", b"1".to_vec());
    site.tree.set_position(Position::START);
    let labels = rpo_checkpoint::Labels {
        tags: vec!["before-upgrade".to_owned()],
        metadata: [("host".to_owned(), "nas".to_owned())].into(),
    };
    let (tree, cancel) = (site.tree.clone(), Cancel::new());
    let kind = CheckpointKind::Incremental;
    site.checkpointer
        .checkpoint_labelled(&site.docs, tree, kind, labels, &NoProgress, &cancel)
        .await
        .unwrap();

    let info = &site.checkpointer.list(&site.docs).await.unwrap()[0];

    assert_eq!(info.kind, CheckpointKind::Full, "there was no parent");
    assert_eq!((info.position, info.source_kind.as_str()), (Some(Position::START), "tree"));
    assert_eq!((info.tags[0].as_str(), info.metadata["host"].as_str()), ("before-upgrade", "nas"));
    assert!(info.started <= info.finished && info.finished <= info.written);
    let json = serde_json::to_value(info).unwrap();
    assert_eq!(json["id"], "docs@1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_checkpoints_at_once_both_succeed() {
    let site = Site::new().await;
    furnish(&site);
    site.full().await;
    site.tree.put("new", noise(2 << 20, 8));

    let (one, two) = tokio::join!(site.incremental(), site.incremental());

    assert_ne!(one.id(), two.id());
    site.assert_restores(one.id().number, &site.tree.now()).await;
    site.assert_restores(two.id().number, &site.tree.now()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_checkpoint_commits_nothing() {
    let site = Site::new().await;
    furnish(&site);
    let cancel = Cancel::new();
    cancel.cancel();
    let tree = site.tree.clone();
    let answer =
        site.checkpointer.checkpoint(&site.docs, tree, CheckpointKind::Full, &NoProgress, &cancel).await;
    assert!(matches!(answer, Err(CheckpointError::Cancelled)));
    assert!(site.checkpointer.list(&site.docs).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asking_for_what_is_not_there_says_so() {
    let site = Site::new().await;
    for error in [
        site.checkpointer.show(&site.id(3)).await.map(drop).unwrap_err(),
        site.try_restore(3).await.map(drop).unwrap_err(),
        site.checkpointer.snapshot(&site.id(3), &NoProgress, &Cancel::new()).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains("docs@3"));
    }
}

/// Cancels once something was read.
struct StopSoon(Cancel);

impl rpo_checkpoint::Progress for StopSoon {
    fn update(&self, progressed: rpo_checkpoint::Progressed) {
        if progressed.bytes > 3_000_000 {
            self.0.cancel();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_cancelled_run_has_stored_is_not_sent_again() {
    let site = Site::new().await;
    for n in 0..40u64 {
        site.tree.put(&format!("file-{n:02}"), noise(600_000, n));
    }
    let cancel = Cancel::new();
    let (tree, stop) = (site.tree.clone(), StopSoon(cancel.clone()));
    let answer = site.checkpointer.checkpoint(&site.docs, tree, CheckpointKind::Full, &stop, &cancel).await;
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(site.checkpointer.list(&site.docs).await.unwrap().is_empty());
    assert!(!site.storage.keys("indexes/").await.is_empty(), "it is indexed");

    let summary = site.full().await;

    assert!(summary.info.statistics.added_raw_bytes < 24_000_000, "{:?}", summary.info.statistics);
    site.assert_restores(2, &site.tree.now()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indexes_are_read_once_by_a_program_that_goes_on_running() {
    let site = Site::new().await;
    for round in 0..5u64 {
        site.tree.put(&format!("file-{round}"), noise(1_000, round));
        site.storage.take_reads();
        site.incremental().await;
        let read = site.storage.take_reads();
        let indexes = read.iter().filter(|(key, _)| key.as_str().starts_with("indexes/")).count();
        assert!(indexes <= 1, "round {round}: {indexes} indexes read");
    }
    site.assert_restores(5, &site.tree.now()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_panics_is_an_error_and_nobody_hangs() {
    let site = Site::new().await;
    for n in 0..50 {
        site.tree.put(&format!("file-{n}"), text(1_000, n));
    }
    site.tree.panic_on("file-30");
    let error = site.try_checkpoint(CheckpointKind::Full).await.unwrap_err();
    assert!(matches!(error, CheckpointError::Worker(_)), "{error}");
    assert!(site.checkpointer.list(&site.docs).await.unwrap().is_empty());
}
