//! From durable frames to a sealed, spooled batch: done once, the same bytes for every copy.

use rpo_core::{ErrorKind, Position};

use super::{LogShipper, Shared};
use crate::ReplicationError;
use crate::batch::{BatchHead, Digest, compress};
use crate::decide::{LogView, Seal, held, next_seal, releasable};
use crate::frames::{RunSummary, summarize};
use crate::object::{Place, format_error, seal_batch};
use crate::source::SourceFault;
use crate::spool::Tip;

/// What sealing did in one step.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Made {
    pub(crate) sealed: u32,
    pub(crate) heartbeat: bool,
    pub(crate) blocked: bool,
}

impl LogShipper {
    pub(super) fn seal_new(&mut self) -> Result<Made, ReplicationError> {
        let mut made = Made::default();
        while made.sealed < self.shared.config.batches_per_step {
            let Shared { spool, parts, config, .. } = &*self.shared;
            let tip = spool.tip().expect("the spool has an origin once it is settled");
            let view = LogView {
                durable: parts.source.durable(),
                tip,
                spool_bytes: self.shared.held_bytes(),
                spool_bytes_max: config.spool_bytes_max.get(),
                idle_rounds: self.idle_rounds,
            };
            match next_seal(&view) {
                Seal::Batch => {
                    self.shared.seal_one(tip)?;
                    made.sealed += 1;
                    self.idle_rounds = 0;
                }
                Seal::Rest => {
                    self.idle_rounds += u32::from(made.sealed == 0 && !made.heartbeat);
                    break;
                }
                Seal::Heartbeat => {
                    self.idle_rounds = 0;
                    made.heartbeat = true;
                    parts.source.heartbeat().map_err(|fault| self.shared.log_fault(fault))?;
                }
                Seal::Full => {
                    made.blocked = true;
                    break;
                }
                Seal::Rewound => return Err(self.rewound(tip.position)),
            }
        }
        Ok(made)
    }
}

impl Shared {
    /// Up to which number as many copies as the policy asks for have everything.
    pub(super) fn kept_by_copies(&self) -> u64 {
        let policy = self.parts.copies.policy();
        let next = self.board.next_numbers();
        let counted: Vec<_> =
            next.iter().filter(|(name, _)| policy.counts(name)).map(|(_, next)| *next).collect();
        releasable(&counted, policy.needed(), true)
    }

    /// What counts against the bound of the spool.
    pub(super) fn held_bytes(&self) -> u64 {
        held(self.spool.extent().1, self.spool.newest(), self.kept_by_copies())
    }

    fn log_fault(&self, fault: SourceFault) -> ReplicationError {
        ReplicationError::Log { stream: self.stream.clone(), why: fault.message, kind: fault.kind }
    }

    /// Reads frames after `tip`, checks them, seals them once and spools them.
    fn seal_one(&self, tip: Tip) -> Result<(), ReplicationError> {
        let wanted = usize::try_from(self.config.batch_bytes.get()).expect("validated to be at most 64 MiB");
        let source = &self.parts.source;
        let frames = source.read_frames(tip.position.lsn, wanted).map_err(|fault| self.log_fault(fault))?;
        let durable = source.durable(); // asked after reading: what became durable meanwhile may be among the frames
        let wrong = |why: String| ReplicationError::Log {
            stream: self.stream.clone(),
            why,
            kind: ErrorKind::Corrupt,
        };
        let run = summarize(&frames, self.epoch)
            .map_err(|error| wrong(format!("frames at {}: {error}", tip.position)))?;
        self.check_run(&run, &tip, durable).map_err(wrong)?;
        let number = tip.number + 1;
        let place = Place { stream: &self.stream, epoch: self.epoch, number };
        let format = |source| format_error(&place.key(), source);
        let (body, codec) = compress(&frames, self.config.codec).map_err(format)?;
        let head = BatchHead {
            stream: self.stream.clone(),
            number,
            previous: tip.digest,
            from: run.from,
            to: run.to,
            first_time: run.first_time,
            last_time: run.last_time,
            codec,
            plain_bytes: frames.len() as u64,
            frames: run.frames,
            points: run.points,
            transactions: run.transactions,
            prev_chain: run.prev_chain,
            last_chain: run.last_chain,
            sealed_at: self.parts.clock.wall(),
            writer: self.writer,
            parent: None,
            gap_before: tip.newest_gap,
        };
        let sealed = seal_batch(&self.keys, &*self.parts.entropy, &head, &body)?;
        self.spool.keep(Tip::of(&head, Digest::of(&sealed)), &sealed, self.config.spools_durably())?;
        self.board.change_spool(|told| {
            told.sealed += 1;
            told.plain_bytes += head.plain_bytes;
            told.stored_bytes += sealed.len() as u64;
        });
        Ok(())
    }

    /// The run must go on exactly where the last batch ended: a log that was put back and written anew does not.
    fn check_run(&self, run: &RunSummary, tip: &Tip, durable: Position) -> Result<(), String> {
        if run.from != tip.position {
            return Err(format!(
                "frames begin at {}, the last batch ended at {}: the log was replaced",
                run.from, tip.position
            ));
        }
        if run.to.lsn > durable.lsn {
            return Err(format!("frames reach {}, durable is only {durable}", run.to));
        }
        if run.first_time < tip.time {
            return Err(format!("times step back from {} to {} at {}", tip.time, run.first_time, run.from));
        }
        Ok(())
    }
}
