//! `rpo completions SHELL`.

use clap::CommandFactory as _;

use crate::arguments::{Arguments, Completions};
use crate::exit;

pub(crate) fn run(completions: &Completions) -> u8 {
    clap_complete::generate(completions.shell, &mut Arguments::command(), "rpo", &mut std::io::stdout());
    exit::OK
}
