//! What the demo did and found: steps with their times, checks with their verdicts, losses beside what was said of them.

use std::fmt;
use std::future::Future;
use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Arc;

use rpo::SCHEMA_VERSION;
use rpo::core::{Clock, Monotonic};
use serde::Serialize;

use crate::output::Output;

/// Kept while the demo runs.
pub(super) struct Record {
    shown: Shown,
    clock: Arc<dyn Clock>,
    begun: Monotonic,
    output: Output,
}

/// What is shown in the end; with `--json` exactly this.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Shown {
    schema_version: u32,
    /// True if every check passed.
    pub(super) passed: bool,
    seed: u64,
    tree: String,
    seconds: f64,
    steps: Vec<Step>,
    checks: Vec<Check>,
    losses: Vec<Loss>,
}

/// Something that was done.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Step {
    name: String,
    seconds: f64,
    detail: String,
}

/// Something that must be so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Check {
    /// The claim.
    pub(super) name: String,
    /// Whether it holds.
    pub(super) passed: bool,
    /// What it rests on, or what is wrong.
    pub(super) detail: String,
}

impl Check {
    /// A claim with what it rests on, or with what is wrong.
    pub(super) fn new(name: impl Into<String>, verdict: Result<String, String>) -> Self {
        let passed = verdict.is_ok();
        let (Ok(detail) | Err(detail)) = verdict;
        Self { name: name.into(), passed, detail }
    }
}

/// What one kill lost, beside what the last report before it had said.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Loss {
    /// Which kill.
    pub(super) kill: usize,
    /// Transfers acknowledged before it, at any level.
    pub(super) acknowledged: usize,
    /// Those acknowledged at `protected(region)`.
    pub(super) acknowledged_protected: usize,
    /// Acknowledged transfers that were lost.
    pub(super) lost: usize,
    /// Time from the acknowledgement of the oldest of them to the kill.
    pub(super) lost_seconds: f64,
    /// Time from the last report to the kill.
    pub(super) report_age_seconds: f64,
    /// The loss window in that report; absent where it was unknown without a bound.
    pub(super) window_seconds: Option<f64>,
    /// Commits at risk in that report; absent where it did not say.
    pub(super) commits_at_risk: Option<u64>,
    /// Transfers acknowledged after that report was taken.
    pub(super) acknowledged_since: usize,
    /// Reports before the kill; each of them was held against the loss.
    pub(super) reports: usize,
    /// Whether the report said that the independence of the copies is only declared.
    pub(super) declared: bool,
}

impl Record {
    pub(super) fn new(seed: u64, tree: &Path, clock: Arc<dyn Clock>, output: Output) -> Self {
        let shown = Shown {
            schema_version: SCHEMA_VERSION,
            passed: false,
            seed,
            tree: tree.display().to_string(),
            seconds: 0.0,
            steps: Vec::new(),
            checks: Vec::new(),
            losses: Vec::new(),
        };
        Self { shown, begun: clock.monotonic(), clock, output }
    }

    /// Does `work`, takes its time, and notes what it says of itself.
    pub(super) async fn step<T>(
        &mut self,
        name: &str,
        work: impl Future<Output = anyhow::Result<(T, String)>>,
    ) -> anyhow::Result<T> {
        let begin = self.clock.monotonic();
        let (done, detail) = work.await.map_err(|error| error.context(name.to_owned()))?;
        let seconds = self.clock.monotonic().since(begin).as_secs_f64();
        // The list at the end says it all again: on the way it is for whoever sits and waits.
        if std::io::stderr().is_terminal() {
            self.output.say(format!("{seconds:6.2} s  {name}"));
        }
        self.shown.steps.push(Step { name: name.to_owned(), seconds, detail });
        Ok(done)
    }

    /// Notes a verdict.
    pub(super) fn check(&mut self, name: impl Into<String>, verdict: Result<String, String>) {
        self.checks([Check::new(name, verdict)]);
    }

    /// Notes verdicts.
    pub(super) fn checks(&mut self, checks: impl IntoIterator<Item = Check>) {
        for check in checks {
            if !check.passed {
                self.output.say(format!("FAILED    {}: {}", check.name, check.detail));
            }
            self.shown.checks.push(check);
        }
    }

    /// Notes what a kill lost.
    pub(super) fn losses(&mut self, losses: impl IntoIterator<Item = Loss>) {
        self.shown.losses.extend(losses);
    }

    /// Nothing more comes. Without any check nothing passed.
    pub(super) fn finish(mut self) -> Shown {
        self.shown.seconds = self.clock.monotonic().since(self.begun).as_secs_f64();
        self.shown.passed =
            !self.shown.checks.is_empty() && self.shown.checks.iter().all(|check| check.passed);
        self.shown
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "rpo demo of {}, which was only read (seed {})\n", self.tree, self.seed)?;
        let width = |names: &mut dyn Iterator<Item = &String>| {
            names.map(|name| name.chars().count()).max().unwrap_or(0)
        };
        let column = width(&mut self.steps.iter().map(|step| &step.name));
        for Step { name, seconds, detail } in &self.steps {
            writeln!(f, "{}", format!("{seconds:6.2} s  {name:column$}  {detail}").trim_end())?;
        }
        writeln!(f)?;
        let column = width(&mut self.checks.iter().map(|check| &check.name));
        for Check { name, passed, detail } in &self.checks {
            let verdict = if *passed { "ok" } else { "FAILED" };
            writeln!(f, "{verdict:>8}  {name:column$}  {detail}")?;
        }
        self.losses.iter().try_for_each(|loss| write!(f, "\n{loss}"))?;
        let failed = self.checks.iter().filter(|check| !check.passed).count();
        match failed {
            0 if self.passed => {
                write!(f, "\nall {} checks passed, in {:.1} s", self.checks.len(), self.seconds)
            }
            _ => write!(f, "\n{failed} of {} checks FAILED, in {:.1} s", self.checks.len(), self.seconds),
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |seconds: f64| format!("{:.1} ms", seconds * 1_000.0);
        let Self { kill, acknowledged, acknowledged_protected, lost, .. } = self;
        let durable = acknowledged - acknowledged_protected;
        writeln!(
            f,
            "kill {kill}     {acknowledged} transfers acknowledged: {durable} as durable, {acknowledged_protected} as protected(region)"
        )?;
        let oldest = ms(self.lost_seconds);
        match lost {
            0 => writeln!(f, "lost       nothing: the second copy had it all")?,
            _ => writeln!(
                f,
                "lost       {lost} transfers; the oldest was acknowledged {oldest} before the kill"
            )?,
        }
        let age = ms(self.report_age_seconds);
        match self.window_seconds {
            Some(window) => {
                let most = ms(window + self.report_age_seconds);
                writeln!(
                    f,
                    "was said   at most {most} of work: a window of {}, {age} before the kill",
                    ms(window)
                )?;
            }
            None => writeln!(f, "was said   unknown, {age} before the kill")?,
        }
        if let Some(at_risk) = self.commits_at_risk {
            let (since, most) = (self.acknowledged_since, at_risk + self.acknowledged_since as u64);
            writeln!(
                f,
                "           at most {most} transfers: {at_risk} at risk then, {since} acknowledged since"
            )?;
        }
        if self.declared {
            writeln!(
                f,
                "           (both regions are directories of this machine: their independence is declared)"
            )?;
        }
        Ok(())
    }
}
