//! What windows keep of their records.

use std::{collections::VecDeque, marker::PhantomData, ops::Range};

use crate::{
    key::Key,
    operator::process::Collector,
    record::Record,
    state::{
        self, Aggregate, Merge,
        descriptor::{Entries, OneValue, StateDescriptor},
        keyed_states::KeyedStates,
    },
    time::Timestamp,
    window::{Window, Windowed},
};

/// What the records of a window, and of no other one, begin their numbers from, and where: beside a moment there is room for those of a window that begins there, and, from
/// [`OF_CUT`] on, of one that ends there and is cut at the start of time.
pub type Place = (Timestamp, u64);

/// See [`Place`].
pub const OF_CUT: u64 = 1 << 63;

/// What a step's windows keep of records `T`, and what comes of it.
pub trait Contents<K: Key, T>: Clone + Send + 'static {
    /// In the window's entry.
    type Part: Record;
    /// Beside the entries, for all windows of a key.
    type States: KeyedStates<K>;
    /// What a window gives.
    type Row: Send + 'static;

    fn states(&self) -> Self::States;

    /// Of no record.
    fn empty(&self) -> Self::Part;

    /// Adds a record; `place` is that of its window, or its own.
    fn add(
        &self,
        part: &mut Self::Part,
        record: T,
        place: Place,
        states: &mut <Self::States as KeyedStates<K>>::View<'_>,
    );

    /// Gives what comes of the records at `places`, which are those of a window.
    fn give(
        &mut self,
        of: (&K, Window),
        part: &Self::Part,
        places: Range<Place>,
        states: &mut <Self::States as KeyedStates<K>>::View<'_>,
        rows: &mut VecDeque<Self::Row>,
    );

    /// Forgets what is kept beside the entry of the records at `places`.
    fn forget(&self, places: Range<Place>, states: &mut <Self::States as KeyedStates<K>>::View<'_>);
}

/// Contents of two windows that can become those of one.
pub trait Joins<K: Key, T>: Contents<K, T> {
    /// Puts what was kept of a later window into that of an earlier one.
    fn join(&self, into: &mut Self::Part, other: Self::Part);
}

/// An accumulator.
#[derive(Clone)]
pub struct Folded<A>(pub(super) A);

impl<K: Key, T: 'static, A: Aggregate<In = T, Out: Send + 'static>> Contents<K, T> for Folded<A> {
    type Part = A::Accumulator;
    type States = ();
    type Row = Windowed<K, A::Out>;

    fn states(&self) {}

    fn empty(&self) -> A::Accumulator {
        self.0.create()
    }

    #[inline]
    fn add(&self, part: &mut A::Accumulator, record: T, _: Place, (): &mut ()) {
        self.0.add(part, record);
    }

    fn give(
        &mut self,
        (key, window): (&K, Window),
        part: &A::Accumulator,
        _: Range<Place>,
        (): &mut (),
        rows: &mut VecDeque<Self::Row>,
    ) {
        rows.push_back(Windowed { key: key.clone(), window, value: self.0.get(part) });
    }

    fn forget(&self, _: Range<Place>, (): &mut ()) {}
}

impl<K: Key, T: 'static, A: Merge<In = T, Out: Send + 'static>> Joins<K, T> for Folded<A> {
    fn join(&self, into: &mut A::Accumulator, other: A::Accumulator) {
        self.0.merge(into, other);
    }
}

/// The records themselves, each an entry of its own, and a function that is called with them.
pub struct Listed<T, R, F> {
    function: F,
    _of: PhantomData<fn(T) -> R>,
}

impl<T, R, F> Listed<T, R, F> {
    pub(super) fn new(function: F) -> Self {
        Self { function, _of: PhantomData }
    }
}

impl<T, R, F: Clone> Clone for Listed<T, R, F> {
    fn clone(&self) -> Self {
        Self::new(self.function.clone())
    }
}

/// Records by place and number, and the number of the last one that came.
pub type Records<T> = (StateDescriptor<Entries<(Timestamp, u64)>, T>, StateDescriptor<OneValue, u64>);

impl<K, T, R, F> Contents<K, T> for Listed<T, R, F>
where
    K: Key,
    T: Record,
    R: Send + 'static,
    F: FnMut(&K, Window, &[&T], &mut Collector<'_, R>) + Clone + Send + 'static,
{
    type Part = ();
    type States = Records<T>;
    type Row = R;

    fn states(&self) -> Self::States {
        (state::map("records"), state::value("arrivals"))
    }

    fn empty(&self) {}

    fn add(
        &self,
        (): &mut (),
        record: T,
        (moment, first): Place,
        states: &mut <Self::States as KeyedStates<K>>::View<'_>,
    ) {
        let (records, arrivals) = states;
        let number = arrivals.update(
            || 0,
            |arrivals| {
                *arrivals += 1;
                *arrivals
            },
        );
        records.insert((moment, first + number), record);
    }

    fn give(
        &mut self,
        (key, window): (&K, Window),
        (): &(),
        places: Range<Place>,
        (records, _): &mut <Self::States as KeyedStates<K>>::View<'_>,
        rows: &mut VecDeque<R>,
    ) {
        let mut numbered: Vec<_> = records.range(places).collect();
        numbered.sort_unstable_by_key(|((_, number), _)| *number);
        let records: Vec<&T> = numbered.into_iter().map(|(_, record)| record).collect();
        (self.function)(key, window, &records, &mut Collector::of(rows));
    }

    fn forget(&self, places: Range<Place>, (records, arrivals): &mut <Self::States as KeyedStates<K>>::View<'_>) {
        let gone: Vec<_> = records.range(places).map(|(at, _)| *at).collect();
        for at in gone {
            records.remove(&at);
        }
        if records.is_empty() {
            arrivals.clear();
        }
    }
}

/// Each record has its place: nothing moves.
impl<K, T, R, F> Joins<K, T> for Listed<T, R, F>
where
    K: Key,
    T: Record,
    R: Send + 'static,
    F: FnMut(&K, Window, &[&T], &mut Collector<'_, R>) + Clone + Send + 'static,
{
    fn join(&self, (): &mut (), (): ()) {}
}
