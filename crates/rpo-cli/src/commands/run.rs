//! `rpo run`: the daemon in the foreground.

use std::path::Path;

use rpo::config::Config;
use rpo::core::ByteSize;
use rpo::core::event::{Event, EventKind};
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
    output.say(format!(
        "protecting {}; SIGTERM lets work in hand finish",
        super::count(daemon.systems() as u64, "system")
    ));
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(event) => output.event(&event, || told(&event))?,
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
    output.event(&report, || super::status::text(&report))?;
    let trouble = report.systems.iter().any(|system| system.trouble.is_some());
    Ok(if run.once && trouble { exit::PARTIAL } else { exit::OK })
}

/// An event for people: its name, and what they would ask next.
fn told(event: &Event) -> String {
    let more = match &event.kind {
        EventKind::BackupStarted { checkpoint } => checkpoint.to_string(),
        EventKind::BackupCompleted { checkpoint, bytes_added, took } => {
            format!(
                "{checkpoint}, stored {} in {:.1} s",
                ByteSize::new(*bytes_added),
                took.get().as_secs_f64()
            )
        }
        EventKind::BackupFailed { checkpoint, reason } => format!("{checkpoint}: {reason}"),
        EventKind::RegionFailed { copy, reason }
        | EventKind::ReplicationValidationFailed { copy, reason } => format!("copy {copy}: {reason}"),
        EventKind::ReplicationStarted { copy } => format!("copy {copy} is being brought up to date"),
        EventKind::StatusChanged { domain, from, to } => {
            format!("if this {domain} were lost: {from}, now {to}")
        }
        EventKind::RpoWarning { measured }
        | EventKind::RpoCritical { measured }
        | EventKind::RpoViolation { measured } => {
            let window = measured.window.map_or_else(|| "unknown".to_owned(), super::status::short);
            format!("if this {} were lost: {window}, promised {}", measured.domain, measured.limit)
        }
        _ => return event.to_string(),
    };
    format!("{event} {more}")
}
