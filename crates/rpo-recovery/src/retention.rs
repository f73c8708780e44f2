//! Which bases and which part of the archived log are kept, and why. Pure: knows no store, deletes nothing.
//!
//! - **Promises**: every target inside the window that can be restored before can be restored after; the last bases are
//!   never given up; nothing goes by a clock that is not confirmed; every base and every stretch of the log has its reason.
//! - **Start at** [`plan_retention`]; [`RetentionPlan::keep_from`] is what the executor takes.

use std::collections::BTreeMap;

use rpo_core::{CheckpointId, ConfigError, Epoch, HumanDuration, Lsn, Position, Timestamp, error::Problems};
use serde::{Deserialize, Serialize};

use crate::Catalogue;

/// How long the log and its bases are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct RetentionConfig {
    /// Every moment this far back can be restored. 7 days.
    pub window: HumanDuration,
    /// What is older than the window is kept for emergencies up to this age, and given up only when that is decided. At
    /// least the window; 14 days.
    pub emergency_window: HumanDuration,
    /// Newest bases that are kept whatever their age. At least 1.
    pub bases_min: usize,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        let day = 24 * 3600;
        Self {
            window: HumanDuration::from_secs(7 * day),
            emergency_window: HumanDuration::from_secs(14 * day),
            bases_min: 1,
        }
    }
}

impl RetentionConfig {
    /// Checks every rule.
    ///
    /// # Errors
    /// All broken rules together.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::new();
        let emergency = self.emergency_window;
        problems.require(emergency >= self.window, "emergency-window", emergency, "at least the window");
        problems.require(
            self.bases_min >= 1,
            "bases-min",
            self.bases_min,
            "at least 1: the last base never goes",
        );
        problems.finish()
    }
}

/// What time it certainly is: nothing is given up by more than that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Now {
    /// The clock was confirmed: it is at least this late.
    Confirmed(Timestamp),
    /// The clock may be wrong: nothing is given up.
    Unconfirmed(Timestamp),
}

/// Whether what is kept for emergencies may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Emergency {
    /// It stays.
    #[default]
    Keep,
    /// Somebody decided that it goes, or space demands it under a policy that says so.
    GiveUp,
}

/// Whether something is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// A promise needs it.
    Keep,
    /// Older than the window, younger than the emergency window.
    KeepForEmergency,
    /// No promise needs it.
    Drop,
}

/// A base, and why it is kept or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BaseVerdict {
    /// Which one.
    pub id: CheckpointId,
    /// Whether it is kept.
    pub verdict: Verdict,
    /// Why.
    pub reason: String,
}

/// A range of the log, and why it is kept or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct LogVerdict {
    /// Where it begins.
    pub from: Position,
    /// Where it ends.
    pub to: Position,
    /// Whether it is kept.
    pub verdict: Verdict,
    /// Why.
    pub reason: String,
}

/// From where on the log of one history is kept: what the executor in `rpo-replication` takes. Objects that end at or before
/// it may go, but never a fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct KeepFrom {
    /// The epoch of what is kept first; of older epochs nothing is needed by this history.
    pub epoch: Epoch,
    /// The first position that is kept.
    pub lsn: Lsn,
}

/// What is kept and what goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RetentionPlan {
    /// Every moment from here on can be restored after the plan as before it.
    pub window_start: Timestamp,
    /// Every base, oldest first.
    pub bases: Vec<BaseVerdict>,
    /// Every range of the log, in order.
    pub log: Vec<LogVerdict>,
    /// From where on the log is kept; none: all of it.
    pub keep_from: Option<KeepFrom>,
    /// Why nothing goes, if nothing may.
    pub held: Option<String>,
}

impl RetentionPlan {
    /// Bases that go.
    pub fn dropped_bases(&self) -> impl Iterator<Item = &CheckpointId> {
        self.bases.iter().filter(|base| base.verdict == Verdict::Drop).map(|base| &base.id)
    }

    /// The plan as lines that say what happens to each part, and why.
    pub fn simulate(&self) -> String {
        let mut lines: Vec<String> = self.held.iter().map(|why| format!("nothing goes: {why}")).collect();
        let word = |verdict| match verdict {
            Verdict::Keep => "keep",
            Verdict::KeepForEmergency => "keep (emergency)",
            Verdict::Drop => "drop",
        };
        lines.extend(self.bases.iter().map(|b| format!("{} {}: {}", word(b.verdict), b.id, b.reason)));
        lines.extend(
            self.log.iter().map(|l| format!("{} log {} to {}: {}", word(l.verdict), l.from, l.to, l.reason)),
        );
        lines.join("\n")
    }
}

/// Decides what of one history is kept at `now`.
///
/// # Errors
/// The configuration breaks its rules.
pub fn plan_retention(
    catalogue: &Catalogue,
    config: &RetentionConfig,
    now: Now,
    emergency: Emergency,
) -> Result<RetentionPlan, ConfigError> {
    config.validate()?;
    let (Now::Confirmed(at) | Now::Unconfirmed(at)) = now;
    let before = |window: HumanDuration| {
        let micros = i64::try_from(window.get().as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(at.as_micros().saturating_sub(micros))
    };
    let window_start = before(config.window);
    let mut needs = needed(catalogue, window_start, config.bases_min);
    for (index, reason) in needed(catalogue, before(config.emergency_window), config.bases_min) {
        needs.entry(index).or_insert(Need { for_window: false, ..reason });
    }
    let held = match now {
        Now::Unconfirmed(_) => Some("the clock is not confirmed".to_owned()),
        Now::Confirmed(_) => None,
    };
    let verdict = |for_window: Option<bool>| match (for_window, emergency) {
        (Some(true), _) => Verdict::Keep,
        (Some(false), Emergency::Keep) => Verdict::KeepForEmergency,
        _ if held.is_some() => Verdict::Keep,
        _ => Verdict::Drop,
    };
    let bases: Vec<BaseVerdict> = catalogue
        .bases()
        .iter()
        .enumerate()
        .map(|(index, base)| {
            let need = needs.get(&index);
            let verdict = verdict(need.map(|need| need.for_window));
            let reason = need.map_or("older than every window, and nothing needs it", |need| need.reason);
            BaseVerdict { id: base.id.clone(), verdict, reason: reason.to_owned() }
        })
        .collect();
    let log = log(catalogue, &bases, config, at, &verdict);
    let keep_from = keep_from(&log);
    Ok(RetentionPlan { window_start, bases, log, keep_from, held })
}

#[derive(Debug, Clone, Copy)]
struct Need {
    for_window: bool,
    reason: &'static str,
}

/// The bases, by index, that a window from `start` on needs.
fn needed(catalogue: &Catalogue, start: Timestamp, bases_min: usize) -> BTreeMap<usize, Need> {
    let bases = catalogue.bases();
    let mut needs = BTreeMap::new();
    let mut need = |index: usize, reason| {
        needs.entry(index).or_insert(Need { for_window: true, reason });
    };
    let mut by_state: Vec<usize> = (0..bases.len()).collect();
    by_state.sort_by_key(|index| (bases[*index].state, bases[*index].id.number));
    by_state.iter().rev().take(bases_min).for_each(|index| need(*index, "one of the newest bases"));
    for (index, base) in bases.iter().enumerate() {
        if base.finished >= start {
            need(index, "taken inside the window");
        } else if !base.names.is_empty() {
            need(index, "somebody gave it a name");
        }
    }
    // Without a log, the newest base before the window is the state of the window's first moments.
    let unplaced = |index: &&usize| bases[**index].position.is_none() && bases[**index].finished <= start;
    if let Some(index) = by_state.iter().rev().find(unplaced) {
        need(*index, "the state with which the window begins");
    }
    for stretch in catalogue.coverage().iter().filter(|stretch| stretch.last_time >= start) {
        // The entry at which the window begins may be any that was committed before or at it: ranges are all that is known,
        // so it is looked for at the beginning of the first range that reaches into the window.
        let first = catalogue.ranges().iter().find(|range| {
            range.from.lsn >= stretch.from.lsn && range.to.lsn <= stretch.to.lsn && range.last_time >= start
        });
        let Some(first) = first else { continue };
        let inside = |base: &crate::Base, to: Lsn| {
            base.position.is_some_and(|p| p.lsn >= stretch.from.lsn && p.lsn <= to)
        };
        #[cfg(feature = "planted-bugs")]
        if crate::planted::is(crate::planted::PlantedBug::NewestBaseKept) {
            if let Some(index) = bases.iter().rposition(|base| inside(base, stretch.to.lsn)) {
                need(index, "the newest base of this stretch");
            }
            continue;
        }
        if let Some(index) = bases.iter().rposition(|base| inside(base, first.from.lsn)) {
            need(index, "the window begins in the log behind it");
        }
        // Where nothing before it can be replayed, the window begins with a base inside that range.
        for (index, base) in bases.iter().enumerate() {
            if base.position.is_some_and(|p| p.lsn > first.from.lsn && p.lsn <= first.to.lsn) {
                need(index, "the window begins in the log around it");
            }
        }
    }
    needs
}

/// Each range, and whether a replay from a kept base, or from the beginning of the stream, needs it.
fn log(
    catalogue: &Catalogue,
    bases: &[BaseVerdict],
    config: &RetentionConfig,
    now: Timestamp,
    verdict: &impl Fn(Option<bool>) -> Verdict,
) -> Vec<LogVerdict> {
    let age = |window: HumanDuration| {
        let micros = i64::try_from(window.get().as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(now.as_micros().saturating_sub(micros))
    };
    let starts = [(age(config.window), true), (age(config.emergency_window), false)];
    let floors = starts.map(|(start, for_window)| (floor(catalogue, bases, start, for_window), for_window));
    catalogue
        .ranges()
        .iter()
        .map(|range| {
            let found = floors.iter().find(|(floor, _)| floor.is_none_or(|floor| range.to.lsn > floor));
            let need = found.map(|(_, for_window)| *for_window);
            let reason = match need {
                Some(true) => "moments inside the window are replayed through it",
                Some(false) => "moments inside the emergency window are replayed through it",
                None => "it ends before everything that a window needs",
            };
            let (from, to) = (range.from, range.to);
            LogVerdict { from, to, verdict: verdict(need), reason: reason.to_owned() }
        })
        .collect()
}

/// Where the log that a window from `start` on needs begins; none: with the stream.
fn floor(catalogue: &Catalogue, bases: &[BaseVerdict], start: Timestamp, for_window: bool) -> Option<Lsn> {
    let kept = |index: usize| match bases[index].verdict {
        Verdict::Keep => true,
        Verdict::KeepForEmergency => !for_window,
        Verdict::Drop => false,
    };
    let positions = catalogue.bases().iter().enumerate();
    let kept: Vec<Lsn> = positions
        .filter(|(index, _)| kept(*index))
        .filter_map(|(_, base)| Some(base.position?.lsn))
        .collect();
    let first = catalogue.ranges().iter().find(|range| range.last_time >= start);
    let Some(first) = first else {
        // Everything is older: only what comes after the newest kept base can still be needed.
        return kept.iter().max().copied();
    };
    let stretches = catalogue.coverage();
    let stretch = stretches.iter().find(|s| s.from.lsn <= first.from.lsn && first.to.lsn <= s.to.lsn)?;
    let within = kept.iter().filter(|lsn| **lsn >= stretch.from.lsn && **lsn <= first.from.lsn);
    match within.max() {
        Some(lsn) => Some(*lsn),
        None if stretch.from.lsn == Lsn::ZERO => None,
        None => Some(first.from.lsn),
    }
}

fn keep_from(log: &[LogVerdict]) -> Option<KeepFrom> {
    let first = log.iter().position(|range| range.verdict != Verdict::Drop);
    match first {
        Some(0) => None,
        Some(index) => Some(KeepFrom { epoch: log[index].from.epoch, lsn: log[index].from.lsn }),
        None => log.last().map(|last| KeepFrom { epoch: last.to.epoch, lsn: last.to.lsn }),
    }
}

#[cfg(test)]
mod tests;
