//! `rpo protect DIR --to URL…`: configuration, repository, first checkpoint.

use std::path::Path;

use rpo::SiteParts;
use rpo::config::{Config, SourceConfig, template};
use rpo::core::{HumanDuration, SourceId};

use super::init::{absolute, copies, create, repository, say_wrote, write_new};
use super::{Refused, checkpoint};
use crate::arguments::{Checkpoint, Protect};
use crate::exit;
use crate::output::Output;

/// Time between two checkpoints where nothing asks for less.
const EVERY: HumanDuration = HumanDuration::from_secs(300);

pub(crate) async fn run(path: &Path, protect: Protect, output: Output) -> anyhow::Result<u8> {
    let directory = absolute(&protect.directory);
    if directory.to_str().is_none() {
        let text = format!(
            "{} is not UTF-8 and cannot stand in rpo.toml; next: protect a directory above it",
            directory.display()
        );
        return Err(Refused::new(exit::REFUSED, text));
    }
    if !directory.is_dir() {
        return Err(Refused::new(exit::NOT_FOUND, format!("{} is not a directory", directory.display())));
    }
    let name = match protect.name {
        Some(name) => name,
        None => name_of(&directory)?,
    };
    let source =
        SourceConfig::Directory { path: directory, exclude: protect.exclude, one_file_system: false };
    let copies = copies(&protect.to, &protect.labels)?;
    let half = protect.rpo.map_or(EVERY, |rpo| HumanDuration::from(rpo.get() / 2).min(EVERY));
    let every = protect.every.unwrap_or(half);
    let wanted = rpo::config::Protect { name: name.clone(), source, every, rpo: protect.rpo };
    let text = template(&repository(&protect.secret), &copies, Some(&wanted));
    // A configuration that cannot work is refused before anything is written.
    let checked = Config::parse(&text, path)?;
    checked.validate().map_err(rpo::Error::from)?;
    if protect.rpo.is_some() && checked.systems.iter().all(|system| system.objective.is_none()) {
        let text = "nothing can be promised: every copy is lost together with this machine; next: keep a copy elsewhere, or \
                    label one that is with --machine or --region";
        return Err(Refused::new(exit::REFUSED, text));
    }
    SiteParts::os().check_schemes(&checked)?;
    checked.new_secret()?;
    let wrote = write_new(path, &text, output)?;
    let config = Config::load(path)?;
    create(path, &config, wrote).await?;
    say_wrote(path, wrote, output);
    let code = checkpoint::run(path, &Checkpoint { system: Some(name), full: false }, output).await?;
    if config.repository.encryption.is_none() {
        output.say("keep the passphrase or key: without it nothing can be restored");
    }
    output.next("rpo check, then rpo run");
    Ok(code)
}

/// A name made from the directory's: `My Documents` becomes `my-documents`.
fn name_of(directory: &Path) -> anyhow::Result<SourceId> {
    let last = directory.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let mapped: String = last
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' { c } else { '-' })
        .collect();
    let trimmed = mapped.trim_matches(['-', '.']);
    SourceId::new(trimmed).map_err(|_| {
        Refused::new(
            exit::REFUSED,
            format!("no name can be made from {}: give one with --name", directory.display()),
        )
    })
}
