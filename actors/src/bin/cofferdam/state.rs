//! `state`: what a checkpoint keeps, by key and by subtask.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use cofferdam::{JsonEntry, Savepoint, SavepointWriter, StateSize, StoredCheckpoint, StoredSplit};
use cofferdam_engine::{
    Key as _,
    checkpoint::{
        snapshot::{StateAddress, StateKind, StateRecord},
        store::{StoreError, StoreErrorKind},
    },
};
use serde_json::{Value, json};

use crate::{
    failure::{Failure, Kind},
    output::{self, Listed, Output, grouped, hex},
    place,
    temporary::Temporary,
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
    /// Prints keys and values, one a line: as JSON, with a tab between them. Of operators without a key, and of sources, what each subtask has
    Dump(Dump),
}

#[derive(Args)]
pub struct Dump {
    /// A job's state directory, its URI (file://, s3://, hdfs://), or a savepoint's file
    #[arg(value_name = "DIR")]
    place: PathBuf,
    /// The step's or the source's uid, which is its name unless it was given another
    #[arg(long)]
    operator: String,
    /// One of its states; without it, all of them. A source's is 'positions'
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

/// Of a key that is told, in characters.
const LONGEST_KEY: usize = 100;

/// The name that a source's splits and positions go by.
const POSITIONS: &str = "positions";

fn list(checkpoint: &StoredCheckpoint) -> Result<Listed, Failure> {
    let mut list = List::default();
    for (address, record) in checkpoint.states() {
        let size = checkpoint.measure(&address.operator, &address.state);
        list.add(&address, Some(record), size.map(|size| (size, Vec::new())))?;
    }
    for (address, record) in checkpoint.operator_states() {
        let StateAddress { operator, state } = &address;
        let size = checkpoint.measure_operator_state(operator, state).and_then(|size| {
            let entries = checkpoint.json_operator_entries(operator, state)?;
            Ok((size, entries.iter().map(Vec::len).collect()))
        });
        list.add(&address, Some(record), size)?;
    }
    for source in checkpoint.sources() {
        let subtasks = positions(checkpoint, source)?;
        let entries: Vec<_> = subtasks.iter().map(|splits| splits.as_ref().map_or(1, Vec::len)).collect();
        let operators = checkpoint.metadata().operators.iter().filter(|operator| operator.uid == source);
        let bytes = operators.flat_map(|operator| &operator.subtasks).map(|one| one.state.len() as u64).sum();
        let size = StateSize { entries: entries.iter().sum::<usize>() as u64, blocks: entries.len() as u64, bytes };
        let address = StateAddress { operator: source.to_string(), state: POSITIONS.to_string() };
        list.add(&address, None, Ok((size, entries)))?;
    }
    let number = checkpoint.metadata().checkpoint;
    let List { states, rows, damages } = list;
    let document = json!({ "place": checkpoint.place(), "checkpoint": number, "states": states });
    let header = ["operator", "state", "kind", "key", "version", "entries", "bytes", "by subtask"];
    let damages: String = damages.iter().map(|damage| format!("{damage}\n")).collect();
    let text = format!("checkpoint {number}\n{}{damages}", output::table(&header, &rows));
    Ok(Listed { document, text, is_whole: damages.is_empty() })
}

#[derive(Default)]
struct List {
    states: Vec<Value>,
    rows: Vec<Vec<String>>,
    damages: Vec<String>,
}

impl List {
    /// Adds a state, or a source's positions, which have no record. `size` comes with the entries of each subtask, if the state is kept by subtask.
    fn add(
        &mut self,
        StateAddress { operator, state }: &StateAddress,
        record: Option<&StateRecord>,
        size: Result<(StateSize, Vec<usize>), StoreError>,
    ) -> Result<(), Failure> {
        let kind = record.map_or_else(|| POSITIONS.to_string(), |record| record.kind.to_string());
        let key = record.filter(|record| record.key != <()>::format()).map(|record| record.key.to_string());
        let version = record.map(|record| record.version);
        let mut one = json!({ "operator": operator, "state": state, "kind": kind, "key": key, "version": version });
        let [entries, bytes, by_subtask] = match size {
            Ok((size, subtasks)) => {
                (one["entries"], one["bytes"], one["blocks"]) =
                    (size.entries.into(), size.bytes.into(), size.blocks.into());
                if !subtasks.is_empty() {
                    one["subtasks"] = json!(subtasks);
                }
                let subtasks: Vec<_> = subtasks.iter().map(ToString::to_string).collect();
                [grouped(size.entries), grouped(size.bytes), subtasks.join(" ")]
            }
            Err(error) if error.kind == StoreErrorKind::Damaged => {
                let damage = output::chain(&error);
                one["damage"] = damage.clone().into();
                self.damages.push(damage);
                ["damaged".to_string(), String::new(), String::new()]
            }
            Err(error) => return Err(error.into()),
        };
        let version = version.map(|version| version.to_string()).unwrap_or_default();
        let cells =
            [operator.clone(), state.clone(), kind, key.unwrap_or_default(), version, entries, bytes, by_subtask];
        self.rows.push(cells.into());
        self.states.push(one);
        Ok(())
    }
}

/// A source's splits of each subtask; its bytes where they have no JSON.
type Positions = Vec<Result<Vec<StoredSplit<Value, Value>>, Vec<u8>>>;

fn positions(checkpoint: &StoredCheckpoint, source: &str) -> Result<Positions, Failure> {
    match checkpoint.positions(source) {
        Ok(subtasks) => Ok(subtasks.into_iter().map(Ok).collect()),
        Err(error) if error.kind == StoreErrorKind::Damaged => {
            let operators = checkpoint.metadata().operators.iter().filter(|operator| operator.uid == source);
            Ok(operators.flat_map(|operator| &operator.subtasks).map(|one| Err(one.state.clone())).collect())
        }
        Err(error) => Err(error.into()),
    }
}

impl Dump {
    fn run(self, output: &mut Output) -> Result<ExitCode, Failure> {
        if let Some(lines) =
            place::look(&self.place, self.checkpoint, |checkpoint| self.lines_without_keys(&checkpoint))?
        {
            for Line { json, text } in lines {
                if output.json { output.line(json)? } else { output.line(text)? }
            }
            return Ok(ExitCode::SUCCESS);
        }
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

    fn is_asked_for(&self, state: &str) -> bool {
        self.state.as_deref().is_none_or(|asked| asked == state)
    }

    /// What a source, or an operator with state that belongs to no key, has of each subtask; `None` if it is neither. It is small, and no copy is needed.
    fn lines_without_keys(&self, checkpoint: &StoredCheckpoint) -> Result<Option<Vec<Line>>, Failure> {
        let states: Vec<_> =
            checkpoint.operator_states().filter(|(address, _)| address.operator == self.operator).collect();
        let is_source = checkpoint.sources().any(|source| source == self.operator);
        if states.is_empty() && !is_source {
            return Ok(None);
        }
        let mut lines = Vec::new();
        let asked: Vec<_> = states.into_iter().filter(|(address, _)| self.is_asked_for(&address.state)).collect();
        for (StateAddress { state, .. }, record) in &asked {
            let has_keys = record.kind == StateKind::Broadcast;
            let wanted = self.key.as_deref().map(|key| self.wanted(record, key)).transpose()?;
            let name = if asked.len() > 1 { format!("{state}\t") } else { String::new() };
            for (subtask, entries) in checkpoint.json_operator_entries(&self.operator, state)?.iter().enumerate() {
                let entries =
                    entries.iter().filter(|entry| wanted.as_ref().is_none_or(|keys| keys.contains(&entry.key)));
                lines.extend(entries.map(|entry| self.line(&name, state, subtask, has_keys, entry)));
            }
        }
        if is_source && self.is_asked_for(POSITIONS) {
            if self.key.is_some() {
                return Err(Failure::new(
                    Kind::Usage,
                    format!("source '{}' has no keys; leave out --key", self.operator),
                ));
            }
            for (subtask, splits) in positions(checkpoint, &self.operator)?.into_iter().enumerate() {
                lines.extend(self.split_lines(subtask, splits));
            }
        } else if asked.is_empty() {
            self.states(checkpoint)?;
        }
        match (&self.key, lines.is_empty()) {
            (Some(key), true) => Err(no_entry(checkpoint, key)),
            _ => Ok(Some(lines)),
        }
    }

    /// What `key` may mean for a broadcast state.
    fn wanted(&self, record: &StateRecord, key: &str) -> Result<Vec<Value>, Failure> {
        if record.kind != StateKind::Broadcast {
            let what = format!(
                "state {}/{} is a {} and has no keys; leave out --key",
                self.operator, record.name, record.kind
            );
            return Err(Failure::new(Kind::Usage, what));
        }
        let text = Value::String(key.to_string());
        Ok(serde_json::from_str(key).into_iter().chain([text]).collect())
    }

    fn line(&self, name: &str, state: &str, subtask: usize, has_keys: bool, entry: &JsonEntry) -> Line {
        let JsonEntry { key, value, bytes, version, .. } = entry;
        let mut json = json!({ "operator": self.operator, "state": state, "subtask": subtask, "value": value, "version": version });
        if has_keys {
            json["key"] = key.clone();
        }
        if value.is_none() {
            json["message_pack"] = hex(bytes).into();
        }
        let key = if has_keys { format!("{key}\t") } else { String::new() };
        Line { json, text: format!("{name}[{subtask}]\t{key}{}", shown(value.as_ref(), bytes)) }
    }

    fn split_lines(&self, subtask: usize, splits: Result<Vec<StoredSplit<Value, Value>>, Vec<u8>>) -> Vec<Line> {
        let head = || json!({ "operator": self.operator, "state": POSITIONS, "subtask": subtask });
        let of_split = |StoredSplit { split, position, ended }| {
            let text = format!(
                "[{subtask}]\t{split}\t{}{}",
                position.as_ref().unwrap_or(&Value::Null),
                if ended { "\tended" } else { "" }
            );
            let mut json = head();
            (json["split"], json["position"], json["ended"]) = (split, position.into(), ended.into());
            Line { json, text }
        };
        match splits {
            Ok(splits) => splits.into_iter().map(of_split).collect(),
            Err(bytes) => {
                let mut json = head();
                json["message_pack"] = hex(&bytes).into();
                vec![Line { json, text: format!("[{subtask}]\t{}", shown(None, &bytes)) }]
            }
        }
    }

    fn states(&self, checkpoint: &StoredCheckpoint) -> Result<Vec<String>, Failure> {
        let all = checkpoint.states().map(|(address, _)| address);
        let of_operator = all.filter(|address| address.operator == self.operator).map(|address| address.state);
        let states: Vec<_> = of_operator.filter(|name| self.is_asked_for(name)).collect();
        if states.is_empty() {
            let name =
                self.state.as_deref().map_or(self.operator.clone(), |state| format!("{}/{state}", self.operator));
            let states = checkpoint.states().chain(checkpoint.operator_states());
            let positions = checkpoint.sources().map(|source| format!("{source}/{POSITIONS}"));
            let all: Vec<_> = states.map(|(address, _)| address.to_string()).chain(positions).collect();
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
        let directory = Temporary::make(self.temp_dir.as_deref())?;
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
        if found.is_empty() { Err(no_entry(checkpoint, key)) } else { Ok((states.len(), found)) }
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
        let value = shown(value.as_ref(), bytes);
        match is_one_of_many {
            true => output.line(format_args!("{state}\t{key}\t{value}"))?,
            false => output.line(format_args!("{key}\t{value}"))?,
        }
        Ok(())
    }
}

/// What is printed of one entry, in either form.
struct Line {
    json: Value,
    text: String,
}

/// A value for people.
fn shown(value: Option<&Value>, bytes: &[u8]) -> String {
    value.map_or_else(|| format!("MessagePack {}", hex(bytes)), ToString::to_string)
}

fn no_entry(checkpoint: &StoredCheckpoint, key: &str) -> Failure {
    let mut shown: String = key.chars().take(LONGEST_KEY).collect();
    if shown.len() < key.len() {
        shown = format!("{shown}... ({} bytes)", key.len());
    }
    Failure::not_found(format!("checkpoint {} has no entry of key {shown}", checkpoint.metadata().checkpoint))
}
