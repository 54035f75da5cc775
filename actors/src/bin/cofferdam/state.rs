//! `state`: what a checkpoint keeps by key.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use cofferdam::{JsonEntry, Savepoint, SavepointWriter, StoredCheckpoint};
use cofferdam_engine::checkpoint::{snapshot::StateAddress, store::StoreErrorKind};
use serde_json::{Value, json};

use crate::{
    failure::Failure,
    output::{self, Listed, Output, grouped, hex},
    place,
};

#[derive(Subcommand)]
pub enum Command {
    /// Lists the states: what they are, their entries and bytes. Reads all of them
    List {
        /// A job's state directory, its URI (file://, s3://, hdfs://), or a savepoint's file
        #[arg(value_name = "DIR")]
        place: PathBuf,
        /// The checkpoint, instead of the newest
        #[arg(long, value_name = "NUMBER")]
        checkpoint: Option<u64>,
    },
    /// Prints keys and values, one a line: as JSON, with a tab between them
    Dump(Dump),
}

#[derive(Args)]
pub struct Dump {
    /// A job's state directory, its URI (file://, s3://, hdfs://), or a savepoint's file
    #[arg(value_name = "DIR")]
    place: PathBuf,
    /// The step's uid, which is its name unless it was given another
    #[arg(long)]
    operator: String,
    /// One of its states; without it, all of them
    #[arg(long)]
    state: Option<String>,
    /// One key alone: JSON, or plain text for a string
    #[arg(long)]
    key: Option<String>,
    /// The checkpoint, instead of the newest
    #[arg(long, value_name = "NUMBER")]
    checkpoint: Option<u64>,
    /// Where a copy of the state is put while it is printed; it has no name there
    #[arg(long, value_name = "DIRECTORY")]
    temp_dir: Option<PathBuf>,
}

pub fn run(command: Command, output: &mut Output) -> Result<ExitCode, Failure> {
    match command {
        Command::List { place, checkpoint } => {
            place::look(&place, checkpoint, |checkpoint| list(&checkpoint))?.say(output)
        }
        Command::Dump(dump) => dump.run(output),
    }
}

fn list(checkpoint: &StoredCheckpoint) -> Result<Listed, Failure> {
    let (mut states, mut rows, mut damages) = (Vec::new(), Vec::new(), Vec::new());
    for (StateAddress { operator, state }, record) in checkpoint.states() {
        let size = checkpoint.measure(&operator, &state);
        let (kind, key) = (record.kind.to_string(), record.key.to_string());
        let mut one =
            json!({ "operator": operator, "state": state, "kind": kind, "key": key, "version": record.version });
        let [entries, bytes] = match size {
            Ok(size) => {
                (one["entries"], one["bytes"], one["blocks"]) =
                    (size.entries.into(), size.bytes.into(), size.blocks.into());
                [grouped(size.entries), grouped(size.bytes)]
            }
            Err(damage) if damage.kind == StoreErrorKind::Damaged => {
                let damage = output::chain(&damage);
                one["damage"] = damage.clone().into();
                damages.push(damage);
                ["damaged".to_string(), String::new()]
            }
            Err(error) => return Err(error.into()),
        };
        rows.push(vec![operator, state, kind, key, record.version.to_string(), entries, bytes]);
        states.push(one);
    }
    let number = checkpoint.metadata().checkpoint;
    let document = json!({ "place": checkpoint.place(), "checkpoint": number, "states": states });
    let header = ["operator", "state", "kind", "key", "version", "entries", "bytes"];
    let damages: String = damages.iter().map(|damage| format!("{damage}\n")).collect();
    let text = format!("checkpoint {number}\n{}{damages}", output::table(&header, &rows));
    Ok(Listed { document, text, is_whole: damages.is_empty() })
}

impl Dump {
    fn run(self, output: &mut Output) -> Result<ExitCode, Failure> {
        if let Some(key) = &self.key {
            let (states, found) =
                place::look(&self.place, self.checkpoint, |checkpoint| self.entries_of(&checkpoint, key))?;
            for (state, entry) in &found {
                self.print(state, entry, states > 1, output)?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        let (copy, states) = place::look(&self.place, self.checkpoint, |checkpoint| {
            let states = self.states(&checkpoint)?;
            Ok((self.copy(checkpoint, &states)?, states))
        })?;
        for state in &states {
            for entry in copy.json_entries(&self.operator, state)? {
                self.print(state, &entry?, states.len() > 1, output)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn states(&self, checkpoint: &StoredCheckpoint) -> Result<Vec<String>, Failure> {
        let all = checkpoint.states().map(|(address, _)| address);
        let of_operator = all.filter(|address| address.operator == self.operator).map(|address| address.state);
        let states: Vec<_> = of_operator.filter(|name| self.state.as_ref().is_none_or(|state| state == name)).collect();
        if states.is_empty() {
            let name =
                self.state.as_deref().map_or(self.operator.clone(), |state| format!("{}/{state}", self.operator));
            let all: Vec<_> = checkpoint.states().map(|(address, _)| address.to_string()).collect();
            let all = if all.is_empty() { "none".to_string() } else { all.join(", ") };
            let (number, place) = (checkpoint.metadata().checkpoint, checkpoint.place());
            let message = format!("checkpoint {number} in {place} keeps no state '{name}'; what it keeps: {all}");
            return Err(Failure::not_found(message));
        }
        Ok(states)
    }

    /// A copy of the states in a file that has no name any more: whoever reads the output takes their time, and the job is not to wait for its pages.
    fn copy(&self, checkpoint: StoredCheckpoint, states: &[String]) -> Result<StoredCheckpoint, Failure> {
        if self.place.is_file() {
            return Ok(checkpoint);
        }
        let directory = temporary(self.temp_dir.as_deref())?;
        let mut writer = SavepointWriter::of(&checkpoint);
        for (address, _) in checkpoint.states() {
            if address.operator != self.operator || !states.contains(&address.state) {
                writer = writer.without_state(&address.operator, &address.state)?;
            }
        }
        let file = directory.path().join("state");
        writer.write(&file)?;
        Ok(Savepoint::open(&file)?.into())
    }

    /// How many states were looked at, and what they have of `key`.
    fn entries_of(
        &self,
        checkpoint: &StoredCheckpoint,
        key: &str,
    ) -> Result<(usize, Vec<(String, JsonEntry)>), Failure> {
        let text = Value::String(key.to_string());
        let json = serde_json::from_str(key).unwrap_or_else(|_| text.clone());
        let (states, mut found) = (self.states(checkpoint)?, Vec::new());
        for state in &states {
            let get = |key| checkpoint.json_get(&self.operator, state, key);
            // Text that happens to be JSON, such as a number, may be a string's all the same.
            let entries = get(&json).or_else(|error| get(&text).map_err(|_| error))?;
            found.extend(entries.into_iter().map(|entry| (state.clone(), entry)));
        }
        match found.is_empty() {
            false => Ok((states.len(), found)),
            true => {
                let number = checkpoint.metadata().checkpoint;
                Err(Failure::not_found(format!("checkpoint {number} has no entry of key {key}")))
            }
        }
    }

    fn print(&self, state: &str, entry: &JsonEntry, is_one_of_many: bool, output: &mut Output) -> Result<(), Failure> {
        let JsonEntry { key, value, bytes, version, used } = entry;
        if output.json {
            let mut line =
                json!({ "operator": self.operator, "state": state, "key": key, "value": value, "version": version });
            if value.is_none() {
                line["message_pack"] = hex(bytes).into();
            }
            if let Some(used) = used {
                line["used_ms"] = (*used).into();
            }
            return Ok(output.line(line)?);
        }
        let value = value.as_ref().map_or_else(|| format!("MessagePack {}", hex(bytes)), ToString::to_string);
        match is_one_of_many {
            true => output.line(format_args!("{state}\t{key}\t{value}"))?,
            false => output.line(format_args!("{key}\t{value}"))?,
        }
        Ok(())
    }
}

/// A directory that goes when it is dropped.
pub fn temporary(within: Option<&Path>) -> Result<tempfile::TempDir, Failure> {
    let within = within.map_or_else(std::env::temp_dir, Path::to_owned);
    let made = tempfile::Builder::new().prefix("cofferdam-").tempdir_in(&within);
    made.map_err(|cause| {
        Failure::failed(format!("no directory can be made in {} (see --temp-dir): {cause}", within.display()))
    })
}
