//! One value per key, into which others are put.

use crate::{
    checkpoint::snapshot::StateKind,
    error::{BoxError, Error},
    id::CheckpointId,
    key::Key,
    operator::{OpenContext, SnapshotBuilder},
    record::Record,
    slice::Slice,
    state::{
        declared::DeclaredState,
        descriptor::{Reduced, StateDescriptor},
        keyed_states::{KeyedStates, KeyedTables, TablePlace},
        keyed_table::Slot,
        ttl::Lifetime,
        value_state::{ValueState, ValueUse},
        value_table::ValueTable,
    },
};

/// The values that were added for the key of the record at hand, as one. See [`reducing`](crate::state::reducing) for an example.
pub struct ReducingState<'a, V, F> {
    value: ValueState<'a, V>,
    function: &'a mut F,
}

impl<V, F: FnMut(&mut V, V)> ReducingState<'_, V, F> {
    /// Puts a value into what there is; the first one is kept as it is.
    pub fn add(&mut self, value: V) {
        match self.value.get_mut() {
            Some(all) => (self.function)(all, value),
            None => self.value.set(value),
        }
    }

    /// What there is, if anything was added.
    pub fn get(&self) -> Option<&V> {
        self.value.get()
    }

    /// Forgets it.
    pub fn clear(&mut self) {
        self.value.clear();
    }
}

/// Values, and what is done with each one that is added to them.
pub struct WithFunction<T, F> {
    pub(crate) table: T,
    pub(crate) function: F,
}

impl<K: Key, T: KeyedTables<K>, F: Send + 'static> KeyedTables<K> for WithFunction<T, F> {
    type Slot = T::Slot;

    #[inline]
    fn hint(&self, key: &K) -> T::Slot {
        self.table.hint(key)
    }

    #[inline]
    fn find(&self, hint: T::Slot, key: &K) -> T::Slot {
        self.table.find(hint, key)
    }

    #[inline]
    fn batch_came(&mut self) {
        self.table.batch_came();
    }

    #[inline]
    fn is_loaded(&self) -> bool {
        self.table.is_loaded()
    }

    fn load(&mut self, keys: &mut dyn Iterator<Item = &K>) -> Result<(), BoxError> {
        self.table.load(keys)
    }

    fn heap_is_spent(&self) -> bool {
        self.table.heap_is_spent()
    }

    fn restore(&mut self, context: &OpenContext) -> Result<(), Error> {
        self.table.restore(context)
    }

    fn snapshot(&mut self, snapshot: &mut SnapshotBuilder) -> Result<(), BoxError> {
        self.table.snapshot(snapshot)
    }

    fn completed(&mut self, checkpoint: CheckpointId) {
        self.table.completed(checkpoint);
    }
}

impl<K, V, F, L> KeyedStates<K> for StateDescriptor<Reduced<F>, V, L>
where
    K: Key,
    V: Record,
    F: FnMut(&mut V, V) + Clone + Send + 'static,
    L: Lifetime,
{
    type View<'a> = ReducingState<'a, V, F>;
    type Tables = WithFunction<ValueTable<K, V, L>, F>;
    type Use = ValueUse<V>;

    fn declared(&self) -> Vec<DeclaredState> {
        vec![self.declare(StateKind::Reducing, K::format())]
    }

    fn tables(&self, place: &TablePlace<'_>) -> Self::Tables {
        WithFunction { table: ValueTable::new(self, place), function: self.kind.0.clone() }
    }

    #[inline]
    fn view<'a>(tables: &'a mut Self::Tables, slot: Slot, _: &'a K, slice: &Slice<'_>) -> ReducingState<'a, V, F> {
        ReducingState { value: tables.table.view(slot, slice), function: &mut tables.function }
    }

    #[inline]
    fn into_use(view: ReducingState<'_, V, F>) -> ValueUse<V> {
        view.value.into_use()
    }

    #[inline]
    fn settle(used: ValueUse<V>, tables: &mut Self::Tables, slot: Slot, key: &K, slice: &Slice<'_>) {
        tables.table.settle(used, slot, key, slice);
    }
}
