//! Aggregates whose parts can be put together.

use crate::state::Aggregate;

/// An [`Aggregate`] of which two accumulators become one: `merge(fold(a), fold(b))` is `fold(a ++ b)`. Windows that overlap or grow together ask for it.
pub trait Merge: Aggregate {
    /// Puts `other` into `into`. What `other` is made of comes behind what `into` is made of.
    fn merge(&self, into: &mut Self::Accumulator, other: Self::Accumulator);
}
