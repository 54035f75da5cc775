//! `savepoint`: a file, by itself.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Subcommand;
use cofferdam::{Savepoint, StoredCheckpoint};
use serde_json::json;

use crate::{
    Failure,
    output::{self, Output, grouped},
    record,
    verifying::{self, StateReport},
};

#[derive(Subcommand)]
pub enum Command {
    /// Shows what a savepoint is: whose, when, its record, its states
    Show {
        /// The savepoint's file
        file: PathBuf,
    },
    /// Reads all of a savepoint against its checksums, and takes every block apart
    Verify {
        /// The savepoint's file
        file: PathBuf,
    },
}

pub fn run(command: Command, output: &mut Output) -> Result<ExitCode, Failure> {
    match command {
        Command::Show { file } => show(&file, output),
        Command::Verify { file } => verify(&file, output),
    }
}

fn show(file: &Path, output: &mut Output) -> Result<ExitCode, Failure> {
    let savepoint = Savepoint::open(file)?;
    let states: Vec<_> = savepoint.states().map(|(address, bytes)| (address.to_string(), bytes)).collect();
    let mut document = json!({
        "file": file.display().to_string(),
        "savepoint": savepoint.id().to_string(),
        "written": output::time(savepoint.written()),
        "engine": savepoint.engine(),
        "bytes": savepoint.length(),
        "states": states.iter().map(|(state, bytes)| json!({ "state": state, "bytes": bytes })).collect::<Vec<_>>(),
    });
    document["record"] = record::json(savepoint.metadata());
    output.document(&document, || {
        let rows: Vec<_> = states.iter().map(|(state, bytes)| vec![state.clone(), grouped(*bytes)]).collect();
        let table =
            if rows.is_empty() { String::new() } else { format!("\n{}", output::table(&["state", "bytes"], &rows)) };
        format!(
            "savepoint        {}\nwritten          {}, by version {}\nbytes            {}\n{}{table}",
            savepoint.id(),
            output::time(savepoint.written()),
            savepoint.engine(),
            grouped(savepoint.length()),
            record::text(savepoint.metadata()),
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

fn verify(file: &Path, output: &mut Output) -> Result<ExitCode, Failure> {
    let savepoint = StoredCheckpoint::from(Savepoint::open(file)?);
    let states = verifying::verify_states(&savepoint)?;
    let document = json!({
        "file": file.display().to_string(),
        "whole": true,
        "states": states.iter().map(StateReport::json).collect::<Vec<_>>(),
    });
    output.document(&document, || {
        let rows: Vec<_> = states.iter().map(StateReport::row).collect();
        format!("{} is whole\n{}", file.display(), output::table(&StateReport::HEADER, &rows))
    })?;
    Ok(ExitCode::SUCCESS)
}
