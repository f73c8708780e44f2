//! `rpo points SYSTEM`: what can be restored.

use std::path::Path;

use rpo::core::ByteSize;
use rpo::ops::{self, PointsReport, Unreadable};

use super::{Named, say_if_not_home, site_read_only};
use crate::arguments::Points;
use crate::exit;
use crate::output::{Output, table};
use crate::text::line;

pub(crate) async fn run(path: &Path, points: &Points, output: Output) -> anyhow::Result<u8> {
    let named = Named { system: Some(&points.system), copy: points.from.as_ref() };
    let site = site_read_only(path, named).await?;
    say_if_not_home(&site, points.from.as_ref(), output)?;
    let report = ops::points(&site, &points.system, points.from.as_ref()).await?;
    output.result(&report, || text(&report))?;
    output.next(match report.checkpoints.is_empty() && report.coverage.is_empty() {
        true if !report.unreadable.is_empty() => {
            "rpo verify --read-data, which says what is damaged".to_owned()
        }
        true => format!("rpo checkpoint {}", report.system),
        false => format!("rpo restore {} --to latest --into DIR", report.system),
    });
    Ok(exit::OK)
}

fn text(report: &PointsReport) -> String {
    let mut text = if report.checkpoints.is_empty() && report.coverage.is_empty() {
        format!("nothing of {} can be restored from copy {} yet", report.system, report.copy)
    } else {
        listing(report)
    };
    for Unreadable { id, why } in &report.unreadable {
        text += &format!("\n{id} cannot be read: {}", line(why));
    }
    text
}

fn listing(report: &PointsReport) -> String {
    let rows = report.checkpoints.iter().map(|base| {
        let names: Vec<_> = base.names.iter().map(ToString::to_string).collect();
        vec![
            base.id.to_string(),
            base.finished.to_string(),
            base.entries.to_string(),
            ByteSize::new(base.bytes).to_string(),
            names.join(" "),
            if base.left_out > 0 { format!("partial: {} left out", base.left_out) } else { String::new() },
        ]
    });
    let mut text = table(&["CHECKPOINT", "COMPLETE AT", "ENTRIES", "SIZE", "NAMES", ""], rows);
    for stretch in &report.coverage {
        text += &format!(
            "\nevery commit from {} to {} ({} to {})",
            stretch.first_time, stretch.last_time, stretch.from, stretch.to
        );
    }
    for named in &report.named {
        text += &format!("\n{named}");
    }
    text
}
