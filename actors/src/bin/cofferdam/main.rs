//! `cofferdam`: looks at the state of jobs, running or not, without being one.
//!
//! ```text
//! place        which checkpoint of which directory or file     -> StoredCheckpoint
//! checkpoints  list, show, verify, delete                      \
//! state        list, dump                                       > output: tables, or JSON
//! savepoint    show, verify                                    /
//! verifying    LMDB: a child process, on a copy; files and objects where they are
//! temporary    a directory for such a copy, which goes however the command ends
//! failure      what sort of failure it is     -> exit code; with --json an object on standard error
//! ```

mod checkpoints;
mod failure;
mod output;
mod place;
mod record;
mod savepoint;
mod state;
mod temporary;
mod verifying;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{
    failure::{Failure, Kind},
    output::Output,
};

/// Looks at the state of Cofferdam jobs: checkpoints, state, savepoints. What it shows it only reads, and a running job is not disturbed.
#[derive(Parser)]
#[command(name = "cofferdam", version, max_term_width = 100, after_help = EXIT_CODES)]
struct Options {
    /// JSON instead of tables: one document, or one a line for `state dump`
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done; 1 failed, by the disk, the network or rights; 2 wrong usage; 3 damage found; 4 refused, as by a job that has the place open; 5 not there.
With --json a failure is one object on standard error: {\"error\": {\"kind\": ..., \"code\": ..., \"message\": ...}}.";

#[derive(Subcommand)]
enum Command {
    /// The checkpoints that a state directory keeps
    #[command(subcommand)]
    Checkpoints(checkpoints::Command),
    /// The state in a checkpoint
    #[command(subcommand)]
    State(state::Command),
    /// A savepoint's file
    #[command(subcommand)]
    Savepoint(savepoint::Command),
    /// Verifies a copy of a directory, and reports as JSON: what `checkpoints verify` runs
    #[command(hide = true)]
    VerifyCopy { directory: PathBuf, copy: PathBuf },
    /// Makes a temporary directory, and removes it when its standard input ends
    #[command(hide = true)]
    HoldTemporary { within: PathBuf },
}

fn main() -> ExitCode {
    let Options { json, command } = match Options::try_parse() {
        Ok(options) => options,
        Err(error) if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") => {
            return Failure::new(Kind::Usage, error.to_string().trim_end()).tell(true);
        }
        Err(error) => error.exit(),
    };
    let mut output = Output::new(json);
    let done = match command {
        Command::Checkpoints(command) => checkpoints::run(command, &mut output),
        Command::State(command) => state::run(command, &mut output),
        Command::Savepoint(command) => savepoint::run(command, &mut output),
        Command::VerifyCopy { directory, copy } => verifying::verify_copy(&directory, &copy, &mut output),
        Command::HoldTemporary { within } => temporary::hold(&within, &mut output),
    };
    // What was said before it failed comes first.
    let flushed = output.finish().map_err(Failure::from);
    match done.and_then(|code| flushed.map(|()| code)) {
        Ok(code) => code,
        Err(failure) => failure.tell(json),
    }
}
