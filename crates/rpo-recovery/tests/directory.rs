//! Stories of a directory: what is planned is what comes back, or nothing is in place and the error says what is hit.
#![allow(clippy::unwrap_used)] // a test may fail so

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rpo_checkpoint::{
    Cancel, CheckpointInfo, CheckpointKind, CheckpointOptions, Checkpointer, Labels, NoProgress, Phase,
    Progress, Progressed,
};
use rpo_core::target::{Bound, Target};
use rpo_core::{ErrorKind, SourceId};
use rpo_os::{OsClock, OsDisk, OsEntropy};
use rpo_recovery::{Outcome, Plan, PlanOptions, Recovery, RecoveryError, Refusal};
use rpo_repository::{InitOptions, Repository, RepositoryParts};
use rpo_source_dir::{
    DirectoryOptions, DirectoryRestorer, DirectorySource, RestoreOptions, compare_trees, partials_beside,
};
use rpo_storage::LocalStorage;

/// A directory with three checkpoints and a snapshot of the second, and copies of it that were made by `cp`.
struct Site {
    scratch: tempfile::TempDir,
    repository: Repository,
    docs: SourceId,
    infos: Vec<CheckpointInfo>,
}

impl Site {
    async fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let storage =
            Arc::new(LocalStorage::open(scratch.path().join("repo"), Arc::new(OsDisk::new())).unwrap());
        let parts =
            RepositoryParts { storage, clock: Arc::new(OsClock::new()), entropy: Arc::new(OsEntropy::new()) };
        let repository = Repository::init(parts, InitOptions::unencrypted()).await.unwrap();
        let docs = SourceId::new("docs").unwrap();
        let mut site = Self { scratch, repository, docs, infos: Vec::new() };
        let folder = site.path("docs");
        furnish(&folder);
        site.checkpoint(CheckpointKind::Full, &[]).await;

        fs::write(folder.join("a/file-5"), "changed").unwrap();
        fs::remove_file(folder.join("a/file-6")).unwrap();
        fs::remove_dir_all(folder.join("a/deep")).unwrap();
        site.checkpoint(CheckpointKind::Incremental, &["before-upgrade"]).await;

        fs::write(folder.join("upgraded"), "yes").unwrap();
        fs::write(folder.join("large"), noise(900_000, 2)).unwrap();
        site.checkpoint(CheckpointKind::Incremental, &[]).await;

        let id = site.infos[1].id.clone();
        let snapshot = site.checkpointer().snapshot(&id, &NoProgress, &Cancel::new()).await.unwrap();
        site.infos.push(snapshot.info);
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn checkpointer(&self) -> Checkpointer {
        Checkpointer::new(self.repository.clone(), CheckpointOptions::default())
    }

    async fn checkpoint(&mut self, kind: CheckpointKind, tags: &[&str]) {
        let folder = self.path("docs");
        let source = DirectorySource::new(&folder, Arc::new(OsClock::new()), DirectoryOptions::default());
        let labels = Labels { tags: tags.iter().map(ToString::to_string).collect(), ..Labels::default() };
        let (none, nobody) = (&NoProgress, Cancel::new());
        let checkpointer = self.checkpointer();
        let made =
            checkpointer.checkpoint_labelled(&self.docs, Arc::new(source), kind, labels, none, &nobody);
        self.infos.push(made.await.unwrap().info);
        assert_eq!(self.infos.last().unwrap().kind, kind);
        let kept = self.state(self.infos.len());
        assert!(Command::new("cp").arg("-a").arg(folder).arg(kept).status().unwrap().success());
    }

    /// The directory as it was at a checkpoint.
    fn state(&self, number: usize) -> PathBuf {
        self.path(&format!("state-{number}"))
    }

    async fn recovery(&self) -> Recovery {
        Recovery::load(&self.repository, &self.docs, None).await.unwrap()
    }

    async fn plan(&self, target: &str, bound: Bound) -> Result<Plan, RecoveryError> {
        let target: Target = target.parse().unwrap();
        self.recovery().await.plan(&target, bound, PlanOptions::default()).await
    }

    async fn restore(&self, target: &str, bound: Bound, to: &Path) -> Result<Outcome, RecoveryError> {
        self.restore_with(target, bound, to, &NoProgress, &Cancel::new()).await
    }

    async fn restore_with(
        &self,
        target: &str,
        bound: Bound,
        to: &Path,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<Outcome, RecoveryError> {
        let plan = self.plan(target, bound).await?;
        let into = Arc::new(DirectoryRestorer::new(to, &OsEntropy::new(), RestoreOptions::default())?);
        self.recovery().await.execute(&plan, into, progress, cancel).await
    }

    async fn refusal(&self, target: &str, bound: Bound) -> Refusal {
        match self.plan(target, bound).await {
            Err(RecoveryError::Refused(refusal)) => refusal,
            other => panic!("{target} was not refused: {other:?}"),
        }
    }

    /// Flips a byte in the middle of a stored object.
    fn flip(&self, object: &Path) {
        let mut bytes = fs::read(object).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        fs::remove_file(object).unwrap();
        fs::write(object, bytes).unwrap();
    }

    fn assert_nothing_at(&self, to: &Path) {
        assert!(!to.exists(), "something is in place");
        assert_eq!(partials_beside(to).unwrap(), Vec::<PathBuf>::new(), "what was built is still there");
    }
}

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut out = vec![0; len];
    rpo_testkit::sim::Rng::new(seed).fill(&mut out);
    out
}

fn furnish(folder: &Path) {
    fs::create_dir_all(folder.join("a/deep/er")).unwrap();
    for n in 0..30usize {
        fs::write(folder.join(format!("a/file-{n}")), format!("content {n} ").repeat(n * 3)).unwrap();
    }
    fs::write(folder.join("a/deep/er/large"), noise(1_500_000, 1)).unwrap();
    fs::write(folder.join("empty"), "").unwrap();
    symlink("a/file-3", folder.join("link")).unwrap();
    fs::hard_link(folder.join("a/file-7"), folder.join("z-second-name")).unwrap();
}

#[tokio::test]
async fn every_target_gives_the_directory_as_it_was_then() {
    let site = Site::new().await;
    let [first, second, third, _] = [0, 1, 2, 3].map(|n| site.infos[n].finished);
    let (inclusive, exclusive) = (Bound::Inclusive, Bound::Exclusive);
    let later = third.saturating_add(std::time::Duration::from_secs(60));
    let cases = [
        ("latest".to_owned(), inclusive, 3), // not the snapshot, which is younger and holds an older state
        ("checkpoint:docs@1".to_owned(), inclusive, 1),
        ("checkpoint:docs@2".to_owned(), inclusive, 2),
        ("checkpoint:docs@3".to_owned(), exclusive, 3),
        ("checkpoint:docs@4".to_owned(), inclusive, 2),
        ("tag:before-upgrade".to_owned(), inclusive, 2),
        (format!("time:{first}"), inclusive, 1),
        (format!("time:{second}"), exclusive, 1),
        (format!("time:{}", site.infos[1].started), inclusive, 1), // the second was not complete yet
        (format!("time:{second}"), inclusive, 2),
        (format!("time:{third}"), exclusive, 2),
        (format!("time:{third}"), inclusive, 3),
        (format!("time:{later}"), inclusive, 3),
    ];
    for (place, (target, bound, state)) in cases.iter().enumerate() {
        let to = site.path(&format!("restored-{place}"));
        let outcome = site.restore(target, *bound, &to).await.unwrap();
        assert_eq!(compare_trees(site.state(*state), &to), [], "{target} {bound}");
        assert_eq!((outcome.position, outcome.commits), (None, 0));
        let again = site.path(&format!("again-{place}"));
        site.restore(target, *bound, &again).await.unwrap();
        assert_eq!(compare_trees(&to, &again), [], "{target} {bound}: twice");
    }
}

#[tokio::test]
async fn a_target_that_cannot_be_had_is_refused_with_the_nearest() {
    let site = Site::new().await;
    let [first, newest] = [&site.infos[0], &site.infos[2]];
    let at = |info: &CheckpointInfo| format!("{}, checkpoint {}", info.finished, info.id);

    let early = site.refusal(&format!("time:{}", first.started), Bound::Inclusive).await;
    let exclusive = site.refusal(&format!("time:{}", first.finished), Bound::Exclusive).await;
    let unknown = site.refusal("checkpoint:docs@9", Bound::Inclusive).await;
    let tag = site.refusal("tag:after-upgrade", Bound::Inclusive).await;

    let text = format!(
        "time:{} cannot be restored: no checkpoint was complete by then; the nearest after it is {}",
        first.started,
        at(first)
    );
    assert_eq!(early.to_string(), text);
    assert!(exclusive.to_string().contains("(exclusive) cannot be restored"), "{exclusive}");
    let nearest = format!("there is no checkpoint docs@9; the nearest before it is {}", at(newest));
    assert_eq!(unknown.to_string(), format!("checkpoint:docs@9 cannot be restored: {nearest}"));
    let newest_is = format!("named were: before-upgrade; the newest that can be restored is {}", at(newest));
    assert!(tag.to_string().ends_with(&newest_is), "{tag}");
    let latest = site.refusal("latest", Bound::Exclusive).await;
    assert!(latest.reason.contains("names no commit that could be left out"), "{latest}");
    for position in ["seq:3", "lsn:100", "txn:7"] {
        let refusal = site.refusal(position, Bound::Inclusive).await;
        assert!(refusal.reason.contains("has no log"), "{refusal}");
    }
    assert_eq!(RecoveryError::from(early).kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_directory_in_use_is_refused_and_nothing_in_it_is_touched() {
    let site = Site::new().await;
    let to = site.path("in-use");
    fs::create_dir(&to).unwrap();
    fs::write(to.join("mine"), "do not touch").unwrap();
    let before = site.path("before");
    assert!(Command::new("cp").arg("-a").arg(&to).arg(&before).status().unwrap().success());

    let error = site.restore("latest", Bound::Inclusive, &to).await.unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(compare_trees(&before, &to), []);
    assert_eq!(partials_beside(&to).unwrap(), Vec::<PathBuf>::new());

    // And one that somebody fills while the restore runs.
    let busy = site.path("busy");
    let somebody = Hook(|_: Progressed| {
        let _ = fs::create_dir(&busy);
        fs::write(busy.join("mine"), "do not touch").unwrap();
    });
    let error =
        site.restore_with("latest", Bound::Inclusive, &busy, &somebody, &Cancel::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert_eq!(fs::read_dir(&busy).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(busy.join("mine")).unwrap(), "do not touch");
    assert_eq!(partials_beside(&busy).unwrap(), Vec::<PathBuf>::new());
}

struct Hook<F: Fn(Progressed) + Send + Sync>(F);

impl<F: Fn(Progressed) + Send + Sync> Progress for Hook<F> {
    fn update(&self, progressed: Progressed) {
        (self.0)(progressed);
    }
}

#[tokio::test]
async fn a_cancelled_restore_leaves_nothing() {
    let site = Site::new().await;
    let to = site.path("restored");
    let cancelled = Cancel::new();
    cancelled.cancel();
    let early =
        site.restore_with("latest", Bound::Inclusive, &to, &NoProgress, &cancelled).await.unwrap_err();
    assert!(matches!(early, RecoveryError::Cancelled), "{early:?}");
    site.assert_nothing_at(&to);

    let cancel = Cancel::new();
    let in_the_middle = Hook(|progressed: Progressed| {
        if progressed.phase == Phase::Restore {
            cancel.cancel();
        }
    });
    let late = site.restore_with("checkpoint:docs@1", Bound::Inclusive, &to, &in_the_middle, &cancel).await;
    assert!(matches!(late, Err(RecoveryError::Cancelled)), "{late:?}");
    site.assert_nothing_at(&to);
    site.restore("checkpoint:docs@1", Bound::Inclusive, &to).await.unwrap();
    assert_eq!(compare_trees(site.state(1), &to), []);
}

#[tokio::test]
async fn a_damaged_pack_is_named_and_nothing_is_in_place() {
    let site = Site::new().await;
    let to = site.path("restored");
    let bill = site.repository.bill(1).await.unwrap().unwrap();
    let pack = bill.objects.iter().max_by_key(|object| object.len).unwrap().key.clone();

    site.flip(&site.path("repo").join(pack.as_str()));
    let error = site.restore("checkpoint:docs@1", Bound::Inclusive, &to).await.unwrap_err();

    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains(pack.as_str()), "{error}");
    assert!(error.to_string().contains("a/deep/er/large"), "{error}");
    site.assert_nothing_at(&to);
}

#[tokio::test]
async fn a_damaged_manifest_is_named_and_never_passed_over_in_silence() {
    let site = Site::new().await;
    let to = site.path("restored");
    let manifest = "checkpoints/docs/0000000000000003";

    site.flip(&site.path("repo").join(manifest));

    let error = site.restore("checkpoint:docs@3", Bound::Inclusive, &to).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains(manifest), "{error}");
    site.assert_nothing_at(&to);

    // The newest state cannot be read: stopping short of it is no success, and the one before it is named.
    let refused = site.restore("latest", Bound::Inclusive, &to).await.unwrap_err();
    assert!(refused.to_string().contains(manifest), "{refused}");
    assert!(refused.to_string().contains("docs@4"), "{refused}");
    site.assert_nothing_at(&to);
    site.restore("checkpoint:docs@4", Bound::Inclusive, &to).await.unwrap();
    assert_eq!(compare_trees(site.state(2), &to), []);
}

#[tokio::test]
async fn a_plan_says_the_same_to_people_and_programs() {
    let site = Site::new().await;
    let plan = site.plan("latest", Bound::Inclusive).await.unwrap();
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["base"]["id"], serde_json::json!("docs@3"), "{json}");
    assert!(plan.to_string().contains("base      docs@3"), "{plan}");
    assert!(!plan.to_string().contains("warning"), "{plan}");
}

#[tokio::test]
async fn a_time_after_everything_known_says_that_what_changed_since_is_in_no_checkpoint() {
    let site = Site::new().await;
    let newest = site.infos.iter().map(|info| info.finished).max().unwrap();
    let later = newest.saturating_add(std::time::Duration::from_secs(1));

    let after = site.plan(&format!("time:{later}"), Bound::Inclusive).await.unwrap();
    let at = site.plan(&format!("time:{newest}"), Bound::Inclusive).await.unwrap();

    assert!(after.notes.iter().any(|note| note.contains(&newest.to_string())), "{after}");
    assert_eq!(at.notes, Vec::<String>::new());
}
