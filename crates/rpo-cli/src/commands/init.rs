//! `rpo init`: a configuration if there is none, and the repository in every copy that lacks it.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use rpo::config::{Config, CopyConfig, Encryption, RepositoryConfig, Role, template};
use rpo::core::CopyName;
use rpo::{Created, Site, SiteParts};

use super::Refused;
use crate::arguments::{Init, Labels, SecretFrom};
use crate::exit;
use crate::output::Output;

pub(crate) async fn run(path: &Path, init: Init, output: Output) -> anyhow::Result<u8> {
    let mut wrote = false;
    if !init.to.is_empty() {
        let text = template(&repository(&init.secret), &copies(&init.to, &init.labels)?, None);
        // A configuration that cannot work is refused before anything is written.
        let checked = Config::parse(&text, path)?;
        checked.validate().map_err(rpo::Error::from)?;
        SiteParts::os().check_schemes(&checked)?;
        checked.new_secret()?;
        wrote = write_new(path, &text, output)?;
    } else if !(init.labels.machine.is_empty() && init.labels.region.is_empty()) {
        let text = format!("labels are for the copies of --to; next: write them into {}", path.display());
        return Err(Refused::new(exit::REFUSED, text));
    }
    let config = Config::load(path)?;
    let created = create(path, &config, wrote).await?;
    say_wrote(path, wrote, output);
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

/// Makes the repository where it is lacking. A file that this run wrote goes again if nothing came of it, so that the next
/// try may be another; else the same command goes on where this one stopped.
pub(crate) async fn create(path: &Path, config: &Config, wrote: bool) -> anyhow::Result<Created> {
    let error = match Site::create(config, &SiteParts::os()).await {
        Ok(created) => return Ok(created),
        Err(error) => error,
    };
    if !wrote {
        return Err(error.into());
    }
    let nothing_made = Site::open_read_only(config.clone(), SiteParts::os()).await.is_err();
    if nothing_made && std::fs::remove_file(path).is_ok() {
        return Err(
            anyhow::Error::from(error).context(format!("nothing was made, {} was not kept", path.display()))
        );
    }
    let text = format!(
        "{} is written, the repository is not complete; next: mend it, then the same command again",
        path.display()
    );
    Err(anyhow::Error::from(error).context(text))
}

/// One copy for each URL: the first is home.
pub(crate) fn copies(urls: &[String], labels: &Labels) -> anyhow::Result<Vec<CopyConfig>> {
    let mut copies = unlabelled(urls)?;
    for text in &labels.machine {
        label(&mut copies, text, |copy, name| copy.machine = Some(name))?;
    }
    for text in &labels.region {
        label(&mut copies, text, |copy, name| copy.region = Some(name))?;
    }
    Ok(copies)
}

/// `NAME` for every copy, `COPY=NAME` for one.
fn label(copies: &mut [CopyConfig], text: &str, set: impl Fn(&mut CopyConfig, String)) -> anyhow::Result<()> {
    let (wanted, name) = match text.split_once('=') {
        Some((copy, name)) => (Some(copy), name),
        None => (None, text),
    };
    let known = copies.iter().map(|copy| copy.name.to_string()).collect::<Vec<_>>().join(", ");
    let mut found = copies.iter_mut().filter(|copy| wanted.is_none_or(|wanted| copy.name.as_str() == wanted));
    let Some(first) = found.next().filter(|_| !name.is_empty()) else {
        let text = format!("`{text}` labels no copy; next: write NAME, or COPY=NAME with one of {known}");
        return Err(Refused::new(exit::USAGE, text));
    };
    set(first, name.to_owned());
    found.for_each(|copy| set(copy, name.to_owned()));
    Ok(())
}

fn unlabelled(urls: &[String]) -> anyhow::Result<Vec<CopyConfig>> {
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

/// Writes a new file; one that exists is left alone, and goes for this one if it says just the same: an earlier try.
/// Returns whether it was written.
pub(crate) fn write_new(path: &Path, text: &str, output: Output) -> anyhow::Result<bool> {
    if std::fs::read_to_string(path).is_ok_and(|found| found == text) {
        output.say(format!("{} is there already and says just this: going on", path.display()));
        return Ok(false);
    }
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
    file.sync_all()?;
    Ok(true)
}

/// Says so once something came of it: until then the file may go again.
pub(crate) fn say_wrote(path: &Path, wrote: bool, output: Output) {
    if wrote {
        output.say(format!("wrote {}", path.display()));
    }
}
