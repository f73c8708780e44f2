//! `rpo checkpoint [SYSTEM]`: take one now.

use std::path::Path;

use rpo::core::ByteSize;
use rpo::ops::{self, CheckpointReport, CheckpointRequest};

use super::{site, stop_on_signal};
use crate::arguments::Checkpoint;
use crate::exit;
use crate::output::Output;

pub(crate) async fn run(path: &Path, checkpoint: &Checkpoint, output: Output) -> anyhow::Result<u8> {
    let site = site(path).await?;
    let cancel = stop_on_signal()?;
    let systems: Vec<_> = match &checkpoint.system {
        Some(name) => vec![site.system(name)?.name.clone()],
        None => site.config().systems.iter().map(|system| system.name.clone()).collect(),
    };
    let mut code = exit::OK;
    for system in systems {
        let request = CheckpointRequest { system, full: checkpoint.full, name: None };
        let progress = output.progress();
        let taken = ops::checkpoint(&site, &request, &progress, &cancel).await;
        progress.done();
        let report = taken?;
        show(&report, output)?;
        if report.is_partial() {
            code = exit::PARTIAL;
        }
    }
    Ok(code)
}

/// Shows what a checkpoint did, with everything that could not be captured.
pub(crate) fn show(report: &CheckpointReport, output: Output) -> anyhow::Result<()> {
    output.event(report, || {
        let counts = &report.checkpoint.statistics;
        let mut text = format!(
            "{}  {}  {} entries ({} changed, {} removed), read {}, stored {} in {:.1} s",
            report.checkpoint.id,
            report.checkpoint.kind,
            counts.entries,
            counts.changed,
            counts.removed,
            ByteSize::new(counts.read_bytes),
            ByteSize::new(counts.added_bytes),
            report.seconds,
        );
        for lost in &report.checkpoint.lost {
            text += &format!("\n  not captured: {}: {}", lost.path, lost.reason);
        }
        let named = report.checkpoint.lost.len() as u64;
        if counts.lost > named {
            text += &format!("\n  not captured: {} more", counts.lost - named);
        }
        if counts.changed_while_read > 0 {
            text +=
                &format!("\n  changed while read: {} files, stored with a mark", counts.changed_while_read);
        }
        for copy in &report.mirrored {
            text += &format!("\n  copy {}: {}", copy.name, copy.trouble.as_deref().unwrap_or("has it"));
        }
        text
    })
}
