#![doc = include_str!("record.md")]

use std::io;
use std::path::Path;

use rpo_core::ports::Access;
use rpo_core::{Disk, Epoch, Timestamp};
use serde::{Deserialize, Serialize};

use super::error::RepairError;
use super::plan::RepairPlan;

pub use rpo_wal::repair::RECORD_NAME;
/// The format written.
const FORMAT_NOW: u32 = 1;
/// A record longer than this is not read: it holds plans, not data.
const RECORD_BYTES_MAX: u64 = 64 << 20;

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Line<'a> {
    format: u32,
    event: &'a str,
    time: Timestamp,
    begins_epoch: Option<Epoch>,
    plan: Option<&'a RepairPlan>,
    evidence: &'a [String],
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Seen {
    format: u32,
    event: String,
    begins_epoch: Option<Epoch>,
}

/// Appends a line, durably.
pub(super) fn write(
    disk: &dyn Disk,
    dir: &Path,
    event: &str,
    time: Timestamp,
    plan: &RepairPlan,
    evidence: &[String],
) -> Result<(), RepairError> {
    let path = dir.join(RECORD_NAME);
    let fail = |op| {
        let path = path.clone();
        move |source| RepairError::Record { path, op, source }
    };
    let told = (event != "done").then_some(plan);
    let line =
        Line { format: FORMAT_NOW, event, time, begins_epoch: plan.begins_epoch, plan: told, evidence };
    let mut text = serde_json::to_vec(&line).map_err(|e| fail("write")(io::Error::other(e)))?;
    text.push(b'\n');
    let (file, new) = match disk.open(&path, Access::ReadWrite) {
        Ok(file) => (file, false),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            (disk.create_new(&path).map_err(fail("create"))?, true)
        }
        Err(e) => return Err(fail("open")(e)),
    };
    let at = file.len().map_err(fail("length"))?;
    let mut last = [b'\n'];
    if at > 0 {
        file.read_at(&mut last, at - 1).map_err(fail("read"))?;
    }
    if last != [b'\n'] {
        text.insert(0, b'\n'); // a crash cut the last line short: it stays as it is
    }
    file.write_at(&text, at).map_err(fail("write"))?;
    file.sync().map_err(fail("sync"))?;
    if new {
        disk.sync_dir(dir).map_err(fail("sync of the directory"))?;
    }
    Ok(())
}

/// The epoch that an accepted loss was to begin, if the repair that accepted it did not come to its end.
///
/// # Errors
/// The record could not be read.
pub fn pending_epoch(disk: &dyn Disk, dir: &Path) -> Result<Option<Epoch>, RepairError> {
    let path = dir.join(RECORD_NAME);
    let fail = |op| {
        let path = path.clone();
        move |source| RepairError::Record { path, op, source }
    };
    let file = match disk.open(&path, Access::Read) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(fail("open")(e)),
    };
    let len = file.len().map_err(fail("length"))?;
    let from = len.saturating_sub(RECORD_BYTES_MAX);
    let mut text = vec![0; usize::try_from(len - from).unwrap_or(0)];
    let read = file.read_at(&mut text, from).map_err(fail("read"))?;
    let lines = text[..read].split(|byte| *byte == b'\n');
    let mut seen = lines.filter_map(|line| serde_json::from_slice::<Seen>(line).ok());
    let last = seen.next_back();
    if last.as_ref().is_some_and(|seen| seen.format != FORMAT_NOW) {
        let why = "its last line is of another format; next: use the version of rpo that wrote it";
        return Err(fail("read")(io::Error::new(io::ErrorKind::Unsupported, why)));
    }
    Ok(last.filter(|seen| seen.event == "begin").and_then(|seen| seen.begins_epoch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_in_the_spec() {
        let (time, evidence) = (Timestamp::EPOCH, &[][..]);
        let line = Line { format: FORMAT_NOW, event: "done", time, begins_epoch: None, plan: None, evidence };
        let value = serde_json::to_value(&line).unwrap();
        for field in value.as_object().unwrap().keys() {
            assert!(include_str!("record.md").contains(&format!("| `{field}` |")), "record.md lacks {field}");
        }
    }
}
