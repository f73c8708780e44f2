//! `rpo completions SHELL`.

use clap::{Command, CommandFactory as _};

use crate::arguments::{Arguments, Completions};
use crate::exit;
use crate::output::Output;

pub(crate) fn run(completions: &Completions, output: Output) -> anyhow::Result<u8> {
    let all = Arguments::command();
    // What is hidden is not completed either, and a command cannot forget what it has.
    let shown = all.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let mut command = Command::new("rpo").args(all.get_arguments().cloned()).subcommands(shown);
    let mut script = Vec::new(); // the generator panics where it cannot write
    clap_complete::generate(completions.shell, &mut command, "rpo", &mut script);
    output.raw(&script)?;
    Ok(exit::OK)
}
