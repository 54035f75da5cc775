//! Where late records end.

use crate::{
    key::Key,
    mutation::{self, Mutation},
    operator::process_timed::Context,
    record::Record,
    state::keyed_states::KeyedStates,
    time::{Stamp, Timestamp},
    topology::SideTag,
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
