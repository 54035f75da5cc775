//! Where late records end.

use crate::{
    key::Key,
    mutation::{self, Mutation},
    operator::process_timed::Context,
    record::Record,
    state::keyed_states::KeyedStates,
    time::{Stamp, Timestamp},
    topology::{SideTag, window::Side},
};

/// Records that came when all their windows had been given up: they go to a side output, or are dropped and counted.
#[derive(Debug)]
pub struct Late<T, S = Timestamp> {
    to: Option<SideTag<T, S>>,
    dropped: u64,
}

impl<T, S> Clone for Late<T, S> {
    fn clone(&self) -> Self {
        Self::to(self.to.clone())
    }
}

impl<T, S> Late<T, S> {
    pub(in crate::topology) fn to(to: Option<SideTag<T, S>>) -> Self {
        Self { to, dropped: 0 }
    }

    pub(in crate::topology) fn add<K: Key, D: KeyedStates<K>, N: Key + Ord, O>(
        &mut self,
        record: T,
        cx: &mut Context<'_, K, D, N, O, S>,
    ) where
        T: Record,
        S: Stamp,
    {
        match &self.to {
            _ if mutation::is(Mutation::LateForgotten) => {}
            Some(side) => cx.emit_to(side, record),
            None => self.dropped += 1,
        }
    }

    /// How many were dropped since the last call.
    pub(in crate::topology) fn take(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

/// What becomes of late records `T`.
pub trait LateOf<T, S>: Clone + Send + 'static {
    #[doc(hidden)]
    fn add<K: Key, D: KeyedStates<K>, N: Key + Ord, O>(&mut self, record: T, cx: &mut Context<'_, K, D, N, O, S>);

    #[doc(hidden)]
    fn take(&mut self) -> u64;
}

impl<T: Record, S: Stamp> LateOf<T, S> for Late<T, S> {
    fn add<K: Key, D: KeyedStates<K>, N: Key + Ord, O>(&mut self, record: T, cx: &mut Context<'_, K, D, N, O, S>) {
        Self::add(self, record, cx);
    }

    fn take(&mut self) -> u64 {
        Self::take(self)
    }
}

/// Those of each of two streams end somewhere of their own.
impl<A: Record, B: Record, S: Stamp> LateOf<Side<A, B>, S> for (Late<A, S>, Late<B, S>) {
    fn add<K: Key, D: KeyedStates<K>, N: Key + Ord, O>(
        &mut self,
        record: Side<A, B>,
        cx: &mut Context<'_, K, D, N, O, S>,
    ) {
        match record {
            Side::Left(record) => self.0.add(record, cx),
            Side::Right(record) => self.1.add(record, cx),
        }
    }

    fn take(&mut self) -> u64 {
        self.0.take() + self.1.take()
    }
}
