//! Any function of the records of two streams and their key's states.
//!
//! Each stream has an input of its own, so that nothing is asked record by record of which it is. The tables are those of the first, and serve both.

use serde::{Deserialize, Serialize};

use crate::{
    error::BoxError,
    key::Key,
    operator::{
        Operator, Stateful, Step,
        either::{Lift, batch_of, keyed},
        emitted::Emitted,
        input::Input,
        keyed::{KeyedInput, hand_out},
        process::Collector,
    },
    panic_site::running,
    record::{Batch, Record},
    slice::{Flow, Slice},
    state::keyed_states::{KeyedStates, KeyedTables, with_states},
    time::{Stamp, Stamped},
    topology::graph::StepIndex,
};

/// A record of the second stream: of another type than all of the first, and nothing else.
#[derive(Serialize, Deserialize)]
#[serde(transparent, bound = "")]
pub(crate) struct OfRight<T: Record>(T);

impl Lift {
    /// Of the first of two edges by key to a step with two inputs.
    pub(crate) fn left_input<K: Key, A: Record, S: Stamp>() -> Self {
        Self { lift: |batch| batch, decode: keyed::<K, A, S> }
    }

    /// Of the second. The records stay where they are.
    pub(crate) fn right_input<K: Key, B: Record, S: Stamp>() -> Self {
        Self {
            lift: |batch| {
                let records = batch_of::<(K, B), S>(batch).into_iter();
                let of_right = records
                    .map(|Stamped { record: (key, record), time }| Stamped { record: (key, OfRight(record)), time });
                Box::new(of_right.collect::<Vec<_>>())
            },
            decode: keyed::<K, B, S>,
        }
    }
}

pub(crate) struct CoProcessStep<K: Key, A, B: Record, D: KeyedStates<K>, T, F, G, Z> {
    step: StepIndex,
    left: KeyedInput<K, A, D::Tables, Z>,
    right: Input<(K, OfRight<B>), Z>,
    out: Emitted<T, Z>,
    on_left: F,
    on_right: G,
}

impl<K: Key, A: Record, B: Record, D: KeyedStates<K>, T, F, G, Z: Stamp> CoProcessStep<K, A, B, D, T, F, G, Z> {
    /// The tables are empty; they get their content when the chain is opened.
    pub(crate) fn new(step: StepIndex, tables: D::Tables, on_left: F, on_right: G) -> Self {
        let (left, right) = (KeyedInput::new(Input::new(None), tables), Input::new(None));
        Self { step, left, right, out: Emitted::nothing(), on_left, on_right }
    }
}

impl<K: Key, A: Record, B: Record, D: KeyedStates<K>, T: Send, F: Send, G: Send, Z: Stamp> Stateful
    for CoProcessStep<K, A, B, D, T, F, G, Z>
{
}

impl<K: Key, A: Record, B: Record, D: KeyedStates<K>, T: Send, F: Send, G: Send, Z: Stamp> Step
    for CoProcessStep<K, A, B, D, T, F, G, Z>
{
    fn upstream(&mut self) -> Option<&mut dyn Step> {
        Some(&mut self.left)
    }

    fn feed(&mut self, batch: Box<dyn Batch>) {
        if (&*batch as &dyn std::any::Any).is::<Vec<Stamped<(K, OfRight<B>), Z>>>() {
            self.right.feed(batch);
            self.left.tables.batch_came();
        } else {
            self.left.feed(batch);
        }
    }

    fn has_leftover(&mut self) -> bool {
        !self.out.is_empty() || self.left.has_leftover() || self.right.has_leftover()
    }

    fn is_within_record(&mut self) -> bool {
        !self.out.is_empty()
    }

    fn rest_of_batch(&mut self) -> Result<Option<Vec<u8>>, BoxError> {
        let left = self.left.rest_of_batch()?;
        if left.is_some() { Ok(left) } else { self.right.rest_of_batch() }
    }

    fn take_records_in(&mut self) -> u64 {
        self.left.take_records_in() + self.right.take_records_in()
    }
}

impl<K, A, B, D, T, F, G, Z> Operator for CoProcessStep<K, A, B, D, T, F, G, Z>
where
    K: Key,
    A: Record,
    B: Record,
    D: KeyedStates<K>,
    T: Send + 'static,
    F: FnMut(&K, A, &mut D::View<'_>, &mut Collector<'_, T>) + Send + 'static,
    G: FnMut(&K, B, &mut D::View<'_>, &mut Collector<'_, T>) + Send + 'static,
    Z: Stamp,
{
    type Out = T;
    type Time = Z;

    #[inline]
    fn drive<S>(&mut self, slice: &mut Slice<'_>, sink: &mut S) -> Flow
    where
        S: FnMut(&mut Slice<'_>, T, Z) -> Flow,
    {
        let Self { step, left, right, out, on_left, on_right } = self;
        out.resume(slice, sink)?;
        left.drive(slice, |tables, slot, key, record, time, slice| {
            with_states::<K, D, _>(tables, slot, &key, slice, |states| {
                running(*step, || on_left(&key, record, states, &mut out.collector()))
            });
            out.hand_out(time, slice, sink)
        })?;
        hand_out(right, &mut left.tables, slice, |tables, slot, key, OfRight(record), time, slice| {
            with_states::<K, D, _>(tables, slot, &key, slice, |states| {
                running(*step, || on_right(&key, record, states, &mut out.collector()))
            });
            out.hand_out(time, slice, sink)
        })
    }
}
