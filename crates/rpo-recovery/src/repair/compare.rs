//! Comparing a local log with an archive copy, frame by frame and byte by byte.

use futures::TryStreamExt;
use rpo_core::frame::Frame;
use rpo_core::{Lsn, Position};
use rpo_wal::WalError;
use rpo_wal::repair::{Condition, Run};
use serde::Serialize;

use super::ask::{RepairCopy, history_of, own_epoch};
use super::error::RepairError;

/// Differences named at most; all are counted.
const NAMED_MAX: usize = 20;

/// A place where log and copy do not agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Difference {
    /// Where.
    pub lsn: Lsn,
    /// What differs.
    pub what: String,
}

/// What a log and a copy have in common.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Comparison {
    /// The copy.
    pub copy: String,
    /// Frames that are the same, byte for byte.
    pub same_frames: u64,
    /// Frames that differ.
    pub differing_frames: u64,
    /// The first of them.
    pub differences: Vec<Difference>,
    /// Stretches that are readable only here.
    pub only_local: Vec<(Lsn, Lsn)>,
    /// Stretches that only the copy has, within the log or after it; what was released from here before it began is left out.
    pub only_archive: Vec<(Lsn, Lsn)>,
    /// The newest epoch of the copy, if another writer took over there.
    pub fenced_by: Option<u32>,
    /// Where the copy could not be read on.
    pub trouble: Option<String>,
    /// Where the copy ends.
    pub archive_end: Option<Position>,
}

impl Comparison {
    /// Whether nothing that both have differs, and the copy could be read.
    pub fn agrees(&self) -> bool {
        self.differing_frames == 0 && self.trouble.is_none()
    }

    fn differs(&mut self, lsn: Lsn, what: String) {
        self.differing_frames += 1;
        if self.differences.len() < NAMED_MAX {
            self.differences.push(Difference { lsn, what });
        }
    }
}

struct Local {
    runs: std::vec::IntoIter<Run>,
    frames: Option<Box<dyn Iterator<Item = Result<Frame, WalError>> + Send>>,
    next: Option<Frame>,
}

impl Local {
    fn advance(&mut self) -> Result<(), WalError> {
        loop {
            if let Some(frame) = self.frames.as_mut().and_then(Iterator::next) {
                self.next = Some(frame?);
                return Ok(());
            }
            match self.runs.next() {
                Some(run) => self.frames = Some(Box::new(run.frames())),
                None => {
                    self.next = None;
                    return Ok(());
                }
            }
        }
    }
}

fn extend(ranges: &mut Vec<(Lsn, Lsn)>, from: Lsn, to: Lsn) {
    match ranges.last_mut().filter(|last| last.1 == from) {
        Some(last) => last.1 = to,
        None => ranges.push((from, to)),
    }
}

/// Compares what is readable here with what `copy` holds.
///
/// # Errors
/// The copy holds nothing of this stream or cannot be asked; the local log cannot be read.
pub async fn compare(condition: &Condition, copy: &RepairCopy) -> Result<Comparison, RepairError> {
    let own = own_epoch(condition);
    let coverage = copy.archive.coverage().await?;
    let mut comparison = Comparison { copy: copy.name.clone(), ..Comparison::default() };
    let tip = coverage.current().tip;
    comparison.fenced_by = (tip > own).then_some(tip.get());
    let runs: Vec<Run> = condition.runs().cloned().collect();
    let mut local = Local { runs: runs.into_iter(), frames: None, next: None };
    local.advance()?;
    let begins = condition.pieces.first().map(|piece| match piece {
        rpo_wal::repair::Piece::Run(run) => run.from.lsn,
        rpo_wal::repair::Piece::Gap(gap) => gap.from.lsn,
    });
    if let Some(history) = history_of(&coverage.histories, own) {
        comparison.archive_end = Some(history.to());
        let mut frames = copy.archive.frames(history, begins.unwrap_or(Lsn::ZERO)).await?;
        loop {
            match frames.try_next().await {
                Ok(Some(frame)) if frame.head().epoch <= own => meet(&mut comparison, &mut local, &frame)?,
                Ok(_) => break,
                Err(error) => {
                    comparison.trouble = Some(error.to_string());
                    break;
                }
            }
        }
    }
    while let Some(frame) = local.next.take() {
        if comparison.trouble.is_none() {
            extend(&mut comparison.only_local, frame.head().base_lsn, frame.head().end_lsn());
        }
        local.advance()?;
    }
    Ok(comparison)
}

/// Puts a frame of the copy beside what is here.
fn meet(comparison: &mut Comparison, local: &mut Local, theirs: &Frame) -> Result<(), RepairError> {
    let head = theirs.head();
    while let Some(ours) = local.next.as_ref().filter(|ours| ours.head().base_lsn < head.base_lsn) {
        extend(&mut comparison.only_local, ours.head().base_lsn, ours.head().end_lsn());
        local.advance()?;
    }
    match local.next.as_ref().filter(|ours| ours.head().base_lsn == head.base_lsn) {
        Some(ours) if ours.bytes() == theirs.bytes() => {
            comparison.same_frames += 1;
            local.advance()?;
        }
        Some(ours) => {
            let what = format!(
                "here a frame of epoch {} to {}, committed {}; there one of epoch {} to {}, committed {}",
                ours.head().epoch,
                ours.head().end_lsn(),
                ours.head().commit_time,
                head.epoch,
                head.end_lsn(),
                head.commit_time
            );
            comparison.differs(head.base_lsn, what);
            local.advance()?;
        }
        None => extend(&mut comparison.only_archive, head.base_lsn, head.end_lsn()),
    }
    Ok(())
}
