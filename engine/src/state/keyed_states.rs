//! The states of a keyed step, and how a function gets at those of its record's key.
//!
//! ```text
//! descriptors --records--> checkpoints say which states there are
//!             --tables---> KeyedTables of a subtask: hint, find | restore, snapshot, completed
//! tables, a record's key --view--> what the function is given --use--> settled in the tables
//! ```
//! All of it is resolved by types. A tuple of descriptors has tuples of everything.

use crate::{
    checkpoint::{snapshot::StateAddress, store::StoreError},
    error::{BoxError, Error, ErrorKind},
    id::CheckpointId,
    key::Key,
    key_group::KeyGroupRange,
    operator::{OpenContext, SnapshotBuilder},
    record::Record,
    slice::Slice,
    state::{
        declared::DeclaredState,
        keyed_table::{KeyedTable, Slot},
    },
};

/// What [`process_with`](crate::topology::KeyedStream::process_with) takes: a descriptor of [`state`](crate::state), or a tuple of up to six; `()` for no state. Nobody else
/// implements it.
pub trait KeyedStates<K: Key>: Send + 'static {
    /// What the function is given, for the key of its record: [`ValueState`](crate::ValueState), [`MapState`](crate::state::MapState) and so on, or a tuple of
    /// them.
    type View<'a>;
    #[doc(hidden)]
    type Tables: KeyedTables<K>;
    /// What a view leaves to be carried out.
    #[doc(hidden)]
    type Use;

    #[doc(hidden)]
    fn declared(&self) -> Vec<DeclaredState>;
    #[doc(hidden)]
    fn tables(&self, place: &TablePlace<'_>) -> Self::Tables;
    #[doc(hidden)]
    fn view<'a>(
        tables: &'a mut Self::Tables,
        slot: <Self::Tables as KeyedTables<K>>::Slot,
        key: &'a K,
        slice: &Slice<'_>,
    ) -> Self::View<'a>;
    #[doc(hidden)]
    fn into_use(view: Self::View<'_>) -> Self::Use;
    #[doc(hidden)]
    fn settle(
        used: Self::Use,
        tables: &mut Self::Tables,
        slot: <Self::Tables as KeyedTables<K>>::Slot,
        key: &K,
        slice: &Slice<'_>,
    );
}

/// Where tables are made.
pub struct TablePlace<'a> {
    /// The step's address.
    pub(crate) operator: &'a str,
    /// The subtask's key groups.
    pub(crate) range: KeyGroupRange,
    /// Key groups in all.
    pub(crate) max_parallelism: u16,
}

impl TablePlace<'_> {
    pub(crate) fn address(&self, state: &str) -> StateAddress {
        StateAddress { operator: self.operator.to_string(), state: state.to_string() }
    }
}

/// Where the states of a subtask's keys are.
pub trait KeyedTables<K: Key>: Send + 'static {
    /// A key's place in the tables.
    type Slot: Copy + Default;

    /// Where `key` probably is, for [`find`](Self::find) a little later; meanwhile it is fetched from memory.
    fn hint(&self, key: &K) -> Self::Slot;
    /// Where `key` is.
    fn find(&self, hint: Self::Slot, key: &K) -> Self::Slot;
    /// Another batch of records is at hand.
    fn batch_came(&mut self);
    /// Whether every key of the batch at hand can be found.
    fn is_loaded(&self) -> bool;
    /// Has the state of `keys` on the heap, until the next batch.
    fn load(&mut self, keys: &mut dyn Iterator<Item = &K>) -> Result<(), BoxError>;
    /// Whether what is not stored takes more of the heap than its share.
    fn heap_is_spent(&self) -> bool;
    fn restore(&mut self, context: &OpenContext) -> Result<(), Error>;
    fn snapshot(&mut self, snapshot: &mut SnapshotBuilder) -> Result<(), BoxError>;
    fn completed(&mut self, checkpoint: CheckpointId);
}

/// Lets `code` use the states of `key`, and carries out what it did.
#[inline]
pub(crate) fn with_states<K: Key, D: KeyedStates<K>, R>(
    tables: &mut D::Tables,
    slot: <D::Tables as KeyedTables<K>>::Slot,
    key: &K,
    slice: &Slice<'_>,
    code: impl FnOnce(&mut D::View<'_>) -> R,
) -> R {
    let mut view = D::view(tables, slot, key, slice);
    let result = code(&mut view);
    let used = D::into_use(view);
    D::settle(used, tables, slot, key, slice);
    result
}

/// Puts all of a table on the heap.
pub(super) fn restore_whole<K: Key, S: Record>(
    table: &mut KeyedTable<K, S>,
    context: &OpenContext,
) -> Result<(), Error> {
    let restored = table.restore(context.reader.as_ref());
    restored.map_err(|error| not_restored(table.address(), context, error))
}

pub(crate) fn not_restored(state: &StateAddress, context: &OpenContext, error: StoreError) -> Error {
    let OpenContext { job_name, subtask, restored, .. } = context;
    let checkpoint = restored.checkpoint;
    let message = format!("state '{state}' of job '{job_name}', subtask {subtask}, checkpoint {checkpoint}: {error}");
    Error::new(if error.is_refusal() { ErrorKind::Refused } else { ErrorKind::Store }, message, error.cause)
}

impl<K: Key, S: Record> KeyedTables<K> for KeyedTable<K, S> {
    type Slot = Slot;

    #[inline]
    fn hint(&self, key: &K) -> Slot {
        self.hint(key)
    }

    #[inline]
    fn find(&self, hint: Slot, key: &K) -> Slot {
        self.find(hint, key)
    }

    #[inline]
    fn batch_came(&mut self) {
        self.batch_came();
    }

    #[inline]
    fn is_loaded(&self) -> bool {
        self.is_loaded()
    }

    fn load(&mut self, keys: &mut dyn Iterator<Item = &K>) -> Result<(), BoxError> {
        Ok(self.load(keys)?)
    }

    fn heap_is_spent(&self) -> bool {
        self.heap_is_spent()
    }

    fn restore(&mut self, context: &OpenContext) -> Result<(), Error> {
        match &context.heap_share {
            Some(share) => {
                self.share_heap(share.clone());
                let probed = self.probe(context.reader.as_ref());
                probed.map_err(|error| not_restored(self.address(), context, error))
            }
            None => restore_whole(self, context),
        }
    }

    fn snapshot(&mut self, snapshot: &mut SnapshotBuilder) -> Result<(), BoxError> {
        let deltas = self.freeze(snapshot.checkpoint);
        let deltas =
            deltas.map_err(|cause| format!("a value of state '{}' cannot be encoded: {cause}", self.address()))?;
        snapshot.deltas.extend(deltas);
        snapshot.bytes_full += self.stored_bytes();
        Ok(())
    }

    fn completed(&mut self, checkpoint: CheckpointId) {
        self.completed(checkpoint);
    }
}

/// Nothing is kept.
impl<K: Key> KeyedTables<K> for () {
    type Slot = ();

    #[inline]
    fn hint(&self, _: &K) {}

    #[inline]
    fn find(&self, (): (), _: &K) {}

    #[inline]
    fn batch_came(&mut self) {}

    #[inline]
    fn is_loaded(&self) -> bool {
        true
    }

    fn load(&mut self, _: &mut dyn Iterator<Item = &K>) -> Result<(), BoxError> {
        Ok(())
    }

    fn heap_is_spent(&self) -> bool {
        false
    }

    fn restore(&mut self, _: &OpenContext) -> Result<(), Error> {
        Ok(())
    }

    fn snapshot(&mut self, _: &mut SnapshotBuilder) -> Result<(), BoxError> {
        Ok(())
    }

    fn completed(&mut self, _: CheckpointId) {}
}

/// No state.
impl<K: Key> KeyedStates<K> for () {
    type View<'a> = ();
    type Tables = ();
    type Use = ();

    fn declared(&self) -> Vec<DeclaredState> {
        Vec::new()
    }

    fn tables(&self, _: &TablePlace<'_>) {}

    #[inline]
    fn view<'a>(_: &'a mut (), (): (), _: &'a K, _: &Slice<'_>) {}

    #[inline]
    fn into_use((): ()) {}

    #[inline]
    fn settle((): (), (): &mut (), (): (), _: &K, _: &Slice<'_>) {}
}

macro_rules! tuple {
    ($($d:ident $i:tt),*) => {
        impl<K: Key, $($d: KeyedTables<K>),*> KeyedTables<K> for ($($d,)*) {
            type Slot = ($($d::Slot,)*);

            #[inline]
            fn hint(&self, key: &K) -> Self::Slot {
                ($(self.$i.hint(key),)*)
            }

            #[inline]
            fn find(&self, hint: Self::Slot, key: &K) -> Self::Slot {
                ($(self.$i.find(hint.$i, key),)*)
            }

            #[inline]
            fn batch_came(&mut self) {
                $(self.$i.batch_came();)*
            }

            #[inline]
            fn is_loaded(&self) -> bool {
                true $(&& self.$i.is_loaded())*
            }

            fn load(&mut self, keys: &mut dyn Iterator<Item = &K>) -> Result<(), BoxError> {
                let keys: Vec<&K> = keys.collect();
                $(self.$i.load(&mut keys.iter().copied())?;)*
                Ok(())
            }

            fn heap_is_spent(&self) -> bool {
                false $(|| self.$i.heap_is_spent())*
            }

            fn restore(&mut self, context: &OpenContext) -> Result<(), Error> {
                $(self.$i.restore(context)?;)*
                Ok(())
            }

            fn snapshot(&mut self, snapshot: &mut SnapshotBuilder) -> Result<(), BoxError> {
                $(self.$i.snapshot(snapshot)?;)*
                Ok(())
            }

            fn completed(&mut self, checkpoint: CheckpointId) {
                $(self.$i.completed(checkpoint);)*
            }
        }

        impl<K: Key, $($d: KeyedStates<K>),*> KeyedStates<K> for ($($d,)*) {
            type View<'a> = ($($d::View<'a>,)*);
            type Tables = ($($d::Tables,)*);
            type Use = ($($d::Use,)*);

            fn declared(&self) -> Vec<DeclaredState> {
                [$(self.$i.declared()),*].concat()
            }

            fn tables(&self, place: &TablePlace<'_>) -> Self::Tables {
                ($(self.$i.tables(place),)*)
            }

            #[inline]
            fn view<'a>(
                tables: &'a mut Self::Tables,
                slot: <Self::Tables as KeyedTables<K>>::Slot,
                key: &'a K,
                slice: &Slice<'_>,
            ) -> Self::View<'a> {
                ($($d::view(&mut tables.$i, slot.$i, key, slice),)*)
            }

            #[inline]
            fn into_use(view: Self::View<'_>) -> Self::Use {
                ($($d::into_use(view.$i),)*)
            }

            #[inline]
            fn settle(
                used: Self::Use,
                tables: &mut Self::Tables,
                slot: <Self::Tables as KeyedTables<K>>::Slot,
                key: &K,
                slice: &Slice<'_>,
            ) {
                $($d::settle(used.$i, &mut tables.$i, slot.$i, key, slice);)*
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
