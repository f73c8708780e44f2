//! The `rpo` command: protect data, see what would be lost now, restore it.

mod arguments;
mod commands;
mod demo;
mod exit;
mod failure;
mod output;
mod pace;
mod text;

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::Parser as _;

use crate::arguments::{Arguments, Command};
use crate::output::{Output, complain};

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return answer(error),
    };
    let output = Output { json: arguments.json, quiet: arguments.quiet };
    let filter = tracing_subscriber::EnvFilter::try_from_env("RPO_LOG").unwrap_or_else(|_| {
        // What looks for credentials warns of each place that has none, with a dump; that there are none is an error of ours.
        tracing_subscriber::EnvFilter::new(if arguments.quiet {
            "error,reqsign=off"
        } else {
            "warn,reqsign=off"
        })
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
        Err(error) => {
            return failure::tell(output, &anyhow::Error::from(error).context("the runtime cannot start"));
        }
    };
    match runtime.block_on(run(arguments, output)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => failure::tell(output, &error),
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
        Command::Wal(wal) => commands::wal::run(&wal, output).await,
        Command::Completions(completions) => commands::completions::run(&completions, output),
    }
}

/// Help and the version, or what is wrong with the command line.
fn answer(error: clap::Error) -> ExitCode {
    let asked_for = !error.use_stderr();
    if asked_for {
        let printed = error.print().and_then(|()| std::io::stdout().flush());
        return match output::written(printed) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failure::tell(Output { json: false, quiet: false }, &error),
        };
    }
    match without_controls() {
        None => _ = error.print(), // to stderr, where nothing else could be told
        Some(again) => complain(text::lines(again.unwrap_or(error).render().to_string().trim_end()).as_ref()),
    }
    ExitCode::from(exit::USAGE)
}

/// If the command line holds what steers a terminal: what is wrong with it once that is written as escapes.
fn without_controls() -> Option<Option<clap::Error>> {
    let given: Vec<_> = std::env::args_os().collect();
    let shown = |argument: &OsString| match argument.to_str() {
        Some(argument) => OsString::from(text::line(argument).as_ref()),
        None => argument.clone(),
    };
    let shown: Vec<_> = given.iter().map(shown).collect();
    (shown != given).then(|| Arguments::try_parse_from(shown).err())
}
