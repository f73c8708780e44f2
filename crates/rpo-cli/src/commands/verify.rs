//! `rpo verify`: what is stored is there, and is what was stored.

use std::path::Path;

use rpo::core::ByteSize;
use rpo::ops::{self, VerifyRequest};

use super::{Named, count, site_read_only, stop_on_signal};
use crate::arguments::Verify;
use crate::exit;
use crate::output::Output;

pub(crate) async fn run(path: &Path, verify: Verify, output: Output) -> anyhow::Result<u8> {
    let named = Named { system: verify.system.as_ref(), copy: verify.copy.as_ref() };
    let site = site_read_only(path, named).await?;
    let cancel = stop_on_signal()?;
    let request = VerifyRequest { system: verify.system, copy: verify.copy, read_data: verify.read_data };
    let progress = output.progress();
    let verified = ops::verify(&site, &request, &progress, &cancel).await;
    progress.done();
    let outcome = verified?;
    output.result(&outcome, || {
        let mut lines = Vec::new();
        for copy in &outcome.copies {
            match &copy.trouble {
                Some(trouble) => lines.push(format!("copy {}: {trouble}", copy.copy)),
                None => lines.push(format!(
                    "copy {}: {}, {}, {}; {}",
                    copy.copy,
                    count(copy.checkpoints, "checkpoint"),
                    count(copy.packs, "pack"),
                    if request.read_data {
                        format!("{} read", ByteSize::new(copy.read_bytes))
                    } else {
                        "data not read (--read-data does)".to_owned()
                    },
                    match copy.damaged.len() as u64 {
                        0 => "nothing damaged".to_owned(),
                        damaged => format!("{} damaged or missing", count(damaged, "object")),
                    }
                )),
            }
            for damaged in &copy.damaged {
                let named = format!("{}: ", damaged.object);
                let what = damaged.what.strip_prefix(&named).unwrap_or(&damaged.what);
                lines.push(format!("  {named}{what}"));
                lines.extend(
                    damaged
                        .affected
                        .iter()
                        .map(|file| format!("    lost: {} of {}", file.path, file.checkpoint)),
                );
                let named = damaged.affected.len() as u64;
                if damaged.affected_count > named {
                    lines.push(format!("    lost: {} more", damaged.affected_count - named));
                }
            }
        }
        lines.join("\n")
    })?;
    if !outcome.is_sound() {
        return Ok(exit::DAMAGED);
    }
    Ok(if outcome.copies.iter().any(|copy| copy.trouble.is_some()) { exit::PARTIAL } else { exit::OK })
}
