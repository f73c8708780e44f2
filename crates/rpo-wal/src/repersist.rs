//! Writing again what may be in the cache only: the unproven end of the log, copied into a new segment.

use std::io;
use std::sync::Arc;

use rpo_core::LogId;

use crate::catalog::SegmentView;
use crate::error::WalError;
use crate::flush::Current;
use crate::keep::give_name;
use crate::open::Opening;
use crate::prepare::prepare_spare;
use crate::recover::Findings;
use crate::scan::{self, Expect, Next};
use crate::segment::{BLOCK_BYTES, Bound, FRAMES_OFFSET};
use crate::survey::Spare;

impl Opening<'_> {
    /// Copies the frames whose durability is not proven into a new segment, byte for byte, syncs them, then binds it: the
    /// cache may show what the disk lacks, and a second sync of the same file would prove nothing.
    pub(crate) fn repersist(
        &self,
        findings: &mut Findings,
        log: LogId,
        spares: &mut Vec<Spare>,
    ) -> Result<(Option<Current>, u64), WalError> {
        let (Some(from), Some(newest)) = (findings.unproven, findings.live.last()) else {
            return Ok((None, 0));
        };
        let source = &newest.found;
        let len = findings.end.offset - from.offset;
        let needed = len + FRAMES_OFFSET;
        let spare = match spares.pop() {
            Some(spare) if spare.prepared.capacity >= needed => spare,
            other => {
                spares.extend(other);
                let capacity = self.config.segment_bytes.get().max(source.prepared.capacity);
                let spare = prepare_spare(self.parts, self.dir, log, capacity);
                let spare = spare.map_err(|e| match e.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => WalError::NoSpace {
                        dir: self.dir.to_owned(),
                        segment_bytes: self.config.segment_bytes,
                    },
                    _ => self.io("preparing a segment")(e),
                })?;
                self.sync_dir()?;
                spare
            }
        };
        let fail = |op| {
            let path = spare.path.clone();
            move |e| WalError::io(op, path, e)
        };
        // Frames keep their bytes, so the copy has the salt of the source; the archive may hold them already.
        let mut prepared = spare.prepared;
        prepared.salt = source.prepared.salt;
        let bound = Bound {
            salt: prepared.salt,
            ordinal: findings.ordinal_max + 1,
            base_lsn: from.lsn,
            base_seq: from.seq,
            epoch: from.epoch,
            prev_chain: (findings.live.len() > 1
                || from.offset > FRAMES_OFFSET
                || source.bound.prev_chain.is_some())
            .then_some(from.chain),
        };
        spare.file.write_at(&prepared.encode(), 0).map_err(fail("write"))?;
        copy(&*source.file, from.offset, &*spare.file, len).map_err(fail("copy to"))?;
        spare.file.sync().map_err(fail("sync"))?;
        spare.file.write_at(&bound.encode(), BLOCK_BYTES as u64).map_err(fail("write"))?;
        spare.file.sync().map_err(fail("sync"))?;

        let view = SegmentView::new(bound, prepared.capacity, Arc::clone(&spare.file), spare.path.clone());
        let view = Arc::new(view);
        let first = Expect { offset: FRAMES_OFFSET, ..from };
        let replaced = from.lsn == source.bound.base_lsn;
        self.take_live(findings, &view, first, replaced)?;
        let offset = FRAMES_OFFSET + len;
        Ok((Some(Current { view, file: spare.file, offset, unnamed: false }), len))
    }

    /// Puts the copy behind, or in the place of, the newest segment, and names it durably.
    fn take_live(
        &self,
        findings: &mut Findings,
        view: &Arc<SegmentView>,
        first: Expect,
        replaced: bool,
    ) -> Result<(), WalError> {
        let mut window = scan::Window::new(Arc::clone(&view.file));
        let mut at = first;
        while at.lsn < findings.end.lsn {
            match scan::next(&mut window, &at, view.capacity).map_err(self.io("read back"))? {
                Next::Frame(frame) => {
                    view.note(at, frame.head().commit_time);
                    at = at.after(frame.head());
                }
                _ => {
                    let what = "a frame just copied does not read back as it was".to_owned();
                    return Err(WalError::Corrupt {
                        file: view.path(),
                        lsn: at.lsn,
                        offset: at.offset,
                        what,
                    });
                }
            }
        }
        findings.end.offset = at.offset;
        findings.ordinal_max += 1;
        if replaced {
            findings.replaced.extend(findings.live.pop().map(|l| l.found));
        } else if let Some(newest) = findings.live.last() {
            newest.view.finish(first.lsn);
        }
        self.move_aside(&findings.replaced);
        give_name(self.parts, self.dir, view).map_err(self.io("rename"))?;
        self.sync_dir()?;
        findings.copied = Some(Arc::clone(view));
        Ok(())
    }
}

fn copy(from: &dyn rpo_core::DiskFile, at: u64, to: &dyn rpo_core::DiskFile, len: u64) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    let mut done = 0;
    while done < len {
        let part = buffer.len().min(usize::try_from(len - done).unwrap_or(buffer.len()));
        let read = from.read_at(&mut buffer[..part], at + done)?;
        if read < part {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to.write_at(&buffer[..part], FRAMES_OFFSET + done)?;
        done += part as u64;
    }
    Ok(())
}
