//! `savepoint`: a file, by itself.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Subcommand;
use cofferdam::{Savepoint, StoredCheckpoint};
use cofferdam_engine::checkpoint::store::StoreErrorKind;
use serde_json::json;

use crate::{
    failure::{Failure, Kind},
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

/// What is no file is not waited for, as a pipe would be.
fn refuse_others(file: &Path) -> Result<(), Failure> {
    let what = match std::fs::metadata(file) {
        Ok(found) if found.is_dir() => "is a directory, and no savepoint: see `checkpoints`",
        Ok(found) if !found.is_file() => "is no regular file, and no savepoint",
        _ => return Ok(()),
    };
    Err(Failure::not_found(format!("{} {what}", file.display())))
}

fn show(file: &Path, output: &mut Output) -> Result<ExitCode, Failure> {
    refuse_others(file)?;
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
    refuse_others(file)?;
    let verified = Savepoint::open(file).map(StoredCheckpoint::from);
    let (states, damage) = match verified.and_then(|savepoint| verifying::verify_states(&savepoint)) {
        Ok(states) => (states, None),
        Err(error) if error.kind == StoreErrorKind::Damaged => (Vec::new(), Some(output::chain(&error))),
        Err(error) => return Err(error.into()),
    };
    let document = json!({
        "file": file.display().to_string(),
        "whole": damage.is_none(),
        "damage": damage,
        "states": states.iter().map(StateReport::json).collect::<Vec<_>>(),
    });
    output.document(&document, || match &damage {
        Some(damage) => format!("damaged: {damage}\n"),
        None => {
            let rows: Vec<_> = states.iter().map(StateReport::row).collect();
            format!("{} is whole\n{}", file.display(), output::table(&StateReport::HEADER, &rows))
        }
    })?;
    Ok(ExitCode::from(if damage.is_none() { 0 } else { Kind::Damaged.code() }))
}
