//! `rpo check`: the effective promise, in plain words.

use std::path::Path;

use rpo::config::{Config, Promise, Warning};
use rpo::{Site, SiteParts};
use serde::Serialize;

use crate::arguments::Check;
use crate::exit;
use crate::output::Output;

/// What `check` says.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Checked {
    schema_version: u32,
    promises: Vec<Promise>,
    warnings: Vec<Warning>,
    /// What is wrong on this machine now.
    problems: Vec<Warning>,
    copies: Vec<CopyChecked>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct CopyChecked {
    name: String,
    trouble: Option<String>,
}

pub(crate) async fn run(path: &Path, check: &Check, output: Output) -> anyhow::Result<u8> {
    let config = Config::load(path)?;
    SiteParts::os().check_schemes(&config)?;
    let mut checked = Checked {
        schema_version: rpo::SCHEMA_VERSION,
        promises: config.promises(),
        warnings: config.warnings(),
        problems: config.look(),
        copies: Vec::new(),
    };
    if check.open {
        let site = Site::open(config, SiteParts::os()).await?;
        checked.warnings.extend(site.warnings());
        checked.copies = site
            .copies()
            .map(|(copy, opened)| CopyChecked {
                name: copy.name.to_string(),
                trouble: opened.err().map(|e| e.to_string()),
            })
            .collect();
    }
    output.result(&checked, || text(&checked))?;
    if !check.open {
        output.next("rpo check --open, to try every copy; rpo run, to keep these promises");
    }
    let trouble = !checked.problems.is_empty() || checked.copies.iter().any(|copy| copy.trouble.is_some());
    Ok(if trouble { exit::PARTIAL } else { exit::OK })
}

fn text(checked: &Checked) -> String {
    let mut lines = Vec::new();
    let mut last = "";
    for promise in &checked.promises {
        if promise.system != last {
            lines.push(promise.system.clone());
            last = &promise.system;
        }
        lines.push(format!("  {:9} {}", format!("{}:", promise.domain), promise.text));
    }
    if checked.promises.is_empty() {
        lines.push("nothing is protected: the file has no [[system]]".to_owned());
    }
    lines.extend(checked.warnings.iter().map(|warning| format!("warning: {warning}")));
    lines.extend(checked.problems.iter().map(|problem| format!("problem: {problem}")));
    for copy in &checked.copies {
        lines.push(match &copy.trouble {
            Some(trouble) => format!("copy {}: {trouble}", copy.name),
            None => format!("copy {}: opens", copy.name),
        });
    }
    lines.join("\n")
}
