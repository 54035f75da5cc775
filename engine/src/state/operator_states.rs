//! State of operators without a key: small, in the open, and whole in every snapshot.
//!
//! ```text
//! OperatorSnapshot.state = [(name, block), ...]     one for each subtask; a block as of keyed state, its keys () or the user's
//! restored on `parallelism` subtasks, subtask i gets
//!   list       its own, if there are as many as there were; else elements i, i + parallelism, ... of all
//!   union      all elements of all, or what its user keeps of them
//!   broadcast  the map of subtask i mod those that there were
//! ```

use std::collections::BTreeMap;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, DeserializeOwned},
};

use crate::{
    checkpoint::snapshot::{OperatorSnapshot, StateKind},
    codec,
    error::{BoxError, Error, ErrorKind},
    key::Key,
    operator::OpenContext,
    record::Record,
    state::{
        block::{self, Block},
        declared::DeclaredState,
        descriptor::{Broadcast, Elements, StateDescriptor, Union},
        value_format::ValueFormat,
    },
};

/// What [`process_operator`](crate::topology::Stream::process_operator) takes: [`list`](crate::state::list), [`union`](crate::state::union) or
/// [`broadcast`](crate::state::broadcast), or a tuple of up to six. Nobody else implements it.
pub trait OperatorStates: Clone + Send + 'static {
    /// What the function is given: a `Vec`, a `BTreeMap`, or a tuple of them.
    type Live: Default + Send + 'static;

    #[doc(hidden)]
    fn declared(&self) -> Vec<DeclaredState>;
    #[doc(hidden)]
    fn restore(&self, stored: &StoredStates<'_>) -> Result<Self::Live, Error>;
    #[doc(hidden)]
    fn save(&self, live: &Self::Live, saved: &mut Vec<SavedState>) -> Result<(), BoxError>;
}

/// One state of one subtask, as it is stored.
#[derive(Serialize, Deserialize)]
pub struct SavedState {
    name: String,
    #[serde(serialize_with = "as_bytes", deserialize_with = "from_bytes")]
    block: Vec<u8>,
}

impl SavedState {
    pub(crate) fn new(name: &str, block: Vec<u8>) -> Self {
        Self { name: name.to_string(), block }
    }

    /// What one subtask has left.
    pub(crate) fn all_of(snapshot: &OperatorSnapshot) -> Result<Vec<Self>, BoxError> {
        if snapshot.state.is_empty() { Ok(Vec::new()) } else { codec::decode(&snapshot.state) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn block(&self) -> &[u8] {
        &self.block
    }
}

/// What the subtasks of an operator have left, and for which one it is read.
pub struct StoredStates<'a> {
    operator: &'a str,
    context: &'a OpenContext,
    /// Of each subtask that there was.
    subtasks: Vec<Vec<SavedState>>,
}

impl<'a> StoredStates<'a> {
    /// What the restored checkpoint has of `operator`.
    pub(crate) fn of(operator: &'a str, context: &'a OpenContext) -> Result<Self, Error> {
        let stored = context.operator_snapshots(operator).iter().filter(|snapshot| !snapshot.state.is_empty());
        let subtasks = stored.map(|snapshot| codec::decode(&snapshot.state)).collect::<Result<_, _>>();
        let mut states = Self { operator, context, subtasks: Vec::new() };
        states.subtasks = subtasks.map_err(|cause| states.unreadable(None, cause))?;
        Ok(states)
    }

    fn unreadable(&self, state: Option<&str>, cause: BoxError) -> Error {
        let OpenContext { subtask, restored, job_name, state_place, .. } = self.context;
        let state = state.map_or_else(|| self.operator.to_string(), |state| format!("{}/{state}", self.operator));
        let message = format!(
            "state '{state}' of job '{job_name}', subtask {subtask}, checkpoint {} in {state_place} cannot be read: start the program that wrote it, \
             or give the state a version and say what becomes of older values",
            restored.checkpoint
        );
        Error::new(ErrorKind::Refused, message, Some(cause))
    }

    /// The entries that subtask `number` had.
    fn entries<K: Key, V: Record>(
        &self,
        number: usize,
        descriptor: &StateDescriptor<impl Sized, V>,
    ) -> Result<Vec<(K, V)>, Error> {
        let saved = self.subtasks[number].iter().find(|saved| saved.name == descriptor.name);
        let entries = saved.map_or(Ok(Vec::new()), |saved| read(&saved.block, &descriptor.format));
        entries.map_err(|cause| self.unreadable(Some(&descriptor.name), cause))
    }

    /// The elements that all subtasks had, in their order.
    fn elements<V: Record>(&self, descriptor: &StateDescriptor<impl Sized, V>) -> Result<Vec<V>, Error> {
        let mut elements = Vec::new();
        for number in 0..self.subtasks.len() {
            elements.extend(self.entries::<(), V>(number, descriptor)?.into_iter().map(|((), element)| element));
        }
        Ok(elements)
    }
}

/// The entries of one subtask's block.
pub(crate) fn read<K: Key, V: DeserializeOwned>(
    bytes: &[u8],
    format: &ValueFormat<V>,
) -> Result<Vec<(K, V)>, BoxError> {
    let mut values = format.reader();
    let entries = Block::parse(bytes)?.map(|entry| {
        let entry = entry?;
        let (form, value) = entry.value.ok_or("an element of operator state has gone and is there")?;
        Ok((block::key(entry.key)?, values.read(form, value)?))
    });
    entries.collect()
}

/// The block of a state with these entries.
pub(crate) fn save<'a, K: Key, V: Record>(
    descriptor: &StateDescriptor<impl Sized, V>,
    entries: impl Iterator<Item = (&'a K, &'a V)>,
) -> Result<SavedState, BoxError> {
    let mut block = Vec::new();
    block::begin::<K>(&mut block, descriptor.format.values(), &[]);
    for (key, value) in entries {
        block::push(&mut block, key, value)
            .map_err(|cause| format!("a value of state '{}' cannot be encoded: {cause}", descriptor.name))?;
    }
    Ok(SavedState { name: descriptor.name.clone(), block })
}

impl<V: Record> OperatorStates for StateDescriptor<Elements, V> {
    type Live = Vec<V>;

    fn declared(&self) -> Vec<DeclaredState> {
        vec![self.declare(StateKind::OperatorList, <()>::format())]
    }

    fn restore(&self, stored: &StoredStates<'_>) -> Result<Vec<V>, Error> {
        let (subtask, parallelism) = (stored.context.subtask.index(), stored.context.parallelism as usize);
        if stored.subtasks.len() == parallelism {
            let own = stored.entries::<(), V>(subtask, self)?;
            return Ok(own.into_iter().map(|((), element)| element).collect());
        }
        Ok(stored.elements(self)?.into_iter().skip(subtask).step_by(parallelism).collect())
    }

    fn save(&self, live: &Vec<V>, saved: &mut Vec<SavedState>) -> Result<(), BoxError> {
        saved.push(save(self, live.iter().map(|element| (&(), element)))?);
        Ok(())
    }
}

impl<V: Record> OperatorStates for StateDescriptor<Union<V>, V> {
    type Live = Vec<V>;

    fn declared(&self) -> Vec<DeclaredState> {
        vec![self.declare(StateKind::Union, <()>::format())]
    }

    fn restore(&self, stored: &StoredStates<'_>) -> Result<Vec<V>, Error> {
        let all = stored.elements(self)?;
        Ok((self.kind.keep)(all, stored.context.subtask, stored.context.parallelism))
    }

    fn save(&self, live: &Vec<V>, saved: &mut Vec<SavedState>) -> Result<(), BoxError> {
        saved.push(save(self, live.iter().map(|element| (&(), element)))?);
        Ok(())
    }
}

impl<U: Key + Ord, V: Record> OperatorStates for StateDescriptor<Broadcast<U>, V> {
    type Live = BTreeMap<U, V>;

    fn declared(&self) -> Vec<DeclaredState> {
        vec![self.declare(StateKind::Broadcast, U::format())]
    }

    fn restore(&self, stored: &StoredStates<'_>) -> Result<BTreeMap<U, V>, Error> {
        let from = stored.context.subtask.index().checked_rem(stored.subtasks.len());
        from.map_or(Ok(BTreeMap::new()), |from| Ok(stored.entries(from, self)?.into_iter().collect()))
    }

    fn save(&self, live: &BTreeMap<U, V>, saved: &mut Vec<SavedState>) -> Result<(), BoxError> {
        saved.push(save(self, live.iter())?);
        Ok(())
    }
}

macro_rules! tuple {
    ($($d:ident $i:tt),*) => {
        impl<$($d: OperatorStates),*> OperatorStates for ($($d,)*) {
            type Live = ($($d::Live,)*);

            fn declared(&self) -> Vec<DeclaredState> {
                [$(self.$i.declared()),*].concat()
            }

            fn restore(&self, stored: &StoredStates<'_>) -> Result<Self::Live, Error> {
                Ok(($(self.$i.restore(stored)?,)*))
            }

            fn save(&self, live: &Self::Live, saved: &mut Vec<SavedState>) -> Result<(), BoxError> {
                $(self.$i.save(&live.$i, saved)?;)*
                Ok(())
            }
        }
    };
}
tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
tuple!(A 0, B 1, C 2, D 3, E 4);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5);

fn as_bytes<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

fn from_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    struct Bytes;

    impl de::Visitor<'_> for Bytes {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }

        fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
            Ok(bytes)
        }
    }

    deserializer.deserialize_byte_buf(Bytes)
}
