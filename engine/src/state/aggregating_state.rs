//! One accumulator per key, and what comes of it.

use crate::{
    checkpoint::snapshot::StateKind,
    key::Key,
    record::Record,
    slice::Slice,
    state::{
        declared::DeclaredState,
        descriptor::{Aggregated, StateDescriptor},
        keyed_states::{KeyedStates, TablePlace},
        keyed_table::Slot,
        reducing_state::WithFunction,
        ttl::Lifetime,
        value_state::{ValueState, ValueUse},
        value_table::ValueTable,
    },
};

/// How many values become one that may be of another type. See [`aggregating`](crate::state::aggregating) for an example.
pub trait Aggregate: Clone + Send + 'static {
    /// What is added.
    type In;
    /// What is kept.
    type Accumulator: Record;
    /// What comes of it.
    type Out;

    /// Of nothing yet.
    fn create(&self) -> Self::Accumulator;
    /// Adds a value.
    fn add(&self, accumulator: &mut Self::Accumulator, value: Self::In);
    /// What has come of it so far.
    fn get(&self, accumulator: &Self::Accumulator) -> Self::Out;
}

/// The values that were added for the key of the record at hand, aggregated. See [`aggregating`](crate::state::aggregating) for an example.
pub struct AggregatingState<'a, A: Aggregate> {
    accumulator: ValueState<'a, A::Accumulator>,
    aggregate: &'a A,
}

impl<A: Aggregate> AggregatingState<'_, A> {
    /// Adds a value.
    pub fn add(&mut self, value: A::In) {
        let aggregate = self.aggregate;
        self.accumulator.update(|| aggregate.create(), |accumulator| aggregate.add(accumulator, value));
    }

    /// What came of the values, if any was added.
    pub fn get(&self) -> Option<A::Out> {
        self.accumulator.get().map(|accumulator| self.aggregate.get(accumulator))
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.accumulator.clear();
    }
}

impl<K: Key, A: Aggregate, L: Lifetime> KeyedStates<K> for StateDescriptor<Aggregated<A>, A::Accumulator, L> {
    type View<'a> = AggregatingState<'a, A>;
    type Tables = WithFunction<ValueTable<K, A::Accumulator, L>, A>;
    type Use = ValueUse<A::Accumulator>;

    fn declared(&self) -> Vec<DeclaredState> {
        vec![self.declare(StateKind::Aggregating, K::format())]
    }

    fn tables(&self, place: &TablePlace<'_>) -> Self::Tables {
        WithFunction { table: ValueTable::new(self, place), function: self.kind.0.clone() }
    }

    #[inline]
    fn view<'a>(tables: &'a mut Self::Tables, slot: Slot, _: &'a K, slice: &Slice<'_>) -> AggregatingState<'a, A> {
        AggregatingState { accumulator: tables.table.view(slot, slice), aggregate: &tables.function }
    }

    #[inline]
    fn into_use(view: AggregatingState<'_, A>) -> Self::Use {
        view.accumulator.into_use()
    }

    #[inline]
    fn settle(used: Self::Use, tables: &mut Self::Tables, slot: Slot, key: &K, slice: &Slice<'_>) {
        tables.table.settle(used, slot, key, slice);
    }
}
