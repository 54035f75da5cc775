//! Any function of a record and state that belongs to no key.

use std::sync::Arc;

use crate::{
    checkpoint::snapshot::OperatorSnapshot,
    codec::encode,
    error::{BoxError, Error},
    operator::{
        OpenContext, Operator, SnapshotBuilder, Stateful, Step, StepError, emitted::Emitted, process::Collector,
    },
    panic_site::running,
    slice::{Flow, Slice},
    state::operator_states::{OperatorStates, StoredStates},
    topology::graph::StepIndex,
};

pub struct ProcessOperator<U: Operator, D: OperatorStates, T, F> {
    step: StepIndex,
    uid: Arc<str>,
    upstream: U,
    states: D,
    live: D::Live,
    out: Emitted<T, U::Time>,
    function: F,
}

impl<U: Operator, D: OperatorStates, T, F> ProcessOperator<U, D, T, F> {
    pub(crate) fn new(step: StepIndex, uid: Arc<str>, upstream: U, states: D, function: F) -> Self {
        Self { step, uid, upstream, states, live: D::Live::default(), out: Emitted::nothing(), function }
    }
}

impl<U: Operator, D: OperatorStates, T: Send, F: Send> Stateful for ProcessOperator<U, D, T, F> {
    fn open(&mut self, context: &OpenContext) -> Result<(), Error> {
        self.live = self.states.restore(&StoredStates::of(&self.uid, context)?)?;
        Ok(())
    }

    fn snapshot(&mut self, snapshot: &mut SnapshotBuilder) -> Result<(), BoxError> {
        let mut saved = Vec::new();
        let step = self.step;
        self.states.save(&self.live, &mut saved).map_err(|cause| StepError { step, cause })?;
        let own = OperatorSnapshot { state: encode(&saved)?, transactions: Vec::new() };
        snapshot.operators.push((self.uid.to_string(), own));
        Ok(())
    }
}

impl<U: Operator, D: OperatorStates, T: Send, F: Send> Step for ProcessOperator<U, D, T, F> {
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

impl<U, D, T, F> Operator for ProcessOperator<U, D, T, F>
where
    U: Operator,
    D: OperatorStates,
    T: Send + 'static,
    F: FnMut(U::Out, &mut D::Live, &mut Collector<'_, T>) + Send + 'static,
{
    type Out = T;
    type Time = U::Time;

    #[inline]
    fn drive<S>(&mut self, slice: &mut Slice<'_>, sink: &mut S) -> Flow
    where
        S: FnMut(&mut Slice<'_>, T, U::Time) -> Flow,
    {
        let Self { step, upstream, live, out, function, .. } = self;
        out.resume(slice, sink)?;
        upstream.drive(slice, &mut |slice, record, time| {
            running(*step, || function(record, live, &mut out.collector()));
            out.hand_out(time, slice, sink)
        })
    }
}
