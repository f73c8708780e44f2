//! Looking into a log without opening it for writing: nothing is changed, no lock is taken.

use std::io;
use std::iter::FusedIterator;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rpo_core::frame::Entries;
use rpo_core::{Disk, DiskFile, LogEntry, LogId, Lsn, Position};

use crate::catalog::SegmentView;
use crate::error::WalError;
use crate::feed::Reading;
use crate::format::FormatError;
use crate::recover::{examine, examine_one, unseen};
use crate::report::RecoveryReport;
use crate::scan::{self, Expect, Next, Window};
use crate::segment::{BLOCK_BYTES, Bound, Prepared};
use crate::survey::survey;

/// The entries of a log's directory, read without opening it.
#[derive(Debug)]
pub struct DirReplay {
    report: RecoveryReport,
    segments: std::vec::IntoIter<Arc<SegmentView>>,
    reading: Option<(Arc<SegmentView>, Window, Expect)>,
    entries: Option<Entries>,
    end: Lsn,
}

/// Reads the log in `dir` as opening it would find it, frames not proven to be durable included. Nothing is changed, no lock
/// is taken: the end of a log that is being written may be seen torn.
///
/// # Errors
/// As [`Log::open`](crate::Log::open), but for the lock; kind `NotFound` if there is no log.
pub fn replay_dir(disk: &Arc<dyn Disk>, dir: &Path) -> Result<DirReplay, WalError> {
    let mut survey = survey(&**disk, dir)?;
    let findings = examine(dir, &mut survey, Position::START, Lsn::ZERO, Reading::Direct, &mut unseen)?;
    let Some(log) = survey.log().or_else(|| findings.live.first().map(|l| l.found.prepared.log)) else {
        return Err(WalError::io(
            "open",
            dir,
            io::Error::new(io::ErrorKind::NotFound, "there is no log here"),
        ));
    };
    let report = report(log, &findings, survey.notes);
    let views: Vec<_> = findings.live.into_iter().map(|l| l.view).collect();
    Ok(DirReplay { end: report.end.lsn, report, segments: views.into_iter(), reading: None, entries: None })
}

fn report(log: LogId, findings: &crate::recover::Findings, notes: Vec<String>) -> RecoveryReport {
    let at = &findings.end;
    RecoveryReport {
        log,
        fresh: findings.live.is_empty(),
        start: findings.start,
        end: Position { epoch: at.epoch, lsn: at.lsn, sequence: Some(at.seq) },
        segments: findings.live.len() as u64,
        frames: findings.frames,
        commits: findings.commits,
        proven: findings.proven,
        repersisted_bytes: 0,
        tail: findings.tail.clone(),
        notes,
    }
}

impl DirReplay {
    /// What opening the log would find.
    pub fn report(&self) -> &RecoveryReport {
        &self.report
    }

    fn advance(&mut self) -> Result<Option<LogEntry>, WalError> {
        loop {
            if let Some(entry) = self.entries.as_mut().and_then(Iterator::next) {
                return Ok(Some(entry));
            }
            let Some((view, window, at)) = &mut self.reading else {
                let Some(view) = self.segments.next() else { return Ok(None) };
                let at = view.before_lsn(view.bound.base_lsn);
                let window = Window::new(Arc::clone(&view.file));
                self.reading = Some((view, window, at));
                continue;
            };
            if at.lsn >= view.end().unwrap_or(self.end) {
                self.reading = None;
                continue;
            }
            match scan::next(window, at, view.capacity).map_err(|e| WalError::io("read", view.path(), e))? {
                Next::Frame(frame) => {
                    *at = at.after(frame.head());
                    self.entries = Some(frame.entries());
                }
                _ => {
                    let what = "a frame that was read before reads otherwise now".to_owned();
                    return Err(WalError::Corrupt {
                        file: view.path(),
                        lsn: at.lsn,
                        offset: at.offset,
                        what,
                    });
                }
            }
        }
    }
}

impl Iterator for DirReplay {
    type Item = Result<LogEntry, WalError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        if next.is_err() {
            self.reading = None;
            self.segments = Vec::new().into_iter();
        }
        next.transpose()
    }
}

impl FusedIterator for DirReplay {}

/// Reads a whole segment file given as bytes, as if it were the newest of its log; for fuzzing and for looking at evidence.
/// Returns how it ends and its entries.
///
/// # Errors
/// Kind `Corrupt` or `Unsupported`; never panics.
pub fn inspect_segment(image: &Bytes) -> Result<(RecoveryReport, Vec<LogEntry>), WalError> {
    let path = PathBuf::from("image");
    let bad = |source| WalError::Format { file: PathBuf::from("image"), source };
    let short = |needed: usize| bad(FormatError::Short { needed: needed as u64, found: image.len() as u64 });
    let block_1 = image.first_chunk::<BLOCK_BYTES>().ok_or_else(|| short(BLOCK_BYTES))?;
    let block_2 = image[BLOCK_BYTES..].first_chunk::<BLOCK_BYTES>().ok_or_else(|| short(2 * BLOCK_BYTES))?;
    let prepared = Prepared::decode(block_1).map_err(bad)?;
    let bound = Bound::decode(block_2).map_err(bad)?;
    let file: Arc<dyn DiskFile> = Arc::new(Image(image.clone()));
    let findings = examine_one(path, file, prepared, bound)?;
    let report = report(prepared.log, &findings, Vec::new());
    let views: Vec<_> = findings.live.into_iter().map(|l| l.view).collect();
    let end = report.end.lsn;
    let replay = DirReplay { end, report, segments: views.into_iter(), reading: None, entries: None };
    let report = replay.report.clone();
    Ok((report, replay.collect::<Result<_, _>>()?))
}

/// A file in memory, for reading only.
#[derive(Debug)]
struct Image(Bytes);

impl DiskFile for Image {
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        let read = buffer.len().min(self.0.len() - from);
        buffer[..read].copy_from_slice(&self.0[from..from + read]);
        Ok(read)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
