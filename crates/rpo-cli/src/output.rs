//! How results reach a person or a program: data on stdout, chatter on stderr, JSON where asked.

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use rpo::checkpoint::{Phase, Progress, Progressed};
use rpo::core::ByteSize;
use rpo::os::OsClock;
use serde::Serialize;

use crate::commands::Refused;
use crate::exit;
use crate::pace::Pace;
use crate::text::lines;

/// How to speak.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// Data instead of text.
    pub(crate) json: bool,
    /// No progress, no hints.
    pub(crate) quiet: bool,
}

impl Output {
    /// Prints a result: `text` for people, `value` as one JSON document for programs.
    pub(crate) fn result<T: Serialize>(self, value: &T, text: impl FnOnce() -> String) -> anyhow::Result<()> {
        if self.json { line(&serde_json::to_string_pretty(value)?) } else { line(&lines(text().trim_end())) }
    }

    /// Prints one line of a listing or of long work: a JSON line, or text.
    pub(crate) fn event<T: Serialize>(self, value: &T, text: impl FnOnce() -> String) -> anyhow::Result<()> {
        if self.json { line(&serde_json::to_string(value)?) } else { line(&lines(&text())) }
    }

    /// Prints a result that is the same for people and programs, such as a script.
    pub(crate) fn raw(self, bytes: &[u8]) -> anyhow::Result<()> {
        let mut stdout = std::io::stdout().lock();
        written(stdout.write_all(bytes).and_then(|()| stdout.flush()))
    }

    /// Says something that is not the result.
    pub(crate) fn say(self, text: impl AsRef<str>) {
        if !self.quiet && !self.json {
            complain(&crate::text::line(text.as_ref()));
        }
    }

    /// What to do next.
    pub(crate) fn next(self, text: impl AsRef<str>) {
        self.say(format!("next: {}", text.as_ref()));
    }

    /// A progress bar on a terminal, a plain line now and then elsewhere, JSON lines on stderr where asked.
    pub(crate) fn progress(self) -> Bar {
        let bar = (!self.quiet && !self.json && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new_spinner();
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Bar { output: self, bar, last: Mutex::new(None), pace: Pace::new(Arc::new(OsClock::new())) }
    }
}

/// Writes a line to stdout.
fn line(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    written(writeln!(stdout, "{text}").and_then(|()| stdout.flush()))
}

/// Whether what is said reached stdout. A reader that went away ends the program quietly, as `head` expects; anything else
/// is an error: whoever reads a file would take what is missing for nothing.
pub(crate) fn written(outcome: std::io::Result<()>) -> anyhow::Result<()> {
    match outcome {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Refused::new(
            exit::FAILED,
            format!(
                "the output cannot be written: {error}; next: send it where there is room (what was done stays done)"
            ),
        )),
        Ok(()) => Ok(()),
    }
}

/// Writes a line to stderr. Where that cannot be written, there is nowhere left to say so.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Shows where long work stands.
#[derive(Debug)]
pub(crate) struct Bar {
    output: Output,
    bar: Option<ProgressBar>,
    last: Mutex<Option<(Phase, u64)>>,
    pace: Pace,
}

impl Bar {
    /// Takes the bar off the screen.
    pub(crate) fn done(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Whether this is a new phase, or another tenth of it.
    fn is_news(&self, progressed: &Progressed) -> bool {
        let tenth =
            progressed.total.filter(|total| *total > 0).map_or(0, |total| progressed.done * 10 / total);
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let news = *last != Some((progressed.phase, tenth));
        *last = Some((progressed.phase, tenth));
        news
    }
}

impl Progress for Bar {
    fn update(&self, progressed: Progressed) {
        let Progressed { phase, done, total, bytes } = progressed;
        if let Some(bar) = &self.bar {
            if self.is_news(&progressed) {
                let template = match total {
                    Some(_) => "{prefix:8} [{bar:30}] {pos}/{len}  {msg}  {elapsed}  eta {eta}",
                    None => "{prefix:8} {spinner} {pos}  {msg}  {elapsed}",
                };
                bar.set_style(ProgressStyle::with_template(template).expect("the template is fixed"));
                bar.set_prefix(phase.to_string());
            }
            if let Some(total) = total {
                bar.set_length(total);
            }
            bar.set_position(done);
            bar.set_message(ByteSize::new(bytes).to_string());
        } else if self.output.quiet {
        } else if self.output.json {
            if self.is_news(&progressed) {
                let line = serde_json::json!({ "message-type": "progress", "phase": phase.to_string(), "done": done, "total": total, "bytes": bytes });
                complain(&line.to_string());
            }
        } else if self.pace.is_due() {
            complain(&told(progressed));
        }
    }
}

/// Where work stands, as a line.
fn told(progressed: Progressed) -> String {
    let Progressed { phase, done, total, bytes } = progressed;
    let bytes = ByteSize::new(bytes);
    match (counts(phase), total) {
        (Some(unit), Some(total)) => format!("{phase}: {done}/{total} {unit}, {bytes}"),
        (Some(unit), None) => format!("{phase}: {done} {unit}, {bytes}"),
        (None, Some(total)) => format!("{phase}: {bytes} of {}", ByteSize::new(total)),
        (None, None) => format!("{phase}: {bytes}"),
    }
}

/// What the numbers of a phase count; none where they are the bytes that are told anyway.
fn counts(phase: Phase) -> Option<&'static str> {
    match phase {
        Phase::Capture | Phase::Plan => Some("entries"),
        Phase::Commit | Phase::Verify => Some("objects"),
        Phase::Restore => Some("chunks"),
        Phase::Rebuild => Some("packs"),
        _ => None,
    }
}

/// A table without lines, as wide as it needs.
pub(crate) fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head);
    for row in rows {
        table.add_row(row);
    }
    table.column_iter_mut().for_each(|column| {
        column.set_padding((0, 2));
    });
    table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_progress_says_what_its_numbers_count() {
        let at = |phase, total| told(Progressed { phase, done: 47, total, bytes: 3 << 20 });
        assert_eq!(at(Phase::Capture, None), "capture: 47 entries, 3MiB");
        assert_eq!(at(Phase::Verify, Some(60)), "verify: 47/60 objects, 3MiB");
        assert_eq!(at(Phase::Replay, Some(4 << 20)), "replay: 3MiB of 4MiB");
    }
}
