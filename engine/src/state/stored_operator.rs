//! State that belongs to no key, and sources' positions, read outside of any job: by subtask, as each has left it.
//!
//! Who gets what at a start is decided then, as `operator_states` says.

use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    checkpoint::{
        snapshot::{OperatorKind, OperatorRecord, StateAddress, StateKind, StateRecord},
        store::{StoreError, StoreErrorKind},
    },
    codec,
    error::BoxError,
    key::Key,
    state::{
        block::{Block, BlockEntry},
        operator_states::{self, SavedState},
        stored::{JsonEntry, StateSize, StoredCheckpoint, json_key},
        value_format::ValueFormat,
    },
};

/// A split of a source, and how far it has been read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct StoredSplit<S, P> {
    /// The source's [`Split`](crate::Source::Split).
    pub split: S,
    /// Its [`Position`](crate::Source::Position); `None` before the first record.
    pub position: Option<P>,
    /// Nothing more will come.
    pub ended: bool,
}

impl StoredCheckpoint {
    /// Each state that belongs to no key, and what it is: lists, unions and broadcast maps.
    pub fn operator_states(&self) -> impl Iterator<Item = (StateAddress, &StateRecord)> {
        self.of_kind(OperatorKind::Operator).flat_map(|operator| {
            let address =
                |state: &StateRecord| StateAddress { operator: operator.uid.clone(), state: state.name.clone() };
            operator.states.iter().map(move |state| (address(state), state))
        })
    }

    /// The elements of a list or a union, of each subtask. An error if there is no such state, or an element cannot be read as a `V`.
    ///
    /// ```no_run
    /// # use cofferdam_engine::{savepoint::Savepoint, state::StoredCheckpoint};
    /// # let checkpoint = StoredCheckpoint::from(Savepoint::open("nightly.savepoint")?);
    /// let held: Vec<u64> = checkpoint.operator_list("held", "waiting")?.into_iter().flatten().collect();
    /// # Ok::<(), cofferdam_engine::checkpoint::store::StoreError>(())
    /// ```
    pub fn operator_list<V: DeserializeOwned + 'static>(
        &self,
        operator: &str,
        state: &str,
    ) -> Result<Vec<Vec<V>>, StoreError> {
        let entries = self.typed_operator_state::<(), V>(operator, state, false)?;
        Ok(entries
            .into_iter()
            .map(|of_subtask| of_subtask.into_iter().map(|((), element)| element).collect())
            .collect())
    }

    /// A broadcast map, as each subtask has it. An error if there is no such state, its keys are of another type, or a value cannot be read as a `V`.
    pub fn broadcast_state<K: Key + Ord, V: DeserializeOwned + 'static>(
        &self,
        operator: &str,
        state: &str,
    ) -> Result<Vec<BTreeMap<K, V>>, StoreError> {
        let entries = self.typed_operator_state::<K, V>(operator, state, true)?;
        Ok(entries.into_iter().map(|of_subtask| of_subtask.into_iter().collect()).collect())
    }

    /// The entries of a state that belongs to no key, of each subtask, as JSON; without their types. The keys of a list or a union are `[]`.
    pub fn json_operator_entries(&self, operator: &str, state: &str) -> Result<Vec<Vec<JsonEntry>>, StoreError> {
        let (_, record) = self.operator_state(operator, state)?;
        self.blocks(operator, state, |block| {
            Block::parse(block)?.map(|entry| json_entry(record, entry?)).collect::<Result<Vec<_>, _>>()
        })
    }

    /// Takes a state that belongs to no key apart, and says what it comes to; of `blocks` there is one for each subtask that has any of it.
    pub fn measure_operator_state(&self, operator: &str, state: &str) -> Result<StateSize, StoreError> {
        let (_, record) = self.operator_state(operator, state)?;
        let sizes = self.blocks(operator, state, |block| {
            let mut size = StateSize { entries: 0, blocks: u64::from(!block.is_empty()), bytes: block.len() as u64 };
            for entry in Block::parse(block)? {
                json_entry(record, entry?)?;
                size.entries += 1;
            }
            Ok(size)
        })?;
        let add = |sum: StateSize, one: StateSize| StateSize {
            entries: sum.entries + one.entries,
            blocks: sum.blocks + one.blocks,
            bytes: sum.bytes + one.bytes,
        };
        Ok(sizes.into_iter().fold(StateSize::default(), add))
    }

    /// The sources, by their `uid`.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        self.of_kind(OperatorKind::Source).map(|operator| &*operator.uid)
    }

    /// A source's splits and positions, of each subtask. An error if there is no such source, or they cannot be read as an `S` and a `P`: `serde_json::Value` does for most.
    ///
    /// ```no_run
    /// # use cofferdam_engine::{savepoint::Savepoint, state::StoredCheckpoint};
    /// # let checkpoint = StoredCheckpoint::from(Savepoint::open("nightly.savepoint")?);
    /// for split in checkpoint.positions::<String, u64>("numbers")?.iter().flatten() {
    ///     println!("{}: {:?}", split.split, split.position);
    /// }
    /// # Ok::<(), cofferdam_engine::checkpoint::store::StoreError>(())
    /// ```
    pub fn positions<S: DeserializeOwned, P: DeserializeOwned>(
        &self,
        source: &str,
    ) -> Result<Vec<Vec<StoredSplit<S, P>>>, StoreError> {
        let found = self.of_kind(OperatorKind::Source).find(|operator| operator.uid == source);
        let found = found.ok_or_else(|| {
            let all: Vec<_> = self.sources().collect();
            let (number, place) = (self.metadata().checkpoint, self.place());
            foreign(format!(
                "checkpoint {number} in {place} has no source '{source}'; its sources are: {}",
                all.join(", ")
            ))
        })?;
        let subtasks = found.subtasks.iter().enumerate().map(|(subtask, snapshot)| {
            codec::decode(&snapshot.state).map_err(|cause| self.unreadable(source, "positions", subtask, cause))
        });
        subtasks.collect()
    }

    fn of_kind(&self, kind: OperatorKind) -> impl Iterator<Item = &OperatorRecord> {
        self.metadata().operators.iter().filter(move |operator| operator.kind == kind)
    }

    fn operator_state(&self, operator: &str, state: &str) -> Result<(&OperatorRecord, &StateRecord), StoreError> {
        let operators = self.of_kind(OperatorKind::Operator).filter(|record| record.uid == operator);
        let mut states = operators.flat_map(|record| record.states.iter().map(move |state| (record, state)));
        states.find(|(_, record)| record.name == state).ok_or_else(|| {
            let all: Vec<_> = self.operator_states().map(|(address, _)| address.to_string()).collect();
            let all = if all.is_empty() { "none".to_string() } else { all.join(", ") };
            let (number, place) = (self.metadata().checkpoint, self.place());
            foreign(format!(
                "checkpoint {number} in {place} has no state {operator}/{state} that belongs to no key; those are: {all}"
            ))
        })
    }

    fn typed_operator_state<K: Key, V: DeserializeOwned + 'static>(
        &self,
        operator: &str,
        state: &str,
        is_broadcast: bool,
    ) -> Result<Vec<Vec<(K, V)>>, StoreError> {
        let (_, record) = self.operator_state(operator, state)?;
        if record.key != K::format() || (record.kind == StateKind::Broadcast) != is_broadcast {
            let wanted = if is_broadcast { "a broadcast state" } else { "a list or a union" };
            return Err(foreign(format!(
                "{}: state {operator}/{state} is of kind '{}', keys of type {}, and it was to be read as {wanted}, keys of type {}",
                self.place(),
                record.kind,
                record.key,
                K::format()
            )));
        }
        let format = ValueFormat::version(record.version);
        self.blocks(operator, state, |block| operator_states::read(block, &format))
    }

    /// What `read` makes of each subtask's block; of an empty one where a subtask has none.
    fn blocks<R>(
        &self,
        operator: &str,
        state: &str,
        read: impl Fn(&[u8]) -> Result<R, BoxError>,
    ) -> Result<Vec<R>, StoreError> {
        let (record, _) = self.operator_state(operator, state)?;
        let subtasks = record.subtasks.iter().enumerate().map(|(subtask, snapshot)| {
            let saved = SavedState::all_of(snapshot).and_then(|saved| {
                read(saved.iter().find(|saved| saved.name() == state).map_or(&[], SavedState::block))
            });
            saved.map_err(|cause| self.unreadable(operator, state, subtask, cause))
        });
        subtasks.collect()
    }

    fn unreadable(&self, operator: &str, state: &str, subtask: usize, cause: BoxError) -> StoreError {
        let message = format!("{}: state {operator}/{state} of subtask {subtask} cannot be read", self.place());
        StoreError::new(StoreErrorKind::Damaged, message, Some(cause))
    }
}

fn json_entry(record: &StateRecord, entry: BlockEntry<'_>) -> Result<JsonEntry, BoxError> {
    let (form, value) = entry.value.ok_or("an element has gone and is there")?;
    let key = json_key(&record.key, entry.key)?;
    codec::decode::<serde::de::IgnoredAny>(value).map_err(|cause| format!("a value is no MessagePack: {cause}"))?;
    Ok(JsonEntry { key, value: codec::decode_json(value), bytes: value.to_vec(), version: form.version, used: None })
}

fn foreign(message: String) -> StoreError {
    StoreError::new(StoreErrorKind::Foreign, message, None)
}
