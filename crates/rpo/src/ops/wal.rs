//! Looking into a log's directory, checking it, and mending it from the archives of copies.

use std::path::Path;

use rpo_core::{ByteSize, ErrorKind, Lsn, StreamId};
use rpo_crypto::Secret;
use rpo_recovery::repair::{self, Comparison, RepairCopy, RepairError, RepairOutcome, RepairPlan};
use rpo_replication::Archive;
use rpo_repository::{Repository, RepositoryParts};
use rpo_wal::repair::{Condition, examine_dir};
use rpo_wal::{LogParts, WalConfig, WalError};

use crate::{Error, SiteParts};

/// Everything in the log's directory, as far as it can be read. Takes no lock, changes nothing.
///
/// # Errors
/// There is no log, or the device failed; damage is no error.
pub fn wal_condition(parts: &SiteParts, dir: &Path) -> Result<Condition, Error> {
    let condition = examine_dir(&*parts.disk, dir, Lsn::ZERO)?;
    let holds = |condition: &Condition| condition.files.iter().any(|file| file.base.is_some());
    if condition.control == rpo_wal::repair::ControlState::Absent && !holds(&condition) {
        return Err(RepairError::NoLog(dir.to_owned()).into());
    }
    Ok(condition)
}

/// Opens the archive of `stream` in each repository, for reading. Without a name, the repository must hold exactly one.
///
/// # Errors
/// A repository cannot be opened, or the stream has to be named.
pub async fn wal_copies(
    parts: &SiteParts,
    urls: &[String],
    stream: Option<&StreamId>,
    secret: Option<&Secret>,
) -> Result<Vec<RepairCopy>, Error> {
    let mut copies = Vec::new();
    for url in urls {
        let (storage, clock, entropy) = (parts.store(url)?, parts.clock.clone(), parts.entropy.clone());
        let repository =
            Repository::open_read_only(RepositoryParts { storage, clock, entropy }, secret).await?;
        let stream = match stream {
            Some(stream) => stream.clone(),
            None => only_stream(&repository, url).await?,
        };
        copies.push(RepairCopy { name: url.clone(), archive: Archive::of(repository, stream) });
    }
    Ok(copies)
}

async fn only_stream(repository: &Repository, url: &str) -> Result<StreamId, Error> {
    let mut streams = repository.streams().await?;
    match streams.len() {
        1 => Ok(streams.swap_remove(0)),
        0 => Err(Error::NoCopies { why: format!("{url} holds no log archive"), kind: ErrorKind::NotFound }),
        _ => {
            let names: Vec<String> = streams.iter().map(ToString::to_string).collect();
            let why = format!("{url} holds the logs {}; next: say which with --stream", names.join(", "));
            Err(Error::NoCopies { why, kind: ErrorKind::Invalid })
        }
    }
}

/// Compares the log with each copy.
///
/// # Errors
/// A copy holds nothing of the stream, or cannot be asked.
pub async fn wal_compare(condition: &Condition, copies: &[RepairCopy]) -> Result<Vec<Comparison>, Error> {
    let mut comparisons = Vec::new();
    for copy in copies {
        comparisons.push(repair::compare(condition, copy).await?);
    }
    Ok(comparisons)
}

/// What a repair would do. Changes nothing.
///
/// # Errors
/// There is no log, or it cannot be read.
pub async fn wal_plan(parts: &SiteParts, dir: &Path, copies: &[RepairCopy]) -> Result<RepairPlan, Error> {
    let condition = wal_condition(parts, dir)?;
    let asked = repair::ask(&condition, copies).await;
    let pending = repair::pending_epoch(&*parts.disk, dir)?;
    Ok(repair::plan_repair(&condition, &asked, pending)?)
}

/// Carries the plan out; see [`repair::execute_repair`].
///
/// # Errors
/// As there.
pub async fn wal_repair(
    parts: &SiteParts,
    plan: &RepairPlan,
    copies: &[RepairCopy],
    accept_loss: bool,
) -> Result<RepairOutcome, Error> {
    let disk = parts.disk.clone();
    let log = LogParts { disk, clock: parts.clock.clone(), entropy: parts.entropy.clone() };
    let config = config_like(&*parts.disk, &plan.dir)?;
    Ok(repair::execute_repair(plan, copies, &log, &config, accept_loss).await?)
}

/// A configuration with segments of the size that the log has.
fn config_like(disk: &dyn rpo_core::Disk, dir: &Path) -> Result<WalConfig, WalError> {
    let condition = examine_dir(disk, dir, Lsn::ZERO)?;
    let sizes = condition.files.iter().filter(|file| file.created.is_some()).map(|file| file.len);
    for size in sizes {
        let mut config = WalConfig::zero_loss();
        config.segment_bytes = ByteSize::new(size);
        if size < 4 * config.frame_bytes_max.get() {
            config.frame_bytes_max = ByteSize::new(4096);
        }
        if config.validate().is_ok() {
            return Ok(config);
        }
    }
    Ok(WalConfig::zero_loss())
}
