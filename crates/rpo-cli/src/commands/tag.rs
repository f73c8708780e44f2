//! `rpo tag SYSTEM NAME`: name this moment.

use std::path::Path;

use rpo::ops::{self, CheckpointRequest};

use super::{Named, checkpoint, site, stop_on_signal};
use crate::arguments::Tag;
use crate::exit;
use crate::output::Output;

pub(crate) async fn run(path: &Path, tag: &Tag, output: Output) -> anyhow::Result<u8> {
    let site = site(path, Named { system: Some(&tag.system), copy: None }).await?;
    let cancel = stop_on_signal()?;
    let request = CheckpointRequest { system: tag.system.clone(), full: false, name: Some(tag.name.clone()) };
    let progress = output.progress();
    let taken = ops::checkpoint(&site, &request, &progress, &cancel).await;
    progress.done();
    let report = taken?;
    checkpoint::show(&report, output)?;
    output.next(format!("rpo restore {} --to tag:{} --into DIR", tag.system, tag.name));
    Ok(if report.is_partial() { exit::PARTIAL } else { exit::OK })
}
