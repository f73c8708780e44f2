//! `rpo init`: a configuration if there is none, and the repository in every copy that lacks it.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use rpo::config::{Config, CopyConfig, Encryption, RepositoryConfig, Role, template};
use rpo::core::CopyName;
use rpo::{Site, SiteParts};

use super::Refused;
use crate::arguments::{Init, SecretFrom};
use crate::exit;
use crate::output::Output;

pub(crate) async fn run(path: &Path, init: Init, output: Output) -> anyhow::Result<u8> {
    if !init.to.is_empty() {
        let text = template(&repository(&init.secret), &copies(&init.to)?, None);
        // A configuration that cannot work is refused before anything is written.
        let checked = Config::parse(&text, path)?;
        checked.validate().map_err(rpo::Error::from)?;
        SiteParts::os().check_schemes(&checked)?;
        checked.new_secret()?;
        write_new(path, &text)?;
        output.say(format!("wrote {}", path.display()));
    }
    let config = Config::load(path)?;
    let created = Site::create(&config, &SiteParts::os()).await?;
    output.result(&created, || {
        let mut text = format!("repository {}", created.repository);
        for copy in &config.copies {
            let new = created.created.contains(&copy.name);
            text +=
                &format!("\n  {}  {}  {}", copy.name, if new { "created" } else { "was there" }, copy.url);
        }
        text
    })?;
    if config.repository.encryption.is_none() {
        output.say("keep the passphrase or key: without it nothing can be restored");
    }
    output.next("rpo check");
    Ok(exit::OK)
}

/// The repository section that the secret options ask for.
pub(crate) fn repository(secret: &SecretFrom) -> RepositoryConfig {
    RepositoryConfig {
        passphrase_file: secret.passphrase_file.as_deref().map(absolute),
        encryption: secret.no_encryption.then_some(Encryption::None),
        ..RepositoryConfig::default()
    }
}

/// One copy for each URL: the first is home.
pub(crate) fn copies(urls: &[String]) -> anyhow::Result<Vec<CopyConfig>> {
    let names = ["main", "second", "third"];
    let copy = |(number, url): (usize, &String)| {
        let name = names.get(number).map_or_else(|| format!("copy-{}", number + 1), ToString::to_string);
        let role = (urls.len() > 1).then_some(if number == 0 { Role::Home } else { Role::Mirror });
        Ok(CopyConfig {
            name: CopyName::new(name)?,
            url: absolute_url(url),
            role,
            machine: None,
            region: None,
        })
    };
    urls.iter().enumerate().map(copy).collect()
}

/// `file:` URLs and bare paths are made absolute, so that the file means the same from everywhere.
fn absolute_url(url: &str) -> String {
    let path = match url.strip_prefix("file://") {
        Some(path) if path.starts_with('/') => return url.to_owned(),
        Some(path) => path,
        None if url.contains("://") => return url.to_owned(),
        None => url,
    };
    CopyConfig::url_of(&absolute(Path::new(path))).unwrap_or_else(|| url.to_owned())
}

pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Writes a new file; one that exists is left alone.
pub(crate) fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = opened.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Refused::new(
            exit::REFUSED,
            format!(
                "{} exists and is left alone; add to it by hand, or name another with --config",
                path.display()
            ),
        ),
        _ => anyhow::Error::from(error).context(format!("{} cannot be written", path.display())),
    })?;
    file.write_all(text.as_bytes())?;
    Ok(file.sync_all()?)
}
