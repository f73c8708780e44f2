//! One file for each command: read arguments, call `rpo`, show the result.

pub(crate) mod check;
pub(crate) mod checkpoint;
pub(crate) mod completions;
pub(crate) mod init;
pub(crate) mod points;
pub(crate) mod protect;
pub(crate) mod restore;
pub(crate) mod run;
pub(crate) mod status;
pub(crate) mod tag;
pub(crate) mod verify;
pub(crate) mod wal;

use std::path::Path;
use std::time::Duration;

use rpo::checkpoint::Cancel;
use rpo::config::Config;
use rpo::core::{CopyName, ErrorKind, SourceId};
use rpo::{Site, SiteParts};

use crate::output::{Output, complain};
use crate::{exit, text};

/// A refusal of the command line itself, with its exit code.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Refused {
    pub(crate) code: u8,
    pub(crate) text: String,
}

impl Refused {
    #[expect(clippy::new_ret_no_self, reason = "it is only ever made to be returned as an error")]
    pub(crate) fn new(code: u8, text: impl Into<String>) -> anyhow::Error {
        Self { code, text: text.into() }.into()
    }
}

/// What a command line names: looked up in the configuration before any store is asked.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Named<'a> {
    pub(crate) system: Option<&'a SourceId>,
    pub(crate) copy: Option<&'a CopyName>,
}

fn load(path: &Path, named: Named<'_>) -> anyhow::Result<Config> {
    let config = Config::load(path)?;
    if let Some(system) = named.system {
        config.require_system(system)?;
    }
    if let Some(copy) = named.copy {
        config.require_copy(copy)?;
    }
    Ok(config)
}

/// Reads the configuration and opens its copies.
pub(crate) async fn site(path: &Path, named: Named<'_>) -> anyhow::Result<Site> {
    let config = load(path, named)?;
    let site = match Site::open(config.clone(), SiteParts::os()).await {
        Ok(site) => site,
        Err(error) => return Err(was_there(&config, error)),
    };
    match site.home() {
        Err(error) if error.kind() == ErrorKind::NotFound => Err(lives_elsewhere(&site, error)),
        _ => Ok(site),
    }
}

/// The same for commands that only read.
pub(crate) async fn site_read_only(path: &Path, named: Named<'_>) -> anyhow::Result<Site> {
    let config = load(path, named)?;
    let opened = Site::open_read_only(config.clone(), SiteParts::os()).await;
    opened.map_err(|error| was_there(&config, error))
}

/// No copy holds a repository, although `rpo run` has worked with it: that is a loss, and no place for a new one.
fn was_there(config: &Config, error: rpo::Error) -> anyhow::Error {
    let state = &config.daemon.state_dir;
    if error.kind() != ErrorKind::NotFound || !state.join("repository.json").is_file() {
        return error.into();
    }
    let places: Vec<_> = config.copies.iter().map(|copy| format!("{} ({})", copy.name, copy.url)).collect();
    let text = format!(
        "the repository is gone from {}: it was there before, {} remembers it; next: bring it back (is its disk mounted, is \
         its name as before?), and make no new one over the loss: rpo init would begin with nothing",
        text::line(&places.join(", ")),
        text::path(state)
    );
    Refused::new(exit::NOT_FOUND, text)
}

/// Home holds no repository, and another copy does: that is a loss, too, and there is a way on.
fn lives_elsewhere(site: &Site, error: rpo::Error) -> anyhow::Error {
    let holder = site.copies().find_map(|(copy, opened)| opened.ok().map(|_| &copy.name));
    let (Some(home), Some(holder)) = (site.config().home(), holder) else { return error.into() };
    let text = format!(
        "copy {0} is home and is gone from {1}: it was there before, copy {holder} still holds the repository; next: bring \
         {0} back (is its disk mounted?); or go on from {holder}: in rpo.toml give {holder} role = \"home\", and {0} \
         role = \"mirror\" and a new place, then rpo init; rpo restore works from {holder} meanwhile",
        home.name,
        text::line(&home.url)
    );
    Refused::new(exit::NOT_FOUND, text)
}

/// Says so if home cannot be used and another copy speaks for it.
pub(crate) fn say_if_not_home(site: &Site, from: Option<&CopyName>, output: Output) -> anyhow::Result<()> {
    if let (None, Err(error)) = (from, site.home()) {
        let (instead, _) = site.copy(None)?;
        let text = match error.kind() {
            ErrorKind::NotFound => {
                format!("home cannot be used, this is from copy {instead}: {}", lives_elsewhere(site, error))
            }
            _ => format!("home cannot be used ({error}); this is from copy {instead}"),
        };
        output.say(text);
    }
    Ok(())
}

/// `1 system`, `2 systems`.
pub(crate) fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// Work that stops within this time after being asked to says only how it ended.
const STOPS_WITHIN: Duration = Duration::from_millis(300);

/// Ctrl-C and SIGTERM stop long work at the next safe moment; a second Ctrl-C ends at once.
pub(crate) fn stop_on_signal() -> anyhow::Result<Cancel> {
    use tokio::signal::unix::{SignalKind, signal};
    let cancel = Cancel::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let told = cancel.clone();
    tokio::spawn(async move {
        let mut asked = async || {
            tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
        };
        asked().await;
        told.cancel();
        if tokio::time::timeout(STOPS_WITHIN, asked()).await.is_err() {
            complain("stopping at the next safe moment; again to stop at once");
            asked().await;
        }
        complain(
            "stopped at once: checkpoints that were complete are whole, the target of a restore is as it was; what a \
             restore had built (.NAME.rpo-partial-… beside the target) may be deleted",
        );
        std::process::exit(i32::from(crate::exit::INTERRUPTED));
    });
    Ok(cancel)
}
