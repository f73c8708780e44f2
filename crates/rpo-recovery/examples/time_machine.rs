//! A directory, two checkpoints of it, and a restore of what it was at a moment between them.
//!
//! `cargo run -p rpo-recovery --example time_machine`

use std::error::Error;
use std::sync::Arc;

use rpo_checkpoint::{Cancel, CheckpointKind, CheckpointOptions, Checkpointer, NoProgress};
use rpo_core::SourceId;
use rpo_core::target::{Bound, Target};
use rpo_os::{OsClock, OsEntropy};
use rpo_recovery::{PlanOptions, Recovery};
use rpo_repository::{InitOptions, Repository, RepositoryParts};
use rpo_source_dir::{DirectoryOptions, DirectoryRestorer, DirectorySource, RestoreOptions};
use rpo_storage::MemoryStorage;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let scratch = tempfile::tempdir()?;
    let (folder, copy) = (scratch.path().join("docs"), scratch.path().join("docs-as-it-was"));
    std::fs::create_dir(&folder)?;
    let clock = Arc::new(OsClock::new());
    let parts = RepositoryParts {
        storage: Arc::new(MemoryStorage::new()),
        clock: clock.clone(),
        entropy: Arc::new(OsEntropy::new()),
    };
    let repository = Repository::init(parts, InitOptions::unencrypted()).await?;
    let checkpointer = Checkpointer::new(repository.clone(), CheckpointOptions::default());
    let docs = SourceId::new("docs")?;

    let mut finished = Vec::new();
    for text in ["Dear Ada,", "(overwritten by mistake)"] {
        std::fs::write(folder.join("letter"), text)?;
        let source = Arc::new(DirectorySource::new(&folder, clock.clone(), DirectoryOptions::default()));
        let kind = CheckpointKind::Incremental;
        let made = checkpointer.checkpoint(&docs, source, kind, &NoProgress, &Cancel::new()).await?;
        finished.push(made.info.finished);
    }

    let recovery = Recovery::load(&repository, &docs, None).await?;
    let target = Target::Time(finished[1]);
    let plan = recovery.plan(&target, Bound::Exclusive, PlanOptions::default()).await?;
    print!("{plan}");

    let into = Arc::new(DirectoryRestorer::new(&copy, &OsEntropy::new(), RestoreOptions::default())?);
    let outcome = recovery.execute(&plan, into, &NoProgress, &Cancel::new()).await?;
    println!("restored  {} entries: {:?}", outcome.entries, std::fs::read_to_string(copy.join("letter"))?);
    Ok(())
}
