//! The `rpo` command: protect data, see what would be lost now, restore it.

mod arguments;
mod commands;
mod demo;
mod exit;
mod output;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use rpo::core::ErrorKind;
use rpo::recovery::RecoveryError;

use crate::arguments::{Arguments, Command};
use crate::output::Output;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = Output { json: arguments.json, quiet: arguments.quiet };
    let filter = tracing_subscriber::EnvFilter::try_from_env("RPO_LOG").unwrap_or_else(|_| {
        tracing_subscriber::EnvFilter::new(if arguments.quiet { "error" } else { "warn" })
    });
    let colours =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false)
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(output, &anyhow::Error::from(error).context("the runtime cannot start")),
    };
    match runtime.block_on(run(arguments, output)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => failed(output, &error),
    }
}

async fn run(arguments: Arguments, output: Output) -> anyhow::Result<u8> {
    let config = arguments.config;
    match arguments.command {
        Command::Demo(demo) => demo::run(&demo, output).await,
        Command::DemoLedger(ledger) => demo::ledger::run(ledger).await.map(|()| exit::OK),
        Command::Init(init) => commands::init::run(&config, init, output).await,
        Command::Protect(protect) => commands::protect::run(&config, protect, output).await,
        Command::Check(check) => commands::check::run(&config, &check, output).await,
        Command::Run(run) => commands::run::run(&config, &run, output).await,
        Command::Status(status) => commands::status::run(&config, &status, output).await,
        Command::Points(points) => commands::points::run(&config, &points, output).await,
        Command::Checkpoint(checkpoint) => commands::checkpoint::run(&config, &checkpoint, output).await,
        Command::Restore(restore) => commands::restore::run(&config, restore, output).await,
        Command::Verify(verify) => commands::verify::run(&config, verify, output).await,
        Command::Tag(tag) => commands::tag::run(&config, &tag, output).await,
        Command::Completions(completions) => Ok(commands::completions::run(&completions)),
    }
}

/// Tells what failed: one line for people, one JSON line for programs, both on stderr.
fn failed(output: Output, error: &anyhow::Error) -> ExitCode {
    let (code, kind) = code_of(error);
    let mut message = message_of(error);
    if let Some(next) = next_of(code, kind).filter(|_| !message.contains("next: ")) {
        message += &format!("; next: {next}");
    }
    if output.json {
        let line =
            serde_json::json!({ "message-type": "error", "code": code, "kind": kind, "message": message });
        eprintln!("{line}");
    } else {
        eprintln!("error: {message}");
    }
    ExitCode::from(code)
}

/// The error and its causes, each said once: many errors name their cause themselves.
fn message_of(error: &anyhow::Error) -> String {
    let mut message = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !message.contains(&cause) {
            message += &format!(": {cause}");
        }
    }
    message
}

/// What helps against errors of that code, where the error does not say so itself.
fn next_of(code: u8, kind: Option<ErrorKind>) -> Option<&'static str> {
    match code {
        _ if kind == Some(ErrorKind::NoSpace) => Some(
            "no room there: make some, then the same command again; nothing half-made counts, nothing is lost",
        ),
        exit::KEY => Some(
            "see where [repository] takes the passphrase or key from (if it names nothing: the environment variable \
             RPO_PASSPHRASE)",
        ),
        exit::CONFIG => Some("mend the file, then rpo check"),
        exit::DAMAGED => {
            Some("rpo verify --read-data names what is damaged; another copy may be whole: --from COPY")
        }
        _ => None,
    }
}

fn code_of(error: &anyhow::Error) -> (u8, Option<ErrorKind>) {
    for cause in error.chain() {
        if let Some(error) = cause.downcast_ref::<rpo::Error>() {
            let code = match error {
                _ if error.is_config() => exit::CONFIG,
                rpo::Error::Recovery(error) if matches!(**error, RecoveryError::Refused(_)) => {
                    exit::NOT_RESTORABLE
                }
                _ => exit::of_kind(error.kind()),
            };
            return (code, Some(error.kind()));
        }
        if let Some(error) = cause.downcast_ref::<rpo::config::ConfigFileError>() {
            let code =
                if error.kind() == ErrorKind::Invalid { exit::CONFIG } else { exit::of_kind(error.kind()) };
            return (code, Some(error.kind()));
        }
        if let Some(refused) = cause.downcast_ref::<commands::Refused>() {
            return (refused.code, None);
        }
    }
    (exit::FAILED, None)
}
