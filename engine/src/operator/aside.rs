//! What reaches a keyed step aside: records without a key, which every subtask gets, and the state that they change.
//!
//! # Invariants
//! - Records aside are handled before the batch of keyed ones that comes behind them, and never during a round.

use std::{any::Any, sync::Arc, vec};

use serde::{Deserialize, Serialize};

use crate::{
    checkpoint::snapshot::OperatorSnapshot,
    codec::{decode, encode},
    error::{BoxError, Error},
    operator::{
        OpenContext, SnapshotBuilder, StepError,
        either::{Lift, batch_of},
    },
    panic_site::running,
    record::{Batch, Record},
    slice::{Flow, Slice},
    state::operator_states::{OperatorStates, StoredStates},
    time::{Stamp, Stamped},
    topology::graph::StepIndex,
};

/// The part of a step that takes records aside.
pub trait Aside: Send {
    /// Takes the batch, if it is one of its own.
    fn take(&mut self, batch: Box<dyn Batch>) -> Result<(), Box<dyn Batch>>;
    /// Whether there are records to handle.
    fn has_records(&self) -> bool;
    fn handle(&mut self, slice: &mut Slice<'_>) -> Flow;
    /// The records to be handled, as their edge carries them.
    fn rest(&self) -> Result<Option<Vec<u8>>, BoxError>;
    fn take_records_in(&mut self) -> u64;
    fn open(&mut self, context: &OpenContext) -> Result<(), Error>;
    fn snapshot(&mut self, snapshot: &mut SnapshotBuilder) -> Result<(), BoxError>;
}

/// A record that came aside: of another type than all keyed ones.
#[derive(Serialize, Deserialize)]
#[serde(transparent, bound = "")]
struct Sideways<R: Record>(R);

impl Lift {
    /// Of an edge whose records come aside.
    pub(crate) fn aside<R: Record, S: Stamp>() -> Self {
        Self {
            lift: |batch| {
                let records = batch_of::<R, S>(batch).into_iter();
                let aside = records.map(|Stamped { record, time }| Stamped { record: Sideways(record), time });
                Box::new(aside.collect::<Vec<_>>())
            },
            decode: |bytes, _, _| Ok(Box::new(decode::<Vec<Stamped<R, S>>>(bytes)?)),
        }
    }
}

/// A state that is changed by records which every subtask gets, and so is alike everywhere.
pub struct BroadcastState<R: Record, S: Stamp, D: OperatorStates, F> {
    step: StepIndex,
    uid: Arc<str>,
    states: D,
    pub(crate) live: D::Live,
    batch: vec::IntoIter<Stamped<Sideways<R>, S>>,
    records_in: u64,
    change: F,
}

impl<R: Record, S: Stamp, D: OperatorStates, F> BroadcastState<R, S, D, F> {
    pub(crate) fn new(step: StepIndex, uid: Arc<str>, states: D, change: F) -> Self {
        Self { step, uid, states, live: D::Live::default(), batch: Vec::new().into_iter(), records_in: 0, change }
    }

    /// The same without content.
    pub(crate) fn anew(&self) -> Self
    where
        F: Clone,
    {
        Self::new(self.step, self.uid.clone(), self.states.clone(), self.change.clone())
    }
}

impl<R, S, D, F> Aside for BroadcastState<R, S, D, F>
where
    R: Record,
    S: Stamp,
    D: OperatorStates,
    F: FnMut(R, &mut D::Live) + Send,
{
    fn take(&mut self, batch: Box<dyn Batch>) -> Result<(), Box<dyn Batch>> {
        if !(&*batch as &dyn Any).is::<Vec<Stamped<Sideways<R>, S>>>() {
            return Err(batch);
        }
        let batch: Box<dyn Any> = batch;
        if let Ok(batch) = batch.downcast::<Vec<Stamped<Sideways<R>, S>>>() {
            self.records_in += batch.len() as u64;
            self.batch = batch.into_iter();
        }
        Ok(())
    }

    fn has_records(&self) -> bool {
        self.batch.len() > 0
    }

    fn handle(&mut self, slice: &mut Slice<'_>) -> Flow {
        let Self { step, live, batch, change, .. } = self;
        while batch.len() > 0 {
            slice.take(1)?;
            let Some(Stamped { record: Sideways(record), .. }) = batch.next() else { break };
            running(*step, || change(record, live));
        }
        Ok(())
    }

    fn rest(&self) -> Result<Option<Vec<u8>>, BoxError> {
        let rest = self.batch.as_slice();
        if rest.is_empty() { Ok(None) } else { encode(&rest).map(Some) }
    }

    fn take_records_in(&mut self) -> u64 {
        std::mem::take(&mut self.records_in)
    }

    fn open(&mut self, context: &OpenContext) -> Result<(), Error> {
        self.live = self.states.restore(&StoredStates::of(&self.uid, context)?)?;
        Ok(())
    }

    fn snapshot(&mut self, snapshot: &mut SnapshotBuilder) -> Result<(), BoxError> {
        let (step, mut saved) = (self.step, Vec::new());
        self.states.save(&self.live, &mut saved).map_err(|cause| StepError { step, cause })?;
        let own = OperatorSnapshot { state: encode(&saved)?, transactions: Vec::new() };
        snapshot.operators.push((self.uid.to_string(), own));
        Ok(())
    }
}
