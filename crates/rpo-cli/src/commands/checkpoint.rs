//! `rpo checkpoint [SYSTEM]`: take one now.

use std::path::Path;

use rpo::core::ByteSize;
use rpo::ops::{self, CheckpointReport, CheckpointRequest};

use super::{Named, site, stop_on_signal};
use crate::arguments::Checkpoint;
use crate::exit;
use crate::failure::message_of;
use crate::output::Output;
use crate::text::line;

pub(crate) async fn run(path: &Path, checkpoint: &Checkpoint, output: Output) -> anyhow::Result<u8> {
    let site = site(path, Named { system: checkpoint.system.as_ref(), copy: None }).await?;
    let cancel = stop_on_signal()?;
    let systems: Vec<_> = match &checkpoint.system {
        Some(name) => vec![name.clone()],
        None => site.config().systems.iter().map(|system| system.name.clone()).collect(),
    };
    let mut code = exit::OK;
    let mut failed: Option<anyhow::Error> = None;
    for system in systems {
        let name = system.clone();
        let request = CheckpointRequest { system, full: checkpoint.full, name: None };
        let progress = output.progress();
        let taken = ops::checkpoint(&site, &request, &progress, &cancel).await;
        progress.done();
        let report = match taken {
            Ok(report) => report,
            Err(error) if cancel.is_cancelled() => return Err(error.into()),
            // The others are not to suffer for it; the first error is the one that is told last.
            Err(error) => {
                let error = anyhow::Error::from(error).context(name);
                if let Some(earlier) = &failed {
                    output.say(format!("error: {}", message_of(&error)));
                    tracing::debug!(%earlier, "an earlier system failed, too");
                } else {
                    failed = Some(error);
                }
                continue;
            }
        };
        show(&report, output)?;
        if report.is_partial() {
            code = if cancel.is_cancelled() { exit::INTERRUPTED } else { exit::PARTIAL };
        }
    }
    failed.map_or(Ok(code), Err)
}

/// Shows what a checkpoint did, with everything that could not be captured.
pub(crate) fn show(report: &CheckpointReport, output: Output) -> anyhow::Result<()> {
    output.event(report, || {
        let counts = &report.checkpoint.statistics;
        let mut text = format!(
            "{}  {}  {} entries ({} new or changed, {} removed), read {}, stored {} in {:.1} s",
            report.checkpoint.id,
            report.checkpoint.kind,
            counts.entries,
            counts.changed,
            counts.removed,
            ByteSize::new(counts.read_bytes),
            ByteSize::new(counts.added_bytes),
            report.seconds,
        );
        if !report.checkpoint.tags.is_empty() {
            text += &format!("  named {}", line(&report.checkpoint.tags.join(", ")));
        }
        for lost in &report.checkpoint.lost {
            text += &format!("\n  not captured: {}: {}", line(&lost.path), line(&lost.reason));
        }
        let named = report.checkpoint.lost.len() as u64;
        if counts.lost > named {
            text += &format!("\n  not captured: {} more", counts.lost - named);
        }
        if counts.skipped > 0 {
            text += &format!(
                "\n  left out by intent: {} (sockets, what is excluded, other file systems, the repository itself)",
                counts.skipped
            );
        }
        if counts.changed_while_read > 0 {
            text +=
                &format!("\n  changed while read: {} files, stored with a mark", counts.changed_while_read);
        }
        if let Some(damage) = &report.parent_unusable {
            text += &format!(
                "\n  the one before it is damaged ({damage}): everything was read again; next: rpo verify says what is lost"
            );
        }
        for copy in &report.mirrored {
            text += &format!("\n  copy {}: {}", copy.name, copy.trouble.as_deref().unwrap_or("has it"));
        }
        text
    })
}
