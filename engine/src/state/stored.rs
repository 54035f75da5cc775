//! A checkpoint's keyed state, read outside of any job; what belongs to no key is in `stored_operator`.
//!
//! ```text
//! savepoint's file --\                          /-- entries, get       keys and values of their types
//! directory ---------- StoredCheckpoint -------<--- json_entries       as JSON, without the types
//! files, objects ----/   record, StateReader    \-- verify             every block, taken apart
//! ```

use std::{borrow::Cow, fmt, marker::PhantomData, sync::Arc};

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    checkpoint::{
        snapshot::{CheckpointMetadata, OperatorKind, StateAddress, StateRecord},
        store::{StateReader, StoreError, StoreErrorKind},
    },
    codec,
    error::BoxError,
    key::Key,
    key_format::KeyFormat,
    key_group::{KeyGroup, KeyGroupRange},
    state::{
        block::{self, Values},
        keyed_table::check_group,
        stored_group::{self, StoredEntry},
        unread::Unread,
        value_format::ValueFormat,
    },
};

/// A completed checkpoint, wherever it is kept: its record, and what reads its state. Needs no job, and changes nothing.
///
/// ```no_run
/// use cofferdam_engine::{savepoint::Savepoint, state::StoredCheckpoint};
///
/// let checkpoint = StoredCheckpoint::from(Savepoint::open("nightly.savepoint")?);
/// for entry in checkpoint.entries::<String, u64>("count", "value")? {
///     let (word, count) = entry?;
///     println!("{word}: {count}");
/// }
/// # Ok::<(), cofferdam_engine::checkpoint::store::StoreError>(())
/// ```
#[derive(Clone)]
pub struct StoredCheckpoint {
    place: String,
    metadata: CheckpointMetadata,
    reader: Arc<dyn StateReader>,
}

impl fmt::Debug for StoredCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredCheckpoint").field("place", &self.place).field("metadata", &self.metadata).finish()
    }
}

/// What a state takes up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateSize {
    /// Keys that have a value.
    pub entries: u64,
    /// Stored blocks, older ones that a newer one changes among them.
    pub blocks: u64,
    /// Of those blocks.
    pub bytes: u64,
}

/// One entry, as JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonEntry {
    /// As [`KeyFormat::to_json`] shows it.
    pub key: Value,
    /// The value; `None` if JSON has no form for it, as for a map whose keys are no strings.
    pub value: Option<Value>,
    /// The value as it is stored: MessagePack.
    pub bytes: Vec<u8>,
    /// The version that the state had when the value was written.
    pub version: u32,
    /// When the value was last used, in milliseconds since the Unix epoch, if the state has a time to live.
    pub used: Option<u64>,
}

impl StoredCheckpoint {
    /// A checkpoint whose record is `metadata` and whose blocks `reader` reads; `place` is where it is, for messages.
    pub fn new(place: impl Into<String>, metadata: CheckpointMetadata, reader: Arc<dyn StateReader>) -> Self {
        Self { place: place.into(), metadata, reader }
    }

    /// Where it is, for messages.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Its record: positions, prepared transactions, which states there are.
    pub fn metadata(&self) -> &CheckpointMetadata {
        &self.metadata
    }

    /// What reads its blocks.
    pub fn reader(&self) -> Arc<dyn StateReader> {
        self.reader.clone()
    }

    /// Each keyed state, and what it is. Those that belong to no key are [`operator_states`](Self::operator_states).
    pub fn states(&self) -> impl Iterator<Item = (StateAddress, &StateRecord)> {
        let of_operator = |operator: &'_ str, state: &StateRecord| StateAddress {
            operator: operator.to_string(),
            state: state.name.clone(),
        };
        let keyed = self.metadata.operators.iter().filter(|operator| operator.kind == OperatorKind::Keyed);
        keyed.flat_map(move |operator| {
            operator.states.iter().map(move |state| (of_operator(&operator.uid, state), state))
        })
    }

    /// The keys and values of a state: by key group, in each group by growing key. An error if there is no such state, or its keys are of another type. Values
    /// must be of the version that the state had at this checkpoint; for older ones see [`entries_of`](Self::entries_of).
    pub fn entries<K: Key, V: DeserializeOwned + 'static>(
        &self,
        operator: &str,
        state: &str,
    ) -> Result<StoredEntries<'_, K, V>, StoreError> {
        let version = self.state(operator, state)?.1.version;
        self.entries_of(operator, state, ValueFormat::version(version))
    }

    /// As [`entries`](Self::entries), with values read as `format` says.
    pub fn entries_of<K: Key, V: DeserializeOwned + 'static>(
        &self,
        operator: &str,
        state: &str,
        format: ValueFormat<V>,
    ) -> Result<StoredEntries<'_, K, V>, StoreError> {
        let (address, record) = self.typed_state::<K>(operator, state)?;
        // Of an entry's key, a part says which group: only a type of its own knows.
        let checks_groups = !record.kind.has_entries();
        Ok(StoredEntries { groups: self.groups(address), checks_groups, format: format.untimed(), key: PhantomData })
    }

    /// The value of one key of a state of values, or of one entry of a map or a list, by its [`EntryKey`](crate::state::EntryKey); an error if it is looked for by anything else.
    pub fn get<K: Key, V: DeserializeOwned + 'static>(
        &self,
        operator: &str,
        state: &str,
        key: &K,
    ) -> Result<Option<V>, StoreError> {
        let (address, record) = self.typed_state::<K>(operator, state)?;
        if record.kind.has_entries() != K::IS_ENTRY {
            let message = match K::IS_ENTRY {
                true => {
                    format!("{}: state {address} has values, and it was to be read by the key of an entry", self.place)
                }
                false => {
                    let place = &self.place;
                    format!(
                        "{place}: state {address} is of kind '{}': its entries are found by an `EntryKey`",
                        record.kind
                    )
                }
            };
            return Err(StoreError::new(StoreErrorKind::Foreign, message, None));
        }
        let group = KeyGroup::of_hash(key.group_hash(), self.metadata.max_parallelism);
        let mut bytes = Vec::new();
        key.encode(&mut bytes);
        let format = ValueFormat::<V>::version(record.version).untimed();
        let entries = stored_group::read(&*self.reader, &address, group)?;
        let Ok(found) = entries.binary_search_by(|entry| entry.key[..].cmp(&bytes)) else { return Ok(None) };
        let StoredEntry { form, value, .. } = &entries[found];
        let value = format.reader().read(*form, value);
        value.map(Some).map_err(|cause| self.damaged(&address, group, Unread::of(key, cause).into()))
    }

    /// The keys and values of a state as JSON, in the order of [`entries`](Self::entries). Without their types: works for any state.
    pub fn json_entries(&self, operator: &str, state: &str) -> Result<JsonEntries<'_>, StoreError> {
        let (address, record) = self.state(operator, state)?;
        Ok(JsonEntries { groups: self.groups(address), format: record.key.clone() })
    }

    /// The entries of `key`, which JSON says as [`KeyFormat::to_json`] does: one for a state of values, for a map or a list all of that key. Looks through the whole state.
    pub fn json_get(&self, operator: &str, state: &str, key: &Value) -> Result<Vec<JsonEntry>, StoreError> {
        let (address, record) = self.state(operator, state)?;
        let wanted = Wanted::of(record, key).ok_or_else(|| {
            let message = format!(
                "{}: {key} is no key of state {address}, whose keys are of type {}",
                self.place,
                wanted_format(record)
            );
            StoreError::new(StoreErrorKind::Foreign, message, None)
        })?;
        let mut found = Vec::new();
        let mut groups = self.groups(address);
        while let Some(next) = groups.next_entry() {
            let (group, entry) = next?;
            if wanted.is(&entry.key) {
                found.push(groups.json(&record.key, group, entry)?);
                if wanted.is_only_one() {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Reads a state, and says what it comes to.
    pub fn measure(&self, operator: &str, state: &str) -> Result<StateSize, StoreError> {
        let (address, _) = self.state(operator, state)?;
        let mut size = StateSize::default();
        for group in self.all_groups() {
            stored_group::read_counted(&*self.reader, &address, group, &mut size)?;
        }
        Ok(size)
    }

    /// Reads every block of a state, against its checksum, and takes it apart: keys of the type recorded, values that are MessagePack. The first damage is an error.
    pub fn verify(&self, operator: &str, state: &str) -> Result<StateSize, StoreError> {
        let (address, record) = self.state(operator, state)?;
        let mut size = StateSize::default();
        for group in self.all_groups() {
            for entry in stored_group::read_counted(&*self.reader, &address, group, &mut size)? {
                let value = codec::decode::<serde::de::IgnoredAny>(&entry.value);
                let cause = match (json_key(&record.key, &entry.key), value) {
                    (Ok(_), Ok(_)) => continue,
                    (Ok(key), Err(cause)) => format!("the value of key {key} is no MessagePack: {cause}").into(),
                    (Err(cause), _) => cause,
                };
                return Err(self.damaged(&address, group, cause));
            }
        }
        Ok(size)
    }

    fn all_groups(&self) -> impl Iterator<Item = KeyGroup> + use<> {
        KeyGroupRange { start: 0, end: self.metadata.max_parallelism }.iter()
    }

    /// The state's address and record; an error that lists those that there are.
    fn state(&self, operator: &str, state: &str) -> Result<(StateAddress, &StateRecord), StoreError> {
        let mut states = self.states();
        let found = states.find(|(address, _)| address.operator == operator && address.state == state);
        found.ok_or_else(|| {
            let all: Vec<_> = self.states().map(|(address, _)| address.to_string()).collect();
            let all = if all.is_empty() { "none".to_string() } else { all.join(", ") };
            let message = format!(
                "checkpoint {} in {} has no state {operator}/{state}; its states are: {all}",
                self.metadata.checkpoint, self.place
            );
            StoreError::new(StoreErrorKind::Foreign, message, None)
        })
    }

    fn typed_state<K: Key>(&self, operator: &str, state: &str) -> Result<(StateAddress, &StateRecord), StoreError> {
        let (address, record) = self.state(operator, state)?;
        if record.key == K::format() {
            return Ok((address, record));
        }
        let message = format!(
            "{}: state {address} has keys of type {}, and it was to be read with keys of type {}",
            self.place,
            record.key,
            K::format()
        );
        Err(StoreError::new(StoreErrorKind::Foreign, message, None))
    }

    fn groups(&self, address: StateAddress) -> Groups<'_> {
        Groups { checkpoint: self, address, next: 0, group: KeyGroup(0), entries: Vec::new().into_iter(), ended: false }
    }

    fn damaged(&self, address: &StateAddress, group: KeyGroup, cause: BoxError) -> StoreError {
        let message = format!("{}: state {address}, key group {group}: an entry cannot be read", self.place);
        StoreError::new(StoreErrorKind::Damaged, message, Some(cause))
    }
}

pub(super) fn json_key(format: &KeyFormat, mut bytes: &[u8]) -> Result<Value, BoxError> {
    let key = format.to_json(&mut bytes).filter(|_| bytes.is_empty());
    key.ok_or_else(|| format!("a key cannot be read as {format}").into())
}

/// The key that is looked for.
struct Wanted {
    bytes: Vec<u8>,
    /// An entry's key is that of the state's step, and something behind it.
    is_prefix: bool,
}

/// What the key of a step is: of maps and lists the entries' keys have another part.
fn wanted_format(record: &StateRecord) -> Cow<'_, KeyFormat> {
    match &record.key {
        KeyFormat::Tuple(parts) if record.kind.has_entries() && parts.len() == 2 => Cow::Borrowed(&parts[0]),
        whole => Cow::Borrowed(whole),
    }
}

impl Wanted {
    fn of(record: &StateRecord, key: &Value) -> Option<Self> {
        let whole = record.key.from_json(key).map(|bytes| Self { bytes, is_prefix: false });
        whole.or_else(|| Some(Self { bytes: wanted_format(record).from_json(key)?, is_prefix: true }))
    }

    fn is(&self, key: &[u8]) -> bool {
        if self.is_prefix { key.starts_with(&self.bytes) } else { key == self.bytes }
    }

    fn is_only_one(&self) -> bool {
        !self.is_prefix
    }
}

/// StoredEntries as they are stored, one group in memory at a time.
struct Groups<'a> {
    checkpoint: &'a StoredCheckpoint,
    address: StateAddress,
    next: u16,
    group: KeyGroup,
    entries: std::vec::IntoIter<StoredEntry>,
    ended: bool,
}

impl Groups<'_> {
    fn next_entry(&mut self) -> Option<Result<(KeyGroup, StoredEntry), StoreError>> {
        loop {
            if let Some(entry) = self.entries.next() {
                return Some(Ok((self.group, entry)));
            }
            if self.ended || self.next == self.checkpoint.metadata.max_parallelism {
                return None;
            }
            self.group = KeyGroup(self.next);
            self.next += 1;
            match stored_group::read(&*self.checkpoint.reader, &self.address, self.group) {
                Ok(entries) => self.entries = entries.into_iter(),
                Err(error) => return Some(self.end(error)),
            }
        }
    }

    /// What comes after an error is not read.
    fn end<T>(&mut self, error: StoreError) -> Result<T, StoreError> {
        self.ended = true;
        self.entries = Vec::new().into_iter();
        Err(error)
    }

    fn json(&self, format: &KeyFormat, group: KeyGroup, entry: StoredEntry) -> Result<JsonEntry, StoreError> {
        let damaged = |cause| self.checkpoint.damaged(&self.address, group, cause);
        let StoredEntry { key, form: Values { version, are_timed }, value: bytes } = entry;
        let key = json_key(format, &key).map_err(damaged)?;
        let (used, bytes) = match are_timed {
            false => (None, bytes),
            true => {
                let (used, value) = codec::split_pair::<u64>(&bytes).map_err(damaged)?;
                // What has not been dated yet has no time.
                (Some(used).filter(|used| *used != u64::MAX), value.to_vec())
            }
        };
        Ok(JsonEntry { key, value: codec::decode_json(&bytes), bytes, version, used })
    }
}

/// See [`StoredCheckpoint::entries`].
pub struct StoredEntries<'a, K, V> {
    groups: Groups<'a>,
    checks_groups: bool,
    format: ValueFormat<V>,
    key: PhantomData<K>,
}

impl<K: Key, V: DeserializeOwned> StoredEntries<'_, K, V> {
    fn typed(&self, group: KeyGroup, entry: &StoredEntry) -> Result<(K, V), BoxError> {
        let key: K = block::key(&entry.key)?;
        if self.checks_groups {
            check_group(&key, group, self.groups.checkpoint.metadata.max_parallelism)?;
        }
        let value = self.format.reader().read(entry.form, &entry.value);
        value.map_err(|cause| Unread::of(&key, cause).into()).map(|value| (key, value))
    }
}

impl<K: Key, V: DeserializeOwned> Iterator for StoredEntries<'_, K, V> {
    type Item = Result<(K, V), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (group, entry) = match self.groups.next_entry()? {
            Ok(next) => next,
            Err(error) => return Some(Err(error)),
        };
        Some(self.typed(group, &entry).or_else(|cause| {
            let error = self.groups.checkpoint.damaged(&self.groups.address, group, cause);
            self.groups.end(error)
        }))
    }
}

/// See [`StoredCheckpoint::json_entries`].
pub struct JsonEntries<'a> {
    groups: Groups<'a>,
    format: KeyFormat,
}

impl Iterator for JsonEntries<'_> {
    type Item = Result<JsonEntry, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (group, entry) = match self.groups.next_entry()? {
            Ok(next) => next,
            Err(error) => return Some(Err(error)),
        };
        Some(self.groups.json(&self.format, group, entry).or_else(|error| self.groups.end(error)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        checkpoint::snapshot::{BlockKind, OperatorKind, OperatorRecord, StateKind},
        id::{Attempt, CheckpointId, JobId},
        state::block,
    };

    const GROUPS: u16 = 4;

    /// Blocks by group, the oldest first.
    #[derive(Default)]
    struct Blocks(BTreeMap<u16, Vec<(BlockKind, Vec<u8>)>>);

    impl StateReader for Blocks {
        fn read(
            &self,
            _: &StateAddress,
            range: KeyGroupRange,
            visit: &mut dyn FnMut(KeyGroup, BlockKind, u32, &[u8]) -> Result<(), BoxError>,
        ) -> Result<(), StoreError> {
            for (group, blocks) in self.0.range(range.start..range.end) {
                for (kind, bytes) in blocks {
                    visit(KeyGroup(*group), *kind, 0, bytes)?;
                }
            }
            Ok(())
        }
    }

    fn stored(blocks: Blocks) -> StoredCheckpoint {
        let state = StateRecord { name: "value".into(), kind: StateKind::Value, key: String::format(), version: 3 };
        let (uid, kind) = ("count".into(), OperatorKind::Keyed);
        let metadata = CheckpointMetadata {
            job: JobId(1),
            job_name: "test".into(),
            checkpoint: CheckpointId(7),
            attempt: Attempt(1),
            max_parallelism: GROUPS,
            finished: false,
            draining: false,
            operators: vec![OperatorRecord { uid, kind, states: vec![state], subtasks: vec![] }],
            in_flight: vec![],
            times: vec![],
            origin: None,
        };
        StoredCheckpoint::new("here", metadata, Arc::new(blocks))
    }

    /// One checkpoint's changes: what went, what came, and whether its groups are written in full.
    type Step = (Vec<String>, BTreeMap<String, Vec<i32>>, bool);

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let key = "[a-f]{1,2}";
        let values = prop::collection::btree_map(key, prop::collection::vec(any::<i32>(), 0..3), 0..12);
        prop::collection::vec((prop::collection::vec(key, 0..4), values, any::<bool>()), 1..6)
    }

    /// What the steps lead to, and their blocks.
    fn run(steps: &[Step]) -> (BTreeMap<String, Vec<i32>>, Blocks) {
        let (mut live, mut blocks) = (BTreeMap::new(), Blocks::default());
        for (gone, came, is_full) in steps {
            gone.iter().for_each(|key| drop(live.remove(key)));
            live.extend(came.clone());
            for group in 0..GROUPS {
                let is_of = |key: &&String| KeyGroup::of_hash(key.hash64(), GROUPS) == KeyGroup(group);
                let (kind, gone, written) = match is_full {
                    true => (BlockKind::Full, vec![], &live),
                    false => (BlockKind::Changes, gone.iter().filter(is_of).cloned().collect(), came),
                };
                let mut bytes = Vec::new();
                block::begin(&mut bytes, Values { version: 3, are_timed: false }, &gone);
                for (key, value) in written.iter().filter(|(key, _)| is_of(key)) {
                    block::push(&mut bytes, key, value).unwrap();
                }
                blocks.0.entry(group).or_default().push((kind, bytes));
            }
        }
        (live, blocks)
    }

    proptest! {
        #[test]
        fn what_full_blocks_changes_and_tombstones_lead_to_is_read(steps in steps()) {
            let (expected, blocks) = run(&steps);
            let stored = stored(blocks);
            let read: Result<Vec<(String, Vec<i32>)>, _> = stored.entries("count", "value").unwrap().collect();
            let read = read.unwrap();
            prop_assert_eq!(read.len(), expected.len());
            prop_assert_eq!(read.into_iter().collect::<BTreeMap<_, _>>(), expected.clone());

            let json: Vec<_> = stored.json_entries("count", "value").unwrap().map(Result::unwrap).collect();
            prop_assert_eq!(json.len(), expected.len());
            for entry in json {
                let key = entry.key.as_str().unwrap();
                prop_assert_eq!(entry.value.unwrap(), serde_json::json!(expected[key]));
                prop_assert_eq!(entry.version, 3);
            }
            for key in ["a", "bc", "zz"].map(String::from) {
                let found: Option<Vec<i32>> = stored.get("count", "value", &key).unwrap();
                prop_assert_eq!(found.as_ref(), expected.get(&key));
                let json = stored.json_get("count", "value", &Value::String(key.clone())).unwrap();
                prop_assert_eq!(json.len(), usize::from(expected.contains_key(&key)));
            }
            let size = stored.verify("count", "value").unwrap();
            prop_assert_eq!(size.entries, expected.len() as u64);
            prop_assert_eq!(size.blocks, steps.len() as u64 * u64::from(GROUPS));
        }
    }

    #[test]
    fn other_types_and_other_names_are_refused_by_name() {
        let (_, blocks) = run(&[(vec![], BTreeMap::from([("a".to_string(), vec![1])]), true)]);
        let stored = stored(blocks);
        let error = stored.entries::<u64, Vec<i32>>("count", "value").map(drop).unwrap_err();
        let expected = "here: state count/value has keys of type string, and it was to be read with keys of type u64";
        assert_eq!(error.message, expected);
        let error = stored.entries::<String, Vec<i32>>("sum", "value").map(drop).unwrap_err();
        assert_eq!(error.message, "checkpoint 7 in here has no state sum/value; its states are: count/value");
        let error = stored.entries::<String, String>("count", "value").unwrap().next().unwrap().unwrap_err();
        let cause = error.cause.unwrap().to_string();
        assert!(cause.starts_with("the value of key \"a\" cannot be read as the state's type"), "{cause}");
        let older = stored.entries_of::<String, Vec<i32>>("count", "value", ValueFormat::version(4));
        let cause = older.unwrap().next().unwrap().unwrap_err().cause.unwrap().to_string();
        assert!(cause.contains("it is of version 3"), "{cause}");
        let error = stored.json_get("count", "value", &Value::from(7)).unwrap_err();
        assert_eq!(error.message, "here: 7 is no key of state count/value, whose keys are of type string");
    }

    #[test]
    fn damage_ends_the_entries_and_is_named() {
        let (_, mut blocks) = run(&[(vec![], BTreeMap::from([("a".to_string(), vec![1])]), true)]);
        let group = KeyGroup::of_hash("a".to_string().hash64(), GROUPS).0;
        blocks.0.insert(group, vec![(BlockKind::Full, vec![2, 3, 0, 1])]);
        let stored = stored(blocks);
        let entries: Vec<_> = stored.entries::<String, Vec<i32>>("count", "value").unwrap().collect();
        assert!(matches!(&entries[..], [Err(_)]), "{entries:?}");
        assert!(stored.verify("count", "value").is_err());
    }
}
