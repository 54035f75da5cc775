//! `cofferdam`: looks at the state of jobs, running or not, without being one.
//!
//! ```text
//! place        which checkpoint of which directory or file     -> StoredCheckpoint
//! checkpoints  list, show, verify, delete                      \
//! state        list, dump                                       > output: tables, or JSON
//! savepoint    show, verify                                    /
//! verifying    a child process, on a copy
//! ```

mod checkpoints;
mod output;
mod place;
mod record;
mod savepoint;
mod state;
mod verifying;

use std::{error::Error, io, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::output::Output;

/// Looks at the state of Cofferdam jobs: checkpoints, keyed state, savepoints. What it shows it only reads, and a running job is not disturbed.
#[derive(Parser)]
#[command(name = "cofferdam", version, max_term_width = 100)]
struct Options {
    /// JSON instead of tables: one document, or one a line for `state dump`
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The checkpoints that a state directory keeps
    #[command(subcommand)]
    Checkpoints(checkpoints::Command),
    /// The keyed state in a checkpoint
    #[command(subcommand)]
    State(state::Command),
    /// A savepoint's file
    #[command(subcommand)]
    Savepoint(savepoint::Command),
    /// Verifies a copy of a directory, and reports as JSON: what `checkpoints verify` runs
    #[command(hide = true)]
    VerifyCopy { directory: PathBuf, copy: PathBuf },
}

/// Why the command fails: told on standard error, with exit code 1.
type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    let Options { json, command } = Options::parse();
    let mut output = Output::new(json);
    let done = match command {
        Command::Checkpoints(command) => checkpoints::run(command, &mut output),
        Command::State(command) => state::run(command, &mut output),
        Command::Savepoint(command) => savepoint::run(command, &mut output),
        Command::VerifyCopy { directory, copy } => verifying::verify_copy(&directory, &copy, &mut output),
    };
    match done.and_then(|code| Ok(output.finish().map(|()| code)?)) {
        Ok(code) => code,
        // Whoever read has read enough.
        Err(failure) if is_closed_pipe(&*failure) => ExitCode::SUCCESS,
        Err(failure) => {
            output::complain(&*failure);
            ExitCode::FAILURE
        }
    }
}

fn is_closed_pipe(failure: &(dyn Error + 'static)) -> bool {
    failure.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
