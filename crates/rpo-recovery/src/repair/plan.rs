//! What a repair will do, decided before anything is touched. Pure.

use std::path::PathBuf;

use rpo_core::{Epoch, LogId, Position};
use rpo_wal::repair::{
    Condition, ControlState, FileState, Gap, GapEnd, NewControl, Piece, Run, SegmentSpec, Use,
};
use serde::Serialize;

use super::ask::{Answer, Asked, Part, own_epoch};
use super::error::RepairError;

/// Where frames of a new segment come from.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourcePart {
    /// From the damaged log itself: these are whole.
    Local(Run),
    /// From a copy.
    Copy {
        /// Which one, in the order in which they were given.
        copy: usize,
        /// What of it.
        part: Part,
    },
}

/// A segment to be built.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SegmentPlan {
    /// What it will be.
    #[serde(flatten)]
    pub spec: SegmentSpec,
    /// Its frames, in order.
    pub from: Vec<SourcePart>,
}

/// What nobody has: it is given up if that is accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Loss {
    /// Where the log will end: everything before it is whole.
    pub cut: Position,
    /// Where what nobody has ends, if that is known.
    pub unreadable_to: Option<Position>,
    /// At least up to here something was durable.
    pub at_least: u64,
    /// Stretches that are whole here and come after it: they go aside as evidence, because nothing joins them to the rest.
    pub set_aside: Vec<(Position, Position)>,
    /// Commits that are certainly given up, of both kinds; none if their number is not known.
    pub commits: Option<u64>,
}

/// What a repair will do.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RepairPlan {
    /// The directory.
    pub dir: PathBuf,
    /// Identity of the log.
    pub log: Option<LogId>,
    /// Each gap, and which copy has what of it.
    pub answers: Vec<Answer>,
    /// Segments to be built, in LSN order.
    pub segments: Vec<SegmentPlan>,
    /// Files that are not to be read any more, in the order in which they go aside.
    pub set_aside: Vec<PathBuf>,
    /// Whether the control file is written anew.
    #[serde(skip)]
    pub control: Option<NewControl>,
    /// What is lost.
    pub loss: Option<Loss>,
    /// The epoch in which the log goes on after a loss, so that no position is held twice.
    pub begins_epoch: Option<Epoch>,
    /// Where the log will end.
    pub end: Option<Position>,
    /// What else a person should know.
    pub notes: Vec<String>,
    /// What the log looked like when the plan was made.
    #[serde(skip)]
    pub(super) condition: Condition,
}

impl RepairPlan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
            && self.set_aside.is_empty()
            && self.control.is_none()
            && self.begins_epoch.is_none()
            && self.loss.is_none()
    }
}

/// Some part of the log that will be.
#[expect(clippy::large_enum_variant, reason = "a handful for each repair")]
enum Element<'a> {
    Kept(&'a FileState),
    Built(SourcePart, Part),
}

/// Decides what to do about the damage of a log, given what copies have. `pending` is an epoch that an interrupted repair
/// was to begin.
///
/// # Errors
/// `NoLog`, `NoOrdinal`.
pub fn plan_repair(
    condition: &Condition,
    asked: &Asked,
    pending: Option<Epoch>,
) -> Result<RepairPlan, RepairError> {
    let known = matches!(condition.control, ControlState::Valid { .. });
    if condition.segments().next().is_none() && !known {
        return Err(RepairError::NoLog(condition.dir.clone()));
    }
    let (elements, hole) = elements(condition, asked);
    let segments = segments(condition, &elements)?;
    let end = elements.last().map(|element| match element {
        Element::Kept(file) => run_of(condition, file).map(|run| run.to),
        Element::Built(_, part) => Some(part.to),
    });
    let end = end.flatten().map(|chain| chain.position());
    let loss = hole.map(|(index, answer)| loss(condition, index, answer));
    let mut plan = RepairPlan {
        dir: condition.dir.clone(),
        log: condition.log,
        answers: asked.answers.clone(),
        set_aside: set_aside(condition, &elements, loss.as_ref()),
        segments,
        control: None,
        begins_epoch: None,
        end: loss.as_ref().map(|loss| loss.cut).or(end),
        loss,
        notes: notes(condition, asked),
        condition: condition.clone(),
    };
    let own = own_epoch(condition);
    if plan.loss.is_some() {
        let newest = asked.newest_epoch.max(Some(own)).unwrap_or(own);
        plan.begins_epoch = Epoch::new(newest.get().saturating_add(1));
    } else if let Some(pending) = pending.filter(|pending| *pending > own) {
        plan.begins_epoch = Some(pending);
    }
    plan.control = control(condition, &plan, &elements, own);
    Ok(plan)
}

fn run_of<'a>(condition: &'a Condition, file: &FileState) -> Option<&'a Run> {
    condition.runs().filter(|run| run.file == file.path).last()
}

/// The log that will be, up to the first thing that nobody has.
fn elements<'a>(
    condition: &'a Condition,
    asked: &'a Asked,
) -> (Vec<Element<'a>>, Option<(usize, &'a Answer)>) {
    let mut elements = Vec::new();
    let mut answers = asked.answers.iter();
    for (index, piece) in condition.pieces.iter().enumerate() {
        match piece {
            Piece::Run(run) => match condition.segments().find(|file| file.path == run.file && file.whole) {
                Some(file) => elements.push(Element::Kept(file)),
                None => elements.push(Element::Built(SourcePart::Local(run.clone()), of_run(run))),
            },
            Piece::Gap(gap) => {
                let Some(answer) = answers.next() else { continue };
                debug_assert_eq!(&answer.gap, gap);
                elements.extend(answer.fills.iter().map(built));
                if !answer.filled {
                    return (elements, Some((index, answer)));
                }
            }
        }
    }
    // What a copy has past the end of a log that ends whole.
    elements.extend(answers.flat_map(|answer| &answer.fills).map(built));
    (elements, None)
}

fn built<'a>(fill: &super::ask::Fill) -> Element<'a> {
    Element::Built(SourcePart::Copy { copy: fill.copy, part: fill.part }, fill.part)
}

fn of_run(run: &Run) -> Part {
    let Run { from, to, bytes, frames, salt, .. } = *run;
    Part { epoch: to.epoch, salt, from, to, bytes, frames }
}

/// Groups what is to be built into segments: one for each stretch that was written to one.
fn segments(condition: &Condition, elements: &[Element<'_>]) -> Result<Vec<SegmentPlan>, RepairError> {
    let mut segments: Vec<SegmentPlan> = Vec::new();
    let mut goes_on = false;
    for element in elements {
        let Element::Built(source, part) = element else {
            goes_on = false;
            continue;
        };
        let same = |s: &&mut SegmentPlan| s.spec.salt as u32 == part.salt && s.spec.epoch == part.epoch;
        match segments.last_mut().filter(|_| goes_on).filter(same) {
            Some(segment) => {
                segment.spec.frame_bytes += part.bytes;
                segment.from.push(source.clone());
            }
            None => {
                let (base, epoch, salt) = (part.from, part.epoch, whole_salt(condition, part.salt));
                let spec = SegmentSpec { base, epoch, salt, ordinal: 0, frame_bytes: part.bytes };
                segments.push(SegmentPlan { spec, from: vec![source.clone()] });
            }
        }
        goes_on = true;
    }
    number(condition, elements, &mut segments)?;
    Ok(segments)
}

/// The salt of a segment, if one of the files still tells its upper half.
fn whole_salt(condition: &Condition, low: u32) -> u64 {
    let salts = condition.files.iter().filter_map(|file| file.salt);
    salts.into_iter().find(|salt| *salt as u32 == low).unwrap_or(u64::from(low))
}

/// Ordinals between those of the segments that stay, before and after.
fn number(
    condition: &Condition,
    elements: &[Element<'_>],
    segments: &mut [SegmentPlan],
) -> Result<(), RepairError> {
    let stays = |file: &&FileState| file.what == Use::Live && file.whole;
    let kept: Vec<(u64, u64)> = condition
        .files
        .iter()
        .filter(stays)
        .filter(|file| {
            elements.iter().any(|e| matches!(e, Element::Kept(kept) if kept.path == file.path))
                || run_of(condition, file).is_none()
        })
        .filter_map(|file| Some((file.base?.lsn.get(), file.ordinal?)))
        .collect();
    let mut last = 0;
    for segment in segments.iter_mut() {
        let base = segment.spec.base.lsn.get();
        let before = kept.iter().filter(|(at, _)| *at <= base).map(|(_, ordinal)| *ordinal).max();
        let after = kept.iter().filter(|(at, _)| *at > base).map(|(_, ordinal)| *ordinal).min();
        let ordinal = before.unwrap_or(0).max(last) + 1;
        if after.is_some_and(|after| ordinal >= after) {
            let dir = condition.dir.display().to_string();
            return Err(RepairError::NoOrdinal { dir, lsn: segment.spec.base.lsn });
        }
        segment.spec.ordinal = ordinal;
        last = ordinal;
    }
    Ok(())
}

/// What is not to be read any more: damaged files, and after a cut everything past it. The last of the log goes first, so
/// that it refuses to open until the last step.
fn set_aside(condition: &Condition, elements: &[Element<'_>], loss: Option<&Loss>) -> Vec<PathBuf> {
    let kept = |file: &FileState| {
        elements.iter().any(|e| matches!(e, Element::Kept(kept) if kept.path == file.path))
    };
    let past = |file: &FileState| {
        loss.zip(file.base).is_some_and(|(loss, base)| base.lsn >= loss.cut.lsn) && !kept(file)
    };
    let goes = |file: &&FileState| match file.what {
        Use::Live => (!file.whole || past(file)) && !kept(file),
        Use::Replaced => file.trouble.is_some() || past(file),
        Use::Foreign => true,
        _ => false,
    };
    let mut files: Vec<&FileState> = condition.files.iter().filter(goes).collect();
    files.sort_by_key(|file| std::cmp::Reverse(file.base.map(|base| base.lsn)));
    files.into_iter().map(|file| file.path.clone()).collect()
}

fn loss(condition: &Condition, index: usize, answer: &Answer) -> Loss {
    let cut = answer.reached();
    let after: Vec<&Run> = condition.pieces[index..]
        .iter()
        .filter_map(|piece| match piece {
            Piece::Run(run) => Some(run),
            Piece::Gap(_) => None,
        })
        .collect();
    let (unreadable_to, at_least) = match answer.gap.to {
        GapEnd::Before(next) => (Some(next.position()), next.lsn.get()),
        GapEnd::AtLeast(least) => (None, least.get()),
    };
    let last = after.last().map(|run| run.to);
    let later_gap = condition.pieces[index + 1..].iter().any(|piece| match piece {
        Piece::Gap(Gap { to: GapEnd::AtLeast(_), .. }) => true,
        Piece::Gap(_) | Piece::Run(_) => false,
    });
    let known = last.filter(|_| !later_gap);
    Loss {
        cut: cut.position(),
        unreadable_to,
        at_least: at_least.max(last.map_or(0, |last| last.lsn.get())),
        set_aside: after.iter().map(|run| (run.from.position(), run.to.position())).collect(),
        commits: known.map(|last| last.sequence.get().saturating_sub(cut.sequence.get())),
    }
}

fn control(
    condition: &Condition,
    plan: &RepairPlan,
    elements: &[Element<'_>],
    own: Epoch,
) -> Option<NewControl> {
    let log = condition.log?;
    let (start, parent) = match &condition.control {
        ControlState::Valid { start, parent, .. } => (*start, *parent),
        _ => {
            let first = elements.first().map(|element| match element {
                Element::Kept(file) => file.base,
                Element::Built(_, part) => Some(part.from.position()),
            });
            (first.flatten().or(plan.loss.as_ref().map(|loss| loss.cut))?, None)
        }
    };
    if let Some(loss) = &plan.loss {
        let cut = loss.cut.lsn.max(start.lsn);
        return Some(match elements.is_empty() {
            false => NewControl { log, start, parent, durable: cut },
            // Nothing is left: the control file alone says where, and in which epoch, it goes on.
            true => NewControl {
                log,
                start: Position { epoch: plan.begins_epoch.unwrap_or(own), ..loss.cut },
                parent: Some(own),
                durable: loss.cut.lsn,
            },
        });
    }
    let damaged = condition.control == ControlState::Damaged;
    let durable = plan.end.map_or(start.lsn, |end| end.lsn).max(start.lsn);
    damaged.then_some(NewControl { log, start, parent, durable })
}

fn notes(condition: &Condition, asked: &Asked) -> Vec<String> {
    let mut notes = condition.notes.clone();
    let own = own_epoch(condition);
    if let Some(newest) = asked.newest_epoch.filter(|newest| *newest > own) {
        notes.push(format!(
            "a copy holds epoch {newest}: another writer took over from epoch {own}, what it wrote is not put into this log"
        ));
    }
    if condition.control == ControlState::Damaged {
        notes.push("the control file is damaged: what it said was durable is not known any more".to_owned());
    }
    notes
}
