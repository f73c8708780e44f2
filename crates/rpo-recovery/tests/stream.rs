//! Stories of a program with a log: restores to any target are exact, from either copy, in either history, or refused
//! with points that can be had. The oracle knows only what was acknowledged.
#![allow(clippy::unwrap_used)] // a test may fail so

mod support;

use std::time::Duration;

use rpo_core::target::{Bound, Target};
use rpo_core::{Epoch, ErrorKind, Lsn, Position, Sequence, Timestamp};
use rpo_recovery::{PlanOptions, RecoveryError};
use rpo_replication::{Fork, MergeConfig, Merger};
use support::{Site, judge, judge_random, refused, restore};

fn seq(count: usize) -> Target {
    Target::Sequence(Sequence::new(count as u64))
}

#[tokio::test]
async fn every_target_is_restored_to_exactly_the_commits_it_means() {
    for seed in [1, 2] {
        let (mut site, mut writer) = Site::new(seed).await;
        site.work(&mut writer, 40).await;
        assert!(
            writer.oracle.bases.len() >= 4 && writer.oracle.tags.len() >= 3,
            "a scene with too little in it"
        );
        assert!(site.batches(0, Epoch::FIRST).await >= 6);

        let recovery = site.recovery((seed % 2) as usize).await;

        judge_random(&recovery, &writer.oracle, &mut site.rng, 120).await.unwrap();
        for id in writer.oracle.bases.iter().map(|(id, _)| id) {
            judge(&recovery, &writer.oracle, &Target::Checkpoint(id.clone()), Bound::Inclusive, true)
                .await
                .unwrap();
        }
        judge(&recovery, &writer.oracle, &Target::Latest, Bound::Inclusive, true).await.unwrap();
        judge(&recovery, &writer.oracle, &seq(0), Bound::Inclusive, true).await.unwrap();
        let names: Vec<_> =
            recovery.named_points().await.unwrap().into_iter().filter_map(|p| p.name).collect();
        assert!(
            names.iter().map(|name| name.as_str()).eq(writer
                .oracle
                .tags
                .iter()
                .map(|(name, _)| name.as_str()))
        );
    }
}

#[tokio::test]
async fn the_second_copy_alone_is_enough() {
    let (mut site, mut writer) = Site::new(3).await;
    site.work(&mut writer, 25).await;

    site.lose_home().await;

    let recovery = site.recovery(0).await;
    judge_random(&recovery, &writer.oracle, &mut site.rng, 60).await.unwrap();
}

#[tokio::test]
async fn what_is_not_there_is_refused_with_points_that_are() {
    let (mut site, mut writer) = Site::new(4).await;
    site.work(&mut writer, 20).await;
    let (recovery, oracle) = (site.recovery(0).await, &writer.oracle);
    let (commits, first, last) =
        (oracle.issued.len(), &oracle.issued[0], &oracle.issued[oracle.issued.len() - 1]);
    let end = recovery.catalogue().ranges().last().unwrap().to.lsn.get();
    let after = |time: Timestamp| time.saturating_add(Duration::from_secs(3_600));

    let past = [
        format!("seq:{}", commits + 1),
        format!("lsn:{}", end + 1),
        format!("time:{}", after(last.time)),
        "txn:999999".to_owned(),
        "tag:never".to_owned(),
        "checkpoint:bank@99".to_owned(),
    ];
    for target in past {
        let refusal = refused(&recovery, oracle, &target).await;
        let nearest = refusal.nearest_before.clone().expect(&target);
        assert_eq!(nearest.position.unwrap().sequence, Some(Sequence::new(commits as u64)), "{refusal}");
    }
    let early =
        refused(&recovery, oracle, &format!("time:{}", first.time.saturating_sub(Duration::from_secs(60))))
            .await;
    assert!(early.reason.contains("before everything") && early.nearest_before.is_none(), "{early}");
    assert_eq!(early.nearest_after.unwrap().position.unwrap(), Position::START);
    let names = refused(&recovery, oracle, "tag:never").await;
    assert!(oracle.tags.iter().all(|(name, _)| names.reason.contains(name.as_str())), "{names}");
}

#[tokio::test]
async fn a_lost_batch_costs_what_was_in_it_and_never_gives_another_state() {
    for (seed, copy) in [(5, 0), (6, 1)] {
        let (mut site, mut writer) = Site::new(seed).await;
        site.work(&mut writer, 40).await;
        let oracle = &writer.oracle;
        let middle = site.batches(copy, Epoch::FIRST).await / 2;
        let (from, to) = site.batch(copy, Epoch::FIRST, middle).await;
        let ended_by = |lsn: Lsn| oracle.issued.iter().filter(|commit| commit.end <= lsn).count();
        let (before, after) = (ended_by(from), ended_by(to));
        let base = oracle.bases.iter().map(|(_, commits)| *commits).find(|commits| *commits >= after);
        let base = base.expect("a base after the gap");

        site.delete_batch(copy, Epoch::FIRST, middle).await;
        let recovery = site.recovery(copy).await;

        assert_eq!(recovery.catalogue().gaps().len(), 1);
        let mut inside = 0;
        for count in 0..=oracle.issued.len() {
            if count <= before || count >= base {
                judge(&recovery, oracle, &seq(count), Bound::Inclusive, true).await.unwrap();
            } else if !oracle.bases.iter().any(|(_, commits)| *commits == count) {
                let refusal = refused(&recovery, oracle, &format!("seq:{count}")).await;
                assert!(refusal.nearest_before.is_some() && refusal.nearest_after.is_some(), "{refusal}");
                assert_eq!(
                    count < after,
                    refusal.reason.contains(&format!("gap of the log, from lsn {from} ")),
                    "{refusal}"
                );
                inside += 1;
            }
        }
        assert!(inside > 0);
        judge(&recovery, oracle, &Target::Latest, Bound::Inclusive, true).await.unwrap();
        let (mut exact, mut refusals) = (0, 0);
        for _ in 0..120 {
            let (target, bound) = oracle.random_target(&mut site.rng);
            let Some(count) = oracle.count(&target, bound) else { continue };
            match recovery.plan(&target, bound, PlanOptions::default()).await {
                Ok(_) => judge(&recovery, oracle, &target, bound, true).await.unwrap(),
                Err(RecoveryError::Refused(refusal)) => {
                    assert!(
                        before <= count && count <= base,
                        "{target} {bound} ({count} commits): {refusal}"
                    );
                    refusals += 1;
                    continue;
                }
                Err(error) => panic!("{target}: {error}"),
            }
            exact += 1;
        }
        assert!(exact > 20 && refusals > 0, "{exact} restored, {refusals} refused");
    }
}

#[tokio::test]
async fn a_damaged_batch_is_named_and_gives_nothing() {
    let (mut site, mut writer) = Site::new(7).await;
    site.work(&mut writer, 20).await;
    let oracle = &writer.oracle;
    // A batch that leads to some commit which no checkpoint holds, with a checkpoint after it.
    let mut hit = None;
    for number in 1..=site.batches(1, Epoch::FIRST).await {
        let (from, to) = site.batch(1, Epoch::FIRST, number).await;
        let ended_by = |lsn: Lsn| oracle.issued.iter().filter(|commit| commit.end <= lsn).count();
        let (before, after) = (ended_by(from), ended_by(to));
        let bases = || oracle.bases.iter().map(|(_, commits)| *commits);
        if after > before
            && bases().any(|commits| commits > after)
            && !bases().any(|c| c > before && c <= before + 1)
        {
            hit = Some((number, before + 1));
        }
    }
    let (middle, count) = hit.expect("such a batch");
    let key = rpo_replication::batch_key(&site.stream, Epoch::FIRST, middle);
    let storage = site.specs[1].repository.storage().clone();
    let mut bytes = rpo_storage::Storage::read_all(&*storage, &key, 1 << 20).await.unwrap().to_vec();
    let at = bytes.len() - 60;
    bytes[at] ^= 1;
    storage.delete(&key).await.unwrap();
    storage.create(&key, bytes.into()).await.unwrap();

    let recovery = site.recovery(1).await;
    let result = restore(&recovery, &seq(count), Bound::Inclusive, PlanOptions::default()).await;

    let error = result.map(|(plan, ..)| plan).expect_err("a state from a damaged batch");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains(key.as_str()), "{error}");
    judge(&recovery, &writer.oracle, &Target::Latest, Bound::Inclusive, true).await.unwrap();
}

#[tokio::test]
async fn a_takeover_makes_two_histories_and_each_is_exact() {
    let (mut site, mut old) = Site::new(8).await;
    site.work(&mut old, 24).await;
    let kept = old.oracle.issued.len() * 2 / 3;
    let fork = Position {
        epoch: Epoch::FIRST,
        lsn: old.oracle.issued[kept - 1].end,
        sequence: Some(Sequence::new(kept as u64)),
    };

    let mut new = site.successor(&old, Fork::At(fork), kept).await;
    site.work(&mut new, 16).await;

    for copy in [0, 1] {
        let current = site.recovery(copy).await;
        judge_random(&current, &new.oracle, &mut site.rng, 60).await.unwrap();
        judge(&current, &new.oracle, &Target::Latest, Bound::Inclusive, true).await.unwrap();
        let left = site.recovery_of(copy, 1).await.unwrap();
        judge_random(&left, &old.oracle, &mut site.rng, 60).await.unwrap();
        judge(&left, &old.oracle, &Target::Latest, Bound::Inclusive, true).await.unwrap();

        // What the old writer did past the fork is in the one and not in the other.
        let mut gone: Vec<Target> = old.oracle.issued[kept..]
            .iter()
            .filter_map(|commit| commit.transaction)
            .map(Target::Transaction)
            .collect();
        let past = old.oracle.bases.iter().filter(|(_, commits)| *commits > kept);
        gone.extend(past.map(|(id, _)| Target::Checkpoint(id.clone())));
        let past = old.oracle.tags.iter().filter(|(_, before)| *before > kept);
        gone.extend(past.map(|(name, _)| Target::Named(name.parse().unwrap())));
        assert!(gone.iter().any(|target| matches!(target, Target::Checkpoint(_))), "a base past the fork");
        for target in gone {
            refused(&current, &new.oracle, &target.to_string()).await;
            judge(&left, &old.oracle, &target, Bound::Inclusive, true).await.unwrap();
        }
    }
    let error = site.recovery_of(0, 7).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("epoch 7; there are: 2, 1"), "{error}");
}

#[tokio::test]
async fn what_was_never_shipped_is_not_in_the_history_that_goes_on() {
    let (mut site, mut old) = Site::new(9).await;
    site.work(&mut old, 12).await;
    let shipped = old.oracle.issued.len();
    site.commit_group(&mut old);
    site.checkpoint(&mut old).await; // ahead of the archive

    let mut new = site.successor(&old, Fork::Highest, shipped).await;
    site.work(&mut new, 12).await;

    let current = site.recovery(1).await;
    judge_random(&current, &new.oracle, &mut site.rng, 60).await.unwrap();
    judge(&current, &new.oracle, &Target::Latest, Bound::Inclusive, true).await.unwrap();
    let (ahead, _) = old.oracle.bases.last().unwrap();
    refused(&current, &new.oracle, &format!("checkpoint:{ahead}")).await;
}

#[tokio::test]
async fn a_checkpoint_ahead_of_the_log_is_the_latest() {
    let (mut site, mut writer) = Site::new(10).await;
    site.work(&mut writer, 8).await;
    let shipped = writer.oracle.issued.len();
    site.commit_group(&mut writer);
    site.commit_group(&mut writer);
    site.checkpoint(&mut writer).await;
    let commits = writer.oracle.issued.len();

    let recovery = site.recovery(1).await;

    judge(&recovery, &writer.oracle, &Target::Latest, Bound::Inclusive, true).await.unwrap();
    judge(&recovery, &writer.oracle, &seq(commits), Bound::Inclusive, true).await.unwrap();
    judge(&recovery, &writer.oracle, &seq(shipped), Bound::Inclusive, true).await.unwrap();
    let between = refused(&recovery, &writer.oracle, &format!("seq:{}", shipped + 1)).await;
    assert!(between.nearest_before.is_some() && between.nearest_after.is_some(), "{between}");
}

#[tokio::test]
async fn without_its_log_only_the_checkpoints_are_promised() {
    let (mut site, mut writer) = Site::new(11).await;
    site.work(&mut writer, 16).await;
    site.delete_log(1).await;

    let recovery = site.recovery(1).await;

    let (newest, commits) = writer.oracle.bases.last().unwrap();
    let (plan, _, bytes) =
        restore(&recovery, &Target::Latest, Bound::Inclusive, PlanOptions::default()).await.unwrap();
    assert_eq!(plan.reached.checkpoint.as_ref(), Some(newest));
    assert_eq!(bytes, writer.oracle.state(*commits).encode());
    // Nobody can tell any more what was committed by then.
    refused(&recovery, &writer.oracle, &format!("time:{}", writer.oracle.issued[commits - 1].time)).await;
}

#[tokio::test]
async fn a_wall_clock_that_was_put_back_moves_no_boundary() {
    let (mut site, mut writer) = Site::new(12).await;
    site.work(&mut writer, 10).await;
    site.clock.put_back(Duration::from_secs(7_200));
    site.work(&mut writer, 10).await;

    let recovery = site.recovery(0).await;

    let times: Vec<_> = writer.oracle.issued.iter().map(|commit| commit.time).collect();
    assert!(times.is_sorted());
    let checkpoints = recovery.catalogue().bases();
    assert!(
        checkpoints.iter().any(|base| base.finished < times[0]),
        "a checkpoint that seems older than the log"
    );
    for time in times {
        for bound in [Bound::Inclusive, Bound::Exclusive] {
            judge(&recovery, &writer.oracle, &Target::Time(time), bound, true).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_snapshot_of_a_chain_is_a_base_like_any_other() {
    let (mut site, mut writer) = Site::new(13).await;
    site.work(&mut writer, 12).await;
    let (id, commits) = writer.oracle.bases.last().unwrap().clone();
    let nobody = rpo_checkpoint::Cancel::new();
    let made = site.checkpointer(0).snapshot(&id, &rpo_checkpoint::NoProgress, &nobody).await.unwrap();
    writer.oracle.bases.push((made.id().clone(), commits));

    let recovery = site.recovery(0).await;

    judge(&recovery, &writer.oracle, &Target::Checkpoint(made.id().clone()), Bound::Inclusive, true)
        .await
        .unwrap();
    judge_random(&recovery, &writer.oracle, &mut site.rng, 30).await.unwrap();
}

#[tokio::test]
async fn a_new_writer_with_a_slow_clock_moves_no_boundary() {
    let (mut site, mut old) = Site::new(14).await;
    site.work(&mut old, 12).await;
    let shipped = old.oracle.issued.len();
    site.clock.put_back(Duration::from_secs(8));
    let mut new = site.successor(&old, Fork::Highest, shipped).await;
    site.work(&mut new, 12).await;

    // The log was told where its parent's times ended, and stamps nothing before that.
    assert!(new.oracle.issued.iter().map(|commit| commit.time).is_sorted(), "commit times stepped back");
    let recovery = site.recovery(1).await;

    judge_random(&recovery, &new.oracle, &mut site.rng, 40).await.unwrap();
    for time in new.oracle.issued.iter().map(|commit| commit.time) {
        for bound in [Bound::Inclusive, Bound::Exclusive] {
            judge(&recovery, &new.oracle, &Target::Time(time), bound, true).await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_has_a_log_is_never_restored_without_a_part_of_it() {
    let (mut site, mut writer) = Site::new(5).await;
    site.work(&mut writer, 20).await;
    let recovery = site.recovery(0).await;
    let base = Target::Checkpoint(writer.oracle.bases[0].0.clone());

    for target in [Target::Latest, base] {
        let options = PlanOptions { skip_damaged: true, ..PlanOptions::default() };
        match recovery.plan(&target, Bound::Inclusive, options).await {
            Err(error @ RecoveryError::Unsupported(_)) => assert_eq!(error.kind(), ErrorKind::Unsupported),
            other => panic!("{target}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_merged_archive_restores_to_exactly_the_same_states() {
    let (mut site, mut writer) = Site::new(11).await;
    site.work(&mut writer, 40).await;
    let before = site.batches(0, Epoch::FIRST).await;
    let mut config = MergeConfig::default();
    config.target_bytes = "64KiB".parse().unwrap();
    config.parts_min = 2;
    (config.patience, config.grace) = ("0s".parse().unwrap(), "0s".parse().unwrap());
    let (clock, entropy) = (site.clock.clone(), site.entropy.clone());
    let mut merger = Merger::new(site.copies(), site.stream.clone(), clock, entropy, config).unwrap();
    let mut deleted = 0;
    for _ in 0..10 {
        deleted += merger.step().await.unwrap().deleted;
    }
    assert!(deleted >= before, "{deleted} parts of {before} batches in two copies went");

    for copy in [0, 1] {
        let recovery = site.recovery(copy).await;
        judge_random(&recovery, &writer.oracle, &mut site.rng, 60).await.unwrap();
        judge(&recovery, &writer.oracle, &Target::Latest, Bound::Inclusive, true).await.unwrap();
        judge(&recovery, &writer.oracle, &seq(1), Bound::Inclusive, true).await.unwrap();
    }
}
