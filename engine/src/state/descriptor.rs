//! What a step says of a state that it keeps.

use std::{marker::PhantomData, sync::Arc};

use serde::de::DeserializeOwned;

use crate::{
    checkpoint::snapshot::{StateKind, StateRecord},
    error::BoxError,
    id::SubtaskIndex,
    key::Key,
    key_format::KeyFormat,
    record::Record,
    state::{
        aggregating_state::Aggregate,
        declared::{DeclaredState, ValueCheck},
        ttl::{Forever, Lifetime, Ttl},
        value_format::ValueFormat,
    },
};

/// Declares a state: its name within the step, which is its address on disk, the type of its values, and how long they live. Made by [`value`], [`list`], [`map`],
/// [`reducing`], [`aggregating`], and for operators without a key [`list`], [`union`] and [`broadcast`].
#[derive(Debug)]
#[must_use = "a state is declared by giving it to a step"]
pub struct StateDescriptor<Kind, V, L = Forever> {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) format: ValueFormat<V>,
    pub(crate) lifetime: L,
}

impl<Kind: Clone, V, L: Clone> Clone for StateDescriptor<Kind, V, L> {
    fn clone(&self) -> Self {
        let (name, kind) = (self.name.clone(), self.kind.clone());
        Self { name, kind, format: self.format.clone(), lifetime: self.lifetime.clone() }
    }
}

/// One value: see [`value`].
#[derive(Clone, Copy, Debug)]
pub struct OneValue;

/// Elements in order: see [`list`].
#[derive(Clone, Copy, Debug)]
pub struct Elements;

/// Entries by `U`: see [`map`].
#[derive(Clone, Copy, Debug)]
pub struct Entries<U>(PhantomData<fn() -> U>);

/// One value, combined by `F`: see [`reducing`].
#[derive(Clone, Copy, Debug)]
pub struct Reduced<F>(pub(crate) F);

/// One accumulator of `A`: see [`aggregating`].
#[derive(Clone, Copy, Debug)]
pub struct Aggregated<A>(pub(crate) A);

/// Elements that every subtask gets: see [`union`].
pub struct Union<V> {
    pub(crate) keep: Keep<V>,
}

/// What a subtask keeps of all elements.
pub(crate) type Keep<V> = Arc<dyn Fn(Vec<V>, SubtaskIndex, u32) -> Vec<V> + Send + Sync>;

impl<V> Clone for Union<V> {
    fn clone(&self) -> Self {
        Self { keep: self.keep.clone() }
    }
}

/// Entries by `U`, the same at every subtask: see [`broadcast`].
#[derive(Clone, Copy, Debug)]
pub struct Broadcast<U>(PhantomData<fn() -> U>);

fn descriptor<Kind, V>(name: impl Into<String>, kind: Kind) -> StateDescriptor<Kind, V> {
    StateDescriptor { name: name.into(), kind, format: ValueFormat::default(), lifetime: Forever }
}

/// One value for each key: [`ValueState`](crate::ValueState).
///
/// ```
/// # use cofferdam_engine::{Collector, state, topology::KeyedStream};
/// # fn changes(readings: KeyedStream<u32, f64>) {
/// // Only readings that differ from the last one of their sensor.
/// let changes = readings.process_with("changes", state::value::<f64>("last"), |sensor, reading, last, out| {
///     if last.get() != Some(&reading) {
///         last.set(reading);
///         out.emit((*sensor, reading));
///     }
/// });
/// # let _ = changes;
/// # }
/// ```
pub fn value<V: Record>(name: impl Into<String>) -> StateDescriptor<OneValue, V> {
    descriptor(name, OneValue)
}

/// For a keyed step, a list for each key: [`ListState`](crate::state::ListState), of which adding an element writes that element.
///
/// For an operator without a key ([`process_operator`](crate::topology::Stream::process_operator)), a `Vec` for each subtask. On another parallelism its elements
/// are dealt out in turn.
///
/// ```
/// # use cofferdam_engine::{Collector, state, topology::KeyedStream};
/// # fn threes(readings: KeyedStream<u32, f64>) {
/// // Readings of a sensor, in threes.
/// let threes = readings.process_with("threes", state::list::<f64>("waiting"), |sensor, reading, waiting, out| {
///     waiting.push(reading);
///     if waiting.len() == 3 {
///         out.emit((*sensor, waiting.iter().copied().collect::<Vec<_>>()));
///         waiting.clear();
///     }
/// });
/// # let _ = threes;
/// # }
/// ```
pub fn list<V: Record>(name: impl Into<String>) -> StateDescriptor<Elements, V> {
    descriptor(name, Elements)
}

/// A map for each key: [`MapState`](crate::state::MapState), of which changing an entry writes that entry.
///
/// ```
/// # use cofferdam_engine::{Collector, state, topology::KeyedStream};
/// # fn carts(changes: KeyedStream<u32, (String, u64)>) {
/// // What each customer's cart holds after each change.
/// let carts = changes.process_with("carts", state::map::<String, u64>("items"), |customer, (item, count), items, out| {
///     if count == 0 {
///         items.remove(&item);
///     } else {
///         items.insert(item, count);
///     }
///     out.emit((*customer, items.values().sum::<u64>()));
/// });
/// # let _ = carts;
/// # }
/// ```
pub fn map<U: Key + Ord, V: Record>(name: impl Into<String>) -> StateDescriptor<Entries<U>, V> {
    descriptor(name, Entries(PhantomData))
}

/// One value for each key, into which `function` puts each one that is added: [`ReducingState`](crate::state::ReducingState).
///
/// ```
/// # use cofferdam_engine::{Collector, state, topology::KeyedStream};
/// # fn records(readings: KeyedStream<u32, u64>) {
/// // Each reading beside the highest of its sensor.
/// let highest = state::reducing("highest", |highest: &mut u64, reading| *highest = reading.max(*highest));
/// let records = readings.process_with("records", highest, |sensor, reading, highest, out| {
///     highest.add(reading);
///     out.emit((*sensor, reading, highest.get().copied()));
/// });
/// # let _ = records;
/// # }
/// ```
pub fn reducing<V: Record, F>(name: impl Into<String>, function: F) -> StateDescriptor<Reduced<F>, V>
where
    F: FnMut(&mut V, V) + Clone + Send + 'static,
{
    descriptor(name, Reduced(function))
}

/// One accumulator for each key, and what comes of it: [`AggregatingState`](crate::state::AggregatingState).
///
/// ```
/// # use cofferdam_engine::{Collector, state::{self, Aggregate}, topology::KeyedStream};
/// #[derive(Clone)]
/// struct Mean;
///
/// impl Aggregate for Mean {
///     type In = f64;
///     type Accumulator = (f64, u64);
///     type Out = f64;
///
///     fn create(&self) -> (f64, u64) {
///         (0.0, 0)
///     }
///
///     fn add(&self, (sum, count): &mut (f64, u64), value: f64) {
///         *sum += value;
///         *count += 1;
///     }
///
///     fn get(&self, (sum, count): &(f64, u64)) -> f64 {
///         sum / *count as f64
///     }
/// }
///
/// # fn means(readings: KeyedStream<u32, f64>) {
/// let means = readings.process_with("means", state::aggregating("mean", Mean), |sensor, reading, mean, out| {
///     mean.add(reading);
///     out.emit((*sensor, mean.get()));
/// });
/// # let _ = means;
/// # }
/// ```
pub fn aggregating<A: Aggregate>(
    name: impl Into<String>,
    aggregate: A,
) -> StateDescriptor<Aggregated<A>, A::Accumulator> {
    descriptor(name, Aggregated(aggregate))
}

/// For an operator without a key, a `Vec` for each subtask; after a restart each has the elements of all, whatever the parallelism, or what
/// [`on_restore`](StateDescriptor::on_restore) keeps of them. What all of them keep is there, after the next one, as often as there are subtasks.
///
/// ```
/// # use cofferdam_engine::{operator::Operator, state, topology::Stream};
/// # fn counts(events: Stream<impl Operator<Out = u32>>) {
/// // How many events each partition had, counted on the subtask that it is dealt to.
/// let counts = state::union::<(u32, u64)>("counts").on_restore(|all, subtask, parallelism| {
///     all.into_iter().filter(|(partition, _)| partition % parallelism == subtask.0).collect()
/// });
/// let counts = events.process_operator("counts", counts, |partition, counts, out| {
///     match counts.iter_mut().find(|(other, _)| *other == partition) {
///         Some((_, count)) => *count += 1,
///         None => counts.push((partition, 1)),
///     }
///     out.emit(counts.clone());
/// });
/// # let _ = counts;
/// # }
/// ```
pub fn union<V: Record>(name: impl Into<String>) -> StateDescriptor<Union<V>, V> {
    descriptor(name, Union { keep: Arc::new(|all, _, _| all) })
}

/// For an operator without a key, a `BTreeMap` that is the same at every subtask, because each of them is given the same records in the same order, as by one
/// subtask's [`broadcast`](crate::topology::Stream::broadcast), and makes the same of them. On another parallelism each gets a copy of one.
pub fn broadcast<U: Key + Ord, V: Record>(name: impl Into<String>) -> StateDescriptor<Broadcast<U>, V> {
    descriptor(name, Broadcast(PhantomData))
}

impl<Kind, V, L> StateDescriptor<Kind, V, L> {
    /// The version of the values' type; without this it is 0. See [`ValueFormat`].
    pub fn version(self, version: u32) -> Self {
        Self { format: self.format.with_version(version), ..self }
    }

    /// A stored value of an older `version` is read as an `Old`, and becomes what `migrate` makes of it. See [`ValueFormat`].
    pub fn migrate_from<Old: DeserializeOwned>(
        self,
        version: u32,
        migrate: impl Fn(Old) -> V + Send + Sync + 'static,
    ) -> Self {
        Self { format: self.format.migrate_from(version, migrate), ..self }
    }

    /// As [`migrate_from`](Self::migrate_from), with a function that may fail: an error of it refuses the start, in words that name operator, state, key and version.
    ///
    /// ```
    /// # use cofferdam_engine::state;
    /// // The first version was text.
    /// let amounts = state::value::<u64>("amount").version(1).try_migrate_from(0, |old: String| old.parse::<u64>());
    /// # let _ = amounts;
    /// ```
    pub fn try_migrate_from<Old: DeserializeOwned, E: Into<BoxError>>(
        self,
        version: u32,
        migrate: impl Fn(Old) -> Result<V, E> + Send + Sync + 'static,
    ) -> Self {
        Self { format: self.format.try_migrate_from(version, migrate), ..self }
    }
}

impl<Kind, V: Record, L: Lifetime> StateDescriptor<Kind, V, L> {
    pub(crate) fn declare(&self, kind: StateKind, key: KeyFormat) -> DeclaredState {
        let record = StateRecord { name: self.name.clone(), kind, key, version: self.format.written() };
        let is_one_value = matches!(kind, StateKind::Value | StateKind::Reducing | StateKind::Aggregating);
        // What has an end is swept, and so has to be at hand.
        let shares_heap = is_one_value && !L::ENDS;
        let check = ValueCheck::of(L::format(self.format.clone()));
        DeclaredState { record, readable: self.format.readable(), shares_heap, check }
    }
}

impl<V> StateDescriptor<Union<V>, V> {
    /// What a subtask keeps of the elements of all: given them, its number, and how many subtasks there are now.
    pub fn on_restore(self, keep: impl Fn(Vec<V>, SubtaskIndex, u32) -> Vec<V> + Send + Sync + 'static) -> Self {
        Self { kind: Union { keep: Arc::new(keep) }, ..self }
    }
}

impl<Kind, V> StateDescriptor<Kind, V> {
    /// Its values expire. For states of keyed steps.
    pub fn ttl(self, ttl: Ttl) -> StateDescriptor<Kind, V, Ttl> {
        StateDescriptor { name: self.name, kind: self.kind, format: self.format, lifetime: ttl }
    }
}
