//! Closures in place of a process function's methods.

use std::marker::PhantomData;

/// Descriptors of states, and closures: `(on_record, on_timer)`, or `(on_left, on_right, on_timer)` for two streams.
pub struct Functions<D, R, C> {
    pub(super) states: D,
    pub(super) calls: C,
    _out: PhantomData<fn() -> R>,
}

impl<D, R, C> Functions<D, R, C> {
    pub(super) fn new(states: D, calls: C) -> Self {
        Self { states, calls, _out: PhantomData }
    }
}

impl<D: Clone, R, C: Clone> Clone for Functions<D, R, C> {
    fn clone(&self) -> Self {
        Self::new(self.states.clone(), self.calls.clone())
    }
}
