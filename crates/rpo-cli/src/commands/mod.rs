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

use std::path::Path;

use rpo::checkpoint::Cancel;
use rpo::config::Config;
use rpo::{Site, SiteParts};

/// A refusal of the command line itself, with its exit code.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Refused {
    pub(crate) code: u8,
    pub(crate) text: String,
}

impl Refused {
    pub(crate) fn new(code: u8, text: impl Into<String>) -> anyhow::Error {
        Self { code, text: text.into() }.into()
    }
}

/// Reads the configuration and opens its copies.
pub(crate) async fn site(config: &Path) -> anyhow::Result<Site> {
    Ok(Site::open(Config::load(config)?, SiteParts::os()).await?)
}

/// The same for commands that only read.
pub(crate) async fn site_read_only(config: &Path) -> anyhow::Result<Site> {
    Ok(Site::open_read_only(Config::load(config)?, SiteParts::os()).await?)
}

/// Ctrl-C and SIGTERM stop long work at the next safe moment; a second Ctrl-C ends at once.
pub(crate) fn stop_on_signal() -> anyhow::Result<Cancel> {
    use tokio::signal::unix::{SignalKind, signal};
    let cancel = Cancel::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let told = cancel.clone();
    tokio::spawn(async move {
        tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
        eprintln!("stopping at the next safe moment; again to stop at once");
        told.cancel();
        tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
        std::process::exit(i32::from(crate::exit::INTERRUPTED));
    });
    Ok(cancel)
}
