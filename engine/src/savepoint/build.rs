//! A savepoint that no job has taken: made of data, or of another checkpoint.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::SystemTime};

use serde::Serialize;

use super::{
    export::{Pinned, SavepointInfo, Stamp},
    file::SavepointFile,
};
use crate::{
    checkpoint::{
        snapshot::{BlockKind, CheckpointMetadata, OperatorKind, OperatorRecord, StateAddress, StateKind, StateRecord},
        store::{StateReader, StoreError},
    },
    codec,
    error::{BoxError, Error, ErrorKind},
    fail_point::FailPoints,
    id::{Attempt, CheckpointId, JobId, SavepointId},
    key::Key,
    key_group::{KeyGroup, KeyGroupRange},
    state::{BlockEntry, StoredCheckpoint, Values, begin_sorted, push_sorted},
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
    base: Option<Arc<dyn StateReader>>,
    built: BTreeMap<StateAddress, Built>,
}

/// A full block for each key group that has entries, and how many those are.
type Built = BTreeMap<KeyGroup, (u32, Vec<u8>)>;

impl SavepointWriter {
    /// The first state of a job that has not run yet: checkpoint 0 of a new job. An error if `max_parallelism` is 0, or the system gives no random bytes for the job's id.
    pub fn new(job_name: impl Into<String>, max_parallelism: u16) -> Result<Self, Error> {
        let job_name = job_name.into();
        if max_parallelism == 0 {
            return Err(failed(format!("a savepoint for job '{job_name}' cannot be made: max_parallelism is 0"), None));
        }
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
        let (metadata, base) = (checkpoint.metadata().clone(), Some(checkpoint.reader()));
        Self { metadata, base, built: BTreeMap::new() }
    }

    /// Adds a state of values, or puts it in the place of what was there. `operator` is the step's `uid`, which is its name unless it was given another. An error if
    /// a key comes twice, a value cannot be encoded, or `operator` is no keyed step.
    pub fn keyed_state<K: Key, V: Serialize>(
        self,
        operator: &str,
        state: &str,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, Error> {
        self.keyed_state_of_version(operator, state, 0, entries)
    }

    /// As [`keyed_state`](Self::keyed_state), with values of `version`, as the step's [`ValueFormat`](crate::state::ValueFormat) counts them.
    pub fn keyed_state_of_version<K: Key, V: Serialize>(
        mut self,
        operator: &str,
        state: &str,
        version: u32,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, Error> {
        let address = StateAddress { operator: operator.to_string(), state: state.to_string() };
        let groups = build(&address, self.metadata.max_parallelism, version, entries)?;
        let record = StateRecord { name: state.to_string(), kind: StateKind::Value, key: K::format(), version };
        self.operator(operator)?.put(record);
        self.built.insert(address, groups);
        Ok(self)
    }

    /// Takes a state out: the step starts without it, or the start is refused if the step does not have it any more. An error if there is none.
    pub fn without_state(mut self, operator: &str, state: &str) -> Result<Self, Error> {
        let record = self.metadata.operators.iter_mut().find(|record| record.uid == operator);
        let states = record.map(|record| &mut record.states);
        let found = states.and_then(|states| Some(states.remove(states.iter().position(|one| one.name == state)?)));
        if found.is_none() {
            return Err(failed(format!("the savepoint has no state {operator}/{state} that could be taken out"), None));
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
        let file = SavepointFile::create(path)?;
        let stamp = Stamp { id: SavepointId(random()?), written: SystemTime::now() };
        Pinned::new(metadata, Arc::new(Layered { base, built })).export(file, stamp, &FailPoints::default())
    }

    fn operator(&mut self, uid: &str) -> Result<&mut OperatorRecord, Error> {
        let operators = &mut self.metadata.operators;
        let at = operators.iter().position(|record| record.uid == uid).unwrap_or_else(|| {
            operators.push(OperatorRecord {
                uid: uid.to_string(),
                kind: OperatorKind::Keyed,
                states: Vec::new(),
                subtasks: Vec::new(),
            });
            operators.len() - 1
        });
        let record = &mut operators[at];
        match record.kind {
            OperatorKind::Keyed => Ok(record),
            kind => Err(failed(format!("'{uid}' is a {kind} in this savepoint, and has no state by key"), None)),
        }
    }
}

impl OperatorRecord {
    fn put(&mut self, state: StateRecord) {
        self.states.retain(|one| one.name != state.name);
        self.states.push(state);
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

/// Sorts the entries by key group and key.
fn build<K: Key, V: Serialize>(
    address: &StateAddress,
    max_parallelism: u16,
    version: u32,
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
    groups.into_iter().map(|(group, entries)| Ok((group, block(address, version, &entries)?))).collect()
}

fn block(address: &StateAddress, version: u32, entries: &BTreeMap<Vec<u8>, Vec<u8>>) -> Result<(u32, Vec<u8>), Error> {
    let many = |_| failed(format!("state {address} has more than {} entries in a key group", u32::MAX), None);
    let number = u32::try_from(entries.len()).map_err(many)?;
    let mut bytes = Vec::new();
    begin_sorted(&mut bytes);
    let form = Values { version, are_timed: false };
    entries.iter().for_each(|(key, value)| push_sorted(&mut bytes, BlockEntry { key, value: Some((form, value)) }));
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
