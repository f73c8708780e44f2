//! Asking archive copies for what a log lacks; every frame is checked, none is kept in memory.

use futures::TryStreamExt;
use rpo_core::Epoch;
use rpo_core::frame::FrameHead;
use rpo_replication::{Archive, History};
use rpo_wal::repair::{Chain, Condition, Gap, GapEnd};
use serde::Serialize;

/// A copy that is asked.
#[derive(Debug, Clone)]
pub struct RepairCopy {
    /// How it is called in plans.
    pub name: String,
    /// The archive in it.
    pub archive: Archive,
}

/// Frames that follow on each other and were written to one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Part {
    /// Their epoch.
    pub epoch: Epoch,
    /// Low half of the salt of that segment.
    pub salt: u32,
    /// Where they begin.
    pub from: Chain,
    /// Where they end.
    pub to: Chain,
    /// Bytes with heads and padding.
    pub bytes: u64,
    /// How many there are.
    pub frames: u64,
}

/// A part that a copy has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Fill {
    /// Which copy, in the order in which they were given.
    pub copy: usize,
    /// What it has.
    pub part: Part,
}

/// What the copies have of one gap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Answer {
    /// The gap.
    pub gap: Gap,
    /// What fills it, in order, from its beginning on without a hole.
    pub fills: Vec<Fill>,
    /// Whether all of it is there, and what follows joins.
    pub filled: bool,
    /// What is wrong with what copies hold of it, or why one could not be asked.
    pub troubles: Vec<String>,
}

impl Answer {
    /// How far the fills reach.
    pub fn reached(&self) -> Chain {
        self.fills.last().map_or(self.gap.from, |fill| fill.part.to)
    }
}

/// What the copies have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Asked {
    /// For each gap of the log, in order; and at the end, if the log itself ends whole, what follows on it in a copy.
    pub answers: Vec<Answer>,
    /// The newest epoch that a copy knows of.
    pub newest_epoch: Option<Epoch>,
}

/// The newest epoch that anything here shows.
pub(super) fn own_epoch(condition: &Condition) -> Epoch {
    let runs = condition.runs().map(|run| run.to.epoch);
    let files = condition.segments().filter_map(|file| file.base).map(|base| base.epoch);
    let gaps = condition.gaps().map(|gap| gap.from.epoch);
    runs.chain(files).chain(gaps).max().unwrap_or(Epoch::FIRST)
}

/// Asks `copies` for every gap of the log, and for what they hold past its end.
pub async fn ask(condition: &Condition, copies: &[RepairCopy]) -> Asked {
    let own = own_epoch(condition);
    let (mut histories, mut troubles, mut newest_epoch) = (Vec::new(), Vec::new(), None);
    for copy in copies {
        match copy.archive.coverage().await {
            Ok(coverage) => {
                let newest =
                    coverage.histories.iter().map(|h| h.tip).chain(coverage.damaged.keys().copied()).max();
                newest_epoch = newest_epoch.max(newest);
                let found = history_of(&coverage.histories, own).cloned();
                if found.is_none() {
                    troubles.push(format!("copy {}: holds nothing of epoch {own} or before", copy.name));
                }
                histories.push(found);
            }
            Err(error) => {
                troubles.push(format!("copy {}: {error}", copy.name));
                histories.push(None);
            }
        }
    }
    let mut gaps: Vec<Gap> = condition.gaps().cloned().collect();
    let open = gaps.last().is_some_and(|gap| matches!(gap.to, GapEnd::AtLeast(_)));
    if let Some(end) = condition.end().filter(|_| !open) {
        let why = "the end of the local log".to_owned();
        gaps.push(Gap { from: end, to: GapEnd::AtLeast(end.lsn), file: None, offset: None, why });
    }
    let mut answers = Vec::new();
    for gap in gaps {
        let mut answer = Answer { gap, fills: Vec::new(), filled: false, troubles: troubles.clone() };
        fill(&mut answer, copies, &histories, own).await;
        answers.push(answer);
    }
    Asked { answers, newest_epoch }
}

/// The history that a log of `epoch` belongs to: what was written in that epoch, also past where a newer one left it.
pub(super) fn history_of(histories: &[History], epoch: Epoch) -> Option<&History> {
    let named = histories.iter().find(|history| history.tip == epoch);
    let through = || histories.iter().find(|history| history.legs.iter().any(|leg| leg.epoch == epoch));
    let older = || histories.iter().filter(|history| history.tip < epoch).max_by_key(|history| history.tip);
    named.or_else(through).or_else(older)
}

/// Takes from the copies in turn as long as one of them goes on.
async fn fill(answer: &mut Answer, copies: &[RepairCopy], histories: &[Option<History>], own: Epoch) {
    let mut moved = true;
    while moved && !answer.filled {
        moved = false;
        for (index, (copy, history)) in copies.iter().zip(histories).enumerate() {
            let Some(history) = history else { continue };
            let from = answer.reached();
            let (parts, trouble) = take(copy, history, from, answer.gap.to, own).await;
            if let Some(why) = trouble {
                let why = format!("copy {}: {why}", copy.name);
                if !answer.troubles.contains(&why) {
                    answer.troubles.push(why);
                }
            }
            moved |= !parts.is_empty();
            answer.fills.extend(parts.into_iter().map(|part| Fill { copy: index, part }));
            answer.filled = is_filled(answer);
            if answer.filled && matches!(answer.gap.to, GapEnd::Before(_)) {
                return;
            }
        }
    }
    // Where the beginning is not known, only what joins at its end is proven to belong here.
    if answer.gap.from.chain.is_none() && !answer.filled {
        answer.fills.clear();
    }
}

fn is_filled(answer: &Answer) -> bool {
    let reached = answer.reached();
    match answer.gap.to {
        GapEnd::Before(next) => reached.joins(&next),
        GapEnd::AtLeast(least) if answer.gap.file.is_none() => reached.lsn >= least,
        // A frame stood there, so at least one has to come.
        GapEnd::AtLeast(least) => reached.lsn >= least && reached.lsn > answer.gap.from.lsn,
    }
}

/// The frames a copy has from `from` on, as far as they follow on each other and fit before `to`.
async fn take(
    copy: &RepairCopy,
    history: &History,
    from: Chain,
    to: GapEnd,
    own: Epoch,
) -> (Vec<Part>, Option<String>) {
    let (mut parts, mut at): (Vec<Part>, Chain) = (Vec::new(), from);
    let past = |at: &Chain| matches!(to, GapEnd::Before(next) if at.lsn >= next.lsn);
    let mut frames = match copy.archive.frames(history, from.lsn).await {
        Ok(frames) => frames,
        Err(error) => return (parts, Some(error.to_string())),
    };
    while !past(&at) {
        let head = match frames.try_next().await {
            Ok(Some(frame)) if frame.head().epoch <= own => *frame.head(),
            Ok(_) => break,
            Err(error) => return (parts, Some(error.to_string())),
        };
        if at.lsn == from.lsn && head.base_lsn > from.lsn {
            return (parts, Some(format!("holds nothing of lsn {} to {}", from.lsn, head.base_lsn)));
        }
        match at.after(&head) {
            Ok(next) => {
                add(&mut parts, &head, at, next);
                at = next;
            }
            Err(what) => {
                let why =
                    format!("its frame at lsn {} does not follow on what is here: {what}", head.base_lsn);
                return (parts, Some(why));
            }
        }
    }
    match to {
        GapEnd::Before(next) if past(&at) && !at.joins(&next) => {
            let why = format!(
                "what it holds up to lsn {} is of another history: the log goes on from other frames",
                at.lsn
            );
            (Vec::new(), Some(why))
        }
        _ => (parts, None),
    }
}

fn add(parts: &mut Vec<Part>, head: &FrameHead, from: Chain, to: Chain) {
    let bytes = head.frame_len() as u64;
    match parts.last_mut().filter(|part| part.salt == head.salt && part.epoch == head.epoch) {
        Some(part) => {
            part.to = to;
            part.bytes += bytes;
            part.frames += 1;
        }
        None => parts.push(Part { epoch: head.epoch, salt: head.salt, from, to, bytes, frames: 1 }),
    }
}
