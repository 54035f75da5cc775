//! Any function of a record and its key's states.

use std::collections::VecDeque;

use crate::{
    key::Key,
    operator::{Operator, Stateful, Step, emitted::Emitted, keyed::KeyedInput},
    panic_site::running,
    record::Record,
    slice::{Flow, Slice},
    state::keyed_states::{KeyedStates, with_states},
    time::{NoTime, Stamp},
    topology::graph::StepIndex,
};

/// Takes what a process function gives; see [`process`](crate::topology::KeyedStream::process) for an example.
pub struct Collector<'a, T> {
    out: &'a mut VecDeque<T>,
}

impl<'a, T> Collector<'a, T> {
    pub(crate) fn of(out: &'a mut VecDeque<T>) -> Self {
        Self { out }
    }

    /// Gives a record to the next step, behind those given before.
    pub fn emit(&mut self, record: T) {
        self.out.push_back(record);
    }
}

pub struct Process<K: Key, R, D: KeyedStates<K>, T, F, Z = NoTime> {
    pub(crate) step: StepIndex,
    pub(crate) upstream: KeyedInput<K, R, D::Tables, Z>,
    pub(crate) out: Emitted<T, Z>,
    pub(crate) function: F,
}

impl<K: Key, R: Record, D: KeyedStates<K>, T: Send, F: Send, Z: Stamp> Stateful for Process<K, R, D, T, F, Z> {}

impl<K: Key, R: Record, D: KeyedStates<K>, T: Send, F: Send, Z: Stamp> Step for Process<K, R, D, T, F, Z> {
    fn upstream(&mut self) -> Option<&mut dyn Step> {
        Some(&mut self.upstream)
    }

    fn has_leftover(&mut self) -> bool {
        !self.out.is_empty() || self.upstream.has_leftover()
    }

    fn is_within_record(&mut self) -> bool {
        !self.out.is_empty() || self.upstream.is_within_record()
    }
}

impl<K, R, D, T, F, Z> Operator for Process<K, R, D, T, F, Z>
where
    K: Key,
    R: Record,
    D: KeyedStates<K>,
    T: Send + 'static,
    F: FnMut(&K, R, &mut D::View<'_>, &mut Collector<'_, T>) + Send + 'static,
    Z: Stamp,
{
    type Out = T;
    type Time = Z;

    #[inline]
    fn drive<Sink>(&mut self, slice: &mut Slice<'_>, sink: &mut Sink) -> Flow
    where
        Sink: FnMut(&mut Slice<'_>, T, Z) -> Flow,
    {
        let Self { step, upstream, out, function } = self;
        out.resume(slice, sink)?;
        upstream.drive(slice, |tables, slot, key, record, time, slice| {
            with_states::<K, D, _>(tables, slot, &key, slice, |states| {
                running(*step, || function(&key, record, states, &mut out.collector()))
            });
            out.hand_out(time, slice, sink)
        })
    }
}
