//! How results reach a person or a program: data on stdout, chatter on stderr, JSON where asked.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use rpo::checkpoint::{Phase, Progress, Progressed};
use rpo::core::ByteSize;
use serde::Serialize;

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
        if self.json {
            line(&serde_json::to_string_pretty(value)?)
        } else {
            line(text().trim_end())
        }
        Ok(())
    }

    /// Prints one line of a listing or of long work: a JSON line, or text.
    pub(crate) fn event<T: Serialize>(self, value: &T, text: impl FnOnce() -> String) -> anyhow::Result<()> {
        if self.json {
            line(&serde_json::to_string(value)?)
        } else {
            line(&text())
        }
        Ok(())
    }

    /// Says something that is not the result.
    pub(crate) fn say(self, text: impl AsRef<str>) {
        if !self.quiet && !self.json {
            eprintln!("{}", text.as_ref());
        }
    }

    /// What to do next.
    pub(crate) fn next(self, text: impl AsRef<str>) {
        self.say(format!("next: {}", text.as_ref()));
    }

    /// A progress bar on a terminal, plain lines elsewhere, JSON lines on stderr where asked.
    pub(crate) fn progress(self) -> Bar {
        let bar = (!self.quiet && !self.json && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new_spinner();
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Bar { output: self, bar, last: Mutex::new(None) }
    }
}

/// Writes a line to stdout; a reader that went away ends the program quietly, as `head` expects.
fn line(text: &str) {
    if writeln!(std::io::stdout(), "{text}").is_err() {
        std::process::exit(0);
    }
}

/// Shows where long work stands.
#[derive(Debug)]
pub(crate) struct Bar {
    output: Output,
    bar: Option<ProgressBar>,
    last: Mutex<Option<(Phase, u64)>>,
}

impl Bar {
    /// Takes the bar off the screen.
    pub(crate) fn done(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Whether this is worth a line where there is no terminal: a new phase, or another tenth of it.
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
        } else if !self.output.quiet && self.is_news(&progressed) {
            if self.output.json {
                let line = serde_json::json!({ "message-type": "progress", "phase": phase.to_string(), "done": done, "total": total, "bytes": bytes });
                eprintln!("{line}");
            } else {
                let of = total.map_or_else(String::new, |total| format!("/{total}"));
                eprintln!("{phase}: {done}{of}, {}", ByteSize::new(bytes));
            }
        }
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
