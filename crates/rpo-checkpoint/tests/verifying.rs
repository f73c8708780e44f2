//! What `verify` looks at besides contents: session records, bills, indexes, manifests that should be there. Nothing that
//! is missing goes untold, and what a killed run leaves behind is not called damage.
#![allow(clippy::unwrap_used)] // in the scenes as in the stories

mod support;

use std::collections::BTreeMap;

use rpo_checkpoint::{
    AFFECTED_NAMED_MAX, Cancel, CheckpointKind, DamagedObject, Depth, NoProgress, VerifyReport,
};
use rpo_crypto::{ObjectType, envelope, sha256};
use rpo_repository::{Bill, layout};
use rpo_storage::Key;

use support::{Site, noise};

async fn verify(site: &Site, depth: Depth) -> VerifyReport {
    site.checkpointer.verify(None, depth, &NoProgress, &Cancel::new()).await.expect("verifying itself works")
}

async fn verify_mirror(site: &Site) -> VerifyReport {
    site.checkpointer.verify_mirror(None, Depth::Exists, &NoProgress, &Cancel::new()).await.unwrap()
}

/// The only damaged object.
#[track_caller]
fn only(report: &VerifyReport) -> &DamagedObject {
    assert_eq!(report.damage.objects.len(), 1, "{report:#?}");
    &report.damage.objects[0]
}

/// Full, incremental: the second manifest builds on the first.
async fn chain() -> Site {
    let site = Site::new().await;
    site.tree.put("first", noise(300_000, 1));
    site.full().await;
    site.tree.put("second", noise(300_000, 2));
    site.incremental().await;
    site
}

/// Pieces of the manifest are in the last pack on the bill, files in the others.
async fn many_packs() -> Site {
    let site = Site::new().await;
    for n in 0..400 {
        site.tree.put(&format!("small-{n:03}"), noise(9_000, n));
    }
    site.full().await;
    site
}

async fn packs_of(site: &Site, bill: u64) -> Vec<Key> {
    let bill = site.repository.bill(bill).await.unwrap().unwrap();
    let keys = bill.objects.into_iter().map(|receipt| receipt.key);
    keys.filter(|key| key.as_str().starts_with("packs/")).collect()
}

/// A run that is killed after its bill: neither manifest nor fence could be put.
async fn killed_before_its_manifest(site: &Site) {
    site.storage.fill_up_for(Some("checkpoints/"));
    site.try_checkpoint(CheckpointKind::Full).await.unwrap_err();
    site.storage.fill_up_for(None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sound_repository_is_told_with_all_that_was_looked_at() {
    let site = chain().await;
    let report = verify(&site, Depth::Exists).await;
    assert!(report.is_sound(), "{report:#?}");
    let looked_at = (report.checkpoints, report.sessions, report.bills, report.indexes, report.packs);
    assert_eq!(looked_at, (2, 2, 2, 2, 2));
    assert_eq!((report.unreferenced, report.partial, report.bills_behind), (0, 0, 0));
    assert!(report.unfinished.is_empty() && report.missing.is_empty());
    assert_eq!(report.committed, [site.id(1), site.id(2)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_that_others_build_on_and_is_gone_is_named_with_its_checkpoint() {
    let site = chain().await;
    let key = layout::checkpoint(&site.docs, 1);
    site.storage.remove_all(key.as_str()).await;

    let report = verify(&site, Depth::Exists).await;

    assert_eq!(report.missing, [site.id(1)]);
    let object = only(&report);
    assert_eq!((object.object.as_str(), object.missing), (key.as_str(), true));
    assert_eq!(object.checkpoints, [site.id(1), site.id(2)], "the second is lost with the first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_is_proven_lost_by_a_later_full_checkpoint_that_shares_its_chunks() {
    let site = chain().await;
    site.full().await; // names no parent, and stores nothing again
    site.storage.remove_all(layout::checkpoint(&site.docs, 2).as_str()).await;

    let report = verify(&site, Depth::Exists).await;

    assert_eq!(report.missing, [site.id(2)], "{report:#?}");
    assert_eq!(only(&report).checkpoints, [site.id(2)], "the third needs no other manifest");
    assert!(report.unfinished.is_empty());
    assert_eq!((report.packs, report.unreferenced), (3, 0), "what it stored is checked with the rest");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_origin_of_a_snapshot_is_known_to_have_been_committed() {
    let site = chain().await;
    site.checkpointer.snapshot(&site.id(2), &NoProgress, &Cancel::new()).await.unwrap();
    site.storage.remove_all(layout::checkpoint(&site.docs, 2).as_str()).await;
    assert_eq!(verify(&site, Depth::Exists).await.missing, [site.id(2)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newest_manifest_that_is_gone_leaves_a_session_that_stored_everything_and_never_ended() {
    let site = chain().await;
    site.storage.remove_all(layout::checkpoint(&site.docs, 2).as_str()).await;

    let report = verify(&site, Depth::Exists).await;

    assert_eq!(report.unfinished, [site.id(2)], "it could as well be running");
    assert!(report.is_sound() && report.checkpoints == 1, "{report:#?}");
    assert_eq!(report.unreferenced, 2, "its pack and its index");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_run_leaves_is_unreferenced_and_no_damage_also_once_it_was_taken_over() {
    let site = Site::new().await;
    site.tree.put("a", noise(300_000, 1));
    killed_before_its_manifest(&site).await;

    let before = verify(&site, Depth::ReadAll).await;
    assert!(before.is_sound(), "{before:#?}");
    assert_eq!((before.unreferenced, before.unfinished), (2, vec![site.id(1)]));

    site.full().await; // takes the pack over
    let after = verify(&site, Depth::ReadAll).await;
    assert!(after.is_sound(), "{after:#?}");
    assert!(after.missing.is_empty(), "a pack on the bill of its user proves nothing about its first owner");
    assert_eq!(after.unfinished, [site.id(1)]);
    assert!(after.unreferenced >= 1, "the index of the killed run");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_in_the_bills_is_a_loss_at_home_and_a_delay_in_a_mirror() {
    let site = chain().await;
    site.storage.remove_all(layout::bill(1).as_str()).await;

    let home = verify(&site, Depth::Exists).await;
    assert_eq!(only(&home).object, layout::bill(1).as_str());
    assert!(only(&home).missing && only(&home).costs_nothing());

    let mirror = verify_mirror(&site).await;
    assert!(mirror.is_sound(), "{mirror:#?}");
    assert_eq!(mirror.bills_behind, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_bill_that_is_gone_is_missed_by_its_checkpoint() {
    let site = chain().await;
    site.storage.remove_all(layout::bill(2).as_str()).await;
    let report = verify(&site, Depth::Exists).await;
    let object = only(&report);
    assert_eq!(object.object, layout::bill(2).as_str());
    assert!(object.what.contains("docs@2"), "{object:?}");
    assert_eq!(verify_mirror(&site).await.bills_behind, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_byte_in_a_bill_or_a_session_record_is_found() {
    let site = chain().await;
    for key in [layout::bill(1), layout::session(&site.docs, 1)] {
        site.storage.flip(Some((key.clone(), 120)));
        let report = verify(&site, Depth::Exists).await;
        assert_eq!(only(&report).object, key.as_str());
        assert!(only(&report).costs_nothing() && !only(&report).missing);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_record_that_is_gone_is_named_even_if_all_are() {
    let site = chain().await;
    site.storage.remove_all(layout::session(&site.docs, 1).as_str()).await;
    let fresh = site.reopened().await;
    assert_eq!(only(&verify(&fresh, Depth::Exists).await).object, layout::session(&site.docs, 1).as_str());

    site.storage.remove_all("sessions/").await;
    site.storage.remove_all("bills/").await;
    let report = verify(&site.reopened().await, Depth::Exists).await;
    assert_eq!(report.checkpoints, 2, "the source is found by its checkpoints");
    assert_eq!(report.damage.objects.len(), 3, "two records, and the first bill for both: {report:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_is_gone_is_named_and_costs_no_file() {
    let site = chain().await;
    let was = site.tree.now();
    let index = layout::index(&site.docs, 1, 0);
    site.storage.remove_all(index.as_str()).await;

    for depth in [Depth::Exists, Depth::ReadAll] {
        let report = verify(&site, depth).await;
        let object = only(&report);
        assert_eq!((object.object.as_str(), object.missing), (index.as_str(), true));
        assert!(object.costs_nothing());
    }
    site.assert_restores(2, &was).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_pack_that_is_gone_costs_all_files_and_that_is_said() {
    let site = Site::new().await;
    site.tree.put("a", noise(3_000, 1));
    site.full().await;
    let pack = packs_of(&site, 1).await.swap_remove(0);
    site.storage.remove_all(pack.as_str()).await;

    for depth in [Depth::Exists, Depth::ReadAll] {
        let report = verify(&site, depth).await;
        let object = only(&report);
        assert_eq!((object.object.as_str(), &object.checkpoints), (pack.as_str(), &vec![site.id(1)]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_files_of_a_lost_pack_are_counted_and_the_first_are_named() {
    let site = many_packs().await;
    let pack = packs_of(&site, 1).await.swap_remove(0);
    let whole = verify(&site, Depth::Exists).await;
    assert!(whole.is_sound() && whole.packs > 2, "{whole:#?}");
    site.storage.remove_all(pack.as_str()).await;

    let report = verify(&site, Depth::Exists).await;

    let object = only(&report);
    assert_eq!(object.object, pack.as_str());
    assert_eq!(object.affected.len(), AFFECTED_NAMED_MAX);
    let lost = site.try_restore(1).await.unwrap_err();
    let rpo_checkpoint::CheckpointError::Damaged(lost) = lost else { panic!("{lost}") };
    assert_eq!(object.affected_count, lost.objects[0].affected_count, "as many as a restore misses");
    assert!(object.affected_count > AFFECTED_NAMED_MAX as u64 && object.checkpoints.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pack_that_is_gone_with_its_index_is_named_all_the_same() {
    let site = many_packs().await;
    let pack = packs_of(&site, 1).await.swap_remove(0);
    site.storage.remove_all(pack.as_str()).await;
    let known = only(&verify(&site, Depth::Exists).await).clone();
    site.storage.remove_all("indexes/").await;

    let report = verify(&site, Depth::Exists).await;

    let [index, object] = report.damage.objects.as_slice() else { panic!("{report:#?}") };
    assert!(index.object.starts_with("indexes/") && index.costs_nothing(), "{index:?}");
    assert_eq!((&object.object, object.affected_count), (&known.object, known.affected_count));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_checkpoint_reads_again_what_a_lost_pack_held() {
    let site = many_packs().await;
    let pack = packs_of(&site, 1).await.swap_remove(0);
    site.storage.remove_all(pack.as_str()).await;
    site.tree.take_reads();

    let mended = site.full().await;

    assert!(mended.info.statistics.unchanged > 0, "what is still there is not read: {mended:?}");
    assert!(!site.tree.take_reads().is_empty());
    site.assert_restores(2, &site.tree.now()).await;
    site.assert_restores(1, &site.tree.now()).await;
    let report = verify(&site, Depth::ReadAll).await;
    assert_eq!(only(&report).object, pack.as_str(), "mirrors still look for it");
    assert!(only(&report).costs_nothing(), "{report:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_are_held_against_what_their_bill_says() {
    let site = chain().await;
    let key = layout::pack(&[7; 16]);
    let true_one = site.repository.put(ObjectType::Pack, &key, &[b"x"]).await.unwrap();
    let mut bill = Bill {
        source: site.docs.clone(),
        session: 1,
        part: 2,
        objects: vec![true_one],
        commit_key: layout::checkpoint(&site.docs, 1),
    };
    bill.objects[0].sha256[0] ^= 1;
    site.repository.put_bill(bill.clone()).await.unwrap();

    assert!(verify(&site, Depth::Exists).await.is_sound(), "the length is right");
    let read = verify(&site, Depth::ReadAll).await;
    assert_eq!(only(&read).object, key.as_str());
    assert!(only(&read).what.contains("SHA-256"), "{read:#?}");

    bill.objects[0].key = packs_of(&site, 1).await.swap_remove(0);
    bill.objects[0].len += 1;
    bill.session = 2;
    bill.commit_key = layout::checkpoint(&site.docs, 2);
    site.repository.put_bill(bill).await.unwrap();
    assert!(verify(&site, Depth::Exists).await.is_sound(), "the first bill of an object counts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_made_to_look_like_a_fence_is_damage_and_not_a_session_given_up() {
    let site = chain().await;
    let key = layout::checkpoint(&site.docs, 2);
    let mut bytes = site.repository.get_bytes(&key, 1 << 20).await.unwrap().unwrap().to_vec();
    assert_eq!(bytes[10], ObjectType::Manifest as u8, "where envelope.md has the type");
    bytes[10] = ObjectType::Fence as u8;
    let content = bytes.len() - envelope::DIGEST_BYTES;
    let digest = sha256(&bytes[..content]);
    bytes[content..].copy_from_slice(&digest);
    site.storage.remove_all(key.as_str()).await;
    site.repository.put_bytes(&key, bytes.into()).await.unwrap();

    let report = verify(&site, Depth::Exists).await;

    assert_eq!(only(&report).object, key.as_str());
    assert_eq!(only(&report).checkpoints, [site.id(2)]);
    assert_eq!(site.checkpointer.survey(&site.docs).await.unwrap().unreadable.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partial_checkpoints_are_counted_and_say_so_themselves_and_so_do_their_snapshots() {
    let site = Site::new().await;
    site.tree.put("a", b"1".to_vec());
    site.tree.put("secret", b"2".to_vec());
    site.tree.make_unreadable("secret");
    let partial = site.full().await;
    let snapshot = site.checkpointer.snapshot(partial.id(), &NoProgress, &Cancel::new()).await.unwrap();

    for made in [&partial, &snapshot] {
        assert!(made.info.is_partial());
        assert_eq!(made.info.partial().as_deref(), Some("partial: 1 left out"));
    }
    let report = verify(&site, Depth::Exists).await;
    assert!(report.is_sound());
    assert_eq!((report.checkpoints, report.partial), (2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bills_records_and_packs_are_each_read_once() {
    let site = many_packs().await;
    site.tree.put("more", noise(300_000, 1_000));
    site.incremental().await;
    let checked = site.reopened().await;
    site.storage.take_reads();

    let report = verify(&checked, Depth::ReadAll).await;

    let mut whole: BTreeMap<String, u32> = BTreeMap::new();
    for (key, range) in site.storage.take_reads() {
        let is_pack = key.as_str().starts_with("packs/");
        let len = site.storage.keys(key.as_str()).await.first().map_or(0, |meta| meta.len);
        if !is_pack || range == (0..len) {
            *whole.entry(key.to_string()).or_default() += 1;
        }
    }
    assert!(whole.values().all(|reads| *reads == 1), "{whole:#?}");
    let read = |prefix: &str| whole.keys().filter(|key| key.starts_with(prefix)).count() as u64;
    assert_eq!((read("bills/"), read("sessions/"), read("packs/")), (2, 2, report.packs));
}
