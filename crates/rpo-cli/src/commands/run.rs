//! `rpo run`: the daemon in the foreground.

use std::path::Path;

use rpo::config::Config;
use rpo::{Daemon, SiteParts};
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::Run;
use crate::exit;
use crate::output::Output;

pub(crate) async fn run(path: &Path, run: &Run, output: Output) -> anyhow::Result<u8> {
    let config = Config::load(path)?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let daemon = Daemon::start(config, SiteParts::os()).await?;
    let mut events = daemon.subscribe();
    output.say(format!("protecting {} systems; SIGTERM lets work in hand finish", daemon.systems()));
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(event) => output.event(&event, || event.to_string())?,
                Err(tokio::sync::broadcast::error::RecvError::Lagged(missed)) => {
                    output.say(format!("{missed} events were not shown"));
                }
                Err(tokio::sync::broadcast::error::RecvError::Closed) => break,
            },
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            () = daemon.first_round(), if run.once => break,
        }
    }
    output.say("draining: work in hand finishes");
    let report = daemon.stop().await?;
    output.result(&report, || super::status::text(&report))?;
    Ok(exit::OK)
}
