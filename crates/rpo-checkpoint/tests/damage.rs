//! Lost, cut off and altered objects, full stores, wrong keys: an error that names what is hit, or the right bytes.

mod support;

use std::collections::BTreeMap;

use rpo_checkpoint::{Cancel, CheckpointError, CheckpointKind, Damage, Depth, NoProgress, VerifyReport};
use rpo_core::ErrorKind;
use rpo_core::ports::EntryKind;
use rpo_crypto::Secret;
use rpo_repository::{Repository, layout};

use support::{Site, noise, parts, small_options, text};

async fn verify(site: &Site, depth: Depth) -> VerifyReport {
    site.checkpointer.verify(None, depth, &NoProgress, &Cancel::new()).await.expect("verifying itself works")
}

fn damage(error: CheckpointError) -> Damage {
    match error {
        CheckpointError::Damaged(damage) => damage,
        other => panic!("expected damage, got {other:?}"),
    }
}

/// Two packs of data, each with files of its own, and a chain of two.
async fn two_packs() -> Site {
    let site = Site::new().await;
    site.tree.put("first", noise(700_000, 1));
    site.full().await;
    site.tree.put("second", noise(700_000, 2));
    site.incremental().await;
    site
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_flipped_byte_of_a_repository_gives_an_error_or_the_right_bytes() {
    let site = Site::new().await;
    site.tree.put_kind("dir", EntryKind::Directory);
    site.tree.put("dir/a", text(300, 1));
    site.tree.put("b", vec![0; 10]);
    site.full().await;
    site.tree.put("c", noise(90, 2));
    site.incremental().await;
    let was = site.tree.now();
    let mut refused = BTreeMap::new();

    for meta in site.storage.keys("").await {
        let family = meta.key.as_str().split('/').next().unwrap().to_owned();
        if family == "config" || family == "keys" {
            continue; // read when the repository is opened: `rpo-repository` flips those
        }
        for at in 0..meta.len {
            site.storage.flip(Some((meta.key.clone(), at)));
            match site.try_restore(2).await {
                Ok(restored) => restored.assert_equals(&was),
                Err(error) => {
                    assert_ne!(error.kind(), ErrorKind::Retry, "{} byte {at}: {error}", meta.key);
                    *refused.entry(family.clone()).or_insert(0) += 1;
                }
            }
        }
    }

    site.storage.flip(None);
    assert!(refused["packs"] > 500 && refused["checkpoints"] > 500, "{refused:?}");
    site.assert_restores(2, &was).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_pack_is_named_with_the_files_it_hits_and_nothing_else_is_lost() {
    let site = two_packs().await;
    let first = site.repository.bill(1).await.unwrap().unwrap().objects[0].key.clone();
    site.storage.remove_all(first.as_str()).await;

    let report = verify(&site, Depth::Exists).await;

    // The first manifest was in that pack, too: no entry of the chain can be read without it.
    assert_eq!(report.damage.kind(), ErrorKind::NotFound);
    let object = &report.damage.objects[0];
    assert_eq!(object.object, first.as_str());
    assert_eq!(object.checkpoints, [site.id(1), site.id(2)], "{object:?}");
    let error = site.try_restore(2).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains(first.as_str()), "{error}");
}

/// A site whose pieces of manifests are in packs of their own, so that data can be lost without them.
async fn large() -> Site {
    let site = Site::new().await;
    for n in 0..4u64 {
        site.tree.put(&format!("file-{n}"), noise(1_100_000, n));
    }
    for n in 0..20 {
        site.tree.put(&format!("small-{n}"), noise(40_000, 100 + n));
    }
    site.full().await;
    site
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_pack_of_data_costs_only_the_files_in_it() {
    let site = large().await;
    let was = site.tree.now();
    let bill = site.repository.bill(1).await.unwrap().unwrap();
    let lost = &bill.objects[0].key;
    site.storage.remove_all(lost.as_str()).await;

    let found = damage(site.try_restore(1).await.unwrap_err());

    assert_eq!(found.kind(), ErrorKind::NotFound);
    assert_eq!(found.objects.len(), 1);
    assert_eq!(found.objects[0].object, lost.as_str());
    let hit: Vec<_> = found.objects[0].affected.iter().map(|file| file.path.clone()).collect();
    assert!(!hit.is_empty() && hit.len() < was.0.len(), "{hit:?}");
    for depth in [Depth::Exists, Depth::ReadAll] {
        let report = verify(&site, depth).await;
        let said: Vec<_> = report.damage.objects[0].affected.iter().map(|file| file.path.clone()).collect();
        assert_eq!((said, report.damage.objects.len()), (hit.clone(), 1), "{depth:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncated_pack_and_a_flipped_byte_are_told_apart_from_a_missing_one() {
    let site = large().await;
    let bill = site.repository.bill(1).await.unwrap().unwrap();
    let (victim, len) = (&bill.objects[1].key, bill.objects[1].len);

    site.storage.flip(Some((victim.clone(), len / 2)));
    assert!(verify(&site, Depth::Exists).await.is_sound(), "existence says nothing about content");
    let flipped = verify(&site, Depth::ReadAll).await;
    let restored = damage(site.try_restore(1).await.unwrap_err());
    site.storage.flip(None);
    assert!(verify(&site, Depth::ReadAll).await.is_sound());
    site.storage.cut(victim, len / 3);
    let cut = verify(&site, Depth::Exists).await;
    let cut_restored = damage(site.try_restore(1).await.unwrap_err());

    for found in [flipped.damage, restored, cut.damage, cut_restored] {
        assert_eq!(found.kind(), ErrorKind::Corrupt, "{found}");
        assert_eq!(found.objects[0].object, victim.as_str());
        assert!(found.objects[0].affected_count > 0, "{found}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_manifest_stops_neither_listing_nor_older_checkpoints_nor_the_next_one() {
    let site = two_packs().await;
    let key = layout::checkpoint(&site.docs, 2);
    site.storage.flip(Some((key.clone(), 200)));

    let survey = site.checkpointer.survey(&site.docs).await.unwrap();
    assert_eq!((survey.checkpoints.len(), survey.unreadable.len()), (1, 1));
    let error = site.try_restore(2).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains(key.as_str()), "{error}");
    let report = verify(&site, Depth::Exists).await;
    assert_eq!(report.damage.objects[0].object, key.as_str());
    site.try_restore(1).await.unwrap();

    let next = site.incremental().await;
    assert_eq!(next.info.parent, Some(site.id(1)));
    site.assert_restores(3, &site.tree.now()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parent_whose_entries_are_lost_is_given_up_and_everything_is_read_again() {
    let site = large().await;
    let bill = site.repository.bill(1).await.unwrap().unwrap();
    let packs: Vec<_> =
        bill.objects.iter().filter(|receipt| receipt.key.as_str().starts_with("packs/")).collect();
    site.storage.remove_all(packs.last().unwrap().key.as_str()).await; // the pieces of the manifest

    let summary = site.incremental().await;

    assert_eq!(summary.info.kind, CheckpointKind::Full);
    assert!(summary.parent_unusable.is_some());
    assert_eq!(summary.info.statistics.changed, site.tree.now().0.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_incremental_without_its_parent_says_which_one_is_missing() {
    let site = two_packs().await;
    site.storage.remove_all(layout::checkpoint(&site.docs, 1).as_str()).await;
    let error = site.try_restore(2).await.unwrap_err();
    assert!(
        matches!(&error, CheckpointError::BrokenChain { parent, .. } if *parent == site.id(1)),
        "{error}"
    );
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(!verify(&site, Depth::Exists).await.is_sound());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_any_index_a_restore_still_works_and_indexes_are_rebuilt_from_packs() {
    let site = large().await;
    site.tree.put("more", noise(100_000, 9));
    site.incremental().await;
    let was = site.tree.now();
    assert!(site.storage.remove_all("indexes/").await >= 2);

    site.assert_restores(2, &was).await;
    let report = verify(&site, Depth::ReadAll).await;
    assert!(
        report.damage.objects.iter().all(|object| object.missing && object.costs_nothing()),
        "{report:?}"
    );
    let summary = site.checkpointer.rebuild_index(&NoProgress, &Cancel::new()).await.unwrap();

    assert_eq!(summary.packs, summary.indexed);
    assert!(summary.indexes > 0 && summary.damage.objects.is_empty());
    site.storage.take_reads();
    site.assert_restores(2, &was).await;
    let again = site.checkpointer.rebuild_index(&NoProgress, &Cancel::new()).await.unwrap();
    assert_eq!((again.indexed, again.indexes), (0, 0));

    // What is stored is still known: packs of a rebuilt index are listed again by whoever uses them.
    site.tree.put("copy-of-0", noise(1_100_000, 0));
    let next = site.incremental().await;
    assert_eq!(next.info.statistics.added_chunks, 0);
    let bill = site.repository.bill(3).await.unwrap().unwrap();
    assert!(bill.objects.iter().filter(|receipt| receipt.key.as_str().starts_with("packs/")).count() >= 2);
    site.assert_restores(3, &site.tree.now()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_damaged_index_does_not_stop_a_restore() {
    let site = large().await;
    let index = site.storage.keys("indexes/").await[0].key.clone();
    site.storage.flip(Some((index.clone(), 150)));
    site.assert_restores(1, &site.tree.now()).await;
    let report = verify(&site, Depth::Exists).await;
    assert_eq!(report.damage.objects.len(), 1);
    assert_eq!(
        (report.damage.objects[0].object.as_str(), report.damage.objects[0].affected_count),
        (index.as_str(), 0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_store_leaves_no_manifest_and_the_next_run_succeeds_without_sending_data_again() {
    for family in ["packs/", "indexes/", "bills/", "checkpoints/"] {
        let site = Site::new().await;
        for n in 0..6u64 {
            site.tree.put(&format!("file-{n}"), noise(1_100_000, n));
        }
        site.storage.fill_up_for(Some(family));

        let error = site.try_checkpoint(CheckpointKind::Full).await.unwrap_err();

        assert_eq!(error.kind(), ErrorKind::NoSpace, "{family}: {error}");
        assert!(site.checkpointer.list(&site.docs).await.unwrap().is_empty(), "{family}");
        site.storage.fill_up_for(None);
        let next = site.full().await;
        site.assert_restores(next.id().number, &site.tree.now()).await;
        if family == "bills/" || family == "checkpoints/" {
            // Its packs were indexed: they are adopted.
            assert_eq!(next.info.statistics.added_chunks, 0, "{family}");
            let bills = site.repository.last_bill().await.unwrap();
            let bill = site.repository.bill(bills).await.unwrap().unwrap();
            assert!(bill.objects.iter().map(|receipt| receipt.len).sum::<u64>() > 6_000_000, "{family}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fenced_session_commits_nothing_and_says_so() {
    let site = Site::new().await;
    site.tree.put("a", b"1".to_vec());
    // Somebody fences session 1 while it is under way: here, before its manifest.
    let session = site.repository.begin_session(&site.docs, "a writer that was thought dead").await.unwrap();
    site.repository.fence_session(&site.docs, session.number()).await.unwrap();
    assert_eq!(session.commit(&[b"late"]).await.unwrap_err().kind(), ErrorKind::Fenced);

    let summary = site.full().await;

    assert_eq!(summary.id().number, 2);
    let listed = site.checkpointer.list(&site.docs).await.unwrap();
    assert_eq!(listed.len(), 1, "a fence is no checkpoint");
    assert_eq!(site.try_restore(1).await.map(drop).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(verify(&site, Depth::ReadAll).await.is_sound());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_key_is_told_as_such() {
    let site = two_packs().await;
    let error = Repository::open(parts(&site.storage), Some(&Secret::passphrase("not the passphrase")))
        .await
        .unwrap_err();
    assert_eq!(CheckpointError::from(error).kind(), ErrorKind::Key);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_reads_each_pack_once_and_straight() {
    let site = large().await;
    for round in 0..3 {
        site.tree.put(&format!("later-{round}"), noise(300_000, 50 + round));
        site.incremental().await;
    }
    site.storage.take_reads();

    site.assert_restores(4, &site.tree.now()).await;

    let mut bodies: BTreeMap<String, Vec<std::ops::Range<u64>>> = BTreeMap::new();
    let mut headers: BTreeMap<String, u32> = BTreeMap::new();
    for (key, range) in site.storage.take_reads() {
        match (key.as_str().starts_with("packs/"), range.start) {
            (false, _) => {}
            (true, 0) => *headers.entry(key.to_string()).or_default() += 1,
            (true, _) => bodies.entry(key.to_string()).or_default().push(range),
        }
    }
    assert!(bodies.len() >= 5, "{bodies:?}");
    // The header once for data and once for pieces of the manifest; every other byte at most once.
    assert!(headers.values().all(|count| *count <= 2), "{headers:?}");
    for (key, mut ranges) in bodies {
        ranges.sort_by_key(|range| range.start);
        assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start), "{key}: {ranges:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_kind_of_restorer_or_source_is_refused() {
    let site = two_packs().await;
    #[derive(Debug)]
    struct Ledger(support::MemoryTree);
    impl rpo_core::Source for Ledger {
        fn kind(&self) -> &str {
            "ledger"
        }
        fn capture(
            &self,
            parent: Option<Box<dyn rpo_core::ports::EntryStream>>,
        ) -> Result<Box<dyn rpo_core::ports::Capture>, rpo_core::ports::SourceError> {
            self.0.capture(parent)
        }
    }
    let ledger = std::sync::Arc::new(Ledger(support::MemoryTree::default()));
    let kind = CheckpointKind::Incremental;
    let error = site
        .checkpointer
        .checkpoint(&site.docs, ledger, kind, &NoProgress, &Cancel::new())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_that_make_no_sense_are_refused_before_anything_is_written() {
    let mut options = small_options();
    options.pack_size = rpo_core::ByteSize::new(5);
    options.workers = Some(0);
    let site = Site::with(options).await;
    let error = site.try_checkpoint(CheckpointKind::Full).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("pack-size") && error.to_string().contains("workers"), "{error}");
    assert!(site.storage.keys("sessions/").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lost_pack_held_is_stored_again_by_the_next_checkpoint() {
    let site = two_packs().await;
    let was = site.tree.now();
    let first = site.repository.bill(1).await.unwrap().unwrap().objects[0].key.clone();
    site.storage.remove_all(first.as_str()).await;

    // The parent's manifest went with the pack, so everything is read again; the indexes still name its chunks.
    let next = site.incremental().await;

    assert!(next.parent_unusable.is_some(), "{next:?}");
    site.assert_restores(next.id().number, &was).await;
}
