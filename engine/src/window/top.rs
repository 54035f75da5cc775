//! The records that are ahead of all others.

use std::marker::PhantomData;

use super::aggregates::Of;
use crate::{
    record::Record,
    state::{Aggregate, Merge},
};

/// The `n` records for which a function gives the most, the greatest first; records that are equal in this are kept in the order in which they came.
///
/// ```
/// use cofferdam_engine::{state::Aggregate, window::aggregates::Top};
///
/// let dearest = Top::by(2, |price: &u32| *price);
/// let mut kept = dearest.create();
/// for price in [3, 9, 1, 4] {
///     dearest.add(&mut kept, price);
/// }
/// assert_eq!(dearest.get(&kept), [9, 4]);
/// ```
///
/// In what order records of several subtasks come is no promise: where two can be equal the function says the tie-break too, as in `|bid| (bid.price, bid.number)`.
pub struct Top<T, F> {
    n: usize,
    function: F,
    of: Of<T>,
}

impl<T, F> Top<T, F> {
    /// The first `n` by this function.
    pub fn by<B>(n: usize, function: F) -> Self
    where
        F: Fn(&T) -> B,
    {
        Self { n, function, of: PhantomData }
    }

    /// Why it makes no sense, as [`Windows::faults`](super::Windows::faults).
    pub fn faults(&self) -> Vec<String> {
        let fault = || "the first 0 records are asked for: it must be at least 1".to_string();
        (self.n == 0).then(fault).into_iter().collect()
    }
}

impl<T, F: Clone> Clone for Top<T, F> {
    fn clone(&self) -> Self {
        Self { n: self.n, function: self.function.clone(), of: PhantomData }
    }
}

impl<T, B, F> Aggregate for Top<T, F>
where
    T: Record + Clone,
    B: Ord,
    F: Fn(&T) -> B + Clone + Send + 'static,
{
    type In = T;
    type Accumulator = Vec<T>;
    type Out = Vec<T>;

    fn create(&self) -> Vec<T> {
        Vec::new()
    }

    fn add(&self, accumulator: &mut Vec<T>, record: T) {
        let by = (self.function)(&record);
        let is_ahead = |kept: &T| (self.function)(kept) >= by;
        // Most records are behind all that are kept.
        if accumulator.len() >= self.n && accumulator.last().is_none_or(is_ahead) {
            return;
        }
        let place = accumulator.partition_point(is_ahead);
        accumulator.insert(place, record);
        accumulator.truncate(self.n);
    }

    fn get(&self, accumulator: &Vec<T>) -> Vec<T> {
        accumulator.clone()
    }
}

impl<T, B, F> Merge for Top<T, F>
where
    T: Record + Clone,
    B: Ord,
    F: Fn(&T) -> B + Clone + Send + 'static,
{
    fn merge(&self, into: &mut Vec<T>, other: Vec<T>) {
        other.into_iter().for_each(|record| self.add(into, record));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_none_are_a_fault_and_nothing() {
        let none = Top::by(0, |number: &u32| *number);
        let mut kept = none.create();
        none.add(&mut kept, 7);
        assert!(none.get(&kept).is_empty());
        assert_eq!(none.faults().len(), 1);
        assert!(Top::by(1, |number: &u32| *number).faults().is_empty());
    }
}
