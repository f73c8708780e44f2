//! The whole way: a directory on disk, a repository, a directory on disk.
#![allow(clippy::unwrap_used)] // what tests share is tests, too

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rpo_checkpoint::{
    Cancel, CheckpointKind, CheckpointOptions, CheckpointSummary, Checkpointer, Depth, NoProgress,
};
use rpo_core::{CheckpointId, Restorer, SourceId};
use rpo_os::{OsClock, OsEntropy};
use rpo_repository::{InitOptions, Repository, RepositoryParts};
use rpo_source_dir::{DirectoryOptions, DirectoryRestorer, DirectorySource, RestoreOptions, compare_trees};
use rpo_storage::MemoryStorage;

struct Site {
    scratch: tempfile::TempDir,
    checkpointer: Checkpointer,
    docs: SourceId,
}

impl Site {
    async fn new() -> Self {
        let (clock, entropy) = (Arc::new(OsClock::new()), Arc::new(OsEntropy::new()));
        let parts = RepositoryParts { storage: Arc::new(MemoryStorage::new()), clock, entropy };
        let repository = Repository::init(parts, InitOptions::unencrypted()).await.unwrap();
        let checkpointer = Checkpointer::new(repository, CheckpointOptions::default());
        Self { scratch: tempfile::tempdir().unwrap(), checkpointer, docs: SourceId::new("docs").unwrap() }
    }

    fn folder(&self) -> std::path::PathBuf {
        self.scratch.path().join("docs")
    }

    async fn checkpoint(&self, kind: CheckpointKind) -> CheckpointSummary {
        // Nothing here is older than the start of the run: with the real granularity nothing would be trusted.
        let options = DirectoryOptions {
            granularity: Duration::ZERO,
            exclude: BTreeSet::new(),
            ..DirectoryOptions::default()
        };
        let source = Arc::new(DirectorySource::new(self.folder(), Arc::new(OsClock::new()), options));
        self.checkpointer.checkpoint(&self.docs, source, kind, &NoProgress, &Cancel::new()).await.unwrap()
    }

    async fn restore(&self, id: &CheckpointId, name: &str) -> std::path::PathBuf {
        let to = self.scratch.path().join(name);
        let into =
            Arc::new(DirectoryRestorer::new(&to, &OsEntropy::new(), RestoreOptions::default()).unwrap());
        self.checkpointer.restore(id, into.clone(), &NoProgress, &Cancel::new()).await.unwrap();
        into.finish_base(None).unwrap();
        into.publish().unwrap();
        to
    }
}

fn furnish(folder: &Path) {
    fs::create_dir_all(folder.join("a/deep/er")).unwrap();
    for n in 0..200usize {
        fs::write(folder.join(format!("a/file-{n}")), format!("content {n} ").repeat(n * 3)).unwrap();
    }
    fs::write(folder.join("a/deep/er/large"), "0123456789abcdef".repeat(200_000)).unwrap();
    fs::write(folder.join("empty"), "").unwrap();
    symlink("a/file-3", folder.join("link")).unwrap();
    fs::hard_link(folder.join("a/file-7"), folder.join("z-second-name")).unwrap();
    fs::set_permissions(folder.join("a/file-9"), fs::Permissions::from_mode(0o600)).unwrap();
    let sparse = fs::File::create(folder.join("sparse")).unwrap();
    sparse.set_len(3 << 20).unwrap();
    std::os::unix::fs::FileExt::write_at(&sparse, b"in the middle", 1 << 20).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_comes_back_as_it_was_at_each_checkpoint() {
    let site = Site::new().await;
    furnish(&site.folder());
    let first = site.checkpoint(CheckpointKind::Full).await;
    let copy = site.restore(first.id(), "copy-1").await;
    assert_eq!(compare_trees(site.folder(), &copy), []);

    fs::write(site.folder().join("a/file-5"), "changed").unwrap();
    fs::remove_file(site.folder().join("a/file-6")).unwrap();
    fs::remove_dir_all(site.folder().join("a/deep")).unwrap();
    fs::write(site.folder().join("new"), "new").unwrap();
    let second = site.checkpoint(CheckpointKind::Incremental).await;
    assert_eq!(second.info.kind, CheckpointKind::Incremental);
    assert!(second.info.statistics.unchanged > 150, "{:?}", second.info.statistics);

    let copy_2 = site.restore(second.id(), "copy-2").await;
    assert_eq!(compare_trees(site.folder(), &copy_2), []);
    let again = site.restore(first.id(), "copy-1-again").await;
    assert_eq!(compare_trees(&copy, &again), []);
    let snapshot = site.checkpointer.snapshot(second.id(), &NoProgress, &Cancel::new()).await.unwrap();
    let merged = site.restore(snapshot.id(), "copy-3").await;
    assert_eq!(compare_trees(&copy_2, &merged), []);
    let report = site.checkpointer.verify(None, Depth::ReadAll, &NoProgress, &Cancel::new()).await.unwrap();
    assert!(report.is_sound(), "{report:?}");
}
