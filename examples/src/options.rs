//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, value_parser};

/// What every example can be told.
#[derive(Args, Debug)]
pub struct JobOptions {
    /// Keep checkpoints in this directory
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,

    /// Publish files into this directory
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,

    /// Take a checkpoint every so many milliseconds
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = value_parser!(u64).range(1..))]
    pub checkpoint_ms: u64,

    /// Run each step on so many subtasks [default: the number of cores]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=128))]
    pub parallelism: Option<u32>,

    /// Read no more than so many records a second, so that one can watch [default: no limit]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
}

/// Reads the command line of the example `name`; a mistake in it ends the process. State and output are in `state/` and `out/` unless the user says otherwise, in a
/// directory of the example's name.
pub fn parse<O: Parser>(name: &str) -> O {
    let (state, out) = (format!("state/{name}"), format!("out/{name}"));
    let command = O::command().name(name.to_owned());
    let command = command.mut_arg("state", |arg| arg.required(false).default_value(state));
    let command = command.mut_arg("out", |arg| arg.required(false).default_value(out));
    O::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}
