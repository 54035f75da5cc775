//! Ready-made aggregates. All of them but [`Folding`] can be merged.
//!
//! | | keeps | gives | order |
//! |---|---|---|---|
//! | [`Counted`] | a number | the number of records | is nothing to it |
//! | [`Summed`] | a sum | the sum of what a function gives | is nothing to it but where adding rounds |
//! | [`MinBy`], [`MaxBy`] | a record | the one for which a function gives the least, or the most | of records that are equal in this, the first one |
//! | [`Reduced`] | a record | the records put together by a function | of records as they came; the function must be associative |
//! | [`Folding`] | a value | the value, changed by a function with each record; cannot be merged | of records as they came |
//! | [`Top`] | some records | those for which a function gives the most | of records that are equal in this, as they came |

use std::{marker::PhantomData, ops::AddAssign};

pub use super::top::Top;
use crate::{
    record::Record,
    state::{Aggregate, Merge},
};

/// What a function is of: no such value is kept.
pub(super) type Of<T> = PhantomData<fn(&T)>;

/// How many records there are.
pub struct Counted<T>(Of<T>);

impl<T> Counted<T> {
    /// Counts.
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Default for Counted<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for Counted<T> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<T: 'static> Aggregate for Counted<T> {
    type In = T;
    type Accumulator = u64;
    type Out = u64;

    fn create(&self) -> u64 {
        0
    }

    fn add(&self, accumulator: &mut u64, _record: T) {
        *accumulator += 1;
    }

    fn get(&self, accumulator: &u64) -> u64 {
        *accumulator
    }
}

impl<T: 'static> Merge for Counted<T> {
    fn merge(&self, into: &mut u64, other: u64) {
        *into += other;
    }
}

/// The aggregates of a function of the record: clones need no clone of the record.
macro_rules! by_function {
    ($($name:ident)*) => {$(
        impl<T, F> $name<T, F> {
            /// By this function.
            pub fn by<B>(function: F) -> Self
            where
                F: Fn(&T) -> B,
            {
                Self { function, of: PhantomData }
            }
        }

        impl<T, F: Clone> Clone for $name<T, F> {
            fn clone(&self) -> Self {
                Self { function: self.function.clone(), of: PhantomData }
            }
        }
    )*};
}
by_function!(Summed MinBy MaxBy);

/// The sum of what a function gives, from its type's default on. What happens when a sum is too large is up to `+=`.
///
/// ```
/// use cofferdam_engine::{state::{Aggregate, Merge}, window::aggregates::Summed};
///
/// let letters = Summed::by(|word: &&str| word.len() as u64);
/// let (mut sum, mut other) = (letters.create(), letters.create());
/// letters.add(&mut sum, "coffer");
/// letters.add(&mut other, "dam");
/// letters.merge(&mut sum, other);
/// assert_eq!(letters.get(&sum), 9);
/// ```
pub struct Summed<T, F> {
    function: F,
    of: Of<T>,
}

impl<T, N, F> Aggregate for Summed<T, F>
where
    T: 'static,
    N: Record + Default + Clone + AddAssign,
    F: Fn(&T) -> N + Clone + Send + 'static,
{
    type In = T;
    type Accumulator = N;
    type Out = N;

    fn create(&self) -> N {
        N::default()
    }

    fn add(&self, accumulator: &mut N, record: T) {
        *accumulator += (self.function)(&record);
    }

    fn get(&self, accumulator: &N) -> N {
        accumulator.clone()
    }
}

impl<T, N, F> Merge for Summed<T, F>
where
    T: 'static,
    N: Record + Default + Clone + AddAssign,
    F: Fn(&T) -> N + Clone + Send + 'static,
{
    fn merge(&self, into: &mut N, other: N) {
        *into += other;
    }
}

/// The first of the records for which a function gives the least; none of none.
pub struct MinBy<T, F> {
    function: F,
    of: Of<T>,
}

/// The first of the records for which a function gives the most; none of none.
///
/// ```
/// use cofferdam_engine::{state::Aggregate, window::aggregates::MaxBy};
///
/// let highest = MaxBy::by(|bid: &(String, u32)| bid.1);
/// let mut bids = highest.create();
/// for (who, price) in [("ann", 5), ("bob", 7), ("eve", 7)] {
///     highest.add(&mut bids, (who.to_string(), price));
/// }
/// assert_eq!(highest.get(&bids), Some(("bob".to_string(), 7)));
/// ```
pub struct MaxBy<T, F> {
    function: F,
    of: Of<T>,
}

/// The record that another one has to be `$than` to take its place.
macro_rules! best {
    ($($name:ident $than:tt)*) => {$(
        impl<T, B, F> Aggregate for $name<T, F>
        where
            T: Record + Clone,
            B: Ord,
            F: Fn(&T) -> B + Clone + Send + 'static,
        {
            type In = T;
            type Accumulator = Option<T>;
            type Out = Option<T>;

            fn create(&self) -> Option<T> {
                None
            }

            fn add(&self, accumulator: &mut Option<T>, record: T) {
                let is_better = |kept: &T| (self.function)(&record) $than (self.function)(kept);
                if accumulator.as_ref().is_none_or(is_better) {
                    *accumulator = Some(record);
                }
            }

            fn get(&self, accumulator: &Option<T>) -> Option<T> {
                accumulator.clone()
            }
        }

        impl<T, B, F> Merge for $name<T, F>
        where
            T: Record + Clone,
            B: Ord,
            F: Fn(&T) -> B + Clone + Send + 'static,
        {
            fn merge(&self, into: &mut Option<T>, other: Option<T>) {
                if let Some(record) = other {
                    self.add(into, record);
                }
            }
        }
    )*};
}
best!(MinBy<MaxBy>);

/// The records put together by a function that puts one into another; none of none.
pub struct Reduced<T, F> {
    function: F,
    of: Of<T>,
}

impl<T, F: Fn(&mut T, T)> Reduced<T, F> {
    /// By this function.
    pub fn by(function: F) -> Self {
        Self { function, of: PhantomData }
    }
}

impl<T, F: Clone> Clone for Reduced<T, F> {
    fn clone(&self) -> Self {
        Self { function: self.function.clone(), of: PhantomData }
    }
}

impl<T, F> Aggregate for Reduced<T, F>
where
    T: Record + Clone,
    F: Fn(&mut T, T) + Clone + Send + 'static,
{
    type In = T;
    type Accumulator = Option<T>;
    type Out = Option<T>;

    fn create(&self) -> Option<T> {
        None
    }

    fn add(&self, accumulator: &mut Option<T>, record: T) {
        match accumulator {
            Some(all) => (self.function)(all, record),
            None => *accumulator = Some(record),
        }
    }

    fn get(&self, accumulator: &Option<T>) -> Option<T> {
        accumulator.clone()
    }
}

impl<T, F> Merge for Reduced<T, F>
where
    T: Record + Clone,
    F: Fn(&mut T, T) + Clone + Send + 'static,
{
    fn merge(&self, into: &mut Option<T>, other: Option<T>) {
        if let Some(record) = other {
            self.add(into, record);
        }
    }
}

/// What an aggregate gives of some records, where it gives nothing of none: in a window there is always one.
pub struct Present<A>(A);

impl<A> Present<A> {
    /// What `aggregate` gives of some records.
    pub fn of(aggregate: A) -> Self {
        Self(aggregate)
    }
}

impl<A: Clone> Clone for Present<A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<R, A: Aggregate<Out = Option<R>>> Aggregate for Present<A> {
    type In = A::In;
    type Accumulator = A::Accumulator;
    type Out = R;

    fn create(&self) -> A::Accumulator {
        self.0.create()
    }

    fn add(&self, accumulator: &mut A::Accumulator, value: A::In) {
        self.0.add(accumulator, value);
    }

    /// # Panics
    /// If nothing was added.
    fn get(&self, accumulator: &A::Accumulator) -> R {
        let Some(result) = self.0.get(accumulator) else { panic!("a window without a record has a row") };
        result
    }
}

impl<R, A: Merge<Out = Option<R>>> Merge for Present<A> {
    fn merge(&self, into: &mut A::Accumulator, other: A::Accumulator) {
        self.0.merge(into, other);
    }
}

/// A value that a function changes with each record.
pub struct Folding<T, V, F> {
    initial: V,
    function: F,
    of: Of<T>,
}

impl<T, V, F: Fn(&mut V, T)> Folding<T, V, F> {
    /// Begins with `initial`.
    pub fn from(initial: V, function: F) -> Self {
        Self { initial, function, of: PhantomData }
    }
}

impl<T, V: Clone, F: Clone> Clone for Folding<T, V, F> {
    fn clone(&self) -> Self {
        Self { initial: self.initial.clone(), function: self.function.clone(), of: PhantomData }
    }
}

impl<T, V, F> Aggregate for Folding<T, V, F>
where
    T: 'static,
    V: Record + Clone,
    F: Fn(&mut V, T) + Clone + Send + 'static,
{
    type In = T;
    type Accumulator = V;
    type Out = V;

    fn create(&self) -> V {
        self.initial.clone()
    }

    fn add(&self, accumulator: &mut V, record: T) {
        (self.function)(accumulator, record);
    }

    fn get(&self, accumulator: &V) -> V {
        accumulator.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use proptest::prelude::*;

    use super::*;

    /// A number to go by, and which record it is.
    type Numbered = (u8, usize);

    fn fold<A: Aggregate<In = Numbered>>(aggregate: &A, records: &[Numbered]) -> A::Accumulator {
        let mut accumulator = aggregate.create();
        records.iter().for_each(|record| aggregate.add(&mut accumulator, *record));
        accumulator
    }

    /// Folding in two parts gives what folding all gives, which is `expected`.
    fn parts_are_the_whole<A>(aggregate: &A, records: &[Numbered], cut: usize, expected: A::Out)
    where
        A: Merge<In = Numbered, Accumulator: PartialEq + Debug, Out: PartialEq + Debug>,
    {
        let (one, other) = records.split_at(cut.min(records.len()));
        let mut merged = fold(aggregate, one);
        aggregate.merge(&mut merged, fold(aggregate, other));
        assert_eq!(aggregate.get(&merged), expected);
        assert_eq!(merged, fold(aggregate, records));
    }

    proptest! {
        #[test]
        fn what_is_folded_in_parts_and_merged_is_what_is_folded_at_once(
            by in proptest::collection::vec(0..6_u8, 0..30), cut in 0..30_usize, n in 1..8_usize,
        ) {
            let records: Vec<Numbered> = by.into_iter().zip(0..).collect();
            parts_are_the_whole(&Counted::new(), &records, cut, records.len() as u64);
            let sum = records.iter().map(|record| u64::from(record.0)).sum();
            parts_are_the_whole(&Summed::by(|record: &Numbered| u64::from(record.0)), &records, cut, sum);

            let mut sorted = records.clone();
            sorted.sort_by_key(|record| (record.0, record.1));
            parts_are_the_whole(&MinBy::by(|record: &Numbered| record.0), &records, cut, sorted.first().copied());
            sorted.sort_by_key(|record| (std::cmp::Reverse(record.0), record.1));
            parts_are_the_whole(&MaxBy::by(|record: &Numbered| record.0), &records, cut, sorted.first().copied());
            sorted.truncate(n);
            parts_are_the_whole(&Top::by(n, |record: &Numbered| record.0), &records, cut, sorted);

            // The last one: associative, and not indifferent to order.
            let last = Reduced::by(|all: &mut Numbered, next: Numbered| *all = next);
            parts_are_the_whole(&last, &records, cut, records.last().copied());
        }
    }
}
