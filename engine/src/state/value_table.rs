//! A table of one value per key, declared by a descriptor.

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
        descriptor::{OneValue, StateDescriptor},
        keyed_states::{KeyedStates, KeyedTables, TablePlace, restore_whole},
        keyed_table::{KeyedTable, Slot},
        ttl::{Lifetime, Sweep},
        value_state::{ValueState, ValueUse},
    },
};

/// Values, and how long they live.
pub struct ValueTable<K, V: Record, L: Lifetime> {
    table: KeyedTable<K, L::Stored<V>>,
    lifetime: L,
    sweep: Sweep,
}

impl<K: Key, V: Record, L: Lifetime> ValueTable<K, V, L> {
    pub(crate) fn new<Kind>(descriptor: &StateDescriptor<Kind, V, L>, place: &TablePlace<'_>) -> Self {
        let format = L::format(descriptor.format.clone());
        Self {
            table: KeyedTable::new(place.address(&descriptor.name), format, place.range, place.max_parallelism),
            lifetime: descriptor.lifetime.clone(),
            sweep: Sweep::default(),
        }
    }

    #[inline]
    pub(crate) fn view(&mut self, slot: Slot, slice: &Slice<'_>) -> ValueState<'_, V> {
        ValueState::of(&mut self.table, slot, &self.lifetime, L::now(slice))
    }

    #[inline]
    pub(crate) fn settle(&mut self, used: ValueUse<V>, slot: Slot, key: &K, slice: &Slice<'_>) {
        used.settle(&mut self.table, slot, key, &self.lifetime, L::now(slice));
    }
}

impl<K: Key, V: Record, L: Lifetime> KeyedTables<K> for ValueTable<K, V, L> {
    type Slot = Slot;

    #[inline]
    fn hint(&self, key: &K) -> Slot {
        self.table.hint(key)
    }

    #[inline]
    fn find(&self, hint: Slot, key: &K) -> Slot {
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
        KeyedTables::load(&mut self.table, keys)
    }

    fn heap_is_spent(&self) -> bool {
        self.table.heap_is_spent()
    }

    fn restore(&mut self, context: &OpenContext) -> Result<(), Error> {
        // What has an end is swept, and so has to be at hand.
        if L::ENDS { restore_whole(&mut self.table, context) } else { KeyedTables::restore(&mut self.table, context) }
    }

    fn snapshot(&mut self, snapshot: &mut SnapshotBuilder) -> Result<(), BoxError> {
        let Self { table, lifetime, sweep } = self;
        sweep.over::<K, V, L>(table, lifetime, (snapshot.checkpoint, snapshot.time), |_| {});
        KeyedTables::snapshot(table, snapshot)
    }

    fn completed(&mut self, checkpoint: CheckpointId) {
        self.table.completed(checkpoint);
    }
}

impl<K: Key, V: Record, L: Lifetime> KeyedStates<K> for StateDescriptor<OneValue, V, L> {
    type View<'a> = ValueState<'a, V>;
    type Tables = ValueTable<K, V, L>;
    type Use = ValueUse<V>;

    fn declared(&self) -> Vec<DeclaredState> {
        vec![self.declare(StateKind::Value, K::format())]
    }

    fn tables(&self, place: &TablePlace<'_>) -> Self::Tables {
        ValueTable::new(self, place)
    }

    #[inline]
    fn view<'a>(tables: &'a mut Self::Tables, slot: Slot, _: &'a K, slice: &Slice<'_>) -> ValueState<'a, V> {
        tables.view(slot, slice)
    }

    #[inline]
    fn into_use(view: ValueState<'_, V>) -> ValueUse<V> {
        view.into_use()
    }

    #[inline]
    fn settle(used: ValueUse<V>, tables: &mut Self::Tables, slot: Slot, key: &K, slice: &Slice<'_>) {
        tables.settle(used, slot, key, slice);
    }
}
