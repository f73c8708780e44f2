//! From a target to what will be done: pure, so that the plan can be shown, tested and refused before anything moves.

use std::fmt;

use rpo_checkpoint::Lost;
use rpo_core::target::{Bound, RestorePoint, Target};
use rpo_core::{ByteSize, CheckpointId, Lsn, Position, Timestamp};
use serde::Serialize;

use crate::catalogue::Base;
use crate::{Catalogue, Refusal};

/// How a target is to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanOptions {
    /// Replay the log after the base. Without it the newest checkpoint at or before the target is the result.
    pub replay: bool,
    /// Leave files out that are damaged in the store, and restore all others. Only for things without a log.
    pub skip_damaged: bool,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self { replay: true, skip_damaged: false }
    }
}

/// A target that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Located {
    /// A checkpoint as it is.
    Checkpoint(CheckpointId),
    /// A commit boundary of the log.
    Boundary(RestorePoint),
}

/// What of the log is applied after the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Replay {
    /// First byte applied.
    pub from: Position,
    /// One past the last byte applied.
    pub until: Position,
    /// How many archived ranges are read.
    pub ranges: usize,
}

/// What a restore will do, and what it will reach.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Plan {
    /// What was asked for.
    pub target: String,
    /// The checkpoint it begins with; none begins with nothing.
    pub base: Option<Base>,
    /// What of the log is applied; none applies nothing.
    pub replay: Option<Replay>,
    /// Exactly what is reached.
    pub reached: RestorePoint,
    /// Bytes of log after the point reached, left out.
    pub bytes_after: u64,
    /// Commits after the point reached, left out; absent where they cannot be counted.
    pub commits_after: Option<u64>,
    /// Space needed for the content of the base, bytes.
    pub bytes_needed: u64,
    /// Expected duration in seconds; absent until a restore of this thing was measured.
    pub estimate_seconds: Option<f64>,
    /// What the base should hold and does not, because it could not be read when it was made; `base.left_out` counts it,
    /// here it is named as far as the checkpoint names it.
    pub left_out: Vec<Lost>,
    /// Files that are damaged in the store are left out, instead of ending the restore.
    pub skip_damaged: bool,
    /// What should be known about it.
    pub notes: Vec<String>,
}

/// How many entries that were left out are named to people.
const NAMED_MAX: usize = 10;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "target    {}", self.target)?;
        writeln!(f, "reaches   {}", self.reached)?;
        match &self.base {
            Some(base) => writeln!(
                f,
                "base      {} of {} ({} entries, {})",
                base.id,
                base.finished,
                base.entries,
                ByteSize::new(base.bytes)
            )?,
            None => writeln!(f, "base      none: from the beginning of the stream")?,
        }
        match &self.replay {
            Some(replay) => writeln!(
                f,
                "replay    lsn {} .. {} ({}, {} ranges)",
                replay.from.lsn,
                replay.until.lsn,
                ByteSize::new(replay.until.lsn.bytes_since(replay.from.lsn)),
                replay.ranges
            )?,
            None => writeln!(f, "replay    nothing")?,
        }
        match self.commits_after {
            Some(0) => writeln!(f, "leaves    nothing out")?,
            Some(commits) => writeln!(f, "leaves    {commits} commits out that came later")?,
            None => {}
        }
        if let Some(seconds) = self.estimate_seconds {
            writeln!(f, "estimate  {seconds:.0} s")?;
        }
        if self.skip_damaged {
            writeln!(f, "damage    files that are damaged in the store are left out and named")?;
        }
        if let Some(warning) = self.warning() {
            writeln!(f, "warning   {warning}")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note      {note}"))
    }
}

impl Plan {
    /// That the base is partial, and what it lacks; none if it is whole.
    pub fn warning(&self) -> Option<String> {
        let count = self.base.as_ref().map_or(0, |base| base.left_out);
        if count == 0 {
            return None;
        }
        let entries = if count == 1 { "entry" } else { "entries" };
        let mut text = format!("this checkpoint left out {count} {entries} that could not be read then");
        let mut separator = ": ";
        let named = &self.left_out[..self.left_out.len().min(NAMED_MAX)];
        for Lost { path, reason } in named {
            text += &format!("{separator}{path} ({reason})");
            separator = ", ";
        }
        if count > named.len() as u64 && !named.is_empty() {
            text += &format!(" and {} more", count - named.len() as u64);
        }
        Some(text)
    }
}

impl Catalogue {
    /// Turns what was found into what will be done.
    ///
    /// # Errors
    /// The point cannot be reached; the refusal names the nearest that can.
    pub fn plan(&self, target: &str, located: &Located, options: PlanOptions) -> Result<Plan, Refusal> {
        match located {
            Located::Checkpoint(id) => {
                let base = self.bases().iter().find(|base| base.id == *id);
                let base =
                    base.ok_or_else(|| self.refuse(target, format!("there is no checkpoint {id}"), None))?;
                Ok(self.as_it_is(target, base, Vec::new()))
            }
            Located::Boundary(reached) => self.plan_boundary(target, reached, options),
        }
    }

    fn plan_boundary(
        &self,
        target: &str,
        reached: &RestorePoint,
        options: PlanOptions,
    ) -> Result<Plan, Refusal> {
        let lost = |reason: String| self.refuse(target, reason, reached.position.map(|p| p.lsn));
        let position = reached.position.ok_or_else(|| lost("it has no position in the log".into()))?;
        if !options.replay {
            let base = self.bases().iter().rfind(|b| b.position.is_some_and(|p| p.lsn <= position.lsn));
            let base = base.ok_or_else(|| {
                lost("without replay it takes a checkpoint at or before it, and there is none".into())
            })?;
            let note =
                format!("without replay: the newest checkpoint at or before the target, not {position}");
            return Ok(self.as_it_is(target, base, vec![note]));
        }
        let stretch =
            self.coverage().into_iter().find(|s| s.from.lsn <= position.lsn && position.lsn <= s.to.lsn);
        let stretch = stretch.ok_or_else(|| lost("no copy of the log reaches it without a gap".into()))?;
        let base = self
            .base_at_or_before(position.lsn, stretch.from.lsn, false)
            .ok_or_else(|| lost("there is no checkpoint before it that the log connects to".into()))?;
        let from = base.and_then(|b| b.position).unwrap_or(stretch.from);
        let ranges =
            self.ranges().iter().filter(|r| r.to.lsn > from.lsn && r.from.lsn < position.lsn).count();
        let replay = (from.lsn < position.lsn).then_some(Replay { from, until: position, ranges });
        let mut plan = Plan {
            target: target.to_owned(),
            base: base.cloned(),
            replay,
            reached: reached.clone(),
            bytes_after: 0,
            commits_after: None,
            bytes_needed: base.map_or(0, |b| b.bytes),
            estimate_seconds: None,
            left_out: Vec::new(),
            skip_damaged: false,
            notes: Vec::new(),
        };
        self.tell_what_is_left_out(&mut plan);
        Ok(plan)
    }

    fn as_it_is(&self, target: &str, base: &Base, notes: Vec<String>) -> Plan {
        let mut plan = Plan {
            target: target.to_owned(),
            base: Some(base.clone()),
            replay: None,
            reached: base.reached(),
            bytes_after: 0,
            commits_after: None,
            bytes_needed: base.bytes,
            estimate_seconds: None,
            left_out: Vec::new(),
            skip_damaged: false,
            notes,
        };
        self.tell_what_is_left_out(&mut plan);
        plan
    }

    /// Everything after the point reached that this copy knows of, behind a gap too.
    fn tell_what_is_left_out(&self, plan: &mut Plan) {
        let Some((end, at)) = self.end().zip(plan.reached.position) else { return };
        plan.bytes_after = end.lsn.bytes_since(at.lsn);
        plan.commits_after = end.sequence.zip(at.sequence).map(|(end, at)| end.commits_since(at));
        let gap = self.gaps().into_iter().find(|(from, _)| from.lsn >= at.lsn);
        plan.notes.extend(gap.map(|(from, to)| format!("after it comes {}", self.gap_text(from, to))));
    }

    /// A refusal that names the restorable points nearest to `lsn`, or the newest one.
    pub(crate) fn refuse(&self, target: &str, reason: String, lsn: Option<Lsn>) -> Refusal {
        match lsn {
            Some(lsn) => self.refuse_between(target, reason, |p| p.position.is_some_and(|p| p.lsn <= lsn)),
            None => self.refuse_between(target, reason, |_| true),
        }
    }

    /// A refusal that names the last restorable point that `is_before` holds for, and the first that it does not.
    pub(crate) fn refuse_between(
        &self,
        target: &str,
        reason: String,
        is_before: impl Fn(&RestorePoint) -> bool,
    ) -> Refusal {
        let points = self.points();
        let nearest_before = points.iter().rfind(|p| is_before(p)).cloned().map(Box::new);
        let nearest_after = points.iter().find(|p| !is_before(p)).cloned().map(Box::new);
        Refusal { target: target.to_owned(), reason, nearest_before, nearest_after }
    }

    pub(crate) fn gap_text(&self, from: Position, to: Position) -> String {
        format!("a gap of the log, from {from} to {to}")
    }

    /// A refusal that names the restorable points nearest to `time`.
    pub(crate) fn refuse_time(&self, target: &str, reason: String, time: Timestamp) -> Refusal {
        let points = self.points();
        let nearest_before =
            points.iter().filter(|p| p.time <= time).max_by_key(|p| p.time).cloned().map(Box::new);
        let nearest_after =
            points.iter().filter(|p| p.time > time).min_by_key(|p| p.time).cloned().map(Box::new);
        Refusal { target: target.to_owned(), reason, nearest_before, nearest_after }
    }
}

/// The target as it is shown: with its bound where that says something.
pub(crate) fn shown(target: &Target, bound: Bound) -> String {
    match bound {
        Bound::Inclusive => target.to_string(),
        Bound::Exclusive => format!("{target} (exclusive)"),
    }
}
