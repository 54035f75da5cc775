//! Any function of a record and its key's states.

use std::collections::VecDeque;

use crate::{
    key::Key,
    operator::{Operator, Stateful, Step, keyed::KeyedInput},
    panic_site::running,
    record::Record,
    slice::{Flow, Slice},
    state::keyed_states::{KeyedStates, with_states},
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

pub struct Process<K: Key, R, D: KeyedStates<K>, T, F> {
    pub(crate) step: StepIndex,
    pub(crate) upstream: KeyedInput<K, R, D::Tables>,
    /// What the last call gave and the next step has not taken.
    pub(crate) out: VecDeque<T>,
    pub(crate) function: F,
}

impl<K: Key, R: Record, D: KeyedStates<K>, T: Send, F: Send> Stateful for Process<K, R, D, T, F> {}

impl<K: Key, R: Record, D: KeyedStates<K>, T: Send, F: Send> Step for Process<K, R, D, T, F> {
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

impl<K, R, D, T, F> Operator for Process<K, R, D, T, F>
where
    K: Key,
    R: Record,
    D: KeyedStates<K>,
    T: Send + 'static,
    F: FnMut(&K, R, &mut D::View<'_>, &mut Collector<'_, T>) + Send + 'static,
{
    type Out = T;

    #[inline]
    fn drive<Sink: FnMut(&mut Slice<'_>, T) -> Flow>(&mut self, slice: &mut Slice<'_>, sink: &mut Sink) -> Flow {
        let Self { step, upstream, out, function } = self;
        hand_out(out, slice, sink)?;
        upstream.drive(slice, |tables, slot, (key, record), slice| {
            with_states::<K, D, _>(tables, slot, &key, slice, |states| {
                running(*step, || function(&key, record, states, &mut Collector { out }))
            });
            hand_out(out, slice, sink)
        })
    }
}

#[inline]
pub(crate) fn hand_out<T>(
    out: &mut VecDeque<T>,
    slice: &mut Slice<'_>,
    sink: &mut impl FnMut(&mut Slice<'_>, T) -> Flow,
) -> Flow {
    while let Some(record) = out.pop_front() {
        sink(slice, record)?;
    }
    Ok(())
}
