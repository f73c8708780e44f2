//! `rpo completions SHELL`.

use clap::{Command, CommandFactory as _};

use crate::arguments::{Arguments, Completions};
use crate::exit;

pub(crate) fn run(completions: &Completions) -> u8 {
    let all = Arguments::command();
    // What is hidden is not completed either, and a command cannot forget what it has.
    let shown = all.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let mut command = Command::new("rpo").args(all.get_arguments().cloned()).subcommands(shown);
    clap_complete::generate(completions.shell, &mut command, "rpo", &mut std::io::stdout());
    exit::OK
}
