//! A savepoint that no job has taken: made of data, or of another checkpoint.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::SystemTime};

use serde::Serialize;

use super::{
    contents::KeyedContents,
    export::{Pinned, SavepointInfo, Stamp},
    file::SavepointFile,
    operator_state,
};
use crate::{
    checkpoint::{
        snapshot::{BlockKind, CheckpointMetadata, OperatorKind, OperatorRecord, StateAddress, StateKind, StateRecord},
        store::{StateReader, StoreError},
    },
    codec,
    error::{BoxError, Error, ErrorKind},
    fail_point::FailPoints,
    id::{Attempt, CheckpointId, JobId, SavepointId, WallTime},
    key::Key,
    key_format::KeyFormat,
    key_group::{KeyGroup, KeyGroupRange},
    state::{BlockEntry, OperatorStates, StoredCheckpoint, Values, begin_sorted, push_sorted, read_stored_group},
};

/// Writes a savepoint outside of any job: a first state for a job to start with, or another checkpoint's, changed.
///
/// What is given is kept in memory, encoded, until the file is written; states taken over from a checkpoint are copied block by block. Operators of the job that are not in the savepoint start empty, and the
/// start's log says so; sources start at the beginning, with the splits that they list then.
///
/// ```no_run
/// use cofferdam_engine::savepoint::SavepointWriter;
///
/// // `fold`, `reduce` and `process` keep one state, named "value". The job's name and its max_parallelism are fixed by its first state.
/// let words = [("to".to_string(), 2u64), ("be".to_string(), 2)];
/// SavepointWriter::new("word-count", 128)?.keyed_state("count", "value", words)?.write("words.savepoint")?;
/// # Ok::<(), cofferdam_engine::Error>(())
/// ```
pub struct SavepointWriter {
    metadata: CheckpointMetadata,
    base: Option<StoredCheckpoint>,
    built: BTreeMap<StateAddress, Built>,
}

/// A full block for each key group that has entries, and how many those are.
type Built = BTreeMap<KeyGroup, (u32, Vec<u8>)>;

impl SavepointWriter {
    /// The first state of a job that has not run yet: checkpoint 0 of a new job. An error if `max_parallelism` is 0, the name is empty, or the system gives no random bytes for the job's id.
    pub fn new(job_name: impl Into<String>, max_parallelism: u16) -> Result<Self, Error> {
        let job_name = job_name.into();
        if max_parallelism == 0 {
            return Err(failed(format!("a savepoint for job '{job_name}' cannot be made: max_parallelism is 0"), None));
        }
        named("a job", &job_name)?;
        let metadata = CheckpointMetadata {
            job: JobId(random()?),
            job_name,
            checkpoint: CheckpointId(0),
            attempt: Attempt(0),
            max_parallelism,
            finished: false,
            draining: false,
            operators: Vec::new(),
            in_flight: Vec::new(),
            times: Vec::new(),
            origin: None,
        };
        Ok(Self { metadata, base: None, built: BTreeMap::new() })
    }

    /// Begins with all that `checkpoint` has: whose it is, positions, prepared transactions, states. It is not touched, and is read when the savepoint is written.
    pub fn of(checkpoint: &StoredCheckpoint) -> Self {
        let (metadata, base) = (checkpoint.metadata().clone(), Some(checkpoint.clone()));
        Self { metadata, base, built: BTreeMap::new() }
    }

    /// Adds a state of values, or puts values in the place of what was there. `operator` is the step's `uid`, which is its name unless it was given another. Of a state that was there, and
    /// whose keys are of the same type, kind and version stay; of a map or a list the keys are [`EntryKey`](crate::state::EntryKey)s, as
    /// [`entries`](StoredCheckpoint::entries) gives them. With a time to live, a value has the time that its key's value had; a new one has its own from the first time on that it is looked through. To add a
    /// state of another kind, see [`keyed_state_as`](Self::keyed_state_as). An error if a key comes twice, a value cannot be encoded, `operator` is no keyed step, or a name is empty.
    pub fn keyed_state<K: Key, V: Serialize>(
        self,
        operator: &str,
        state: &str,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, Error> {
        let version = self.state_like(operator, state, &K::format()).map_or(0, |stored| stored.version);
        self.keyed_state_of_version(operator, state, version, entries)
    }

    /// As [`keyed_state`](Self::keyed_state), with values of `version`, as the step's [`ValueFormat`](crate::state::ValueFormat) counts them.
    pub fn keyed_state_of_version<K: Key, V: Serialize>(
        self,
        operator: &str,
        state: &str,
        version: u32,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, Error> {
        let key = K::format();
        let kind = self.state_like(operator, state, &key).map_or(StateKind::Value, |stored| stored.kind);
        if kind.has_entries() != K::IS_ENTRY {
            let what = match kind.has_entries() {
                true => format!("of kind '{kind}', whose keys are `EntryKey`s"),
                false => format!("of kind '{kind}', and the keys are those of a map or a list"),
            };
            let message = format!("state {operator}/{state} is {what}; say what it is to be with `keyed_state_as`");
            return Err(failed(message, None));
        }
        self.put(operator, StateRecord { name: state.to_string(), kind, key, version }, entries)
    }

    /// Adds a state of any kind, or puts it in the place of what was there: what each key has of the state that a step declares with `state`. As with
    /// [`keyed_state`](Self::keyed_state), times stay.
    ///
    /// ```no_run
    /// use std::collections::BTreeMap;
    ///
    /// use cofferdam_engine::{savepoint::SavepointWriter, state};
    ///
    /// let carts = [(1u32, BTreeMap::from([("apple".to_string(), 3u64), ("pear".to_string(), 1)]))];
    /// let recent = [(1u32, vec!["apple".to_string(), "pear".to_string()])];
    /// SavepointWriter::new("shop", 128)?
    ///     .keyed_state_as("carts", &state::map::<String, u64>("items"), carts)?
    ///     .keyed_state_as("carts", &state::list::<String>("recent"), recent)?
    ///     .write("carts.savepoint")?;
    /// # Ok::<(), cofferdam_engine::Error>(())
    /// ```
    pub fn keyed_state_as<K: Key, D: KeyedContents<K>>(
        self,
        operator: &str,
        state: &D,
        contents: impl IntoIterator<Item = (K, D::Contents)>,
    ) -> Result<Self, Error> {
        let entries = contents.into_iter().flat_map(|(key, contents)| D::entries(key, contents));
        self.put(operator, state.record(), entries)
    }

    fn put<K: Key, V: Serialize>(
        mut self,
        operator: &str,
        record: StateRecord,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, Error> {
        named("a state", &record.name)?;
        let address = StateAddress { operator: operator.to_string(), state: record.name.clone() };
        let base = self.base.as_ref().filter(|base| find(base.metadata(), &address, &record.key).is_some());
        let groups = build(&address, self.metadata.max_parallelism, record.version, base, entries)?;
        self.operator(operator, OperatorKind::Keyed)?.put(record);
        self.built.insert(address, groups);
        Ok(self)
    }

    /// The record of a state of such keys.
    fn state_like(&self, operator: &str, state: &str, key: &KeyFormat) -> Option<&StateRecord> {
        let address = StateAddress { operator: operator.to_string(), state: state.to_string() };
        find(&self.metadata, &address, key)
    }

    /// Adds states that belong to no key, or puts them in the place of what was there: what [`process_operator`](crate::topology::Stream::process_operator) is given, and what its function is to begin with. `operator` is
    /// the step's `uid`. On a checkpoint of several subtasks a list is dealt out to them in turn. An error if a value cannot be encoded, or `operator` is another kind of step.
    ///
    /// ```no_run
    /// use std::collections::BTreeMap;
    ///
    /// use cofferdam_engine::{savepoint::SavepointWriter, state};
    ///
    /// let rules = BTreeMap::from([(1u32, "first".to_string())]);
    /// let writer = SavepointWriter::new("rated", 128)?;
    /// writer.operator_state("rate", &state::broadcast::<u32, String>("rules"), &rules)?.write("rules.savepoint")?;
    /// # Ok::<(), cofferdam_engine::Error>(())
    /// ```
    pub fn operator_state<S: OperatorStates>(
        mut self,
        operator: &str,
        states: &S,
        live: &S::Live,
    ) -> Result<Self, Error> {
        let no = |cause| failed(format!("the state of operator '{operator}' cannot be made"), Some(cause));
        let mut saved = Vec::new();
        states.save(live, &mut saved).map_err(no)?;
        let records: Vec<_> = states.declared().into_iter().map(|state| state.record).collect();
        records.iter().try_for_each(|record| named("a state", &record.name))?;
        let operator = self.operator(operator, OperatorKind::Operator)?;
        operator_state::put(operator, records, saved).map_err(no)?;
        Ok(self)
    }

    /// Takes a state out: the step starts without it, or the start is refused if the step does not have it any more. An error if there is none.
    pub fn without_state(mut self, operator: &str, state: &str) -> Result<Self, Error> {
        let none =
            |cause| failed(format!("the savepoint has no state {operator}/{state} that could be taken out"), cause);
        let record = self.metadata.operators.iter_mut().find(|record| record.uid == operator);
        let record = record.ok_or_else(|| none(None))?;
        let was_there = match record.kind {
            OperatorKind::Operator => operator_state::take_out(record, state).map_err(|cause| none(Some(cause)))?,
            _ => record.take_out(state),
        };
        if !was_there {
            return Err(none(None));
        }
        self.built.remove(&StateAddress { operator: operator.to_string(), state: state.to_string() });
        Ok(self)
    }

    /// Takes an operator out, with all its states; it starts as a new one. An error if there is none, or it holds prepared transactions.
    pub fn without_operator(mut self, operator: &str) -> Result<Self, Error> {
        let no = |why: &str| failed(format!("operator '{operator}' cannot be taken out of the savepoint: {why}"), None);
        let operators = &mut self.metadata.operators;
        let at = operators.iter().position(|record| record.uid == operator).ok_or_else(|| no("there is none"))?;
        if operators[at].subtasks.iter().any(|subtask| !subtask.transactions.is_empty()) {
            return Err(no(
                "it holds transactions that were prepared and not published; start with `discard_prepared` to give those up",
            ));
        }
        operators.remove(at);
        self.built.retain(|address, _| address.operator != operator);
        Ok(self)
    }

    /// Writes the savepoint: under another name first, then under its own, never in place of another file. Blocks.
    pub fn write(self, path: impl AsRef<Path>) -> Result<SavepointInfo, Error> {
        let Self { metadata, base, built } = self;
        let base = base.map(|base| base.reader());
        let file = SavepointFile::create(path)?;
        let stamp = Stamp { id: SavepointId(random()?), written: SystemTime::now() };
        Pinned::new(metadata, Arc::new(Layered { base, built })).export(file, stamp, &FailPoints::default())
    }

    /// The record of an operator, which is of `kind`; a new one if there is none.
    fn operator(&mut self, uid: &str, kind: OperatorKind) -> Result<&mut OperatorRecord, Error> {
        named("an operator", uid)?;
        let operators = &mut self.metadata.operators;
        let at = operators.iter().position(|record| record.uid == uid).unwrap_or_else(|| {
            operators.push(OperatorRecord { uid: uid.to_string(), kind, states: Vec::new(), subtasks: Vec::new() });
            operators.len() - 1
        });
        let record = &mut operators[at];
        let what = if kind == OperatorKind::Keyed { "by key" } else { "without a key" };
        match record.kind == kind {
            true => Ok(record),
            false => {
                Err(failed(format!("'{uid}' is a {} in this savepoint, and has no state {what}", record.kind), None))
            }
        }
    }
}

impl OperatorRecord {
    fn put(&mut self, state: StateRecord) {
        self.states.retain(|one| one.name != state.name);
        self.states.push(state);
    }

    fn take_out(&mut self, state: &str) -> bool {
        let before = self.states.len();
        self.states.retain(|one| one.name != state);
        self.states.len() < before
    }
}

/// What was built, in front of what was there.
struct Layered {
    base: Option<Arc<dyn StateReader>>,
    built: BTreeMap<StateAddress, Built>,
}

impl StateReader for Layered {
    fn read(
        &self,
        state: &StateAddress,
        range: KeyGroupRange,
        visit: &mut dyn FnMut(KeyGroup, BlockKind, u32, &[u8]) -> Result<(), BoxError>,
    ) -> Result<(), StoreError> {
        match (self.built.get(state), &self.base) {
            (Some(groups), _) => groups
                .range(KeyGroup(range.start)..KeyGroup(range.end))
                .try_for_each(|(group, (entries, bytes))| visit(*group, BlockKind::Full, *entries, bytes))
                .map_err(StoreError::from),
            (None, Some(base)) => base.read(state, range, visit),
            (None, None) => Ok(()),
        }
    }
}

/// The record of a state, if its keys are of this format.
fn find<'a>(metadata: &'a CheckpointMetadata, address: &StateAddress, key: &KeyFormat) -> Option<&'a StateRecord> {
    let operator = metadata.operators.iter().find(|operator| operator.uid == address.operator)?;
    operator.states.iter().find(|state| state.name == address.state && state.key == *key)
}

/// No step and no job has an empty name.
fn named(what: &str, name: &str) -> Result<(), Error> {
    if name.is_empty() { Err(failed(format!("the name of {what} in a savepoint is empty"), None)) } else { Ok(()) }
}

/// Sorts the entries by key group and key. A value has the time that its key's value has in `base`, if it has one there.
fn build<K: Key, V: Serialize>(
    address: &StateAddress,
    max_parallelism: u16,
    version: u32,
    base: Option<&StoredCheckpoint>,
    entries: impl IntoIterator<Item = (K, V)>,
) -> Result<Built, Error> {
    let mut groups: BTreeMap<KeyGroup, BTreeMap<Vec<u8>, Vec<u8>>> = BTreeMap::new();
    for (key, value) in entries {
        let no = |why: &str, cause| {
            let mut bytes = Vec::new();
            key.encode(&mut bytes);
            let key = K::format().to_json(&mut &bytes[..]).unwrap_or_default();
            failed(format!("state {address}: key {key} {why}"), cause)
        };
        let encoded = codec::encode(&value).map_err(|cause| no("has a value that cannot be encoded", Some(cause)))?;
        let mut bytes = Vec::new();
        key.encode(&mut bytes);
        let group = groups.entry(KeyGroup::of_hash(key.group_hash(), max_parallelism)).or_default();
        if group.insert(bytes, encoded).is_some() {
            return Err(no("was given twice", None));
        }
    }
    let built = groups.into_iter().map(|(group, entries)| {
        let times = base.map_or(Ok(Times::new()), |base| times(address, base, group))?;
        Ok((group, block(address, version, &times, &entries)?))
    });
    built.collect()
}

/// When the values of keys were last used.
type Times = BTreeMap<Vec<u8>, WallTime>;

/// Those of a checkpoint's values that have a time.
fn times(address: &StateAddress, base: &StoredCheckpoint, group: KeyGroup) -> Result<Times, Error> {
    let no = |cause| failed(format!("state {address} cannot be read from {}", base.place()), Some(cause));
    let stored = read_stored_group(&*base.reader(), address, group).map_err(|error| no(error.into()))?;
    let timed = stored.into_iter().filter(|entry| entry.form.are_timed);
    timed.map(|entry| Ok((entry.key, codec::split_pair(&entry.value).map_err(no)?.0))).collect()
}

fn block(
    address: &StateAddress,
    version: u32,
    times: &Times,
    entries: &BTreeMap<Vec<u8>, Vec<u8>>,
) -> Result<(u32, Vec<u8>), Error> {
    let many = |_| failed(format!("state {address} has more than {} entries in a key group", u32::MAX), None);
    let number = u32::try_from(entries.len()).map_err(many)?;
    let mut bytes = Vec::new();
    begin_sorted(&mut bytes);
    for (key, value) in entries {
        let timed = times.get(key).map(|time| codec::join_pair(time, value)).transpose();
        let timed = timed.map_err(|cause| failed(format!("state {address}: a time cannot be encoded"), Some(cause)))?;
        let form = Values { version, are_timed: timed.is_some() };
        push_sorted(&mut bytes, BlockEntry { key, value: Some((form, timed.as_ref().unwrap_or(value))) });
    }
    Ok((number, bytes))
}

fn random() -> Result<u128, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|cause| failed(format!("the system gave no random bytes for a savepoint: {cause}"), None))?;
    Ok(u128::from_le_bytes(bytes))
}

fn failed(message: String, cause: Option<BoxError>) -> Error {
    Error::new(ErrorKind::Savepoint, message, cause)
}
